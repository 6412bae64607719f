"""What a connector's process says on stderr: the last of it in memory, and in a file, both bounded."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import cast

from remit.model.display import redact, redact_patterns

MAX_LINE = 8 * 1024
BYTES_PER_SECOND = 1024 * 1024
MAX_FILE = 8 * 1024 * 1024


class StderrKeeper(asyncio.Protocol):
    """Keeps the last `limit` bytes, with the given secrets and whatever looks like one struck out, and appends to a
    file of at most 8 MiB (one older file is kept beside it). A process that writes more than 1 MiB in a second waits
    for the next one."""

    def __init__(self, limit: int, file: Path | None, secrets: tuple[str, ...]) -> None:
        self._limit = limit
        self._file = file
        self._secrets = secrets
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._rest = b""
        self._second = 0
        self._taken = 0
        self._transport: asyncio.ReadTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of no asyncio class, so this cannot be asserted.
        self._transport = cast(asyncio.ReadTransport, transport)

    def data_received(self, data: bytes) -> None:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        while len(self._rest) > MAX_LINE:
            lines.append(self._rest[:MAX_LINE])
            self._rest = self._rest[MAX_LINE:]
        self._keep(lines)
        self._throttle(len(data))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._rest:
            self._keep([self._rest])
            self._rest = b""

    def tail(self) -> str:
        """The last lines, as text."""
        return b"\n".join(self._lines).decode("utf-8", "replace")

    def forget(self) -> None:
        """Empty what is in memory; `empty` does the files."""
        self._lines.clear()
        self._size = 0
        self._rest = b""

    def _keep(self, lines: list[bytes]) -> None:
        clean = [self._struck(line)[:MAX_LINE] for line in lines]
        for line in clean:
            self._lines.append(line)
            self._size += len(line) + 1
        while self._size > self._limit and self._lines:
            self._size -= len(self._lines.popleft()) + 1
        if self._file is not None and clean:
            with suppress(OSError):
                self._append(self._file, b"".join(line + b"\n" for line in clean))

    def _struck(self, line: bytes) -> bytes:
        return redact_patterns(redact(line.decode("utf-8", "replace"), self._secrets)).encode()

    def _append(self, file: Path, data: bytes) -> None:
        with suppress(FileNotFoundError):
            if file.stat().st_size > MAX_FILE:
                file.replace(_older(file))
        with file.open("ab") as out:
            out.write(data)

    def _throttle(self, size: int) -> None:
        loop = asyncio.get_running_loop()
        second = int(loop.time())
        if second != self._second:
            self._second, self._taken = second, 0
        self._taken += size
        if self._taken > BYTES_PER_SECOND and self._transport is not None:
            self._transport.pause_reading()
            loop.call_at(second + 1, self._resume)

    def _resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()


def empty(file: Path) -> None:
    """Empty a process's file and the older one beside it: overwrite what they held where it lies, then let go of it.
    Raises `OSError`."""
    for each in (file, _older(file)):
        _overwrite(each)


def let_go(file: Path, now: float, age: float) -> None:
    """Let go of what a process wrote longer ago than `age` seconds, seen from `now`. Raises `OSError`.

    Lines bear no time. But all that is in the older file was there at its last change, and all that is in the newer one
    came after that. So the older one goes half of `age` after its last change, and the newer one takes its place.
    """
    older = _older(file)
    for each in (older, file):
        with suppress(FileNotFoundError):
            if now - older.stat().st_mtime < age / 2:
                return
            _overwrite(older)
            older.unlink()
        if each == older:
            with suppress(FileNotFoundError):
                file.replace(older)


def _overwrite(file: Path) -> None:
    """Overwrite where it lies what a file holds, and empty it; nothing where there is none."""
    with suppress(FileNotFoundError), file.open("r+b") as out:
        out.write(bytes(os.fstat(out.fileno()).st_size))
        out.flush()
        os.fsync(out.fileno())
        out.truncate(0)
        os.fsync(out.fileno())


def _older(file: Path) -> Path:
    return file.with_name(file.name + ".1")
