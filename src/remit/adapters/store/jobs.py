"""The steps that wait for a store, and how each caller learns what became of its own.

What lives here: jobs, and the way of their answers to the loops they came from. What never may: SQL, a connection.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from remit.flow.ports import Transaction
from remit.model.errors import Fault, NotCommitted

_LOG = logging.getLogger(__name__)


class Job:
    """One step that waits. `future` is None when nobody waits for its answer."""

    __slots__ = ("answer", "error", "future", "step")

    def __init__(self, step: Callable[[Transaction], Any], future: asyncio.Future[Any] | None) -> None:
        self.step = step
        self.future = future
        self.answer: Any = None
        self.error: BaseException | None = None


class Errand:
    """Something that one of two threads does, whichever claims it first; the other learns what came of it."""

    def __init__(self, do: Callable[[], bool]) -> None:
        self._do = do
        self._claim = threading.Lock()  # never released: it can be claimed once
        self._done = threading.Event()
        self._value = False
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do it here, unless it is claimed."""
        if self._claim.acquire(blocking=False):
            try:
                self._value = self._do()
            except BaseException as error:
                self._error = error
            finally:
                self._done.set()

    def result(self, seconds: float) -> bool:
        """What came of it; after so many seconds in which nobody began, do it here. Raises what it raised."""
        if not self._done.wait(seconds):
            self.run()
            self._done.wait()
        if self._error is not None:
            raise self._error
        return self._value


def fail(batch: list[Job], fault: Fault) -> None:
    """Let a fault befall every job of a batch."""
    # A step's own error gives way too: it may rest on what an earlier step of this batch wrote, and that is gone.
    for job in batch:
        job.answer, job.error = None, type(fault)(fault.message, hint=fault.hint)


def answer(batch: list[Job], *, dropped: bool) -> None:
    """Send every answer to its caller's loop, from any thread. `dropped`: what failed is not tried again."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = defaultdict(list)
    for job in batch:
        if job.future is not None:
            by_loop[job.future.get_loop()].append(job)
        elif job.error is not None and (dropped or not isinstance(job.error, NotCommitted)):
            _LOG.error("a step that nobody waits for failed: %r", job.error)
    for loop, jobs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_deliver, jobs)
        except RuntimeError:
            _LOG.warning("%d callers were gone before their answer came", len(jobs))


def deliver_here(jobs: list[Job], *, dropped: bool) -> None:
    """Give the answers on the loop that is running."""
    _deliver(jobs)


def _deliver(jobs: list[Job]) -> None:
    for job in jobs:
        future = job.future
        if future is None or future.done():
            continue
        if job.error is None:
            future.set_result(job.answer)
        elif isinstance(job.error, StopIteration):
            future.set_exception(RuntimeError("a step raised StopIteration"))
        else:
            future.set_exception(job.error)
