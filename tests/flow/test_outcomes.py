"""What became of an action: what is not known stays unknown, until somebody settles it; and undoing."""

from __future__ import annotations

import pytest

from remit.gates import journal
from remit.model.errors import Misuse, Refusal
from remit.model.words import State
from tests.flow.home import Files
from tests.flow.world import World, clauses

# --- outcomes ------------------------------------------------------------------------------------------------------


@pytest.mark.promise("P7")
@pytest.mark.parametrize(
    ("how", "more", "state"),
    [
        ("error", {}, State.FAILED),
        ("not_sent", {}, State.FAILED),
        ("refused", {"code": -32602}, State.FAILED),
        ("refused", {"code": -32603}, State.UNKNOWN),
        ("garbage", {}, State.UNKNOWN),
        ("lost", {}, State.UNKNOWN),
        ("lost_before", {}, State.UNKNOWN),
    ],
)
async def test_what_is_not_known_for_certain_is_unknown_and_never_repeated(
    world: World, how: str, more: dict[str, int], state: State
) -> None:
    run = await world.open("WS-1")
    world.lab.next("isolate_host", how, **more)
    action = await world.do(run, "edr__isolate_host", host="WS-1")
    assert action.state is state
    await world.restart()
    assert world.action(action.id).state is state
    assert world.lab.times(action.id) <= 1
    assert len([each for each in world.lab.calls if each[0] == action.id]) == (0 if how == "not_sent" else 1)
    assert ("unknown" in world.alerts(action.id)) is (state is State.UNKNOWN)


@pytest.mark.promise("P7")
async def test_an_unknown_outcome_holds_its_target_on_its_connector_until_it_is_settled(any_world: World) -> None:
    world = any_world
    run = await world.open("WS-1", "WS-2")
    world.lab.next("isolate_host", "lost")
    lost = await world.do(run, "edr__isolate_host", host="WS-1")
    again = await world.do(run, "edr__isolate_host", host="WS-1", reason="again")
    assert (again.state, clauses(world, again.id)) == (State.WAITING, ["unsettled"])
    assert (await world.do(run, "edr__isolate_host", host="WS-2")).state is State.DONE
    assert (await world.do(run, "edr__host_status", host="WS-1")).state is State.DONE
    settled = await world.settling.ask(lost.id, "bob")
    assert (settled.applied, world.action(lost.id).state) == (True, State.DONE)
    assert (await world.do(run, "edr__isolate_host", host="WS-1", reason="third")).state is State.DONE


@pytest.mark.promise("P7")
async def test_a_batch_that_touches_a_held_target_waits_as_a_whole(world: World) -> None:
    run = await world.open("WS-1", "WS-2")
    world.lab.next("isolate_hosts", "lost")
    await world.do(run, "edr__isolate_hosts", hosts=["WS-1", "WS-2"])
    again = await world.do(run, "edr__isolate_hosts", hosts=["WS-3", "WS-2"])
    assert again.state is State.WAITING
    assert "unsettled" in clauses(world, again.id)


async def test_settling_asks_the_status_tool_and_writes_what_it_says(world: World) -> None:
    run = await world.open("WS-1")
    world.lab.next("isolate_host", "lost_before")
    lost = await world.do(run, "edr__isolate_host", host="WS-1")
    assert [each.id for each in world.settling.unsettled()] == [lost.id]
    settled = await world.settling.ask(lost.id, "bob")
    assert (settled.applied, world.action(lost.id).state) == (False, State.FAILED)
    assert world.settling.unsettled() == []
    assert world.kinds(lost.id)[-1] == "settled"


@pytest.mark.promise("P7")
@pytest.mark.parametrize("how", ["error", "lost", "not_sent", "garbage"])
async def test_a_status_question_without_a_clear_answer_settles_nothing(world: World, how: str) -> None:
    run = await world.open("WS-1")
    world.lab.next("isolate_host", "lost")
    lost = await world.do(run, "edr__isolate_host", host="WS-1")
    world.lab.next("host_status", how)
    assert (await world.settling.ask(lost.id, "bob")).applied is None
    assert world.action(lost.id).state is State.UNKNOWN


@pytest.mark.promise("P7")
async def test_a_batch_of_which_only_a_part_landed_is_not_settled_by_asking(world: World) -> None:
    run = await world.open("WS-2", "WS-3")
    world.lab.next("isolate_hosts", "lost_before")
    lost = await world.do(run, "edr__isolate_hosts", hosts=["WS-2", "WS-3"])
    world.lab.facts["WS-2"] = {"isolated": True}
    assert (await world.settling.ask(lost.id, "bob")).applied is None
    assert world.action(lost.id).state is State.UNKNOWN


async def test_settling_by_hand_writes_the_persons_word_once(world: World) -> None:
    run = await world.open("WS-1")
    world.lab.next("isolate_host", "lost")
    lost = await world.do(run, "edr__isolate_host", host="WS-1")
    statement = journal.record("statement", world.clock.at, by="bob")
    settled = await world.settling.settle(lost.id, True, "bob", statement)
    assert settled.action.settled_by == "bob"
    with pytest.raises((Misuse, Refusal)):
        await world.settling.settle(lost.id, False, "bob", statement)
    assert world.action(lost.id).state is State.DONE


# --- undo ---------------------------------------------------------------------------------------------------------


async def test_an_undo_that_a_human_ordered_is_done_even_after_the_run_has_ended(world: World) -> None:
    run = await world.open("WS-1", seconds=60)
    action = await world.do(run, "edr__isolate_host", host="WS-1")
    await world.runs.close(run.id, "oz")
    world.clock.advance(3600)
    undo = await world.done(await world.settling.undo(action.id, "bob", "it was benign"))
    assert (undo.state, undo.opened_by, undo.undoes) == (State.DONE, "bob", action.id)
    assert world.body(world.records("intent", action=undo.id)[0])["approvers"] == [world.names.person("bob")]
    assert world.lab.done("release_host") == [("host-0001",)]


@pytest.mark.promise("P4")
async def test_an_undo_for_which_the_boundary_wants_two_people_waits_for_others_than_who_ordered_it() -> None:
    two = '[[rule]]\nid = "MORE"\nthen = "approve"\nagents = ["*"]\ncategories = ["host.release"]\nquorum = 2'
    world = await World.begin(files=Files({"rules": two}))
    run = await world.open("WS-1", seconds=60)
    action = await world.do(run, "edr__isolate_host", host="WS-1")
    world.clock.advance(3600)
    undo = await world.done(await world.settling.undo(action.id, "bob", "it was benign"))
    await world.runs.close(run.id, "oz")
    world.desk.stop(world.order())
    await world.settle_down()
    assert world.action(undo.id).state is State.WAITING
    with pytest.raises(Refusal):
        await world.decide(world.vote(undo, "bob"))
    assert (await world.approve(undo, "ann")).state is State.WAITING
    assert world.lab.done("release_host") == []
    assert (await world.approve(undo, "cyd")).state is State.DONE
    assert world.lab.done("release_host") == [("host-0001",)]


@pytest.mark.promise("P6")
async def test_while_stopped_only_settling_and_an_undo_that_humans_signed_run(world: World) -> None:
    run = await world.open("WS-1", "WS-2")
    action = await world.do(run, "edr__isolate_host", host="WS-1")
    world.lab.next("isolate_host", "lost")
    lost = await world.do(run, "edr__isolate_host", host="WS-2")
    world.desk.stop(world.order())
    assert (await world.do(run, "edr__host_status", host="WS-1")).state is State.BLOCKED
    assert (await world.settling.ask(lost.id, "bob")).applied is True
    undo = await world.settling.undo(action.id, "bob", "it was benign")
    assert (await world.done(undo)).state is State.DONE
    assert world.lab.done("release_host") == [("host-0001",)]
