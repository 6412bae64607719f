"""Verifies a log as docs/LOG-FORMAT.md says, with the standard library and `cryptography`. Imports nothing of remit.

    python verifier.py FOLDER --key VKEY [--witness VKEY --quorum K] [--older FILE] [--max-age SECONDS]
                       [--payloads FILE]

Prints a line for each breach: its word, the position of the record concerned (`-`: the log as a whole), what was found.
Exit code 0 where nothing is wrong, 1 where something is. Entries and payloads are read once, side by side; what must be
remembered of everything, ids that must not come twice and payloads that are missing, is in a temporary file.

Long because: it is one file, to be taken away and run where nothing of remit is.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import re
import sqlite3
import struct
import sys
import time
import tomllib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

SECOND = 1_000_000
LINES = (1, 4)  # the type bytes of the log's keys and the witnesses'
SLACK, LONGEST = 5 * SECOND, 24 * 3600 * SECOND
Fields = dict[str, Any]
Step = Callable[[int, Fields, dict[str, bytes]], None]

KINDS = frozenset(
    """home.created log.continued
    node.started node.stopped boundary.loaded boundary.refused roster.loaded roster.refused
    inventory.loaded inventory.waiting connector.changed tools.accepted run.opened run.client run.closed proposal
    statement refusal vote approved asked.again refused withdrawn expired void intent outcome settled verdict stop cut
    resume latch.mended hold alert clock.jump erased pruned reconciled""".split()  # noqa: SIM905
)
WAITING = frozenset({"vote", "approved", "withdrawn", "expired", "void"})
FOLLOWS = {
    "executing": frozenset({"intent"}),
    "awaiting_approval": WAITING,
    "approved": frozenset({"intent", "asked.again", "refused", "withdrawn", "expired", "void"}),
    "intent": frozenset({"outcome"}),
    "concluding": frozenset({"verdict"}),
    "unknown": frozenset({"settled"}),
}
ERASABLE = frozenset({"proposal", "result", "verdict", "mandate"})
PRUNABLE = frozenset({"proposals", "read_results", "change_results", "verdicts"})
ENDS = frozenset({"outcome", "refused", "withdrawn", "expired", "void"})
STATEMENT = {"kind", "home", "person", "issued", "expires"}
MORE = {
    "approval": {"verb", "action", "digest", "card_digest", "boundary_digest"},
    "control": {"command", "parameters", "nonce"},
}
ORDERS = dict.fromkeys(("run.open", "run.close"), "orchestrator on-call approver operator leader")
ORDERS |= dict.fromkeys(("resume", "latch.mend", "clock"), "on-call leader approver")
ORDERS |= dict.fromkeys(("settle", "undo"), "on-call operator approver")
ORDERS |= dict.fromkeys(("reload", "tools.accept", "inventory.accept", "log.continue"), "operator leader")
ORDERS |= {"erase": "auditor leader"}
BY_ORDER = {"run.opened": "run.open", "settled": "settle", "latch.mended": "latch.mend", "resume": "resume clock"}
BY_ORDER |= {"log.continued": "log.continue"}
KEPT = {"undo", "erase", *" ".join(BY_ORDER.values()).split()}
LIFE = WAITING.union(*FOLLOWS.values()) - {"verdict"}
MENTIONS = frozenset({"alert", "hold", "statement", "erased"})


class Bad(Exception):
    """Something is not as the page says; the message says what."""


@dataclass
class Report:
    """Findings as (word, position or None, what), and what was noted beside them."""

    findings: list[tuple[str, int | None, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    size: int = 0

    def add(self, word: str, position: int | None, says: str) -> None:
        self.findings.append((word, position, says))

    @property
    def words(self) -> set[str]:
        return {word for word, _, _ in self.findings}


# --- signed notes (C2SP signed-note, tlog-checkpoint, tlog-cosignature) -----------------------------------------------


@dataclass(frozen=True)
class Key:
    name: str
    key_id: bytes
    kind: int
    public: Ed25519PublicKey = field(compare=False)

    @classmethod
    def parse(cls, text: str) -> Key:
        name, key_id, encoded = text.strip().split("+", 2)
        material = base64.b64decode(encoded, validate=True)
        if hashlib.sha256(name.encode() + b"\n" + material).digest()[:4].hex() != key_id or material[0] not in LINES:
            raise Bad(f"`{text}` is not a verifier key")
        return cls(name, bytes.fromhex(key_id), material[0], Ed25519PublicKey.from_public_bytes(material[1:]))

    def check(self, text: bytes, signature: bytes) -> int:
        """When the line was made, in seconds (0 for a log's). Raises InvalidSignature."""
        if self.kind == 1:
            self.public.verify(signature, text)
            return 0
        if len(signature) != 72:
            raise InvalidSignature
        at = int.from_bytes(signature[:8], "big")
        self.public.verify(signature[8:], b"cosignature/v1\ntime %d\n" % at + text)
        return at


@dataclass(frozen=True)
class Checkpoint:
    origin: str
    size: int
    root: bytes
    text: bytes
    lines: list[tuple[str, bytes, bytes]]

    @classmethod
    def parse(cls, data: bytes) -> Checkpoint:
        try:
            text, rest = data.decode().rsplit("\n\n", 1)
            origin, size, root = text.split("\n")[:3]
            if not rest.endswith("\n") or not origin or str(int(size)) != size or int(size) < 0:
                raise Bad("no checkpoint's text, or an unfinished line")
            if size == "0" and _base64(root, 32) != _top([]):
                raise Bad("the root of no entries is another")
            lines = [_line(line) for line in rest[:-1].split("\n")]
            return cls(origin, int(size), _base64(root, 32), text.encode() + b"\n", lines)
        except ValueError as error:
            raise Bad(f"not a signed note with a checkpoint's text ({error})") from None

    def signers(self, keys: Iterable[Key]) -> dict[Key, int]:
        """Which of the keys signed, and when. Raises `Bad` where a line of one of them does not verify."""
        found: dict[Key, int] = {}
        for name, key_id, signature in self.lines:
            for key in keys:
                if (key.name, key.key_id) == (name, key_id):
                    try:
                        found[key] = max(key.check(self.text, signature), found.get(key, 0))
                    except InvalidSignature:
                        raise Bad(f"the line of `{name}` does not verify") from None
        return found


def _line(line: str) -> tuple[str, bytes, bytes]:
    dash, name, encoded = line.split(" ")
    data = base64.b64decode(encoded, validate=True)
    if dash != "—" or not name or len(data) < 5:
        raise Bad("a line is no signature")
    return name, data[:4], data[4:]


def _base64(text: str, length: int) -> bytes:
    data = base64.b64decode(text, validate=True)
    if len(data) != length or base64.b64encode(data).decode() != text:
        raise ValueError(f"expected base64 of {length} bytes")
    return data


# --- tiles (C2SP tlog-tiles, RFC 6962 section 2.1) --------------------------------------------------------------------


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def _top(row: list[bytes]) -> bytes:
    """The root over whole subtrees of one size, of which the last may be smaller."""
    while len(row) > 1:
        pairs = [_node(row[at], row[at + 1]) for at in range(0, len(row) - 1, 2)]
        row = pairs + row[len(row) - len(row) % 2 :]
    return row[0] if row else hashlib.sha256().digest()


def _path(level: str, index: int, width: int) -> str:
    groups = f"{index:03d}" if index < 1000 else f"{index:0{-(-len(str(index)) // 3) * 3}d}"
    parts = [groups[at : at + 3] for at in range(0, len(groups), 3)]
    path = "/".join(["x" + part for part in parts[:-1]] + parts[-1:])
    return f"tile/{level}/{path}" + (f".p/{width}" if width < 256 else "")


class Tiles:
    """Reads a log's entries in order, and compares every tile of hashes with them."""

    def __init__(self, folder: Path, size: int, report: Report, snapshots: Iterable[int]) -> None:
        self.folder, self.size, self.report = folder, size, report
        self.rows: list[list[bytes]] = [[]]
        self.done: list[int] = [0]
        self.roots: dict[int, bytes] = dict.fromkeys(snapshots, b"")
        self.whole = True

    def root(self) -> bytes:
        rest: list[bytes] = []
        for row in self.rows:
            rest = [_top(row + rest)] if row or rest else []
        return rest[0] if rest else _top([])

    def entries(self) -> Iterator[tuple[int, bytes]]:
        sha256 = hashlib.sha256
        for start in range(0, self.size, 256):
            count = min(256, self.size - start)
            found = list(self._bundle(start // 256, count))
            leaves = [sha256(b"\0" + entry).digest() for entry in found]
            for size in self.roots:
                if start <= size < start + len(found):
                    self.rows[0] = leaves[: size - start]
                    self.roots[size] = self.root()
            self.rows[0] = leaves
            yield from enumerate(found, start)
            if not self.whole:
                self._compare(0, self.rows[0], count)
                return
            if count == 256:
                self._carry(0)
        for level, row in enumerate(self.rows):
            self._compare(level, row, len(row))
        self.roots[self.size] = self.root()

    def _carry(self, level: int) -> None:
        self._compare(level, self.rows[level], 256)
        if level + 1 == len(self.rows):
            self.rows.append([])
            self.done.append(0)
        self.rows[level + 1].append(_top(self.rows[level]))
        self.rows[level] = []
        self.done[level] += 1
        if len(self.rows[level + 1]) == 256:
            self._carry(level + 1)

    def _read(self, level: str, index: int, width: int) -> bytes | None:
        """The file, or the full one where the partial one is gone."""
        for each in (width, 256):
            path = self.folder / _path(level, index, each)
            if path.is_file():
                return path.read_bytes()
        return None

    def _bundle(self, index: int, count: int) -> Iterator[bytes]:
        data, at = self._read("entries", index, count), 0
        if data is None:
            return self._cut(index * 256, f"`{_path('entries', index, count)}` is missing")
        length = len(data)
        for number in range(count):
            end = at + 2 + (data[at] << 8 | data[at + 1]) if at + 2 <= length else length + 1
            if end > length:
                return self._cut(index * 256 + number, f"`{_path('entries', index, count)}` is too short")
            yield data[at + 2 : end]
            at = end
        if at < length and (count == 256 or (self.folder / _path("entries", index, count)).exists()):
            self.report.add("tampered", index * 256 + count - 1, "bytes follow the last entry of its bundle")

    def _cut(self, position: int, says: str) -> None:
        self.whole = False
        self.report.add("truncated", position, says)

    def _compare(self, level: int, row: list[bytes], width: int) -> None:
        """Compares hashes with the tile of that width that should hold them first."""
        if not row:
            return
        index, step, path = self.done[level], 256**level, _path(str(level), self.done[level], width)
        found = self._read(str(level), index, width)
        if found is None:
            self.report.add("truncated", index * 256 * step, f"`{path}` is missing")
            return
        if found[: 32 * width] == b"".join(row):
            return
        given = [found[at : at + 32] for at in range(0, 32 * width, 32)]
        wrong = next((at for at, each in enumerate(row) if given[at] != each), len(row))
        if wrong < len(row) or len(given[-1]) < 32:
            first = next((at for at, each in enumerate(given) if len(each) < 32), width)
            word, at = ("truncated", first) if first <= wrong else ("tampered", wrong)
            self.report.add(word, (index * 256 + at) * step, f"`{path}` has other hashes than the entries, or fewer")


# --- SSH signatures (OpenSSH PROTOCOL.sshsig, PROTOCOL.u2f) -----------------------------------------------------------


class Wire:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def string(self) -> bytes:
        length = int.from_bytes(self.data[:4], "big")
        if len(self.data) < 4 + length:
            raise Bad("a signature or key that ends early")
        found, self.data = self.data[4 : 4 + length], self.data[4 + length :]
        return found


def _pack(*fields: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(each)) + each for each in fields)


def ssh_signer(armoured: bytes, message: bytes, namespace: str) -> bytes:
    """The public key, as SSH writes it, that signed the message in this namespace. Raises `Bad`."""
    lines = armoured.strip().splitlines()
    if lines[:1] != [b"-----BEGIN SSH SIGNATURE-----"] or lines[-1:] != [b"-----END SSH SIGNATURE-----"]:
        raise Bad("not an SSH signature")
    try:
        blob = base64.b64decode(b"".join(lines[1:-1]), validate=True)
        wire = Wire(blob[10:])
        key, space, reserved, digest, signature = (wire.string() for _ in range(5))
        if blob[:10] != b"SSHSIG\0\0\0\1" or space != namespace.encode() or digest not in (b"sha256", b"sha512"):
            raise Bad(f"not a signature in namespace `{namespace}`")
        signed = b"SSHSIG" + _pack(space, reserved, digest, hashlib.new(digest.decode(), message).digest())
        _check_ssh(key, signature, signed)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Bad(f"a damaged signature ({error})") from None
    except InvalidSignature:
        raise Bad("the signature does not hold") from None
    return key


def _check_ssh(blob: bytes, signature: bytes, signed: bytes) -> None:
    wire, made = Wire(blob), Wire(signature)
    kind, algorithm, raw = wire.string(), made.string(), made.string()
    if kind.startswith(b"sk-"):  # the authenticator signs the application, its flags and its counter with the message
        curve, material = (b"", wire.string()) if b"ed25519" in kind else (wire.string(), wire.string())
        if not made.data or not made.data[0] & 1:
            raise Bad("the security key was not touched")
        application = wire.string()
        signed = hashlib.sha256(application).digest() + made.data + hashlib.sha256(signed).digest()
        plain = kind.removeprefix(b"sk-").removesuffix(b"@openssh.com")
        blob, algorithm = _pack(plain, curve, material) if curve else _pack(plain, material), algorithm and plain
        kind = plain
    key = load_ssh_public_key(kind + b" " + base64.b64encode(blob))
    if isinstance(key, Ed25519PublicKey) and algorithm == b"ssh-ed25519":
        key.verify(raw, signed)
    elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm == kind:
        numbers = Wire(raw)
        r, s = (int.from_bytes(numbers.string(), "big") for _ in range(2))
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    elif isinstance(key, rsa.RSAPublicKey) and algorithm in (b"rsa-sha2-256", b"rsa-sha2-512") and key.key_size >= 2048:
        algorithms = {b"rsa-sha2-256": hashes.SHA256(), b"rsa-sha2-512": hashes.SHA512()}
        key.verify(raw, signed, padding.PKCS1v15(), algorithms[algorithm])
    else:
        raise Bad("a kind of key that cannot be checked here")


# --- records ----------------------------------------------------------------------------------------------------------


def _fraction(text: str) -> Any:
    raise ValueError(f"the fraction {text}")


def _object(pairs: list[tuple[str, Any]]) -> Fields:
    found = dict(pairs)
    if len(found) != len(pairs) or list(found) != sorted(found):
        raise ValueError("a key twice, or keys that are not sorted")
    return found


_read = json.JSONDecoder(parse_float=_fraction, parse_constant=_fraction, object_pairs_hook=_object).raw_decode
_commitment = re.compile("[0-9a-f]{64}").fullmatch
_compact = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


def read_exact(data: bytes) -> Fields:
    """A JSON object in its one spelling. Raises ValueError.

    Of sorted keys, each once, and whole numbers, only escapes, space between tokens and `-0` can be spelled otherwise:
    where there is a trace of one, spelling it anew decides.
    """
    text = data.decode()
    found, end = _read(text)
    if end != len(text) or type(found) is not dict:
        raise ValueError("not one JSON object")
    if ("\\" in text or "-0" in text or len(text.split(None, 1)) != 1) and _compact(found) != text:
        raise ValueError("another spelling than RFC 8785's")
    return found


def read_record(data: bytes) -> Fields:
    """The record in an entry. Raises `Bad`."""
    try:
        fields = read_exact(data)
        kind, at, get = fields["kind"], fields["at"], fields.get
        if fields["v"] is True or fields["v"] != 1 or kind not in KINDS or type(at) is not int or at < 0:
            raise ValueError("another version, an unknown kind, or no time")
        if type(get("action", "")) is not str or type(get("run", "")) is not str or type(get("agent", "")) is not str:
            raise ValueError("an id that is no text")
        if "payloads" in fields and not all(map(_commitment, fields["payloads"].values())):
            raise ValueError("a commitment that is none")
        return fields
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise Bad(f"not a record: {error}") from None


class Memory:
    """What was seen, and which payloads are missing, in memory that stays flat: a filter, what came last, and for the
    rest a temporary file without a name."""

    BITS, LAST = 1 << 27, 50_000

    def __init__(self) -> None:
        self._file = sqlite3.connect("", isolation_level=None)  # SQLite's own file, which is gone with the process
        self._file.executescript("""
            PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -16384;
            CREATE TABLE seen (key INTEGER PRIMARY KEY);
            CREATE TABLE missing (key INTEGER PRIMARY KEY, name, position, class, at)""")
        self._filter = bytearray(self.BITS // 8)
        self._seen: set[int] = set()
        self._missing: dict[int, tuple[int, str, int, str, int]] = {}

    def add(self, what: str, name: str) -> bool:
        """Whether this is new."""
        key, there = hash((what, name)), True
        for bit in (key % self.BITS, (key >> 32) % self.BITS):
            there = there and bool(self._filter[bit >> 3] & 1 << (bit & 7))
            self._filter[bit >> 3] |= 1 << (bit & 7)
        if there and self._knows(key):
            return False
        self._seen.add(key)
        if len(self._seen) >= self.LAST:
            self._file.execute("BEGIN")
            self._file.executemany("INSERT INTO seen VALUES (?)", ((each,) for each in sorted(self._seen)))
            self._file.execute("COMMIT")
            self._seen = set()
        return True

    def knows(self, what: str, name: str) -> bool:
        return self._knows(hash((what, name)))

    def _knows(self, key: int) -> bool:
        found = key in self._seen or self._file.execute("SELECT 1 FROM seen WHERE key = ?", (key,)).fetchone()
        return bool(found)

    def miss(self, name: str, commitment: str, position: int, kind: str, at: int) -> None:
        key = hash((name, commitment))
        self._missing.setdefault(key, (key, name, position, kind, at))
        if len(self._missing) >= self.LAST:
            self._spill()

    def _spill(self) -> None:
        self._file.execute("BEGIN")
        self._file.executemany("INSERT OR IGNORE INTO missing VALUES (?, ?, ?, ?, ?)", self._missing.values())
        self._file.execute("COMMIT")
        self._missing = {}

    def erased(self, name: str, commitment: str) -> None:
        self._missing.pop(hash((name, commitment)), None)
        self._file.execute("DELETE FROM missing WHERE key = ?", (hash((name, commitment)),))

    def pruned(self, kind: str, before: int) -> None:
        self._spill()
        self._file.execute("DELETE FROM missing WHERE class = ? AND at < ?", (kind, before))

    def missing(self) -> Iterator[tuple[str, int]]:
        self._spill()
        yield from self._file.execute("SELECT name, position FROM missing ORDER BY position")


class Disclosed:
    """The payloads of a disclosure file, read along with the entries."""

    KEPT = 1000  # statements, of which a second record may come later

    def __init__(self, path: Path | None, report: Report) -> None:
        self.given = path is not None
        self._lines = path.open(encoding="utf-8") if path else iter(())
        self._report = report
        self._again: dict[tuple[str, str], bytes] = {}  # files that several entries name, and may be given once
        self._papers: OrderedDict[tuple[str, str], bytes] = OrderedDict()  # the same of commands
        self.roles: list[str] = []
        self.selected = False
        self._next = self._line()

    def _line(self) -> tuple[int, str, bytes, bytes] | None:
        for line in self._lines:
            said = json.loads(line)
            if "disclosure" in said:
                self.roles, self.selected = said["roles"], said["selected"]
                continue
            return said["entry"], said["id"], bytes.fromhex(said["salt"]), binascii.a2b_base64(said["data"])
        return None

    def of(self, position: int, payloads: dict[str, str]) -> dict[str, bytes]:
        """The bytes of those of an entry's payloads that were given, by id; says which are not what they must be."""
        found = {}
        for key in payloads.items():
            if key in self._again or key in self._papers:
                found[key[0]] = self._again.get(key) or self._papers[key]
        while self._next and self._next[0] <= position:
            entry, name, salt, data = self._next
            self._next = self._line()
            if entry < position or name not in payloads:
                self._report.add("payload-mismatch", None, f"no entry commits to `{name}` at {entry}")
                continue
            if len(salt) != 16 or hashlib.sha256(salt + data).hexdigest() != payloads[name]:
                self._report.add("payload-mismatch", position, f"`{name}` is not what the record commits to")
            found[name] = data
            if name.endswith((".file", ".signatures")):
                self._again[name, payloads[name]] = data
            elif name.startswith("sta_"):
                self._papers[name, payloads[name]] = data
                if len(self._papers) > self.KEPT:
                    self._papers.popitem(last=False)
        return found

    def promises(self, role: str) -> bool:
        """Whether payloads of this role should be there."""
        return self.given and not self.selected and (not self.roles or role in self.roles)

    def close(self) -> None:
        while self._next:
            self._report.add("payload-mismatch", None, f"no entry commits to `{self._next[1]}`")
            self._next = self._line()


@dataclass(slots=True)
class Action:
    stage: str
    digest: str
    ruling: Fields
    undoes: str
    concludes: bool
    voted: list[str] = field(default_factory=list)
    warrant: str = ""
    position: int = 0


class Journal:
    """The rules of sections 5 and 6, one record at a time."""

    def __init__(self, report: Report, payloads: Disclosed, origin: str) -> None:
        self.report, self.payloads = report, payloads
        self.at = 0
        self.origin, self.home = origin, origin.split("/")[1] if "/" in origin else ""
        self.continued: tuple[int, str] | None = None
        self.people: dict[str, tuple[str, set[str]]] = {}  # public key -> person and roles, of the roster in force
        self.roster_version = 0
        self.boundary: tuple[str, int] = ("", 0)
        self.replaced: dict[str, int] = {}  # boundary -> when it was replaced
        self.names: dict[tuple[str, str], str] = {}
        self.actions: dict[str, Action] = {}
        self.effects: dict[str, str] = {}
        self.secrets: dict[str, list[tuple[str, str]]] = {}  # by open action: payloads that end with it
        self.memory = Memory()
        self.askable: tuple[set[str], dict[str, str]] = (set(), {})  # roles that may approve; agent -> its owner
        self.tombstones: list[tuple[int, str]] = []  # erased, and no order of that person beside them yet
        self.carried_out = ""  # who ordered to erase, where the record before, tombstones aside, says it was done
        self.orders: dict[tuple[str, str, str], list[int]] = {}  # command, person, what about -> when it was accepted
        self.unchecked: Counter[str] = Counter()
        steps: dict[str, Step] = {
            "home.created": self._home,
            "roster.loaded": self._roster,
            "boundary.loaded": self._boundary,
            "statement": self._statement,
            "pruned": self._pruned,
            "proposal": self._proposal,
            "run.opened": self._run,
            "verdict": self._verdict,
            "log.continued": self._continued,
        }
        self.steps = dict.fromkeys(LIFE, cast(Step, self._life)) | steps

    def take(self, position: int, data: bytes) -> None:
        try:
            fields = read_record(data)
        except Bad as error:
            self.report.add("bad-record", position, str(error))
            return
        kind, at = fields["kind"], fields["at"]
        if (kind == "home.created") != (position == 0):
            self.report.add("bad-start", position, f"a record of kind `{kind}`")
        if at < self.at - SLACK:
            self.report.add("bad-time", position, f"{(self.at - at) / SECOND:.1f} s earlier than the record before")
        self.at = at
        try:
            if self.tombstones or self.carried_out or kind in ("erased", "statement"):
                self._beside(position, fields)
            given = self._payloads(position, fields) if "payloads" in fields else {}
            if kind in BY_ORDER:
                self._by_order(position, fields)
            step = self.steps.get(kind)
            if step:
                step(position, fields, given)
            elif kind in MENTIONS and fields.get("action") and not self.memory.knows("action", fields["action"]):
                self.report.add("no-proposal", position, f"`{kind}` about an action that was not proposed")
        except (KeyError, TypeError, AttributeError) as error:
            self.report.add(
                "bad-record", position, f"a `{kind}` without a field that it needs, or another type: {error}"
            )

    def close(self, whole: bool) -> None:
        self._unordered(self.tombstones)
        if whole:
            if (self.continued or (0, ""))[1] != (self.origin if self.origin.count("/") > 1 else ""):
                position = self.continued[0] if self.continued else None
                self.report.add("bad-start", position, f"no `log.continued`, or another log's, last in `{self.origin}`")
            for name, position in self.memory.missing():
                self.report.add("payload-missing", position, f"`{name}` is not there, nor was it erased or pruned")
            self.payloads.close()
        for name, action in self.actions.items():
            if action.stage in ("intent", "concluding"):
                self.report.notes.append(f"open-at-end {action.position}: `{name}` has no outcome yet")
        for what, count in sorted(self.unchecked.items()):
            self.report.notes.append(f"not checked for want of their payloads: {count} {what}")

    # payloads and tombstones

    def _payloads(self, position: int, fields: Fields) -> dict[str, bytes]:
        committed: dict[str, str] = fields["payloads"]
        given = self.payloads.of(position, committed) if self.payloads.given else {}
        for name, commitment in committed.items():
            self.memory.add(name, commitment)
            role = name.rpartition(".")[2]
            if name not in given and self.payloads.promises(role):
                if role == "result":
                    read = self.effects.get(fields.get("action", "")) == "read"
                    role = "read_result" if read else "change_result"
                self.memory.miss(name, commitment, position, role + "s", fields["at"])
        return {name.rpartition(".")[2]: data for name, data in given.items()}

    def _beside(self, position: int, fields: Fields) -> None:
        """Tombstones name what was committed to earlier, and stand in a row beside the order that was carried out."""
        if fields["kind"] == "erased":
            by = fields["by"]
            for gone in fields["erased"].items():
                if not self.memory.knows(*gone) or gone[0].rpartition(".")[2] not in ERASABLE:
                    self.report.add("tombstone-forged", position, f"no earlier entry commits to `{gone[0]}` so")
                self.memory.erased(*gone)
            if not self._ordered("erase", by, keep=True):
                self.report.add("tombstone-forged", position, "who it names has not ordered to erase anything")
            elif self.carried_out != by:
                self.tombstones.append((position, by))
            return
        done = (fields["kind"], fields.get("command"), fields.get("stage")) == ("statement", "erase", "carried-out")
        self.carried_out = fields["person"] if done else ""
        self._unordered([each for each in self.tombstones if each[1] != self.carried_out])
        self.tombstones = []

    def _unordered(self, tombstones: list[tuple[int, str]]) -> None:
        for position, _ in tombstones:
            self.report.add("tombstone-forged", position, "no order to erase that was carried out stands beside it")

    def _pruned(self, position: int, fields: Fields, given: dict[str, bytes]) -> None:
        if fields["before"] <= fields["at"] and fields["class"] in PRUNABLE:
            self.memory.pruned(fields["class"], fields["before"])

    def _needs(self, word: str, position: int, fields: Fields, *roles: str) -> bool:
        """Whether the record commits to payloads of these roles: without a commitment, nothing was signed."""
        missing = set(roles) - {name.rpartition(".")[2] for name in fields.get("payloads", {})}
        if missing:
            self.report.add(word, position, f"it commits to no {' and no '.join(sorted(missing))}")
        return not missing

    # rosters and boundaries

    def _home(self, position: int, fields: Fields, given: dict[str, bytes]) -> None:
        if fields["home"] != self.home:
            self.report.add("bad-start", position, "the home is another than the log's origin says")
        self._needs("roster-unsigned", position, fields, "file")
        self._take_roster(position, fields["roster"], fields["version"], given.get("file"))

    def _roster(self, position: int, fields: Fields, given: dict[str, bytes]) -> None:
        if fields["version"] <= self.roster_version:
            self.report.add("roster-unsigned", position, f"version {fields['version']} after {self.roster_version}")
        if self._needs("roster-unsigned", position, fields, "file", "signatures"):
            self._leaders("roster", position, fields, given, 1)
        self._take_roster(position, fields["digest"], fields["version"], given.get("file"))

    def _take_roster(self, position: int, digest: str, version: int, file: bytes | None) -> None:
        self.roster_version = max(version, self.roster_version)
        if file is None:
            self.people = {}
            self.unchecked["rosters"] += 1
            return
        try:
            said = tomllib.loads(file.decode())
            if hashlib.sha256(file).hexdigest() != digest or said["roster"]["version"] != version:
                raise Bad("the file is not the one that the record names")
            if said["roster"].get("home", self.home) != self.home:
                raise Bad("the file is another home's")
            self.people = {}
            for each in said["person"]:
                name = str(each.get("id", each.get("email"))).casefold()
                until = each["not_after"].timestamp() * SECOND if "not_after" in each else float("inf")
                for line in each["keys"]:
                    if until > self.at - SLACK:
                        self.people[line.split()[1]] = (name, set(each["roles"]))
        except (ValueError, KeyError, TypeError, Bad) as error:
            self.report.add("roster-unsigned", position, str(error))

    def _leaders(self, what: str, position: int, fields: Fields, given: dict[str, bytes], needed: int) -> None:
        file, signatures, signers, why = given.get("file"), given.get("signatures"), set(), ""
        if file is None or signatures is None or not self.people:
            self.unchecked[f"signatures of a {what}"] += 1
            return
        for each in json.loads(signatures):
            try:
                person, roles = self._owner(ssh_signer(each.encode(), file, f"{what}@remit"))
                signers |= {person} if "leader" in roles else set()
            except Bad as error:
                why = f" ({error})"
        needed = max(needed, len(set(fields["signers"])))
        if len(signers) < needed:
            says = f"{len(signers)} of the {needed} leaders that it needs or names have signed{why}"
            self.report.add(f"{what}-unsigned", position, says)

    def _owner(self, key: bytes) -> tuple[str, set[str]]:
        return self.people.get(base64.b64encode(key).decode(), ("", set()))

    def _boundary(self, position: int, fields: Fields, given: dict[str, bytes]) -> None:
        digest, version = fields["digest"], fields["version"]
        old, last = self.boundary
        needed, file = 1, given.get("file")
        if file is not None:
            said = tomllib.loads(file.decode())
            head, needs = said["boundary"], said["boundary"].get("signatures", {})
            if hashlib.sha256(file).hexdigest() != digest or head["version"] != version:
                self.report.add("boundary-unsigned", position, "the file is not the one that the record names")
            if head["not_before"].timestamp() * SECOND > self.at + SLACK:
                self.report.add("boundary-unsigned", position, "its `not_before` has not come")
            needed = needs.get("tighten", 1) if old else needs.get("widen", needs.get("tighten", 1))
            self._askable(said)
        if self._needs("boundary-unsigned", position, fields, "file", "signatures"):
            self._leaders("boundary", position, fields, given, needed)
        if digest != old:
            if version <= last:
                self.report.add("boundary-unsigned", position, f"version {version} after {last}")
            self.replaced = {each: at for each, at in self.replaced.items() if at >= self.at - SLACK} | {old: self.at}
        self.boundary = (digest, version)

    def _askable(self, said: Fields) -> None:
        asks = [said["boundary"].get("approvals", {}), *said.get("rule", [])]
        roles = {role for ask in asks for role in ask.get("approvers", ["approver"])}
        owners = {each["name"]: str(each.get("owner", "")).casefold() for each in said.get("agent", [])}
        self.askable = (roles, {} if any(ask.get("owner_may_approve") for ask in asks) else owners)

    def _in_force(self, digest: str) -> bool:
        return digest == self.boundary[0] or self.replaced.get(digest, -LONGEST) >= self.at - SLACK

    # what people sign

    def _signed(self, fields: Fields, paper: bytes, kind: str) -> tuple[bytes, Fields, set[str]]:
        """A statement's bytes and fields, and the roles of whoever is said to have signed it. Raises `Bad`."""
        try:
            said = json.loads(paper)
            data = base64.b64decode(said["statement"], validate=True)
            key = ssh_signer(said["signature"].encode(), data, f"{kind}@remit")
            statement = read_exact(data)
            if statement.keys() != STATEMENT | MORE[kind]:
                raise Bad("a statement with other keys")
            if statement["kind"] != f"remit-{kind}-1" or statement["home"] != self.home:
                raise Bad("a statement of another kind, or for another home")
            person = statement["person"].casefold()
            owner, roles = self._owner(key)
            if person != owner:
                raise Bad(f"not signed by a key of `{person}` in the roster in force")
            one = self.names.setdefault(("person", fields["person"]), person)
            other = self.names.setdefault(("pseudonym", person), fields["person"])
            if (one, other) != (person, fields["person"]):
                raise Bad("the record names another person")
            if fields.get("stage") != "carried-out":
                issued, expires = statement["issued"], statement["expires"]
                if issued > self.at + SLACK or expires <= self.at - SLACK or expires - issued > LONGEST:
                    raise Bad("not valid at that time")
            return data, statement, roles
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Bad(f"not a signed statement: {error}") from None

    def _statement(self, position: int, fields: Fields, given: dict[str, bytes]) -> None:
        command, person, nonce, paper = fields["command"], fields["person"], fields["nonce"], given.get("statement")
        accepted, about = fields["stage"] == "accepted", ""
        if accepted and not self.memory.add("nonce", nonce):
            self.report.add("statement-replayed", position, "its nonce was accepted before")
        if not accepted and not self.memory.knows("nonce", nonce):
            self.report.add("bad-statement", position, "carried out, and not accepted before")
        if fields.get("action") and not self.memory.knows("action", fields["action"]):
            self.report.add("no-proposal", position, "`statement` about an action that was not proposed")
        if accepted and self._needs("bad-statement", position, fields, "statement") and not (paper and self.people):
            self.unchecked["commands"] += 1
        elif paper and self.people:
            try:
                _, said, roles = self._signed(fields, paper, "control")
                about = str(said["parameters"].get("action", "")) if command in ("undo", "settle") else ""
                if (said["command"], said["nonce"]) != (command, nonce):
                    raise Bad("it commands something else than the record says")
                if accepted and roles.isdisjoint(ORDERS.get(command, "").split()):
                    raise Bad(f"its person has no role that may order `{command}`")
            except Bad as error:
                self.report.add("bad-statement", position, str(error))
        if accepted and command in KEPT:
            self.orders = {key: times for key, times in self.orders.items() if times[-1] >= self.at - LONGEST}
            self.orders.setdefault((command, person, about), []).append(self.at)

    def _run(self, position: int, fields: Fields, given: dict[str, bytes]) -> None:
        self.memory.add("opener " + fields["run"], fields["by"])

    # the life of an action

    def _proposal(self, position: int, fields: Fields, given: dict[str, bytes]) -> None:
        name = fields["action"]
        if not self.memory.add("action", name):
            self.report.add("action-twice", position, f"`{name}` was proposed before")
            return
        if fields["state"] != "blocked":
            if fields["state"] not in FOLLOWS:
                self.report.add("bad-record", position, f"a proposal cannot begin in state `{fields['state']}`")
            concludes = (fields["connector"], fields["tool"]) == ("remit", "conclude")
            undoes = fields.get("undoes", "")
            self.actions[name] = Action(fields["state"], fields["digest"], fields["ruling"], undoes, concludes)
            self.effects[name] = fields["effect"]
            secrets = [each for each in fields.get("payloads", {}).items() if each[0].endswith(".secrets")]
            self.secrets |= {name: secrets} if secrets else {}

    def _life(self, position: int, fields: Fields, given: dict[str, bytes]) -> None:
        name, kind = fields["action"], fields["kind"]
        action = self.actions.get(name)
        if action is None or kind not in FOLLOWS.get(action.stage, ()):
            word = "outcome-without-intent" if kind == "outcome" else "no-proposal"
            stage = action.stage if action else "closed, or never proposed"
            self.report.add(word, position, f"`{kind}` while `{name}` is {stage}")
        if action is None:
            return
        if kind in ENDS or (kind, fields.get("verb")) == ("vote", "reject"):
            for gone in self.secrets.pop(name, ()):
                self.memory.erased(*gone)
        if kind == "vote":
            self._vote(position, fields, given, action)
        elif kind == "intent":
            self._intent(position, fields, action)
        elif kind in ("approved", "asked.again"):
            action.stage = "approved" if kind == "approved" else "awaiting_approval"
        elif kind == "outcome" and action.stage in ("intent", "concluding"):
            if fields["warrant"] != action.warrant:
                self.report.add("outcome-without-intent", position, f"another warrant than the intent of `{name}`")
            lost = fields["state"] == "unknown" or (fields["state"] == "cut" and fields.get("handed_over") is True)
            action.stage = "unknown" if lost else "ended"
        if kind in ("refused", "withdrawn", "expired", "void", "settled") or action.stage == "ended":
            del self.actions[name], self.effects[name]

    def _vote(self, position: int, fields: Fields, given: dict[str, bytes], action: Action) -> None:
        person, paper = fields["person"], given.get("statement")
        if fields["verb"] == "reject":
            action.stage = "ended"
        elif self.memory.knows("opener " + fields["run"], person):
            self.report.add("bad-approval", position, "who approves opened the run")
        elif person in action.voted:
            self.report.add("not-approved", position, "this person has approved before")
        else:
            action.voted.append(person)
        if not self._needs("bad-approval", position, fields, "statement"):
            return
        if paper is None or not self.people:
            self.unchecked["votes"] += 1
            return
        try:
            data, said, roles = self._signed(fields, paper, "approval")
            if not self.memory.add("approval", hashlib.sha256(data).hexdigest()):
                self.report.add("approval-replayed", position, "this statement was counted before")
            if (said["action"], said["digest"], said["verb"]) != (fields["action"], action.digest, fields["verb"]):
                raise Bad("the statement is about another action or digest, or says something else")
            if not self._in_force(said["boundary_digest"]):
                raise Bad("the statement names a boundary that is not in force")
            who, asked = said["person"].casefold(), self.askable[0]
            if fields["verb"] == "approve" and asked and (roles.isdisjoint(asked) or self._owns(fields, who)):
                raise Bad("who approves has no role for it, or owns the agent")
        except Bad as error:
            self.report.add("bad-approval", position, str(error))

    def _owns(self, fields: Fields, person: str) -> bool:
        return self.askable[1].get(fields["agent"]) == person

    def _intent(self, position: int, fields: Fields, action: Action) -> None:
        ruling, approvers, needed = fields["ruling"], fields["approvers"], max(fields["ruling"]["quorum"], 1)
        turned = action.stage == "executing" and ruling != action.ruling
        action.stage = "concluding" if action.concludes else "intent"
        action.warrant, action.position = fields["warrant"], position
        if ruling["decision"] not in ("auto", "approve") or fields["digest"] != action.digest or turned:
            self.report.add("intent-without-ruling", position, "forbidden, or another digest or ruling than proposed")
        elif not self._in_force(ruling["boundary"]):
            self.report.add("intent-without-ruling", position, "the boundary that it names is not in force")
        elif ruling["decision"] == "approve":
            if action.undoes and not action.voted and needed == len(approvers) == 1:
                if not self._ordered("undo", approvers[0], action.undoes):
                    self.report.add("not-approved", position, "an undo that nobody ordered")
            elif len(action.voted) < needed or not set(approvers) <= set(action.voted):
                says = f"{len(action.voted)} of {needed} people have approved, or it names one who has not"
                self.report.add("not-approved", position, says)

    def _ordered(self, command: str, person: str, about: str = "", *, keep: bool = False) -> bool:
        """Whether that person's command about that action (or an unknown one) was accepted in the last 24 hours; it
        counts once, unless it is to be kept."""
        for key in dict.fromkeys(((command, person, about), (command, person, ""))):
            times = [at for at in self.orders.get(key, []) if at >= self.at - LONGEST]
            if times:
                self.orders[key] = times if keep else times[1:]
                if not self.orders[key]:
                    del self.orders[key]
                return True
        return False

    def _by_order(self, position: int, fields: Fields) -> None:
        kind = fields["kind"]
        if kind != "settled" or fields["hand"] is True:
            about, keep = fields.get("action", ""), kind == "resume"
            if not any(self._ordered(each, fields["by"], about, keep=keep) for each in BY_ORDER[kind].split()):
                self.report.add("bad-statement", position, f"`{kind}`, and that person had no command for it accepted")

    def _verdict(self, position: int, fields: Fields, given: dict[str, bytes]) -> None:
        action = self.actions.get(fields.get("action", ""))
        if action and action.stage == "concluding":
            action.stage = "intent"
        elif fields.get("action"):
            self.report.add("no-proposal", position, "a verdict that is not right after the intent of its action")

    def _continued(self, position: int, fields: Fields, given: dict[str, bytes]) -> None:
        name, before = fields["log"].partition("+")[0], fields["before"]
        numbers = [re.fullmatch(f"remit/{re.escape(self.home)}(?:/([1-9][0-9]*))?", each) for each in (before, name)]
        old, new = (int(found[1] or 1) if found else 0 for found in numbers)
        if not 0 < old < new:
            self.report.add("bad-start", position, f"`{name}` cannot follow `{before}`")
        self.continued = (position, name)


# --- all of it --------------------------------------------------------------------------------------------------------


def verify(
    folder: Path,
    keys: Sequence[str],
    *,
    witnesses: Sequence[str] = (),
    quorum: int = 0,
    older: bytes | None = None,
    max_age: float | None = None,
    payloads: Path | None = None,
    now: float | None = None,
) -> Report:
    """What is wrong with the log in a folder. `older` is a checkpoint seen before, ages are in seconds."""
    report, beside = Report(), folder / "checkpoint.witnessed"
    log, others = [Key.parse(key) for key in keys], [Key.parse(key) for key in witnesses]
    try:
        last = beside.read_bytes() if beside.is_file() else b""  # read first: a log may grow meanwhile
        head = Checkpoint.parse((folder / "checkpoint").read_bytes())
        before = Checkpoint.parse(older) if older is not None else None
        if {each.name for each in log} != {head.origin} or (before and before.origin != head.origin):
            raise Bad(f"the checkpoint is of `{head.origin}`")
    except (OSError, Bad) as error:
        report.add("bad-note", None, str(error))
        return report
    if before:
        _cosigned(report, before, log, [], "the older checkpoint: ")
    times = _cosigned(report, head, log, others)
    seen: Seen | None = None
    if quorum:
        seen = Seen.of(head, times, quorum) or _beside(report, head, last, log, others, quorum)
    _walk(report, folder, head, before, seen, payloads, times, max_age, time.time() if now is None else now)
    if not others:
        report.notes.append("without an external witness, rewriting by whoever holds the log's key is not excluded")
    return report


@dataclass(frozen=True)
class Seen:
    """A checkpoint that enough witnesses have cosigned, and since when (in seconds)."""

    checkpoint: Checkpoint
    at: int

    @classmethod
    def of(cls, checkpoint: Checkpoint, times: list[int], quorum: int) -> Seen | None:
        """With the times of its cosignatures, the latest first. None where they are too few."""
        return cls(checkpoint, times[quorum - 1]) if len(times) >= quorum else None


def _cosigned(report: Report, checkpoint: Checkpoint, log: list[Key], others: list[Key], what: str = "") -> list[int]:
    """When witnesses cosigned, each once, the latest first. Nobody did where the log has not, or a line is no good."""
    try:
        signed = checkpoint.signers([*log, *others])
        if not any(key in signed for key in log):
            raise Bad("no line of the log's key")
        by_key = {key.public.public_bytes_raw(): at for key, at in signed.items() if key in others}
        return sorted(by_key.values(), reverse=True)
    except Bad as error:
        report.add("bad-signature", None, what + str(error))
        return []


def _beside(
    report: Report, head: Checkpoint, data: bytes, log: list[Key], others: list[Key], quorum: int
) -> Seen | None:
    """What `checkpoint.witnessed` is good for where `checkpoint` has too few cosignatures."""
    what, found = "checkpoint.witnessed: ", None
    try:
        if data:
            last = Checkpoint.parse(data)
            if last.origin != head.origin:
                raise Bad(f"it is of `{last.origin}`")
            found = Seen.of(last, _cosigned(report, last, log, others, what), quorum)
    except Bad as error:
        report.add("bad-note", None, what + str(error))
    if found is None:
        report.add("no-quorum", None, f"fewer than {quorum} witnesses have cosigned")
    elif found.checkpoint.size > head.size:
        report.add("rollback", None, f"{head.size} entries, and witnesses have seen {found.checkpoint.size}")
        return None
    return found


def _walk(
    report: Report,
    folder: Path,
    head: Checkpoint,
    before: Checkpoint | None,
    seen: Seen | None,
    payloads: Path | None,
    times: list[int],
    max_age: float | None,
    now: float,
) -> None:
    earlier = [each for each in (before, seen.checkpoint if seen else None) if each]
    tiles = Tiles(folder, head.size, report, [each.size for each in earlier])
    journal = Journal(report, Disclosed(payloads, report), head.origin)
    for position, entry in tiles.entries():
        journal.take(position, entry)
        report.size = position + 1
    journal.close(tiles.whole)
    good = tiles.whole and tiles.root() == head.root
    if tiles.whole and not good:
        report.add("tampered", None, "the entries do not lead to the signed root")
    for each in earlier:
        if each.size > head.size:
            report.add("rollback", None, f"{head.size} entries, and there were {each.size}")
        elif good and tiles.roots[each.size] != each.root:
            report.add("fork", None, f"its first {each.size} entries are others than were signed before")
    if seen and good and head.size > seen.checkpoint.size:
        report.notes.append(
            f"{head.size - seen.checkpoint.size} records came after what the witnesses saw last, at {seen.at}; "
            "for those, rewriting by whoever holds the log's key is not excluded"
        )
    newest = [seen.at] if seen else [journal.at / SECOND, *times]
    if max_age is not None and max(newest) < now - max_age:
        report.add("stale", None, f"nothing is newer than {max_age:.0f} s")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Verifies a log.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--key", action="append", required=True)
    parser.add_argument("--witness", action="append", default=[])
    parser.add_argument("--quorum", type=int, default=0)
    parser.add_argument("--older", type=Path)
    parser.add_argument("--max-age", type=float)
    parser.add_argument("--payloads", type=Path)
    said = parser.parse_args(arguments)
    older = said.older.read_bytes() if said.older else None
    options = {"quorum": said.quorum, "max_age": said.max_age, "payloads": said.payloads, "older": older}
    report = verify(said.folder, said.key, witnesses=said.witness, **options)
    for word, position, says in report.findings:
        print(f"{word} {'-' if position is None else position}: {says}")
    for note in report.notes:
        print(note)
    print(f"{report.size} entries, {len(report.findings)} findings")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
