"""Reading the files that people write: typed values out of decoded TOML, and every problem at once.

A `Reader` stands at one table. Its methods return the value of a key, typed and checked. Where the file is
wrong they note a `Problem` and return a stand-in of the right type, so that one pass finds everything that is
wrong; `finish` on the outermost reader then raises. INVARIANT: nothing built from a reader is used before its
`finish` has returned, because until then a value may be a stand-in.
"""

from __future__ import annotations

import datetime
import difflib
import re
import tomllib
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeVar, overload

from msgspec import Struct

from remit.model.display import shown
from remit.model.errors import Misuse
from remit.model.words import Instant, Json

Default = TypeVar("Default")

_MAX_FILE_BYTES = 8 * 1024 * 1024
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
_UNITS = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)", re.ASCII)


class _Required:
    """The type of `REQUIRED`, which no file can hold."""


REQUIRED = _Required()


class Problem(Struct, frozen=True):
    """One thing that is wrong in a file: where, what was expected, what is there, and what may have been
    meant."""

    path: str
    expected: str
    found: str
    hint: str = ""

    def __str__(self) -> str:
        return f"`{self.path}`: expected {self.expected}, found {self.found}"


class Unreadable(Misuse):
    """A file that people write is not what it must be. `problems` holds everything found, in the file's
    order."""

    def __init__(self, what: str, problems: Sequence[Problem]) -> None:
        first = problems[0]
        count = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"`{what}` cannot be used: {first}{count}", hint=first.hint)
        self.what = what
        self.problems = tuple(problems)

    def shown(self) -> str:
        """Every problem on a line of its own, each followed by its hint where there is one."""
        lines = [f"`{self.what}` cannot be used:"]
        for problem in self.problems:
            lines.append(f"  {problem}")
            if problem.hint:
                lines.append(f"    hint: {problem.hint}")
        return "\n".join(lines)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word closest in spelling to `word`, or None where none is near."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    found = difflib.get_close_matches(word[:200].casefold(), list(by_folded), n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def duration(text: str) -> int | None:
    """Microseconds of `15m`, `30s`, `500ms`, `2h`, `7d`, or None where `text` is not written so."""
    match = _DURATION.fullmatch(text)
    return int(match[1]) * _UNITS[match[2]] if match else None


def instant(moment: datetime.datetime) -> Instant:
    """Microseconds since the epoch of a date and time that has an offset."""
    return (moment - _EPOCH) // _MICROSECOND


def read_toml(data: bytes, what: str) -> Reader:
    """A reader at the root of a TOML 1.0 document.

    `what` is the file's name as people know it. Raises `Unreadable` where the bytes are not UTF-8, not TOML
    (a duplicated key is not), or too large.
    """
    if len(data) > _MAX_FILE_BYTES:
        raise Unreadable(what, [Problem("file", f"at most {_MAX_FILE_BYTES} bytes", f"{len(data)} bytes")])
    try:
        return Reader(tomllib.loads(data.decode("utf-8")), what=what)
    except UnicodeDecodeError as error:
        problem = Problem("file", "UTF-8 text", f"the byte 0x{data[error.start]:02x} at byte {error.start}")
    except RecursionError:
        problem = Problem("file", "TOML", "nesting without end")
    except ValueError as error:  # TOMLDecodeError, and Python's limit on the digits of an integer
        problem = Problem("file", "TOML", f"a mistake in it ({shown(str(error)[:200]).strip('`')})")
    raise Unreadable(what, [problem])


class Reader:
    """Typed access to one decoded table. See the module's docstring for how problems are collected.

    `path` is the dotted key path of the table, empty at the root. Readers of inner tables share the list of
    problems of the outermost one. A method without `default` treats the key as required.
    """

    def __init__(self, table: dict[str, Any], path: str = "", *, what: str = "file") -> None:
        self.path = path
        self.what = what
        self.problems: list[Problem] = []  # shared with every inner reader
        self._table = table
        self._asked: dict[str, None] = {}
        self._inner: list[Reader] = []

    def __contains__(self, name: str) -> bool:
        return name in self._table

    def names(self) -> tuple[str, ...]:
        """The keys that are there, in the file's order, for tables whose keys people choose; all count as
        known."""
        self._asked.update(dict.fromkeys(self._table))
        return tuple(self._table)

    def at(self, name: str) -> str:
        """The full key path of `name` in this table."""
        key = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{shown(name).strip("`")}"'
        return f"{self.path}.{key}" if self.path else key

    def problem(self, name: str, expected: str, found: str | None = None, *, hint: str = "") -> None:
        """Notes that the value of `name` is wrong; `found` defaults to the value itself."""
        if found is None:
            found = shown(self._table[name]) if name in self._table else "nothing"
        self.problems.append(Problem(self.at(name) if name else self.path or "file", expected, found, hint))

    def problem_in(self, name: str, index: int, expected: str, found: str, *, hint: str = "") -> None:
        """Notes that member `index` (from 0) of the list `name` is wrong."""
        self._note(f"{name}[{index}]", expected, found, hint)

    @overload
    def text(self, name: str, *, pattern: str = ..., meaning: str = ...) -> str: ...
    @overload
    def text(self, name: str, *, default: Default, pattern: str = ..., meaning: str = ...) -> str | Default: ...
    def text(self, name: str, *, default: object = REQUIRED, pattern: str = "", meaning: str = "a text") -> object:
        """A text that is not empty. Where `pattern` is given all of it must match; `meaning` says so in
        words."""
        value = self._take(name, default, meaning)
        if value is _ABSENT:
            return self._stand_in(default, "")
        if isinstance(value, str) and value and (not pattern or re.fullmatch(pattern, value)):
            return value
        return self._wrong(name, meaning, "")

    @overload
    def prose(self, name: str) -> str: ...
    @overload
    def prose(self, name: str, *, default: Default) -> str | Default: ...
    def prose(self, name: str, *, default: object = REQUIRED) -> object:
        """A text that may be empty."""
        value = self._take(name, default, "a text")
        if value is _ABSENT:
            return self._stand_in(default, "")
        return value if isinstance(value, str) else self._wrong(name, "a text", "")

    @overload
    def flag(self, name: str) -> bool: ...
    @overload
    def flag(self, name: str, *, default: Default) -> bool | Default: ...
    def flag(self, name: str, *, default: object = REQUIRED) -> object:
        """`true` or `false`."""
        value = self._take(name, default, "`true` or `false`")
        if value is _ABSENT:
            return self._stand_in(default, False)
        return value if isinstance(value, bool) else self._wrong(name, "`true` or `false`", False)

    @overload
    def integer(self, name: str, *, minimum: int = ..., maximum: int = ...) -> int: ...
    @overload
    def integer(self, name: str, *, default: Default, minimum: int = ..., maximum: int = ...) -> int | Default: ...
    def integer(self, name: str, *, default: object = REQUIRED, minimum: int = 0, maximum: int = 2**53 - 1) -> object:
        """A whole number from `minimum` to `maximum`, both included."""
        expected = f"a whole number from {minimum} to {maximum}"
        value = self._take(name, default, expected)
        if value is _ABSENT:
            return self._stand_in(default, minimum)
        if isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum:
            return value
        return self._wrong(name, expected, minimum)

    @overload
    def number(self, name: str, *, minimum: float, maximum: float) -> float: ...
    @overload
    def number(self, name: str, *, default: Default, minimum: float, maximum: float) -> float | Default: ...
    def number(self, name: str, *, default: object = REQUIRED, minimum: float, maximum: float) -> object:
        """A number from `minimum` to `maximum`, both included; never NaN."""
        expected = f"a number from {minimum:g} to {maximum:g}"
        value = self._take(name, default, expected)
        if value is _ABSENT:
            return self._stand_in(default, minimum)
        if isinstance(value, int | float) and not isinstance(value, bool) and minimum <= value <= maximum:
            return float(value)
        return self._wrong(name, expected, minimum)

    @overload
    def choice(self, name: str, options: Collection[str]) -> str: ...
    @overload
    def choice(self, name: str, options: Collection[str], *, default: Default) -> str | Default: ...
    def choice(self, name: str, options: Collection[str], *, default: object = REQUIRED) -> object:
        """One of the known words `options`; the error suggests the nearest one.

        The stand-in is the first option, or an empty text where there is none.
        """
        value = self._take(name, default, _one_of(options))
        first = str(next(iter(options), ""))
        if value is _ABSENT:
            return self._stand_in(default, first)
        return value if self._is_known(name, value, options) else first

    @overload
    def choices(self, name: str, options: Collection[str]) -> tuple[str, ...]: ...
    @overload
    def choices(self, name: str, options: Collection[str], *, default: Default) -> tuple[str, ...] | Default: ...
    def choices(self, name: str, options: Collection[str], *, default: object = REQUIRED) -> object:
        """A list of known words, each at most once. A required list must not be empty."""
        values = self.texts(name, default=default)
        if not isinstance(values, tuple) or name not in self._table:
            return values
        return tuple(value for index, value in enumerate(values) if self._is_known(f"{name}[{index}]", value, options))

    @overload
    def texts(self, name: str, *, pattern: str = ..., meaning: str = ...) -> tuple[str, ...]: ...
    @overload
    def texts(
        self, name: str, *, default: Default, pattern: str = ..., meaning: str = ...
    ) -> tuple[str, ...] | Default: ...
    def texts(self, name: str, *, default: object = REQUIRED, pattern: str = "", meaning: str = "a text") -> object:
        """A list of texts, none empty, none twice. A required list must not be empty."""
        expected = "a list of texts" if default is not REQUIRED else "a list of texts that is not empty"
        value = self._take(name, default, expected)
        if value is _ABSENT or value is _REPORTED:
            return self._stand_in(default, ())
        if not isinstance(value, list) or (not value and default is REQUIRED):
            return self._wrong(name, expected, ())
        kept: dict[str, None] = {}
        for index, each in enumerate(value):
            if not isinstance(each, str) or not each or (pattern and not re.fullmatch(pattern, each)):
                self._note(f"{name}[{index}]", meaning, shown(each))
            elif each in kept:
                self._note(f"{name}[{index}]", "each one once", f"{shown(each)} again")
            else:
                kept[each] = None
        return tuple(kept)

    @overload
    def duration(self, name: str, *, minimum: int = ..., maximum: int = ...) -> int: ...
    @overload
    def duration(self, name: str, *, default: Default, minimum: int = ..., maximum: int = ...) -> int | Default: ...
    def duration(
        self, name: str, *, default: object = REQUIRED, minimum: int = 1, maximum: int = 3_660 * _UNITS["d"]
    ) -> object:
        """Microseconds of a text like `15m` (units: `ms`, `s`, `m`, `h`, `d`), within the limits given."""
        expected = "a duration like `30s`, `15m`, `2h` or `7d`"
        value = self._take(name, default, expected)
        if value is _ABSENT:
            return self._stand_in(default, minimum)
        span = duration(value) if isinstance(value, str) else None
        if span is None:
            return self._wrong(name, expected, minimum)
        if not minimum <= span <= maximum:
            return self._wrong(name, f"a duration from {_span(minimum)} to {_span(maximum)}", minimum)
        return span

    @overload
    def instant(self, name: str) -> Instant: ...
    @overload
    def instant(self, name: str, *, default: Default) -> Instant | Default: ...
    def instant(self, name: str, *, default: object = REQUIRED) -> object:
        """Microseconds since the epoch of a date and time with an offset (RFC 3339, unquoted)."""
        expected = "a date and time with an offset, unquoted, like `2026-11-22T00:00:00Z`"
        value = self._take(name, default, expected)
        if value is _ABSENT:
            return self._stand_in(default, 0)
        if isinstance(value, datetime.datetime) and value.tzinfo is not None:
            return instant(value)
        return self._wrong(name, expected, 0)

    @overload
    def day(self, name: str) -> datetime.date: ...
    @overload
    def day(self, name: str, *, default: Default) -> datetime.date | Default: ...
    def day(self, name: str, *, default: object = REQUIRED) -> object:
        """A calendar day, unquoted, like `2027-01-15`."""
        value = self._take(name, default, "a day, unquoted, like `2027-01-15`")
        if value is _ABSENT:
            return self._stand_in(default, datetime.date.min)
        if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
            return value
        return self._wrong(name, "a day, unquoted, like `2027-01-15`", datetime.date.min)

    @overload
    def raw(self, name: str) -> Json: ...
    @overload
    def raw(self, name: str, *, default: Default) -> Json | Default: ...
    def raw(self, name: str, *, default: object = REQUIRED) -> object:
        """The decoded value as it is, of any TOML type."""
        value = self._take(name, default, "a value")
        return self._stand_in(default, None) if value is _ABSENT else (None if value is _REPORTED else value)

    def table(self, name: str, *, required: bool = False) -> Reader:
        """A reader at the inner table `name`. One that is not there reads as empty."""
        value = self._take(name, REQUIRED if required else None, "a table")
        if value is not _ABSENT and value is not _REPORTED and not isinstance(value, dict):
            self._wrong(name, "a table", None)
        return self._reader(value if isinstance(value, dict) else {}, self.at(name))

    def tables(self, name: str, *, label: str = "name", required: bool = False) -> tuple[Reader, ...]:
        """Readers at each table of the list `name` (`[[name]]`), in order; none where it is not there.

        Key paths tell them apart by the value of the key `label`, or else by their number, counted from 1.
        """
        expected = f"one or more `[[{name}]]`" if required else f"`[[{name}]]`"
        value = self._take(name, REQUIRED if required else None, expected)
        if value is _ABSENT or value is _REPORTED:
            return ()
        if not isinstance(value, list) or (required and not value):
            self._wrong(name, expected, None)
            return ()
        readers = []
        for number, inner in enumerate(value, start=1):
            mark = inner.get(label) if isinstance(inner, dict) else None
            tag = shown(mark).strip("`") if mark and isinstance(mark, str) else f"#{number}"
            path = f"{self.at(name)}[{tag}]"
            if isinstance(inner, dict):
                readers.append(self._reader(inner, path))
            else:
                self.problems.append(Problem(path, f"`[[{name}]]`", shown(inner)))
        return tuple(readers)

    def once(self, readers: Iterable[Reader], name: str) -> None:
        """Notes every inner table whose text `name` an earlier one has already, in any case of letters."""
        seen: set[str] = set()
        for reader in readers:
            value = reader._table.get(name)
            if isinstance(value, str) and value.casefold() in seen:
                reader.problem(name, "each one once", f"{shown(value)} again")
            elif isinstance(value, str):
                seen.add(value.casefold())

    def unknown_keys(self) -> None:
        """Notes every key, here and in inner tables, that nothing has asked for, with the nearest known
        one."""
        for name in self._table:
            if name not in self._asked:
                close = nearest(name, self._asked)
                expected = f"one of {_listed(self._asked)}" if self._asked else "nothing"
                hint = f"did you mean `{close}`?" if close else "remove it"
                self.problem(name, expected, "an unknown key", hint=hint)
        for inner in self._inner:
            inner.unknown_keys()

    def finish(self) -> None:
        """Raises `Unreadable` with every problem, unknown keys included; call it once, on the outermost
        reader."""
        self.unknown_keys()
        if self.problems:
            raise Unreadable(self.what, self.problems)

    def _reader(self, table: dict[str, Any], path: str) -> Reader:
        inner = Reader(table, path, what=self.what)
        inner.problems = self.problems
        self._inner.append(inner)
        return inner

    def _take(self, name: str, default: object, expected: str) -> Any:
        self._asked[name] = None
        if name in self._table:
            return self._table[name]
        if default is not REQUIRED:
            return _ABSENT
        close = nearest(name, (key for key in self._table if key not in self._asked))
        self.problem(name, expected, "nothing", hint=f"`{close}` is there: did you mean `{name}`?" if close else "")
        return _REPORTED

    def _stand_in(self, default: object, neutral: object) -> object:
        return neutral if default is REQUIRED else default

    def _wrong(self, name: str, expected: str, stand_in: object) -> object:
        if name in self._table:
            self.problem(name, expected)
        return stand_in

    def _note(self, place: str, expected: str, found: str, hint: str = "") -> None:
        path = f"{self.path}.{place}" if self.path else place
        self.problems.append(Problem(path, expected, found, hint))

    def _is_known(self, place: str, value: object, options: Collection[str]) -> bool:
        if isinstance(value, str) and value in options:
            return True
        if value is not _REPORTED:
            close = nearest(value, options) if isinstance(value, str) else None
            self._note(place, _one_of(options), shown(value), f"did you mean `{close}`?" if close else "")
        return False


class _Marker:
    """The types of `_ABSENT` and `_REPORTED`."""


_ABSENT = _Marker()  # not there, and need not be
_REPORTED = _Marker()  # not there, and noted as a problem


def _listed(words: Iterable[str], most: int = 12) -> str:
    names = [f"`{word}`" for word in words]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _one_of(options: Collection[str]) -> str:
    return f"one of {_listed(options)}" if options else "nothing: there is none to name"


def _span(microseconds: int) -> str:
    for unit in ("d", "h", "m", "s", "ms"):
        if microseconds % _UNITS[unit] == 0:
            return f"`{microseconds // _UNITS[unit]}{unit}`"
    return f"`{microseconds / 1000:g}ms`"
