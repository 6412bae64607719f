"""Checking a bundle offline: is every record in the log, is the rest what the records commit to, is it told right.

What lives here: the order of the checks, and the report. What never may: files, networks, a belief in anything in the
bundle that was not proved first. The checks of what records say are those of the whole log (`flow.auditing`).

INVARIANT: no byte of a bundle goes unchecked: a member is proved, or committed to, or made again and compared.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from remit.flow.auditing.audit import Journal
from remit.flow.auditing.files import Head, Trust, check_age, head_of
from remit.flow.auditing.findings import Findings, Word
from remit.flow.auditing.ledger import MemoryLedger
from remit.flow.auditing.payloads import SECRETS
from remit.flow.auditing.records import role_of
from remit.flow.bundling.choosing import ROLES, committed
from remit.flow.bundling.deriving import derived
from remit.flow.bundling.members import CHECKPOINT, CONNECTOR, HEAD, KEYS, PAYLOADS, RECORDS, read, written
from remit.flow.bundling.retelling import fields_of
from remit.flow.bundling.words import About, Disclosed, Material, Proved
from remit.flow.bundling.zipping import BadBundle, unpack
from remit.gates.log.checkpoints import Checkpoint
from remit.gates.log.merkle import NotProven, check_inclusion, leaf_hash
from remit.gates.log.notes import LOG, WITNESS, VerifierKey
from remit.gates.log.proofs import parse
from remit.model.canonical import sha256_hex
from remit.model.display import shown
from remit.model.errors import Misuse, RemitError
from remit.model.words import Payload

LEFT_OUT = ("withheld", "secret", "large")
"""What whoever makes a bundle may leave out. Everything else must be there, or have a tombstone."""


class Breach(Struct, frozen=True):
    """One thing that is wrong: a word (of docs/LOG-FORMAT.md, or `bad-bundle`, `retold`, `unlisted`), the member that
    it is in, the position of the record concerned if there is one, and a lowercase sentence."""

    word: str
    member: str
    position: int | None
    says: str


class BundleReport(Struct, frozen=True, kw_only=True):
    """What checking came to. `unmade` are the things that were not checked, each with the reason."""

    about: About = About()
    origin: str = ""
    size: int = 0
    signed_by: tuple[str, ...] = ()
    cosigned: tuple[tuple[str, int], ...] = ()
    entries: int = 0
    payloads: int = 0
    left_out: tuple[tuple[str, str], ...] = ()
    signatures: dict[str, int] = {}
    unmade: tuple[str, ...] = ()
    breaches: tuple[Breach, ...] = ()

    @property
    def verified(self) -> bool:
        """Whether nothing is wrong. Says nothing of what was not checked."""
        return not self.breaches


def check_bundle(data: bytes, trust: Trust) -> BundleReport:
    """Check the bytes of a bundle. Without keys in `trust` it is checked against the key that it brings along, which
    proves only that it fits itself: the report says so. Raises `Misuse` for keys that cannot be used together."""
    try:
        members = unpack(data)
        material = read(members)
        own = tuple(VerifierKey.parse(key) for key in material.keys)
    except (BadBundle, Misuse) as error:
        member = error.member if isinstance(error, BadBundle) else KEYS
        return BundleReport(breaches=(Breach("bad-bundle", member, None, error.message),))
    return _Checking(members, material, own, trust).report()


class _Checking:
    """One check of one bundle. Owned by `check_bundle`."""

    def __init__(
        self, members: dict[str, bytes], material: Material, own: tuple[VerifierKey, ...], trust: Trust
    ) -> None:
        self._members = members
        self._material = material
        self._own = own
        self._trusted = bool(trust.keys)
        self._trust = trust if trust.keys else _own_trust(trust, own)
        self._breaches: list[Breach] = []
        self._findings = Findings()

    def report(self) -> BundleReport:
        """Everything, in order; what fails early does not keep the rest from being looked at."""
        material = self._material
        head = head_of(material.checkpoint, self._trust, self._findings)
        self._take_findings(CHECKPOINT)
        if head is None:
            return self._told(None, None)
        self._keys(head)
        self._proofs(head.checkpoint)
        journal = self._journal(head.checkpoint)
        check_age(head, journal.reading.latest, self._trust, self._findings)
        self._take_findings(CHECKPOINT)
        self._payloads()
        self._connectors()
        self._told_right()
        return self._told(head, journal)

    # --- the log ------------------------------------------------------------------------------------------------------

    def _keys(self, head: Head) -> None:
        """The keys in the bundle are those that signed its checkpoint, and those that the reader trusts."""
        signed = {each.key for each in (*head.signed, *head.cosigned)}
        for key in self._own:
            if key.algorithm == LOG and key not in self._trust.keys:
                says = f"the bundle names the log's key `{key.key_id.hex()}`, which is not one that you gave"
                self._add(Word.BAD_SIGNATURE, KEYS, None, says)
            elif key not in signed and (key.algorithm == LOG or key in self._trust.witnesses):
                self._add(Word.BAD_SIGNATURE, KEYS, None, f"the key {shown(key.name)} has not signed the checkpoint")

    def _proofs(self, checkpoint: Checkpoint) -> None:
        for each in self._material.entries:
            try:
                self._proof(each, checkpoint)
            except NotProven as error:
                self._add(Word.TAMPERED, RECORDS, each.position, error.message)

    def _proof(self, each: Proved, checkpoint: Checkpoint) -> None:
        proof = parse(each.proof)
        if proof.index != each.position:
            raise NotProven(f"the proof is of position {proof.index}, the record says {each.position}")
        if proof.checkpoint != self._material.checkpoint:
            raise NotProven("the proof ends in another checkpoint than the bundle's")
        if proof.extra:
            raise NotProven("the proof says more than a proof does")
        check_inclusion(leaf_hash(each.entry), each.position, checkpoint.size, proof.hashes, checkpoint.root)

    # --- what the records say -----------------------------------------------------------------------------------------

    def _journal(self, checkpoint: Checkpoint) -> Journal:
        journal = Journal(self._findings, MemoryLedger(), _Given(self._material))
        for each in self._material.entries:
            journal.take(each.position, each.entry)
        journal.close()
        home = f"remit/{journal.people.home}"
        if checkpoint.origin != home and not checkpoint.origin.startswith(f"{home}/"):
            says = f"the log's origin is {shown(checkpoint.origin)}, and its first record makes another home"
            self._findings.add(Word.BAD_START, 0, says)
        self._take_findings(RECORDS)
        return journal

    def _payloads(self) -> None:
        """Each payload is named with the first record that commits to it; what is absent is what is committed to."""
        first: dict[str, int] = {}
        for each in self._material.entries:
            for name in committed(fields_of(each.entry)):
                first.setdefault(name, each.position)
        given = [each.payload.id for each in self._material.payloads]
        absent = [each.id for each in self._material.absent]
        for one in self._material.payloads:
            if first.get(one.payload.id) != one.entry:
                says = (
                    f"the payload {shown(one.payload.id)} is not said to belong to the first record that commits to it"
                )
                self._add(Word.PAYLOAD_MISMATCH, PAYLOADS, one.entry, says)
        if len(set(given)) != len(given):
            self._add(Word.PAYLOAD_MISMATCH, PAYLOADS, None, "a payload is there twice")
        if sorted([*given, *absent]) != sorted(first):
            says = "what is said to be left out is not what is missing"
            self._add("unlisted", HEAD, None, says)

    def _connectors(self) -> None:
        pinned = b"".join(each.payload.data for each in self._material.payloads if each.payload.id.startswith("bnd_"))
        for name, data in self._material.connectors.items():
            if f"sha256:{sha256_hex(data)}".encode() not in pinned:
                says = f"no boundary in the bundle pins this file of connector {shown(name)}"
                self._add("unlisted", f"connector.{name}.toml", None, says)

    def _told_right(self) -> None:
        """Page, README and copies are made again from the rest, and compared byte for byte."""
        try:
            expected = derived(self._material)
        except RemitError as error:
            self._add("retold", getattr(error, "member", "") or "story.html", None, error.message)
            return
        known = {*expected, *written(self._material)}
        for name in sorted(expected):
            if self._members.get(name) != expected[name]:
                what = "is not there" if name not in self._members else "does not say what the records and payloads say"
                self._add("retold", name, None, f"the member {shown(name)} {what}")
        for name in sorted(set(self._members) - known):
            if not CONNECTOR.match(name):
                self._add("unlisted", name, None, f"nothing accounts for the member {shown(name)}")

    # --- the report ---------------------------------------------------------------------------------------------------

    def _add(self, word: str, member: str, position: int | None, says: str) -> None:
        self._breaches.append(Breach(str(word), member, position, says))

    def _take_findings(self, member: str) -> None:
        for finding in self._findings.all():
            where = PAYLOADS if finding.word in (Word.PAYLOAD_MISMATCH, Word.PAYLOAD_MISSING) else member
            self._add(finding.word, where, finding.position, finding.says)
        self._findings = Findings()

    def _told(self, head: Head | None, journal: Journal | None) -> BundleReport:
        material = self._material
        checked = journal.people.checked if journal else {}
        return BundleReport(
            about=material.about,
            origin=head.checkpoint.origin if head else "",
            size=head.checkpoint.size if head else 0,
            signed_by=tuple(each.key.text for each in head.signed) if head else (),
            cosigned=tuple((each.key.name, each.at or 0) for each in head.cosigned) if head else (),
            entries=len(material.entries),
            payloads=len(material.payloads),
            left_out=tuple((each.id, each.why) for each in material.absent),
            signatures=dict(sorted(checked.items())),
            unmade=tuple(self._unmade(head, journal)),
            breaches=tuple(self._breaches),
        )

    def _unmade(self, head: Head | None, journal: Journal | None) -> Iterable[str]:
        if head is None or journal is None:
            yield "everything below the checkpoint"
            return
        if not self._trusted:
            yield "whose log this is: you gave no key, so the bundle was held against the key that it brings along"
        if not head.cosigned or not self._trust.witnesses:
            yield (
                "that history was never rewritten: no witness that you named has cosigned, so rewriting by whoever "
                "holds the log's key is not excluded"
            )
        strangers = [key.name for key in self._own if key.algorithm == WITNESS and key not in self._trust.witnesses]
        if strangers:
            yield f"the cosignatures of {', '.join(map(shown, strangers))}: you did not name them as witnesses"
        yield "that no further record about this was left out: only the whole log can show that"
        for what, count in sorted(journal.people.unchecked.items()):
            yield f"the signatures of {count} {what}: what they are over was left out"


class _Given:
    """The payloads in a bundle, as the checks of records ask for them."""

    def __init__(self, material: Material) -> None:
        self._payloads: dict[str, Disclosed] = {each.payload.id: each for each in material.payloads}
        self._left_out = {each.id for each in material.absent if each.why in LEFT_OUT}
        self._asked: set[str] = set()

    def payload(self, payload_id: str, position: int) -> Payload | None:
        self._asked.add(payload_id)
        found = self._payloads.get(payload_id)
        return found.payload if found else None

    def promised(self, payload_id: str) -> bool:
        role = role_of(payload_id)
        return payload_id not in self._left_out or role not in (*ROLES, SECRETS)

    def unused(self) -> tuple[str, ...]:
        return tuple(sorted(set(self._payloads) - self._asked))


def _own_trust(trust: Trust, own: tuple[VerifierKey, ...]) -> Trust:
    return Trust(
        keys=tuple(key for key in own if key.algorithm == LOG),
        witnesses=trust.witnesses,
        quorum=trust.quorum,
        older=trust.older,
        max_age=trust.max_age,
        now=trust.now,
    )
