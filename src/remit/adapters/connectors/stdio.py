"""MCP over a process's standard streams: one line, one message (MCP, basic/transports/stdio).

The process is started by `launch.py`, which takes everything below it down when the gateway goes or says so.
"""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import cast

import msgspec

from remit.adapters.connectors import rpc
from remit.adapters.connectors.exchange import Flight, Inbox, Lost
from remit.adapters.connectors.settings import ConnectorSettings
from remit.adapters.connectors.stderr import StderrKeeper

LAUNCHER = Path(__file__).with_name("launch.py")
OVERHEAD = 64 * 1024
CANNOT_START = 127
WORD_OF_THE_END = 0.5
KEPT_FROM_GATEWAY = ("PATH", "HOME", "LANG")


class StdioLink(asyncio.Protocol):
    """One run of a connector's process. Fields are owned by the event loop, but for what `_lock` guards."""

    def __init__(self, settings: ConnectorSettings, inbox: Inbox, stderr: StderrKeeper) -> None:
        self.containment = "whole process tree" if sys.platform == "linux" else "process group only"
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._inbox = inbox
        self._stderr = stderr
        self._buffer = bytearray()
        self._searched = 0
        self._waiting: dict[int, Flight] = {}
        self._stdin = _Stdin()
        self._process: asyncio.subprocess.Process | None = None
        self._lock = Lock()
        self._control: int | None = None  # guarded by _lock
        self._watch: int | None = None  # guarded by _lock
        self._why = ""

    # starting

    async def open(self) -> None:
        """Start the process. Raises `Lost` if there is no such program or folder."""
        environment = {name: os.environ[name] for name in KEPT_FROM_GATEWAY if name in os.environ}
        environment.update(self._settings.env)
        program = self._settings.command[0]
        cwd = self._settings.cwd
        if cwd is not None and not cwd.is_dir():
            raise Lost("cannot be started: the folder of its `cwd` does not exist")
        found = program if os.sep in program else shutil.which(program, path=environment.get("PATH", os.defpath))
        if found is None or not os.access((cwd or Path()) / found, os.X_OK):
            raise Lost(f"cannot be started: no program `{program}` was found")
        try:
            await self._spawn(environment)
        except OSError as error:
            raise Lost(f"cannot be started: {error.strerror}") from error

    async def _spawn(self, environment: dict[str, str]) -> None:
        theirs, ours = [], []
        for reads in (True, False, False, True):  # stdin, stdout, stderr, control: which end is the child's
            reading, writing = os.pipe()
            theirs.append(reading if reads else writing)
            ours.append(writing if reads else reading)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(LAUNCHER), str(theirs[3]), *self._settings.command),
                stdin=theirs[0],
                stdout=theirs[1],
                stderr=theirs[2],
                pass_fds=(theirs[3],),
                env=environment,
                cwd=self._settings.cwd,
                start_new_session=True,
            )
        except BaseException:
            for end in ours:
                os.close(end)
            raise
        finally:
            for end in theirs:
                os.close(end)
        self._control = ours[3]
        with suppress(AttributeError, OSError):
            self._watch = os.pidfd_open(self._process.pid)
        await self._loop.connect_write_pipe(lambda: self._stdin, os.fdopen(ours[0], "wb", 0))
        await self._loop.connect_read_pipe(lambda: self, os.fdopen(ours[1], "rb", 0))
        await self._loop.connect_read_pipe(lambda: self._stderr, os.fdopen(ours[2], "rb", 0))

    async def settle(self, version: str) -> None:
        """Confirm the handshake."""
        if version != rpc.STATELESS_VERSION:
            self._stdin.write(rpc.notification("notifications/initialized"))

    # one request

    async def exchange(self, flight: Flight) -> bytes:
        """Send one line and wait for its answer."""
        await self._stdin.writable()
        if self.lost.done():
            raise Lost(self.lost.result())
        self._waiting[flight.number] = flight
        self._inbox.expect(flight)
        try:
            flight.hand_over()
            self._stdin.write(flight.body)
            return await asyncio.shield(flight.answer)
        finally:
            self._waiting.pop(flight.number, None)
            self._inbox.forget(flight)

    def abandon(self, flight: Flight) -> None:
        """Send `notifications/cancelled`; a connector may ignore it."""
        if not self.lost.done():
            self._stdin.offer(rpc.cancelled(flight.number))

    # what comes back

    def data_received(self, data: bytes) -> None:
        if self._why:
            return
        self._buffer += data
        try:
            while (end := self._buffer.find(b"\n", self._searched)) >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                self._searched = 0
                self._line(line)
            self._searched = len(self._buffer)
            self._bound(self._searched)
        except Lost as error:
            self._end(str(error))

    def _bound(self, size: int) -> None:
        if size > self._settings.max_result_bytes + OVERHEAD:
            raise Lost(f"sent a line longer than {self._settings.max_result_bytes} bytes, the most it may")

    def _line(self, line: bytes) -> None:
        self._bound(len(line))
        try:
            message = rpc.read(line)
        except rpc.Unusable:
            self._inbox.count()
            return
        flight = None
        if message.method is msgspec.UNSET and type(message.id) is int:
            flight = self._waiting.pop(message.id, None)
        if flight is None or flight.answer.done():
            reply = self._inbox.take(message)
            if reply is not None:
                self._stdin.offer(reply)
            return
        try:
            flight.answer.set_result(message.outcome())
        except rpc.Unusable as error:
            flight.fail(str(error))
        except Exception as error:
            flight.answer.set_exception(error)

    # the end

    def connection_lost(self, exc: Exception | None) -> None:
        """Its stdout is closed: the process ended, or wants to talk no more."""
        self._loop.create_task(self._ended())

    async def _ended(self) -> None:
        why = self._why or "closed its stdout"
        if self._process is not None:
            with suppress(TimeoutError):
                code = await asyncio.wait_for(self._process.wait(), WORD_OF_THE_END)
                why = self._why or _words(code, self._settings.command[0])
        self._end(why)

    def _end(self, why: str) -> None:
        """Break with the process and tell everybody who waits for it."""
        self._why = self._why or why
        self._say(b"k")
        self._buffer.clear()
        for flight in list(self._waiting.values()):
            flight.fail(self._why)
        if not self.lost.done():
            self.lost.set_result(self._why)
        self._stdin.abort()

    def _say(self, word: bytes) -> None:
        with self._lock, suppress(OSError):
            if self._control is not None:
                os.write(self._control, word)

    def kill(self, flights: list[Flight], why: str, seconds: float) -> bool:
        """Kill the process and everything below it. Works from any thread, also while the event loop is stuck."""
        self._why = self._why or why
        self._say(b"k")
        with self._lock:
            if self._watch is None:
                return False
            poll = select.poll()
            poll.register(self._watch, select.POLLIN)
            if poll.poll(seconds * 1000):
                return self.containment == "whole process tree"
            # The launcher itself is stopped or starved. Its command dies with it; deeper descendants may not.
            with suppress(OSError):
                signal.pidfd_send_signal(self._watch, signal.SIGKILL)
            return False

    async def close(self, grace: float) -> None:
        """Close its stdin, wait, ask it to end, and kill what is left, after `grace` seconds at the latest."""
        process, self._why = self._process, self._why or "was closed"
        if process is not None:
            self._stdin.close()
            for word in (b"", b"t"):
                self._say(word) if word else None
                with suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), grace / 2)
                    break
            self._say(b"k")
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 2.0)
        self._end(self._why)
        with self._lock:
            for handle in (self._control, self._watch):
                if handle is not None:
                    os.close(handle)
            self._control = self._watch = None


class _Stdin(asyncio.BaseProtocol):
    """The writing side, bounded: nobody writes while the pipe is full."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._free = asyncio.Event()
        self._free.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of no asyncio class, so this cannot be asserted.
        self._transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._free.set()

    def pause_writing(self) -> None:
        self._free.clear()

    def resume_writing(self) -> None:
        self._free.set()

    async def writable(self) -> None:
        """Wait until the pipe takes more."""
        while not self._free.is_set():
            await self._free.wait()

    def write(self, line: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(line + b"\n")

    def offer(self, line: bytes) -> None:
        """Write something that may be dropped, unless the pipe is full."""
        if self._free.is_set():
            self.write(line)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _words(code: int, program: str) -> str:
    if code == CANNOT_START:
        return f"cannot be started: `{program}` did not run"
    if code < 0 or code > 128:
        return f"was killed by signal {abs(code) % 128}"
    return f"ended by itself with exit code {code}"
