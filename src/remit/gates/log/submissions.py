"""What a log sends to a witness, and what comes back (c2sp.org/tlog-witness, `add-checkpoint`).

What lives here: the bytes of a submission, and taking from an answer what trusted witnesses signed. What never may: a
memory of what was seen; that is the witness's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from remit.gates.log.notes import (
    MAX_NOTE,
    BadNote,
    BadSignature,
    Note,
    SignatureLine,
    Verified,
    VerifierKey,
    parse_note,
    verified,
)
from remit.gates.log.spelling import Misspelt, decimal, hash_from_base64, to_base64
from remit.model.errors import NotVerified

MOST_HASHES: Final = 63
SIZE_TYPE: Final = "text/x.tlog.size"
"""The content type of an answer that tells the size of the last checkpoint that the witness cosigned."""
MAX_SUBMISSION: Final = MAX_NOTE + 4096
"""Bytes. The lines of a longest proof take less than 4 KiB."""

_OLD = "old "


class BadSubmission(NotVerified):
    """The bytes are not a submission; the message says how."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A checkpoint's signed note, and the proof that its log continues the one of `old` entries."""

    old: int
    proof: tuple[bytes, ...]
    note: bytes

    def encode(self) -> bytes:
        """The body of the request."""
        lines = [f"{_OLD}{self.old}", *map(to_base64, self.proof), ""]
        return "".join(f"{line}\n" for line in lines).encode() + self.note


def parse(data: bytes) -> Submission:
    """The submission in a request's body. Its note is not looked at. Raises `BadSubmission`."""
    if len(data) > MAX_SUBMISSION:
        raise BadSubmission(f"a submission has at most {MAX_SUBMISSION:,} bytes, found {len(data):,}")
    head, empty_line, note = data.partition(b"\n\n")
    lines = head.decode("ascii", "replace").split("\n")
    if not empty_line or not lines[0].startswith(_OLD):
        raise BadSubmission("expected a line `old N`, lines of the proof, an empty line and a checkpoint")
    if len(lines) - 1 > MOST_HASHES:
        raise BadSubmission(f"a proof has at most {MOST_HASHES} hashes, found {len(lines) - 1}")
    try:
        return Submission(decimal(lines[0].removeprefix(_OLD)), tuple(map(hash_from_base64, lines[1:])), note)
    except Misspelt as error:
        raise BadSubmission(f"the submission is damaged: {error}") from None


def parse_size(data: bytes) -> int:
    """The size that a witness answers with where the old one is not its last (status 409). Raises `BadSubmission`."""
    try:
        return decimal(data.decode("ascii", "replace").removesuffix("\n"))
    except Misspelt as error:
        raise BadSubmission(f"the witness's size is damaged: {error}") from None


def cosignatures(answer: bytes, text: str, key: VerifierKey) -> tuple[SignatureLine, Verified]:
    """The newest line of `key` in a witness's answer over the checkpoint `text`, and when it was signed.

    Lines of other keys are passed over. Raises `BadNote` for an answer that is no signature lines, and `BadSignature`
    where `key` did not sign, or a line of it does not verify.
    """
    note = parse_note(f"{text}\n".encode() + answer)
    if note.text != text:
        raise BadNote("the witness answered with more than signature lines")
    found = verified(note, (key,))[0]
    line = next(line for line in _lines(note, key) if key.check(text, line) == found.at)
    return line, found


def with_cosignatures(note: Note, lines: Sequence[SignatureLine]) -> Note:
    """The log's note with these cosignatures below its own lines, and nothing else of what was there."""
    return Note(note.text, (*note.lines, *lines))


def good_cosignatures(data: bytes, text: str, keys: Sequence[VerifierKey]) -> dict[VerifierKey, SignatureLine]:
    """Those cosignatures in a note that are over `text` and verify. Empty where the note is another or is none."""
    good: dict[VerifierKey, SignatureLine] = {}
    try:
        note = parse_note(data)
    except BadNote:
        return good
    if note.text != text:
        return good
    for key in keys:
        for line in _lines(note, key):
            try:
                key.check(text, line)
            except BadSignature:
                continue
            good[key] = line
    return good


def _lines(note: Note, key: VerifierKey) -> list[SignatureLine]:
    return [line for line in note.lines if (line.name, line.key_id) == (key.name, key.key_id)]
