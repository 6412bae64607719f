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
    wall clock is behind the high-water mark, time moves on from there at half the speed of the monotonic clock. So
    everything still expires, and the wall clock catches up.
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
        self._ticks = monotonic() // 1000
        self._offset = wall() // 1000 - self._ticks
        self._why = ""
        self._back = False  # with `_why`: whether it went back
        if high_water - self._wall_now() > JUMP:
            behind = (high_water - self._wall_now()) / SECOND
            self._why = f"the wall clock is {behind:.0f} s behind the latest time on record"
            self._back = True

    def now(self) -> Instant:
        """See `Clock`."""
        with self._lock:
            wall, ticks = self._wall_now(), self._monotonic() // 1000
            offset = wall - ticks
            if abs(offset - self._offset) > JUMP:
                if not self._why:
                    ahead = (offset - self._offset) / SECOND
                    self._back = ahead < 0
                    self._why = f"the wall clock jumped by {ahead:+.1f} s against the monotonic clock"
                self._offset = offset
            passed, self._ticks = ticks - self._ticks, ticks
            self._high = max(wall, self._high + max(passed // 2, 1))
            return self._high

    def jumped(self) -> str:
        """See `Clock`."""
        self.now()
        return self._why

    def went_back(self) -> str:
        """Empty, or how the wall clock went back, until `forgive`: times on record would not be in order."""
        why = self.jumped()
        return why if self._back else ""

    def forgive(self) -> None:
        """A human has looked at it: forget the jump."""
        with self._lock:
            self._why, self._back = "", False
            self._offset = self._wall_now() - self._monotonic() // 1000

    def _wall_now(self) -> Instant:
        return self._wall() // 1000
