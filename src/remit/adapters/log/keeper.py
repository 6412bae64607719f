"""The keeper: a thread that brings every durable record under a signed checkpoint, and says when it cannot.

What lives here: when to write, what counts as trouble, and getting out of it. What never may: what is written (that is
`writing`'s). While there is trouble no action is carried out: what cannot be proven is not done.

A commit wakes it. It gathers company for as long as a round leaves time for, then writes and signs what there is. An
idle log signs nothing and wakes nobody. After any fault it begins anew from what was signed last, so nothing is lost or
done twice.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from remit.adapters.log.signing import Diverged
from remit.adapters.log.writing import MOST_AT_ONCE, LogWriter
from remit.flow.ports import LogState, StoredRecord
from remit.model.errors import RemitError

GATHER_SECONDS = 0.08
"""How long records wait for company at most: a round costs much the same for one record as for a hundred."""
_UNDER_A_CHECKPOINT_SECONDS = 0.1  # the aim for a record that just missed a round: that one, the gathering, its own
LAG_SECONDS = 2.0
RETRY_SECONDS = (0.1, 2.0)  # the first and the longest wait between two attempts
_CLOSING_SECONDS = 5.0
log = logging.getLogger("remit.log")


class Follower(Protocol):
    """Who is told of the records that came under a checkpoint, in order. What it raises is logged, and is no trouble of
    the log's."""

    def __call__(self, first: int, records: Sequence[StoredRecord]) -> None: ...


class Keeper:
    """Fulfils `remit.flow.ports.Log`. `start` once, `close` once; `trouble` and `wake` from any thread."""

    def __init__(
        self,
        writer: LogWriter,
        *,
        now: Callable[[], int],
        clock: Callable[[], str] = lambda: "",
        witnesses: Callable[[], str] = lambda: "",
        diverged: Callable[[str], None] = lambda _: None,
        followers: Sequence[Follower] = (),
    ) -> None:
        """`clock` says what is wrong with the machine's clock, `witnesses` how one of them contradicts the log;
        `diverged` is called once where the store and what was signed are two histories."""
        self._writer = writer  # the thread's, once it runs
        self._now = now
        self._clock = clock
        self._witnesses = witnesses
        self._tell = diverged
        self._followers = followers
        self._woken = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="remit-log", daemon=True)
        self._says = "the log is not open yet"  # written by the thread, and by `start` before it
        self._diverged = ""
        self._reopen = True  # set by anybody, taken by the thread
        self._since = 0.0  # monotonic; since when a commit waits. Set by the store's writer, taken by the thread
        self._round = 0.0  # monotonic; since when the records of this round have waited. The thread's
        self._took = 0.0  # seconds that rounds take lately. The thread's
        self._state = LogState()

    def start(self) -> None:
        """Begin from what was signed last, here, and then keep on, on a thread of its own. Never raises: what does not
        work is trouble."""
        self._attempt()
        self._thread.start()
        self.wake()

    def close(self) -> None:
        """Bring under a checkpoint what is left, if that works now, and end."""
        self._closing.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(_CLOSING_SECONDS)

    def wake(self) -> None:
        """Something was committed. Cheap: it is called after every commit, on the store's writer."""
        if not self._since:
            self._since = time.monotonic()
        self._woken.set()

    def begin_anew(self) -> None:
        """A person has decided how to go on after a divergence: look again."""
        self._diverged = ""
        self._reopen = True
        self._woken.set()

    @property
    def diverged(self) -> str:
        """Empty, or how the store and what was signed are two histories. Only a person ends that."""
        return self._diverged

    @property
    def state(self) -> LogState:
        """See `Log`."""
        return self._state

    def trouble(self) -> str:
        """See `Log`."""
        if self._says:
            return self._says
        if not self._thread.is_alive():
            return "the log's keeper has ended; restart the gateway"
        since = self._round or self._since
        if since and time.monotonic() - since > LAG_SECONDS:
            return f"a record has waited for its checkpoint for more than {LAG_SECONDS:.0f} s"
        try:
            os.stat(self._writer.folder.checkpoint)  # noqa: PTH116  (this runs once for every action)
        except OSError as error:
            self._reopen = True
            self._woken.set()
            return f"the log's folder `{self._writer.folder.path}` cannot be read ({error.strerror})"
        return self._clock() or self._witnesses()

    # --- the thread -----------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        wait = RETRY_SECONDS[0]
        while not self._closing.is_set():
            failing = bool(self._says) and not self._diverged
            self._woken.wait(wait if failing else None)
            self._closing.wait(min(GATHER_SECONDS, max(0.0, _UNDER_A_CHECKPOINT_SECONDS - 2 * self._took)))
            began = time.monotonic()
            self._attempt()
            self._took = max(time.monotonic() - began, 0.8 * self._took)
            wait = min(wait * 2, RETRY_SECONDS[1]) if self._says else RETRY_SECONDS[0]
        self._attempt()

    def _attempt(self) -> None:
        """Open where that is due, and append until nothing is left. What goes wrong becomes the trouble."""
        if self._diverged:
            self._woken.clear()
            return
        try:
            self._bring_up_to_date()
            self._report("")
        except Diverged as error:
            self._diverged = error.message
            self._report(f"{error.message}; nothing is signed until a person decides")
            self._tell(error.message)
        except RemitError as error:
            self._report(error.message)
        except OSError as error:
            self._report(f"the log cannot be written ({(error.strerror or str(error)).lower()})")
        except Exception as error:
            log.exception("the log's keeper failed; it tries again")
            self._report(f"the log's keeper failed ({type(error).__name__})")

    def _bring_up_to_date(self) -> None:
        self._woken.clear()
        if self._reopen:
            self._reopen = False
            self._writer.open()
            self._note_state()
        behind = True
        while behind:
            # Taken before the records are read: a commit after this is waiting anew, and has woken this thread again.
            self._round, self._since = self._round or self._since, 0.0
            records = self._writer.append()
            self._note_state()
            self._round = 0.0
            self._follow(records)
            behind = len(records) >= MOST_AT_ONCE
        self._writer.settle(at_rest=not self._woken.is_set())

    def _follow(self, records: Sequence[StoredRecord]) -> None:
        for follower in self._followers if records else ():
            try:
                follower(records[0].position, records)
            except Exception:
                log.exception("a follower of the log failed; it catches up from the store")

    def _note_state(self) -> None:
        checkpoint = self._writer.checkpoint
        if checkpoint is not None:
            self._state = LogState(origin=checkpoint.origin, size=checkpoint.size, signed_at=self._now())

    def _report(self, says: str) -> None:
        if says:
            self._reopen = True
            self._round = 0.0
            if says != self._says:
                log.error("the log is in trouble: %s", says)
        elif self._says:
            log.warning("the log is kept: %d entries under a checkpoint", self._state.size)
        self._says = says
