"""Disclosed payloads: a file of JSON lines (docs/LOG-FORMAT.md, section 4), read beside a log, written from a store.

What lives here: reading such a file once, in the log's order; what of a home's own store a verifier sees. What never
may: believing a payload: whoever asked for it checks its commitment.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

from remit.flow.auditing.actions import ends
from remit.flow.auditing.files import LogFiles
from remit.flow.auditing.payloads import SECRETS, Scope
from remit.flow.auditing.records import role_of
from remit.flow.auditing.selecting import Selection, chosen
from remit.flow.ports import Reads, StoredRecord
from remit.gates.log.checkpoints import parse
from remit.gates.log.notes import parse_note
from remit.gates.log.tiles import WIDTH, Bundle, decode_entries
from remit.model.display import shown
from remit.model.errors import Fault, Misuse
from remit.model.words import Json, Payload

MOST_UNUSED = 100
MOST_COMMANDS = 1_000
"""So many commands whose second entry has not come yet are remembered."""
_FILES = frozenset({"file", "signatures"})
_COMMAND = "sta_"


class Line(Struct, frozen=True):
    """One disclosed payload. `salt` is in hexadecimal, `data` in base64."""

    id: str
    salt: str
    data: bytes
    entry: int


_line = msgspec.json.Decoder(Line).decode
_scope = msgspec.json.Decoder(Scope).decode
_encode = msgspec.json.Encoder(order="sorted").encode


class DisclosureFile:
    """The payloads in a file, as a `Disclosure`. Memory stays flat: it is read once, along with the log.

    What several entries commit to may be given for the first alone, so it is remembered: files and their signatures for
    good, for there are as many as boundaries and rosters; the statement of a command until it is carried out.

    Raises `Misuse` for a file that is none, when it is opened and where it goes wrong; `Fault` where it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file: IO[bytes] = path.open("rb")
        except OSError as error:
            raise Misuse(f"`{path}` cannot be read: {(error.strerror or 'it failed').lower()}") from None
        self._number = 0
        self._scope = Scope()
        self._ahead: Line | None = None
        self._here: dict[str, Payload] = {}
        self._at = -1
        self._files: dict[str, Payload] = {}
        self._commands: OrderedDict[str, Payload] = OrderedDict()
        self._unused: list[str] = []
        self._begin()

    def payload(self, payload_id: str, position: int) -> Payload | None:
        """See `Disclosure`."""
        if position != self._at:
            self._go_to(position)
        before = self._files.get(payload_id) or self._commands.pop(payload_id, None)
        found = self._here.pop(payload_id, None)
        if found is not None and before is None:
            self._remember(found)
        return found or before

    def _remember(self, payload: Payload) -> None:
        """Keep what a later entry may commit to as well."""
        if role_of(payload.id) in _FILES:
            self._files[payload.id] = payload
        elif payload.id.startswith(_COMMAND):
            self._commands[payload.id] = payload
            if len(self._commands) > MOST_COMMANDS:
                self._commands.popitem(last=False)

    def promised(self, payload_id: str) -> bool:
        """See `Disclosure`: what the file says of itself, or everything where it says nothing."""
        return self._scope.promises(payload_id)

    def unused(self) -> tuple[str, ...]:
        """See `Disclosure`."""
        self._leave()
        while self._ahead is not None and len(self._unused) < MOST_UNUSED:
            self._unused.append(self._ahead.id)
            self._next()
        return tuple(self._unused)

    def _begin(self) -> None:
        data = self._file.readline()
        if data.startswith(b'{"disclosure"'):
            try:
                self._scope = _scope(data)
            except msgspec.MsgspecError:
                raise self._damaged() from None
            self._number += 1
        else:
            self._file.seek(0)
        self._next()

    def _go_to(self, position: int) -> None:
        if self._here:
            self._leave()
        self._at = position
        while (line := self._ahead) is not None and line.entry <= position:
            if line.entry == position:
                self._here[line.id] = self._payload(line)
            elif len(self._unused) < MOST_UNUSED:
                self._unused.append(line.id)
            self._next()

    def _leave(self) -> None:
        self._unused += list(self._here)[: MOST_UNUSED - len(self._unused)]
        self._here.clear()

    def _payload(self, line: Line) -> Payload:
        try:
            salt = bytes.fromhex(line.salt)
        except ValueError:
            salt = b""
        return Payload(id=line.id, kind=role_of(line.id), salt=salt, data=line.data)

    def _next(self) -> None:
        try:
            data = self._file.readline()
            self._ahead = _line(data) if data else None
        except OSError as error:
            raise Fault(f"`{self._path}` cannot be read ({error.strerror})") from None
        except (msgspec.MsgspecError, UnicodeError):
            raise self._damaged() from None
        self._number += 1

    def _damaged(self) -> Misuse:
        line = self._number + 1
        hint = "`remit log disclose` writes such a file"
        return Misuse(f"line {line} of {shown(str(self._path))} is no disclosed payload", hint=hint)


class StorePayloads:
    """A home's own store, as a `Disclosure`: everything is there that was not erased or pruned, and secret arguments
    while their action is open."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    def payload(self, payload_id: str, position: int) -> Payload | None:
        """See `Disclosure`. What the store cannot open is not the payload that was put there."""
        try:
            return self._reads.payload(payload_id)
        except Fault:
            return Payload(id=payload_id, kind=role_of(payload_id), salt=b"", data=b"")

    def promised(self, payload_id: str) -> bool:
        """See `Disclosure`. Secret arguments may be gone because their action has ended after the log that is read."""
        owner, _, role = payload_id.rpartition(".")
        return role != SECRETS or not any(map(_ends, self._reads.records(action=owner)))

    def unused(self) -> tuple[str, ...]:
        """See `Disclosure`: a store may hold what no record commits to yet."""
        return ()


def write(files: LogFiles, reads: Reads, selection: Selection, target: IO[bytes]) -> dict[str, int]:
    """Write the selected payloads in the order of the log; how many of each role, and how many are `gone`.

    Raises `Fault` where the log or the store cannot be read, or something of the log is missing.
    """
    counts: dict[str, int] = {}
    target.write(_encode(selection.scope()) + b"\n")
    for position, payload_id in chosen(_entries(files), selection):
        payload = reads.payload(payload_id)
        if payload is not None:
            target.write(_encode(_said(payload, position)) + b"\n")
        role = "gone" if payload is None else role_of(payload_id)
        counts[role] = counts.get(role, 0) + 1
    return counts


def _ends(record: StoredRecord) -> bool:
    fields = msgspec.json.decode(record.data)
    return isinstance(fields, dict) and ends(record.kind, fields)


def _entries(files: LogFiles) -> Iterator[tuple[int, bytes]]:
    size = parse(parse_note(files.checkpoint()).text).size
    for start in range(0, size, WIDTH):
        width = min(WIDTH, size - start)
        bundle = Bundle(start // WIDTH, width)
        data = files.bundle(bundle)
        if data is None:
            raise Fault(f"the log has no `{bundle.path}`", hint="`remit log verify` says what is wrong with it")
        yield from enumerate(decode_entries(data)[:width], start)


def _said(payload: Payload, position: int) -> dict[str, Json]:
    data = base64.b64encode(payload.data).decode()
    return {"id": payload.id, "salt": payload.salt.hex(), "data": data, "entry": position}
