"""Local time for rulings: which of the boundary's hours are open at an instant, and when a local day has ended.

Hours are read off the local clock: in the hour that a change of clocks skips nothing is open that is not open on
either side of it, and the hour that it repeats counts both times.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from zoneinfo import ZoneInfo

from remit.gates.boundary.words import Hours
from remit.model.reading import instant
from remit.model.words import MINUTE, Instant

DAY_MINUTES = 24 * 60


class LocalClock:
    """A time zone, and the bits of what is open at each minute of its day.

    `opened` gives the bits that stand for each of the hours; the bits of `always` are open at all times. `_last` is a
    memory of this object's alone: the last minute asked for and what was open then. Since 1972 every zone is a whole
    number of minutes off UTC, so that no local minute begins within one of UTC's.
    """

    def __init__(self, timezone: str, opened: Mapping[Hours, int], always: int) -> None:
        self._zone = ZoneInfo(timezone)
        self._always = always
        self._open = [_open_in(minute, opened, always) for minute in range(DAY_MINUTES)] if opened else []
        self._last = (-1, always)

    def open_at(self, at: Instant) -> int:
        """The bits of all that is open at `at`."""
        if not self._open:
            return self._always
        minute = at // MINUTE
        last, bits = self._last
        if minute != last:
            local = datetime.datetime.fromtimestamp(minute * 60, self._zone)
            bits = self._open[local.hour * 60 + local.minute]
            self._last = (minute, bits)
        return bits

    def end_of(self, day: datetime.date) -> Instant:
        """The first instant after the local day `day`."""
        following = datetime.datetime.combine(day + datetime.timedelta(days=1), datetime.time(), self._zone)
        return instant(following)


def _open_in(minute: int, opened: Mapping[Hours, int], always: int) -> int:
    for hours, bits in opened.items():
        if is_open(hours, minute):
            always |= bits
    return always


def is_open(hours: Hours, minute: int) -> bool:
    """Whether the hours are open in this minute of the local day."""
    if hours.start < hours.end:
        return hours.start <= minute < hours.end
    return minute >= hours.start or minute < hours.end
