"""An agent that controls its own process entirely can neither alter nor suppress a record: what it does to the line.

It cancels, ends its session, hangs up and resets at every stage of a call, numbers two calls alike, and floods. What
was taken in is on record from its proposal to its outcome; what was not whole never was a call. What an agent says is
in `test_suppression.py`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from remit.doors.gateway.settings import GatewaySettings
from remit_lab import faults
from remit_lab.faults import Fault
from tests.adversary.hostile import CONCLUDE, HOST, ISOLATE, WHY
from tests.adversary.watching import SERVED, Watched, under_a_checkpoint
from tests.adversary.wire import Begun, Era, Wire
from tests.faults.checks import every_effect_had_an_intent
from tests.faults.verifying import verified_by_both
from tests.support.fixtures import Make
from tests.support.gateway import Agent, Gateway, eventually
from tests.support.home import Practice

BOUNDARY = {"hold_after = 2": "hold_after = 5000", "max_actions = 20": "max_actions = 2000"}
CARRIED_OUT = {"proposal": 1, "intent": 1, "outcome": 1}
CHANGE = {"hosts": [HOST], "rationale": WHY}
SCRIPT = "edr__run_script"
READ = "edr__list_hosts"
SLOTS = GatewaySettings().max_calls
ODD_IDS: tuple[Any, ...] = (8, "7", 7.5, True, None, "", [], {}, [7], {"id": 7}, "x" * 5000, -7, 2**53 - 1)
ENDINGS: dict[str, Callable[[Begun], None]] = {"close": Begun.close, "half": Begun.half_close, "reset": Begun.reset}


def slow(practice: Practice, milliseconds: int = 300) -> Practice:
    """Let the connector take its time over an effect, so that an agent has some to do harm."""
    faults.write(practice.lab, {"isolate_hosts": Fault(delay_ms=milliseconds, effect="before")})
    return practice


async def in_order(gateway: Gateway) -> None:
    """Wait until everything is under a checkpoint, and see that the gateway had no trouble of its own."""
    await under_a_checkpoint(gateway)
    assert "could not be answered" not in gateway.practice.log.read_text()


def whole(practice: Practice, scratch: Path) -> None:
    """Nothing happened without an intent, and both verifiers find the log in order."""
    every_effect_had_an_intent(practice)
    proposed = [record["action"] for record in practice.records("proposal")]
    ended = [record["action"] for record in practice.records("outcome")]
    assert len(set(proposed)) == len(proposed) and len(set(ended)) == len(ended)
    assert sorted(ended) == sorted(record["action"] for record in practice.records("intent"))
    verified_by_both(practice, scratch)


async def intended(practice: Practice, tool: str = "isolate_hosts") -> None:
    await eventually(lambda: [each for each in practice.actions(tool) if each["state"] == "executing"], "it set out")


@pytest.mark.promise("P12")
@pytest.mark.parametrize("era", Era)
async def test_a_cancelled_call_is_on_record_to_its_end(make: Make, tmp_path: Path, era: Era) -> None:
    practice = slow(make("edr", boundary=BOUNDARY))
    async with Gateway.on(practice, **SERVED) as gateway:
        agent, other = await gateway.open(HOST), await gateway.open(HOST, case="CASE-2")
        wire, beside, foreign = [await Wire.open(each, era) for each in (agent, agent, other)]
        watched = Watched(practice, agent.run)
        for waits in (True, False):
            call = await wire.begin(ISOLATE, CHANGE, 7)
            if waits:
                await intended(practice)
                for odd in ODD_IDS:
                    assert (await wire.cancel(odd)).status == 202, odd
                for elsewhere in (beside, foreign):
                    assert (await elsewhere.cancel(7)).status == 202
            assert (await wire.cancel(7)).status == 202
            # A client of 2026-07-28 cancels by hanging up: what it says besides is passed over.
            answer = await call.answer()
            assert ("error" in answer.json and answer.code == -32800) == (era is Era.HANDSHAKE)
            assert await watched.ended(least=1) == CARRIED_OUT
        await in_order(gateway)
    assert len(practice.effects()) == 2
    whole(practice, tmp_path)


@pytest.mark.promise("P12")
async def test_ending_the_session_ends_the_waiting_and_no_record(make: Make, tmp_path: Path) -> None:
    practice = slow(make("edr", boundary=BOUNDARY))
    async with Gateway.on(practice, **SERVED) as gateway:
        agent = await gateway.open(HOST)
        watched = Watched(practice, agent.run)
        for waits in (True, False):
            wire = await Wire.open(agent, Era.HANDSHAKE)
            call = await wire.begin(ISOLATE, CHANGE)
            if waits:
                await intended(practice)
            assert (await wire.delete()).status == 204
            assert (await call.answer()).code == -32800
            assert (await wire.call(ISOLATE, CHANGE)).status == 404
            assert await watched.ended(least=1) == CARRIED_OUT
        await in_order(gateway)
    assert len(practice.effects()) == 2
    whole(practice, tmp_path)


@pytest.mark.promise("P12")
@pytest.mark.parametrize("era", Era)
async def test_wherever_an_agent_hangs_up_a_whole_call_is_on_record_and_a_part_of_one_is_none(
    make: Make, tmp_path: Path, era: Era
) -> None:
    practice = slow(make("edr", boundary=BOUNDARY))
    async with Gateway.on(practice, **SERVED) as gateway:
        agent = await gateway.open(HOST, max_calls=500)
        wire, watched = await Wire.open(agent, era), Watched(practice, agent.run)
        for ending in ENDINGS:
            await a_part_of_a_call(wire, watched, ending)
            await a_whole_call(practice, wire, watched, ending)
        await in_order(gateway)
    whole(practice, tmp_path)


async def a_part_of_a_call(wire: Wire, watched: Watched, ending: str) -> None:
    """Hang up before the call is whole, at any byte: nothing is on record but the read that follows."""
    request = wire.request(wire.message(ISOLATE, CHANGE), ISOLATE)
    body = request.index(b"\r\n\r\n") + 4
    for length in (0, 1, 40, body - 2, body, body + 1, (len(request) + body) // 2, len(request) - 1):
        cut_off = await Begun.connect(wire.port)
        await cut_off.write(request[:length])
        ENDINGS[ending](cut_off)
        assert (await wire.call(READ, {})).status == 200
        assert await watched.ended(least=1) == CARRIED_OUT, f"{ending} after {length} bytes of {len(request)}"
        cut_off.close()


async def a_whole_call(practice: Practice, wire: Wire, watched: Watched, ending: str) -> None:
    """Hang up once the call is whole: it is on record to its end, and so is the read that follows."""
    for stage in ("sent", "on its way", "answered"):
        before = len(practice.effects())
        call = await wire.begin(ISOLATE, CHANGE)
        if stage == "on its way":
            await intended(practice)
        elif stage == "answered":
            await call.reader.readexactly(20)
        ENDINGS[ending](call)
        assert (await wire.call(READ, {})).status == 200
        # A reset can overtake what it follows: then nothing arrived, and nothing happened.
        overtaken = (stage, ending) == ("sent", "reset")
        kinds = await watched.ended(least=1 if overtaken else 2)
        assert kinds["proposal"] in ((1, 2) if overtaken else (2,)), (ending, stage)
        assert kinds["proposal"] == kinds["intent"] == kinds["outcome"], (ending, stage)
        assert len(practice.effects()) - before == kinds["proposal"] - 1, (ending, stage)
        call.close()


@pytest.mark.promise("P12")
async def test_calls_with_one_number_are_each_on_record(make: Make, tmp_path: Path) -> None:
    practice = slow(make("edr", boundary=BOUNDARY))
    async with Gateway.on(practice, **SERVED) as gateway:
        agent = await gateway.open(HOST, "WS-022", max_calls=500)
        wire, watched = await Wire.open(agent, Era.HANDSHAKE), Watched(practice, agent.run)
        for era in Era:
            wire = await Wire.open(agent, era)
            reads = await asyncio.gather(*(wire.call(READ, {}, 7) for _ in range(5)))
            assert [each.status for each in reads] == [200] * 5
            assert await watched.ended(least=5) == {"proposal": 5, "intent": 5, "outcome": 5}
            # The same change again while it is under way is that change, and the agent is told so.
            twice = await asyncio.gather(*(wire.call(ISOLATE, CHANGE, 7) for _ in range(2)))
            ids = {each.json["result"]["_meta"]["remit/evidence"]["action_id"] for each in twice}
            assert len(ids) == 1
            assert await watched.ended(least=1) == CARRIED_OUT
            two = [CHANGE, {**CHANGE, "hosts": ["WS-022"]}]
            calls = [await wire.begin(ISOLATE, each, 7) for each in two]
            await wire.cancel(7)
            assert await watched.ended(least=2) == {"proposal": 2, "intent": 2, "outcome": 2}
            for each in calls:
                each.close()
        await in_order(gateway)
    whole(practice, tmp_path)


@pytest.mark.promise("P12")
@pytest.mark.parametrize("era", Era)
async def test_every_one_of_500_calls_at_once_is_refused_on_record_or_at_the_door(
    make: Make, tmp_path: Path, era: Era
) -> None:
    practice = make("edr", boundary=BOUNDARY)
    async with Gateway.on(practice, **SERVED) as gateway:
        agent = await gateway.open(HOST, max_calls=5000)
        wire, watched = await Wire.open(agent, era), Watched(practice, agent.run)
        calls = [await wire.begin(SCRIPT, script(number)) for number in range(250)]
        answers = [await each.answer() for each in calls]
        answers += await asyncio.gather(*(wire.call(SCRIPT, script(number)) for number in range(250, 500)))
        recorded = await watched.ended()
        taken = [each for each in answers if each.status == 200]
        assert {each.code for each in answers if each.status != 200} <= {-32006}
        assert recorded["proposal"] == recorded["alert"] == len(taken) >= SLOTS
        assert len(taken) + sum(each.status == 429 for each in answers) == 500
        blocked = {each.json["result"]["structuredContent"]["action_id"] for each in taken}
        assert {each["action"] for each in practice.records("proposal") if each["run"] == agent.run} == blocked
        await in_order(gateway)
    whole(practice, tmp_path)


@pytest.mark.promise("P12")
async def test_a_flood_that_hangs_up_leaves_nothing_half_recorded(make: Make, tmp_path: Path) -> None:
    practice = make("edr", boundary=BOUNDARY)
    async with Gateway.on(practice, **SERVED) as gateway:
        for ending in ("close", "reset"):
            agent = await gateway.open(HOST, max_calls=5000)
            wire, watched = await Wire.open(agent, Era.HANDSHAKE), Watched(practice, agent.run)
            held = []
            for number in range(500):
                call = await (wire.begin(READ, {}) if number % 2 else wire.begin(SCRIPT, script(number)))
                if number % 7:
                    held.append(call)
                else:
                    ENDINGS[ending](call)
            for call in held:
                ENDINGS[ending](call)
            assert (await agent.call(READ)).done, "nothing goes on"
            kinds = await watched.ended(least=1)
            assert 1 < kinds["proposal"] <= 501
            assert kinds["intent"] == kinds["outcome"] == kinds["proposal"] - kinds["alert"]
        await in_order(gateway)
    whole(practice, tmp_path)


def script(number: int) -> dict[str, Any]:
    """A change that the boundary forbids."""
    return {"host": HOST, "script": f"number {number}", "rationale": WHY}


# --- over the socket --------------------------------------------------------------------------------------------------


def line(method: str, number: int, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode() + b"\n"


HELLO = line("initialize", 0, protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "x", "version": "1"})


async def on_the_socket(practice: Practice, agent: Agent, *lines: bytes) -> Begun:
    """A connection over the agents' socket, past its handshake, on which these lines were written at once."""
    connection = Begun(*await asyncio.open_unix_connection(str(practice.home / "run" / "agents.sock")))
    await connection.write(agent.token.encode() + b"\n" + HELLO)
    assert b'"id":0' in await connection.reader.readline()
    await connection.write(b"".join(lines))
    return connection


@pytest.mark.promise("P12")
async def test_calls_that_are_followed_by_the_end_of_the_line_are_on_record(make: Make, tmp_path: Path) -> None:
    practice = slow(make("edr", boundary=BOUNDARY))
    calls = [line("tools/call", each, name=SCRIPT, arguments=script(each)) for each in range(1, 41)]
    change = line("tools/call", 50, name=ISOLATE, arguments=CHANGE)
    cancel = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":50}}\n'
    async with Gateway.on(practice, **SERVED) as gateway:
        agent = await gateway.open(HOST, max_calls=500)
        watched = Watched(practice, agent.run)
        for ending in ("close", "half"):
            connection = await on_the_socket(practice, agent, *calls, change, cancel, change[: len(change) // 2])
            ENDINGS[ending](connection)
            kinds = await watched.ended(least=41)
            assert kinds == {"proposal": 41, "alert": 40, "intent": 1, "outcome": 1}
            connection.close()
        await in_order(gateway)
    assert len(practice.effects()) == 2
    whole(practice, tmp_path)


@pytest.mark.promise("P12")
async def test_a_verdict_that_is_cancelled_at_once_is_on_record(make: Make, tmp_path: Path) -> None:
    practice = make("edr", boundary=BOUNDARY)
    verdict = line("tools/call", 1, name=CONCLUDE, arguments={"verdict": "benign", "rationale": WHY})
    cancel = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}\n'
    unknown = line("tools/call", 1, name="none__such", arguments={})
    async with Gateway.on(practice, **SERVED) as gateway:
        agent = await gateway.open(HOST)
        watched = Watched(practice, agent.run)
        connection = await on_the_socket(practice, agent, verdict, cancel, unknown, cancel)
        connection.close()
        await eventually(lambda: practice.records("verdict") and practice.records("refusal"), "both are on record")
        assert sorted(each["kind"] for each in watched.new()) == ["refusal", "verdict"]
        await in_order(gateway)
    whole(practice, tmp_path)
