"""Stopping when things go wrong: crashes, a torn latch, a blocked gateway, a sick store, no gateway at all."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from remit_lab import faults
from remit_lab.faults import Fault
from tests.support.fixtures import Make
from tests.support.gateway import Agent, Gateway, NotStarted, Refused, eventually, give_up, remit
from tests.support.home import Practice


async def everything_is_refused(agent: Agent) -> None:
    """Reads and changes alike, and the agent is told not to retry."""
    for call in (agent.call("edr__list_hosts"), agent.change("edr__isolate_host", host="WS-014")):
        answer = await call
        assert answer.error
        assert answer.state == "stopped", answer.text
        assert "stop" in answer.clauses


def changes(practice: Practice) -> int:
    return len(practice.effects())


@asynccontextmanager
async def in_flight(gateway: Gateway, agent: Agent) -> AsyncIterator[asyncio.Task[object]]:
    """An isolation that the connector has been given, and that would land in a minute."""
    practice = gateway.practice
    faults.write(practice.lab, {"isolate_host": Fault(delay_ms=60_000)})
    call = agent.start("edr__isolate_host", host="WS-014", rationale={"summary": "slow"})
    burned = practice.lab / "edr.burned.jsonl"

    def given() -> bool:
        actions = practice.actions("isolate_host")
        return bool(actions) and burned.exists() and actions[-1]["warrant"] in burned.read_text()

    await eventually(given, "the connector was given the call")
    try:
        yield call
    finally:
        await give_up(call)
        faults.write(practice.lab, {})


@pytest.mark.promise("P6")
async def test_a_stop_outlives_a_crash_and_only_a_signed_resume_lifts_it(make: Make) -> None:
    practice = make("edr")
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("WS-014")
        held = await gateway.waiting(agent, "edr__release_host", host="WS-014")
        stopped = await gateway.ask("stop", mode="cut", scope="everything")
        assert (await held.call).state == "stopped"
        gateway.process.kill()
        await gateway.died()

    async with Gateway.on(practice) as gateway:
        agent = await gateway.again(agent)
        assert [each["stop"] for each in (await gateway.ask("status"))["stops"]] == [stopped["stop"]]
        await everything_is_refused(agent)
        assert practice.actions("release_host")[0]["state"] == "void"
        with pytest.raises(Refused, match="may not `resume`"):
            await gateway.signed("resume", "operator", reason="let it go on")
        await gateway.signed("resume", "on-call", reason="looked at it")
        assert (await agent.change("edr__isolate_host", host="WS-014")).done
    assert changes(practice) == 1


@pytest.mark.promise("P6")
async def test_a_torn_latch_file_refuses_everything_and_cannot_be_resumed_away(make: Make) -> None:
    practice = make("edr")
    latch = practice.home / "state" / "latch"
    whole = latch.read_bytes()
    latch.write_bytes(whole[:9] + b"\0\xff torn" + whole[20:])
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("WS-014")
        await everything_is_refused(agent)
        assert "cannot be read" in (await gateway.ask("status"))["blind"]
        with pytest.raises(Refused, match="cannot be lifted"):
            await gateway.signed("resume", "on-call", reason="it looks fine to me")
        await everything_is_refused(agent)
    assert changes(practice) == 0


@pytest.mark.promise("P6")
@pytest.mark.parametrize("way", ["control socket", "STOP file", "SIGUSR1", "command line"])
async def test_every_way_in_severs_what_is_in_flight_and_lets_nothing_new_start(make: Make, way: str) -> None:
    practice = make("edr")
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("WS-014")
        async with in_flight(gateway, agent) as call:
            await stop_by(gateway, way)
            answer = await asyncio.wait_for(call, 10)
            assert answer.state == "stopped"  # type: ignore[attr-defined]
        await everything_is_refused(agent)
        (action,) = [each for each in practice.actions("isolate_host") if each["intended_at"]]
        assert action["state"] == "cut"
        assert action["handed_over"]
        await eventually(lambda: practice.records("cut"), "the stop was on record")
        assert action["id"] in practice.records("cut")[-1]["severed"]
    assert changes(practice) == 0


async def stop_by(gateway: Gateway, way: str) -> None:
    practice = gateway.practice
    match way:
        case "control socket":
            assert (await gateway.ask("stop"))["severed"]
        case "STOP file":
            (practice.home / "STOP").touch()
        case "SIGUSR1":
            gateway.process.send_signal(signal.SIGUSR1)
        case "command line":
            code, out, err = await remit(practice, "stop", "--json")
            assert code == 0, err
            assert len(json.loads(out)["severed"]) == 1


@pytest.mark.promise("P6")
@pytest.mark.parametrize("way", ["control socket", "STOP file"])
async def test_a_stop_latches_and_severs_while_the_gateways_event_loop_is_blocked(make: Make, way: str) -> None:
    practice = make("edr")
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("WS-014", "WS-022")
        async with in_flight(gateway, agent):
            connectors = connector_processes(practice)
            assert connectors
            gateway.arm("proposing", 1, "block", seconds=30)
            blocked = agent.start("edr__list_hosts")
            await eventually((practice.root / "blocked").exists, "the loop was blocked")
            began = time.monotonic()
            if way == "control socket":
                assert (await gateway.ask("stop"))["severed"]
            else:
                (practice.home / "STOP").touch()
            await eventually(lambda: not connector_processes(practice) & connectors, "the connector was dead", 5.0)
            assert time.monotonic() - began < 5.0
            gateway.disarm()
            (practice.root / "go").touch()
            assert (await asyncio.wait_for(blocked, 20)).state == "stopped"
        await everything_is_refused(agent)
    assert changes(practice) == 0


def connector_processes(practice: Practice) -> set[int]:
    """The lab's processes on this home, by what they run."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == practice.root:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if words[1:3] == [b"-m", b"remit_lab.edr"]:
                    found.add(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.promise("P6")
async def test_without_a_gateway_a_stop_is_latched_and_holds_when_one_starts(make: Make) -> None:
    practice = make("edr")
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("WS-014")
    code, out, err = await remit(practice, "stop", "--json", "--reason", "at night")
    assert code == 0, err
    assert json.loads(out)["gateway"] is False
    async with Gateway.on(practice) as gateway:
        await everything_is_refused(await gateway.again(agent))
    assert changes(practice) == 0


async def test_two_gateways_on_one_home_do_not_both_start(make: Make) -> None:
    practice = make("edr")
    async with Gateway.on(practice) as gateway:
        with pytest.raises(NotStarted, match=f"in use by .*{gateway.process.pid}"):
            await Gateway.start(practice)
        assert (await gateway.ask("hello"))["home"] == practice.id
        gateway.process.kill()
        await gateway.died()
    async with Gateway.on(practice) as gateway:
        assert (await gateway.ask("hello"))["home"] == practice.id


@pytest.mark.promise("P1")
@pytest.mark.promise("P6")
async def test_while_another_process_holds_the_store_everything_is_refused_and_stop_works(make: Make) -> None:
    practice = make("edr")
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("WS-014")
        await agent.tools()
        with held_store(practice):
            await refused_for(agent, "another process holds the store")
            await gateway.ask("stop", mode="hold")
            latched = json.loads((practice.home / "state" / "latch").read_bytes().rstrip())
            assert latched["orders"]
        assert changes(practice) == 0
        await eventually(lambda: practice.records("stop"), "the stop was on record once the store was free")
        await gateway.signed("resume", "on-call", reason="the store is free")
        assert (await agent.change("edr__isolate_host", host="WS-014")).done
    assert changes(practice) == 1


async def refused_for(agent: Agent, why: str) -> None:
    """A read and a change are both refused, saying why, and that it is not about the request."""
    for call in (agent.call("edr__list_hosts"), agent.change("edr__isolate_host", host="WS-014")):
        answer = await call
        assert answer.error
        assert answer.state == "blocked"
        assert answer.clauses == {"journal"}
        assert why in answer.text


class held_store:
    """The store's write lock, held by somebody else."""

    def __init__(self, practice: Practice) -> None:
        self._connection = sqlite3.connect(practice.home / "state" / "remit.db", isolation_level=None, timeout=5)

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, *_: object) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()


@pytest.mark.promise("P1")
@pytest.mark.promise("P6")
async def test_when_no_file_can_grow_everything_is_refused_stop_works_and_a_restart_mends_it(make: Make) -> None:
    practice = make("edr")
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("WS-014")
        await agent.tools()
        full = max((practice.home / "state" / "remit.db-wal").stat().st_size, 128 * 1024)
        gateway.arm("before_begin", 1, "fill", bytes=full)
        await eventually_refused(agent)
        before = changes(practice)
        for call in (agent.call("edr__list_hosts"), agent.change("edr__isolate_host", host="WS-014")):
            answer = await call
            assert answer.error
            assert answer.clauses == {"journal"}
            assert "disk" in answer.text
        assert changes(practice) == before
        stopped = await gateway.ask("stop")
        assert stopped["problem"] == ""
        assert (await gateway.ask("status"))["store"]

    gateway.disarm()
    async with Gateway.on(practice) as gateway:
        agent = await gateway.again(agent)
        await everything_is_refused(agent)
        await gateway.signed("resume", "on-call", reason="there is room again")
        assert (await agent.call("edr__list_hosts")).done
        assert not (await gateway.ask("status"))["store"]


async def eventually_refused(agent: Agent) -> None:
    """Reads until the first is refused: how much still fits is the disk's business."""
    for _ in range(50):
        if (await agent.call("edr__list_hosts")).error:
            return
    raise AssertionError("the disk never filled up")


@pytest.mark.promise("P1")
@pytest.mark.parametrize("form", ["not applied", "applied and the answer lost"])
async def test_a_failing_write_of_the_intent_starts_nothing_in_either_form(make: Make, form: str) -> None:
    practice = make("edr")
    point, passing = ("before_commit", 3) if form == "not applied" else ("after_commit_before_ack", 3)
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("WS-014")
        await agent.tools()
        gateway.arm(point, passing, "raise")
        answer = await agent.change("edr__isolate_host", host="WS-014")
        assert answer.error
        assert changes(practice) == 0
        gateway.disarm()
        actions = practice.actions("isolate_host")
        assert bool(actions) is (form != "not applied")
    async with Gateway.on(practice) as gateway:
        unsettled = (await gateway.ask("status"))["unsettled"]
        assert [each["action"] for each in unsettled] == [each["id"] for each in actions]
    assert changes(practice) == 0


assert sys.platform == "linux", "these tests look into /proc"
