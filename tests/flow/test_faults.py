"""The store fails and the process dies at every commit: nothing happens twice, or without a record."""

from __future__ import annotations

import pytest

from remit.flow import carrying
from remit.model.errors import CommitUnknown, NotCommitted
from remit.model.words import State
from tests.flow.world import Crash, World, clauses, memory


@pytest.mark.promise("P1")
async def test_what_cannot_be_recorded_is_refused_and_nothing_happens(world: World) -> None:
    run = await world.open("WS-1")
    memory(world).sicken("the disk is full")
    with pytest.raises(NotCommitted):
        await world.propose(run, "edr__isolate_host", host="WS-1")
    memory(world).sicken("")
    await world.settle_down()
    assert world.lab.effects == []
    assert (await world.do(run, "edr__isolate_host", host="WS-1")).state is State.DONE


@pytest.mark.promise("P1")
async def test_an_intent_whose_commit_is_in_doubt_is_never_executed(world: World) -> None:
    run = await world.open("WS-1")
    memory(world).fail_next("applied_answer_lost")
    with pytest.raises(CommitUnknown):
        await world.propose(run, "edr__isolate_host", host="WS-1")
    await world.settle_down()
    assert not any(tool == "isolate_host" for _, _, tool, _ in world.lab.calls)
    await world.restart()
    assert [each.state for each in world.actions(State.UNKNOWN)] == [State.UNKNOWN]
    assert world.lab.effects == []


@pytest.mark.promise("P7")
async def test_an_outcome_that_did_not_commit_is_tried_again_and_the_action_is_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "RETRY_AFTER", (0.0, 0.0))
    run = await world.open("WS-1")
    memory(world).fail_next("not_applied", after=1)
    action = await world.do(run, "edr__isolate_host", host="WS-1")
    assert action.state is State.DONE
    assert world.lab.times(action.id) == 1


@pytest.mark.promise("P7")
async def test_an_outcome_that_can_never_be_recorded_is_unknown_after_the_restart(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "RETRY_AFTER", (0.0, 0.0))
    run = await world.open("WS-1")
    plan = world.lab.next("isolate_host")
    plan.on_the_way = lambda: memory(world).sicken("the disk is full")
    answer = await world.agents.call(run, "edr__isolate_host", {"host": "WS-1", "rationale": {"summary": "x"}}, hold=5)
    assert answer.state is State.UNKNOWN
    memory(world).sicken("")
    await world.restart()
    assert len(world.lost) == 1
    assert world.action(world.lost[0]).state is State.UNKNOWN
    assert world.lab.times(world.lost[0]) == 1


@pytest.mark.promise("P7")
async def test_an_outcome_whose_commit_is_in_doubt_is_read_back(world: World) -> None:
    run = await world.open("WS-1")
    memory(world).fail_next("applied_answer_lost", after=1)
    answer = await world.agents.call(run, "edr__isolate_host", {"host": "WS-1", "rationale": {"summary": "x"}}, hold=5)
    assert answer.state is State.DONE


@pytest.mark.promise("P1")
@pytest.mark.promise("P4")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("step", range(1, 5))
@pytest.mark.parametrize("form", ["crash", "not_applied", "applied_answer_lost"])
async def test_a_fault_at_any_commit_of_an_approved_action_never_repeats_it_and_never_forgets_it(
    world: World, form: str, step: int
) -> None:
    """Steps: proposal, vote, intent, outcome."""
    run = await world.open("WS-1")
    if form == "crash":
        world.store.dies_after = world.store.steps + step
    else:
        memory(world).fail_next(form, after=step - 1)  # type: ignore[arg-type]
    try:
        action = await world.do(run, "idp__disable_account", account="j.doe")
        await world.approve(action)
    except (Crash, NotCommitted, CommitUnknown):
        pass
    await world.restart()
    await world.settle_down()
    found = [each for each in world.actions() if each.connector == "idp"]
    assert len(world.lab.done("disable_account")) <= 1
    for each in found:
        happened = world.lab.times(each.id) == 1
        if happened:
            assert each.state in (State.DONE, State.UNKNOWN)
            assert world.durable.reads.approvals(each.id)
        else:
            assert each.state in (State.WAITING, State.UNKNOWN, State.APPROVED)
    assert all(each.state is not State.EXECUTING for each in found)
    if form == "crash" and step in (2, 3):
        (action,) = found
        # after the vote was durable it goes on by itself; after the intent was, nobody knows
        assert action.state is (State.DONE if step == 2 else State.UNKNOWN)


@pytest.mark.promise("P1")
@pytest.mark.parametrize("landing", [True, False])
async def test_a_crash_while_a_call_is_on_its_way_leaves_it_unknown_and_holds_its_target(
    world: World, landing: bool
) -> None:
    run = await world.open("WS-1")
    world.lab.next("isolate_host", "hang")
    action = await world.propose(run, "edr__isolate_host", host="WS-1")
    await world.lab.handed("isolate_host")
    await world.restart(landing=landing)
    assert world.lost == (action.id,)
    assert world.action(action.id).state is State.UNKNOWN
    again = await world.do(run, "edr__isolate_host", host="WS-1")
    assert (again.state, clauses(world, again.id)) == (State.WAITING, ["unsettled"])
    assert world.lab.times(action.id) == int(landing)
    assert (await world.settling.ask(action.id, "bob")).applied is landing


async def test_after_a_restart_what_waited_still_waits_and_what_expired_meanwhile_is_rejected(world: World) -> None:
    run = await world.open("WS-1")
    first = await world.do(run, "idp__disable_account", account="j.doe")
    world.clock.advance(20 * 60)
    second = await world.do(run, "idp__disable_account", account="adm")
    world.clock.advance(11 * 60)
    await world.restart()
    assert world.action(first.id).state is State.EXPIRED
    assert world.action(second.id).state is State.WAITING
    assert (await world.approve(second)).state is State.DONE


async def test_an_outcome_is_written_once_however_often_the_task_is_cancelled(world: World) -> None:
    run = await world.open("WS-1")
    world.lab.next("isolate_host", "hang")
    action = await world.propose(run, "edr__isolate_host", host="WS-1")
    await world.lab.handed("isolate_host")
    (execution,) = world.in_flight.executions()
    assert execution.task is not None
    execution.task.cancel()
    execution.task.cancel()
    world.lab.hanging.clear()
    done = await world.done(action)
    assert done.state is State.UNKNOWN
    assert world.kinds(action.id).count("outcome") == 1
