"""Time as people say it, turned into a window of instants.

What lives here: reading phrases, given the present instant and a time zone. What never may: asking for the time.

- A moment ("today 03:00", "2h ago", "2026-11-20 03:00", "03:00") means the half hour on either side of it, because who
  looks for something remembers about when it was. A time alone is the last one that has been.
- A day or part of one ("yesterday", "monday", "last night", "2026-11-20", "3 days ago") means all of it. A weekday is
  the last one, today included; with "last", today is not included. "last night" is from 18:00 to 06:00 this morning.
- "friday night" is from 18:00 to 06:00 the morning after, "friday morning" until 12:00, "afternoon" until 18:00 and
  "evening" until midnight; "last friday night" is that of the last Friday before today.
- "since X" is from the beginning of X until now, "last 2h" is from two hours ago until now, and "A..B" is from the
  beginning of A to the end of B; in those, a moment is exact. "between A and B" and "from A to B" are the same, where
  the day may stand before, or behind B for both; a time that ends before it begins ends on the day after.
- A zone at the end ("yesterday 03:00 Europe/Berlin", "today 03:00 UTC") is that of the whole phrase.

Clocks that change: a local time that comes twice covers both, and one that a change skips covers the instants on either
side of the gap, so that a window never misses what happened. A day is what lies between two local midnights, be it 23
or 25 hours long. Windows include both ends.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from remit.model.display import shown
from remit.model.errors import Misuse
from remit.model.reading import instant
from remit.model.words import MINUTE, SECOND, Instant

AROUND: Instant = 30 * MINUTE
"""How far a window reaches on either side of a moment."""

EXAMPLES: Final = (
    "today 03:00",
    "yesterday",
    "last night",
    "2h ago",
    "since monday",
    "last friday night",
    "yesterday 03:00 Europe/Berlin",
    "between 02:00 and 04:00 today",
    "2026-11-20",
    "2026-11-20 03:00..04:00",
)

_HOUR: Final = 60 * MINUTE
_DAY: Final = 24 * _HOUR
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_UNITS: Final[dict[str, Instant]] = {"s": SECOND, "m": MINUTE, "h": _HOUR, "d": _DAY, "w": 7 * _DAY}
_NUMBERS: Final = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_PARTS: Final = {"morning": (0, 12), "afternoon": (12, 18), "evening": (18, 24), "night": (18, 30)}
"""Parts of a day, in hours of its clock; those of the night go on into the next day."""

_UNIT = (
    r"(?P<count>[0-9]{1,5}|an?|" + "|".join(_NUMBERS) + r") ?"
    r"(?P<unit>s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)"  # one unit
)
_AGO = re.compile(rf"{_UNIT} ago", re.ASCII)
_LAST = re.compile(rf"(?:last|past) {_UNIT}|(?:last|past) (?P<alone>hour|day|week)", re.ASCII)
_TIME = re.compile(r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?", re.ASCII)
_HALF_DAY = re.compile(r"(?P<hour>[0-9]{1,2})(?::(?P<minute>[0-9]{2}))? ?(?P<half>am|pm)", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_ISO = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[t ](?P<time>[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?) ?"
    r"(?P<zone>z|[+-][0-9]{2}:?[0-9]{2})",
    re.ASCII,
)
_NAMED_DATE = re.compile(
    r"(?:(?P<day>[0-9]{1,2})(?:st|nd|rd|th)? (?:of )?(?P<month>[a-z]{3,9})"
    r"|(?P<month_first>[a-z]{3,9}) (?P<day_behind>[0-9]{1,2})(?:st|nd|rd|th)?)(?: (?P<year>[0-9]{4}))?",
    re.ASCII,
)
_BETWEEN = re.compile(
    r"(?:(?P<day>.+) )?(?:between (?P<a>.+?) and (?P<b>.+)|from (?P<c>.+?) (?:to|until|till) (?P<d>.+))"
)
_LEADING = re.compile(r"^(?:(?:in|on|at|around|about|during|the) )+")
_OUT_OF_REACH = (OverflowError, ValueError)


class Span(NamedTuple):
    """From `since` to `until`, both included, in microseconds since the epoch."""

    since: Instant
    until: Instant


class _Place(NamedTuple):
    """What a phrase points at: its first and last instant, whether that is a moment, and the local day that it is on,
    where it is on one."""

    first: Instant
    last: Instant
    moment: bool
    day: datetime.date | None


def window(text: str, now: Instant, zone: str) -> Span:
    """The window that a phrase means, seen from `now` in the IANA time zone `zone`.

    Raises `Misuse` with examples for a phrase that means nothing, and for a zone that is not known.
    """
    words, zone = _zoned(text, zone)
    reader = _Reader(now, zone, text)
    between = _BETWEEN.fullmatch(words)
    if between is not None:
        return reader.stretch(between["day"] or "", between["a"] or between["c"], between["b"] or between["d"])
    if words.startswith("since "):
        return reader.ordered(reader.place(words.removeprefix("since ")).first, now)
    last = _LAST.fullmatch(words)
    if last is not None:
        return Span(now - _length(last), now)
    if ".." in words:
        return reader.between(*(part.strip() for part in words.split("..", 1)))
    place = reader.place(words)
    if place.moment:
        return Span(place.first - AROUND, place.last + AROUND)
    return Span(place.first, place.last)


def beginning(text: str, now: Instant, zone: str) -> Instant:
    """The first instant of what a phrase means, a moment taken exactly: for "since". Raises as `window` does."""
    return _edge(text, now, zone, lambda place: place.first, 0)


def end(text: str, now: Instant, zone: str) -> Instant:
    """The last instant of what a phrase means, a moment taken exactly: for "until". Raises as `window` does."""
    return _edge(text, now, zone, lambda place: place.last, 1)


def _edge(text: str, now: Instant, zone: str, of_place: Callable[[_Place], Instant], of_span: int) -> Instant:
    words, zone = _zoned(text, zone)
    if words.startswith("since ") or ".." in words or _LAST.fullmatch(words) or _BETWEEN.fullmatch(words):
        return window(text, now, zone)[of_span]
    return of_place(_Reader(now, zone, text).place(words))


def _zoned(text: str, zone: str) -> tuple[str, str]:
    """The words in plain, and the zone that they end in, where they do."""
    words = text.replace(",", " ").split()
    named = _zone_named(words[-1]) if len(words) > 1 else ""
    plain = " ".join(words[:-1] if named else words).casefold()
    return _LEADING.sub("", plain), named or zone


def _zone_named(word: str) -> str:
    """The zone that a word names: a region's in any case (`europe/berlin`), or `UTC`. Abbreviations such as `CST` mean
    several zones, so they mean none here."""
    if word.casefold() in ("utc", "gmt"):
        return "UTC"
    if not re.fullmatch(r"[A-Za-z]+(?:/[A-Za-z0-9_+-]+)+", word):
        return ""
    spelled = "/".join("_".join(part.capitalize() for part in each.split("_")) for each in word.split("/"))
    return next((each for each in (word, spelled) if _is_zone(each)), word)


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _length(match: re.Match[str]) -> Instant:
    if match.groupdict().get("alone"):
        return _UNITS[match["alone"][0]]
    said = match["count"]
    count = 1 if said in ("a", "an") else _NUMBERS.index(said) + 1 if said in _NUMBERS else int(said)
    return count * _UNITS[match["unit"][0]]


class _Reader:
    """One reading: the present, the zone, and the text as it was typed, for the error."""

    def __init__(self, now: Instant, zone: str, text: str) -> None:
        self._now = now
        self._text = text
        try:
            self._zone = ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise Misuse(
                f"there is no time zone {shown(zone)}", hint="name one like `Europe/Berlin` or `UTC`"
            ) from None
        self._today = (_EPOCH + datetime.timedelta(microseconds=now)).astimezone(self._zone).date()

    def place(self, words: str) -> _Place:
        """What the words point at."""
        try:
            found = self._iso(words) or self._ago(words) or self._day_or_time(words)
        except _OUT_OF_REACH:
            found = None
        if found is None:
            raise self._not_a_time()
        return found

    def between(self, first: str, last: str) -> Span:
        """From the beginning of one phrase to the end of the other, which may leave the day out."""
        start = self.place(first)
        if not last:
            return self.ordered(start.first, self._now)
        time = _time_of(last)
        if time is not None and start.day is not None:
            return self.ordered(start.first, self._at(start.day, time).last)
        return self.ordered(start.first, self.place(last).last)

    def stretch(self, day: str, first: str, last: str) -> Span:
        """Between two times; the day may stand before both, or behind the last for both."""
        (first_day, start), (last_day, stop) = self._split(f"{day} {first}".strip()), self._split(last)
        common = first_day or (last_day if start is not None else None)
        if start is None or stop is None:
            ending = self.place(f"{day} {last}" if day and last_day is None else last)
            return self.ordered(self.place(f"{day} {first}".strip()).first, ending.last)
        beginning = self._at(common, start) if common is not None else self._last_time(start)
        ending = self._at(last_day if first_day and last_day else beginning.day or self._today, stop)
        if ending.last < beginning.first and ending.day == beginning.day and ending.day is not None:
            ending = self._at(ending.day + datetime.timedelta(days=1), stop)
        return self.ordered(beginning.first, ending.last)

    def ordered(self, since: Instant, until: Instant) -> Span:
        """The span, if it ends after it begins."""
        if until < since:
            hint = "put the earlier time first; a day may stand before each of the two"
            raise Misuse(f"{shown(self._text)} ends before it begins", hint=hint)
        return Span(since, until)

    def _iso(self, words: str) -> _Place | None:
        match = _ISO.fullmatch(words)
        if match is None:
            return None
        zone = "+00:00" if match["zone"] == "z" else match["zone"]
        moment = datetime.datetime.fromisoformat(f"{match['date']}T{match['time']}{zone}")
        at = instant(moment)
        return _Place(at, at, True, moment.astimezone(self._zone).date())

    def _ago(self, words: str) -> _Place | None:
        if words == "now":
            return _Place(self._now, self._now, True, self._today)
        match = _AGO.fullmatch(words)
        if match is None:
            return None
        if match["unit"][0] in "dw":
            return self._whole(self._today - datetime.timedelta(microseconds=_length(match)))
        at = self._now - _length(match)
        return _Place(at, at, True, self._local_day(at))

    def _day_or_time(self, words: str) -> _Place | None:
        part = self._part_of_day(words)
        if part is not None:
            return part
        day, time = self._split(words)
        if day is not None:
            return self._whole(day) if time is None else self._at(day, time)
        return self._last_time(time) if time is not None else None

    def _split(self, words: str) -> tuple[datetime.date | None, datetime.time | None]:
        """The day and the time that the words name, in either order; both None where they name something else."""
        day, time = self._day(words), _time_of(words)
        if day is not None or time is not None:
            return day, time
        parts = words.split(" ")
        for at in range(1, len(parts)):
            head, tail = " ".join(parts[:at]), " ".join(parts[at:])
            for said, clock in ((head.removesuffix(" at"), tail), (tail.removeprefix("on "), head)):
                day, time = self._day(said), _time_of(clock)
                if day is not None and time is not None:
                    return day, time
        return None, None

    def _part_of_day(self, words: str) -> _Place | None:
        match words:
            case "last night":
                words = "yesterday night"
            case "tonight":
                words = "today night"
            case "this week":
                monday = self._today - datetime.timedelta(days=self._today.weekday())
                return _Place(self._whole(monday).first, self._now, False, None)
            case "this month":
                return _Place(self._whole(self._today.replace(day=1)).first, self._now, False, None)
            case "last month":
                ending = self._whole(self._today.replace(day=1) - datetime.timedelta(days=1))
                before = self._today.replace(day=1) - datetime.timedelta(days=1)
                return _Place(self._whole(before.replace(day=1)).first, ending.last, False, None)
        said, _, part = words.rpartition(" ")
        day = self._today if said == "this" else self._day(said)
        if part not in _PARTS or day is None:
            return None
        return self._part(day, *_PARTS[part])

    def _part(self, day: datetime.date, first: int, last: int) -> _Place:
        """From one hour of that day's clock to another, which may lie on the next day."""
        later = day + datetime.timedelta(days=last // 24)
        start, end = self._at(day, datetime.time(first)), self._at(later, datetime.time(last % 24))
        return _Place(start.first, end.last, False, day if day == later else None)

    def _day(self, words: str) -> datetime.date | None:
        days_back = {"today": 0, "yesterday": 1, "day before yesterday": 2, "the day before yesterday": 2}
        if words in days_back:
            return self._today - datetime.timedelta(days=days_back[words])
        weekday = words.removeprefix("on ").removeprefix("last ")
        known = [index for index, name in enumerate(_WEEKDAYS) if weekday in (name, name[:3])]
        if known:
            back = (self._today.weekday() - known[0]) % 7
            return self._today - datetime.timedelta(days=back or 7 * words.startswith("last "))
        if _DATE.fullmatch(words):
            return datetime.date.fromisoformat(words)
        return self._named_date(words.removeprefix("on "))

    def _named_date(self, words: str) -> datetime.date | None:
        """A date like `20 nov` or `November 20, 2026`; without a year, the last one that has begun."""
        match = _NAMED_DATE.fullmatch(words)
        if match is None:
            return None
        named = match["month"] or match["month_first"]
        months = [index for index, name in enumerate(_MONTHS, 1) if named in (name, name[:3])]
        if not months:
            return None
        day, month = int(match["day"] or match["day_behind"]), months[0]
        if match["year"]:
            return datetime.date(int(match["year"]), month, day)
        this_year = self._today.year
        possible = (
            datetime.date(year, month, day)
            for year in range(this_year, this_year - 8, -1)
            if _is_date(year, month, day)
        )
        return next((each for each in possible if each <= self._today), None)

    def _whole(self, day: datetime.date) -> _Place:
        first = self._instants(day, datetime.time())[0]
        following = self._instants(day + datetime.timedelta(days=1), datetime.time())[0]
        return _Place(first, max(following - 1, first), False, day)

    def _at(self, day: datetime.date, time: datetime.time) -> _Place:
        either = self._instants(day, time)
        return _Place(min(either), max(either), True, day)

    def _last_time(self, time: datetime.time) -> _Place:
        """That time today, or yesterday where today's has not come yet."""
        today = self._at(self._today, time)
        if today.first > self._now:
            today = self._at(self._today - datetime.timedelta(days=1), time)
        return today

    def _instants(self, day: datetime.date, time: datetime.time) -> tuple[Instant, Instant]:
        """Both readings of a local time (PEP 495): equal unless a change of clocks repeats or skips it."""
        local = datetime.datetime.combine(day, time, self._zone)
        return instant(local), instant(local.replace(fold=1))

    def _local_day(self, at: Instant) -> datetime.date:
        return (_EPOCH + datetime.timedelta(microseconds=at)).astimezone(self._zone).date()

    def _not_a_time(self) -> Misuse:
        examples = ", ".join(f"`{each}`" for each in EXAMPLES)
        return Misuse(f"{shown(self._text)} is not a time that can be read", hint=f"say it like {examples}")


def _is_date(year: int, month: int, day: int) -> bool:
    try:
        datetime.date(year, month, day)
    except ValueError:
        return False
    return True


def _time_of(words: str) -> datetime.time | None:
    if words in ("noon", "midnight"):
        return datetime.time(12 if words == "noon" else 0)
    exact = _TIME.fullmatch(words)
    if exact is not None:
        return _clock(int(exact["hour"]), int(exact["minute"]), int(exact["second"] or 0))
    half = _HALF_DAY.fullmatch(words)
    if half is None or not 1 <= int(half["hour"]) <= 12:
        return None
    return _clock(int(half["hour"]) % 12 + 12 * (half["half"] == "pm"), int(half["minute"] or 0), 0)


def _clock(hour: int, minute: int, second: int) -> datetime.time | None:
    if hour > 23 or minute > 59 or second > 59:
        return None
    return datetime.time(hour, minute, second)
