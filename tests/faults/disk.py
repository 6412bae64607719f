"""A disk that forgets what was not synced, rebuilt from the trace of `shim.c`.

A file's bytes are on the disk after a sync of the file, a folder's names after a sync of the folder (POSIX promises no
more, whatever a file system may do). Of what came after, a crash keeps any part: writes torn at sectors of 512 bytes,
and of a folder's changes any beginning. A renaming is kept whole or not at all.
"""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

SECTOR = 512
_HEAD = struct.Struct("<cIQI")
Keep = Literal["synced", "some", "all"]
Write = tuple[int, bytes] | int  # an offset and bytes, or the length that the file was cut or stretched to


@dataclass(frozen=True)
class Event:
    """See `shim.c`."""

    type: str
    number: int
    offset: int
    data: bytes

    @property
    def paths(self) -> list[str]:
        return self.data.decode().split("\0")


def events(trace: Path) -> list[Event]:
    """Everything in a trace, in order."""
    data, at, found = trace.read_bytes(), 0, []
    while at < len(data):
        kind, number, offset, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        found.append(Event(kind.decode(), number, offset, data[at : at + length]))
        at += length
    assert at == len(data), "the trace is torn"
    return found


@dataclass
class File:
    """A file, whatever names it has."""

    durable: bytes = b""
    current: bytearray = field(default_factory=bytearray)
    pending: list[Write] = field(default_factory=list)

    def write(self, write: Write) -> None:
        self.pending.append(write)
        _apply(self.current, write)

    def sync(self) -> None:
        self.durable, self.pending = bytes(self.current), []

    def kept(self, keep: Keep, chance: random.Random) -> bytes:
        """What a crash leaves of it."""
        if keep != "some" or not self.pending:
            return bytes(self.current) if keep == "all" else self.durable
        data = bytearray(self.durable)
        share = chance.choice((0.1, 0.5, 0.9))
        for write in self.pending:
            for part in [write] if isinstance(write, int) else _sectors(*write):
                if chance.random() < share:
                    _apply(data, part)
        return bytes(data)


def _apply(data: bytearray, write: Write) -> None:
    length, new = (write, b"") if isinstance(write, int) else write
    if len(data) < length:
        data.extend(bytes(length - len(data)))
    if isinstance(write, int):
        del data[length:]
    else:
        data[length : length + len(new)] = new


def _sectors(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        end = at + SECTOR - (offset + at) % SECTOR
        yield offset + at, data[at:end]
        at = end


class Folder:
    """A folder's names: those on the disk, and what became of them since."""

    def __init__(self) -> None:
        self.durable: dict[str, File | Folder] = {}
        self.current: dict[str, File | Folder] = {}
        self.pending: list[dict[str, File | Folder | None]] = []

    def change(self, names: dict[str, File | Folder | None]) -> None:
        self.pending.append(names)
        _rename(self.current, names)

    def sync(self) -> None:
        self.durable, self.pending = dict(self.current), []

    def kept(self, keep: Keep, chance: random.Random) -> dict[str, File | Folder]:
        """What a crash leaves of the names."""
        names = dict(self.durable)
        many = {"synced": 0, "all": len(self.pending), "some": chance.randint(0, len(self.pending))}[keep]
        for change in self.pending[:many]:
            _rename(names, change)
        return names


def _rename(names: dict[str, File | Folder], change: dict[str, File | Folder | None]) -> None:
    for name, what in change.items():
        if what is None:
            names.pop(name, None)
        else:
            names[name] = what


class Disk:
    """The folder that a trace is about, from what it was at the beginning."""

    def __init__(self, base: Path) -> None:
        self.root = _loaded(base)
        self._files: dict[int, File] = {}

    def take(self, event: Event, deaf: str = "") -> None:
        """One event. Syncs of what has a path that `deaf` matches count for nothing, as if there were none."""
        match event.type:
            case "K":
                found = self._find(event.paths[0])
                assert isinstance(found, File), event
                self._files[event.number] = found
            case "C":
                self._files[event.number] = made = File()
                self._change(event.paths[0], made)
            case "W":
                self._files[event.number].write((event.offset, event.data))
            case "T":
                self._files[event.number].write(event.offset)
            case "S":
                if not (deaf and self._named(event.number, deaf)):
                    self._files[event.number].sync()
            case "D":
                folder = self._find(event.paths[0])
                assert isinstance(folder, Folder)
                if not (deaf and re.fullmatch(deaf, event.paths[0])):
                    folder.sync()
            case "M":
                self._change(event.paths[0], Folder())
            case "U" | "R":
                self._change(event.paths[0], None)
            case "N" | "L":
                self._rename(*event.paths, keep=event.type == "L")

    def _named(self, number: int, pattern: str) -> bool:
        """Whether the file has such a path now."""
        file = self._files[number]
        return any(found is file and re.fullmatch(pattern, path) for path, found in _walk(self.root))

    def _find(self, path: str) -> File | Folder:
        found: File | Folder = self.root
        for name in path.split("/"):
            assert isinstance(found, Folder), path
            found = found.current[name]
        return found

    def _parent(self, path: str) -> tuple[Folder, str]:
        parent, _, name = path.rpartition("/")
        folder = self._find(parent) if parent else self.root
        assert isinstance(folder, Folder)
        return folder, name

    def _change(self, path: str, what: File | Folder | None) -> None:
        folder, name = self._parent(path)
        folder.change({name: what})

    def _rename(self, old: str, new: str, *, keep: bool) -> None:
        what = self._find(old)
        (first, was), (second, name) = self._parent(old), self._parent(new)
        if first is second:
            first.change({name: what} if keep else {was: None, name: what})
        else:
            second.change({name: what})
            if not keep:
                first.change({was: None})

    def crash(self, into: Path, names: Keep, data: Keep, chance: random.Random) -> None:
        """Write what a crash leaves into a fresh folder."""
        _write(self.root, into, names, data, chance)


def _loaded(path: Path) -> Folder:
    folder = Folder()
    for each in path.iterdir():
        if each.is_dir():
            folder.current[each.name] = _loaded(each)
        elif each.is_file() and not each.name.endswith("-shm"):
            data = each.read_bytes()
            folder.current[each.name] = File(data, bytearray(data))
    folder.sync()
    return folder


def _walk(folder: Folder, prefix: str = "") -> Iterator[tuple[str, File | Folder]]:
    for name, what in folder.current.items():
        yield prefix + name, what
        if isinstance(what, Folder):
            yield from _walk(what, f"{prefix}{name}/")


def _write(folder: Folder, into: Path, names: Keep, data: Keep, chance: random.Random) -> None:
    into.mkdir(mode=0o700)
    for name, what in folder.kept(names, chance).items():
        if isinstance(what, Folder):
            _write(what, into / name, names, data, chance)
        else:
            path = into / name
            path.write_bytes(what.kept(data, chance))
            path.chmod(0o600)


def bytes_in(folder: Path) -> dict[str, bytes]:
    """Every file below a folder that a trace is about."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("-shm"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
