"""A category that must be witnessed: nothing of it happens before its intent is, but by a human's word."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from remit.flow.ports import StoredRecord
from remit.model.words import ScopeKind, State, StopMode
from tests.flow.home import Files
from tests.flow.world import World, clauses

WITNESSED = "witnessed = true"
OR_REFUSED = 'witnessed = true\nunwitnessed = "forbid"'


async def begin(isolate: str = WITNESSED, **more: object) -> World:
    return await World.begin(None, Files({"isolate": isolate}, **more))  # type: ignore[arg-type]


def record(world: World, action_id: str, kind: str) -> StoredRecord:
    (found,) = world.durable.reads.records(action=action_id, kinds=(kind,))
    return found


async def test_the_witnesses_are_asked_for_the_position_of_the_intent_before_anything_is_handed_over() -> None:
    world = await begin()
    run = await world.open("WS-1")
    at_the_wait: list[int] = []
    world.at["witnessing"] = lambda: at_the_wait.append(len(world.lab.calls))
    before = len(world.lab.calls)
    action = await world.do(run, "edr__isolate_host", host="WS-1")
    assert action.state is State.DONE
    assert at_the_wait == [before]
    assert world.witnesses.asked == [record(world, action.id, "intent").position]


async def test_a_category_that_need_not_be_witnessed_waits_for_nobody() -> None:
    world = await begin("")
    world.witnesses.says, world.witnesses.answer = "none", False
    run = await world.open("WS-1")
    assert (await world.do(run, "edr__isolate_host", host="WS-1")).state is State.DONE
    assert world.witnesses.asked == []


async def test_an_intent_that_is_not_witnessed_in_time_is_not_sent_and_can_be_proposed_anew() -> None:
    world = await begin()
    world.witnesses.answer = False
    run = await world.open("WS-1")
    before = len(world.lab.calls)
    action = await world.do(run, "edr__isolate_host", host="WS-1")
    assert (action.state, action.handed_over) == (State.FAILED, False)
    assert action.outcome == "its intent was not witnessed in time"
    assert len(world.lab.calls) == before
    assert msgspec.json.decode(record(world, action.id, "outcome").data)["why"] == "unwitnessed"
    assert "unwitnessed" in world.told.codes()
    # Its witnesses are known to be away by now: a human is asked, and with a yes it goes on without them.
    world.witnesses.says = "0 of 1 witnesses answer, 1 are needed"
    again = await world.do(run, "edr__isolate_host", host="WS-1", reason="again")
    assert (again.state, clauses(world, again.id)) == (State.WAITING, ["witness"])
    asked = len(world.witnesses.asked)
    done = await world.approve(again)
    assert done.state is State.DONE
    assert len(world.witnesses.asked) == asked
    intent = msgspec.json.decode(record(world, again.id, "intent").data)
    assert "witness" in str(intent["ruling"]) and len(intent["approvers"]) == 1
    world.witnesses.says, world.witnesses.answer = "", True
    assert (await world.do(run, "edr__isolate_host", host="WS-1", reason="third")).state is State.DONE


async def test_where_the_boundary_says_so_nothing_of_it_happens_without_witnesses() -> None:
    world = await begin(OR_REFUSED)
    world.witnesses.says = "no witness is configured"
    run = await world.open("WS-1")
    for number in range(5):
        action = await world.do(run, "edr__isolate_host", host="WS-1", reason=str(number))
        assert (action.state, clauses(world, action.id)) == (State.BLOCKED, ["witness"])
    assert world.orders() == ()  # it is not the agent's doing, so it is not held for it
    assert (await world.do(run, "edr__host_status", host="WS-1")).state is State.DONE


async def test_witnesses_that_are_back_before_the_yes_are_asked_after_it() -> None:
    world = await begin()
    world.witnesses.says = "away"
    run = await world.open("WS-1")
    action = await world.do(run, "edr__isolate_host", host="WS-1")
    assert action.state is State.WAITING
    world.witnesses.says, world.witnesses.answer = "", False
    assert (await world.approve(action)).state is State.FAILED
    assert len(world.witnesses.asked) == 1


async def test_what_a_human_must_approve_anyway_is_witnessed_too() -> None:
    world = await begin()
    run = await world.open("SRV-1")
    action = await world.do(run, "edr__isolate_host", host="SRV-1")
    assert clauses(world, action.id) == ["ISO-2"]
    assert (await world.approve(action)).state is State.DONE
    assert len(world.witnesses.asked) == 1


@pytest.mark.promise("P6")
@pytest.mark.parametrize("mode", [StopMode.CUT, StopMode.HOLD, StopMode.DRAIN])
async def test_a_stop_during_the_wait_ends_it_and_nothing_is_sent(mode: StopMode) -> None:
    world = await begin()
    world.witnesses.answer = None
    run = await world.open("WS-1")
    before = len(world.lab.calls)
    action = await world.propose(run, "edr__isolate_host", host="WS-1")
    async with asyncio.timeout(10):
        while not world.witnesses.asked:
            await asyncio.sleep(0)
    report = world.desk.stop(world.order(mode, ScopeKind.EVERYTHING))
    if mode is StopMode.CUT:
        assert report.not_sent == (action.id,)
    else:
        world.witnesses.answer = True
        world.witnesses.answered.set()
    ended = await world.done(action)
    assert (ended.state, ended.handed_over) == (State.CUT, False)
    assert len(world.lab.calls) == before
    assert not world.in_flight.executions()


async def test_witnesses_that_fail_in_a_way_nobody_foresaw_let_nothing_through() -> None:
    world = await begin()

    async def broken(position: int, seconds: float) -> bool:
        raise RuntimeError("boom")

    world.witnesses.cover = broken  # type: ignore[method-assign]
    run = await world.open("WS-1")
    action = await world.do(run, "edr__isolate_host", host="WS-1")
    assert (action.state, action.handed_over) == (State.FAILED, False)


async def test_remits_own_reads_are_not_held_up_while_the_witnesses_are_away() -> None:
    world = await begin(preconditions=True)
    world.witnesses.says = "away"
    run = await world.open("WS-1")
    action = await world.do(run, "edr__isolate_host", host="WS-1")
    assert action.state is State.WAITING
    assert (await world.approve(action)).state is State.DONE


async def test_a_crash_during_the_wait_leaves_it_unknown_and_never_repeated() -> None:
    world = await begin()
    world.witnesses.answer = None
    run = await world.open("WS-1")
    action = await world.propose(run, "edr__isolate_host", host="WS-1")
    async with asyncio.timeout(10):
        while not world.witnesses.asked:
            await asyncio.sleep(0)
    before = len(world.lab.calls)
    await world.restart()
    assert world.action(action.id).state is State.UNKNOWN
    assert len(world.lab.calls) == before
