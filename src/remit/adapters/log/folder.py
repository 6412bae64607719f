"""The log's folder: static files, each replaced whole.

What lives here: writing and removing files under the names of tlog-tiles. What never may: what is in them. A reader
sees a file as it was or as it is, never half of it. After a loss of power the last full files may be damaged: they are
brought to the disk in bundles (`sync`), and whoever opens the log compares that many with the store.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from pathlib import Path

CHECKPOINT = "checkpoint"
WITNESSED = "checkpoint.witnessed"
KEEP_SECONDS = 10.0
"""How long partial files of older sizes stay for those who read an older checkpoint."""


class LogFolder:
    """The folder at `path`. Methods raise `OSError`. Owned by the keeper's thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / CHECKPOINT
        self._unsynced: list[Path] = []
        self._old: deque[tuple[float, Path]] = deque()

    def make(self) -> None:
        """Make the folder where it is not there."""
        self.path.mkdir(mode=0o755, parents=True, exist_ok=True)

    def add(self, name: str, data: bytes, *, full: bool = False) -> None:
        """Write a file that nobody has been pointed to yet: no checkpoint of its size is published. One of that name
        that a crash left is replaced whole. A `full` one is on the disk after the next `sync`."""
        path = self.path / name
        try:
            _fill(path, data, os.O_EXCL)
        except FileExistsError:
            self.write(name, data)
        if full:
            self._unsynced.append(path)

    def write(self, name: str, data: bytes) -> None:
        """Replace one file whole, or make it: a reader sees the old bytes or the new ones."""
        path = self.path / name
        fresh = path.with_name(f".{path.name}.new")
        _fill(fresh, data, os.O_TRUNC)
        fresh.rename(path)

    @property
    def unsynced(self) -> int:
        """How many full files are not known to be on the disk."""
        return len(self._unsynced)

    def sync(self) -> None:
        """Bring the full files that were written since to the disk."""
        while self._unsynced:
            descriptor = os.open(self._unsynced[-1], os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
            self._unsynced.pop()

    def holds(self, name: str, size: int | None = None) -> bool:
        """Whether the file is there, and of this size where one is named (else: not empty)."""
        try:
            found = (self.path / name).stat().st_size
        except OSError:
            return False
        return found > 0 if size is None else found == size

    def read(self, name: str) -> bytes:
        """The file's bytes."""
        return (self.path / name).read_bytes()

    def retire(self, name: str) -> None:
        """Remove a partial file of an older size, in a while."""
        self._old.append((time.monotonic() + KEEP_SECONDS, self.path / name))

    def retire_others(self, keep: frozenset[str], folders: frozenset[str]) -> None:
        """Remove in a while what lies in these folders of partial files, except the files of the names in `keep`."""
        for folder in folders:
            with contextlib.suppress(OSError):
                for path in (self.path / folder).iterdir():
                    if path.relative_to(self.path).as_posix() not in keep:
                        self._old.append((time.monotonic() + KEEP_SECONDS, path))

    def sweep(self) -> None:
        """Remove what was retired and whose time has come. A file that cannot be removed stays; it harms nobody."""
        now = time.monotonic()
        while self._old and self._old[0][0] <= now:
            _, path = self._old.popleft()
            with contextlib.suppress(OSError):
                path.unlink()
            with contextlib.suppress(OSError):
                path.parent.rmdir()


def _fill(path: Path, data: bytes, how: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | how
    try:
        descriptor = os.open(path, flags, 0o644)
    except FileNotFoundError:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(path, flags, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)
