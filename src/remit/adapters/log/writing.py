"""Writing the log: from durable records to files and a signed checkpoint.

What lives here: one round of appending, and beginning from what is on the disk. What never may: a thread, a clock, a
decision about actions. The store has the records, the signer remembers what was signed; the folder holds nothing that
cannot be made anew from those two, and is made anew where it does not fit them.

INVARIANT: a file of the log's folder is only written for a tree that was signed. So whoever is refused a signature
leaves the folder as it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from remit.adapters.log.folder import CHECKPOINT, WITNESSED, LogFolder
from remit.adapters.log.reading import HASH, FolderSource, Missing
from remit.adapters.log.signing import Diverged, Signer
from remit.flow.ports import StoredRecord
from remit.gates.log import checkpoints
from remit.gates.log.checkpoints import Checkpoint, Opened
from remit.gates.log.edge import Edge, Files, widths
from remit.gates.log.merkle import consistency_proof, leaf_hash, root_of
from remit.gates.log.notes import VerifierKey
from remit.gates.log.tiles import WIDTH, TileHashes, decode_entries, decode_tile, entry_bundles, tiles_of
from remit.model.errors import Fault, NotVerified

MOST_AT_ONCE = 4096
SYNC_AFTER = 128
"""Full files, tiles and bundles together, that may be lost with the power; opening the log looks at twice as many."""
log = logging.getLogger("remit.log")


class Records(Protocol):
    """The store's records, as far as they are durable. Methods raise `Fault`."""

    def size(self) -> int:
        """How many there are."""
        ...

    def records_from(self, position: int, limit: int) -> list[StoredRecord]:
        """At most `limit` of them from a position on, in order."""
        ...


def publish_alone(folder: LogFolder, data: bytes) -> None:
    """How a log without witnesses publishes a checkpoint. Raises `OSError`."""
    folder.write(CHECKPOINT, data)


class LogWriter:
    """See the module. `open` first; after a method has raised, `open` again. Owned by one thread at a time."""

    def __init__(
        self,
        base: Path,
        records: Records,
        signer: Signer,
        keys: Callable[[], Sequence[VerifierKey]],
        publish: Callable[[LogFolder, bytes], None] = publish_alone,
    ) -> None:
        """`base` is the folder of the log's first epoch; `keys` gives the verifier keys that notes must fit; `publish`
        puts the note of a signed checkpoint into the folder, and adds the cosignatures that it knows of."""
        self.folder = LogFolder(base)
        self._base = base
        self._records = records
        self._signer = signer
        self._keys = keys
        self._publish = publish
        self._edge = Edge()
        self._last: Opened | None = None

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The last one published; None before `open`."""
        return self._last.checkpoint if self._last is not None else None

    def open(self) -> None:
        """Begin from the last signed checkpoint: make the folder fit it, and publish it.

        Raises `Diverged` where the store's records are not those that were signed, or fewer: then nothing was written.
        Raises `Fault` or `OSError` where signer, store or folder fail.
        """
        data = self._signer.last()
        last = self._opened(data)
        size = last.checkpoint.size
        self.folder = LogFolder(folder_of(self._base, last.checkpoint.origin))
        stored = self._records.size()
        if stored < size:
            raise Diverged(f"the store holds {stored:,} records, and the log has signed {size:,}: it is an older copy")
        before = self._signed_before()
        for other in before:
            _expect_remembered(other, last.checkpoint)
        edge = self._standing(last.checkpoint) or self._rebuilt(last.checkpoint)
        self.folder.make()
        names = self._write(edge.full(), edge.partial())
        self.folder.retire_others(frozenset(names), frozenset(name.rpartition("/")[0] for name in names))
        for other in before:
            self._expect_extended(other, size)
        self._publish(self.folder, data)  # anew even where it lies there, so that a full disk is noticed
        self._edge, self._last = edge, last

    def append(self) -> Sequence[StoredRecord]:
        """Take the next durable records into the tree, have it signed and published. Returns those records, none where
        there are no more. Raises as `open` does."""
        found = self._records.records_from(self._edge.size, MOST_AT_ONCE)
        if not found:
            return ()
        edge = self._edge.copy()
        for record in found:
            _expect_next(record, edge.size)
            edge.add(record.data)
        full, partial = edge.full(), edge.partial()
        signed = self._signed(edge, {name: data for name, data, _ in (*full, *partial)})
        before = {name for name, _, _ in self._edge.partial()}
        self._write(full, [file for file in partial if file[0] not in before])
        self._publish(self.folder, signed.note.encode())
        for name in before.difference(name for name, _, _ in partial):
            self.folder.retire(name)
        self._edge, self._last = edge, signed
        return found

    def settle(self, *, at_rest: bool) -> None:
        """What can wait until records are under a checkpoint: full files to the disk where many wait for it or nothing
        else is to do, and old partial files away. Raises `OSError`."""
        self.folder.sweep()
        if at_rest or self.folder.unsynced >= SYNC_AFTER:
            self.folder.sync()

    def _signed(self, edge: Edge, fresh: Mapping[str, bytes]) -> Opened:
        """The checkpoint of a larger tree, signed. The proof is made from its fresh files and those in the folder."""
        assert self._last is not None
        old = self._last.checkpoint
        new = Checkpoint(old.origin, edge.size, edge.root())
        hashes = TileHashes(new.size, lambda tile: fresh.get(tile.path) or self.folder.read(tile.path))
        proof = consistency_proof(old.size, new.size, hashes)
        signed = self._opened(self._signer.sign(old.size, proof, new.encode()))
        if signed.checkpoint != new:
            raise Fault(f"the signer signed a log of {signed.checkpoint.size:,} entries, expected {new.size:,}")
        return signed

    def _opened(self, data: bytes) -> Opened:
        try:
            return checkpoints.opened(data, self._keys())
        except NotVerified as error:
            raise Fault(
                f"what the signer signed does not fit the home's `log.pub`: {error.message}", hint=error.hint
            ) from None

    def _write(self, *files: Files) -> list[str]:
        """Write files, and return the names of the last list."""
        for name, data, full in itertools.chain(*files):
            self.folder.add(name, data, full=full)
        return [name for name, _, _ in files[-1]]

    def _signed_before(self) -> list[Checkpoint]:
        """What lies published in the folder and was signed with a key of the log's. The signer's memory is never behind
        it, unless an older copy of the memory was put back."""
        found = []
        for name in (CHECKPOINT, WITNESSED):
            with contextlib.suppress(OSError, NotVerified):
                found.append(checkpoints.opened(self.folder.read(name), self._keys()).checkpoint)
        return found

    def _expect_extended(self, before: Checkpoint, size: int) -> None:
        hashes = TileHashes(size, lambda tile: self.folder.read(tile.path))
        if root_of(before.size, hashes) != before.root:
            raise Diverged(
                f"a log of {before.size:,} entries lies published, and the one that was signed last does not extend it"
            )

    # --- beginning from what is there -----------------------------------------------------------------------------

    def _standing(self, last: Checkpoint) -> Edge | None:
        """The edge as the folder has it, continued from there where the folder is a few rounds behind. None where the
        folder is not whole, does not lead to the signed root, or does not end in what the store has."""
        for begin in (last, *(each for each in self._signed_before() if each.size < last.size)):
            edge = self._at(begin)
            if edge is None:
                continue
            for record in self._stored(edge.size, last.size):
                edge.add(record.data)
            if edge.root() == last.root:
                return edge
        return None

    def _at(self, checkpoint: Checkpoint) -> Edge | None:
        try:
            if not self._whole(checkpoint.size) or not self._ends_alike(checkpoint.size):
                return None
            edge = self._read_edge(checkpoint.size)
        except (Missing, NotVerified, ValueError):
            return None
        return edge if edge.root() == checkpoint.root else None

    def _whole(self, size: int) -> bool:
        """Whether all full files are there. What is in those far back is `remit log verify`'s to read."""
        full = (tile for tile in tiles_of(size) if tile.width == WIDTH)
        bundles = (bundle for bundle in entry_bundles(0, size) if bundle.width == WIDTH)
        return all(self.folder.holds(tile.path, WIDTH * HASH) for tile in full) and all(
            self.folder.holds(bundle.path) for bundle in bundles
        )

    def _read_edge(self, size: int) -> Edge:
        source = FolderSource(self.folder.path)
        levels = [
            decode_tile(source.tile(level, size >> 8 * (level + 1), width), width) if width else []
            for level, width in enumerate(widths(size))
        ]
        entries = decode_entries(source.entries(size // WIDTH, size % WIDTH))[: size % WIDTH] if size % WIDTH else []
        return Edge(size, levels, entries)

    def _ends_alike(self, size: int) -> bool:
        """Whether the last full bundles and tiles, and the entries after them, are the store's records."""
        start = max(0, size // WIDTH - SYNC_AFTER) * WIDTH
        stored = [record.data for record in self._records.records_from(start, size - start)]
        source = FolderSource(self.folder.path)
        kept: list[bytes] = []
        hashes = b""
        for bundle in entry_bundles(start, size):
            kept += decode_entries(source.entries(bundle.index, bundle.width))[: bundle.width]
            hashes += source.tile(0, bundle.index, bundle.width)
        return kept == stored and hashes == b"".join(map(leaf_hash, stored))

    def _rebuilt(self, last: Checkpoint) -> Edge:
        """The edge made from the store's records, and every full file that is missing or damaged written."""
        log.warning("the log's folder `%s` does not fit what was signed; it is made anew", self.folder.path)
        edge = Edge()
        for record in self._stored(0, last.size):
            edge.add(record.data)
            edge.full()
        if edge.root() != last.root:
            raise Diverged(
                f"the store's first {last.size:,} records are not those that the log has signed: "
                "it is another history, or records were changed"
            )
        self.folder.make()
        edge = Edge()
        for record in self._stored(0, last.size):
            edge.add(record.data)
            for name, data, _ in edge.full():
                if not self._holds(name, data):
                    self.folder.add(name, data, full=True)
            if self.folder.unsynced >= SYNC_AFTER:
                self.folder.sync()
        return edge

    def _holds(self, name: str, data: bytes) -> bool:
        try:
            return self.folder.read(name) == data
        except OSError:
            return False

    def _stored(self, position: int, size: int) -> Iterator[StoredRecord]:
        while position < size:
            found = self._records.records_from(position, min(MOST_AT_ONCE, size - position))
            if not found:
                raise Fault(f"the store has no record {position:,}, expected {size:,} of them", hint="look at the disk")
            for record in found:
                _expect_next(record, position)
                position += 1
                yield record


def folder_of(base: Path, origin: str) -> Path:
    """The folder of a log by its origin: `base` for the first of a home, `base-2` for the second, and so on."""
    parts = origin.split("/")
    return base if len(parts) < 3 else base.with_name(f"{base.name}-{parts[-1]}")


def _expect_remembered(published: Checkpoint, last: Checkpoint) -> None:
    """Raises `Diverged` where more is published, or something else, than the signer remembers to have signed."""
    if published.origin != last.origin or published.size < last.size or published == last:
        return
    raise Diverged(
        f"a log of {published.size:,} entries lies published, and the signer remembers another of {last.size:,}: "
        "the signer's memory is an older copy"
    )


def _expect_next(record: StoredRecord, position: int) -> None:
    if record.position != position:
        raise Fault(
            f"the store has no record {position:,}, the next one is {record.position:,}", hint="look at the disk"
        )
    if hashlib.sha256(record.data).digest() != record.sha256:
        raise Fault(f"the store's record {position:,} is damaged", hint="look at the disk")
