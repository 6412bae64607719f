"""The one place that asks the machine for the time.

What lives here: wall clock held above a durable high-water mark, and the comparison of wall and monotonic clocks. What
never may: another module that calls `time` or `datetime.now` for a decision.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from remit.model.words import SECOND, Instant

JUMP: Instant = 2 * SECOND


class SystemClock:
    """See `remit.flow.ports.Clock`. `high_water` is the latest time that the store has ever seen.

    A jump of more than 2 s between wall and monotonic clocks latches until `forgive`. Time never goes back: while the
    wall clock is behind the high-water mark, time stands still there and moves on with the monotonic clock.
    """

    def __init__(
        self,
        high_water: Instant = 0,
        *,
        wall: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._high = high_water
        self._offset = wall() // 1000 - monotonic() // 1000
        self._why = ""
        if high_water - self._wall_now() > JUMP:
            behind = (high_water - self._wall_now()) / SECOND
            self._why = f"the wall clock is {behind:.0f} s behind the latest time on record"

    def now(self) -> Instant:
        """See `Clock`."""
        with self._lock:
            wall = self._wall_now()
            offset = wall - self._monotonic() // 1000
            if abs(offset - self._offset) > JUMP:
                if not self._why:
                    ahead = (offset - self._offset) / SECOND
                    self._why = f"the wall clock jumped by {ahead:+.1f} s against the monotonic clock"
                self._offset = offset
            self._high = max(self._high + 1, wall) if wall <= self._high else wall
            return self._high

    def jumped(self) -> str:
        """See `Clock`."""
        self.now()
        return self._why

    def forgive(self) -> None:
        """A human has looked at it: forget the jump."""
        with self._lock:
            self._why = ""
            self._offset = self._wall_now() - self._monotonic() // 1000

    def _wall_now(self) -> Instant:
        return self._wall() // 1000
