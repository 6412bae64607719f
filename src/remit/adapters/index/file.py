"""The index's file: opening it, knowing whether it can be trusted, and writing a batch.

What lives here: SQL that writes. What never may: a term in clear.

The file belongs to a store: it remembers the SHA-256 of the last record that it took in, and a hash under the home's
key. Where the store has another record there, or the key is another, the file is not about this store.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Final

from remit.adapters.index.batch import Batch
from remit.adapters.index.bits import BLOCK, SPAN, Terms, offsets, pack, unpack
from remit.adapters.index.looking import FileLook
from remit.adapters.store.filesystem import create_private
from remit.flow.ports import Reads, StoredRecord, Torn
from remit.gates.search import FoundBy

APPLICATION_ID: Final = 0x52454D49
"""`REMI`, in the file's header."""

SCHEMA_VERSION: Final = 2
_AT_ONCE: Final = 500
_KEPT: Final = "remit.index"
_BUSY_MILLISECONDS: Final = 10_000
_SCRUB_MILLISECONDS: Final = 100
_CACHE_KIBIBYTES: Final = 32_768
Bits = dict[int, int]
"""Sets of offsets in a block, by term."""


def look_at(path: Path, terms: Terms, reads: Reads) -> tuple[sqlite3.Connection, FileLook]:
    """Open the file to look, at one moment. Raises `Torn`, saying why, where there is none that can be trusted."""
    if not path.is_file():
        raise Torn("there is no index")
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=1)
    except sqlite3.Error as error:
        raise Torn(f"the index cannot be opened: {error}") from error
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")
        return connection, FileLook(connection, terms, trusted(connection, terms, reads))
    except sqlite3.Error as error:
        connection.close()
        raise Torn(f"the index cannot be read: {error}") from error
    except BaseException:
        connection.close()
        raise


def trusted(connection: sqlite3.Connection, terms: Terms, reads: Reads) -> int:
    """Where the index stands. Raises `Torn`, saying why, unless it is one of this version, home and store."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if (application, version) != (APPLICATION_ID, SCHEMA_VERSION):
        raise Torn("the index was written by another version")
    standing = connection.execute("SELECT key, position, last FROM standing").fetchone()
    if standing is None or standing[0] != terms.of(_KEPT):
        raise Torn("the index is another home's")
    _, position, last = standing
    before = reads.records_at([position - 1]) if position else []
    if position and (not before or before[0].sha256 != last):
        raise Torn("the index is not about this store")
    return int(position)


class IndexFile:
    """The file, open to write. Any error of SQLite's goes to the caller. Used by one thread at a time."""

    def __init__(self, path: Path, terms: Terms) -> None:
        create_private(path)
        self._terms = terms
        self._inode = path.stat().st_ino
        self._path = path
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except BaseException:
            self.connection.close()
            raise

    def _prepare(self) -> None:
        for pragma in (
            f"busy_timeout = {_BUSY_MILLISECONDS}",
            "journal_mode = WAL",
            "synchronous = NORMAL",
            "secure_delete = ON",
            "trusted_schema = OFF",
            f"cache_size = -{_CACHE_KIBIBYTES}",
        ):
            self.connection.execute(f"PRAGMA {pragma}").fetchall()
        with self.writing():
            if self.connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() != (0,):
                return
            script = resources.files(__package__).joinpath("schema.sql").read_text()
            for statement in script.split(";\n"):
                if statement.strip():
                    self.connection.execute(statement)
            self.connection.execute("INSERT INTO standing VALUES (1, ?, 0, x'')", (self._terms.of(_KEPT),))
            self.connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self.connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @property
    def replaced(self) -> bool:
        """Whether another file, or none, stands under the path by now."""
        try:
            return self._path.stat().st_ino != self._inode
        except OSError:
            return True

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction that nobody else writes beside."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        finally:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")

    def take(self, records: Sequence[StoredRecord], found: Callable[[StoredRecord], FoundBy], position: int) -> None:
        """Take in the records from `position` on, which is where the index stands. Call it within `writing`."""
        if not records:
            return
        batch = Batch(self._terms, FileLook(self.connection, self._terms, position))
        for each in records:
            batch.take(each, found(each))
        self._write(batch, position)
        last = records[-1]
        self.connection.execute("UPDATE standing SET position = ?, last = ?", (last.position + 1, last.sha256))

    def _write(self, batch: Batch, position: int) -> None:
        execute = self.connection.executemany
        rows = [(position, each.id, each.at, each.state) for position, each in batch.subjects.items()]
        execute("INSERT INTO subjects VALUES (?, ?, ?, ?)", rows)
        execute(
            "INSERT INTO blocks VALUES (?, ?, ?) ON CONFLICT (block) DO UPDATE SET"
            " first = min(first, excluded.first), last = max(last, excluded.last)",
            ((position // BLOCK, at, at) for position, _, at, _ in rows),
        )
        execute("UPDATE subjects SET state = ? WHERE position = ?", [(state, at) for at, state in batch.states.items()])
        execute("INSERT OR REPLACE INTO verdicts VALUES (?, ?)", [each for each in batch.verdicts.items() if each[1]])
        for block in sorted(batch.gained.keys() | batch.lost.keys()):
            self.change(block, batch.gained[block], batch.lost[block], new=block * BLOCK >= position)

    def change(self, block: int, gained: Bits, lost: Bits, *, new: bool = False) -> None:
        """Set and clear bits of terms in one block, of which nothing is known yet where it is `new`. Call it within
        `writing`."""
        terms = sorted(gained.keys() | lost.keys())
        before = {} if new else self._postings(block, terms)
        if lost or before:
            after = {each: (before.get(each, 0) | gained.get(each, 0)) & ~lost.get(each, 0) for each in terms}
        else:
            after = {each: gained[each] for each in terms}
        span = block // SPAN
        kept = [(span, each, block, pack(bits)) for each, bits in after.items() if bits and bits != before.get(each)]
        self.connection.executemany("INSERT OR REPLACE INTO postings VALUES (?, ?, ?, ?)", kept)
        gone = [(span, each, block) for each, bits in after.items() if not bits and each in before]
        self.connection.executemany("DELETE FROM postings WHERE span = ? AND term = ? AND block = ?", gone)

    def _postings(self, block: int, terms: Sequence[int]) -> dict[int, int]:
        found: dict[int, int] = {}
        for start in range(0, len(terms), _AT_ONCE):
            asked = terms[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(asked))
            text = f"SELECT term, hits FROM postings WHERE span = ? AND term IN ({marks}) AND block = ?"  # noqa: S608
            rows = self.connection.execute(text, (block // SPAN, *asked, block))
            found |= {each: unpack(hits) for each, hits in rows}
        return found

    def only(self, kept: Mapping[int, Iterable[int]]) -> None:
        """Take every term from these positions but those that they keep. Call it within `writing`."""
        for span, positions in groupby(sorted(kept), lambda position: position // (BLOCK * SPAN)):
            by_block: dict[int, dict[int, frozenset[int]]] = {}
            for position in positions:
                by_block.setdefault(position // BLOCK, {})[position % BLOCK] = frozenset(kept[position])
            for block, lost in self._others(span, by_block).items():
                self.change(block, {}, lost)

    def _others(self, span: int, kept: Mapping[int, Mapping[int, frozenset[int]]]) -> dict[int, Bits]:
        """By block of a span: the terms that these offsets have and do not keep. One look through the whole span,
        however many there are."""
        wanted = {block: sum(1 << each for each in places) for block, places in kept.items()}
        found: dict[int, Bits] = {block: {} for block in kept}
        alone = {pack(1 << each) for places in kept.values() for each in places}  # as nearly all sets are
        blocks, sets = (", ".join("?" * len(each)) for each in (kept, alone))
        text = (
            f"SELECT term, block, hits FROM postings WHERE span = ? AND block IN ({blocks})"  # noqa: S608
            f" AND (length(hits) > 2 OR hits IN ({sets}))"
        )
        for term, block, hits in self.connection.execute(text, (span, *kept, *alone)):
            members = offsets(unpack(hits) & wanted[block])
            if lost := sum(1 << each for each in members if term not in kept[block][each]):
                found[block][term] = lost
        return found

    def scrub(self) -> bool:
        """Move everything into the file and empty the write-ahead log, where what was removed still stands. False where
        somebody looks at the file just now, so that it must be tried again."""
        self.connection.execute(f"PRAGMA busy_timeout = {_SCRUB_MILLISECONDS}")
        try:
            (busy, _, _) = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self.connection.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
        return not busy

    def close(self) -> None:
        """Close the file."""
        self.connection.close()


def remove(path: Path) -> None:
    """Remove the file and what SQLite keeps beside it."""
    for each in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        each.unlink(missing_ok=True)
