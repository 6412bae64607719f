"""A log in a folder, on a store that is a list: what the keeper follows, with faults that a test can throw in."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remit.adapters.log.keeper import Keeper
from remit.adapters.log.reading import FolderSource, entries
from remit.adapters.log.signing import LocalSigner, Signer, found_log
from remit.adapters.log.writing import LogWriter
from remit.flow.ports import StoredRecord
from remit.gates.log import checkpoints
from remit.gates.log.checkpoints import Opened
from remit.gates.log.merkle import Frontier, leaf_hash
from remit.gates.log.notes import VerifierKey
from tests.support.fixtures import make as make
from tests.support.fixtures import templates as templates

ORIGIN = "remit/home_test"
SECONDS = 10.0


class ListRecords:
    """Durable records in a list; `fails` is raised at the next look."""

    def __init__(self, data: list[bytes] | None = None) -> None:
        self.data = data if data is not None else []
        self.fails: BaseException | None = None

    def size(self) -> int:
        return len(self.data)

    def records_from(self, position: int, limit: int) -> list[StoredRecord]:
        if self.fails is not None:
            raise self.fails
        found = self.data[position : position + limit]
        return [stored(position + number, data) for number, data in enumerate(found)]

    def grow(self, count: int, mark: str = "r") -> None:
        start = len(self.data)
        self.data += [f'{{"at":{number},"mark":"{mark}"}}'.encode() for number in range(start, start + count)]


def stored(position: int, data: bytes) -> StoredRecord:
    sha256 = hashlib.sha256(data).digest()
    return StoredRecord(position=position, kind="k", at=0, action="", run="", agent="", data=data, sha256=sha256)


class Bed:
    """One log: its keys, its folder, its records, and as many writers and keepers as a test asks for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.keys = root / "keys"
        self.keys.mkdir(mode=0o700)
        self.folder = root / "log"
        self.key = found_log(self.keys, ORIGIN, os.urandom(32))
        self.trusted: list[VerifierKey] = [self.key]
        self.records = ListRecords()
        self.diverged: list[str] = []
        self._keepers: list[Keeper] = []

    def writer(self, records: ListRecords | None = None, signer: Signer | None = None) -> LogWriter:
        return LogWriter(
            self.folder, records or self.records, signer or LocalSigner(self.keys), lambda: tuple(self.trusted)
        )

    def keeper(self, **more: object) -> Keeper:
        """A keeper that runs, on the records of this bed."""
        signer = more.pop("signer", None)
        writer = self.writer(signer=signer)  # type: ignore[arg-type]
        keeper = Keeper(writer, now=lambda: 1, diverged=self.diverged.append, **more)  # type: ignore[arg-type]
        self._keepers.append(keeper)
        keeper.start()
        return keeper

    def opened(self, folder: Path | None = None) -> Opened:
        """The published checkpoint, verified."""
        return checkpoints.opened(FolderSource(folder or self.folder).checkpoint(), self.trusted)

    def check(self, data: list[bytes] | None = None, folder: Path | None = None) -> int:
        """That the folder's entries are the records, and lead to the published root. Returns the log's size."""
        checkpoint = self.opened(folder).checkpoint
        found = list(entries(FolderSource(folder or self.folder), checkpoint.size))
        assert found == (self.records.data if data is None else data)[: checkpoint.size]
        tree = Frontier()
        for entry in found:
            tree.add(leaf_hash(entry))
        assert tree.root() == checkpoint.root
        return checkpoint.size

    def close(self) -> None:
        for keeper in self._keepers:
            keeper.close()


def wait_until(holds: Callable[[], object], what: str) -> None:
    """Wait on a condition, bounded."""
    until = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < until, what
        time.sleep(0.005)


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    made = Bed(tmp_path)
    try:
        yield made
    finally:
        made.close()
