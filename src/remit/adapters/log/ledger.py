"""What a pass over a log must remember, in a temporary file that nobody sees and that goes with the process.

What lives here: `flow.auditing.ledger.Ledger` on an unnamed SQLite database. What never may: names; keys are hashes.

Memory stays at the page cache, one batch, and a filter of fixed size that answers most questions about what was never
seen; the file grows by some 20 bytes for each thing that is remembered. Keys come in no order, so that a batch touches
most pages of a large table: batches go into a small one, and from there, many at once, into the large one.
"""

from __future__ import annotations

import sqlite3

from remit.flow.auditing.ledger import Owed
from remit.model.words import Instant

_BATCH = 50_000
_BATCHES = 16
_CACHE_KIB = 16 * 1024
_FILTER_BITS = 1 << 27  # 16 MiB: with 10 million keys, 2 of 100 questions about unknown ones go to the file
_MASK = _FILTER_BITS - 1

_SCHEMA = """
CREATE TABLE recent (key INTEGER PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE known (key INTEGER PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE owed (key INTEGER PRIMARY KEY, kind TEXT, at INTEGER, position INTEGER, payload TEXT);
CREATE INDEX owed_by_kind ON owed (kind, at);
"""
_KEPT = "SELECT value FROM known WHERE key = ? UNION ALL SELECT value FROM recent WHERE key = ?"


class TemporaryLedger:
    """See the module. Owned by one pass; `close` gives the file back."""

    def __init__(self, batch: int = _BATCH, batches: int = _BATCHES) -> None:
        """`batch`: how much is held in memory before it goes to the file; `batches`: how many go into the large table
        at once."""
        self._batch = batch
        self._most = batches
        self._file = sqlite3.connect(
            "", isolation_level=None
        )  # the empty name: a file of SQLite's own, already unlinked
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            self._file.execute(f"PRAGMA {pragma}")
        self._file.executescript(_SCHEMA)
        self._filter = bytearray(_FILTER_BITS // 8)
        self._fresh: dict[int, int] = {}
        self._batches = 0  # in `recent`
        self._owed: dict[int, Owed] = {}

    def first(self, key: int, value: int) -> int | None:
        """See `Ledger`."""
        known = self._fresh.get(key)
        if known is None and self._mark(key):
            known = self._kept(key)
        if known is None:
            self._fresh[key] = value
            if len(self._fresh) >= self._batch:
                self._flush()
        return known

    def recall(self, key: int) -> int | None:
        """See `Ledger`."""
        known = self._fresh.get(key)
        return self._kept(key) if known is None else known

    def owe(self, owed: Owed) -> None:
        """See `Ledger`."""
        self._owed.setdefault(owed.key, owed)
        if len(self._owed) >= self._batch:
            self._flush()

    def settle(self, key: int) -> bool:
        """See `Ledger`."""
        if self._owed.pop(key, None) is not None:
            return True
        return self._file.execute("DELETE FROM owed WHERE key = ?", (key,)).rowcount > 0

    def forgive(self, kind: str, before: Instant) -> int:
        """See `Ledger`."""
        self._flush()
        return self._file.execute("DELETE FROM owed WHERE kind = ? AND at < ?", (kind, before)).rowcount

    def owing(self, most: int) -> tuple[int, tuple[Owed, ...]]:
        """See `Ledger`."""
        self._flush()
        (count,) = self._file.execute("SELECT count(*) FROM owed").fetchone()
        rows = self._file.execute(
            "SELECT key, kind, at, position, payload FROM owed ORDER BY position LIMIT ?", (most,)
        )
        return count, tuple(Owed(*row) for row in rows)

    def close(self) -> None:
        """Give the temporary file back."""
        self._file.close()

    def _mark(self, key: int) -> bool:
        """Put a key into the filter. False where it was certainly never there."""
        one, other = key & _MASK, key >> 32 & _MASK
        bits = self._filter
        one_bit, other_bit = 1 << (one & 7), 1 << (other & 7)
        there = bool(bits[one >> 3] & one_bit and bits[other >> 3] & other_bit)
        bits[one >> 3] |= one_bit
        bits[other >> 3] |= other_bit
        return there

    def _kept(self, key: int) -> int | None:
        row = self._file.execute(_KEPT, (key, key)).fetchone()
        return None if row is None else int(row[0])

    def _flush(self) -> None:
        self._file.execute("BEGIN")
        self._file.executemany("INSERT OR IGNORE INTO recent VALUES (?, ?)", sorted(self._fresh.items()))
        self._batches += 1
        if self._batches >= self._most:
            self._file.execute("INSERT OR IGNORE INTO known SELECT key, value FROM recent ORDER BY key")
            self._file.execute("DELETE FROM recent")
            self._batches = 0
        owed = [(each.key, each.kind, each.at, each.position, each.payload) for each in self._owed.values()]
        self._file.executemany("INSERT OR IGNORE INTO owed VALUES (?, ?, ?, ?, ?)", owed)
        self._file.execute("COMMIT")
        self._fresh.clear()
        self._owed.clear()
