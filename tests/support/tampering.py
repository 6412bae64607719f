"""A journal under attack: records changed by somebody who holds the log's key, files changed by somebody who does not.

What lives here: a copy of a journal that can be changed record by record and is then hashed and signed anew, and the
means to find a record and to forge what people sign. What never may: the attacks themselves, which are in `tampers`.
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.journals import journal
from tests.support.scribe import Record, Scribe
from tests.support.signers import PEOPLE, Payload, Signer, compact
from tests.support.tile_log import (
    WITNESS,
    NoteKey,
    TileLog,
    checkpoint_text,
    disclosed,
    leaf,
    signed,
    tree,
)

SEED, LENGTH = 7, 257
COSIGNED = 1_800_000_300
"""When the witnesses cosigned, and about when the last record was written: seconds since the epoch."""


@dataclass
class Case:
    """One journal, to be changed and written. Its checkpoint is good for whatever its entries have become."""

    origin: str
    records: list[Record]
    key: NoteKey
    witnesses: list[NoteKey]
    seed: int
    raw: dict[int, bytes] = field(default_factory=dict)  # entries whose bytes are no longer a record's
    cosigners: list[NoteKey] = field(default_factory=list)
    lines: Callable[[list[str]], list[str]] = list  # what becomes of the disclosure file
    after: list[Callable[[Path], None]] = field(default_factory=list)  # what becomes of the written files
    older: bytes | None = None
    witnessed: bytes | None = None  # the log's `checkpoint.witnessed`
    keys: list[NoteKey] = field(default_factory=list)  # what the verifier is given, where it is not `key` alone
    quorum: int = 0
    max_age: int = 0
    now: int = COSIGNED + 60

    @classmethod
    def fresh(cls, seed: int = SEED, length: int = LENGTH) -> Case:
        made = journal(seed, length)
        witnesses = [NoteKey.named(name, WITNESS) for name in ("witness-a.example", "witness-b.example")]
        case = cls(made.origin, list(made.records), NoteKey.named(made.origin), witnesses, seed)
        case.cosigners = list(witnesses)
        return case

    def copied(self) -> Case:
        case = copy.copy(self)
        case.records = [Record(copy.deepcopy(each.fields), dict(each.payloads)) for each in self.records]
        case.raw, case.after, case.cosigners = {}, [], list(self.cosigners)
        return case

    # --- what is written -------------------------------------------------------------------------------------------

    def entries(self) -> list[bytes]:
        return [self.raw.get(at, b"") or record.data for at, record in enumerate(self.records)]

    def note(self, size: int | None = None, key: NoteKey | None = None, seconds: int = COSIGNED) -> bytes:
        """A checkpoint over the first `size` entries as they are now, good in every way, cosigned at that time."""
        return signed(self.text(size), [key or self.key], self.cosigners, seconds)

    def text(self, size: int | None = None) -> str:
        """The text of the checkpoint over the first `size` entries as they are now."""
        entries = self.entries()[:size]
        return checkpoint_text(self.origin, len(entries), tree([leaf(entry) for entry in entries]))

    def fall_behind(self, size: int | None = None, seconds: int = COSIGNED) -> None:
        """From now on the witnesses sign no more: what they have cosigned is the checkpoint over the first `size`
        entries as they are now, at that time, and both are asked for."""
        self.witnessed = self.note(size, seconds=seconds)
        self.cosigners, self.quorum = [], len(self.witnesses)

    def disclosure(self) -> list[str]:
        found = [
            disclosed(name, payload, at)
            for at, record in enumerate(self.records)
            for name, payload in record.payloads.items()
        ]
        return self.lines(found)

    def write(self, folder: Path) -> None:
        """The log's folder at `log` and the disclosure file at `payloads`, below `folder`."""
        log = TileLog(folder / "log")
        for entry in self.entries():
            log.add(entry)
        log.close()
        (folder / "log" / "checkpoint").write_bytes(self.note())
        if self.witnessed is not None:
            (folder / "log" / "checkpoint.witnessed").write_bytes(self.witnessed)
        (folder / "payloads").write_text("".join(self.disclosure()), encoding="utf-8")
        for change in self.after:
            change(folder / "log")

    # --- finding and changing records ------------------------------------------------------------------------------

    def find(self, kind: str, number: int = 0, **fields: Any) -> int:
        """The position of the record of this kind with these fields, counted from 0."""
        found = [
            at
            for at, record in enumerate(self.records)
            if record.fields["kind"] == kind and all(record.fields.get(name) == each for name, each in fields.items())
        ]
        return found[number]

    def about(self, action: str, kind: str, number: int = 0) -> int:
        return self.find(kind, number, action=action)

    def action(self, *kinds: str) -> str:
        """The first action, undoing aside, whose life is told in exactly these kinds of records, alerts aside."""
        lives: dict[str, list[str]] = {}
        for record in self.records:
            if record.fields.get("undoes"):
                continue
            if record.fields["kind"] != "alert" and "action" in record.fields:
                lives.setdefault(record.fields["action"], []).append(record.fields["kind"])
        return next(action for action, life in lives.items() if life == list(kinds))

    def at(self, position: int) -> dict[str, Any]:
        return self.records[position].fields

    def insert(self, position: int, record: Record) -> None:
        """Put a record there, at the time of the one before."""
        record.fields["at"] = self.at(position - 1)["at"]
        self.records.insert(position, record)

    def remove(self, position: int) -> Record:
        return self.records.pop(position)

    def copy_of(self, position: int) -> Record:
        record = self.records[position]
        return Record(copy.deepcopy(record.fields), dict(record.payloads))

    # --- payloads --------------------------------------------------------------------------------------------------

    def payload(self, position: int, role: str) -> bytes:
        return next(each.data for name, each in self.records[position].payloads.items() if name.endswith("." + role))

    def commit(self, position: int, role: str, data: bytes) -> None:
        """Replace a payload and the commitment to it, as whoever writes the record can."""
        record = self.records[position]
        name = next(name for name in record.fields["payloads"] if name.endswith("." + role))
        record.payloads[name] = payload = Payload(b"0123456789abcdef", data)
        record.fields["payloads"][name] = payload.commitment

    def uncommit(self, position: int, *roles: str) -> None:
        """Leave payloads out of the record altogether."""
        record = self.records[position]
        for name in [name for name in record.fields["payloads"] if name.rpartition(".")[2] in roles]:
            del record.fields["payloads"][name], record.payloads[name]

    def statement(self, position: int) -> dict[str, Any]:
        """What a person signed, in a vote or a command."""
        paper = json.loads(self.payload(position, "statement"))
        return dict(json.loads(base64.b64decode(paper["statement"])))

    def pseudonym(self, name: str) -> str:
        """How the journal names a person."""
        return Scribe(self.seed, 0).person(PEOPLE[name])

    def sign(self, position: int, signer: Signer, namespace: str = "", **changes: Any) -> None:
        """Have somebody sign the statement anew, with changes, and let the record of a command agree with it."""
        said = self.statement(position) | changes
        data, fields = compact(said), self.at(position)
        namespace = namespace or ("approval@remit" if "verb" in said else "control@remit")
        paper = {"signature": signer.sign(data, namespace).decode(), "statement": base64.b64encode(data).decode()}
        self.commit(position, "statement", compact(paper))
        if fields["kind"] == "statement":
            self._recommit(fields["payloads"])
            self.agree(fields["nonce"], nonce=said["nonce"])

    def _recommit(self, payloads: dict[str, str]) -> None:
        """The same payload has the same commitment wherever it is named."""
        for record in self.records:
            if record.fields["kind"] == "statement" and record.fields["payloads"].keys() == payloads.keys():
                record.fields["payloads"] = dict(payloads)

    def agree(self, old: str, **fields: str) -> None:
        """Change both records of a command."""
        for record in self.records:
            if record.fields["kind"] == "statement" and record.fields["nonce"] == old:
                record.fields |= fields
