"""Files that are old or new after a crash, never half.

What lives here: reading and replacing files durably. What never may: the meaning of a file, or where it lies.
"""

from __future__ import annotations

import os
from pathlib import Path

from remit.model.errors import Fault


def read(path: Path) -> bytes:
    """A file's bytes. Raises `Fault` with the reason in a user's words."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise Fault(f"the file `{path.name}` is missing in `{path.parent}`") from None
    except OSError as error:
        raise Fault(f"the file `{path.name}` cannot be read ({error.strerror})") from None


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file whole, durably: old or new after a crash, never half."""
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.fchmod(descriptor, mode)  # first: a file that a crash left may be open to others
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
