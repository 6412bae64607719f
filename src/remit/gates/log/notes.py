"""Signed notes (c2sp.org/signed-note) and the Ed25519 keys of logs and witnesses (c2sp.org/tlog-cosignature).

What lives here: reading and writing notes, byte for byte, and telling which of the keys that one trusts signed.
What never may: trust in a note because it parses. Its text counts for nothing until `verified` has returned.

A note is text, an empty line, and signature lines: an em dash, a space, the key's name, a space, base64 of a 4-byte
key id and the signature. A line of a key that is not asked about is passed over; a line of a known key that does not
verify condemns the note.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from remit.gates.log.spelling import LARGEST, Misspelt, from_base64, to_base64
from remit.model.display import shown
from remit.model.errors import Misuse, NotVerified
from remit.model.signatures import NotAKey

LOG: Final = 0x01
"""Type of a log's key: it signs the text."""
WITNESS: Final = 0x04
"""Type of a witness's key: it signs the text and a time (cosignature v1)."""

MAX_NOTE = 256 * 1024
"""Bytes. 16 signatures of post-quantum size, which every reader must accept, take about 110 KiB."""
MAX_LINES = 64
LONGEST_NAME = 255

_KEY_ID_SIZE = 4
_KEY_SIZE = 32
_SIGNATURE_SIZE = 64
_TIME_SIZE = 8
_DASH = "\u2014 "
_PRIVATE = "PRIVATE+KEY+"
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_KEY_ID = re.compile(r"[0-9a-f]{8}\Z")


class BadNote(NotVerified):
    """The bytes are not a signed note, or its text is not what it must be; the message says how."""


class BadSignature(NotVerified):
    """No trusted key signed the note, or a signature by one does not verify. Its text means nothing."""


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One line under a note: who is said to have signed, and the signature without the key id before it."""

    name: str
    key_id: bytes
    signature: bytes

    def encode(self) -> str:
        """The line as a note has it, its line feed included."""
        return f"{_DASH}{self.name} {to_base64(self.key_id + self.signature)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A note's text, its last line feed included, and the lines under it. Nothing about it has been verified."""

    text: str
    lines: tuple[SignatureLine, ...]

    def encode(self) -> bytes:
        """The note's bytes, exactly as they were where it was parsed. Raises `BadNote` where nobody could read them."""
        data = f"{self.text}\n{''.join(line.encode() for line in self.lines)}".encode("utf-8", "surrogatepass")
        if parse_note(data) != self:
            raise BadNote("the text and its signatures would be read as another note")
        return data


def parse_note(data: bytes) -> Note:
    """The note in `data`, unverified.

    Raises `BadNote` for more than `MAX_NOTE` bytes or `MAX_LINES` signatures, bytes that are not UTF-8, control
    characters but the line feed, no signature, and lines that are not exactly of the form.
    """
    if len(data) > MAX_NOTE:
        raise BadNote(f"a note has at most {MAX_NOTE} bytes, found {len(data)}")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError:
        raise BadNote("the note is not UTF-8") from None
    if found := _CONTROL.search(whole):
        raise BadNote(f"the note has the control character U+{ord(found[0]):04X}")
    text, empty_line, signatures = whole.rpartition("\n\n")
    if not empty_line or not signatures.endswith("\n"):
        raise BadNote("expected a text, an empty line and signature lines", hint="copy the whole note once more")
    lines = signatures[:-1].split("\n")
    if len(lines) > MAX_LINES:
        raise BadNote(f"a note has at most {MAX_LINES} signatures, found {len(lines)}")
    return Note(f"{text}\n", tuple(_parse_line(line) for line in lines))


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public key of a log or a witness. Raises `NotAKey` where name, type or length cannot be a key's."""

    name: str
    algorithm: int
    public: bytes

    def __post_init__(self) -> None:
        _expect_key(self.name, self.algorithm, self.public)

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """The key in one line `NAME+KEYID+KEY`, as `text` writes it, with or without a line feed at its end.

        Raises `NotAKey` for other types than `LOG` and `WITNESS`, and for a key id that is not the key's.
        """
        name, key_id, algorithm, public = _parse_key(text.removesuffix("\n"))
        key = cls(name, algorithm, public)
        _expect_key_id(key, key_id)
        return key

    @property
    def key_id(self) -> bytes:
        """The 4 bytes that a signature line begins with: of SHA-256 over name, line feed, type and key."""
        named = self.name.encode() + b"\n" + bytes((self.algorithm,)) + self.public
        return hashlib.sha256(named).digest()[:_KEY_ID_SIZE]

    @property
    def text(self) -> str:
        """The key as auditors are given it: `NAME+KEYID+KEY`, in one line."""
        return _key_text(self.name, self.key_id, self.algorithm, self.public)

    def check(self, text: str, line: SignatureLine) -> int | None:
        """When the signature was made, in seconds since the epoch, for a witness; None for a log.

        Raises `BadSignature` unless this key made `line` over exactly `text`.
        """
        if (line.name, line.key_id) != (self.name, self.key_id):
            raise BadSignature(f"the signature is of key {shown(line.name)}, expected {shown(self.name)}")
        signature, message, at = line.signature, text.encode(), None
        if self.algorithm == WITNESS:
            at = int.from_bytes(signature[:_TIME_SIZE], "big")
            signature, message = signature[_TIME_SIZE:], cosigned_message(text, min(at, LARGEST))
        if len(signature) != _SIGNATURE_SIZE or (at is not None and at > LARGEST):
            raise BadSignature(f"the signature of key {shown(self.name)} has a wrong form")
        try:
            _public(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            raise BadSignature(
                f"the signature of key {shown(self.name)} does not match the text",
                hint="the text was changed after it was signed, or somebody else signed",
            ) from None
        return at


@dataclass(frozen=True, slots=True)
class _PrivateKey:
    """A key that signs. `seed` never reaches a message, a log line or `repr`."""

    name: str
    seed: bytes = field(repr=False)

    algorithm: ClassVar[int]

    def __post_init__(self) -> None:
        _expect_key(self.name, self.algorithm, self.seed)

    @classmethod
    def generate(cls, name: str, seed: bytes) -> Self:
        """The key of `name` out of 32 random bytes. Raises `NotAKey` where the name or the length will not do."""
        return cls(name, seed)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key in one line `PRIVATE+KEY+NAME+KEYID+SEED`, as `text` writes it, with or without a line feed.

        Raises `NotAKey`, which repeats nothing of a private key.
        """
        if not text.startswith(_PRIVATE):
            raise NotAKey("the text is not a private key", hint=f"expected one line that begins with `{_PRIVATE}`")
        name, key_id, algorithm, seed = _parse_key(text.removeprefix(_PRIVATE).removesuffix("\n"))
        if algorithm != cls.algorithm:
            raise NotAKey(f"the key is of type {algorithm}, expected {cls.algorithm}", hint=_TYPES)
        key = cls(name, seed)
        _expect_key_id(key.verifier, key_id)
        return key

    @property
    def text(self) -> str:
        """The secret key as its file holds it, in one line."""
        return _PRIVATE + _key_text(self.name, self.verifier.key_id, self.algorithm, self.seed)

    @property
    def verifier(self) -> VerifierKey:
        """The public half."""
        return VerifierKey(self.name, self.algorithm, _pair(self.seed)[1])

    def _line(self, before: bytes, message: bytes) -> SignatureLine:
        return SignatureLine(self.name, self.verifier.key_id, before + _pair(self.seed)[0].sign(message))


@dataclass(frozen=True, slots=True)
class LogKey(_PrivateKey):
    """The key that a log signs its checkpoints with; its name is the log's origin."""

    algorithm: ClassVar[int] = LOG

    def sign(self, text: str) -> SignatureLine:
        """The line to put under `text`. Raises `BadNote` where `text` cannot be a note's."""
        _expect_text(text)
        return self._line(b"", text.encode())


@dataclass(frozen=True, slots=True)
class WitnessKey(_PrivateKey):
    """The key that a witness cosigns checkpoints with."""

    algorithm: ClassVar[int] = WITNESS

    def cosign(self, text: str, seconds: int) -> SignatureLine:
        """The line that says: at `seconds` since the epoch, the checkpoint `text` extended all that I had seen.

        Raises `BadNote` where `text` cannot be a note's, `ValueError` for a time below 0 or from 2**63 on.
        """
        _expect_text(text)
        if not 0 <= seconds <= LARGEST:
            raise ValueError(f"a time is 0 to {LARGEST} seconds since the epoch, found {seconds}")
        return self._line(seconds.to_bytes(_TIME_SIZE, "big"), cosigned_message(text, seconds))


@lru_cache(maxsize=8)
def _pair(seed: bytes) -> tuple[ed25519.Ed25519PrivateKey, bytes]:
    """The private key of a seed and its raw public half: a log signs many times a second."""
    key = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    return key, key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


@lru_cache(maxsize=64)
def _public(raw: bytes) -> ed25519.Ed25519PublicKey:
    return ed25519.Ed25519PublicKey.from_public_bytes(raw)


@dataclass(frozen=True, slots=True)
class Verified:
    """A trusted key that signed; `at` is when a witness did, in seconds since the epoch, None for a log."""

    key: VerifierKey
    at: int | None


def verified(note: Note, keys: Sequence[VerifierKey]) -> tuple[Verified, ...]:
    """Those of `keys` that signed `note`, each once, in the order of `keys`; at least one.

    Where one key signed in several lines, all must verify, and the newest time counts. Raises `BadSignature` where
    one of their lines does not verify, or none of them signed; `Misuse` where two witnesses have the same key.
    """
    known = _by_line(keys)
    newest: dict[VerifierKey, int | None] = {}
    for line in note.lines:
        if (key := known.get((line.name, line.key_id))) is None:
            continue
        at, before = key.check(note.text, line), newest.get(key)
        newest[key] = at if at is None or before is None else max(at, before)
    if not newest:
        names = ", ".join(sorted({shown(line.name) for line in note.lines})[:5])
        raise BadSignature(
            f"none of the {len(known)} trusted keys signed the note, only {names}",
            hint="check that the keys are those of this log and its witnesses",
        )
    return tuple(Verified(key, newest[key]) for key in known.values() if key in newest)


def cosigned_message(text: str, seconds: int) -> bytes:
    """What a witness signs: a line that says the format, the time, and the checkpoint's text."""
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def fit_name(name: str) -> bool:
    """Whether `name` can be a key's: not empty, no space of any kind, no plus, no control character."""
    return (
        0 < len(name) <= LONGEST_NAME
        and not any(character.isspace() or character in "+\x7f" or character < " " for character in name)
        and not any("\ud800" <= character <= "\udfff" for character in name)
    )


_TYPES = f"a log's key is of type {LOG}, a witness's of type {WITNESS}"


def _parse_line(line: str) -> SignatureLine:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space or not fit_name(name):
        raise BadNote(f"{shown(line)} is not a signature line", hint="expected a dash, a name and base64")
    try:
        data = from_base64(encoded)
    except Misspelt as error:
        raise BadNote(f"the signature of {shown(name)} is damaged: {error}") from None
    if len(data) <= _KEY_ID_SIZE:
        raise BadNote(f"the signature of {shown(name)} is cut short")
    return SignatureLine(name, data[:_KEY_ID_SIZE], data[_KEY_ID_SIZE:])


def _by_line(keys: Sequence[VerifierKey]) -> dict[tuple[str, bytes], VerifierKey]:
    known: dict[tuple[str, bytes], VerifierKey] = {}
    witnesses: dict[bytes, str] = {}
    for key in keys:
        if known.setdefault((key.name, key.key_id), key) != key:
            raise Misuse(f"two different keys are both called {shown(key.name)}, with the same key id")
        # A cosignature does not say its witness's name: under two names, one witness would count as two.
        if key.algorithm == WITNESS and witnesses.setdefault(key.public, key.name) != key.name:
            raise Misuse(f"the witnesses {shown(witnesses[key.public])} and {shown(key.name)} have the same key")
    return known


def _parse_key(text: str) -> tuple[str, str, int, bytes]:
    """Name, key id, type and key out of `NAME+KEYID+KEY`; says nothing of the key's bytes when it refuses."""
    parts = text.split("+", 2)
    if len(parts) != 3 or not _KEY_ID.match(parts[1]):
        raise NotAKey("the text is not a key of a log or witness", hint="expected one line `NAME+KEYID+KEY`")
    try:
        data = from_base64(parts[2])
    except Misspelt as error:
        raise NotAKey(f"the key is damaged: {error}", hint="copy the whole line once more") from None
    if not data:
        raise NotAKey("the key is empty", hint="copy the whole line once more")
    return parts[0], parts[1], data[0], data[1:]


def _key_text(name: str, key_id: bytes, algorithm: int, key: bytes) -> str:
    return f"{name}+{key_id.hex()}+{to_base64(bytes((algorithm,)) + key)}"


def _expect_key(name: str, algorithm: int, key: bytes) -> None:
    if not fit_name(name):
        raise NotAKey(f"{shown(name)} cannot be a key's name", hint="use a name without spaces and plus signs")
    if algorithm not in {LOG, WITNESS}:
        raise NotAKey(f"keys of type {algorithm} cannot be used", hint=_TYPES)
    if len(key) != _KEY_SIZE:
        raise NotAKey(f"expected a key of {_KEY_SIZE} bytes, found {len(key)}")


def _expect_key_id(key: VerifierKey, key_id: str) -> None:
    if key.key_id.hex() != key_id:
        raise NotAKey(f"the key id of {shown(key.name)} is `{key.key_id.hex()}`, found `{key_id}`")


def _expect_text(text: str) -> None:
    if not text.endswith("\n") or _CONTROL.search(text) or any("\ud800" <= character <= "\udfff" for character in text):
        raise BadNote("a note's text ends in a line feed and has no other control character")
