"""The programs that the demonstration starts, and their end.

INVARIANT: nothing that was started here outlives the demonstration. Each program leads a process group of its own,
which is ended as a whole; where even the demonstration is killed outright, the kernel ends the leaders (Linux,
PR_SET_PDEATHSIG), and a gateway's connectors end with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from remit.model.errors import Fault

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SET_DEATH_SIGNAL = 1
LIBC = ctypes.CDLL(None)
GRACE_SECONDS = 3.0
COMMAND_SECONDS = 60.0


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str


class Program:
    """A program that runs beside the demonstration; its standard output arrives line by line."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            for line in self.process.stdout:
                self._lines.put(line.decode("utf-8", "replace").rstrip("\r\n"))
        self._lines.put(None)

    @property
    def ended(self) -> bool:
        """Whether its output has ended and been read to the end."""
        return self._ended

    def line(self, seconds: float) -> str | None:
        """The next line, or None where none came within `seconds` or its output has ended."""
        if self._ended:
            return None
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            return None
        self._ended = line is None
        return line


class Programs:
    """Everything that was started. Owned by the thread that runs the demonstration."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = dict(environment)
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, words: Sequence[str]) -> Program:
        """Start a program. Its standard error goes to `NAME.log` in the demonstration's folder."""
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own words, without a shell
                list(words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        self._running.append(process)
        return Program(process)

    def ready(self, program: Program, name: str, seconds: float = COMMAND_SECONDS) -> str:
        """The first line of a program that says when it is ready. Raises `Fault` where it ends or says nothing."""
        line = program.line(seconds)
        if line is None:
            raise Fault(f"`{name}` did not start: {self._last_words(name)}", hint=f"{name}.log has the rest")
        return line

    def run(self, words: Sequence[str], seconds: float = COMMAND_SECONDS) -> Said:
        """Run one command to its end. Raises `Fault` where it takes longer than `seconds`."""
        return self.finish(self.begin(words), words, seconds)

    def begin(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start one command whose answer `finish` gets."""
        process = subprocess.Popen(  # noqa: S603 - our own words, without a shell
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment,
            start_new_session=True,
        )
        self._running.append(process)
        return process

    def finish(self, process: subprocess.Popen[bytes], words: Sequence[str], seconds: float = COMMAND_SECONDS) -> Said:
        """The answer of a command that `begin` started. Raises `Fault` where it takes longer than `seconds`."""
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Fault(f"`{' '.join(words[-4:])}` took longer than {seconds:.0f} s") from None
        self._running.remove(process)
        return Said(process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))

    def end(self, program: Program) -> None:
        """End one program and everything in its group, and wait for it."""
        _end([program.process])

    def end_all(self) -> None:
        """End everything that still runs."""
        _end(self._running)
        self._running.clear()

    def _last_words(self, name: str) -> str:
        try:
            lines = (self._folder / f"{name}.log").read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1][:300] if lines else "it said nothing"


@contextlib.contextmanager
def ending(programs: Programs) -> Iterator[None]:
    """End all programs when the block is left, however it is left. The first signal that would end us becomes
    `KeyboardInterrupt`; further ones wait until everything has ended."""
    before = {number: signal.getsignal(number) for number in ENDING if signal.getsignal(number) != signal.SIG_IGN}

    def end(*_: object) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        programs.end_all()
        for number, handler in before.items():
            signal.signal(number, handler)


def _die_with_parent() -> None:
    LIBC.prctl(SET_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask every group to end, give them a moment, kill what is left of them, and only then give their numbers back."""
    for process in processes:
        _signal_group(process, signal.SIGTERM)
    until = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < until and not all(map(_exited, processes)):
        time.sleep(0.01)
    for process in processes:
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _exited(process: subprocess.Popen[bytes]) -> bool:
    """Whether the leader has ended. It is left unreaped, so that its number still names its group and no other."""
    if process.returncode is not None or sys.platform != "linux":
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    """INVARIANT: only to the group of a leader that was not reaped yet, so its number cannot be another's."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
