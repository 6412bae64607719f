"""What the agents' socket does with lines that no well-behaved client would send."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from remit.doors.gateway.lines import LineDoor, serve_socket
from remit.doors.gateway.settings import GatewaySettings
from remit.model.errors import Misuse
from tests.doors.gateway.double import TOKEN, Doors, FakeAgentSide, open_doors, run_of
from tests.doors.gateway.raw import CALL, META, MODERN_CALL, lines

TOKEN_LINE = TOKEN.encode()


def line(method: str, request_id: Any = 1, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}).encode()


HELLO = line("initialize", 0, protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "raw", "version": "1"})


async def test_lines_after_the_token_are_answered(doors: Doors) -> None:
    hello, pong = await lines(doors.socket, TOKEN_LINE, HELLO, line("ping", "p"), count=2)
    assert hello["result"]["protocolVersion"] == "2025-06-18"
    assert pong == {"jsonrpc": "2.0", "id": "p", "result": {}}


@pytest.mark.parametrize("first", [b"wrong", b"", b"\xff\xfe", b"x" * 5_000, HELLO])
async def test_a_bad_token_gets_one_error_and_the_end(doors: Doors, first: bytes) -> None:
    answers = await lines(doors.socket, first, HELLO, count=2)
    assert [answer["id"] for answer in answers] == [None]
    assert doors.node.calls == []


async def test_a_bad_line_is_refused_and_the_next_one_served(doors: Doors) -> None:
    bad = (b"{", b"\xff", b"[]", b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}')
    answers = await lines(doors.socket, TOKEN_LINE, *bad, line("ping"), count=5)
    assert [answer.get("error", {}).get("code") for answer in answers] == [-32700, -32700, -32600, -32700, None]


async def test_a_line_that_never_ends_closes_the_connection(short_path: Path) -> None:
    async with open_doors(short_path, max_body=4_096) as doors:
        answers = await lines(doors.socket, TOKEN_LINE, b" " * 10_000, line("ping"), count=2)
        assert len(answers) == 1
        assert "at most 4096 bytes" in answers[0]["error"]["message"]


async def test_a_request_before_the_handshake_is_refused(doors: Doors) -> None:
    refused, hello, listed = await lines(
        doors.socket, TOKEN_LINE, json.dumps(CALL).encode(), HELLO, line("tools/list"), count=3
    )
    assert refused["error"]["code"] == -32602
    assert "result" in hello
    assert len(listed["result"]["tools"]) == 2


async def test_a_connection_stays_in_the_era_that_it_began_in(doors: Doors) -> None:
    modern = json.dumps(MODERN_CALL).encode()
    assert (await lines(doors.socket, TOKEN_LINE, HELLO, modern, count=2))[1]["error"]["code"] == -32600
    discover = line("server/discover", _meta=META)
    assert (await lines(doors.socket, TOKEN_LINE, discover, HELLO, count=2))[1]["error"]["code"] == -32022
    assert (await lines(doors.socket, TOKEN_LINE, discover, line("tools/list"), count=2))[1]["error"]["code"] == -32602


async def test_a_cancelled_call_gets_no_answer(doors: Doors) -> None:
    cancel = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}'
    slow = line("tools/call", 5, name="slow")
    reader, writer = await asyncio.open_unix_connection(str(doors.socket))
    writer.write(b"\n".join((TOKEN_LINE, HELLO, slow, b"")))
    await asyncio.wait_for(doors.node.started.wait(), 5)
    writer.write(b"\n".join((cancel, b"")))
    await asyncio.wait_for(doors.node.cancelled.wait(), 5)
    writer.write(line("ping", 6) + b"\n")
    assert json.loads(await reader.readline())["id"] == 0
    assert json.loads(await reader.readline())["id"] == 6
    writer.close()


async def test_losing_the_connection_ends_the_waiting_and_the_action_goes_on(doors: Doors) -> None:
    _, writer = await asyncio.open_unix_connection(str(doors.socket))
    writer.write(b"\n".join((TOKEN_LINE, HELLO, line("tools/call", name="slow"), b"")))
    await asyncio.wait_for(doors.node.started.wait(), 5)
    writer.close()
    await asyncio.wait_for(doors.node.cancelled.wait(), 5)
    doors.node.release.set()
    await asyncio.wait_for(doors.node.landed.wait(), 5)


async def test_every_call_that_was_read_has_begun_when_the_connection_ends(doors: Doors) -> None:
    calls = [line("tools/call", each, name="slow") for each in range(1, 6)]
    _, writer = await asyncio.open_unix_connection(str(doors.socket))
    reader = asyncio.StreamReader()
    reader.feed_data(b"\n".join((TOKEN_LINE, HELLO, *calls, b"")))  # all of it is there, and so is the end
    reader.feed_eof()
    await LineDoor(doors.exchange).connected(reader, writer)
    assert len(doors.node.calls) == 5
    assert doors.exchange.calls.held(run_of(TOKEN).id) == 0, "nobody waits for them any more"


@pytest.mark.parametrize("other", [None, True, 5.0, "5", [5], {"id": 5}, "x" * 1000])
async def test_a_cancellation_of_what_is_no_id_here_ends_nothing(doors: Doors, other: Any) -> None:
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": other}}
    reader, writer = await asyncio.open_unix_connection(str(doors.socket))
    writer.write(b"\n".join((TOKEN_LINE, HELLO, line("tools/call", 5, name="slow"), b"")))
    await asyncio.wait_for(doors.node.started.wait(), 5)
    writer.write(b"\n".join((json.dumps(cancel).encode(), line("ping", 6), b"")))
    assert [json.loads(await reader.readline())["id"] for _ in range(2)] == [0, 6]
    assert not doors.node.cancelled.is_set()
    writer.close()


async def test_a_run_that_ends_loses_its_connection(doors: Doors) -> None:
    reader, writer = await asyncio.open_unix_connection(str(doors.socket))
    writer.write(b"\n".join((TOKEN_LINE, HELLO, b"")))
    await reader.readline()
    del doors.node.runs[TOKEN]
    writer.write(line("tools/list", 9) + b"\n")
    refused = json.loads(await reader.readline())
    assert (refused["id"], refused["error"]["code"]) == (9, -32003)
    assert await reader.readline() == b""
    writer.close()


async def test_a_run_has_only_so_many_connections(short_path: Path) -> None:
    async with open_doors(short_path, max_run_connections=1) as doors:
        reader, writer = await asyncio.open_unix_connection(str(doors.socket))
        writer.write(b"\n".join((TOKEN_LINE, line("ping"), b"")))
        await reader.readline()
        assert (await lines(doors.socket, TOKEN_LINE, line("ping"), count=1))[0]["error"]["code"] == -32006
        writer.close()


async def test_the_socket_is_open_to_every_user_and_goes_with_the_gateway(short_path: Path) -> None:
    async with open_doors(short_path) as doors:
        assert stat.S_IMODE(doors.socket.stat().st_mode) == 0o666
    assert not doors.socket.exists()


async def test_a_second_gateway_does_not_take_the_socket(doors: Doors) -> None:
    with pytest.raises(Misuse, match="another gateway"):
        async with serve_socket(doors.socket, FakeAgentSide(), GatewaySettings()):
            pass
    assert (await lines(doors.socket, TOKEN_LINE, line("ping"), count=1))[0]["result"] == {}


async def test_a_silent_connection_is_cut_off(short_path: Path) -> None:
    async with open_doors(short_path, head_timeout=0.1) as doors:
        reader, writer = await asyncio.open_unix_connection(str(doors.socket))
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
