"""The index's file: opening it, knowing whether it can be trusted, and writing a batch.

What lives here: SQL that writes. What never may: a term in clear.

The file belongs to a store: it remembers the SHA-256 of the last record that it took in, and a hash under the home's
key. Where the store has another record there, or the key is another, the file is not about this store.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Final

from remit.adapters.index.batch import Batch
from remit.adapters.index.bits import BLOCK, SPAN, Terms, pack, unpack
from remit.adapters.index.looking import FileLook
from remit.adapters.store.filesystem import create_private
from remit.flow.ports import Reads, StoredRecord, Torn
from remit.gates.search import FoundBy

APPLICATION_ID: Final = 0x52454D49
"""`REMI`, in the file's header."""

SCHEMA_VERSION: Final = 1
_AT_ONCE: Final = 500
_KEPT: Final = "remit.index"
_BUSY_MILLISECONDS: Final = 10_000
_SCRUB_MILLISECONDS: Final = 100
_CACHE_KIBIBYTES: Final = 32_768


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
        self._write(batch)
        last = records[-1]
        self.connection.execute("UPDATE standing SET position = ?, last = ?", (last.position + 1, last.sha256))

    def _write(self, batch: Batch) -> None:
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
            self.change(block, batch.gained[block], batch.lost[block])

    def change(self, block: int, gained: dict[int, int], lost: dict[int, int]) -> None:
        """Set and clear bits of terms in one block. Call it within `writing`."""
        terms = sorted(gained.keys() | lost.keys())
        before = self._postings(block, terms)
        after = {each: (before.get(each, 0) | gained.get(each, 0)) & ~lost.get(each, 0) for each in terms}
        kept = [(block, each, pack(bits)) for each, bits in after.items() if bits and bits != before.get(each)]
        self.connection.executemany("INSERT OR REPLACE INTO postings VALUES (?, ?, ?)", kept)
        span, bit = block // SPAN, 1 << block % SPAN
        self.connection.executemany(
            "INSERT INTO spans VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET blocks = blocks | excluded.blocks",
            [(span, each, bit) for _, each, _ in kept if each not in before],
        )
        gone = [each for each, bits in after.items() if not bits and each in before]
        self.connection.executemany("DELETE FROM postings WHERE block = ? AND term = ?", [(block, e) for e in gone])
        self.connection.executemany(
            "UPDATE spans SET blocks = blocks & ~? WHERE span = ? AND term = ?", [(bit, span, each) for each in gone]
        )
        self.connection.executemany(
            "DELETE FROM spans WHERE span = ? AND term = ? AND blocks = 0", [(span, each) for each in gone]
        )

    def _postings(self, block: int, terms: Sequence[int]) -> dict[int, int]:
        if self.connection.execute("SELECT 1 FROM postings WHERE block = ? LIMIT 1", (block,)).fetchone() is None:
            return {}
        found: dict[int, int] = {}
        for start in range(0, len(terms), _AT_ONCE):
            asked = terms[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(asked))
            text = f"SELECT term, hits FROM postings WHERE block = ? AND term IN ({marks})"  # noqa: S608
            found |= {each: unpack(hits) for each, hits in self.connection.execute(text, (block, *asked))}
        return found

    def only(self, position: int, kept: Iterable[int]) -> None:
        """Take every term from a position but these. Call it within `writing`."""
        block, bit, keep = position // BLOCK, 1 << position % BLOCK, frozenset(kept)
        rows = self.connection.execute("SELECT term, hits FROM postings WHERE block = ?", (block,))
        lost = {each: bit for each, hits in rows if each not in keep and unpack(hits) & bit}
        self.change(block, {}, lost)

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
