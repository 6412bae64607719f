"""Reasoning as data: what Remit observes of an agent's reasons stands in the records, and not a word of them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from remit.flow.queries import Stories
from remit.gates import cards
from remit.gates.story import render_text
from remit.model.grounding import PROVENANCE, Mark
from remit.model.words import Action, Integrity, Json, Rationale, Run, Signal, Source, State
from tests.flow.world import World, memory


async def evidence(world: World, run: Run, name: str = "siem__search_events") -> str:
    """The id of what a read of this run brought."""
    return (await world.do(run, name)).evidence


def trusted(world: World, evidence_id: str) -> None:
    """As if a system of record had written it."""
    kept = memory(world).tables.evidence
    kept[evidence_id] = replace(
        kept[evidence_id], label=replace(kept[evidence_id].label, integrity=Integrity.SYSTEM_OF_RECORD)
    )


def weighing(*cited: str, **more: Json) -> Json:
    return {"summary": "s", "signals": [{"says": "it says so", "evidence": each} for each in cited], **more}


def reasons(world: World, action: Action) -> Json:
    return world.body(world.records("proposal", action=action.id)[0])["reasons"]


async def test_each_citation_is_checked_when_it_is_proposed_and_marked_in_the_record(any_world: World) -> None:
    world = any_world
    run, other = await world.open("WS-1"), await world.open("WS-2")
    mine, foreign = await evidence(world, run), await evidence(world, other)
    why = weighing(mine, foreign, "ev_invented", "WS-1 is bad", "")
    action = await world.do(run, "edr__isolate_host", host="WS-1", why=why)
    assert action.state is State.DONE
    assert reasons(world, action)["signals"] == [
        {"evidence": mine, "mark": "third-party"},
        {"evidence": foreign, "mark": "ungrounded"},
        {"evidence": "", "mark": "ungrounded"},  # what is no id of evidence is text of the agent's
        {"evidence": "", "mark": "ungrounded"},
        {"evidence": "", "mark": "ungrounded"},
    ]


async def test_only_what_does_not_rest_on_third_party_text_is_grounded(world: World) -> None:
    run = await world.open("WS-1")
    mine = await evidence(world, run)
    trusted(world, mine)
    action = await world.do(run, "edr__isolate_host", host="WS-1", why=weighing(mine))
    assert reasons(world, action)["signals"] == [{"evidence": mine, "mark": "grounded"}]


async def test_a_citation_of_what_is_shown_only_later_is_not_grounded(world: World) -> None:
    run = await world.open("SRV-1")
    later = f"ev_{int((await evidence(world, run))[3:]) + 200:016}"
    action = await world.propose(run, "edr__isolate_host", host="SRV-1", why=weighing(later))
    while await evidence(world, run) < later:
        pass
    assert reasons(world, action)["signals"] == [{"evidence": "", "mark": "ungrounded"}]


async def test_feeds_and_skills_stand_as_pseudonyms_and_confidence_in_per_mille(world: World) -> None:
    run = await world.open("WS-1")
    why = weighing(
        intel=[{"name": "feed-a", "version": "3", "digest": "d"}, {"name": "feed-b"}],
        skill={"name": "triage", "version": "2", "digest": "e"},
        confidence=0.8765,
        alternatives=["wait"],
    )
    action = await world.do(run, "edr__isolate_host", host="WS-1", why=why)
    assert reasons(world, action) == {
        "signals": [],
        "intel": [world.names.of("intel:feed-a"), world.names.of("intel:feed-b")],
        "skill": world.names.of("skill:triage"),
        "confidence": 876,
    }
    rationale = world.reruling.proposal(action).rationale
    assert rationale is not None
    assert (rationale.intel[0], rationale.skill) == (Source("feed-a", "3", "d"), Source("triage", "2", "e"))
    assert rationale.alternatives == ("wait",)


async def test_a_call_without_reasons_says_nothing_of_them_and_looks_nothing_up(world: World) -> None:
    run = await world.open("WS-1")
    action = await world.do(run, "siem__search_events")
    assert "reasons" not in world.body(world.records("proposal", action=action.id)[0])


async def test_a_verdict_is_marked_likewise(world: World) -> None:
    run = await world.open("WS-1")
    mine = await evidence(world, run)
    why = weighing(mine, "ev_invented", skill={"name": "triage"}, confidence=1)
    concluded: Json = {"verdict": "malicious", "rationale": why, "evidence": [mine]}
    await world.agents.call(run, "remit__conclude", concluded, hold=0)
    body = world.body(world.records("verdict")[0])
    assert (body["evidence"], body["not_shown"]) == ([mine], 1)
    assert body["reasons"] == {
        "signals": [{"evidence": mine, "mark": "third-party"}, {"evidence": "", "mark": "ungrounded"}],
        "intel": [],
        "skill": world.names.of("skill:triage"),
        "confidence": 1000,
    }
    told = "".join(step.says for step in Stories(world.durable.reads).run(run.id).steps)
    assert "the agent claims: malicious" in told
    assert "signals observed: 1 third-party, 1 ungrounded" in told


# --- shown --------------------------------------------------------------------------------------------------------


async def test_the_story_says_of_each_part_whose_word_it_is_and_shows_the_mark_of_each_signal(world: World) -> None:
    run = await world.open("WS-1")
    mine = await evidence(world, run)
    trusted(world, mine)
    why = weighing(mine, "", skill={"name": "triage", "version": "2"}, confidence=0.5)
    story = Stories(world.durable.reads).story((await world.do(run, "edr__isolate_host", host="WS-1", why=why)).id)
    assert [each.mark for each in story.cited] == [Mark.GROUNDED, Mark.UNGROUNDED]
    assert story.provenance == PROVENANCE and story.gaps == ()
    text = render_text(story)
    for words in (
        "| claimed: s\n",
        "| claimed, weighed: it says so\n",
        f"observed: {mine}: grounded, system-of-record",
        "observed: no evidence: UNGROUNDED: it cites no evidence",
        "| claimed: skill triage 2; confidence 0.5",
    ):
        assert words in text


async def test_a_mark_that_the_store_no_longer_bears_out_is_a_gap(world: World) -> None:
    run = await world.open("WS-1")
    mine = await evidence(world, run)
    action = await world.do(run, "edr__isolate_host", host="WS-1", why=weighing(mine))
    assert Stories(world.durable.reads).story(action.id).gaps == ()
    trusted(world, mine)
    story = Stories(world.durable.reads).story(action.id)
    assert story.gaps == (f"what the record says of the cited evidence no longer holds: {mine}",)
    assert story.cited[0].mark is Mark.THIRD_PARTY


@pytest.mark.parametrize(
    ("integrity", "mark"), [(Integrity.THIRD_PARTY, "third-party"), (Integrity.OPERATOR, "grounded")]
)
async def test_the_card_shows_the_mark_of_each_signal_as_observed(
    world: World, integrity: Integrity, mark: str
) -> None:
    run = await world.open("SRV-1")
    mine = await evidence(world, run)
    found = world.durable.reads.evidence(mine)
    assert found is not None
    labelled = replace(found, label=replace(found.label, integrity=integrity))
    action = await world.propose(run, "edr__isolate_host", host="SRV-1", why=weighing(mine, ""))
    proposal = world.reruling.proposal(action)
    shown = cards.card(action, proposal, [], home="h", evidence={mine: (labelled, "text")})
    assert [each.mark for each in shown.cited] == [mark, "ungrounded"]
    text = cards.render_text(shown, 2, now=world.clock.at)
    assert f"observed: {mark}, it cites {mine}" in text and "observed: ungrounded, it cites no evidence" in text
    other = replace(proposal, rationale=Rationale(summary="s", signals=(Signal("it says so", mine),)))
    assert cards.card_digest(cards.card(action, other, [], home="h")) != cards.card_digest(shown)
