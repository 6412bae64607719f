"""Starts a connector's command and makes sure that nothing of it outlives the gateway.

Run by path as `python -I -S launch.py CONTROL_FD COMMAND…`, so it may import nothing but the standard library. It
adopts every orphan below it (`PR_SET_CHILD_SUBREAPER`), so a grandchild that made a session of its own is still
found. CONTROL_FD is the reading end of a pipe whose other end only the gateway holds:

- end of file (the gateway is gone, even after `kill -9`) or `k`: kill everything below, then exit;
- `t`: ask the command to end (SIGTERM).

The command gets its standard streams untouched: not one byte of the conversation passes through here.
INVARIANT: where orphans are adopted, this process exits only when nothing below it is left.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import select
import signal
import sys
import time
from pathlib import Path

SET_DEATH_SIGNAL = 1
SET_CHILD_SUBREAPER = 36
CANNOT_START = 127
RESTORED = (signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(arguments: list[str]) -> int:
    """Run the command until it ends or the gateway does. Returns the command's exit code, 128 + N for signal N."""
    control, command = int(arguments[0]), arguments[1:]
    os.set_inheritable(control, False)
    adopts = _process_option(SET_CHILD_SUBREAPER, 1)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    child = _spawn(command)
    _let_go_of_streams()
    code = _attend(child, control, wake)
    _kill_all(child, adopts)
    return code


def _process_option(option: int, value: int) -> bool:
    try:
        return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)
    except (AttributeError, OSError):
        return False


def _spawn(command: list[str]) -> int:
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        _process_option(SET_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(CANNOT_START)
        signal.set_wakeup_fd(-1)
        for number in RESTORED:
            signal.signal(number, signal.SIG_DFL)
        os.execvp(command[0], command)  # noqa: S606 (that it starts without a shell is the point)
    except OSError as error:
        os.write(2, f"the command cannot be started: {error.strerror}\n".encode())
    finally:
        os._exit(CANNOT_START)


def _let_go_of_streams() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    os.close(nothing)


def _attend(child: int, control: int, wake: int) -> int:
    """Wait for the command's end or the gateway's word."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wake, select.POLLIN)
    while True:
        ready = {handle for handle, _ in poll.poll()}
        signals = os.read(wake, 512) if wake in ready else b""
        code = _reap(child)
        if code is not None:
            return code
        word = os.read(control, 64) if control in ready else None
        if word == b"" or b"k" in (word or b"") or signals.strip(bytes([signal.SIGCHLD])):
            return 128 + signal.SIGKILL
        if word and b"t" in word:
            os.kill(child, signal.SIGTERM)


def _reap(child: int) -> int | None:
    """Bury every dead descendant; the command's exit code if it was among them."""
    code = None
    while True:
        try:
            dead, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if dead == 0:
            return code
        if dead == child:
            number = os.waitstatus_to_exitcode(status)
            code = number if number >= 0 else 128 - number


def _kill_all(child: int, adopts: bool) -> None:
    _kill(-child)
    for attempt in itertools.count():
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        if attempt >= 5:
            for process in _descendants() if adopts else [child]:
                _kill(process)
        time.sleep(0.001)


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except OSError:
        return


def _descendants() -> list[int]:
    """Every process below this one, from the parent that `/proc/PID/stat` names (proc(5), field 4)."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [os.getpid()]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))
