"""The store on SQLite: one writer thread that commits many callers' steps at once.

What lives here: opening, the writer, and how its failures are told apart. What never may: a statement about actions.

A batch is whatever waits when the writer is free: a lone caller never waits for company. The batch has one COMMIT (WAL,
`synchronous=FULL`), and answers go to each caller's event loop in one call. A caller that has been alone for a while is
served on its own loop, without the way to the writer's thread and back, as long as the disk answers at once.

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
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from remit.adapters.payloads.sealing import Sealer, beside
from remit.adapters.store import erasing, filesystem, rules
from remit.adapters.store import statements as sql
from remit.adapters.store.counting import Counters
from remit.adapters.store.jobs import Errand, Job, answer, deliver_here, fail
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
_ALONE = 8  # turns of the loop with a single step each, before one is served on the loop
_SLOW_SECONDS = 0.005
_AFTER_SLOW = 256  # steps that the thread serves after one that kept the loop waiting
_LOOP_SECONDS = 0.5
_PAGES_BETWEEN_CHECKPOINTS = 8000
_CLOSED = "the store is closed"


class SqliteStore:
    """The `Store` of `remit.flow.ports` on a file. Make one with `open_store`."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, sealer: Sealer, faults: Faults | None, max_waiting: int
    ) -> None:
        self._reads = SqliteReads(path, sealer)
        self._sealer = sealer
        self.reads: Reads = self._reads
        self._connection = connection  # owned by the writer's thread once it runs
        self._faults = faults
        self._max_waiting = max_waiting
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._errands: deque[tuple[erasing.Errand, Future[Any]]] = deque()  # what the writer does between batches
        self._gate = threading.Lock()
        self._turn = threading.Lock()  # held by whoever uses the connection
        self._gathered: list[Job] = []  # of this turn of the loop; guarded by _gate
        self._unserved = 0  # jobs that the thread was handed and is not done with, kept ones too; guarded by _gate
        self._alone = 0  # single steps in a row; the loop's
        self._closed = False  # guarded by _gate
        self._sick = ""  # written by the writer; once set, it stays
        self._full = ""  # written by the writer
        self._deferred: list[Job] = []  # the writer's
        self._pages = 0  # the writer's: estimated, since the last checkpoint
        self._counters = Counters()  # the writer's
        self._position = 0  # the writer's: of the next record, while `_version` holds
        self._version: int | None = None  # the writer's: another one when another process has written
        self._removed = False  # set by the writer, reset by who purges, which comes after the commit that set it
        self.on_commit: Callable[[], None] = lambda: None  # called after each COMMIT; cheap
        self._thread = threading.Thread(target=self._write, name="remit-store", daemon=True)
        self._thread.start()

    async def commit(self, step: Callable[[Transaction], T]) -> T:
        """See `Store.commit`. Cancelling the wait does not take the step back."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._gate:
            if self._closed or self._sick:
                raise _refused(self._sick or _CLOSED)
            if self._waiting.qsize() + len(self._gathered) >= self._max_waiting:
                raise _refused(f"{self._max_waiting} steps wait for the disk already")
            self._gathered.append(Job(step, future))
            if len(self._gathered) == 1:
                loop.call_soon(self._hand_on)
        return await future

    def _hand_on(self) -> None:
        """Serve what this turn of the loop gathered: here, if it is one step of a caller that has been alone, the
        connection is free and the disk has been quick; else on the writer's thread."""
        with self._gate:
            gathered, self._gathered = self._gathered, []
            here = len(gathered) == 1 and self._alone >= _ALONE and not self._closed
            here = here and not self._unserved  # what is kept while the disk is full comes first: it is older
            if not (here and self._turn.acquire(blocking=False)):
                self._hand_over(*gathered)
                self._alone = self._alone + 1 if len(gathered) == 1 else min(self._alone, 0)
                return
        began = time.monotonic()
        try:
            self._batch(gathered, deliver_here)
        finally:
            self._turn.release()
        if time.monotonic() - began > _SLOW_SECONDS:
            self._alone = -_AFTER_SLOW
        if self._pages >= _PAGES_BETWEEN_CHECKPOINTS:
            self.commit_soon(_nothing)  # wakes the thread, which then writes a checkpoint

    def _hand_over(self, *jobs: Job) -> None:
        """Queue jobs for the writer's thread. The caller holds `_gate`."""
        self._unserved += len(jobs)
        for job in jobs:
            self._waiting.put(job)

    def commit_soon(self, step: Callable[[Transaction], Any]) -> None:
        """Queue a step from any thread. While the disk is full or locked it is kept, and tried again."""
        with self._gate:
            if self._closed or self._sick:
                _LOG.error("a step that nobody waits for was lost: %s", self._sick or _CLOSED)
            else:
                self._hand_over(Job(step, None))

    @property
    def removed(self) -> bool:
        """See `Store.removed`."""
        return self._removed

    async def purge(self) -> int:
        """See `Store.purge`."""
        self._removed = False
        return await erasing.purge(self._on_writer, self._sealer, self._reach)

    async def _on_writer(self, do: Callable[[sqlite3.Connection], T]) -> T:
        """Do something with the connection on the writer's thread, between two batches."""
        done: Future[Any] = Future()
        with self._gate:
            if self._closed or self._sick:
                raise _refused(self._sick or _CLOSED)
            self._errands.append((do, done))
            self._hand_over(Job(_nothing, None))  # wakes the writer
        return await asyncio.wrap_future(done)

    def _run_errands(self) -> None:
        while self._errands:
            do, done = self._errands.popleft()
            try:
                done.set_result(do(self._connection))
            except sqlite3.Error as error:
                done.set_exception(self._judge(error, committing=False, committed=False))
            except Exception as error:
                done.set_exception(error)

    @property
    def healthy(self) -> str:
        """Empty, or what is wrong. A full or locked disk heals with the next commit, other faults never."""
        return self._sick or (_CLOSED if self._closed else self._full)

    def close(self) -> None:
        """Commit what waits, then close the file. Safe to call twice."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._hand_over(*self._gathered)
                self._waiting.put(None)
                self._gathered = []
        self._thread.join()
        self._reads.close()
        self._sealer.close()

    # the writer's thread

    def _write(self) -> None:
        try:
            self._serve()
        finally:
            self._leave()

    def _serve(self) -> None:
        running = True
        while running:
            batch, running = self._next()
            if batch:
                with self._turn:
                    self._batch(batch, self._answer)
                    self._run_errands()
                    if running and not self._sick and self._pages >= _PAGES_BETWEEN_CHECKPOINTS:
                        self._checkpoint()

    def _answer(self, batch: list[Job], *, dropped: bool) -> None:
        with self._gate:
            self._unserved -= len(batch) - len(self._deferred)
        answer(batch, dropped=dropped)

    def _leave(self) -> None:
        """At the end of the thread, also one that nobody asked for: whoever waits still is told, and nobody after."""
        with self._gate:
            if not self._closed:
                self._sick = self._sick or "its writer has ended"
        left = self._deferred
        while not self._waiting.empty():
            job = self._waiting.get()
            left += [job] if job is not None else []
        if left:
            fail(left, _refused(self._sick or _CLOSED))
            answer(left, dropped=True)
        while self._errands:
            self._errands.popleft()[1].set_exception(_refused(self._sick or _CLOSED))
        try:
            self._connection.close()
        except sqlite3.Error:
            _LOG.exception("the store did not close")

    def _next(self) -> tuple[list[Job], bool]:
        """What to commit next, kept steps first, and whether there will be more after it."""
        fresh: list[Job] = []
        running = True
        try:
            job = self._waiting.get(timeout=_RETRY_SECONDS if self._deferred else None)
            while job is not None and len(fresh) < MAX_BATCH - 1:
                fresh.append(job)
                job = self._waiting.get_nowait()
            running = job is not None
            fresh += [job] if job is not None else []
        except queue.Empty:
            pass
        batch, self._deferred = [*self._deferred, *fresh], []
        return batch, running

    def _batch(self, batch: list[Job], send: Callable[..., None]) -> None:
        if self._sick:
            fail(batch, _refused(self._sick))
        else:
            fault = self._try_batch(batch, send)
            self._pages += 12 + 4 * len(batch)
            if fault is None:
                self._full = ""
                self.on_commit()
            else:
                self._roll_back()
                fail(batch, fault)
                kept = [job for job in batch if job.future is None]
                if kept and not self._sick:
                    self._deferred = kept
        send(batch, dropped=bool(self._sick))

    def _try_batch(self, batch: list[Job], send: Callable[..., None]) -> Fault | None:
        """Commit a batch. Where this thread is being ended (no `Exception` ends it), say so to those who wait."""
        try:
            return self._commit_batch(batch)
        except BaseException:
            self._sick = "its writer has ended"
            fail(batch, CommitUnknown(f"nobody knows whether it was written: {self._sick}", hint="restart the gateway"))
            send(batch, dropped=True)
            raise

    def _commit_batch(self, batch: list[Job]) -> Fault | None:
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

    def _run_where_best(self, batch: list[Job], *, guarded: bool) -> bool:
        """Run the steps on the loop of their callers where they are many, else here.

        Each statement lets go of the interpreter's lock: beside a busy loop, this thread would fight for it at every
        one. While it waits for the loop there is nobody to fight with, and only COMMIT is left to do here.
        """
        loops = {job.future.get_loop() for job in batch if job.future is not None}
        if len(batch) < _COMPANY or len(loops) != 1:
            return self._run_steps(batch, guarded=guarded)
        errand = Errand(partial(self._run_steps, batch, guarded=guarded))
        with contextlib.suppress(RuntimeError):  # a closed loop runs nothing
            loops.pop().call_soon_threadsafe(errand.run)
        return errand.result(_LOOP_SECONDS)

    def _run_steps(self, batch: list[Job], *, guarded: bool) -> bool:
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

    def _step(self, job: Job, position: int, guarded: bool) -> int:
        """Run one step; the position of the next record. Raises what befell the database."""
        transaction = SqliteTransaction(self._connection, position, self._counters, self._sealer)
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
            self._removed = self._removed or transaction.removed
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


def _nothing(_: Transaction) -> None:
    """A step that does nothing."""


def open_store(
    path: Path,
    *,
    sealer: Sealer | None = None,
    faults: Faults | None = None,
    busy_milliseconds: int = 250,
    max_waiting: int = MAX_WAITING,
) -> SqliteStore:
    """Open the store in this file to write, and make it where there is none (mode 0600).

    `sealer` seals its payloads; without one, their keys lie in a folder beside the file (`NAME.keys`). What a crash
    left of an erasure is finished here.

    `faults` is called on the writer's thread at the points `before_begin`, `after_step`, `before_commit` and
    `after_commit_before_ack`; what it raises befalls the batch. Between the parts of a purge it is called too.
    Raises `Misuse` for a file that is not a store, has a newer schema or lies on a network file system, and `Fault` if
    it cannot be opened.
    """
    filesystem.require_local(path.parent)
    sealer = sealer or beside(path)
    try:
        filesystem.create_private(path)
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=busy_milliseconds / 1000, cached_statements=512
        )
    except (OSError, sqlite3.Error) as error:
        raise Fault(f"the store `{path}` cannot be opened: {error}", hint="look at the folder's owner") from error
    try:
        _prepare(connection, path)
        erasing.finish(connection, sealer)
    except sqlite3.Error as error:
        connection.close()
        raise Fault(f"the store `{path}` cannot be opened: {error}", hint="look at the disk") from error
    except BaseException:
        connection.close()
        raise
    return SqliteStore(connection, path, sealer, faults, max_waiting)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
    if not empty:
        check_version(connection, path)
    for pragma in (
        "auto_vacuum = INCREMENTAL",  # before the first table, or it stays what it is
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
