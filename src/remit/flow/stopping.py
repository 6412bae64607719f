"""The latch in force: placing and lifting orders, from any thread.

What lives here: the one mutable latch and the order in which memory, file and record are written. What never may:
deciding who may lift it (that is the control door's, with a signed statement), severing (see `in_flight`).

Order of a stop: memory first (refuses at once), then the latch file (survives a crash), then severing, then the record.
A file that cannot be written does not weaken the stop: memory holds, and the answer says what did not work.
"""

from __future__ import annotations

import threading
from typing import Protocol

from remit.gates import stop
from remit.gates.stop import Latch, Subject
from remit.model.words import StopOrder


class LatchFile(Protocol):
    """Where the latch survives a crash. Outside the store, on purpose."""

    def read(self) -> Latch:
        """The latch as it stands on disk; a blind one if that cannot be read."""
        ...

    def write(self, latch: Latch) -> None:
        """Durable when it returns. Raises `OSError`."""
        ...

    def renew(self, latch: Latch) -> None:
        """Put a fresh file in the place of whatever is there. Durable when it returns. Raises `OSError`."""
        ...


class Stops:
    """The latch in force. Reading it is one attribute access; changing it takes a lock."""

    def __init__(self, file: LatchFile) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._marker: StopOrder | None = None
        self._kept = file.read()  # what the file holds; owned by whoever has the lock
        self.current: Latch = self._kept  # file and marker together; replaced whole, never changed

    def check(self, subject: Subject) -> StopOrder | None:
        """The order that refuses this piece of work now, if any."""
        return stop.refusing(self.current, subject)

    def place(self, order: StopOrder) -> str:
        """Latch an order. Returns empty, or what kept it from being written to the file."""
        with self._lock:
            self._kept = self._kept.with_order(order)
            self._publish()
            self._join()
            return self._save()

    def lift(self, ids: frozenset[str]) -> str:
        """Lift orders by id. The file is written first: a resume that cannot be made durable is no resume.

        Returns empty, or what kept it from being lifted.
        """
        with self._lock:
            self._join()
            before = self._kept
            self._kept = before.without(ids)
            problem = self._save()
            if problem:
                self._kept = before
            else:
                self._publish()
            return problem

    def mend(self, order: StopOrder) -> str:
        """Replace a latch that could not be read by one that holds `order` and every other order that is known.

        Returns empty, or what kept the file from being written: then the latch is as blind as it was.
        """
        with self._lock:
            kept = Latch(self._kept.orders)
            for known in (*self._file.read().orders, order):
                kept = kept.with_order(known)
            try:
                self._file.renew(kept)
            except OSError as error:
                return f"the latch file could not be written ({error.strerror or error})"
            self._kept = kept
            self._publish()
            return ""

    def see_marker(self, order: StopOrder | None) -> None:
        """The `STOP` file was seen in the home, or is gone. While it is there, it wins."""
        with self._lock:
            self._marker = order
            self._publish()

    def reread(self) -> tuple[StopOrder, ...]:
        """Join what the file says now to what memory holds. A stop placed by another process comes into force; an
        order that is in memory is never lifted by the file. Returns the orders that were not in force here before."""
        with self._lock:
            return self._join()

    def _join(self) -> tuple[StopOrder, ...]:
        """INVARIANT: the file is never written without what another process has put into it."""
        found = self._file.read()
        known = {order.id for order in self._kept.orders}
        new = tuple(order for order in found.orders if order.id not in known)
        self._kept = Latch((*self._kept.orders, *new), found.blind)
        self._publish()
        return new

    def _publish(self) -> None:
        self.current = self._kept.with_order(self._marker) if self._marker else self._kept

    def _save(self) -> str:
        kept = self._kept
        if kept.blind:
            # INVARIANT: a file that could not be read is only ever replaced by one that stops everything.
            kept = kept.with_order(stop.blind_order(kept.blind))
        try:
            self._file.write(kept)
        except OSError as error:
            return f"the latch file could not be written ({error.strerror or error})"
        except ValueError as error:  # whatever it is, what is in flight must be cut all the same
            return f"the latch file could not be written ({error})"
        return ""
