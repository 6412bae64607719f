"""Payloads against their commitments, tombstones against payloads.

What lives here: the rules `payload-mismatch`, `payload-missing` and `tombstone-forged` of docs/LOG-FORMAT.md. What
never may: reading what is in a payload.
"""

from __future__ import annotations

import hashlib
from typing import Literal, Protocol

from msgspec import Struct

from remit.flow.auditing.findings import MOST_KEPT, Findings, Word
from remit.flow.auditing.ledger import Ledger, Owed, key_of
from remit.flow.auditing.records import Entry, role_of
from remit.model.display import shown
from remit.model.words import Payload

ERASABLE = frozenset({"proposal", "result", "verdict", "mandate"})
"""The roles of payloads that can be erased. What proves who allowed something, and who ordered it, stays."""


SECRETS = "secrets"
"""The role of a payload that is there only while its action is open."""


class Disclosure(Protocol):
    """The payloads that the verifier was given."""

    def payload(self, payload_id: str, position: int) -> Payload | None:
        """The payload of that id, which the entry at `position` commits to, or None. Asked in the log's order."""
        ...

    def promised(self, payload_id: str) -> bool:
        """Whether it ought to be among them unless it was erased or pruned: then its absence is a finding."""
        ...

    def unused(self) -> tuple[str, ...]:
        """The ids of some payloads that were given and never asked for: no entry commits to them."""
        ...


class Scope(Struct, frozen=True):
    """What a disclosure claims to hold: every payload of these roles (empty: of all); with `selected` only some of
    them, so that nothing is promised."""

    disclosure: Literal[1] = 1
    roles: tuple[str, ...] = ()
    selected: bool = False

    def promises(self, payload_id: str) -> bool:
        """Whether that payload ought to be there."""
        return not self.selected and (not self.roles or role_of(payload_id) in self.roles)


class Nothing:
    """No payloads were disclosed."""

    def payload(self, payload_id: str, position: int) -> Payload | None:
        return None

    def promised(self, payload_id: str) -> bool:
        return False

    def unused(self) -> tuple[str, ...]:
        return ()


class Payloads:
    """Checks what each entry commits to. Owned by one pass."""

    def __init__(self, findings: Findings, ledger: Ledger, disclosure: Disclosure) -> None:
        self._findings = findings
        self._ledger = ledger
        self._disclosure = disclosure
        self.committed = 0
        self.checked: dict[str, int] = {}
        self.withheld: dict[str, int] = {}
        self.erased = 0
        self.pruned = 0
        self.ended = 0
        self._secrets: dict[str, list[tuple[int, bool]]] = {}  # by open action: what is not there, and is it promised

    def of(self, entry: Entry, *, effect: str) -> dict[str, bytes]:
        """The bytes of the payloads of an entry by role, as far as they were disclosed and are what it commits to.

        `effect` is that of the action that the entry is about; with the role it names the class that may be pruned.
        """
        found: dict[str, bytes] = {}
        position = entry.position
        for payload_id, commitment in entry.payloads.items():
            role = role_of(payload_id)
            self.committed += 1
            key = key_of(payload_id, commitment)
            self._ledger.first(key, position)
            payload = self._disclosure.payload(payload_id, position)
            if payload is None:
                promised = self._disclosure.promised(payload_id)
                if role == SECRETS and entry.kind == "proposal" and entry.text("state") != "blocked":
                    self._secrets.setdefault(entry.action, []).append((key, promised))
                if promised:
                    self._ledger.owe(Owed(key, class_of(role, effect), entry.at, position, payload_id))
                else:
                    self.withheld[role] = self.withheld.get(role, 0) + 1
            elif not committed(payload, commitment):
                says = f"the payload {shown(payload_id)} is not the one that the record commits to"
                self._findings.add(Word.PAYLOAD_MISMATCH, entry.position, says)
            else:
                self.checked[role] = self.checked.get(role, 0) + 1
                found[role] = payload.data
        return found

    def end(self, action: str) -> None:
        """An action has ended, and its secret arguments with it."""
        for key, promised in self._secrets.pop(action, ()):
            self.ended += 1
            if promised:
                self._ledger.settle(key)
            else:
                self.withheld[SECRETS] -= 1

    def erase(self, entry: Entry, *, ordered: bool) -> None:
        """A tombstone: the payload was committed to before, with that commitment, and a person ordered it."""
        for payload_id, commitment in entry.fields["erased"].items():
            key = key_of(payload_id, commitment)
            before = self._ledger.recall(key)
            if before is None or before >= entry.position:
                says = f"no earlier record commits to {shown(payload_id)} as the tombstone says"
                self._findings.add(Word.TOMBSTONE_FORGED, entry.position, says)
            elif role_of(payload_id) not in ERASABLE:
                says = f"{shown(payload_id)} is of a kind that can never be erased"
                self._findings.add(Word.TOMBSTONE_FORGED, entry.position, says)
                continue
            elif not ordered:
                says = f"nobody's signed order to erase {shown(payload_id)} stands beside its tombstone"
                self._findings.add(Word.TOMBSTONE_FORGED, entry.position, says)
            self.erased += 1
            self._ledger.settle(key)

    def prune(self, entry: Entry) -> None:
        """Retention: what was recorded of a class before then may be gone."""
        before, payload_class = entry.fields.get("before"), entry.text("class")
        if type(before) is int and before <= entry.at and payload_class:
            self.pruned += self._ledger.forgive(payload_class, before)

    def close(self) -> None:
        """The end of the log: what is still owed is missing, what was given and not asked for belongs to no entry."""
        count, first = self._ledger.owing(MOST_KEPT)
        for owed in first:
            says = f"the payload {shown(owed.payload)} is not there, and no record says that it was erased or pruned"
            self._findings.add(Word.PAYLOAD_MISSING, owed.position, says)
        self._findings.more(Word.PAYLOAD_MISSING, count - len(first))
        for payload_id in self._disclosure.unused():
            says = f"no record commits to the payload {shown(payload_id)}, which was handed over"
            self._findings.add(Word.PAYLOAD_MISMATCH, None, says)


def class_of(role: str, effect: str) -> str:
    """The class of a payload, which `pruned` names; empty where retention may never remove it."""
    if role == "result":
        return "read_results" if effect == "read" else "change_results"
    return {"proposal": "proposals", "verdict": "verdicts"}.get(role, "")


def committed(payload: Payload, commitment: str) -> bool:
    """Whether the record that holds this commitment is about exactly these bytes."""
    return len(payload.salt) == 16 and hashlib.sha256(payload.salt + payload.data).hexdigest() == commitment
