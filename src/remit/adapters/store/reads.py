"""Looking at a store on SQLite: one read-only connection for each thread, which never blocks the writer."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from remit.adapters.payloads.sealing import Sealer, beside
from remit.adapters.store import rules
from remit.adapters.store import statements as sql
from remit.flow.ports import StoredRecord
from remit.flow.query import Query
from remit.model.errors import Fault, Misuse
from remit.model.words import Action, Approval, Evidence, Instant, Payload, Run, Tombstone

APPLICATION_ID = 0x52454D54
"""`REMT`, in the file's header."""

_AT_ONCE = 500

SCHEMA_VERSION = 2
"""The newest schema that this code knows."""


def check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Raises `Misuse` unless the file is a store with the schema that this code knows."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise Misuse(
            f"`{path}` is not a store of Remit's: expected application id {APPLICATION_ID}, found {application}",
            hint="point the home at another file, or move this one away",
        )
    if version > SCHEMA_VERSION:
        raise Misuse(
            f"the store `{path}` has schema {version}, this version of Remit knows {SCHEMA_VERSION}",
            hint="use the version of Remit that wrote it, or a newer one",
        )
    if version != SCHEMA_VERSION:
        raise Misuse(
            f"the store `{path}` has schema {version}, expected {SCHEMA_VERSION}",
            hint="an older version of Remit wrote it: read it with that one, and make a new home",
        )


class SqliteReads:
    """The `Reads` of `remit.flow.ports` on a file. Raises `Fault` when the file cannot be read."""

    def __init__(self, path: Path, sealer: Sealer, *, busy_milliseconds: int = 1000) -> None:
        self._path = path
        self._sealer = sealer
        self._busy = busy_milliseconds
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._all: list[sqlite3.Connection] = []  # guarded by _lock

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._mine, "connection", None)
        if connection is None:
            uri = f"{self._path.absolute().as_uri()}?mode=ro"
            connection = sqlite3.connect(
                uri, uri=True, isolation_level=None, timeout=self._busy / 1000, check_same_thread=False
            )
            connection.execute("PRAGMA query_only = ON")
            with self._lock:
                self._all.append(connection)
            self._mine.connection = connection
        return connection

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._connection().execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise Fault(f"the store `{self._path}` cannot be read: {error}", hint="look at the disk") from error

    def _row(self, statement: str, values: Sequence[Any]) -> Any:
        return next(iter(self._rows(statement, values)), None)

    def check(self) -> None:
        """Raises `Misuse` unless the file is a store that this code knows, `Fault` if it cannot be read."""
        try:
            check_version(self._connection(), self._path)
        except sqlite3.Error as error:
            raise Fault(f"the store `{self._path}` cannot be read: {error}", hint="look at the disk") from error

    def close(self) -> None:
        """Close the connections of all threads. No thread may be reading."""
        with self._lock:
            while self._all:
                self._all.pop().close()
        self._mine = threading.local()

    def action(self, action_id: str) -> Action | None:
        action = sql.action_of(self._row(sql.ACTION, (action_id,)))
        return sql.with_says(action, self.payload) if action is not None else None

    def actions(self, query: Query) -> list[Action]:
        found = (sql.decode_action(body) for (body,) in self._rows(*sql.finding(query)))
        return [sql.with_says(action, self.payload) for action in found]

    def records(
        self, *, action: str = "", run: str = "", kinds: Sequence[str] = (), limit: int = 1000
    ) -> list[StoredRecord]:
        """The newest `limit` records that match, in the order of commits."""
        return [sql.record_of(row) for row in reversed(self._rows(*sql.journal(action, run, kinds, limit)))]

    def records_from(self, position: int, limit: int) -> list[StoredRecord]:
        """See `Reads`."""
        return [sql.record_of(row) for row in self._rows(sql.RECORDS_FROM, (position, limit))]

    def records_at(self, positions: Sequence[int]) -> list[StoredRecord]:
        """See `Reads`."""
        wanted = sorted(set(positions))
        parts = [wanted[start : start + _AT_ONCE] for start in range(0, len(wanted), _AT_ONCE)]
        return [sql.record_of(row) for part in parts for row in self._rows(sql.records_at(len(part)), part)]

    def size(self) -> int:
        """How many records there are."""
        return int(self._row(sql.NEXT_POSITION, ())[0])

    def payload(self, payload_id: str) -> Payload | None:
        tables = sql.payload_tables(payload_id)
        row = self._row(sql.payload(tables), (payload_id,) * len(tables))
        return None if row is None else self._sealer.open(*row)

    def tombstone(self, payload_id: str) -> Tombstone | None:
        row = self._row(sql.TOMBSTONE_OF, (payload_id,))
        return None if row is None else Tombstone(payload=row[0], position=row[1], data=row[2])

    def prunable(self, payload_class: str, before: Instant) -> int:
        cut = rules.position_at(before - rules.BACK, int(self._row(sql.NEXT_POSITION, ())[0]), self._time_at)
        return int(self._row(sql.older_payloads(payload_class), (cut,))[0])

    def _time_at(self, position: int) -> Instant:
        return int(self._row(sql.TIME_AT, (position,))[0])

    def evidence(self, evidence_id: str) -> Evidence | None:
        return sql.evidence_of(self._row(sql.EVIDENCE, (evidence_id,)))

    def approvals(self, action_id: str) -> tuple[Approval, ...]:
        return tuple(map(sql.approval_of, self._rows(sql.APPROVALS, (action_id,))))

    def run(self, run_id: str) -> Run | None:
        return sql.run_of(self._row(sql.RUN, (run_id,)))

    def runs(self, *, open_only: bool = False) -> list[Run]:
        found = (sql.run_of(row) for row in self._rows(sql.RUNS_OPEN if open_only else sql.RUNS))
        return [run for run in found if run is not None]

    def fact(self, name: str) -> bytes | None:
        row = self._row(sql.FACT, (name,))
        return None if row is None else bytes(row[0])

    def counts(self) -> dict[str, int]:
        """How many `actions`, `records` and `runs` there are, and how many actions stand in each state that is not
        final."""
        actions, records, runs = self._row(sql.COUNT_ALL, ())
        return {"actions": actions, "records": records, "runs": runs, **dict(self._rows(sql.COUNT_LIVE))}

    def latest(self) -> Instant:
        """See `Reads`. Times are nearly in the order of positions, so only the end of the journal is looked at."""
        return int(self._row(sql.LATEST, ())[0] or 0)


def open_reads(path: Path, sealer: Sealer | None = None) -> SqliteReads:
    """Look at a store without a gateway; `sealer` opens its payloads, as in `open_store`.

    Raises `Misuse` if there is none, or it is not one that this code knows.
    """
    if not path.is_file():
        raise Misuse(f"there is no store `{path}`", hint="`remit init` makes a home, and the gateway its store")
    reads = SqliteReads(path, sealer or beside(path))
    try:
        reads.check()
    except BaseException:
        reads.close()
        raise
    return reads
