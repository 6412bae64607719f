"""What a pass must remember of everything that it has seen, kept where it takes no memory.

What lives here: the protocol of that store, and a double in memory for small logs. What never may: names.

Ids are remembered as 64-bit keyed hashes (SipHash under a key of this process): two of 10 million collide with a
probability of 3 in a million, which could make a finding of nothing, and can hide nothing that a record says twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct

from remit.model.words import Instant


class Owed(Struct, frozen=True):
    """A payload that was not there when its entry was read, and that no tombstone has explained yet."""

    key: int
    kind: str
    at: Instant
    position: int
    payload: str


class Ledger(Protocol):
    """Remembers numbers by key, and which payloads are owed. Owned by one pass."""

    def first(self, key: int, value: int) -> int | None:
        """Remember `value` under `key` unless something is there; returns what is there already, or None."""
        ...

    def recall(self, key: int) -> int | None:
        """What is remembered under `key`, or None."""
        ...

    def owe(self, owed: Owed) -> None:
        """Note that a payload is missing."""
        ...

    def settle(self, key: int) -> bool:
        """A payload was erased: it is owed no more. Returns whether it was."""
        ...

    def forgive(self, kind: str, before: Instant) -> int:
        """The payloads of a kind that were recorded before then were pruned. Returns how many were owed."""
        ...

    def owing(self, most: int) -> tuple[int, tuple[Owed, ...]]:
        """How many are still owed, and the first `most` of them by position."""
        ...


def key_of(kind: str, name: str) -> int:
    """The number under which a name is remembered; `kind` keeps names of different things apart."""
    return hash((kind, name))


class MemoryLedger:
    """The plain one: exact, and as large as the log. For tests and single actions."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}
        self._owed: dict[int, Owed] = {}

    def first(self, key: int, value: int) -> int | None:
        found = self._known.get(key)
        if found is None:
            self._known[key] = value
        return found

    def recall(self, key: int) -> int | None:
        return self._known.get(key)

    def owe(self, owed: Owed) -> None:
        self._owed.setdefault(owed.key, owed)

    def settle(self, key: int) -> bool:
        return self._owed.pop(key, None) is not None

    def forgive(self, kind: str, before: Instant) -> int:
        gone = [key for key, owed in self._owed.items() if owed.kind == kind and owed.at < before]
        for key in gone:
            del self._owed[key]
        return len(gone)

    def owing(self, most: int) -> tuple[int, tuple[Owed, ...]]:
        rest: Iterable[Owed] = sorted(self._owed.values(), key=lambda owed: owed.position)
        return len(self._owed), tuple(rest)[:most]
