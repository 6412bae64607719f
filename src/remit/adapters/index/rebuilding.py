"""Building the index anew from the log's entries, and proving that none is missing.

What lives here: reading entries as records, and the root that they lead to. What never may: calling an index complete
that the signed tree does not bear out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import islice

import msgspec
from msgspec import Struct

from remit.adapters.home.auditing import home_log
from remit.adapters.home.folder import Home
from remit.adapters.home.settings import load_settings
from remit.adapters.index.following import Progress, SearchIndex
from remit.adapters.log.reading import FolderSource, LogSource, Missing, entries
from remit.adapters.log.writing import folder_of
from remit.flow.ports import Reads, StoredRecord
from remit.gates.log import checkpoints
from remit.gates.log.checkpoints import Checkpoint
from remit.gates.log.merkle import Frontier, leaf_hash
from remit.gates.log.notes import VerifierKey
from remit.model.errors import Fault, Misuse, NotVerified


class Built(Struct, frozen=True, kw_only=True):
    """A rebuilt index: how many records it covers, how many there were, and whether it has all of them. `against` says
    in words what bears that out."""

    indexed: int
    records: int
    complete: bool
    against: str


class LogEntries:
    """The log's entries up to a checkpoint as records, and those that it does not cover yet from the store."""

    def __init__(self, source: LogSource, checkpoint: Checkpoint, reads: Reads) -> None:
        self._checkpoint = checkpoint
        self._reads = reads
        self._entries: Iterator[bytes] = entries(source, checkpoint.size)
        self._frontier = Frontier()

    def records_from(self, position: int, limit: int) -> Sequence[StoredRecord]:
        """At most so many records from a position on. Raises `Fault` where the log's files do not hold them, or where
        it is asked to go back: then the log and the store say different things."""
        size = self._checkpoint.size
        if position >= size:
            self._skip(size)
            return self._reads.records_from(position, limit)
        if position < self._frontier.size:
            raise Fault("the log and the store are not the same history", hint="`remit log verify` says where")
        self._skip(position)
        return [_record(position + number, data) for number, data in enumerate(self._read(min(limit, size - position)))]

    @property
    def proven(self) -> bool:
        """Whether every entry was read, and they lead to the root that was signed."""
        self._skip(self._checkpoint.size)
        return self._frontier.root() == self._checkpoint.root

    def _skip(self, position: int) -> None:
        """Read on without taking in: another process has indexed these meanwhile."""
        for _ in self._read(position - self._frontier.size):
            pass

    def _read(self, count: int) -> Iterator[bytes]:
        try:
            for data in islice(self._entries, max(count, 0)):
                self._frontier.add(leaf_hash(data))
                yield data
        except (Missing, Misuse) as error:
            raise Fault(error.message, hint="`remit log verify` says what is missing") from None


def rebuild(home: Home, reads: Reads, progress: Progress | None = None) -> Built:
    """Build a home's index anew: from its log, as far as the newest checkpoint goes, and on from the store. From the
    store alone where nothing was signed yet. Raises `Fault` where the log cannot be read or the disk refuses."""
    index = SearchIndex(home.index, home.key("names.key"), reads)
    try:
        log = _log(home, reads)
        records = reads.counts()["records"]
        if log is None:
            indexed = index.rebuild(progress)
            against = "the store alone: no checkpoint is signed yet"
            return Built(indexed=indexed, records=records, complete=indexed >= records, against=against)
        found, size = log
        indexed = index.rebuild(progress, found.records_from)
        proven = found.proven
        says = f"the signed tree of {size}" if proven else f"the entries do not lead to the signed root of {size}"
        return Built(indexed=indexed, records=max(records, size), complete=proven and indexed >= size, against=says)
    finally:
        index.close()


def _log(home: Home, reads: Reads) -> tuple[LogEntries, int] | None:
    try:
        files, keys = home_log(home)
    except Misuse:
        return None
    note = files.checkpoint()
    if not note:
        return None
    checkpoint = _checkpoint(note, keys)
    source = FolderSource(folder_of(load_settings(home).log_folder, keys[0].name))
    return LogEntries(source, checkpoint, reads), checkpoint.size


def _checkpoint(note: bytes, keys: Sequence[VerifierKey]) -> Checkpoint:
    try:
        return checkpoints.opened(note, keys).checkpoint
    except NotVerified as error:
        raise Fault(error.message, hint="`remit log verify` says what is wrong with the log") from error


def _record(position: int, data: bytes) -> StoredRecord:
    try:
        fields = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        fields = None
    fields = fields if isinstance(fields, dict) else {}
    texts = {name: value if isinstance(value := fields.get(name), str) else "" for name in _TEXTS}
    at = fields.get("at")
    instant = at if isinstance(at, int) else 0
    return StoredRecord(position=position, at=instant, data=data, sha256=sha256(data).digest(), **texts)


_TEXTS = ("kind", "action", "run", "agent")
