"""Who may decide on an action, and whether enough people have.

What lives here: whether one vote counts, and counting them. What never may: collecting votes or waiting for them; the
card that people are shown is `remit.gates.cards`'.

INVARIANT: a vote counts only by the statement that its person signed; nothing written beside it is believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from remit.model.display import safe_line
from remit.model.errors import Misuse, NotVerified, Refusal
from remit.model.people import Person, Roster
from remit.model.signatures import Namespace, verify
from remit.model.statements import ApprovalStatement
from remit.model.words import Action, Approval, Ask, Clause, Decision, Instant


class Context(Struct, frozen=True, kw_only=True):
    """What a vote is weighed against: the home's id, the digest of the boundary in force, the roster, the owner of the
    agent, who opened the run, and the present instant."""

    home: str
    boundary: str
    roster: Roster
    owner: str
    opener: str
    now: Instant


def may_decide(
    action: Action, ask: Ask, person: str, context: Context, *, voted: Iterable[str] = (), verb: str = "approve"
) -> Refusal | None:
    """Why this person may not decide on the action now; None where they may.

    Nobody approves in a run that they opened, or an undo that they ordered; the agent's owner only where the boundary
    says so; each person once. All of them may reject, also after they approved. `voted` are the people who approved.
    """
    found = context.roster.person(person)
    if found is None:
        return _refusal("approval.person", f"`{safe_line(person)}` is not on the roster", "ask someone who is")
    name = safe_line(found.id)
    if not found.current(context.now):
        return _refusal("approval.person", f"the keys of `{name}` no longer count", "ask a leader to renew the roster")
    if not _has_role(found, ask):
        roles = " or ".join(f"`{role}`" for role in ask.roles)
        return _refusal(
            "approval.role", f"`{name}` has none of the roles that decide on this: {roles}", "ask one who has"
        )
    if action.expires_at is not None and context.now >= action.expires_at:
        says = f"action `{action.id}` expired while it waited"
        return _refusal("approval.expired", says, "the agent may propose it anew", state="expired")
    if verb != "approve":
        return None
    involved = _involved(action, ask, found, context)
    if involved is not None:
        return involved
    if any(_same(each, found.id) for each in voted):
        return _refusal("approval.again", f"`{name}` has approved this already", "each person counts once")
    return None


def _involved(action: Action, ask: Ask, person: Person, context: Context) -> Refusal | None:
    name, hint = safe_line(person.id), "ask somebody else to approve; rejecting is open to you"
    if _same(context.opener, person.id):
        return _refusal("approval.opener", f"`{name}` opened the run, and nobody approves in a run they opened", hint)
    if _same(action.opened_by, person.id):
        return _refusal("approval.opener", f"`{name}` ordered this action, and nobody approves their own order", hint)
    if _same(context.owner, person.id) and not ask.owner_may_approve:
        says = f"`{name}` owns the agent `{safe_line(action.agent)}`, and the boundary does not let owners approve"
        return _refusal("approval.owner", says, hint)
    return None


def check_vote(
    action: Action, ask: Ask, approval: Approval, context: Context, card_digest: str, *, given: Sequence[Approval] = ()
) -> None:
    """Refuses a vote that must not be written: who may not decide, a statement about something else, a wrong signature.

    `card_digest` is that of the card as it would be shown now; `given` are the votes before it. Raises `Refusal`,
    `BadStatement` for bytes that are no statement, `StatementRefused`, or `SignatureError`.
    """
    voted = [each.person for each in given if each.verb == "approve"]
    refused = may_decide(action, ask, approval.person, context, voted=voted, verb=approval.verb)
    if refused is not None:
        raise refused
    statement = _signed(approval, context)
    if statement.verb != approval.verb:
        raise NotVerified(f"the statement says `{statement.verb}`, not `{approval.verb}`", hint="sign the right one")
    statement.check(
        context.now,
        home=context.home,
        person=approval.person,
        action=action.id,
        digest=action.digest,
        card_digest=card_digest,
        boundary_digest=context.boundary.removeprefix("sha256:"),
    )


def _signed(approval: Approval, context: Context) -> ApprovalStatement:
    """The statement in the signed bytes, once the signature holds under a key of the person's."""
    person = context.roster.person(approval.person)
    keys = person.keys if person is not None else ()
    verify(approval.signature, approval.statement, Namespace.APPROVAL, keys)
    return ApprovalStatement.parse(approval.statement)


def good(action: Action, given: Iterable[Approval], ask: Ask, context: Context) -> tuple[Approval, ...]:
    """The approvals that count for the action now, one for each person, in the order given.

    Everything is looked at again: signature, statement, person, roles. The boundary may be another one than the
    statement names: the action is ruled again under the one in force, which is what decides.
    """
    counted: list[Approval] = []
    for approval in given:
        if approval.verb == "approve" and _counts(action, approval, ask, context, counted):
            counted.append(approval)
    return tuple(counted)


def _counts(action: Action, approval: Approval, ask: Ask, context: Context, counted: Sequence[Approval]) -> bool:
    voted = [each.person for each in counted]
    if may_decide(action, ask, approval.person, context, voted=voted) is not None:
        return False
    try:
        statement = _signed(approval, context)
        statement.check(
            context.now,
            home=context.home,
            person=approval.person,
            action=action.id,
            digest=action.digest,
            card_digest=statement.card_digest,
            boundary_digest=statement.boundary_digest,
        )
    except (NotVerified, Misuse):
        return False
    return statement.verb == "approve"


def tally(counting: Sequence[Approval], ask: Ask) -> bool:
    """Whether these approvals, which `good` returned, are as many people as the boundary asks for."""
    return len({approval.person.casefold() for approval in counting}) >= max(ask.quorum, 1)


def _has_role(person: Person, ask: Ask) -> bool:
    return not {str(role) for role in person.roles}.isdisjoint(ask.roles)


def _same(one: str, other: str) -> bool:
    return bool(one) and one.casefold() == other.casefold()


def _refusal(clause: str, says: str, hint: str, *, state: str = "blocked") -> Refusal:
    return Refusal(says, hint=hint, state=state, clauses=[Clause(clause, Decision.FORBID, says)])
