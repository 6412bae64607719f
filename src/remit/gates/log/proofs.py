"""One entry's proof as a text of its own (c2sp.org/tlog-proof@v1): where it is, the path to the root, the checkpoint.

What lives here: reading, writing and checking that text. What never may: trust in `extra`, which nobody signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from remit.gates.log.checkpoints import Opened, opened
from remit.gates.log.merkle import NotProven, check_inclusion, leaf_hash
from remit.gates.log.notes import MAX_NOTE, VerifierKey
from remit.gates.log.spelling import Misspelt, decimal, from_base64, hash_from_base64, to_base64

MAX_PROOF = 2 * MAX_NOTE
"""Bytes, the checkpoint included."""
LONGEST_PATH = 63

_TITLE = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class Proof:
    """The claim that some entry is number `index` of the log whose signed checkpoint is `checkpoint`."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""

    def encode(self) -> bytes:
        """The proof's text in bytes. Raises `NotProven` where nobody could read it."""
        lines = [_TITLE]
        if self.extra:
            lines.append(f"extra {to_base64(self.extra)}")
        lines += (f"index {self.index}", *map(to_base64, self.hashes), "", "")
        data = "\n".join(lines).encode() + self.checkpoint
        if parse(data) != self:
            raise NotProven("the proof would be read as another one")
        return data

    def check(self, entry: bytes, keys: Sequence[VerifierKey]) -> Opened:
        """The verified checkpoint under which `entry` is number `index`; how many witnesses are enough is the
        caller's to say.

        Raises `BadNote` and `BadSignature` as `checkpoints.opened` does, `NotProven` where the path does not lead from
        the entry to the checkpoint's root.
        """
        found = opened(self.checkpoint, keys)
        check_inclusion(leaf_hash(entry), self.index, found.checkpoint.size, self.hashes, found.checkpoint.root)
        return found


def parse(data: bytes) -> Proof:
    """The proof in `data`; nothing about it has been checked, nor is its checkpoint read.

    Raises `NotProven` for more than `MAX_PROOF` bytes and for every text but the one that `Proof.encode` writes.
    """
    if len(data) > MAX_PROOF:
        raise NotProven(f"a proof has at most {MAX_PROOF} bytes, found {len(data)}")
    head, empty_line, checkpoint = data.partition(b"\n\n")
    try:
        title, *lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise NotProven("the proof is damaged: expected ASCII before the checkpoint") from None
    if title != _TITLE or not empty_line or not checkpoint:
        raise NotProven(f"expected `{_TITLE}`, the proof, an empty line and a checkpoint", hint="copy the whole file")
    try:
        extra = b""
        if lines and lines[0].startswith("extra ") and not (extra := from_base64(lines.pop(0)[6:])):
            raise Misspelt("expected no `extra` line where there is nothing to say")
        if not lines or not lines[0].startswith("index "):
            raise Misspelt("expected a line `index N`")
        if len(lines) - 1 > LONGEST_PATH:
            raise Misspelt(f"expected at most {LONGEST_PATH} hashes, found {len(lines) - 1}")
        hashes = tuple(hash_from_base64(line) for line in lines[1:])
        return Proof(decimal(lines[0][6:]), hashes, checkpoint, extra)
    except Misspelt as error:
        raise NotProven(f"the proof is damaged: {error}") from None
