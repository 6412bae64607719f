"""The latch file: one preallocated block that is overwritten in place.

What lives here: reading and writing it. Overwriting blocks that the file already has needs no free space, so a stop
latches on a full disk. A torn write leaves bytes that do not fit their hash: then the latch is blind, which refuses
everything.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from remit.adapters.disk import sync_folder
from remit.gates import stop
from remit.gates.stop import Latch

SIZE = 64 * 1024
LOOKS = 3


class FileLatch:
    """Fulfils `remit.flow.stopping.LatchFile`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def create(self) -> None:
        """Make the file, with all its blocks. Raises `OSError`; an existing one is left alone."""
        if not self._path.exists():
            self.renew(Latch())

    def renew(self, latch: Latch) -> None:
        """Put a fresh file, with all its blocks, in the place of whatever is there. Raises `OSError`."""
        data = _padded(latch)
        fresh = self._path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fresh.rename(self._path)
        sync_folder(self._path.parent)

    def read(self) -> Latch:
        """The latch on disk. A file that is missing or cannot be read gives a blind latch."""
        for _ in range(LOOKS):
            try:
                found = stop.decode(self._path.read_bytes())
            except OSError as error:
                return Latch(blind=f"the latch file cannot be read ({error.strerror or error})")
            if not found.blind:
                break
            time.sleep(0.01)  # another process may be writing it at this moment
        return found

    def write(self, latch: Latch) -> None:
        """Overwrite in place and sync. Raises `OSError`, also for a latch that does not fit."""
        data = _padded(latch)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            _write_all(descriptor, data)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)


def _padded(latch: Latch) -> bytes:
    data = stop.encode(latch)
    if len(data) > SIZE:
        raise OSError(f"{len(latch.orders)} orders do not fit into the latch file; lift some first")
    return data.ljust(SIZE, b" ")


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
