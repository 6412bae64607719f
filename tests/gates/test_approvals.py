"""A vote counts by what its person signed, once, for one action, and never from somebody who is part of it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from remit.gates.approvals import Context, check_vote, good, may_decide, tally
from remit.model.errors import Misuse, NotVerified, Refusal
from remit.model.people import Person, Role, Roster
from remit.model.signatures import public_key, sign
from remit.model.statements import ApprovalStatement
from remit.model.words import MINUTE, Approval, Ask, Clause, Decision, Ruling, State
from tests.adapters.store.samples import action
from tests.flow.home import KEYS

NOW = 1_800_000_000_000_000
PEOPLE = ("ann", "bob", "cyd", "olga", "oz")
CARD, BOUNDARY = "c" * 64, "b" * 64
ASK = Ask(quorum=2)
ACTION = action(
    state=State.WAITING,
    digest="a" * 64,
    ruling=Ruling(decision=Decision.APPROVE, clauses=(Clause("R", Decision.APPROVE, "says"),), ask=ASK),
    opened_at=NOW - MINUTE,
    expires_at=NOW + 10 * MINUTE,
)


def person(name: str, *roles: Role, **more: Any) -> Person:
    return Person(id=name, name=name, roles=frozenset(roles), keys=(public_key(KEYS[name]),), **more)


ROSTER = Roster(
    version=1,
    people=(*(person(name, Role.APPROVER) for name in PEOPLE), person("eve", Role.AUDITOR)),
    digest="r",
)
CONTEXT = Context(home="home_1", boundary="sha256:" + BOUNDARY, roster=ROSTER, owner="olga", opener="oz", now=NOW)


def vote(name: str, *, key: str = "", as_verb: str = "", **changes: Any) -> Approval:
    fields: dict[str, Any] = {
        "home": "home_1",
        "person": name,
        "issued": NOW - 1,
        "expires": NOW + 5 * MINUTE,
        "verb": "approve",
        "action": "act_1",
        "digest": "a" * 64,
        "card_digest": CARD,
        "boundary_digest": BOUNDARY,
    }
    data = ApprovalStatement(**(fields | changes)).encode()
    signature = sign(KEYS[key or name], data, "approval@remit")
    verb: Any = as_verb or (fields | changes)["verb"]
    return Approval(action="act_1", person=name, verb=verb, at=NOW, statement=data, signature=signature)


def clause(refusal: Refusal | None) -> str:
    return "" if refusal is None else refusal.clauses[0].id


@pytest.mark.promise("P4")
@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("ann", ""),
        ("ANN", ""),
        ("nobody", "approval.person"),
        ("eve", "approval.role"),
        ("oz", "approval.opener"),
        ("OZ", "approval.opener"),
        ("olga", "approval.owner"),
    ],
)
def test_the_opener_and_the_owner_and_people_without_the_role_may_not_approve(name: str, refused: str) -> None:
    assert clause(may_decide(ACTION, ASK, name, CONTEXT)) == refused


@pytest.mark.promise("P4")
def test_the_owner_may_approve_only_where_the_boundary_says_so_and_the_opener_never() -> None:
    lenient = Ask(owner_may_approve=True)
    assert may_decide(ACTION, lenient, "olga", CONTEXT) is None
    assert clause(may_decide(ACTION, lenient, "oz", CONTEXT)) == "approval.opener"
    assert clause(may_decide(ACTION, lenient, "oz", replace(CONTEXT, owner="oz"))) == "approval.opener"


def test_who_ordered_an_undo_may_not_approve_it() -> None:
    assert clause(may_decide(replace(ACTION, opened_by="ann"), ASK, "ann", CONTEXT)) == "approval.opener"


def test_everybody_with_the_role_may_reject_also_after_approving() -> None:
    for name in PEOPLE:
        assert may_decide(ACTION, ASK, name, CONTEXT, voted=["ann"], verb="reject") is None
    assert clause(may_decide(ACTION, ASK, "eve", CONTEXT, verb="reject")) == "approval.role"


def test_nobody_approves_twice_or_after_the_end_or_with_old_keys() -> None:
    assert clause(may_decide(ACTION, ASK, "ann", CONTEXT, voted=["Ann"])) == "approval.again"
    late = replace(CONTEXT, now=NOW + 10 * MINUTE)
    refusal = may_decide(ACTION, ASK, "ann", late)
    assert clause(refusal) == "approval.expired" and refusal is not None and refusal.state == "expired"
    old = Roster(version=1, people=(person("ann", Role.APPROVER, not_after=NOW),), digest="r")
    assert clause(may_decide(ACTION, ASK, "ann", replace(CONTEXT, roster=old))) == "approval.person"


def test_a_vote_on_the_card_that_is_shown_is_accepted() -> None:
    check_vote(ACTION, ASK, vote("ann"), CONTEXT, CARD)
    check_vote(ACTION, ASK, vote("oz", verb="reject"), CONTEXT, CARD, given=[vote("ann")])


FOREIGN: list[Approval] = [
    vote("ann", key="bob"),
    vote("ann", home="home_2"),
    vote("ann", action="act_2"),
    vote("ann", digest="0" * 64),
    vote("ann", expires=NOW),
    vote("ann", issued=NOW + 3600_000_000, expires=NOW + 7200_000_000),
    vote("bob", key="ann", person="ann"),
    vote("ann", verb="reject", as_verb="approve"),
    replace(vote("ann"), statement=vote("ann", digest="0" * 64).statement),
    replace(vote("ann"), statement=b"{}", signature=sign(KEYS["ann"], b"{}", "approval@remit")),
    replace(vote("ann"), signature=sign(KEYS["ann"], vote("ann").statement, "control@remit")),
    replace(vote("ann"), signature=b""),
    vote("oz"),
    vote("olga"),
    vote("eve"),
]


@pytest.mark.promise("P4")
@pytest.mark.parametrize("approval", FOREIGN)
def test_a_vote_about_anything_else_or_by_anybody_else_is_refused_and_never_counts(approval: Approval) -> None:
    with pytest.raises((Refusal, NotVerified, Misuse)):
        check_vote(ACTION, ASK, approval, CONTEXT, CARD)
    assert good(ACTION, [approval], ASK, CONTEXT) == ()


def test_a_vote_on_another_card_or_boundary_is_refused() -> None:
    for changes in ({"card_digest": "0" * 64}, {"boundary_digest": "0" * 64}):
        with pytest.raises(NotVerified):
            check_vote(ACTION, ASK, vote("ann", **changes), CONTEXT, CARD)


def test_an_approval_outlives_a_boundary_that_rules_no_worse() -> None:
    other = replace(CONTEXT, boundary="sha256:" + "0" * 64)
    assert len(good(ACTION, [vote("ann")], ASK, other)) == 1


def test_a_quorum_counts_people_not_votes() -> None:
    twice = good(ACTION, [vote("ann"), vote("ann"), replace(vote("ann"), person="ANN")], ASK, CONTEXT)
    assert len(twice) == 1 and not tally(twice, ASK)
    both = good(ACTION, [vote("ann"), vote("bob")], ASK, CONTEXT)
    assert tally(both, ASK)
    assert not tally(both, Ask(quorum=3))
    assert not tally((), Ask(quorum=0))


def test_who_lost_the_role_since_no_longer_counts() -> None:
    later = replace(CONTEXT, roster=Roster(version=2, people=(person("ann", Role.AUDITOR),), digest="r"))
    assert good(ACTION, [vote("ann")], ASK, later) == ()


def test_a_rejection_is_no_approval() -> None:
    assert good(ACTION, [vote("ann", verb="reject")], ASK, CONTEXT) == ()
