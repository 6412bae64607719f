"""The store on SQLite: one writer thread that commits many callers' steps at once.

What lives here: opening, the writer, and how its failures are told apart. What never may: a statement about actions.

A batch is whatever waits when the writer is free: a lone caller never waits for company. Each step has a savepoint,
the batch one COMMIT (WAL, `synchronous=FULL`), and answers go to each caller's event loop in one call.

INVARIANT: nothing is acknowledged before COMMIT has returned. After an I/O error at COMMIT or at a checkpoint the
writer never writes again: the kernel forgets dirty pages that it could not write, so a retry would "succeed".
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from remit.adapters.store import filesystem, rules
from remit.adapters.store import statements as sql
from remit.adapters.store.counting import Counters
from remit.adapters.store.reads import APPLICATION_ID, SCHEMA_VERSION, SqliteReads, check_version
from remit.adapters.store.transaction import SqliteTransaction
from remit.flow.ports import Reads, Transaction
from remit.model.errors import CommitUnknown, Fault, NotCommitted

T = TypeVar("T")
Faults = Callable[[str], None]
_LOG = logging.getLogger(__name__)

MAX_WAITING = 4096
"""Steps that may wait for the writer before it refuses more."""

MAX_BATCH = 256
_RETRY_SECONDS = 0.5
_COMPANY = 3  # steps of a batch that are worth the way to their loop
_LOOP_SECONDS = 0.5
_PAGES_BETWEEN_CHECKPOINTS = 8000
_CLOSED = "the store is closed"


class _Job:
    """One step that waits. `future` is None when nobody waits for its answer."""

    __slots__ = ("answer", "error", "future", "step")

    def __init__(self, step: Callable[[Transaction], Any], future: asyncio.Future[Any] | None) -> None:
        self.step = step
        self.future = future
        self.answer: Any = None
        self.error: BaseException | None = None


class _Errand:
    """Something that one of two threads does, whichever claims it first; the other learns what came of it."""

    def __init__(self, do: Callable[[], bool]) -> None:
        self._do = do
        self._claim = threading.Lock()  # never released: it can be claimed once
        self._done = threading.Event()
        self._value = False
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do it here, unless it is claimed."""
        if self._claim.acquire(blocking=False):
            try:
                self._value = self._do()
            except BaseException as error:
                self._error = error
            finally:
                self._done.set()

    def result(self, seconds: float) -> bool:
        """What came of it; after so many seconds in which nobody began, do it here. Raises what it raised."""
        if not self._done.wait(seconds):
            self.run()
            self._done.wait()
        if self._error is not None:
            raise self._error
        return self._value


class SqliteStore:
    """The `Store` of `remit.flow.ports` on a file. Make one with `open_store`."""

    def __init__(self, connection: sqlite3.Connection, path: Path, faults: Faults | None, max_waiting: int) -> None:
        self._reads = SqliteReads(path)
        self.reads: Reads = self._reads
        self._connection = connection  # owned by the writer's thread once it runs
        self._faults = faults
        self._max_waiting = max_waiting
        self._waiting: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False  # guarded by _gate
        self._sick = ""  # written by the writer; once set, it stays
        self._full = ""  # written by the writer
        self._deferred: list[_Job] = []  # the writer's
        self._pages = 0  # the writer's: estimated, since the last checkpoint
        self._counters = Counters()  # the writer's
        self._position = 0  # the writer's: of the next record, while `_version` holds
        self._version: int | None = None  # the writer's: another one when another process has written
        self._thread = threading.Thread(target=self._write, name="remit-store", daemon=True)
        self._thread.start()

    async def commit(self, step: Callable[[Transaction], T]) -> T:
        """See `Store.commit`. Cancelling the wait does not take the step back."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._gate:
            if self._closed or self._sick:
                raise _refused(self._sick or _CLOSED)
            if self._waiting.qsize() >= self._max_waiting:
                raise _refused(f"{self._max_waiting} steps wait for the disk already")
            self._waiting.put(_Job(step, future))
        return await future

    def commit_soon(self, step: Callable[[Transaction], Any]) -> None:
        """Queue a step from any thread. While the disk is full or locked it is kept, and tried again."""
        with self._gate:
            if self._closed or self._sick:
                _LOG.error("a step that nobody waits for was lost: %s", self._sick or _CLOSED)
            else:
                self._waiting.put(_Job(step, None))

    @property
    def healthy(self) -> str:
        """Empty, or what is wrong. A full or locked disk heals with the next commit, other faults never."""
        return self._sick or (_CLOSED if self._closed else self._full)

    def close(self) -> None:
        """Commit what waits, then close the file. Safe to call twice."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._waiting.put(None)
        self._thread.join()
        self._reads.close()

    # the writer's thread

    def _write(self) -> None:
        running = True
        while running:
            batch, running = self._next()
            if batch:
                self._batch(batch)
                if running and not self._sick and self._pages >= _PAGES_BETWEEN_CHECKPOINTS:
                    self._checkpoint()
        for job in self._deferred:
            _LOG.error("a step that nobody waits for was lost at closing: %r", job.error)
        try:
            self._connection.close()
        except sqlite3.Error:
            _LOG.exception("the store did not close")

    def _next(self) -> tuple[list[_Job], bool]:
        batch, self._deferred = self._deferred, []
        try:
            job = self._waiting.get(timeout=_RETRY_SECONDS if batch else None)
            while job is not None:
                batch.append(job)
                if len(batch) >= MAX_BATCH:
                    return batch, True
                job = self._waiting.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, False

    def _batch(self, batch: list[_Job]) -> None:
        if self._sick:
            _fail(batch, _refused(self._sick))
        else:
            fault = self._commit_batch(batch)
            self._pages += 12 + 4 * len(batch)
            if fault is None:
                self._full = ""
            else:
                self._roll_back()
                _fail(batch, fault)
                if not self._sick:
                    self._deferred = [job for job in batch if job.future is None]
        _answer(batch, dropped=bool(self._sick))

    def _commit_batch(self, batch: list[_Job]) -> Fault | None:
        """Run and commit; what went wrong with the whole batch, or None. A step's own error is in its job."""
        committing = committed = False
        try:
            self._reach("before_begin")
            if not self._run_where_best(batch, guarded=False):
                # A step refused. Alone, it takes everything with it; in company, all run again with savepoints.
                self._roll_back()
                if len(batch) == 1 or self._sick:
                    return None if not self._sick else _refused(self._sick)
                self._run_where_best(batch, guarded=True)
            committing = True
            self._reach("before_commit")
            self._connection.execute("COMMIT")
            committed = True
            self._reach("after_commit_before_ack")
        except Exception as error:
            return self._judge(error, committing, committed)
        return None

    def _run_where_best(self, batch: list[_Job], *, guarded: bool) -> bool:
        """Run the steps on the loop of their callers where they are many, else here.

        Each statement lets go of the interpreter's lock: beside a busy loop, this thread would fight for it at every
        one. While it waits for the loop there is nobody to fight with, and only COMMIT is left to do here.
        """
        loops = {job.future.get_loop() for job in batch if job.future is not None}
        if len(batch) < _COMPANY or len(loops) != 1:
            return self._run_steps(batch, guarded=guarded)
        errand = _Errand(partial(self._run_steps, batch, guarded=guarded))
        with contextlib.suppress(RuntimeError):  # a closed loop runs nothing
            loops.pop().call_soon_threadsafe(errand.run)
        return errand.result(_LOOP_SECONDS)

    def _run_steps(self, batch: list[_Job], *, guarded: bool) -> bool:
        """Begin, and run every step: with savepoints (`guarded`), or without and only up to the first that raises.

        Savepoints cost more than most statements, and nearly every step goes through. Returns False where an unguarded
        step raised; the transaction is still open then.
        """
        self._connection.execute("BEGIN IMMEDIATE")
        self._look_around()
        for job in batch:
            self._position = self._step(job, self._position, guarded)
            if job.error is not None and not guarded:
                return False
            self._reach("after_step")
        return True

    def _step(self, job: _Job, position: int, guarded: bool) -> int:
        """Run one step; the position of the next record. Raises what befell the database."""
        transaction = SqliteTransaction(self._connection, position, self._counters)
        job.error = None
        if guarded:
            self._connection.execute("SAVEPOINT step")
        try:
            job.answer = job.step(transaction)
            rules.need_plain(job.answer)
            transaction.end()
        except BaseException as error:
            # BaseException too: whatever a step raises is its caller's, and must not end the writer.
            job.error = error
        if transaction.fault is not None:
            raise transaction.fault
        if guarded:
            if job.error is not None:
                self._connection.execute("ROLLBACK TO step")
            self._connection.execute("RELEASE step")
        if job.error is None:
            if transaction.changes:
                self._counters.apply(transaction.changes)
            return transaction.position
        return position

    def _look_around(self) -> None:
        """Ask the tables again at first, after a batch that was rolled back, and if another process wrote: it should
        not, but a count must never be too low."""
        (version,) = self._connection.execute(sql.CHANGED_BY_OTHERS).fetchone()
        if version != self._version:
            (self._position,) = self._connection.execute(sql.NEXT_POSITION).fetchone()
            self._counters.clear()
            self._version = version

    def _reach(self, point: str) -> None:
        if self._faults is not None:
            self._faults(point)

    def _judge(self, error: Exception, committing: bool, committed: bool) -> Fault:
        """Tell a certain failure from an unknown one, and a store that heals from one that does not."""
        if committed:
            self._sick = f"the answer of the disk was lost ({error})"
            return CommitUnknown("the disk did not say whether the write took place", hint="restart the gateway")
        if not isinstance(error, sqlite3.Error):
            return _refused(str(error))
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_IOERR) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            self._full = "another process holds the store"
            return _refused(self._full)
        if code == sqlite3.SQLITE_FULL:
            self._full = "the disk is full"
            return _refused(self._full)
        self._sick = f"the disk failed ({error})"
        if committing:
            return CommitUnknown(
                f"the disk failed while it committed: {error}", hint="look at the disk, then restart the gateway"
            )
        return _refused(self._sick)

    def _roll_back(self) -> None:
        self._version = None
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._sick = self._sick or f"the disk failed ({error})"

    def _checkpoint(self) -> None:
        # SQLite's own checkpoint at COMMIT drops its errors, a failed fsync among them, and makes callers wait.
        self._pages = 0
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            self._judge(error, committing=False, committed=False)


def _refused(reason: str) -> NotCommitted:
    return NotCommitted(f"nothing was written: {reason}", hint="`remit status` shows the state of the store")


def _fail(batch: list[_Job], fault: Fault) -> None:
    # A step's own error gives way too: it may rest on what an earlier step of this batch wrote, and that is gone.
    for job in batch:
        job.answer, job.error = None, type(fault)(fault.message, hint=fault.hint)


def _answer(batch: list[_Job], *, dropped: bool) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = defaultdict(list)
    for job in batch:
        if job.future is not None:
            by_loop[job.future.get_loop()].append(job)
        elif job.error is not None and (dropped or not isinstance(job.error, NotCommitted)):
            _LOG.error("a step that nobody waits for failed: %r", job.error)
    for loop, jobs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_deliver, jobs)
        except RuntimeError:
            _LOG.warning("%d callers were gone before their answer came", len(jobs))


def _deliver(jobs: list[_Job]) -> None:
    for job in jobs:
        future = job.future
        if future is None or future.done():
            continue
        if job.error is None:
            future.set_result(job.answer)
        elif isinstance(job.error, StopIteration):
            future.set_exception(RuntimeError("a step raised StopIteration"))
        else:
            future.set_exception(job.error)


def open_store(
    path: Path,
    *,
    faults: Faults | None = None,
    busy_milliseconds: int = 250,
    max_waiting: int = MAX_WAITING,
) -> SqliteStore:
    """Open the store in this file to write, and make it where there is none (mode 0600).

    `faults` is called on the writer's thread at the points `before_begin`, `after_step`, `before_commit` and
    `after_commit_before_ack`; what it raises befalls the batch. Raises `Misuse` for a file that is not a store, has a
    newer schema or lies on a network file system, and `Fault` if it cannot be opened.
    """
    filesystem.require_local(path.parent)
    try:
        filesystem.create_private(path)
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=busy_milliseconds / 1000, cached_statements=512
        )
    except (OSError, sqlite3.Error) as error:
        raise Fault(f"the store `{path}` cannot be opened: {error}", hint="look at the folder's owner") from error
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise Fault(f"the store `{path}` cannot be opened: {error}", hint="look at the disk") from error
    except BaseException:
        connection.close()
        raise
    return SqliteStore(connection, path, faults, max_waiting)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
    if not empty:
        check_version(connection, path)
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "secure_delete = ON",
        "trusted_schema = OFF",
        "wal_autocheckpoint = 0",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    if empty:
        connection.execute("BEGIN IMMEDIATE")
        for statement in _statements(resources.files(__package__).joinpath("schema.sql").read_text()):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")


def _statements(script: str) -> Iterator[str]:
    text = ""
    for line in script.splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            yield text
            text = ""
