"""Small files that several processes share: replaced whole, appended to durably, guarded by one lock.

INVARIANT: whoever changes a file here holds `locked` on its lock file first; readers need no lock,
because a file is either replaced in one step or only grows by whole lines.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Json = dict[str, Any]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the exclusive lock named `path` (flock(2)), creating the file where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def replace(path: Path, document: Json) -> None:
    """Write `document` to `path` as JSON so that a reader sees the old or the new file, never a part of
    one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.new")
    with scratch.open("w", encoding="utf-8") as handle:
        json.dump(document, handle, indent=1, ensure_ascii=False)
        handle.write("\n")
        handle.flush()
        os.fsync(handle.fileno())
    scratch.replace(path)


def load(path: Path) -> Json | None:
    """Return the JSON object in `path`, or None where there is no such file.

    Raises ValueError when the file holds anything but a JSON object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if not isinstance(document, dict):
        raise ValueError(f"`{path}` should hold a JSON object, found {type(document).__name__}")
    return document


def append(path: Path, line: str, *, durable: bool) -> None:
    """Append one line; with `durable`, return only once it is on the disk (fdatasync).

    A line that a killed process left half-written is closed first, so that it spoils only itself.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(handle).st_size
        torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        os.write(handle, (("\n" if torn else "") + line + "\n").encode())
        if durable:
            os.fdatasync(handle)
    finally:
        os.close(handle)


def lines(path: Path) -> list[Json]:
    """Return the JSON objects of a line file, without a line that a killed process left half-written."""
    return lines_after(path, 0)[0]


def lines_after(path: Path, offset: int) -> tuple[list[Json], int]:
    """Return the JSON objects of the whole lines beyond byte `offset`, and the offset to go on from."""
    try:
        with path.open("rb") as handle:
            handle.seek(offset)
            data = handle.read()
    except FileNotFoundError:
        return [], offset
    whole = data[: data.rfind(b"\n") + 1]
    entries = []
    for line in whole.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            entries.append(entry)
    return entries, offset + len(whole)
