"""The client on the way up, against servers that do what they please."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from remit.adapters.connectors.wire import MAX_HEAD, TooLong, Unreachable, Wire, WireError

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\n"


@asynccontextmanager
async def wire(serve: Serve, **settings: float) -> AsyncIterator[Wire]:
    """A wire to a server that answers each connection with `serve`."""

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    made = Wire(
        f"http://127.0.0.1:{port}/mcp?a=1",
        ssl.create_default_context(),
        connect_timeout=2.0,
        keep_alive=settings.get("keep_alive", 4.0),
    )
    try:
        yield made
    finally:
        await made.close()
        server.close()


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(line[16:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length: ")), 0)
    return head, await reader.readexactly(length)


def always(answer: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                await read_request(reader)
            except asyncio.IncompleteReadError:
                return
            writer.write(answer)

    return serve


async def body_of(made: Wire, limit: int = 1000) -> bytes:
    async with made.request("POST", {}, b"{}") as response:
        return await response.read(limit)


async def test_what_is_asked_arrives_byte_for_byte_and_the_connection_is_used_again() -> None:
    seen: list[tuple[bytes, bytes]] = []
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for _ in range(2):
            seen.append(await read_request(reader))
            writer.write(OK + b"x-a: 1\r\nX-A: 2\r\ncontent-length: 2\r\n\r\n{}")

    async with wire(serve) as made:
        for _ in range(2):
            async with made.request("POST", {"X-Who": "me"}, b'{"a":1}') as response:
                assert (response.status, response.content_type) == (200, "application/json")
                assert response.headers["x-a"] == "1, 2"
                assert await response.read(10) == b"{}"
    head, body = seen[1]
    assert head.startswith(b"POST /mcp?a=1 HTTP/1.1\r\nHost: 127.0.0.1:") and b"\r\nX-Who: me\r\n" in head
    assert (body, connections) == (b'{"a":1}', 1)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nx-trailer: y\r\n\r\n", b"abcde"),
        (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK + b"content-length: 1\r\n\r\nx", b"x"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
async def test_every_form_of_a_body_is_read_to_its_end(answer: bytes, body: bytes) -> None:
    async with wire(always(answer)) as made:
        assert await body_of(made) == body
        assert await body_of(made) == body


async def test_a_body_that_ends_with_the_connection_is_whole() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK + b"\r\nabc")

    async with wire(serve) as made:
        assert await body_of(made) == b"abc"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-",
        OK + b"content-length: 10\r\n\r\nabc",
        OK + b"transfer-encoding: chunked\r\n\r\n3\r\nab",
        b"SSH-2.0-hello\r\n\r\n",
        OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab",
        OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        OK + b"x: " + b"y" * (MAX_HEAD + 1),
        b"HTTP/1.1 102 Processing\r\n\r\n" * 4000,
    ],
)
async def test_an_answer_that_is_none_or_breaks_off_is_an_error_and_never_half_an_answer(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        await writer.drain()

    async with wire(serve) as made:
        with pytest.raises(WireError):
            await body_of(made)


async def test_a_second_answer_to_one_request_is_never_taken_for_the_next_ones() -> None:
    one, two = (OK + b"content-length: 1\r\n\r\n" + digit for digit in (b"1", b"2"))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(one + two)
        await read_request(reader)
        writer.write(one)

    async with wire(serve) as made:
        assert await body_of(made) == b"1"
        assert await body_of(made) == b"1"


async def test_a_body_longer_than_allowed_is_not_kept() -> None:
    async with wire(always(OK + b"content-length: 2000\r\n\r\n" + b"x" * 2000)) as made:
        with pytest.raises(TooLong):
            await body_of(made)


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "ä\u2028"])
async def test_a_header_that_would_end_its_line_is_refused_and_nothing_is_sent(value: str) -> None:
    asked = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(1))

    async with wire(serve) as made:
        with pytest.raises(ValueError, match="header"):
            async with made.request("POST", {"X-A": value}, b"{}"):
                pass
    assert not asked


async def test_what_forbids_the_request_at_the_last_moment_keeps_every_byte_back() -> None:
    received = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read())

    def forbid() -> None:
        raise PermissionError

    async with wire(serve) as made:
        with pytest.raises(PermissionError):
            async with made.request("POST", {}, b"{}", before=forbid):
                pass
        async with asyncio.timeout(5):
            while not received:
                await asyncio.sleep(0)
    assert received == [b""]


async def test_nobody_there_is_told_apart_from_a_broken_connection() -> None:
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    made = Wire(f"http://127.0.0.1:{port}/", ssl.create_default_context(), connect_timeout=2.0, keep_alive=4.0)
    with pytest.raises(Unreachable, match="refused"):
        await body_of(made)


async def test_ending_the_wait_ends_the_connection() -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await reader.read()
        ended.set()

    async with wire(serve) as made:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await body_of(made)
        async with asyncio.timeout(5):
            await ended.wait()


async def test_a_reader_that_is_slow_makes_the_sender_wait() -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(OK + b"content-length: 100000000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    async with wire(serve) as made, made.request("POST", {}, b"{}") as response:
        before = -1
        async with asyncio.timeout(10):
            while sent != before:  # until it no longer gets on
                before = sent
                for _ in range(50):
                    await asyncio.sleep(0.002)
        assert sent < 60_000_000
        size = 0
        async for chunk in response.chunks():
            size += len(chunk)
        assert size == 100_000_000
