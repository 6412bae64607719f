"""A card tells the one who is woken what to decide, and nothing on it can act or pass for the card's own words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from remit.gates.cards import Card, card, card_digest, render_text, worst_case
from remit.model.manifest import Support
from remit.model.words import (
    MINUTE,
    SECOND,
    Action,
    Ask,
    Clause,
    CredentialClass,
    Decision,
    Effect,
    Evidence,
    Integrity,
    Label,
    Proposal,
    Rationale,
    Ruling,
    Signal,
    State,
    Target,
)

NOW = 1_800_000_000 * SECOND
RULING = Ruling(
    decision=Decision.APPROVE,
    clauses=(Clause("ACC-1", Decision.APPROVE, "accounts need a human"), Clause("R-9", Decision.AUTO, "reads")),
    ask=Ask(quorum=2, roles=("approver", "on-call")),
    boundary="b" * 64,
)
ACTION = Action(
    id="act_1",
    revision=1,
    state=State.WAITING,
    agent="triage",
    run="run_1",
    case="alert-7",
    connector="idp",
    tool="disable_account",
    category="account.disable",
    effect=Effect.CHANGE,
    definition="d",
    targets=("alice",),
    bounded=True,
    digest="a" * 64,
    fingerprint="f",
    proposal="p",
    ruling=RULING,
    opened_at=NOW - MINUTE,
    expires_at=NOW + 4 * MINUTE + 10 * SECOND,
    credential=CredentialClass.WARRANT,
)
WHY = Rationale(
    summary="token theft",
    signals=(Signal("the sign-in came from two places", "ev_1"), Signal("made up", "ev_9"), Signal("a hunch")),
    confidence=0.5,
    alternatives=("wait",),
)
PROPOSAL = Proposal(arguments='{"account":"alice"}', targets=("alice",), asked="{}", salt="s", rationale=WHY)
ALICE = Target(id="alice", kind="account", privileged=True, owner="hr@example.com")
SEEN = Evidence(
    id="ev_1",
    run="run_1",
    action="act_0",
    at=NOW - 2 * MINUTE,
    digest="e",
    label=Label(Integrity.THIRD_PARTY, source="siem"),
    payload="p",
)


def made(**changes: Any) -> Card:
    settings: dict[str, Any] = {
        "home": "home_1",
        "owner": "lead@example.com",
        "does": "disable an account",
        "undo": Support(tool="enable_account", arguments={}),
        "cuttable": True,
        "evidence": {"ev_1": (SEEN, "alice signed in from Oslo\nand Lima")},
    }
    return card(ACTION, PROPOSAL, [ALICE], **(settings | changes))


def test_the_first_screen_says_what_a_decision_needs() -> None:
    text = render_text(made(), now=NOW)
    for words in (
        "triage wants to disable an account (account.disable, change)",
        "alice  (account, privileged, owner hr@example.com)",
        "Worst case   changes `alice`; `alice` is a privileged account",
        "Undo         `enable_account`, by `remit undo`",
        "Time left    4 min 10 s, until 2027-01-15T08:04:10Z",
        "No answer    it is rejected, and nothing happens",
        "Credential   warrant: a warrant for this one action",
        "remit approve act_1    remit reject act_1",
    ):
        assert words in text
    assert len(text.splitlines()) <= 24
    assert "may still land" not in text
    assert "token theft" not in text


def test_the_second_screen_says_all_the_rest_and_marks_what_the_agent_claims() -> None:
    text = render_text(made(), 2, now=NOW, said_yes=["ann@example.com"])
    for words in (
        '  | {"account":"alice"}',
        "ACC-1: accounts need a human",
        "1 of 2 (ann@example.com); asked of: approver or on-call",
        "Claimed by the agent (its own words; nobody has checked them)",
        "  | token theft",
        "observed: third-party, it cites ev_1 (third-party, internal, from siem)",
        "  | alice signed in from Oslo\n  | and Lima",
        "observed: ungrounded, it cites ev_9, which this run was never shown",
        "confidence, claimed: 0.5",
        "alternative, claimed: wait",
    ):
        assert words in text
    assert "R-9" not in text


def test_a_secret_argument_is_on_no_screen_and_the_card_says_that_it_is_left_out() -> None:
    given = replace(PROPOSAL, arguments='{"Pass-Word":"hunter2","account":"alice","pin":[1,2]}', secrets=("password",))
    shown = card(ACTION, given, [ALICE], home="home_1", secrets=("pin",))
    text = render_text(shown, 1, now=NOW) + render_text(shown, 2, now=NOW)
    assert '  | {"Pass-Word":"⟦secret⟧","account":"alice","pin":"⟦secret⟧"}' in text
    assert "Exact arguments, as they are sent, without the secret ones" in text
    assert "hunter2" not in text + str(shown)


def test_what_cannot_be_undone_cut_or_bounded_is_said_on_the_first_screen() -> None:
    text = render_text(made(undo=None, cuttable=False, practice=True), now=NOW)
    assert "Undo         none" in text and "may still land" in text and text.startswith("PRACTICE")
    destroys = card(replace(ACTION, effect=Effect.DESTROY, bounded=False), PROPOSAL, [ALICE], home="h")
    shown = render_text(destroys, now=NOW + 10 * MINUTE)
    assert "nothing bounds what it touches" in shown and "what it destroys is gone" in shown and "it expired" in shown


def test_evidence_of_another_run_is_not_shown_as_this_runs() -> None:
    foreign = {"ev_1": (replace(SEEN, run="run_2"), "secret of another case")}
    text = render_text(made(evidence=foreign), 2, now=NOW)
    assert "secret of another case" not in text and "ungrounded, it cites ev_1, which this run was never shown" in text


def test_the_worst_case_names_what_is_not_known() -> None:
    unknown = Target(id="unknown:x", known=False)
    assert "could be anything" in worst_case(Effect.CHANGE, [ALICE, unknown], bounded=True)
    assert "nobody knows whether" in worst_case(Effect.READ, [Target(id="y")], bounded=True)
    assert "and 2 more like it" in worst_case(
        Effect.CHANGE, [replace(unknown, id=f"unknown:{n}") for n in range(5)], bounded=True
    )


def test_the_digest_covers_what_is_shown_and_stands_still_while_people_look() -> None:
    assert card_digest(made()) == card_digest(made())
    others: list[dict[str, Any]] = [
        {"cuttable": False},
        {"undo": None},
        {"evidence": {}},
        {"does": "other"},
        {"home": "home_2"},
    ]
    for changes in others:
        assert card_digest(made(**changes)) != card_digest(made())
    assert len(card_digest(made())) == 64


EVIL = "x\x1b[2J\u202e\u200b\nremit approve act_2\rNo answer    it is approved <script> [a](http://b) \U000e0041"


@pytest.mark.parametrize("page", [1, 2])
def test_untrusted_text_is_inert_and_cannot_pass_for_the_cards_own_lines(page: Any) -> None:
    evil_action = replace(ACTION, agent=EVIL, case=EVIL, tool=EVIL, connector=EVIL)
    why = Rationale(
        summary=EVIL, signals=(Signal(EVIL, "ev_1"), Signal(EVIL, EVIL), Signal(EVIL)), alternatives=(EVIL,)
    )
    proposal = replace(PROPOSAL, arguments=EVIL, rationale=why)
    targets = [Target(id=EVIL, kind="account", owner=EVIL), Target(id=f"unknown:{EVIL}", known=False)]
    text = render_text(
        card(evil_action, proposal, targets, home="h", does=EVIL, purpose=EVIL, evidence={"ev_1": (SEEN, EVIL)}),
        page,
        now=NOW,
        said_yes=[EVIL],
    )
    for character in ("\x1b", "\r", "\u202e", "\u200b", "\U000e0041"):
        assert character not in text
    assert not any(
        line.startswith(("remit approve act_2", "No answer    it is approved")) for line in text.splitlines()
    )


@given(st.text(max_size=200))
def test_no_text_of_an_agent_ever_begins_a_line_of_its_own(text: str) -> None:
    plain = render_text(card(ACTION, PROPOSAL, [ALICE], home="h"), now=NOW).splitlines()
    evil = render_text(card(replace(ACTION, agent=text), PROPOSAL, [ALICE], home="h"), now=NOW).splitlines()
    assert len(evil) == len(plain)
    second = replace(PROPOSAL, rationale=Rationale(summary=text), arguments=text)
    known = render_text(card(ACTION, second, [ALICE], home="h"), 2, now=NOW).split("\n")
    base = render_text(
        card(ACTION, replace(second, arguments="", rationale=Rationale(summary="")), [ALICE], home="h"), 2, now=NOW
    ).split("\n")
    assert [line for line in known if not line.startswith("  | ")] == base
