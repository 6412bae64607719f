"""The files of a log: the checkpoint with its signatures, and everything below its root hashed again.

What lives here: the rules of docs/LOG-FORMAT.md about files: `bad-note`, `bad-signature`, `no-quorum`, `tampered`,
`truncated`, `rollback`, `fork` and `stale`. What never may: what an entry says.

INVARIANT: every entry is hashed from its bytes, and the root is made of those hashes alone; tiles of hashes are
compared with them and never believed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from msgspec import Struct

from remit.flow.auditing.findings import Findings, Word
from remit.gates.log.checkpoints import Checkpoint, opened, parse
from remit.gates.log.merkle import HASH_SIZE, Frontier, leaf_hash, node_hash
from remit.gates.log.notes import BadNote, BadSignature, Verified, VerifierKey, parse_note
from remit.gates.log.tiles import WIDTH, BadTile, Bundle, Tile, decode_entries
from remit.model.words import SECOND, Instant


class LogFiles(Protocol):
    """A log's files, in a folder or below a URL. Each raises `Fault` where they cannot be read at all."""

    def checkpoint(self) -> bytes:
        """The newest signed checkpoint; empty where there is none."""
        ...

    def tile(self, tile: Tile) -> bytes | None:
        """The bytes of a tile of hashes, of the full one where the partial one is gone; None where neither is there."""
        ...

    def bundle(self, bundle: Bundle) -> bytes | None:
        """The bytes of a bundle of entries, of the full one where the partial one is gone; None where neither is."""
        ...


class Trust(Struct, frozen=True, kw_only=True):
    """What a verifier believes before it looks: the keys of the log and of witnesses, how many of these must have
    cosigned, a checkpoint that was seen before, how old the newest word may be (0: any age), and the present."""

    keys: tuple[VerifierKey, ...]
    witnesses: tuple[VerifierKey, ...] = ()
    quorum: int = 0
    older: Checkpoint | None = None
    max_age: Instant = 0
    now: Instant = 0


class Head(Struct, frozen=True):
    """The checkpoint that a pass verifies against, and who signed it; nobody where the signatures are not good."""

    checkpoint: Checkpoint
    signed: tuple[Verified, ...]
    cosigned: tuple[Verified, ...]

    @property
    def cosigned_at(self) -> Instant:
        """When the newest cosignature was made, 0 where there is none."""
        return max((each.at or 0 for each in self.cosigned), default=0) * SECOND


def head_of(note: bytes, trust: Trust, findings: Findings) -> Head | None:
    """The checkpoint in a note. None where there is none to go on with; a bad signature is a finding, and the rest can
    still be looked at. Raises `Misuse` for keys that cannot be used together."""
    try:
        found = opened(note, (*trust.keys, *trust.witnesses))
        head = Head(found.checkpoint, found.signed, found.cosigned)
    except BadNote as error:
        findings.add(Word.BAD_NOTE, None, error.message)
        return None
    except BadSignature as error:
        findings.add(Word.BAD_SIGNATURE, None, error.message)
        head = Head(parse(parse_note(note).text), (), ())
    if len(head.cosigned) < trust.quorum:
        says = f"{len(head.cosigned)} of the {len(trust.witnesses)} witnesses have cosigned, expected {trust.quorum}"
        findings.add(Word.NO_QUORUM, None, says)
    older = trust.older
    if older is not None and older.size > head.checkpoint.size:
        says = f"the log has {head.checkpoint.size} entries, and had {older.size} before"
        findings.add(Word.ROLLBACK, None, says)
    return head


def check_age(head: Head, latest: Instant, trust: Trust, findings: Findings) -> None:
    """Whether the newest record or the newest cosignature is young enough."""
    newest = max(latest, head.cosigned_at)
    if trust.max_age and trust.now - newest > trust.max_age:
        hours = (trust.now - newest) / (3600 * SECOND)
        findings.add(Word.STALE, None, f"the newest record and the newest cosignature are {hours:.1f} hours old")


class Rehash:
    """Everything below one checkpoint, hashed again in one pass. Owned by that pass."""

    def __init__(self, files: LogFiles, checkpoint: Checkpoint, older: Checkpoint | None, findings: Findings) -> None:
        self._files = files
        self._checkpoint = checkpoint
        self._older = older
        self._findings = findings
        self._levels: list[list[bytes]] = [[]]  # by tile level: the hashes that are in no full tile yet
        self._counts = [0]  # by tile level: how many full tiles there were
        self._older_root: bytes | None = None
        self._disagree = False
        self.complete = False
        """Whether every entry was there, and together they lead to the signed root."""

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """Position and bytes of every entry, in order, up to the first that is missing."""
        size = self._checkpoint.size
        for start in range(0, size, WIDTH):
            width = min(WIDTH, size - start)
            bundle = Bundle(start // WIDTH, width)
            entries, short = self._bundle(bundle)
            leaves = [leaf_hash(entry) for entry in entries]
            self._add(leaves, start, width)
            yield from enumerate(entries, start)
            if len(entries) < width:
                self._cut_short(bundle, leaves, short)
                return
        self._finish()

    # --- entries and their hashes ----------------------------------------------------------------------------------

    def _bundle(self, bundle: Bundle) -> tuple[Sequence[bytes], str]:
        """The entries of a bundle, and where some are missing how."""
        data = self._files.bundle(bundle)
        if data is None:
            return (), "is not there"
        try:
            return decode_entries(data, bundle.width), ""
        except BadTile:
            entries, rest = _salvaged(data, bundle.width)
        if len(entries) < bundle.width:
            return entries, f"ends within its entry {len(entries)} of {bundle.width}"
        if bundle.width == WIDTH or not _whole(rest):  # else the log has grown, and this is the full file
            says = f"`{bundle.path}` holds {len(rest)} bytes more than its {bundle.width} entries"
            self._findings.add(Word.TAMPERED, bundle.index * WIDTH + len(entries) - 1, says)
        return entries, ""

    def _cut_short(self, bundle: Bundle, leaves: Sequence[bytes], how: str) -> None:
        """Entries are missing: at the end, unless what is there is not what the tile says."""
        start = bundle.index * WIDTH
        hashes = self._files.tile(Tile(0, bundle.index, bundle.width)) or b""
        at = _difference(leaves, hashes)
        if at is None or len(hashes) < (at + 1) * HASH_SIZE:
            self._findings.add(Word.TRUNCATED, start + len(leaves), f"`{bundle.path}` {how}")
        else:
            says = f"entry and hash do not agree from there on, and `{bundle.path}` {how}"
            self._findings.add(Word.TAMPERED, start + at, says)

    def _add(self, leaves: list[bytes], start: int, width: int) -> None:
        seen = self._older.size - start if self._older is not None else 0  # how many of these were seen before
        if 0 < seen < WIDTH:
            self._older_root = _root(start + seen, [leaves[:seen], *self._levels[1:]]) if seen <= len(leaves) else None
        if len(leaves) < width:
            return
        self._compare(Tile(0, start // WIDTH, width), leaves, 1)
        if width < WIDTH:
            self._levels[0] = leaves
            return
        self._raise(_fold(leaves), 1)
        if seen == WIDTH:
            self._older_root = _root(start + seen, self._levels)

    def _raise(self, subtree: bytes, level: int) -> None:
        """One more hash at a tile level; full tiles are compared and folded into the level above."""
        if level == len(self._levels):
            self._levels.append([])
            self._counts.append(0)
        hashes = self._levels[level]
        hashes.append(subtree)
        if len(hashes) == WIDTH:
            self._compare(Tile(level, self._counts[level]), hashes, WIDTH**level)
            self._counts[level] += 1
            self._levels[level] = []
            self._raise(_fold(hashes), level + 1)

    def _compare(self, tile: Tile, hashes: Sequence[bytes], span: int) -> None:
        """A tile of hashes with the hashes of what is below it. `span` is how many entries each of them covers."""
        start = tile.index * WIDTH * span
        data = self._files.tile(tile)
        if data is None:
            self._findings.add(Word.TRUNCATED, start, f"`{tile.path}` is not there")
            return
        at = _difference(hashes, data)
        if at is None:
            return
        if len(data) < (at + 1) * HASH_SIZE:
            self._findings.add(Word.TRUNCATED, start + at * span, f"`{tile.path}` is too short")
            return
        self._disagree = True
        what = "entry and hash do" if span == 1 else f"the {span} entries from there on and their hash do"
        self._findings.add(Word.TAMPERED, start + at * span, f"{what} not agree in `{tile.path}`")

    # --- roots -----------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        for level, hashes in enumerate(self._levels[1:], 1):
            if hashes:
                self._compare(Tile(level, self._counts[level], len(hashes)), hashes, WIDTH**level)
        root = _root(self._checkpoint.size, self._levels)
        self.complete = root == self._checkpoint.root
        if not self.complete:
            if not self._disagree:
                says = "the entries lead to another root than was signed, and the tiles of hashes were made to agree"
                self._findings.add(Word.TAMPERED, None, says)
            return
        self._compare_older()

    def _compare_older(self) -> None:
        """Whether the log goes on from the checkpoint that was seen before. Only asked of a log that is complete."""
        older = self._older
        if older is None or older.size > self._checkpoint.size:
            return
        root = self._older_root if older.size else _root(0, [[]])
        if root != older.root:
            says = f"its first {older.size} entries are others than were signed before"
            self._findings.add(Word.FORK, None, says)


def _root(size: int, levels: Sequence[Sequence[bytes]]) -> bytes:
    """The root over hashes by tile level, those of the lowest level last."""
    subtrees: list[bytes] = []
    for hashes in reversed(levels):
        start = 0
        while start < len(hashes):
            width = 1 << ((len(hashes) - start).bit_length() - 1)
            subtrees.append(_fold(hashes[start : start + width]))
            start += width
    return Frontier(size, subtrees).root()


def _fold(hashes: Sequence[bytes]) -> bytes:
    """The root over a power of two of hashes."""
    while len(hashes) > 1:
        pairs = iter(hashes)
        hashes = list(map(node_hash, pairs, pairs))
    return hashes[0]


def _difference(hashes: Sequence[bytes], tile: bytes) -> int | None:
    """The first of the hashes that is not in its place in a tile, or None."""
    if tile[: len(hashes) * HASH_SIZE] == b"".join(hashes):
        return None
    return next(at for at, each in enumerate(hashes) if tile[at * HASH_SIZE : (at + 1) * HASH_SIZE] != each)


def _salvaged(data: bytes, width: int) -> tuple[list[bytes], bytes]:
    """The entries that are whole, at most `width`, and what is left over."""
    entries: list[bytes] = []
    at = 0
    while len(entries) < width:
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if at + 2 > len(data) or end > len(data):
            break
        entries.append(data[at + 2 : end])
        at = end
    return entries, data[at:]


def _whole(rest: bytes) -> bool:
    """Whether these bytes are entries, whole ones."""
    return not _salvaged(rest, WIDTH)[1]
