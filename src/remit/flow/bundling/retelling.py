"""The store as far as a bundle can tell it: actions, runs, votes and evidence made again from records and payloads.

What lives here: reading what the records say into the values that a story is told from. What never may: anything that
is not in the bundle, trust in a row of somebody's database. INVARIANT: whoever makes a bundle and whoever checks it
come to the same values, for both start from the same bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, TypeVar

import msgspec

from remit.flow.bundling.words import Material
from remit.flow.ports import StoredRecord
from remit.flow.query import Query
from remit.flow.reloading import BOUNDARY_FILE, PEOPLE, ROSTER, kept_fact
from remit.gates.boundary.load import load
from remit.gates.boundary.words import Boundary
from remit.model.canonical import sha256_hex
from remit.model.errors import RemitError
from remit.model.people import Role, load_roster, verify_signed
from remit.model.signatures import Namespace
from remit.model.words import (
    Action,
    Approval,
    Ask,
    Clause,
    Confidentiality,
    CredentialClass,
    Decision,
    Effect,
    Evidence,
    Instant,
    Integrity,
    Json,
    Label,
    Mandate,
    Payload,
    Proposal,
    Ruling,
    Run,
    State,
    Tombstone,
)

_ROSTERS: Final = ("home.created", "roster.loaded")
_MANY: Final = 1_000_000
T = TypeVar("T")
Fields = dict[str, Json]
ENDED: Final = {
    "withdrawn": State.WITHDRAWN,
    "expired": State.EXPIRED,
    "void": State.VOID,
    "refused": State.BLOCKED,
    "approved": State.APPROVED,
    "asked.again": State.WAITING,
    "intent": State.EXECUTING,
}
_proposal = msgspec.json.Decoder(Proposal)


class Retold:
    """The `Reads` of a bundle's material. Nothing here is verified; `checking` does that."""

    def __init__(self, material: Material) -> None:
        self._records = [_record(each.position, each.entry) for each in material.entries]
        self._payloads = {each.payload.id: each.payload for each in material.payloads}
        self.fields = {each.position: fields_of(each.data) for each in self._records}

    # --- records and payloads -----------------------------------------------------------------------------------------

    def records(
        self, *, action: str = "", run: str = "", kinds: Sequence[str] = (), limit: int = 1000
    ) -> list[StoredRecord]:
        """See `Reads`."""
        found = [
            each
            for each in self._records
            if (not action or each.action == action)
            and (not run or each.run == run)
            and (not kinds or each.kind in kinds)
        ]
        return found[-limit:]

    def records_at(self, positions: Sequence[int]) -> list[StoredRecord]:
        """See `Reads`."""
        wanted = set(positions)
        return [each for each in self._records if each.position in wanted]

    def records_from(self, position: int, limit: int) -> list[StoredRecord]:
        """See `Reads`."""
        return [each for each in self._records if each.position >= position][:limit]

    def payload(self, payload_id: str) -> Payload | None:
        """See `Reads`."""
        return self._payloads.get(payload_id)

    def tombstone(self, payload_id: str) -> Tombstone | None:
        """See `Reads`."""
        for each in self.records(kinds=("erased",), limit=len(self._records)):
            if payload_id in _object(self.fields[each.position].get("erased")):
                return Tombstone(payload=payload_id, position=each.position, data=each.data)
        return None

    def prunable(self, payload_class: str, before: Instant) -> int:
        """See `Reads`: nothing is removed from a bundle."""
        return 0

    def payload_of(self, position: int, role: str) -> Payload | None:
        """The payload of that role that the record at this position commits to."""
        kept = self.fields[position].get("payloads")
        names = [each for each in kept if each.rpartition(".")[2] == role] if isinstance(kept, dict) else []
        return self._payloads.get(names[0]) if names else None

    def counts(self) -> dict[str, int]:
        """See `Reads`."""
        return {"actions": len(self._actions), "records": len(self._records), "runs": len(self.runs())}

    def latest(self) -> Instant:
        """See `Reads`."""
        return max((each.at for each in self._records), default=0)

    # --- actions ------------------------------------------------------------------------------------------------------

    def action(self, action_id: str) -> Action | None:
        """See `Reads`."""
        return self._actions.get(action_id)

    def actions(self, query: Query) -> list[Action]:
        """See `Reads`, as far as a story asks: by run, case, agent, connector, states and time."""
        found = [each for each in self._actions.values() if query.fits(each)]
        return sorted(found, key=lambda each: (-each.opened_at, each.id))[: query.limit]

    def every_action(self) -> list[Action]:
        """All of them, in no order."""
        return list(self._actions.values())

    @cached_property
    def _actions(self) -> dict[str, Action]:
        by_action: dict[str, list[StoredRecord]] = {}
        for each in self._records:
            if each.action:
                by_action.setdefault(each.action, []).append(each)
        found = (self._action(name, records) for name, records in by_action.items())
        return {each.id: each for each in found if each is not None}

    def _action(self, name: str, records: Sequence[StoredRecord]) -> Action | None:
        latest = {each.kind: self.fields[each.position] for each in records}
        opened = latest.get("proposal")
        if opened is None:
            return None
        position = next(each.position for each in records if each.kind == "proposal")
        payload = self.payload_of(position, "proposal")
        intent, outcome = latest.get("intent", {}), latest.get("outcome", {})
        ruling = next((latest[kind]["ruling"] for kind in ("refused", "intent", "asked.again") if kind in latest), None)
        at = {each.kind: each.at for each in records}
        state = self._state(records)
        evidence = text(outcome, "evidence")
        return Action(
            id=name,
            revision=len(records),
            state=state,
            agent=text(opened, "agent"),
            run=text(opened, "run"),
            case=text(opened, "case"),
            connector=text(opened, "connector"),
            tool=text(opened, "tool"),
            category=text(opened, "category"),
            effect=one_of(Effect, opened.get("effect"), Effect.DESTROY),
            definition=text(opened, "definition"),
            targets=_targets(opened, payload),
            bounded="unbounded" not in texts(_object(opened.get("ruling")), "clauses"),
            digest=text(opened, "digest"),
            fingerprint="",
            proposal=payload.id if payload else "",
            ruling=self._ruling(_object(ruling if ruling is not None else opened.get("ruling"))),
            opened_at=at["proposal"],
            decided_at=at.get("approved", at.get("intent", at["proposal"] if state is State.BLOCKED else None)),
            intended_at=at.get("intent"),
            handed_over=outcome.get("handed_over") is True,
            ended_at=self._ended(state, at),
            warrant=text(intent, "warrant"),
            credential=one_of(CredentialClass, intent.get("credential"), CredentialClass.NONE),
            evidence=evidence,
            result=f"{evidence}.result" if evidence else "",
            outcome=text(outcome, "why"),
            settled_by=self._settled_by(latest),
            undoes=text(opened, "undoes"),
        )

    def _state(self, records: Iterable[StoredRecord]) -> State:
        state = State.WAITING
        for each in records:
            fields = self.fields[each.position]
            if each.kind in ("proposal", "outcome"):
                state = one_of(State, fields.get("state"), State.UNKNOWN)
            elif each.kind == "vote" and fields.get("verb") == "reject":
                state = State.REJECTED
            elif each.kind == "settled":
                state = State.DONE if fields.get("applied") is True else State.FAILED
            else:
                state = ENDED.get(each.kind, state)
        return state

    @staticmethod
    def _ended(state: State, at: Mapping[str, Instant]) -> Instant | None:
        if state in (State.WAITING, State.APPROVED, State.EXECUTING):
            return None
        kinds = ("settled", "outcome", "void", "expired", "withdrawn", "refused", "vote", "proposal")
        return next((at[kind] for kind in kinds if kind in at), None)

    def _settled_by(self, latest: Mapping[str, Fields]) -> str:
        settled = latest.get("settled")
        if settled is None:
            return ""
        who = self.people.get(text(settled, "by"), "")
        return f"{who or 'a person'}, {'by hand' if settled.get('hand') is True else 'by asking the system'}"

    def _ruling(self, fields: Fields) -> Ruling:
        boundary = self.boundary(text(fields, "boundary"))
        decision = one_of(Decision, fields.get("decision"), Decision.FORBID)
        quorum = fields.get("quorum")
        then: dict[str, Decision] = {}
        if boundary is not None:
            then = {each.id: each.then for each in boundary.rules} | {each.id: each.then for each in boundary.quotas}
            then |= dict.fromkeys((each.id for each in boundary.nevers), Decision.FORBID)
        clauses = tuple(Clause(name, then.get(name, decision), "") for name in texts(fields, "clauses"))
        ask = Ask(quorum=quorum) if isinstance(quorum, int) and quorum > 0 else None
        return Ruling(decision=decision, clauses=clauses, ask=ask, boundary=text(fields, "boundary"))

    # --- runs, votes, evidence ----------------------------------------------------------------------------------------

    def run(self, run_id: str) -> Run | None:
        """See `Reads`."""
        return next((each for each in self.runs() if each.id == run_id), None)

    def runs(self, *, open_only: bool = False) -> list[Run]:
        """See `Reads`."""
        return [self._run(each) for each in self._records if each.kind == "run.opened"]

    def _run(self, opened: StoredRecord) -> Run:
        fields = self.fields[opened.position]
        mandate = self.payload_of(opened.position, "mandate")
        said = fields_of(mandate.data) if mandate else {}
        later = {each.kind: each for each in self._records if each.run == opened.run}
        closed, verdict = later.get("run.closed"), later.get("verdict")
        expires = fields.get("expires")
        return Run(
            id=opened.run,
            agent=opened.agent,
            case=text(fields, "case"),
            opened_by=text(said, "by") or self.people.get(text(fields, "by"), ""),
            opened_at=opened.at,
            expires_at=expires if isinstance(expires, int) else opened.at,
            mandate=Mandate(texts(said, "targets"), texts(fields, "categories")),
            token_hash="",
            closed_at=closed.at if closed else None,
            closed_by=self.people.get(text(self.fields[closed.position], "by"), "") if closed else "",
            verdict=text(self.fields[verdict.position], "verdict") if verdict else "",
        )

    def approvals(self, action_id: str) -> tuple[Approval, ...]:
        """See `Reads`: a vote whose statement is not in the bundle has no signature to check."""
        found = []
        for record in self.records(action=action_id, kinds=("vote",)):
            fields = self.fields[record.position]
            statement, signature = signed(self.payload_of(record.position, "statement"))
            verb: Any = "approve" if fields.get("verb") == "approve" else "reject"
            found.append(
                Approval(
                    action=action_id,
                    person=self.people.get(text(fields, "person"), text(fields, "person")),
                    verb=verb,
                    at=record.at,
                    statement=statement,
                    signature=signature,
                )
            )
        return tuple(found)

    def evidence(self, evidence_id: str) -> Evidence | None:
        """See `Reads`."""
        return next((each for each in self._evidence if each.id == evidence_id), None)

    @cached_property
    def _evidence(self) -> list[Evidence]:
        return [
            _evidence(each, self.fields[each.position], self.payload_of(each.position, "result"))
            for each in self._records
            if each.kind == "outcome" and text(self.fields[each.position], "evidence")
        ]

    # --- what was in force --------------------------------------------------------------------------------------------

    def fact(self, name: str) -> bytes | None:
        """See `Reads`: rosters and boundaries, the newest and each by its digest, and who stands behind pseudonyms."""
        return self._facts.get(name)

    @cached_property
    def _facts(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        people = msgspec.json.encode(self.people, order="sorted")
        for kinds, fact in ((("home.created", "roster.loaded"), ROSTER), (("boundary.loaded",), BOUNDARY_FILE)):
            for record in self.records(kinds=kinds, limit=len(self._records)):
                file = self.payload_of(record.position, "file")
                if file is not None:
                    found[fact] = found[kept_fact(fact, sha256_hex(file.data))] = file.data
                    found[kept_fact(PEOPLE, sha256_hex(file.data))] = people
        return found

    def boundary(self, digest: str) -> Boundary | None:
        """The boundary of that digest, if its file is in the bundle."""
        if digest not in self._boundaries:
            data = self.fact(kept_fact(BOUNDARY_FILE, digest.removeprefix("sha256:")))
            try:
                self._boundaries[digest] = load(data) if data else None
            except RemitError:
                self._boundaries[digest] = None
        return self._boundaries[digest]

    @cached_property
    def _boundaries(self) -> dict[str, Boundary | None]:
        return {}

    @cached_property
    def people(self) -> dict[str, str]:
        """Pseudonym to person, from statements that name both: a signed one, an order, a mandate."""
        found: dict[str, str] = {}
        for record in self._records:
            fields = self.fields[record.position]
            statement, _ = signed(self.payload_of(record.position, "statement"))
            said = fields_of(statement)
            if text(said, "person") and text(fields, "person"):
                found[text(fields, "person")] = text(said, "person")
            for role in ("order", "mandate"):
                payload = self.payload_of(record.position, role)
                by = text(fields_of(payload.data), "by") if payload else ""
                if by and text(fields, "by"):
                    found[text(fields, "by")] = by
            found |= self._signers(record)
        return dict(sorted(found.items()))

    def _signers(self, record: StoredRecord) -> dict[str, str]:
        """Who signed a boundary or roster: the records name signers in the order of their ids."""
        named = texts(self.fields[record.position], "signers")
        file, papers = (self.payload_of(record.position, role) for role in ("file", "signatures"))
        if not named or file is None or papers is None:
            return {}
        before = [each for each in self.records(kinds=_ROSTERS, limit=_MANY) if each.position < record.position]
        roster = self.payload_of(before[-1].position, "file") if before else None
        namespace, role = (Namespace.BOUNDARY if record.kind == "boundary.loaded" else Namespace.ROSTER), Role.LEADER
        try:
            people = load_roster(roster.data) if roster else None
            signatures = [each.encode() for each in msgspec.json.decode(papers.data, type=list[str])]
            found = verify_signed(people, file.data, signatures, namespace, [role], now=record.at) if people else ()
        except (RemitError, msgspec.MsgspecError, UnicodeError):
            return {}
        return dict(zip(named, (each.id for each in found), strict=False)) if len(found) == len(named) else {}


def fields_of(data: bytes) -> Fields:
    """A JSON object's fields; empty where the bytes are none."""
    try:
        decoded = msgspec.json.decode(data) if data else None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}


def text(fields: Fields, name: str) -> str:
    """A field that is text; empty where it is none."""
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def texts(fields: Fields, name: str) -> tuple[str, ...]:
    """A field that is a list of texts; empty where it is none."""
    value = fields.get(name)
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def one_of(kind: type[T], value: Json, default: T) -> T:
    """The member of an enumeration that a value names."""
    try:
        return kind(value)  # type: ignore[call-arg]
    except ValueError:
        return default


def signed(payload: Payload | None) -> tuple[bytes, bytes]:
    """The signed bytes and the armoured signature in a statement's payload; empty where there is none."""
    if payload is None:
        return b"", b""
    fields = fields_of(payload.data)
    try:
        return base64.b64decode(text(fields, "statement"), validate=True), text(fields, "signature").encode()
    except (binascii.Error, ValueError):
        return b"", b""


def _object(value: Json) -> Fields:
    return value if isinstance(value, dict) else {}


def _record(position: int, data: bytes) -> StoredRecord:
    fields = fields_of(data)
    at = fields.get("at")
    return StoredRecord(
        position=position,
        kind=text(fields, "kind"),
        at=at if isinstance(at, int) else 0,
        action=text(fields, "action"),
        run=text(fields, "run"),
        agent=text(fields, "agent"),
        data=data,
        sha256=hashlib.sha256(data).digest(),
    )


def _targets(opened: Fields, payload: Payload | None) -> tuple[str, ...]:
    """The targets by name, else by pseudonym, marked as one."""
    if payload is not None:
        try:
            return _proposal.decode(payload.data).targets
        except msgspec.MsgspecError:
            pass
    return tuple(f"a target whose name is left out ({each})" for each in texts(opened, "targets"))


def _evidence(record: StoredRecord, fields: Fields, payload: Payload | None) -> Evidence:
    label = _object(fields.get("label"))
    name = text(fields, "evidence")
    return Evidence(
        id=name,
        run=record.run,
        action=record.action,
        at=record.at,
        digest=sha256_hex(payload.data) if payload else "",
        label=Label(
            one_of(Integrity, label.get("integrity"), Integrity.THIRD_PARTY),
            one_of(Confidentiality, label.get("confidentiality"), Confidentiality.SECRET),
            text(label, "source"),
        ),
        payload=payload.id if payload else f"{name}.result",
    )
