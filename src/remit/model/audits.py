"""How a connector's own audit trail is read: which fields of its JSON lines say when, what, on what, under whose order.

What lives here: the declared mapping (table `[audit]` of a connector's file, or a file of its own), and lines to what
happened. What never may: comparing them with anything, guessing a field that nobody declared.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Struct

from remit.model.reading import Reader, read_toml
from remit.model.words import SECOND, Instant, Json

LONGEST_LINE: Final = 1_048_576
_PATH = r"[^.\s]+(?:\.[^.\s]+)*"
_PATH_MEANING = "a field's name, with dots between the names of tables"
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class AuditMap(Struct, frozen=True, kw_only=True):
    """The fields of one trail, each a path with dots. A line is an effect where `result` is one of `effects`; without
    `result` every line is one. At least one of `warrant` and `action` names the order, or neither: then `tool`,
    `target` and the time must do, within `window` microseconds."""

    time: str
    tool: str
    warrant: str = ""
    action: str = ""
    targets: tuple[str, ...] = ()
    result: str = ""
    effects: tuple[str, ...] = ()
    window: int = 120 * SECOND

    @property
    def names_orders(self) -> bool:
        """Whether a line says under which order it happened."""
        return bool(self.warrant or self.action)


class Effect(Struct, frozen=True, kw_only=True):
    """One line that says that something was done. `line` counts from 1."""

    line: int
    at: Instant
    tool: str
    warrant: str = ""
    action: str = ""
    targets: tuple[str, ...] = ()


class Trail(Struct, frozen=True, kw_only=True):
    """What an audit file says: effects in its order, how many lines it has, and those that cannot be read (number and
    reason): what stands there is not known."""

    effects: tuple[Effect, ...]
    lines: int
    unreadable: tuple[tuple[int, str], ...] = ()


def load_map(data: bytes, what: str) -> AuditMap:
    """The mapping in a file of its own: a table `[audit]`. Raises `Unreadable` with every problem."""
    root = read_toml(data, what)
    found = read_map(root.table("audit", required=True))
    root.finish()
    return found


def read_map(table: Reader) -> AuditMap:
    """The mapping in a table. What is wrong is noted with the reader."""
    single = table.text("target", default="", pattern=_PATH, meaning=_PATH_MEANING)
    several = table.texts("targets", default=(), pattern=_PATH, meaning=_PATH_MEANING)
    if single and several:
        table.problem("targets", "`target` or `targets`", "both", hint="remove one of the two")
    found = AuditMap(
        time=table.text("time", pattern=_PATH, meaning=_PATH_MEANING),
        tool=table.text("tool", pattern=_PATH, meaning=_PATH_MEANING),
        warrant=table.text("warrant", default="", pattern=_PATH, meaning=_PATH_MEANING),
        action=table.text("action", default="", pattern=_PATH, meaning=_PATH_MEANING),
        targets=(single,) if single else tuple(several),
        result=table.text("result", default="", pattern=_PATH, meaning=_PATH_MEANING),
        effects=tuple(table.texts("effects", default=())),
        window=table.duration("window", default=120 * SECOND, minimum=SECOND),
    )
    if bool(found.result) != bool(found.effects):
        table.problem("effects", "`result` and `effects` together", "one of the two", hint="name both, or neither")
    return found


def read_trail(lines: Iterable[bytes], audit: AuditMap) -> Trail:
    """The effects in the lines of a trail. Never raises: a line that cannot be read is listed, not passed over."""
    effects: list[Effect] = []
    unreadable: list[tuple[int, str]] = []
    number = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = _effect(line, number, audit)
        except ValueError as error:
            unreadable.append((number, str(error)))
            continue
        if found is not None:
            effects.append(found)
    return Trail(effects=tuple(effects), lines=number, unreadable=tuple(unreadable))


def _effect(line: bytes, number: int, audit: AuditMap) -> Effect | None:
    if len(line) > LONGEST_LINE:
        raise ValueError("the line is too long")
    try:
        fields = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(fields, dict):
        raise ValueError("it is not a JSON object")
    if audit.result:
        result = _at(fields, audit.result)
        if result is None:
            raise ValueError(f"it has no `{audit.result}`")
        if str(result) not in audit.effects:
            return None
    tool = _at(fields, audit.tool)
    if not isinstance(tool, str) or not tool:
        raise ValueError(f"it has no `{audit.tool}`")
    return Effect(
        line=number,
        at=_instant(_at(fields, audit.time), audit.time),
        tool=tool,
        warrant=_name(fields, audit.warrant),
        action=_name(fields, audit.action),
        targets=tuple(_targets(fields, audit.targets)),
    )


def _at(fields: Json, path: str) -> Json:
    for name in path.split("."):
        fields = fields.get(name) if isinstance(fields, dict) else None
    return fields


def _name(fields: Json, path: str) -> str:
    found = _at(fields, path) if path else None
    return found if isinstance(found, str) else "" if found is None else str(found)


def _targets(fields: Json, paths: Iterable[str]) -> Iterable[str]:
    for path in paths:
        found = _at(fields, path)
        each = found if isinstance(found, list) else [] if found is None else [found]
        yield from (str(one) for one in each if isinstance(one, str | int) and not isinstance(one, bool))


def _instant(value: Json, path: str) -> Instant:
    """ISO 8601 with a zone, or a number of seconds since the epoch. Raises `ValueError`."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e11:
        return int(value * SECOND)
    if isinstance(value, str):
        try:
            moment = datetime.datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"its `{path}` is no time") from None
        if moment.tzinfo is not None:
            return (moment - _EPOCH) // datetime.timedelta(microseconds=1)
    raise ValueError(f"its `{path}` is no time with a zone")
