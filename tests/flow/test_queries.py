"""Looking back: what was kept is found by what people remember of it, and is checked before it is told."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from remit.flow.queries import Stories
from remit.flow.query import Query
from remit.gates.story import RecordStory, RunStory, Story
from remit.model.errors import Misuse
from remit.model.words import MINUTE, Decision, Event, State
from tests.flow.past import Past, manifests


@pytest.fixture
def past() -> Past:
    return Past()


def stories(past: Past) -> Stories:
    return Stories(past.store.reads, manifests())


@pytest.mark.parametrize("typed", ["WS-7", "ws-7", " Ws-7. ", "ws-7.corp.example", "WS-7.CORP.EXAMPLE"])
def test_a_target_is_found_however_it_is_typed(past: Past, typed: str) -> None:
    action = past.propose()
    past.propose(Decision.FORBID, targets=("DC01",))
    assert [each.id for each in stories(past).find(Query(target=typed)).actions] == [action.id]


def test_a_target_is_found_by_the_connectors_own_name_for_it(past: Past) -> None:
    action = past.propose()
    assert [each.id for each in stories(past).find(Query(target="h-0007", connector="edr")).actions] == [action.id]


@pytest.mark.parametrize("typed", ["ws-*", "floor-2", "label:floor-2"])
def test_a_group_finds_every_member_newest_first(past: Past, typed: str) -> None:
    first, second = past.propose(), past.propose(targets=("WS-8",))
    past.propose(Decision.FORBID, targets=("DC01",))
    assert [each.id for each in stories(past).find(Query(target=typed)).actions] == [second.id, first.id]


def test_a_target_that_the_inventory_does_not_have_is_found_by_its_name(past: Past) -> None:
    action = past.propose(Decision.APPROVE, targets=("unknown:ghost-9",))
    assert [each.id for each in stories(past).find(Query(target="GHOST-9")).actions] == [action.id]
    assert stories(past).find(Query(target="nowhere")).actions == ()


@pytest.mark.promise("P12")
@pytest.mark.parametrize("count", [1, 15, 16, 17, 18, 47, 48, 49, 120, 500])
def test_none_is_left_out_however_many_there_are(past: Past, count: int) -> None:
    made = [past.propose(Decision.FORBID).id for _ in range(count)]
    everything = stories(past).find(Query(limit=count))
    assert ([each.id for each in everything.actions], everything.more) == (made[::-1], False)
    fewer = stories(past).find(Query(limit=max(count - 1, 1), agent="triage"))
    assert ([each.id for each in fewer.actions], fewer.more) == (made[::-1][: max(count - 1, 1)], count > 1)


def test_every_field_of_a_query_narrows_it(past: Past) -> None:
    action = past.propose()
    other = past.propose(Decision.FORBID, targets=("DC01",))
    look = stories(past)
    for query in (
        Query(states=(State.EXECUTING,)),
        Query(clause="ISO-1"),
        Query(until=action.opened_at),
        Query(agent="triage", run="run_1", case="alert-7", category="host.isolate", connector="edr", clause="ISO-1"),
    ):
        assert [each.id for each in look.find(query).actions] == [action.id]
    assert [each.id for each in look.find(Query(since=other.opened_at)).actions] == [other.id]


def test_a_limit_keeps_the_newest_and_says_that_there_is_more(past: Past) -> None:
    past.propose()
    newest = past.propose()
    found = stories(past).find(Query(limit=1))
    assert [each.id for each in found.actions] == [newest.id]
    assert found.more
    assert not stories(past).find(Query(limit=2)).more


def test_a_call_that_was_refused_before_it_was_an_action_is_found_and_told(past: Past) -> None:
    position = past.refusal()
    look = stories(past)
    for query in (Query(agent="triage"), Query(clause="unknown-tool"), Query(case="alert-7"), Query(connector="edr")):
        assert [each.entry.position for each in look.find(query).refusals] == [position]
    for query in (Query(target="WS-7"), Query(agent="other"), Query(case="other"), Query(states=(State.DONE,))):
        assert look.find(query).refusals == ()
    story = look.explain(f"#{position}")
    assert isinstance(story, RecordStory)
    assert story.entry.says == "refused before it was an action: unknown-tool (parked) edr"


def test_a_runs_timeline_has_each_action_once_with_its_present_state(past: Past) -> None:
    past.read()
    action = past.vote(past.propose(Decision.APPROVE), "bob", "reject")
    past.refusal()
    story = stories(past).explain("run_1")
    assert isinstance(story, RunStory)
    assert [step.state for step in story.steps] == ["", "done", "rejected", ""]
    assert story.steps[2].action == action.id
    assert story.run.opened_by == "orchestrator"


def test_evidence_leads_to_the_action_that_it_came_from(past: Past) -> None:
    evidence = past.read()
    story = stories(past).explain(evidence)
    assert isinstance(story, Story)
    assert story.result is not None
    assert (story.result.evidence, story.result.intact) == (evidence, True)
    assert story.result.excerpt == '{"isolated":false}'


@pytest.mark.parametrize("name", ["act_none", "run_none", "ev_none", "#999999", "#0", "nonsense"])
def test_what_is_not_there_is_refused_with_a_hint(past: Past, name: str) -> None:
    past.propose()
    if name == "#0":
        assert stories(past).explain(name)
        return
    with pytest.raises(Misuse) as refused:
        stories(past).explain(name)
    assert refused.value.hint


def test_a_vote_is_verified_by_the_roster_and_by_what_it_says(past: Past) -> None:
    good = past.vote(past.propose(Decision.APPROVE), "bob")
    forged = past.vote(past.propose(Decision.APPROVE), "bob", key="eve")
    stranger = past.vote(past.propose(Decision.APPROVE), "eve")
    other = past.vote(past.propose(Decision.APPROVE), "bob", digest="f" * 64)
    look = stories(past)
    assert [vote.verified for vote in look.story(good.id).votes] == [True]
    reasons = [look.story(each.id).votes[0].why_not for each in (forged, stranger, other)]
    assert "key" in reasons[0]
    assert reasons[1:] == ["the person was not on the roster then in force", "the statement is about something else"]


def test_evidence_is_grounded_only_if_this_run_was_shown_it_before_it_proposed(past: Past) -> None:
    mine, foreign = past.read(), past.own_read()
    later = f"ev_{int(mine[3:]) + 3:016}"
    action = past.propose(cites=(mine, foreign, "ev_invented", later))
    assert past.read() == later
    cited = stories(past).story(action.id).cited
    assert [each.grounded for each in cited] == [True, False, False, False]
    assert [each.why_not for each in cited[1:]] == [
        "this run was never shown it",
        "there is no such evidence",
        "it was shown only after the proposal",
    ]
    assert cited[0].third_party
    assert [each.mark for each in cited] == ["third-party", "ungrounded", "ungrounded", "ungrounded"]


def test_remits_own_questions_about_the_target_are_among_the_checks(past: Past) -> None:
    past.own_read()
    action = past.end(past.propose())
    assert any("Remit asked `host_status` itself: done" in each for each in stories(past).story(action.id).checks)


def test_a_stop_that_cut_an_action_is_named_with_what_it_did(past: Past) -> None:
    action = past.propose()
    order = past.stop("bob", may_still_land=[action.id])
    action = past.end(action, Event.LOSE, "may still land")
    stopping = stories(past).story(action.id).stopping
    assert stopping is not None
    assert (stopping.stop, stopping.by, stopping.scope) == (order.id, "bob", "everything")
    assert "MAY STILL LAND" in stopping.effect


def test_bytes_that_were_changed_behind_the_journals_back_are_gaps(past: Past) -> None:
    action = past.end(past.propose(), raw=b'{"content":[]}')
    tables = past.store.tables
    assert stories(past).story(action.id).gaps == ()
    proposal = tables.payloads[action.proposal]
    tables.payloads[action.proposal] = replace(proposal, data=proposal.data.replace(b"WS-7", b"DC01"))
    tables.payloads[action.result] = replace(tables.payloads[action.result], data=b'{"content":[1]}')
    tables.records[-1] = replace(tables.records[-1], data=tables.records[-1].data + b" ")
    gaps = " | ".join(stories(past).story(action.id).gaps)
    assert "not those that the record commits to" in gaps
    assert "what came back is no longer kept as it was" in gaps
    assert "records do not have their hash" in gaps


def test_a_story_whose_payload_was_erased_says_so_and_tells_the_rest(past: Past) -> None:
    action = past.end(past.propose())
    del past.store.tables.payloads[action.proposal]
    story = stories(past).story(action.id)
    assert story.gaps == ("the arguments and reasons are no longer kept",)
    assert story.boundary.signers == ("ann",)


def test_an_undone_action_says_by_which(past: Past) -> None:
    action = past.end(past.propose())
    assert stories(past).story(action.id).undo.command == f"remit undo {action.id}"
    undo = past.end(past.propose(tool="release_host", category="host.release", undoes=action.id, opened_by="bob"))
    story = stories(past).story(action.id)
    assert (story.undone_by, story.undo.command) == ((undo.id,), "")


def test_how_long_a_person_took_counts_from_the_asking(past: Past) -> None:
    action = past.propose(Decision.APPROVE)
    past.now += 3 * MINUTE
    action = past.vote(action, "bob")
    assert stories(past).story(action.id).votes[0].waited == 3 * MINUTE + 10_000_000


def test_whether_a_stop_could_sever_it_counts_only_with_the_pinned_file(past: Past) -> None:
    action = past.end(past.propose())
    assert stories(past).story(action.id).cuttable is False
    changed = {"edr": replace(manifests()["edr"], digest="sha256:" + "0" * 64)}
    assert Stories(past.store.reads, changed).story(action.id).cuttable is None
