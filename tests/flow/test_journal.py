"""What stands in the journal's records, and what never does: no name, no argument, no prose, and nothing too long."""

from __future__ import annotations

import asyncio
import base64

import msgspec
import pytest

from remit.flow.gathering import Gathering
from remit.flow.queries import Stories
from remit.gates import journal
from remit.gates.story import Story, render_text
from remit.model.errors import Fault, Misuse
from remit.model.signatures import Namespace, public_key, verify
from remit.model.statements import ApprovalStatement
from remit.model.words import Action, Json, Scope, ScopeKind, State, StopMode, StopOrder
from tests.flow.home import KEYS, NOW, ROLES, digest, roster_bytes, signed
from tests.flow.lab import definition
from tests.flow.world import World

PROSE = ("zebra-summary", "zebra-signal", "zebra-feed", "zebra-skill", "zebra-instead", "zebra-why", "zebra-model")
ARGUMENTS = ("zebra-argument", "zebra-typed")
WHY: Json = {
    "summary": "zebra-summary",
    "signals": [{"says": "zebra-signal", "evidence": "ev_0000"}],
    "intel": [{"name": "zebra-feed", "version": "1"}],
    "skill": {"name": "zebra-skill"},
    "confidence": 0.5,
    "alternatives": ["zebra-instead"],
}


async def busy(world: World) -> list[Action]:
    """Everything that makes records, once: people, stops, votes, verdicts, loads, a call that is refused."""
    run = await world.open("WS-1", "SRV-1", "WS-P", "j.doe", by="Oz".lower(), declared={"model": "zebra-model"})
    alone = await world.propose(run, "edr__isolate_host", host="WS-1", reason="zebra-argument", why=WHY)
    asked = await world.propose(run, "edr__isolate_host", host="SRV-1", reason="zebra-argument", why=WHY)
    await world.settle_down()
    asked = await world.approve(asked)
    rejected = await world.reject(await world.propose(run, "idp__disable_account", account="j.doe", why=WHY))
    two = await world.propose(run, "edr__isolate_host", host="WS-P", why=WHY)
    await world.decide(world.vote(two, "ann"))
    answer = await world.agents.call(run, "zebra-typed__tool", {"x": "zebra-argument"}, hold=0)
    assert answer.state == "blocked"
    concluded = {"verdict": "malicious", "rationale": WHY, "alternatives": ["zebra-instead"]}
    await world.agents.call(run, "remit__conclude", concluded, hold=0)
    back = await world.propose(run, "edr__release_host", host="WS-2", why=WHY)
    await world.agents.call(run, "remit__withdraw", {"action_id": back.id}, hold=0)
    world.lab.next("isolate_host", "lost")
    await world.settling.settle((await world.do(run, "edr__isolate_host", host="WS-1", why=WHY)).id, True, "bob")
    world.reloading.tools_changed()
    world.desk.stop(world.order(StopMode.CUT, ScopeKind.TARGET, "WS-P", by="bob", reason="zebra-why"))
    await world.settle_down()
    await asyncio.sleep(0)
    world.desk.stop(world.order(StopMode.HOLD, by="root", reason="zebra-why"))
    await world.desk.resume(frozenset(), "lena", "zebra-why")
    world.files.people = signed(roster_bytes(2), Namespace.ROSTER, "lena")
    world.files.change(most_targets="7")
    await world.reload()
    undo = await world.settling.undo(alone.id, "bob", "zebra-why")
    await world.done(undo)
    await world.runs.close(run.id, "oz")
    return [alone, asked, rejected, two, undo]


def words_of(value: Json) -> set[str]:
    """Every word that stands in a record as a value, or as a key of a nested object."""
    if isinstance(value, dict):
        return {*value, *(word for each in value.values() for word in words_of(each))}
    if isinstance(value, list):
        return {word for each in value for word in words_of(each)}
    return {value} if isinstance(value, str) else set()


@pytest.mark.promise("P12")
async def test_no_record_of_a_busy_home_holds_a_name_an_argument_or_prose(any_world: World) -> None:
    world = any_world
    await busy(world)
    people = {*ROLES, "root"}
    targets = {each.id for each in world.forces.current.inventory.targets}
    kinds = set()
    for record in world.records():
        kinds.add(record.kind)
        text = record.data.decode()
        assert not [each for each in (*PROSE, *ARGUMENTS) if each in text], text
        assert not (people | targets) & words_of(world.body(record)), text
        assert not [each for each in (*targets, *people - {"oz", "bob", "ann", "eve", "cyd"}) if f'"{each}' in text], (
            text
        )
    assert kinds >= {
        *("home.created", "roster.loaded", "boundary.loaded", "run.opened", "run.closed", "proposal", "vote"),
        *("approved", "intent", "outcome", "verdict", "refusal", "stop", "cut", "resume", "void", "connector.changed"),
        *("withdrawn", "settled"),
    }


@pytest.mark.promise("P12")
async def test_every_commitment_in_the_journal_is_that_of_a_payload_that_is_kept(any_world: World) -> None:
    world = any_world
    await busy(world)
    roles: dict[str, set[str]] = {}
    for record in world.records():
        for payload_id, commitment in world.body(record).get("payloads", {}).items():
            payload = world.durable.reads.payload(payload_id)
            assert payload is not None and journal.commitment(payload) == commitment
            roles.setdefault(record.kind, set()).add(payload_id.rpartition(".")[2])
    assert roles == {
        "boundary.loaded": {"file", "signatures"},
        "roster.loaded": {"file", "signatures"},
        "connector.changed": {"tools"},
        "run.opened": {"mandate"},
        "proposal": {"proposal"},
        "vote": {"statement"},
        "outcome": {"result"},
        "verdict": {"verdict"},
        "stop": {"order"},
        "resume": {"order"},
    }


async def test_a_vote_can_be_checked_from_its_record_and_payload_alone(world: World) -> None:
    run = await world.open("SRV-1")
    action = await world.approve(await world.propose(run, "edr__isolate_host", host="SRV-1"))
    vote = world.body(world.records("vote", action=action.id)[0])
    (payload_id,) = vote["payloads"]
    payload = world.durable.reads.payload(payload_id)
    assert payload is not None
    kept = msgspec.json.decode(payload.data)
    data = base64.b64decode(kept["statement"])
    verify(kept["signature"].encode(), data, Namespace.APPROVAL, [public_key(KEYS["ann"])])
    statement = ApprovalStatement.parse(data)
    assert (statement.action, statement.digest, statement.person) == (action.id, action.digest, "ann")
    assert vote["person"] == world.names.of("person:ann") != world.names.of("ann")


async def test_a_boundary_file_is_kept_once_and_its_commitment_stays_the_same(any_world: World) -> None:
    world = any_world
    await world.restart()
    await world.reload()
    loads = [world.body(each)["payloads"] for each in world.records("boundary.loaded")]
    assert len(loads) == 3 and loads[0] == loads[1] == loads[2]
    file = next(each for each in loads[0] if each.endswith(".file"))
    payload = world.durable.reads.payload(file)
    assert payload is not None and payload.data == world.files.boundary_bytes()


async def test_other_signatures_over_the_same_boundary_are_on_record_as_well(world: World) -> None:
    world.files.signers = ("lena", "lars")
    await world.reload()
    first, second = (world.body(each)["payloads"] for each in world.records("boundary.loaded"))
    assert [each for each in first if each.endswith(".file")] == [each for each in second if each.endswith(".file")]
    (signatures,) = {each for each in second if each.endswith(".signatures")} - first.keys()
    payload = world.durable.reads.payload(signatures)
    assert payload is not None and len(msgspec.json.decode(payload.data)) == 2


async def test_a_story_still_names_people_and_targets(world: World) -> None:
    _, asked, *_, undo = await busy(world)
    stories = Stories(world.durable.reads)
    story = stories.explain(asked.id)
    assert isinstance(story, Story)
    assert (story.boundary.signers, story.gaps) == (("lena",), ())
    text = render_text(story)
    assert "approved by ann" in text and "SRV-1" in text and "signed by lena" in text
    assert [vote.verified for vote in story.votes] == [True]
    assert "opened by oz" in "".join(step.says for step in stories.run(asked.run).steps)
    assert "approved by bob" in render_text(stories.story(undo.id))
    stop = world.records("stop")[0]
    told = stories.record(stop.position)
    assert "WS-P" in told.entry.says and told.entry.says.endswith("by bob")
    assert "root" in stories.record(world.records("stop")[1].position).entry.says  # not on the roster


async def test_who_voided_and_who_lifted_are_named(world: World) -> None:
    *_, two, _ = await busy(world)
    stopping = Gathering(world.durable.reads, {}).facts(world.action(two.id)).stopping
    assert stopping is not None
    assert (stopping.by, stopping.scope, stopping.lifted_by) == ("bob", "target WS-P", "lena")


# --- size ---------------------------------------------------------------------------------------------------------


def test_a_record_that_would_not_fit_an_entry_is_refused() -> None:
    room = journal.MOST_BYTES - len(journal.record("alert", NOW, code="").data)
    assert len(journal.record("alert", NOW, code="x" * room).data) == 65_535
    with pytest.raises(Fault, match="65536 bytes"):
        journal.record("alert", NOW, code="x" * (room + 1))


def test_a_stop_that_cut_thousands_of_actions_lists_every_one_in_as_many_records_as_it_takes() -> None:
    order = StopOrder(id="stp_1", mode=StopMode.CUT, scope=Scope(), at=NOW, by="bob")
    severed = [f"act_{each:016}" for each in range(1_500)]
    lost = [f"act_{each:016}" for each in range(1_500, 3_500)]
    cuts = journal.cuts(order.at, order, 7, severed=severed, may_still_land=lost)
    made = [msgspec.json.decode(each.data) for each in cuts]
    assert len(made) == 4
    assert [each for part in made for each in part["severed"]] == severed
    assert [each for part in made for each in part["may_still_land"]] == lost
    assert len(list(journal.cuts(order.at, order, 7, severed=[]))) == 1


async def test_a_connector_with_thousands_of_tools_fits_into_its_record(world: World) -> None:
    world.lab.definitions_by_connector["edr"] += [definition(f"tool_{each:060}") for each in range(2_000)]
    world.reloading.tools_changed()
    await world.settle_down()
    changed = next(each for each in map(world.body, world.records("connector.changed")) if each["connector"] == "edr")
    assert changed["tools"] == changed["parked"] + 6 > 2_000 and len(str(changed)) < 1_000


async def test_of_many_targets_the_first_thousand_are_on_record_and_the_others_counted(world: World) -> None:
    rows = "".join(f"BIG-{each:05},workstation,no,,big,\n" for each in range(5_000))
    world.files.targets += rows.encode()
    await world.reloading.accept_inventory(digest(world.files.targets))
    run = await world.open("WS-1")
    action = await world.propose(run, "edr__isolate_group", group="BIG-*")
    body = world.body(world.records("proposal", action=action.id)[0])
    assert len(action.targets) >= 5_000 and len(body["targets"]) == 1_000
    assert body["more"] == len(action.targets) - 1_000
    assert body["targets"] == world.names.all(action.targets[:1_000])


async def test_a_case_whose_name_would_fill_the_records_is_refused(world: World) -> None:
    from remit.flow.runs import Order

    with pytest.raises(Misuse, match="expected at most 200"):
        await world.runs.open(Order(agent="triage", case="x" * 201), "oz")
    assert not world.records("run.opened")


async def test_a_call_on_its_own_commits_twice_and_puts_two_payloads(world: World) -> None:
    run = await world.open("WS-1")
    before = world.store.steps
    action = await world.do(run, "edr__isolate_host", host="WS-1")
    assert (action.state, world.store.steps - before) == (State.DONE, 2)
