"""The agents' door on a loopback port: uvicorn with httptools, and the limits that uvicorn leaves to others."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from asyncio.events import TimerHandle
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from remit.doors.gateway.exchange import Exchange
from remit.doors.gateway.http import build_app
from remit.doors.gateway.settings import GatewaySettings
from remit.flow.answers import AgentSide
from remit.model.errors import Fault, Misuse

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_STARTING = 10.0


class _Corked:
    """A transport that keeps the head of a response back until its body comes, or the loop's turn ends: uvicorn writes
    them apart, and each write is a system call here and a waking over there."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """See `asyncio.WriteTransport.write`."""
        if not self._head and data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._loop.call_soon(self._flush)
        else:
            self._flush(data)

    def close(self) -> None:
        """See `asyncio.BaseTransport.close`."""
        self._flush()
        self._transport.close()

    def _flush(self, data: bytes = b"") -> None:
        whole, self._head = self._head + data, b""
        if whole and not self._transport.is_closing():
            self._transport.write(whole)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with an end to four things that it lets go on: connections beyond the most there may be, a
    request head that dribbles in, one that never stops growing, and a client that does not read."""

    settings: ClassVar[GatewaySettings] = GatewaySettings()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_timer: TimerHandle | None = None
        self._write_timer: TimerHandle | None = None
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_Corked(transport, self.loop))  # type: ignore[arg-type]
        if len(self.connections) > self.settings.max_connections:
            transport.abort()  # an answer would keep the file descriptor, and those are what runs out
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        self._wrote()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._head_came()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > self.settings.max_head:
                self._give_up(_TOO_LARGE)
        elif self._between_requests() and not self.transport.is_closing():
            self._await_head()  # bytes that begin no request have ended uvicorn's keep-alive timer

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.settings.write_timeout, self.transport.abort)

    def resume_writing(self) -> None:
        self._wrote()
        super().resume_writing()

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_bytes = 0
            self._head_timer = self.loop.call_later(self.settings.head_timeout, self._give_up, _TOO_SLOW)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _wrote(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _give_up(self, answer: bytes) -> None:
        self._head_came()
        if self.transport.is_closing():
            return
        if self._between_requests():
            self.transport.write(answer)
        self.transport.close()

    def _between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete


def _bounded(settings: GatewaySettings) -> type[HttpToolsProtocol]:
    """The protocol with these limits; uvicorn wants a class, which it makes one of for each connection."""
    return type("BoundedProtocol", (BoundedProtocol,), {"settings": settings})


class _Server(uvicorn.Server):
    """uvicorn without hands on the process's signals: those are the gateway's (stop, shutdown)."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _listen(settings: GatewaySettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise Misuse(
            f"the address `{settings.host}:{settings.port}` cannot be listened on: {error.strerror}",
            hint="another gateway may be running; set another port",
        ) from None
    return listener


@asynccontextmanager
async def serve_http(
    agent_side: AgentSide, settings: GatewaySettings, *, exchange: Exchange | None = None
) -> AsyncIterator[int]:
    """Serve agents over HTTP while the block runs, on the running loop; yields the port in use.

    Raises `Misuse` where the address cannot be had. On leaving, waiting clients are answered or cut within a second.
    """
    listener = _listen(settings)
    config = uvicorn.Config(
        build_app(agent_side, settings, exchange=exchange),
        http=_bounded(settings),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=int(settings.keep_alive),
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await _started(server, serving)
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        await serving
        listener.close()


async def _started(server: uvicorn.Server, serving: asyncio.Task[None]) -> None:
    async with asyncio.timeout(_STARTING):
        while not server.started:
            if serving.done():
                await serving
                raise Fault("the agents' door ended before it opened")
            await asyncio.sleep(0.005)
