"""The index of a home: looking into it, letting it follow the store, building it anew, making it forget.

What lives here: the thread that takes in records, and what is done about a file that cannot be trusted. What never may:
keeping the store or the log waiting.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from remit.adapters.index import forgetting
from remit.adapters.index.bits import Terms
from remit.adapters.index.file import IndexFile, look_at, remove, trusted
from remit.adapters.index.looking import FileLook
from remit.flow.ports import Look, Reads, StoredRecord, Torn
from remit.flow.searching import NoLook, found_by
from remit.gates.journal import Pseudonyms
from remit.gates.search import FoundBy
from remit.model.errors import Fault

AT_ONCE: Final = 8_192
"""Records in one transaction while the index catches up."""

GENTLY_AT_ONCE: Final = 1_024
"""The same beside a gateway."""

_LOOK_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 2.0  # without a record, after which those that came are taken in: calls go first
_LONGEST_SECONDS: Final = 30.0  # that a record waits while others keep coming; searches read the tail in the store
_REFUSALS: Final = frozenset(
    {
        *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR),
        *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM),
    }
)
_log = logging.getLogger("remit.index")
Progress = Callable[[int, int], None]
"""Told how many records are done, and of how many."""


Source = Callable[[int, int], Sequence[StoredRecord]]
"""Reads at most so many records from a position on."""


class _EndingError(Exception):
    """The thread ends in the middle of a batch, which is taken in by whoever comes next."""


class SearchIndex:
    """The `Index` of `remit.flow.ports` on a file. `key` is the home's key for names.

    Several processes may have it open: each batch is one transaction, which begins where the file stands.
    """

    def __init__(self, path: Path, key: bytes, reads: Reads) -> None:
        self._path = path
        self._terms = Terms(key)
        self._names = Pseudonyms(key)
        self._reads = reads
        self._lock = threading.Lock()
        self._file: IndexFile | None = None  # guarded by _lock
        self._unscrubbed = False  # guarded by _lock
        self._wake = threading.Event()
        self._ending = False
        self._gentle = False  # set before the thread starts
        self._thread: threading.Thread | None = None
        self.trouble = ""  # why the last attempt to follow failed

    # --- looking --------------------------------------------------------------------------------------------------

    @contextmanager
    def look(self) -> Iterator[Look]:
        """See `Index`."""
        try:
            connection, look = look_at(self._path, self._terms, self._reads)
        except Torn as torn:
            yield NoLook(str(torn))
            return
        with closing(connection):
            yield look

    # --- following ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Follow the store on a thread of its own, until `close`. It gives way to the gateway after every record: a
        thread that computes keeps the interpreter for 5 ms otherwise, which a call would wait for."""
        self._gentle = True
        self._thread = threading.Thread(target=self._run, name="remit-index", daemon=True)
        self._thread.start()

    def follow(self, first: int, records: Sequence[StoredRecord]) -> None:
        """See `Index`. The records are read from the store again, so that none is ever left out."""
        self._wake.set()

    def catch_up(self, progress: Progress | None = None, source: Source | None = None) -> int:
        """Take in everything that there is, from the store or from another `source` of the same records; where the
        index stands then. Builds a file anew that cannot be trusted. Raises `Fault` where the disk refuses."""
        read = source or self._reads.records_from
        while True:
            position, more = self._guarded(lambda file: self._advance(file, read))
            if progress is not None:
                progress(position, max(position, self._reads.counts()["records"]))
            if not more or self._ending:
                return position

    def rebuild(self, progress: Progress | None = None, source: Source | None = None) -> int:
        """Throw the index away and build it anew; where it stands then. Raises `Fault` where the disk refuses."""
        with self._lock:
            self._drop()
        return self.catch_up(progress, source)

    def close(self) -> None:
        """End the thread, take in what was committed just now (an erasure, say), and close the file. Safe to call
        twice."""
        self._ending = True
        self._wake.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
            with suppress(Exception):  # whatever it is, the next one catches up
                self._guarded(self._last)
        with self._lock:
            self._let_go()

    def _run(self) -> None:
        while not self._ending:
            try:
                self.catch_up()
                self.trouble = ""
            except _EndingError:
                return
            except Exception as error:
                if str(error) != self.trouble:
                    _log.warning("the index does not follow, searches read the store instead: %s", error)
                self.trouble = str(error)
            if self._wake.wait(_LOOK_SECONDS) and not self._ending:
                self._await_pause()

    def _await_pause(self) -> None:
        """Let calls go first: wait until nothing has come for a moment, or what came has waited long enough."""
        until = time.monotonic() + _LONGEST_SECONDS
        while not self._ending and time.monotonic() < until:
            self._wake.clear()
            if not self._wake.wait(_PAUSE_SECONDS):
                return

    def _advance(self, file: IndexFile, read: Source) -> tuple[int, bool]:
        with file.writing():
            position = trusted(file.connection, self._terms, self._reads)
            most = GENTLY_AT_ONCE if self._gentle else AT_ONCE
            records = read(position, most)
            file.take(records, self._found, position)
            look = self._look_of(file, position + len(records))
            if forgetting.told(file, look, self._reads, self._terms, records):
                self._unscrubbed = True
        if self._unscrubbed:
            self._unscrubbed = not file.scrub()
        return position + len(records), len(records) == most

    def _last(self, file: IndexFile) -> tuple[int, bool]:
        self._ending = False
        return self._advance(file, self._reads.records_from)

    def _found(self, record: StoredRecord) -> FoundBy:
        if self._gentle:
            time.sleep(0)
            if self._ending:
                raise _EndingError
        return found_by(record, self._reads.payload, self._names)

    # --- forgetting -----------------------------------------------------------------------------------------------

    def forget(self, ids: Iterable[str]) -> None:
        """See `Index`. The index forgets by itself too, when it comes to the record that says what is gone."""
        wanted = tuple(dict.fromkeys(ids))

        def step(file: IndexFile) -> tuple[int, bool]:
            with file.writing():
                position = trusted(file.connection, self._terms, self._reads)
                forgetting.forget(file, self._look_of(file, position), self._reads, self._terms, wanted)
            self._unscrubbed = not file.scrub()
            return position, False

        if wanted and self._path.exists():
            self._guarded(step)

    def _look_of(self, file: IndexFile, position: int) -> FileLook:
        return FileLook(file.connection, self._terms, position)

    # --- the file -------------------------------------------------------------------------------------------------

    def _guarded(self, step: Callable[[IndexFile], tuple[int, bool]]) -> tuple[int, bool]:
        """Do it on the file; where that cannot be trusted, on a new one."""
        with self._lock:
            for last in (False, True):
                try:
                    return step(self._opened())
                except (Torn, sqlite3.DatabaseError, ValueError) as error:
                    if last or _refused(error):
                        self._let_go()
                        says = f"the index `{self._path}` cannot be written: {error}"
                        raise Fault(says, hint="look at the disk, then `remit log reindex`") from error
                    _log.warning("the index is built anew: %s", error)
                    self._drop()
                except OSError as error:
                    self._let_go()
                    says = f"the index `{self._path}` cannot be written: {error.strerror}"
                    raise Fault(says, hint="look at the disk, then `remit log reindex`") from error
        raise AssertionError("unreachable")

    def _opened(self) -> IndexFile:
        if self._file is not None and self._file.replaced:
            self._let_go()
        if self._file is None:
            self._file = IndexFile(self._path, self._terms)
        return self._file

    def _drop(self) -> None:
        self._let_go()
        remove(self._path)

    def _let_go(self) -> None:
        if self._file is not None:
            with suppress(sqlite3.Error):
                self._file.close()
            self._file = None


def _refused(error: Exception) -> bool:
    """Whether the disk or another process is in the way, so that a new file would not help."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _REFUSALS
