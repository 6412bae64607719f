"""Watching the home for the `STOP` file and for stops that other processes latch, on a thread of its own: it works
whatever the event loop is doing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

INTERVAL = 0.05
log = logging.getLogger("remit.home")


class MarkerWatch:
    """Calls `seen(True)` when the file comes and `seen(False)` when it goes, and `latched()` at first and whenever
    somebody wrote the file `latch`: a command may latch a stop while a gateway is only just starting.

    A folder that cannot be looked into counts as a file that is there: a node that cannot confirm that it is not
    stopped is stopped.
    """

    def __init__(
        self,
        path: Path,
        seen: Callable[[bool], None],
        interval: float = INTERVAL,
        *,
        latch: Path | None = None,
        latched: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path
        self._seen = seen
        self._latch = latch
        self._latched = latched
        self._written: tuple[int, ...] = ()
        self._interval = interval
        self._ending = threading.Event()
        self._present = False  # owned by the watching thread, after `start`
        self._thread = threading.Thread(target=self._watch, name="remit-marker", daemon=True)

    def start(self) -> None:
        """Look once, now, then keep watching."""
        self.look()
        self._thread.start()

    def look(self) -> None:
        """Look once, and tell of a change."""
        present = is_there(self._path)
        if present is not self._present:
            self._seen(present)
            self._present = present
        written = _written(self._latch)
        if written != self._written:
            self._latched()
            self._written = written

    def close(self) -> None:
        """Stop watching. Idempotent."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def _watch(self) -> None:
        while not self._ending.wait(self._interval):
            try:
                self.look()
            except Exception:
                # INVARIANT: nothing ends the watch but `close`; what was not told is told again at the next look.
                log.exception("the STOP file was seen to come or go, and that could not be passed on")


def _written(path: Path | None) -> tuple[int, ...]:
    """What changes whenever somebody writes the file."""
    if path is None:
        return ()
    try:
        found = path.stat()
    except OSError:
        return (0,)
    return found.st_mtime_ns, found.st_size, found.st_ino


def is_there(path: Path) -> bool:
    """Whether the file is there, or cannot be told not to be."""
    try:
        path.lstat()
    except FileNotFoundError:
        return not path.parent.is_dir()
    except OSError:
        return True
    return True
