"""A gateway's process that a test can end, fail or block at a named point: `python child.py HOME`.

The hook looks at the file that $REMIT_TEST_ARM names: `{"point", "passing", "does", "seconds"}`. From the moment it is
there, passings of that point are counted, and at the wanted one it does what is asked: `kill` (SIGKILL, to itself),
`raise`, `block` (spin on whatever thread it is, for so many seconds), `fill` (no file may grow any more), `exit` (end
the thread that it is, if it is the named one), or `end` (end the named thread at its next step).

With $REMIT_TEST_SERVED_LOOP it runs on the event loop that `remit gateway` takes, else on Python's own, whose turns
the points were counted in. $REMIT_TEST_AHEAD says by how many seconds this process is ahead of the present.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path

_WALL = time.time_ns
_AHEAD = int(os.environ.get("REMIT_TEST_AHEAD", "0")) * 10**9
time.time_ns = lambda: _WALL() + _AHEAD  # before the clock is loaded, which remembers the function

from remit.doors.serving import loop_factory, serve  # noqa: E402
from remit.model.errors import RemitError  # noqa: E402
from remit.node import Node  # noqa: E402


class Hook:
    """See the module."""

    def __init__(self, arm: Path) -> None:
        self._arm = arm
        self._left: dict[str, int] = {}
        self._lock = threading.Lock()

    def __call__(self, point: str) -> None:
        try:
            order = json.loads(self._arm.read_bytes())
        except (FileNotFoundError, ValueError):
            return
        if point != order["point"] or (order["does"] == "exit" and threading.current_thread().name != order["thread"]):
            return
        with self._lock:
            left = self._left.get(order["id"], order["passing"]) - 1
            self._left[order["id"]] = left
        if left == 0:
            self._do(order)

    def _do(self, order: dict[str, object]) -> None:
        match order["does"]:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "raise":
                raise OSError("told to fail")
            case "fill":
                resource.setrlimit(resource.RLIMIT_FSIZE, (int(str(order["bytes"])), resource.RLIM_INFINITY))
            case "exit":
                raise SystemExit
            case "end":
                (found,) = [each for each in threading.enumerate() if each.name == order["thread"]]
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(found.ident or 0), ctypes.py_object(SystemExit)
                )
            case "block":
                self._arm.with_name("blocked").touch()
                until = time.monotonic() + float(str(order["seconds"]))
                while time.monotonic() < until and not self._arm.with_name("go").exists():
                    pass


def main() -> int:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)

    def ready(_: Node, url: str) -> None:
        print(json.dumps({"ready": True, "url": url}), flush=True)

    hook = Hook(Path(os.environ["REMIT_TEST_ARM"]))
    try:
        with asyncio.Runner(loop_factory=loop_factory() if "REMIT_TEST_SERVED_LOOP" in os.environ else None) as runner:
            runner.run(serve(Path(sys.argv[1]), ready=ready, faults=hook))
    except RemitError as error:
        print(json.dumps({"ready": False, "says": error.message}), flush=True)
        return 3
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
