"""A story leaves no question open, fits a screen, and nothing that an agent or a connector wrote can pass for ours."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from remit.flow.gathering import Gathering
from remit.gates.story import CallFacts, Facts, Story, render_record, render_run, render_text, tell, tell_run, to_json
from remit.gates.story.telling import elapsed
from remit.gates.story.words import RecordStory
from remit.model.display import safe_text
from remit.model.words import MINUTE, SECOND, Action, CredentialClass, Decision, Event, Rationale, Signal, State
from tests.flow.past import Past, manifests

RESULT = b'{"structuredContent":{"isolated":true}}'
DONE = "the connector says that it is done"


def facts(past: Past, action: Action) -> Facts:
    return Gathering(past.store.reads, manifests()).facts(action)


def auto(past: Past) -> Action:
    return past.end(past.propose(cites=(past.read(),)), why=DONE, raw=RESULT)


def approved(past: Past) -> Action:
    action = past.propose(Decision.APPROVE, cites=(past.read(),))
    past.now += 3 * MINUTE
    return past.end(past.vote(action, "bob"), why=DONE, raw=RESULT)


def rejected(past: Past) -> Action:
    return past.vote(past.propose(Decision.APPROVE, cites=(past.read(),)), "bob", "reject")


def expired(past: Past) -> Action:
    return past.expire(past.propose(Decision.APPROVE, cites=(past.read(),)))


def forbidden(past: Past) -> Action:
    return past.propose(Decision.FORBID, cites=(past.read(),), targets=("DC01",))


def settled(past: Past) -> Action:
    lost = past.end(past.propose(cites=(past.read(),)), Event.LOSE, "the connection broke")
    return past.settle(lost, applied=True, by="host_status, asked by bob")


def voided(past: Past) -> Action:
    action = past.propose(Decision.APPROVE, cites=(past.read(),))
    return past.void(action, past.stop("bob"))


def cut(past: Past) -> Action:
    action = past.propose(cites=(past.read(),))
    past.stop("bob", severed=[action.id])
    return past.end(action, Event.CUT, "severed: stopped (cut, everything) by bob")


PASTS: dict[str, tuple[Callable[[Past], Action], dict[str, str]]] = {
    "auto": (auto, {"approval": "nobody was asked", "became": "done", "ruling": "auto by ISO-1", "back": "isolated"}),
    "approved": (
        approved,
        {"approval": "bob approved after 3 min 10 s (signature verified)", "became": "done", "back": "isolated"},
    ),
    "rejected": (
        rejected,
        {
            "approval": "bob rejected after 10 s (signature verified)",
            "became": "a human rejected it",
            "back": "nothing",
        },
    ),
    "expired": (expired, {"approval": "not answered in time", "became": "nobody answered in time", "back": "nothing"}),
    "forbidden": (
        forbidden,
        {
            "approval": "nobody was asked: it was forbidden",
            "ruling": "forbid by N-1: domain controllers",
            "back": "nothing",
        },
    ),
    "settled": (settled, {"approval": "nobody was asked", "became": "settled by host_status, asked by bob"}),
    "voided": (voided, {"approval": "ended before enough people had answered", "stop": "by bob: the proposal is void"}),
    "cut": (cut, {"approval": "nobody was asked", "became": "cut by a stop", "stop": "by bob: severed"}),
}
NAMES = {
    "who": "Who",
    "what": "Call",
    "target": "Target",
    "ruling": "Ruling",
    "boundary": "Boundary",
    "run": "Run",
    "why": "Reasons",
    "approval": "Approval",
    "warrant": "Credential",
    "checks": "Checks",
    "back": "Came back",
    "became": "Became",
    "undo": "Undo",
}


def rows(text: str) -> dict[str, str]:
    """The named rows of a screen, each with its lines joined."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines()[1:]:
        if not line.startswith(" "):
            name = line[:11].strip()
            found[name] = line[12:]
        elif name:
            found[name] += " " + line.strip()
    return found


@pytest.mark.promise("P12")
@pytest.mark.parametrize("kind", PASTS)
def test_every_question_about_an_action_is_answered_from_what_was_kept(kind: str) -> None:
    past = Past()
    make, expected = PASTS[kind]
    action = make(past)
    story = tell(facts(past, action))
    screen = rows(render_text(story))
    assert story.gaps == ()
    answers = {question: screen[name] for question, name in NAMES.items()} | {"stop": screen.get("Stop", "")}
    assert all(answer for question, answer in answers.items() if question != "stop")
    assert answers["who"] == "agent triage in case alert-7"
    assert answers["what"].startswith('edr.isolate_host {"host":')
    assert "beacons to a known bad address" in answers["why"]
    assert "claimed: the agent's own words" in answers["why"]
    assert (
        f"observed: {story.cited[0].evidence}: third-party (outsiders may have written it), internal, from edr"
        in answers["why"]
    )
    assert story.cited[0].digest[:16] in answers["why"]
    assert "soc-triage version 7, signed by ann" in answers["boundary"]
    assert past.boundary[:16] in answers["boundary"]
    assert "opened by orchestrator" in answers["run"]
    executed = kind in ("auto", "approved", "settled", "cut")
    assert (f"warrant {action.warrant}" in answers["warrant"]) is executed
    assert ("not executed" in answers["warrant"]) is not executed
    for question, answer in expected.items():
        assert answer in answers[question]
    assert [entry.position for entry in story.entries] == sorted(entry.position for entry in story.entries)
    assert all(f"#{entry.position}" in render_text(story) and entry.says for entry in story.entries)


@pytest.mark.parametrize("kind", PASTS)
@pytest.mark.parametrize("width", [80, 100, 120])
def test_an_ordinary_story_fits_one_screen(kind: str, width: int) -> None:
    past = Past()
    text = render_text(tell(facts(past, PASTS[kind][0](past))), width, zone="Europe/Berlin")
    assert len(text.splitlines()) <= 40
    assert max(map(len, text.splitlines())) <= width
    assert "times in Europe/Berlin" in text


def test_times_are_told_in_the_zone_that_is_asked_for() -> None:
    past = Past()
    story = tell(facts(past, past.propose()))
    assert "2026-11-22 03:00:20" in render_text(story, zone="Europe/Berlin").splitlines()[0]
    assert "2026-11-22 02:00:20" in render_text(story).splitlines()[0]


def hostile(past: Past, action: Action, text: str) -> Story:
    """The story of an action whose every free text is `text`."""
    known = facts(past, action)
    assert known.proposal is not None
    rationale = Rationale(
        summary=text, signals=(Signal(text, "ev_x" + text), Signal(text)), confidence=0.5, alternatives=(text,)
    )
    result = known.result
    return tell(
        replace(
            known,
            proposal=replace(known.proposal, arguments=text, rationale=rationale),
            result=replace(result, excerpt=text) if result else None,
            action=replace(action, outcome=text, case=text, targets=(text,), settled_by=text),
            run=past.run(client=text, case=text),
        )
    )


@pytest.fixture(scope="module")
def done() -> tuple[Past, Action]:
    past = Past()
    return past, auto(past)


ATTACKS = st.one_of(
    st.text(max_size=300),
    st.lists(
        st.sampled_from(
            [
                "\x1b[2J",
                "\n",
                "\r",
                "Approval    bob approved",
                "\u202e",
                "\U000e0041",
                "](http://x)",
                "[a",
                "<img ",
                "src=x>",
                " ",
            ]
        ),
        max_size=30,
    ).map("".join),
)


@settings(max_examples=60)
@given(text=ATTACKS)
def test_nothing_that_others_wrote_can_act_or_pass_for_a_line_of_ours(done: tuple[Past, Action], text: str) -> None:
    story = hostile(*done, text)
    screen = render_text(story)
    allowed = {*NAMES.values(), "Records, ti", "GAP", story.id[:11]}
    for line in screen.splitlines():
        assert safe_text(line) == line
        assert line.startswith(" ") or line[:11].strip() in allowed
    assert [line[:12].strip() for line in screen.splitlines()].count("Approval") == 1
    json.dumps(to_json(story))


def test_a_long_story_says_what_it_leaves_out() -> None:
    past = Past()
    action = auto(past)
    known = facts(past, action)
    assert known.proposal is not None
    signals = tuple(Signal(f"sign {number}") for number in range(20))
    proposal = replace(known.proposal, rationale=Rationale(summary="s", signals=signals))
    entries = tuple(replace(known.entries[0], position=number) for number in range(40))
    text = render_text(tell(replace(known, proposal=proposal, entries=entries)))
    assert "and 14 more signals (--json has all)" in text
    assert "… 30 more (--json has all)" in text


def test_what_is_missing_is_named_as_a_gap() -> None:
    past = Past()
    known = facts(past, auto(past))
    bare = replace(known, entries=(), run=None, proposal=None, proposal_matches=None, boundary=None)
    story = tell(bare)
    assert story.gaps == (
        "there is no record of the proposal",
        "the arguments and reasons are no longer kept",
        "the run is not known",
        "there is no record of how the boundary came into force",
    )
    assert render_text(story).count("GAP") == 4


def test_a_boundary_that_nobody_is_on_record_as_signing_is_a_gap() -> None:
    past = Past()
    known = facts(past, auto(past))
    assert known.boundary is not None
    story = tell(replace(known, boundary=replace(known.boundary, signers=())))
    assert story.gaps == ("the record of the boundary names nobody who signed it",)


def test_a_signature_that_does_not_hold_stands_out() -> None:
    past = Past()
    action = past.end(past.vote(past.propose(Decision.APPROVE), "bob", key="eve"))
    assert "SIGNATURE NOT VERIFIED" in rows(render_text(tell(facts(past, action))))["Approval"]


def test_where_a_stop_could_come_too_late_the_story_says_so() -> None:
    past = Past()
    known = facts(past, auto(past))
    assert "may still land" in rows(render_text(tell(known)))["Credential"]
    cuttable = replace(known, call=CallFacts(cuttable=True, undo="release_host"))
    assert "may still land" not in rows(render_text(tell(cuttable)))["Credential"]


def test_a_standing_secret_is_not_told_as_a_warrant() -> None:
    past = Past()
    action = past.end(past.propose(credential=CredentialClass.STATIC))
    credential = rows(render_text(tell(facts(past, action))))["Credential"]
    assert "a standing secret" in credential
    assert action.warrant not in credential


@pytest.mark.parametrize("known", ["when it was proposed", "now"])
def test_a_secret_argument_is_in_no_story(known: str) -> None:
    past = Past()
    found = facts(past, auto(past))
    assert found.proposal is not None
    proposal = replace(found.proposal, arguments='{"host":"WS-7","password":"hunter2"}')
    if known == "now":
        story = tell(replace(found, proposal=proposal, secrets=("password",)))
    else:
        story = tell(replace(found, proposal=replace(proposal, secrets=("password",))))
    assert story.arguments == '{"host":"WS-7","password":"⟦secret⟧"}'
    assert "hunter2" not in render_text(story) + json.dumps(to_json(story))


def undo(action: Action, call: CallFacts | None = None) -> str:
    past = Past()
    known = facts(past, past.end(past.propose()))
    return tell(replace(known, action=action, call=call)).undo.command


def test_undo_is_offered_only_for_what_may_have_landed_and_can_be_taken_back() -> None:
    past = Past()
    landed = past.end(past.propose())
    can = CallFacts(cuttable=True, undo="release_host")
    assert undo(landed, can) == f"remit undo {landed.id}"
    assert undo(replace(landed, state=State.UNKNOWN), can) == f"remit undo {landed.id}"
    assert undo(landed, CallFacts(cuttable=True)) == ""
    for state in (State.BLOCKED, State.EXPIRED, State.VOID, State.FAILED, State.WAITING):
        assert undo(replace(landed, state=state), can) == ""
    assert undo(replace(landed, state=State.CUT, handed_over=False), can) == ""


def test_json_holds_everything_with_times_as_iso_and_no_token() -> None:
    past = Past()
    action = approved(past)
    told = to_json(tell(facts(past, action)))
    assert told["proposed_at"] == "2026-11-22T02:00:40.000000Z"
    assert told["votes"][0]["waited"] == 3 * MINUTE + 10 * SECOND
    assert [entry["kind"] for entry in told["entries"]] == ["proposal", "vote", "approved", "intent", "outcome"]
    assert "hash-of-the-token" not in json.dumps(told)


@settings(max_examples=40)
@given(text=ATTACKS)
def test_a_runs_timeline_and_a_lone_record_are_as_inert(done: tuple[Past, Action], text: str) -> None:
    past, action = done
    entry = facts(past, action).entries[0]
    acted = {action.id: replace(action, targets=(text,))}
    run = tell_run(past.run(client=text, case=text), [entry], acted, names={})
    fields = {"why": text, "clauses": [text]}
    record = RecordStory(entry=replace(entry, says=text, fields=fields), run=text, agent=text)
    for screen in (render_run(run), render_record(record)):
        assert all(safe_text(line) == line and len(line) <= 100 for line in screen.splitlines())


@pytest.mark.parametrize(
    ("microseconds", "says"),
    [
        (-5, "0 ms"),
        (850_000, "850 ms"),
        (12 * SECOND, "12 s"),
        (192 * SECOND, "3 min 12 s"),
        (2 * 60 * MINUTE, "2 h"),
        (76 * 60 * MINUTE, "3 d 4 h"),
    ],
)
def test_a_length_of_time_is_told_as_people_say_it(microseconds: int, says: str) -> None:
    assert elapsed(microseconds) == says
