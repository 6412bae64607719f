"""No body makes the door fail: each gets an answer or a proper error, and the node sees only what was checked."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from remit.doors.gateway.exchange import Exchange
from remit.doors.gateway.http import build_app
from remit.doors.gateway.settings import GatewaySettings
from tests.doors.gateway.double import TOKEN, FakeAgentSide
from tests.doors.gateway.raw import META, MODERN_CALL

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))
METHODS = st.sampled_from(
    ["initialize", "ping", "tools/list", "tools/call", "server/discover", "notifications/cancelled"]
)
PARAMS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["siem__echo", "progress", "refuse"]) | JSON,
        "arguments": st.dictionaries(st.text(), JSON, max_size=3) | JSON,
        "_meta": st.just(META)
        | st.fixed_dictionaries({}, optional=dict.fromkeys([*META, "progressToken"], JSON))
        | JSON,
        "protocolVersion": JSON,
        "capabilities": JSON,
        "clientInfo": JSON,
        "requestId": JSON,
        "cursor": JSON,
    },
)
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | JSON,
        "id": st.just(1) | JSON,
        "method": METHODS | JSON,
        "params": PARAMS | JSON,
    },
)
WELL_FORMED = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0"), "id": st.integers(0, 9) | st.text(), "method": METHODS, "params": PARAMS}
)


async def ask(body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    """Status and body for one POST through the application, without a network."""
    node = FakeAgentSide()
    settings = GatewaySettings(port=7333, quiet=0.5)
    given_headers = {
        "host": "127.0.0.1:7333",
        "authorization": f"Bearer {TOKEN}",
        "content-type": "application/json",
        **headers,
    }
    exchange = Exchange(node, settings)
    if headers.get("mcp-session-id") == "own":
        given_headers["mcp-session-id"] = exchange.sessions.open(node.runs[TOKEN])
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/mcp",
        "server": ("127.0.0.1", 7333),
        "headers": [(name.encode(), value.encode("latin-1", "replace")) for name, value in given_headers.items()],
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await build_app(node, settings, exchange=exchange)(scope, receive, send)
    return sent[0]["status"], b"".join(part.get("body", b"") for part in sent[1:])


def check(body: bytes, headers: dict[str, str]) -> None:
    status, answer = asyncio.run(ask(body, headers))
    assert status in (200, 202, 400, 404, 413), (status, answer)
    assert b"Traceback" not in answer
    if status != 202:
        decoded = json.loads(answer.removeprefix(b"event: message\ndata: ").partition(b"\n\n")[0])
        assert decoded["jsonrpc"] == "2.0"
        assert ("result" in decoded or "error" in decoded) or decoded["method"] == "notifications/progress"


HEADERS = st.sampled_from(
    [
        {},
        {"mcp-session-id": "own"},
        {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "siem__echo"},
        {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/list"},
    ]
)


@given(MESSAGES | WELL_FORMED, HEADERS)
def test_no_message_makes_the_door_fail(message: Any, headers: dict[str, str]) -> None:
    check(json.dumps(message).encode(), headers)


@given(st.binary(max_size=200), HEADERS)
def test_no_bytes_make_the_door_fail(body: bytes, headers: dict[str, str]) -> None:
    check(body, headers)


@given(st.integers(), st.integers(1, 8))
def test_no_damage_to_a_good_call_makes_the_door_fail(seed: int, wounds: int) -> None:
    chance = random.Random(seed)
    body = bytearray(json.dumps(MODERN_CALL).encode())
    for _ in range(wounds):
        body[chance.randrange(len(body))] = chance.randrange(256)
    check(bytes(body), {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "siem__echo"})


@given(st.dictionaries(st.sampled_from(["mcp-method", "mcp-name", "accept", "mcp-session-id"]), st.text(max_size=40)))
def test_no_header_makes_the_door_fail(headers: dict[str, str]) -> None:
    status, answer = asyncio.run(
        ask(json.dumps(MODERN_CALL).encode(), {"mcp-protocol-version": "2026-07-28", **headers})
    )
    assert status in (200, 400, 404, 406), (status, answer)
