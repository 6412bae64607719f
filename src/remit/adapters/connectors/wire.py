"""HTTP/1.1 as a client (RFC 9112), on the way up to connectors: pooled connections, parsed by httptools.

What lives here: connections, requests and responses, and the limits on what the other side may send. What never may:
MCP, retries, redirects, cookies, decompression.

INVARIANT: a request is written once. A connection goes back to the pool only when its response is whole, said that it
may be kept, and nothing came after it.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httptools

MAX_HEAD = 64 * 1024
"""Bytes that the head of a response may have."""

_HIGH_WATER = 256 * 1024
_NOT_IN_A_HEADER = re.compile(r"[^\t\x20-\x7e\x80-\xff]")


class WireError(Exception):
    """The request came to no whole response. `str()` completes the sentence "connector `x` …"."""


class Unreachable(WireError):
    """No connection stands: nothing was sent."""


class TooLong(Exception):
    """The response is longer than it may be."""


class Response:
    """One response. `headers` have lower-case names; those that come several times are joined by a comma."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.whole = False
        self.head: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._transport = transport
        self._chunks: deque[bytes] = deque()
        self._waiting = 0
        self._wake: asyncio.Future[None] | None = None
        self._paused = False
        self._error: WireError | None = None

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters; empty where there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def until_the_end(self) -> bool:
        """Whether only the end of the connection ends the body (RFC 9112, section 6.3)."""
        return "content-length" not in self.headers and "transfer-encoding" not in self.headers

    async def read(self, limit: int) -> bytes:
        """The body. Raises `TooLong` beyond `limit` bytes, `WireError` where it does not become whole."""
        parts, size = [], 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                raise TooLong
            parts.append(chunk)
        return b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `WireError` where it does not become whole."""
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._waiting -= len(chunk)
                yield chunk
            if self.whole:
                return
            if self._error is not None:
                raise self._error
            if self._paused and not self._transport.is_closing():
                self._paused = False
                self._transport.resume_reading()
            self._wake = self._loop.create_future()
            await self._wake

    def feed(self, data: bytes) -> None:
        """A piece of the body came."""
        self._chunks.append(data)
        self._waiting += len(data)
        if self._waiting > _HIGH_WATER and not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()
        self._woken()

    def finish(self) -> None:
        """The last piece has come."""
        self.whole = True
        self._woken()

    def fail(self, error: WireError) -> None:
        """Nothing more will come."""
        if self.whole or self._error is not None:
            return
        self._error = error
        if not self.head.done():
            self.head.set_exception(error)
        self._woken()

    def _woken(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


class Connection(asyncio.Protocol):
    """One connection: one response at a time. Owned by the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.idle_since = 0.0
        self._loop = loop
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._response: Response | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._keep = False

    def ask(self, request: bytes) -> Response:
        """Write a request; its response as it will come."""
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._head_bytes, self._keep = [], 0, False
        self._response = Response(self._loop, self._transport)
        self._transport.write(request)
        return self._response

    @property
    def reusable(self) -> bool:
        """Whether the next request may go this way."""
        return self._keep and not self._transport.is_closing()

    def rest(self) -> None:
        """The response has been read: what comes from now on was not asked for."""
        self._response = None
        self.idle_since = self._loop.time()

    def drop(self) -> None:
        """End it now, whatever is on its way."""
        self._keep = False
        self._transport.abort()

    # asyncio's side

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._keep = False
        response = self._response
        if response is None:
            return
        if exc is None and response.head.done() and response.until_the_end:
            response.finish()
        else:
            response.fail(WireError("broke the connection"))

    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None or response.whole:
            self.drop()
            return
        if not response.head.done():
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            response.fail(WireError("answered with something that is not HTTP"))
            self.drop()
            return
        if not response.head.done() and self._head_bytes > MAX_HEAD:
            response.fail(WireError("answered with a head that does not end"))
            self.drop()

    # the parser's side

    def on_message_begin(self) -> None:
        if self._response is not None and self._response.whole:
            self.drop()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._response is not None and not self._response.head.done():  # trailers are of no use to anybody
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        response = self._response
        if status < 200 or response is None or response.head.done():  # interim responses: RFC 9110, section 15.2
            self._headers.clear()
            return
        response.status = status
        for name, value in self._headers:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            response.headers[key] = f"{response.headers[key]}, {text}" if key in response.headers else text
        response.head.set_result(None)

    def on_body(self, body: bytes) -> None:
        if self._response is not None and not self._response.whole:
            self._response.feed(body)

    def on_message_complete(self) -> None:
        response = self._response
        if response is not None and response.head.done() and not response.whole:
            self._keep = self._parser.should_keep_alive()
            response.finish()


class Wire:
    """The pooled connections to one address. Owned by the event loop that made it."""

    def __init__(self, url: str, trust: ssl.SSLContext, *, connect_timeout: float, keep_alive: float) -> None:
        """Raises `ValueError` for an address that is none."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("the address is not valid")
        secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port or (443 if secure else 80)
        self._trust = trust if secure else None
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._authority = f"{host}:{parts.port}" if parts.port else host
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._connect_timeout = connect_timeout
        self._keep_alive = keep_alive
        self._loop = asyncio.get_running_loop()
        self._idle: deque[Connection] = deque()
        self._busy: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def request(
        self,
        verb: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        before: Callable[[], None] | None = None,
    ) -> AsyncIterator[Response]:
        """Send one request; its response, once the head is there.

        `before` is called when the connection stands, immediately before the first byte leaves; what it raises is
        raised here, and nothing is sent. Leaving the block before the body was read ends the connection. Raises
        `Unreachable`, `WireError`, and `ValueError` for a header that is none.
        """
        request = self._worded(verb, headers, body)
        connection = self._rested() or await self._connect()
        self._busy.add(connection)
        try:
            if before is not None:
                before()
            response = connection.ask(request)
            await response.head
            yield response
        except BaseException:
            connection.drop()
            raise
        finally:
            self._busy.discard(connection)
            self._put_back(connection)

    async def close(self) -> None:
        """End every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in (*self._idle, *self._busy):
            connection.drop()
        self._idle.clear()

    def _worded(self, verb: str, headers: Mapping[str, str], body: bytes) -> bytes:
        lines = [f"{verb} {self._target} HTTP/1.1", f"Host: {self._authority}"]
        for name, value in headers.items():
            if _NOT_IN_A_HEADER.search(value) or _NOT_IN_A_HEADER.search(name):
                raise ValueError("a header is not valid")
            lines.append(f"{name}: {value}")
        if body or verb == "POST":
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join((*lines, "", "")).encode("latin-1") + body

    def _rested(self) -> Connection | None:
        oldest = self._loop.time() - self._keep_alive
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and connection.idle_since > oldest:
                return connection
            connection.drop()
        return None

    async def _connect(self) -> Connection:
        try:
            async with asyncio.timeout(self._connect_timeout):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self._loop),
                    self._host,
                    self._port,
                    ssl=self._trust,
                    server_hostname=self._host if self._trust else None,
                )
        except TimeoutError as error:
            raise Unreachable(f"cannot be reached: no connection within {self._connect_timeout:g} s") from error
        except ssl.SSLError as error:
            raise Unreachable("cannot be reached: its TLS certificate is not accepted") from error
        except OSError as error:
            raise Unreachable(f"cannot be reached: {_reason(error)}") from error
        return connection

    def _put_back(self, connection: Connection) -> None:
        whole = connection.reusable
        connection.rest()
        if not whole:
            connection.drop()
            return
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(self._keep_alive, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        oldest = self._loop.time() - self._keep_alive
        while self._idle and (self._idle[0].idle_since <= oldest or not self._idle[0].reusable):
            self._idle.popleft().drop()
        if self._idle:
            self._sweeper = self._loop.call_later(self._keep_alive, self._sweep)


def _reason(error: OSError) -> str:
    """In the system's words: asyncio's own have the address in them, and several attempts in one."""
    if isinstance(error, socket.gaierror):
        return (error.strerror or "no such host").lower()
    return os.strerror(error.errno).lower() if error.errno else "no connection"
