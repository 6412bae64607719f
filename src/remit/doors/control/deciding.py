"""Approvals: the cards of what waits, and counting one person's signed yes or no.

What lives here: gathering what a card shows, and what a vote is weighed against. What never may: a vote without a
signature over exactly the card that this node would show.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from remit.doors.control.side import NodeSide
from remit.doors.control.signed import signed_bytes
from remit.doors.control.times import iso
from remit.flow.concluding import is_conclusion, verdict_of
from remit.flow.force import Force
from remit.gates import approvals, cards
from remit.gates.cards import Card
from remit.model.errors import Misuse, Refusal
from remit.model.statements import ApprovalStatement
from remit.model.words import Action, Approval, Ask, Evidence, Json, Proposal, State, Target

LOOK_EVERY = 0.02
LONGEST_READ = 256 * 1024  # bytes of a result that are read as JSON for a card, which shows but a little of it
LONGEST_TEXT = 16 * 1024  # characters
_CONCLUDED = "the verdict is wrong, and whoever relies on it stops looking; a later verdict takes its place"


Seen = dict[str, tuple[Evidence, str] | None]
"""Evidence by id with its text, as far as it was read; None for an id that there is not."""


class Behind(Struct, frozen=True, kw_only=True):
    """What a card shows that does not depend on what is in force: read once, outside of any transaction."""

    proposal: Proposal
    evidence: dict[str, tuple[Evidence, str]]
    opener: str


def waiting(node: NodeSide) -> dict[str, Json]:
    """Everything that waits for a human, oldest first, each with its card and what a statement about it must say."""
    found = node.reruling.in_states(State.WAITING)
    seen: Seen = {}  # what many proposals cite is read once
    return {
        "home": node.identity.id,
        "now": node.clock.now(),
        "waiting": [described(node, action, seen) for action in found],
    }


def card_answer(node: NodeSide, action_id: str) -> dict[str, Json]:
    """The same for one action, whatever its state. Raises `Misuse` for one that is not there or was never proposed."""
    action = _action(node, action_id)
    return {"home": node.identity.id, "now": node.clock.now(), **described(node, action)}


def described(node: NodeSide, action: Action, seen: Seen | None = None) -> dict[str, Json]:
    """One action with its card as JSON. Whoever signs renders and digests the card themselves."""
    force = node.forces.current
    behind = _behind(node, action, seen)
    shown = _card(node, force, action, behind)
    given = node.store.reads.approvals(action.id)
    ask = action.ruling.ask or Ask()
    counted = approvals.good(action, given, ask, _context(node, force, action, behind))
    return {
        "action": action.id,
        "state": action.state,
        "agent": action.agent,
        "category": action.category,
        "targets": list(action.targets),
        "expires": iso(action.expires_at),
        "digest": action.digest,
        "card": msgspec.to_builtins(shown),
        "card_digest": cards.card_digest(shown),
        "boundary_digest": force.boundary_digest,
        "said_yes": [each.person for each in counted],
        "quorum": max(ask.quorum, 1),
        "roles": list(ask.roles),
    }


async def decide(node: NodeSide, params: dict[str, Json], patience: float) -> dict[str, Json]:
    """Count a signed approval or rejection, and wait at most `patience` seconds for what follows from it.

    Raises `BadStatement`, `NotVerified` or `Refusal`; then nothing was counted.
    """
    data, signature = signed_bytes(params)
    statement = ApprovalStatement.parse(data)
    action = _action(node, statement.action)
    behind = _behind(node, action)
    person = node.forces.current.roster.person(statement.person)
    if person is None:
        raise Refusal(f"`{statement.person}` is not on the roster", hint="`remit people show` lists who is")
    approval = Approval(
        action=action.id,
        person=person.id,
        verb=statement.verb,
        at=node.clock.now(),
        statement=data,
        signature=signature,
    )

    def check(now: Action, force: Force) -> None:
        approvals.check_vote(
            now,
            now.ruling.ask or Ask(),
            approval,
            _context(node, force, now, behind),
            cards.card_digest(_card(node, force, now, behind)),
            given=node.store.reads.approvals(now.id),
        )

    decided = await node.steward.decide(approval, check)
    decided = await settled_down(node, decided, patience)
    return after_vote(node, decided)


def after_vote(node: NodeSide, action: Action) -> dict[str, Json]:
    """Where the action stands after a vote, and how many of how many said yes."""
    ask = action.ruling.ask or Ask()
    given = node.store.reads.approvals(action.id)
    return {
        **stands(action),
        "said_yes": sorted({each.person for each in given if each.verb == "approve"}),
        "quorum": max(ask.quorum, 1),
    }


def stands(action: Action) -> dict[str, Json]:
    """Where an action stands, for whoever moved it."""
    return {
        "action": action.id,
        "state": action.state,
        "agent": action.agent,
        "run": action.run,
        "case": action.case,
        "connector": action.connector,
        "tool": action.tool,
        "category": action.category,
        "effect": action.effect,
        "targets": list(action.targets),
        "outcome": action.outcome,
        "clauses": [{"id": each.id, "says": each.says} for each in action.ruling.clauses],
        "expires": iso(action.expires_at),
    }


async def settled_down(node: NodeSide, action: Action, seconds: float) -> Action:
    """The action once it is no longer on its way, or as it stands after `seconds`."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while action.state in (State.APPROVED, State.EXECUTING) and loop.time() < until:
        await asyncio.sleep(LOOK_EVERY)
        action = node.store.reads.action(action.id) or action
    return action


def _action(node: NodeSide, action_id: str) -> Action:
    action = node.store.reads.action(action_id)
    if action is None:
        raise Misuse(f"there is no action `{action_id}`", hint="`remit approvals` lists what waits")
    return action


def _behind(node: NodeSide, action: Action, seen: Seen | None = None) -> Behind:
    try:
        proposal = node.reruling.proposal(action)
    except KeyError:
        raise Misuse(f"what action `{action.id}` proposed is gone, so it cannot be shown or decided on") from None
    run = node.store.reads.run(action.run)
    cited = [each.evidence for each in proposal.rationale.signals] if proposal.rationale else []
    return Behind(
        proposal=proposal,
        evidence=_evidence(node, cited, {} if seen is None else seen),
        opener=run.opened_by if run else "",
    )


def _evidence(node: NodeSide, ids: Iterable[str], seen: Seen) -> dict[str, tuple[Evidence, str]]:
    found = {}
    for evidence_id in dict.fromkeys(filter(None, ids)):
        if evidence_id not in seen:
            seen[evidence_id] = _read(node, evidence_id)
        known = seen[evidence_id]
        if known is not None:
            found[evidence_id] = known
    return found


def _read(node: NodeSide, evidence_id: str) -> tuple[Evidence, str] | None:
    evidence = node.store.reads.evidence(evidence_id)
    if evidence is None:
        return None
    payload = node.store.reads.payload(evidence.payload)
    return evidence, text_of(payload.data)[:LONGEST_TEXT] if payload else ""


def text_of(raw: bytes) -> str:
    """The text of a tool result's bytes as a person may read it: its text blocks, else its structured content. Of a
    long one only the beginning, as it is."""
    if len(raw) > LONGEST_READ:
        return raw[:LONGEST_READ].decode("utf-8", "replace")
    try:
        result = msgspec.json.decode(raw)
        blocks = [block["text"] for block in result.get("content", ()) if block.get("type") == "text"]
        if blocks:
            return "\n".join(map(str, blocks))
        return msgspec.json.encode(result.get("structuredContent", result)).decode()
    except (msgspec.DecodeError, UnicodeError, RecursionError, AttributeError, KeyError, TypeError):
        return raw.decode("utf-8", "replace")


def _card(node: NodeSide, force: Force, action: Action, behind: Behind) -> Card:
    agent = force.boundary.agent(action.agent)
    category = force.boundary.category(action.category)
    tool = force.upstream(action.connector, action.tool)
    known = force.inventory.by_id
    return cards.card(
        action,
        behind.proposal,
        [known.get(each) or Target(id=each, known=False) for each in action.targets],
        home=node.identity.id,
        owner=agent.owner if agent else "",
        purpose=agent.purpose if agent else "",
        does=category.does if category else _concludes(action),
        worst=_CONCLUDED if is_conclusion(action) else "",
        undo=tool.manifest.undo if tool else None,
        cuttable=tool.cuttable if tool else False,
        evidence=behind.evidence,
        practice=node.identity.practice,
        secrets=tool.manifest.secrets if tool else (),
    )


def _concludes(action: Action) -> str:
    return f"conclude that its case is {verdict_of(action)}" if is_conclusion(action) else ""


def _context(node: NodeSide, force: Force, action: Action, behind: Behind) -> approvals.Context:
    agent = force.boundary.agent(action.agent)
    return approvals.Context(
        home=force.home,
        boundary=force.boundary_digest,
        roster=force.roster,
        owner=agent.owner if agent else "",
        opener=behind.opener,
        now=node.clock.now(),
    )
