"""MCP over the unix socket that `remit connect` copies to: the run token on the first line, then a message per line.

One connection is one client. Its first request decides the era, as on stdio; later messages of the other one are
refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from remit.doors.gateway.eras import Era, check_envelope, has_envelope, unsupported
from remit.doors.gateway.exchange import Caller, Exchange, Reply
from remit.doors.gateway.messages import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    TOO_MANY,
    UNAUTHORIZED,
    Message,
    ProtocolError,
    read_message,
)
from remit.doors.gateway.progress import Progress, progress_token
from remit.doors.gateway.settings import GatewaySettings
from remit.flow.answers import AgentSide
from remit.model.errors import Misuse
from remit.model.words import Run

_MAX_TOKEN_LINE = 1_024
_UNREAD = 256 * 1024
_connection_numbers = itertools.count(1)


class _Over(Exception):
    """The connection has had its last answer."""


class LineDoor:
    """Serves connections of the agents' socket. Owned by the event loop."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._open: set[asyncio.Task[None]] = set()  # written by `connected` only

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it. Never raises on input."""
        task = asyncio.current_task()
        assert task is not None  # a coroutine that runs has one
        self._open.add(task)
        connection = _Connection(self._exchange, reader, writer)
        try:
            if len(self._open) > self._exchange.settings.max_connections:
                raise ProtocolError(TOO_MANY, "too many connections are open", hint="try again later")
            await connection.serve()
        except ProtocolError as error:
            await connection.write(error.encoded())
        except (ConnectionError, TimeoutError, _Over):
            pass
        except Exception as error:
            await connection.write(self._exchange.internal_error(error).encoded())
        finally:
            self._open.discard(task)
            await connection.close()

    async def close(self) -> None:
        """End every connection and wait until they have ended."""
        for task in list(self._open):
            task.cancel()
        if self._open:
            await asyncio.wait(list(self._open), timeout=1.0)


class _Connection:
    """One client on the socket."""

    def __init__(self, exchange: Exchange, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._exchange = exchange
        self._settings = exchange.settings
        self._reader = reader
        self._writer = writer
        self._session = f"line-{next(_connection_numbers)}"
        self._era: Era | None = None  # written by `_enter_era` only
        self._initialized = False  # written by `_enter_era` only
        self._calls: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Read the token, then answer lines until the client ends. Raises `ProtocolError` for the connection's last
        message."""
        async with asyncio.timeout(self._settings.head_timeout):
            token = (await self._line(_MAX_TOKEN_LINE)).decode("ascii", "replace").strip()
        run = self._exchange.authenticate(token)
        with self._exchange.connections.hold(run.id):
            while line := await self._line(self._settings.max_body):
                if line.strip():
                    await self._serve_line(token, line)

    async def close(self) -> None:
        """End the waiting of every call, then the connection."""
        await asyncio.sleep(0)  # INVARIANT: every call that was read has begun, so that it is on record
        for call in list(self._calls):
            call.cancel()
        if self._calls:
            await asyncio.wait(list(self._calls))
        self._writer.close()
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._writer.wait_closed()

    async def write(self, message: bytes) -> None:
        """Write one line. A client that does not read for `write_timeout` seconds loses the connection."""
        if self._writer.is_closing():
            return
        self._writer.write(message + b"\n")
        try:
            async with asyncio.timeout(self._settings.write_timeout):
                await self._writer.drain()
        except (ConnectionError, TimeoutError):
            self._writer.transport.abort()

    async def _line(self, most: int) -> bytes:
        """The next line, empty at the end. Raises `ProtocolError` for one longer than `most` bytes."""
        try:
            line = await self._reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            return error.partial
        except asyncio.LimitOverrunError:
            line = b" " * (most + 2)
        if len(line) > most + 1:
            raise ProtocolError(INVALID_REQUEST, f"expected a line of at most {most} bytes, found more", status=400)
        return line

    async def _serve_line(self, token: str, line: bytes) -> None:
        message: Message | None = None
        try:
            message = read_message(line.rstrip(b"\r\n"), self._settings)
            await self._serve_message(self._exchange.admit(token), message)
        except ProtocolError as error:
            await self.write(error.encoded(message.id if message is not None else None))
            if error.code == UNAUTHORIZED:  # the run ended meanwhile
                raise _Over from None

    async def _serve_message(self, run: Run, message: Message) -> None:
        if message.kind == "notification":
            era = self._era or Era.HANDSHAKE
            self._exchange.notified(Caller(run=run, era=era, session=self._session), message)
            return
        caller = Caller(run=run, era=self._enter_era(message), session=self._session)
        if message.method != "tools/call":
            reply = await self._exchange.respond(caller, message)
            await self.write(reply.body)
            return
        token = progress_token(message)
        progress = Progress(token, self._write_progress) if token is not None else None
        answering = asyncio.create_task(self._exchange.respond(caller, message, progress))
        call = asyncio.create_task(self._call(answering, progress))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    def _enter_era(self, message: Message) -> Era:
        """The connection's era, decided by its first request. Raises `ProtocolError` for a request of the other, and
        in the handshake era for one before `initialize` (`ping` aside)."""
        enveloped = has_envelope(message) and message.method != "initialize"
        if self._era is None and message.method != "ping":
            self._era = Era.MODERN if enveloped else Era.HANDSHAKE
        if self._era is Era.MODERN:
            if message.method == "initialize":
                raise unsupported(str(message.params.get("protocolVersion"))[:64], message)
            check_envelope(message)
            return Era.MODERN
        if enveloped:
            raise ProtocolError(
                INVALID_REQUEST,
                "this connection began with a handshake, and goes on without envelopes",
                request_id=message.id,
            )
        if message.method == "initialize":
            self._initialized = True
        elif not self._initialized and message.method != "ping":
            self._era = None
            raise ProtocolError(INVALID_PARAMS, "found a request before `initialize`", request_id=message.id)
        return Era.HANDSHAKE

    async def _call(self, task: asyncio.Task[Reply], progress: Progress | None) -> None:
        """Write the answer once it is there, and progress until then. Cancelling this ends the waiting for it."""
        try:
            while not (await asyncio.wait((task,), timeout=self._settings.heartbeat))[0]:
                if progress is not None:
                    progress.beat()
            reply: Reply = task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))
        if not reply.cancelled:  # on a stream a cancelled request gets no answer (MCP, utilities, cancellation)
            await self.write(reply.body)

    def _write_progress(self, notification: bytes) -> None:
        """Progress is dropped where the client does not keep up with reading it."""
        if not self._writer.is_closing() and self._writer.transport.get_write_buffer_size() < _UNREAD:
            self._writer.write(notification + b"\n")


@asynccontextmanager
async def serve_socket(
    path: Path, agent_side: AgentSide, settings: GatewaySettings, *, exchange: Exchange | None = None
) -> AsyncIterator[None]:
    """Serve the bridge's clients at the unix socket `path` while the block runs; the file goes with it.

    The socket is open to every local user (`settings.socket_mode`), because agents run as others than the gateway: the
    token decides. Replaces the socket of a gateway that has ended. Raises `Misuse` where something else is in the way.
    """
    await asyncio.to_thread(_clear_the_way, path)
    door = LineDoor(exchange if exchange is not None else Exchange(agent_side, settings))
    try:
        server = await asyncio.start_unix_server(door.connected, path=str(path), limit=settings.max_body + 2)
    except OSError as error:
        raise Misuse(f"the socket `{path}` cannot be made: {error.strerror or error}") from None
    try:
        await asyncio.to_thread(path.chmod, settings.socket_mode)
        yield
    finally:
        server.close()
        await door.close()
        await asyncio.to_thread(path.unlink, missing_ok=True)


def _clear_the_way(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Misuse(f"`{path}` is in the way: expected no file or an old socket there", hint="move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise Misuse(f"`{path}` is served by another gateway", hint="stop that one first")
