"""An agent that controls its own process entirely can neither alter nor suppress a record.

It hangs up, floods, sends what no decoder likes, and forges ids; what it set in motion is on record all
the same, under a checkpoint, and both verifiers find the log in order. A shell of another user is in `test_shell.py`.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from remit_lab import faults
from remit_lab.faults import Fault
from tests.faults.checks import every_effect_had_an_intent
from tests.faults.verifying import verified_by_both
from tests.support.fixtures import Make
from tests.support.gateway import Agent, Gateway, eventually, give_up
from tests.support.home import Practice

WHY = {"summary": "what the events say"}
SECONDS = 20.0


def raw(agent: Agent, body: bytes) -> tuple[str, int, bytes]:
    """Where to connect, and a whole HTTP request with this body."""
    url = urlsplit(agent.url)
    head = (
        f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: Bearer {agent.token}\r\n"
        "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return url.hostname or "", url.port or 0, head.encode() + body


def call(name: str, arguments: Any) -> bytes:
    params = {"name": name, "arguments": arguments}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()


async def sent(agent: Agent, body: bytes, *, listen: bool = True) -> bytes:
    """Send a request, and hang up at once or after the answer."""
    host, port, request = raw(agent, body)
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        await writer.drain()
        return await asyncio.wait_for(reader.read(4096), SECONDS) if listen else b""
    except ConnectionError:
        return b""
    finally:
        writer.close()


def outcomes(practice: Practice, tool: str) -> list[str]:
    ids = {action["id"] for action in practice.actions(tool)}
    return [record["state"] for record in practice.records("outcome") if record["action"] in ids]


async def under_a_checkpoint(gateway: Gateway) -> None:
    """Wait until every record is under a signed checkpoint."""
    until = asyncio.get_running_loop().time() + SECONDS
    while True:
        log = (await gateway.ask("status"))["log"]
        if log["size"] >= log["records"] and not log["trouble"]:
            return
        assert asyncio.get_running_loop().time() < until, log
        await asyncio.sleep(0.02)


@pytest.mark.promise("P12")
async def test_who_hangs_up_after_the_hand_over_has_the_outcome_on_record(make: Make, tmp_path: Path) -> None:
    practice = make("edr")
    faults.write(practice.lab, {"isolate_host": Fault(delay_ms=500, effect="before")})
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("WS-014")
        held = agent.start("edr__isolate_host", host="WS-014", rationale=WHY)
        await eventually(lambda: [each for each in practice.actions("isolate_host") if each["intended_at"]], "intended")
        await give_up(held)
        await eventually(lambda: outcomes(practice, "isolate_host") == ["done"], "its end is on record")
        await under_a_checkpoint(gateway)
    every_effect_had_an_intent(practice)
    verified_by_both(practice, tmp_path)


HOSTILE: tuple[tuple[str, bytes], ...] = (
    ("a lone surrogate", call("edr__isolate_host", {"host": "WS-014", "rationale": {"summary": "\ud800"}})),
    ("a zero byte", call("edr__isolate_host", {"host": "WS-014\0", "rationale": WHY})),
    (
        "bytes that are no UTF-8",
        call("edr__isolate_host", {"host": "WS-014", "rationale": WHY}).replace(b"events", b"\xff\xfe\xfd"),
    ),
    (
        "a key twice",
        call("edr__isolate_host", {"host": "X", "rationale": WHY}).replace(b'"host"', b'"host": "WS-014", "host"'),
    ),
    ("a number that is none", call("edr__isolate_host", {"host": "WS-014", "rationale": WHY, "x": float("nan")})),
    ("a number without end", call("edr__isolate_host", {"host": "WS-014", "rationale": WHY, "x": 10**400})),
    (
        "very deep",
        call("edr__isolate_host", {"host": "WS-014", "rationale": WHY, "x": 0}).replace(
            b'"x": 0', b'"x": ' + b"[" * 5000 + b"]" * 5000
        ),
    ),
    ("very long", call("edr__isolate_host", {"host": "W" * 70_000, "rationale": WHY})),
    ("a record in a name", call("edr__isolate_host", {"host": '"}\n{"v":1,"kind":"erased","at":0}', "rationale": WHY})),
    (
        "an id of another kind",
        call(
            "edr__isolate_host",
            {
                "host": "act_0000000000000000",
                "rationale": {"summary": "x", "signals": [{"evidence": "ev_../../x", "says": "y"}]},
            },
        ),
    ),
    (
        "many citations",
        call(
            "edr__isolate_host",
            {
                "host": "WS-014",
                "rationale": {
                    "summary": "x",
                    "signals": [{"evidence": f"ev_{n:016d}", "says": "y" * 50} for n in range(3000)],
                },
            },
        ),
    ),
    (
        "a verdict on very much",
        call(
            "remit__conclude",
            {
                "verdict": "malicious",
                "rationale": "x",
                "evidence": [f"ev_{n:016d}" for n in range(5000)],
                "alternatives": [],
            },
        ),
    ),
    ("a tool without a name", call("\n\u202eedr__isolate_host", {})),
)


@pytest.mark.promise("P12")
async def test_no_argument_that_an_agent_can_think_of_keeps_a_record_from_the_log(make: Make, tmp_path: Path) -> None:
    practice = make("edr", boundary={"hold_after = 2": "hold_after = 30"})
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("WS-014", max_calls=400)
        for what, body in HOSTILE:
            assert await sent(agent, body), f"{what}: no answer"
            assert (await agent.call("edr__list_hosts")).done, f"{what}: nothing goes on"
            await under_a_checkpoint(gateway)
        flood = [asyncio.create_task(sent(agent, call("edr__list_hosts", {}), listen=False)) for _ in range(100)]
        assert (await agent.change("edr__isolate_host", host="WS-014")).error is not None
        await asyncio.gather(*flood, return_exceptions=True)
        await under_a_checkpoint(gateway)
    assert not practice.records("erased")
    every_effect_had_an_intent(practice)
    proposed = {record["action"] for record in practice.records("proposal")}
    assert {record["action"] for record in practice.records("intent")} <= proposed
    verified_by_both(practice, tmp_path)
