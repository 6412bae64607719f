"""One entry of the log read as a record: its shape, its one spelling, its place in time.

What lives here: the rules `bad-record`, `bad-start` and `bad-time` of docs/LOG-FORMAT.md. What never may: what a record
means for those around it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import Meta, Struct

from remit.flow.auditing.findings import Findings, Word
from remit.gates.journal import KINDS
from remit.model.display import shown
from remit.model.words import SECOND, Instant

MOST_BACK: Instant = 5 * SECOND
"""How far `at` may go back from one record to the next."""

LARGEST_NUMBER = 2**53 - 1
KNOWN = frozenset(KINDS) | {"erased", "pruned"}


Id = Annotated[str, Meta(min_length=1)]
Digest = Annotated[str, Meta(min_length=64, max_length=64)]
Count = Annotated[int, Meta(ge=0, le=LARGEST_NUMBER)]


class Entry(Struct, frozen=True):
    """A record where it stands. `fields` is everything in it; the rest repeats what every record has."""

    position: int
    kind: str
    at: Instant
    action: str
    run: str
    fields: dict[str, Any]
    payloads: dict[str, str]

    def text(self, name: str) -> str:
        """A field that is text; empty where it is none."""
        value = self.fields.get(name)
        return value if isinstance(value, str) else ""

    def texts(self, name: str) -> tuple[str, ...]:
        """A field that is a list of texts; empty where it is none."""
        value = self.fields.get(name)
        return tuple(value) if isinstance(value, list) and all(isinstance(each, str) for each in value) else ()


class _Misfit(Exception):
    """The entry is not a record; the message says why."""


def _no_fraction(text: str) -> Any:
    raise _Misfit(f"it holds the fraction {shown(text)}")


_decode = msgspec.json.Decoder(dict[str, Any], float_hook=_no_fraction).decode
_encode = msgspec.json.Encoder(order="sorted").encode


class _Every(Struct, frozen=True, tag_field="kind", kw_only=True):
    """What every record has; the kind is the tag."""

    v: Literal[1]
    at: Count
    action: str = ""
    run: str = ""
    payloads: dict[str, Digest] = {}


class _Ruling(Struct, frozen=True):
    """What the boundary said."""

    decision: Literal["auto", "approve", "forbid"]
    clauses: list[str]
    boundary: str
    quorum: Count


class _Created(_Every, frozen=True, kw_only=True, tag="home.created"):
    home: Id
    roster: Digest
    version: Count


class _RosterLoaded(_Every, frozen=True, kw_only=True, tag="roster.loaded"):
    digest: Digest
    version: Count
    signers: list[str]


class _BoundaryLoaded(_Every, frozen=True, kw_only=True, tag="boundary.loaded"):
    digest: Digest
    version: Count
    signers: list[str]


class _RunOpened(_Every, frozen=True, kw_only=True, tag="run.opened"):
    run: Id
    by: Id


class _Proposal(_Every, frozen=True, kw_only=True, tag="proposal"):
    action: Id
    run: Id
    agent: Id
    digest: Digest
    effect: Literal["read", "change", "destroy", "send"]
    ruling: _Ruling
    state: Literal["blocked", "executing", "awaiting_approval"]
    undoes: str = ""
    connector: str
    tool: str


class _Statement(_Every, frozen=True, kw_only=True, tag="statement"):
    command: Id
    person: Id
    nonce: Id
    stage: Literal["accepted", "carried-out"]


class _Vote(_Every, frozen=True, kw_only=True, tag="vote"):
    action: Id
    person: Id
    verb: Literal["approve", "reject"]


class _Asked(_Every, frozen=True, kw_only=True, tag="asked.again"):
    action: Id
    ruling: _Ruling


class _Refused(_Every, frozen=True, kw_only=True, tag="refused"):
    action: Id
    ruling: _Ruling


class _Intent(_Every, frozen=True, kw_only=True, tag="intent"):
    action: Id
    digest: Digest
    ruling: _Ruling
    approvers: list[str]
    warrant: str


class _Outcome(_Every, frozen=True, kw_only=True, tag="outcome"):
    action: Id
    state: Literal["done", "failed", "cut", "unknown"]
    warrant: str
    handed_over: bool = True


class _Settled(_Every, frozen=True, kw_only=True, tag="settled"):
    action: Id
    applied: bool
    hand: bool
    by: Id


class _Erased(_Every, frozen=True, kw_only=True, tag="erased"):
    by: Id
    erased: dict[str, Digest]


class _Continued(_Every, frozen=True, kw_only=True, tag="log.continued"):
    by: Id
    log: Id
    before: Id


def _shapes() -> list[type[Struct]]:
    """A shape for each kind: what the checks need of it, or else what every record has."""
    shapes: list[type[Struct]] = list(_Every.__subclasses__())
    named = {str(shape.__struct_config__.tag) for shape in shapes}
    for kind in sorted(KNOWN - named):
        fields: list[tuple[str, Any]] = [("action", Id)] if kind in _ABOUT else []
        shapes.append(msgspec.defstruct(f"_{kind}", fields, bases=(_Every,), frozen=True, kw_only=True, tag=kind))
    return shapes


_ABOUT = frozenset({"approved", "withdrawn", "expired", "void"})
_shape: Callable[[bytes], _Every] = msgspec.json.Decoder(Union[tuple(_shapes())]).decode  # noqa: UP007 - a union made of a list


class Reading:
    """Reads entries in the order of the log. Owned by one pass."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._last: Instant | None = None
        self.kinds: dict[str, int] = {}

    def read(self, position: int, data: bytes) -> Entry | None:
        """The record in one entry, or None where it is none: then a finding says why."""
        try:
            entry = _entry(position, data)
        except _Misfit as error:
            self._findings.add(Word.BAD_RECORD, position, str(error))
            return None
        self.kinds[entry.kind] = self.kinds.get(entry.kind, 0) + 1
        if (position == 0) != (entry.kind == "home.created"):
            says = f"the first record is `{entry.kind}`" if position == 0 else "the home is made a second time"
            self._findings.add(Word.BAD_START, position, says)
        if self._last is not None and entry.at < self._last - MOST_BACK:
            back = (self._last - entry.at) / SECOND
            self._findings.add(Word.BAD_TIME, position, f"the record's time is {back:.1f} s before the last one's")
        self._last = entry.at
        return entry

    @property
    def latest(self) -> Instant:
        """The time of the last record that was read, 0 before the first."""
        return self._last or 0


def _entry(position: int, data: bytes) -> Entry:
    try:
        fields = _decode(data)
        if _encode(fields) != data:
            raise _Misfit("it is not in its one spelling: sorted keys, each once, and no space")
        every = _shape(data)
    except msgspec.ValidationError as error:
        raise _Misfit(f"it is no record of a known kind with what that has: {shown(str(error))}") from None
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise _Misfit("it is not a JSON object") from None
    return Entry(position, fields["kind"], every.at, every.action, every.run, fields, every.payloads)


def role_of(payload_id: str) -> str:
    """What a payload is: the part of its id after the last dot."""
    return payload_id.rpartition(".")[2]
