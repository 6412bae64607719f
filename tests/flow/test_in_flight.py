"""What is on its way when a stop comes: whichever comes second sees the other."""

from __future__ import annotations

import asyncio
import threading

import pytest

from remit.flow.in_flight import Cut
from remit.flow.points import POINTS
from remit.flow.stop_desk import StopReport
from remit.model.errors import Refusal
from remit.model.words import Action, ScopeKind, State, StopMode
from tests.flow.world import World, memory

BEFORE_THE_HAND_OVER = ("proposing", "intended", "minted")


async def hanging(world: World, tool: str = "isolate_host", **arguments: str) -> Action:
    """An action that was handed over and is not answered."""
    run = await world.open("WS-1", "WS-2", "WS-3")
    world.lab.next(tool, "hang")
    action = await world.propose(run, f"edr__{tool}", **(arguments or {"host": "WS-1"}))
    await world.lab.handed(tool)
    return action


@pytest.mark.promise("P6")
@pytest.mark.parametrize("point", BEFORE_THE_HAND_OVER)
async def test_a_stop_that_returned_before_the_hand_over_lets_nothing_through(any_world: World, point: str) -> None:
    world = any_world
    run = await world.open("WS-1")
    reports: list[StopReport] = []
    world.at[point] = lambda: reports.append(world.desk.stop(world.order()))
    action = await world.do(run, "edr__isolate_host", host="WS-1")
    assert reports
    assert world.lab.effects == []
    assert action.state in (State.BLOCKED, State.CUT)
    assert not action.handed_over
    assert action.id not in [each.action for each in reports[0].may_still_land]


@pytest.mark.promise("P6")
@pytest.mark.parametrize("mode", list(StopMode))
@pytest.mark.parametrize("point", ["approved", "executing", "set out", "minted"])
async def test_a_stop_of_any_mode_between_the_approval_and_the_hand_over_lets_nothing_through(
    world: World, point: str, mode: StopMode
) -> None:
    assert point in POINTS
    run = await world.open("WS-1")
    action = await world.do(run, "idp__disable_account", account="j.doe")
    world.at[point] = lambda: world.desk.stop(world.order(mode))
    after = await world.approve(action)
    assert world.lab.effects == []
    assert after.state in (State.BLOCKED, State.CUT, State.VOID)


@pytest.mark.promise("P6")
async def test_a_stop_at_the_hand_over_itself_lists_the_call(world: World) -> None:
    run = await world.open("WS-1")
    reports: list[StopReport] = []
    world.at["handing over"] = lambda: reports.append(world.desk.stop(world.order()))
    action = await world.do(run, "edr__isolate_host", host="WS-1")
    assert action.id in reports[0].severed
    assert action.state in (State.CUT, State.DONE)


@pytest.mark.promise("P6")
async def test_what_is_severed_for_certain_is_cut_and_needs_settling(any_world: World) -> None:
    world = any_world
    action = await hanging(world)
    report = world.desk.stop(world.order())
    assert (report.severed, report.may_still_land, report.collateral) == ((action.id,), (), ())
    after = await world.done(action)
    assert (after.state, after.handed_over) == (State.CUT, True)
    assert [each.id for each in world.settling.unsettled()] == [action.id]
    assert (await world.settling.ask(action.id, "bob")).applied is False


@pytest.mark.promise("P6")
@pytest.mark.promise("P7")
async def test_what_cannot_be_severed_is_listed_as_may_still_land_and_is_unknown(world: World) -> None:
    world.lab.uncuttable.add("edr")
    action = await hanging(world)
    landing = world.lab.hanging[action.id]
    report = world.desk.stop(world.order())
    (found,) = report.may_still_land
    assert (found.action, found.connector, found.targets) == (action.id, "edr", ("WS-1",))
    assert "host_status" in found.check
    after = await world.done(action)
    assert after.state is State.UNKNOWN
    world.lab.release(landing)
    assert world.action(action.id).state is State.UNKNOWN
    assert (await world.settling.ask(action.id, "bob")).applied is True


@pytest.mark.promise("P6")
async def test_a_connector_whose_severing_fails_is_listed_and_the_others_are_severed_all_the_same(
    world: World,
) -> None:
    run = await world.open("WS-1", "j.doe")
    world.files.change(ask="auto")
    await world.reload()
    world.lab.unkillable.add("edr")
    for tool in ("isolate_host", "disable_account"):
        world.lab.next(tool, "hang")
    first = await world.propose(run, "edr__isolate_host", host="WS-1")
    second = await world.propose(run, "idp__disable_account", account="j.doe")
    for tool in ("isolate_host", "disable_account"):
        await world.lab.handed(tool)
    report = world.desk.stop(world.order())
    assert [each.action for each in report.may_still_land] == [first.id]
    assert report.severed == (second.id,)
    world.lab.hanging.pop(first.id)
    assert (await world.done(first)).state is State.UNKNOWN


@pytest.mark.promise("P6")
async def test_others_whose_process_fell_with_it_are_collateral_and_unknown(world: World) -> None:
    world.lab.shared_process = True
    mine = await hanging(world)
    other_run = await world.open("WS-2", agent="hunt")
    world.lab.next("isolate_host", "hang")
    other = await world.propose(other_run, "edr__isolate_host", host="WS-2")
    async with asyncio.timeout(5):
        while len(world.lab.hanging) < 2:
            await asyncio.sleep(0)
    report = world.desk.stop(world.order(StopMode.CUT, ScopeKind.AGENT, "triage"))
    assert (report.severed, report.collateral) == ((mine.id,), (other.id,))
    after = await world.done(other)
    assert (after.state, after.handed_over) == (State.UNKNOWN, True)
    assert "killed by a stop" in after.outcome


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    ("kind", "name", "covered"),
    [
        (ScopeKind.EVERYTHING, "", True),
        (ScopeKind.AGENT, "triage", True),
        (ScopeKind.AGENT, "hunt", False),
        (ScopeKind.CONNECTOR, "edr", True),
        (ScopeKind.CONNECTOR, "idp", False),
        (ScopeKind.CATEGORY, "host.isolate", True),
        (ScopeKind.CATEGORY, "host.*", True),
        (ScopeKind.CATEGORY, "account.*", False),
        (ScopeKind.TARGET, "WS-1", True),
        (ScopeKind.TARGET, "WS-2", False),
        (ScopeKind.RUN, "run_other", False),
    ],
)
@pytest.mark.parametrize("mode", list(StopMode))
async def test_every_mode_and_scope_does_what_it_says_to_new_calls_reads_and_what_is_in_flight(
    world: World, mode: StopMode, kind: ScopeKind, name: str, covered: bool
) -> None:
    action = await hanging(world)
    run = world.durable.reads.run(action.run)
    assert run is not None
    report = world.desk.stop(world.order(mode, kind, name))
    if covered and mode is StopMode.CUT:
        assert report.severed == (action.id,)
        assert (await world.done(action)).state is State.CUT
    else:
        assert (report.severed, report.may_still_land, report.not_sent) == ((), (), ())
        world.lab.release(world.lab.hanging[action.id])
        assert (await world.done(action)).state is State.DONE
        await world.settle_down()
    change = await world.do(run, "edr__isolate_host", host="WS-1", reason="again")
    assert (change.state is State.BLOCKED) is covered
    read = await world.do(run, "edr__host_status", host="WS-1")
    of_reads = kind is not ScopeKind.CATEGORY  # what these categories cover are changes
    assert (read.state is State.BLOCKED) is (covered and of_reads and mode is not StopMode.HOLD)


async def test_a_stop_of_a_run_stops_that_run_and_no_other(world: World) -> None:
    run, other = await world.open("WS-1"), await world.open("WS-2")
    world.desk.stop(world.order(StopMode.CUT, ScopeKind.RUN, run.id))
    assert (await world.do(run, "edr__host_status", host="WS-1")).state is State.BLOCKED
    assert (await world.do(other, "edr__host_status", host="WS-1")).state is State.DONE


@pytest.mark.promise("P6")
async def test_a_stop_from_another_thread_holds_while_the_loop_is_busy(world: World) -> None:
    run = await world.open("WS-1")
    world.lab.next("isolate_host", "hang")
    action = await world.propose(run, "edr__isolate_host", host="WS-1")
    await world.lab.handed("isolate_host")
    reports: list[StopReport] = []
    order = world.order()
    thread = threading.Thread(target=lambda: reports.append(world.desk.stop(order)))
    thread.start()
    thread.join(5)  # the loop does not turn meanwhile: nothing of the stop may need it
    assert [report.severed for report in reports] == [(action.id,)]
    assert world.orders() == (order,)
    assert (await world.done(action)).state is State.CUT
    assert [each.kind for each in world.records("stop", "cut")] == ["stop", "cut"]


@pytest.mark.promise("P6")
async def test_a_thread_that_stops_at_any_moment_never_lets_an_effect_follow_it(world: World) -> None:
    run = await world.open(*(f"WS-{number}" for number in range(1, 7)))
    world.files.change(most_targets="6", most_actions="1000")
    await world.reload()
    for attempt in range(30):
        calls = [
            world.call(run, "edr__isolate_host", host=f"WS-{number}", reason=f"{attempt}") for number in range(1, 7)
        ]
        tasks = [asyncio.ensure_future(world.steward.propose(call)) for call in calls]
        for _ in range(attempt):
            await asyncio.sleep(0)
        order = world.order()
        seen: list[int] = []
        thread = threading.Thread(target=lambda o=order, s=seen: (world.desk.stop(o), s.append(len(world.lab.effects))))
        thread.start()
        thread.join(5)
        await asyncio.gather(*tasks)
        await world.settle_down()
        assert len(world.lab.effects) == seen[0]
        assert world.in_flight.executions() == ()
        assert world.actions(State.EXECUTING) == []
        await world.resume("lena")
        for each in world.settling.unsettled():
            await world.settling.settle(each.id, True, "bob")


@pytest.mark.promise("P6")
async def test_a_cut_that_finds_an_action_the_moment_it_is_registered_still_gets_an_outcome(world: World) -> None:
    """The follow-up of a stop on another thread may be queued before the loop turns again."""
    run = await world.open("WS-1")
    cuts: list[Cut] = []
    started = world.in_flight.start

    def start(*given: object, **more: object) -> object:
        execution = started(*given, **more)  # type: ignore[arg-type]
        order = world.order()
        world.stops.place(order)
        cuts.append(world.in_flight.sever(order))
        asyncio.get_running_loop().call_soon(world.in_flight.cancel, cuts[0])
        return execution

    world.in_flight.start = start  # type: ignore[method-assign, assignment]
    action = await world.do(run, "edr__isolate_host", host="WS-1")
    assert cuts[0].not_sent == (action.id,)
    assert (action.state, action.handed_over) == (State.CUT, False)
    assert world.in_flight.executions() == ()
    assert world.lab.effects == []


async def test_an_action_is_in_the_register_only_once_its_task_can_be_cancelled(world: World) -> None:
    run = await world.open("WS-1")
    loop, order = asyncio.get_running_loop(), world.order()
    create = loop.create_task
    found: list[int] = []

    def creating(coroutine: object, **more: object) -> object:
        found.append(len(world.in_flight.executions()))
        return create(coroutine, **more)  # type: ignore[arg-type]

    loop.create_task = creating  # type: ignore[method-assign, assignment]
    try:
        action = await world.propose(run, "edr__isolate_host", host="WS-1")
    finally:
        loop.create_task = create  # type: ignore[method-assign]
    assert found == [0]
    assert order.mode is StopMode.CUT
    assert (await world.done(action)).state is State.DONE


@pytest.mark.promise("P6")
async def test_what_waited_or_was_approved_is_void_after_a_stop_and_stays_so_after_the_resume(world: World) -> None:
    run = await world.open("WS-1")
    action = await world.do(run, "idp__disable_account", account="j.doe")
    vote = world.vote(action, "ann")
    world.desk.stop(world.order(StopMode.HOLD))
    await world.settle_down()
    assert world.action(action.id).state is State.VOID
    await world.resume()
    with pytest.raises(Refusal):
        await world.decide(vote)
    again = await world.do(run, "idp__disable_account", account="j.doe")
    assert again.id != action.id
    assert again.state is State.WAITING


@pytest.mark.promise("P6")
async def test_what_could_not_be_voided_when_the_stop_came_is_void_before_it_is_lifted(world: World) -> None:
    run = await world.open("WS-1")
    action = await world.do(run, "idp__disable_account", account="j.doe")
    memory(world).sicken("the disk is full")
    report = world.desk.stop(world.order())
    await world.settle_down()
    assert report.problem == ""
    memory(world).sicken("")
    assert world.action(action.id).state is State.WAITING
    await world.resume()
    assert world.action(action.id).state is State.VOID


@pytest.mark.promise("P6")
async def test_an_approval_while_stopped_executes_nothing(world: World) -> None:
    run = await world.open("WS-1")
    action = await world.do(run, "idp__disable_account", account="j.doe")
    world.stops.place(world.order())
    after = await world.approve(action)
    assert after.state is State.BLOCKED
    assert world.lab.effects == []


async def test_progress_reaches_whoever_listens(world: World) -> None:
    run = await world.open("WS-1")
    world.lab.next("isolate_host", "answer", progress=({"progress": 1},))
    heard: list[object] = []
    answer = await world.agents.call(
        run, "edr__isolate_host", {"host": "WS-1", "rationale": {"summary": "x"}}, hold=5, on_progress=heard.append
    )
    assert answer.state is State.DONE


async def test_finish_waits_for_what_is_in_flight_and_lists_what_still_is(world: World) -> None:
    action = await hanging(world)
    assert await world.in_flight.finish(0.0) == (action.id,)
    world.lab.release(world.lab.hanging[action.id])
    assert await world.in_flight.finish(5.0) == ()
