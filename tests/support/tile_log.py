"""Writes a log's folder (C2SP tlog-tiles, tlog-checkpoint, tlog-cosignature) and its disclosure file from records.

What lives here: tiles, signed checkpoints, cosignatures. What never may: remit's own code for any of it; see
`journals`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.scribe import Record
from tests.support.signers import Payload

WIDTH = 256
LOG, WITNESS = 1, 4


@dataclass(frozen=True)
class NoteKey:
    """A key that signs notes: the log's (algorithm 1) or a witness's (4). Made from its name and a word."""

    name: str
    algorithm: int
    key: Ed25519PrivateKey

    @classmethod
    def named(cls, name: str, algorithm: int = LOG, word: str = "") -> NoteKey:
        seed = hashlib.sha256(f"note {algorithm} {name} {word}".encode()).digest()
        return cls(name, algorithm, Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def material(self) -> bytes:
        """The type byte and the public key."""
        return bytes([self.algorithm]) + self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def key_id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + self.material).digest()[:4]

    @property
    def text(self) -> str:
        """The verifier key."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(self.material).decode()}"

    def line(self, text: str, seconds: int = 0) -> str:
        """A signature line over a note's text; a witness's says at which second."""
        if self.algorithm == LOG:
            made = self.key.sign(text.encode())
        else:
            message = f"cosignature/v1\ntime {seconds}\n{text}".encode()
            made = seconds.to_bytes(8, "big") + self.key.sign(message)
        return f"— {self.name} {base64.b64encode(self.key_id + made).decode()}\n"


def checkpoint_text(origin: str, size: int, root: bytes) -> str:
    """The three lines that are signed."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def signed(text: str, keys: Iterable[NoteKey], witnesses: Iterable[NoteKey] = (), seconds: int = 0) -> bytes:
    """The note: text, empty line, a line of each key."""
    lines = [key.line(text) for key in keys] + [key.line(text, seconds) for key in witnesses]
    return (text + "\n" + "".join(lines)).encode()


def leaf(entry: bytes) -> bytes:
    return hashlib.sha256(b"\0" + entry).digest()


def tree(hashes: Sequence[bytes]) -> bytes:
    """RFC 6962, section 2.1, over hashes of subtrees."""
    if not hashes:
        return hashlib.sha256().digest()
    row = list(hashes)
    while len(row) > 1:  # pairing row by row, an odd one goes up as it is: the same tree as splitting at powers of two
        paired = [hashlib.sha256(b"\1" + row[at] + row[at + 1]).digest() for at in range(0, len(row) - 1, 2)]
        row = paired + row[len(row) - len(row) % 2 :]
    return row[0]


def tile_path(level: str, index: int, width: int = WIDTH) -> str:
    """`tile/LEVEL/INDEX` with `.p/WIDTH` for a partial tile; `level` may be `entries`."""
    groups = [f"{index % 1000:03d}"]
    while index := index // 1000:
        groups.insert(0, f"x{index % 1000:03d}")
    partial = "" if width == WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(groups)}{partial}"


def join_bundle(entries: Iterable[bytes]) -> bytes:
    """A bundle of entries: each as a 16-bit big-endian length and its bytes."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def split_bundle(data: bytes) -> list[bytes]:
    """The entries of a whole bundle."""
    entries = []
    while data:
        length = int.from_bytes(data[:2], "big")
        entries.append(data[2 : 2 + length])
        data = data[2 + length :]
    return entries


class TileLog:
    """Writes the tiles of a growing log. Full ones as they fill, partial ones at `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.size = 0
        self._levels: list[list[bytes]] = [[]]
        self._full: list[int] = [0]
        self._entries: list[bytes] = []

    def add(self, entry: bytes) -> None:
        self.size += 1
        self._entries.append(len(entry).to_bytes(2, "big") + entry)
        self._levels[0].append(leaf(entry))
        if len(self._entries) == WIDTH:
            self._write(tile_path("entries", self._full[0]), b"".join(self._entries))
            self._entries.clear()
            self._carry()

    def _carry(self) -> None:
        level = 0
        while len(self._levels[level]) == WIDTH:
            self._write(tile_path(str(level), self._full[level]), b"".join(self._levels[level]))
            self._full[level] += 1
            if level + 1 == len(self._levels):
                self._levels.append([])
                self._full.append(0)
            self._levels[level + 1].append(tree(self._levels[level]))
            self._levels[level].clear()
            level += 1

    def root(self) -> bytes:
        """The tree's head as it stands."""
        rest: list[bytes] = []
        for hashes in self._levels:
            row = hashes + rest
            rest = [tree(row)] if row else []
        return rest[0] if rest else tree([])

    def close(self) -> bytes:
        """Write the partial tiles. Returns the root."""
        if self._entries:
            self._write(tile_path("entries", self._full[0], len(self._entries)), b"".join(self._entries))
        for level, hashes in enumerate(self._levels):
            if hashes:
                self._write(tile_path(str(level), self._full[level], len(hashes)), b"".join(hashes))
        return self.root()

    def _write(self, path: str, data: bytes) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def disclosed(name: str, payload: Payload, position: int) -> str:
    """One line of a disclosure file."""
    data = base64.b64encode(payload.data).decode()
    return json.dumps({"id": name, "salt": payload.salt.hex(), "data": data, "entry": position}) + "\n"


@dataclass(frozen=True)
class Written:
    """A log on disk: where it is, its size and root, and who signed."""

    folder: Path
    payloads: Path
    origin: str
    size: int
    root: bytes
    key: NoteKey


def write_log(
    folder: Path,
    origin: str,
    records: Iterable[Record],
    *,
    witnesses: Sequence[NoteKey] = (),
    seconds: int = 0,
    keys: Sequence[NoteKey] = (),
    payloads: Path | None = None,
) -> Written:
    """Write records as a log's folder with a signed checkpoint, and beside it (or at `payloads`) what is disclosed.

    `seconds` is when the witnesses cosigned. Signs with the key named after the origin unless `keys` are given.
    """
    keys = keys or [NoteKey.named(origin)]
    folder.mkdir(parents=True, exist_ok=True)
    target = payloads or folder.parent / f"{folder.name}.payloads"
    log = TileLog(folder)
    with target.open("w", encoding="utf-8") as file:
        for position, record in enumerate(records):
            log.add(record.data)
            _disclose(file, record, position)
    root = log.close()
    note = signed(checkpoint_text(origin, log.size, root), keys, witnesses, seconds)
    (folder / "checkpoint").write_bytes(note)
    return Written(folder, target, origin, log.size, root, keys[0])


def _disclose(file: TextIO, record: Record, position: int) -> None:
    for name, payload in record.payloads.items():
        file.write(disclosed(name, payload, position))
