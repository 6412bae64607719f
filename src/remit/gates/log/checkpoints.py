"""Checkpoints (c2sp.org/tlog-checkpoint): which log, how many entries, which root, and who says so.

What lives here: the three lines of a checkpoint's text, and `opened`, the one way from bytes to a checkpoint that
may be believed. What never may: comparing it with another one; that takes a proof, or a memory of what was seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from remit.gates.log.merkle import EMPTY_ROOT, HASH_SIZE
from remit.gates.log.notes import (
    LOG,
    BadNote,
    BadSignature,
    Note,
    Verified,
    VerifierKey,
    fit_name,
    parse_note,
    verified,
)
from remit.gates.log.spelling import LARGEST, Misspelt, decimal, hash_from_base64, to_base64
from remit.model.display import shown


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The log `origin` has `size` entries, under `root`. Raises `BadNote` where there can be no such checkpoint."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not fit_name(self.origin):
            raise BadNote(f"{shown(self.origin)} cannot be a log's origin")
        if not 0 <= self.size <= LARGEST:
            raise BadNote(f"a log has 0 to {LARGEST} entries, found {self.size}")
        if len(self.root) != HASH_SIZE:
            raise BadNote(f"expected a root of {HASH_SIZE} bytes, found {len(self.root)}")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise BadNote(f"the root of an empty log is `{EMPTY_ROOT.hex()}`, found `{self.root.hex()}`")

    def encode(self) -> str:
        """The text that is signed: three lines, each with its line feed."""
        return f"{self.origin}\n{self.size}\n{to_base64(self.root)}\n"


@dataclass(frozen=True, slots=True)
class Opened:
    """A checkpoint that the log signed, and who else did. `cosigned` are distinct witnesses, each with its time."""

    checkpoint: Checkpoint
    note: Note
    signed: tuple[Verified, ...]
    cosigned: tuple[Verified, ...]


def parse(text: str) -> Checkpoint:
    """The checkpoint that a note's text is. Whether anybody signed it is not asked here.

    Raises `BadNote` unless the text is exactly the three lines. Extension lines, which the format allows and advises
    against, are refused: nobody could audit what they say.
    """
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise BadNote("a checkpoint is three lines: origin, number of entries, root")
    try:
        return Checkpoint(lines[0], decimal(lines[1]), hash_from_base64(lines[2]))
    except Misspelt as error:
        raise BadNote(f"the checkpoint of {shown(lines[0])} is damaged: {error}") from None


def opened(data: bytes, keys: Sequence[VerifierKey]) -> Opened:
    """The checkpoint in a signed note, verified with the keys of the log and of the witnesses that one trusts.

    How many witnesses are enough is the caller's to say. Raises `BadNote` where `data` is not a note with a checkpoint,
    or names another origin than the log's keys; `BadSignature` where no key of the log signed it, or the line of
    a trusted key does not verify; `Misuse` where two witnesses have the same key.
    """
    note = parse_note(data)
    checkpoint = parse(note.text)
    origins = sorted({key.name for key in keys if key.algorithm == LOG})
    if checkpoint.origin not in origins:
        expected = ", ".join(shown(origin) for origin in origins) or "none, because no log's key was given"
        raise BadNote(f"the checkpoint is of log {shown(checkpoint.origin)}, expected {expected}")
    # A key of another log may be trusted for that log; here it says nothing.
    fitting = [key for key in keys if key.algorithm != LOG or key.name == checkpoint.origin]
    found = verified(note, fitting)
    signed = tuple(one for one in found if one.key.algorithm == LOG)
    if not signed:
        raise BadSignature(f"the log {shown(checkpoint.origin)} did not sign the checkpoint, only witnesses did")
    return Opened(checkpoint, note, signed, tuple(one for one in found if one.key.algorithm != LOG))
