"""The files of a log: its checkpoints with their signatures, and everything below the root hashed again.

What lives here: the rules of docs/LOG-FORMAT.md about files: `bad-note`, `bad-signature`, `no-quorum`, `tampered`,
`truncated`, `rollback`, `fork` and `stale`. What never may: what an entry says.

INVARIANT: every entry is hashed from its bytes, and the root is made of those hashes alone; tiles of hashes are
compared with them and never believed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec
from msgspec import Struct

from remit.flow.auditing.findings import Findings, Word
from remit.gates.log.checkpoints import Checkpoint, opened, parse
from remit.gates.log.merkle import HASH_SIZE, Frontier, leaf_hash, node_hash
from remit.gates.log.notes import BadNote, BadSignature, Verified, VerifierKey, parse_note
from remit.gates.log.tiles import WIDTH, BadTile, Bundle, Tile, decode_entries
from remit.model.display import utc
from remit.model.errors import NotVerified
from remit.model.words import SECOND, Instant

WITNESSED = "`checkpoint.witnessed`"


class LogFiles(Protocol):
    """A log's files, in a folder or below a URL. Each raises `Fault` where they cannot be read at all."""

    def checkpoint(self) -> bytes:
        """The newest signed checkpoint; empty where there is none."""
        ...

    def witnessed(self) -> bytes:
        """The newest checkpoint that as many witnesses cosigned as the log asks for; empty where there is none."""
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


class Witnessed(Struct, frozen=True):
    """The checkpoint that enough witnesses have cosigned: the newest one, or the last one before it that they have."""

    checkpoint: Checkpoint
    cosigned: tuple[Verified, ...]
    at: Instant
    """The time since which as many as are asked for have seen it: the earliest of their latest cosignatures."""


class Head(Struct, frozen=True):
    """The checkpoint that a pass verifies against, and who signed it; nobody where the signatures are not good.
    `witnessed` is None where no quorum was asked for, or none was reached."""

    checkpoint: Checkpoint
    signed: tuple[Verified, ...]
    cosigned: tuple[Verified, ...]
    witnessed: Witnessed | None = None

    @property
    def cosigned_at(self) -> Instant:
        """When the newest cosignature was made, 0 where there is none."""
        return max((each.at or 0 for each in self.cosigned), default=0) * SECOND


def notes_of(files: LogFiles, trust: Trust) -> tuple[bytes, bytes]:
    """The notes of the newest checkpoint and, where too few witnesses have cosigned that, of the one that enough had.

    The newest is read once more after the other: of a log that grows meanwhile, the other may be newer than what was
    read first. Raises `Misuse` for keys that cannot be used together, and what the port raises.
    """
    note = files.checkpoint()
    if has_quorum(note, trust):
        return note, b""
    witnessed = files.witnessed()
    return files.checkpoint(), witnessed


def has_quorum(note: bytes, trust: Trust) -> bool:
    """Whether as many witnesses as are asked for, none maybe, have cosigned a checkpoint that the log signed. Raises
    `Misuse` for keys that cannot be used together."""
    try:
        return len(opened(note, (*trust.keys, *trust.witnesses)).cosigned) >= trust.quorum
    except NotVerified:
        return False


def head_of(note: bytes, trust: Trust, findings: Findings, witnessed: bytes | None = None) -> Head | None:
    """The checkpoint in a note. None where there is none to go on with; a bad signature is a finding, and the rest can
    still be looked at. `witnessed` is the note of the log's `checkpoint.witnessed`, empty where it has none, None where
    there can be none. Raises `Misuse` for keys that cannot be used together."""
    try:
        found = opened(note, (*trust.keys, *trust.witnesses))
        head = Head(found.checkpoint, found.signed, found.cosigned)
    except BadNote as error:
        findings.add(Word.BAD_NOTE, None, error.message)
        return None
    except BadSignature as error:
        findings.add(Word.BAD_SIGNATURE, None, error.message)
        head = Head(parse(parse_note(note).text), (), ())
    if trust.quorum:
        seen = _enough(head.checkpoint, head.cosigned, trust) or _seen_before(head, witnessed, trust, findings)
        head = msgspec.structs.replace(head, witnessed=seen)
    older = trust.older
    if older is not None and older.size > head.checkpoint.size:
        says = f"the log has {head.checkpoint.size} entries, and had {older.size} before"
        findings.add(Word.ROLLBACK, None, says)
    return head


def _enough(checkpoint: Checkpoint, cosigned: tuple[Verified, ...], trust: Trust) -> Witnessed | None:
    """The checkpoint as one that enough witnesses have cosigned, or None."""
    times = sorted((each.at or 0 for each in cosigned), reverse=True)
    return Witnessed(checkpoint, cosigned, times[trust.quorum - 1] * SECOND) if len(times) >= trust.quorum else None


def _seen_before(head: Head, note: bytes | None, trust: Trust, findings: Findings) -> Witnessed | None:
    """The checkpoint that enough witnesses have cosigned, where the newest is not it: the log has it beside that one.
    None, and a finding, where it is not there or no good."""
    cosigned: tuple[Verified, ...] = ()
    try:
        if note:
            found = opened(note, (*trust.keys, *trust.witnesses))
            cosigned = found.cosigned
            if (seen := _enough(found.checkpoint, cosigned, trust)) is not None:
                return _no_larger(seen, head, findings)
    except NotVerified as error:
        word = Word.BAD_SIGNATURE if isinstance(error, BadSignature) else Word.BAD_NOTE
        findings.add(word, None, f"{WITNESSED}: {error.message}")
    says = f"{len(head.cosigned)} of the {len(trust.witnesses)} witnesses have cosigned, expected {trust.quorum}"
    if note is not None:
        says += f", and {len(cosigned)} have cosigned {WITNESSED}" if note else f", and there is no {WITNESSED}"
    findings.add(Word.NO_QUORUM, None, says)
    return None


def _no_larger(seen: Witnessed, head: Head, findings: Findings) -> Witnessed | None:
    size = head.checkpoint.size
    if seen.checkpoint.size <= size:
        return seen
    says = f"the log has {size} entries, and had {seen.checkpoint.size} when its witnesses saw it at {utc(seen.at)}"
    findings.add(Word.ROLLBACK, None, says)
    return None


def check_age(head: Head, latest: Instant, trust: Trust, findings: Findings) -> None:
    """Whether the newest record or the newest cosignature is young enough. Where a quorum of witnesses is asked for,
    only theirs is: a record's time is the word of whoever holds the log's key."""
    if not trust.max_age:
        return
    if head.witnessed is not None:
        newest, what = head.witnessed.at, "what the witnesses saw last is"
    else:
        newest, what = max(latest, head.cosigned_at), "the newest record and the newest cosignature are"
    if trust.now - newest > trust.max_age:
        findings.add(Word.STALE, None, f"{what} {(trust.now - newest) / (3600 * SECOND):.1f} hours old")


def check_extends(rehash: Rehash, head: Head, trust: Trust, findings: Findings) -> None:
    """Whether the log goes on from what was seen of it before, by whoever verifies and by the witnesses. Only asked of
    a log whose entries lead to the signed root."""
    if not rehash.complete:
        return
    older, seen = trust.older, head.witnessed
    if older is not None and older.size <= head.checkpoint.size and not rehash.reaches(older):
        findings.add(Word.FORK, None, f"its first {older.size} entries are others than were signed before")
    if seen is not None and not rehash.reaches(seen.checkpoint):
        says = f"its first {seen.checkpoint.size} entries are others than the witnesses saw at {utc(seen.at)}"
        findings.add(Word.FORK, None, says)


class Rehash:
    """Everything below one checkpoint, hashed again in one pass. Owned by that pass."""

    def __init__(self, files: LogFiles, head: Head, trust: Trust, findings: Findings) -> None:
        self._files = files
        self._checkpoint = head.checkpoint
        self._findings = findings
        before = (trust.older, head.witnessed.checkpoint if head.witnessed is not None else None)
        self._sizes = sorted({each.size for each in before if each is not None})
        self._levels: list[list[bytes]] = [[]]  # by tile level: the hashes that are in no full tile yet
        self._counts = [0]  # by tile level: how many full tiles there were
        self._disagree = False
        self._roots: dict[int, bytes] = {}  # of the sizes that somebody has seen before; all of them where `complete`
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

    def reaches(self, earlier: Checkpoint) -> bool:
        """Whether the entries lead to the signed root, and on the way to that of a checkpoint from before."""
        return self.complete and self._roots.get(earlier.size) == earlier.root

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
        for size in self._sizes:
            if start <= size <= start + len(leaves) and size - start < WIDTH:
                self._roots[size] = _root(size, [leaves[: size - start], *self._levels[1:]])
        if len(leaves) < width:
            return
        self._compare(Tile(0, start // WIDTH, width), leaves, 1)
        if width < WIDTH:
            self._levels[0] = leaves
            return
        self._raise(_fold(leaves), 1)

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
        root = self._roots[self._checkpoint.size] = _root(self._checkpoint.size, self._levels)
        self.complete = root == self._checkpoint.root
        if not self.complete and not self._disagree:
            says = "the entries lead to another root than was signed, and the tiles of hashes were made to agree"
            self._findings.add(Word.TAMPERED, None, says)


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
