"""A past to look back on: a home with people, a boundary and a run, and actions that took the road to their ends.

Every step writes the records that the flow writes for it, into the store double, which refuses what a store refuses.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from remit.adapters.store.memory import MemoryStore
from remit.flow.citing import cited
from remit.flow.ports import Transaction
from remit.flow.reloading import BOUNDARY, BOUNDARY_FILE, INVENTORY, PEOPLE, ROSTER, kept_fact
from remit.gates import intake, journal
from remit.gates.journal import Pseudonyms
from remit.model.canonical import sha256_hex
from remit.model.manifest import Manifest, load_manifest
from remit.model.signatures import Namespace, sign
from remit.model.statements import ApprovalStatement
from remit.model.words import (
    MINUTE,
    REMIT,
    SECOND,
    Action,
    Approval,
    Ask,
    Clause,
    Confidentiality,
    CredentialClass,
    Decision,
    Effect,
    Event,
    Evidence,
    Integrity,
    Label,
    Mandate,
    Payload,
    Proposal,
    Rationale,
    Ruling,
    Run,
    Scope,
    Signal,
    State,
    StopMode,
    StopOrder,
)
from tests.flow.home import KEYS, roster_bytes

START = 1_795_312_800 * SECOND  # 2026-11-22T02:00:00Z, which is 03:00 in Berlin
HOME = "home_1"
NAMES = Pseudonyms(b"k" * 32)

EDR = b"""
[connector]
name = "edr"
transport = "stdio"
command = ["edr"]
cuttable = false
credential = { class = "warrant" }

[[tool]]
name = "host_status"
category = "evidence.read"
effect = "read"
target = { argument = "host", takes = "one" }

[[tool]]
name = "isolate_host"
category = "host.isolate"
effect = "change"
target = { argument = "host", takes = "one" }
reach = 1
undo = { tool = "release_host", arguments = { host = "$target" } }
status = { tool = "host_status", arguments = { host = "$target" }, field = "isolated", equals = true }

[[tool]]
name = "release_host"
category = "host.release"
effect = "change"
target = { argument = "host", takes = "one" }
reach = 1
"""

BOUNDARY_TOML = b"""
[boundary]
name = "soc-triage"
version = 7
not_before = 2026-11-01T00:00:00Z
not_after = 2027-02-01T00:00:00Z
detection_time = "15m"
timezone = "Europe/Berlin"
[boundary.pins]
connectors = { edr = "PIN" }

[[category]]
name = "host.isolate"
does = "cut a host off the network"
effect = "change"

[[agent]]
name = "triage"
owner = "ann"
purpose = "first triage"
categories = ["host.isolate"]
review_by = 2027-01-15

[[rule]]
id = "ISO-1"
then = "approve"
agents = ["triage"]
categories = ["host.isolate"]
"""

INVENTORY_CSV = b"""id,kind,privileged,owner,labels,aliases
WS-7,workstation,no,ann,floor-2,ws-7.corp.example;edr:h-0007
WS-8,workstation,no,bob,floor-2,
DC01,domain-controller,yes,,,
"""

DECIDED = {
    Decision.AUTO: Clause("ISO-1", Decision.AUTO, "ordinary workstation that the case names"),
    Decision.APPROVE: Clause("ISO-2", Decision.APPROVE, "a human looks at this first"),
    Decision.FORBID: Clause("N-1", Decision.FORBID, "domain controllers are never touched"),
}


def roster() -> bytes:
    return roster_bytes(roles={"ann": ("leader",), "bob": ("approver", "on-call")})


def manifests() -> dict[str, Manifest]:
    return {"edr": load_manifest(EDR, "edr")}


class Past:
    """See the module. `now` moves on by ten seconds with every step, or as a test sets it."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.now = START
        self.boundary_file = BOUNDARY_TOML.replace(b"PIN", manifests()["edr"].digest.encode())
        self.boundary = sha256_hex(self.boundary_file)
        self._count = 0
        self.commit(self._found)

    def commit(self, step: Callable[[Transaction], Any]) -> Any:
        self.now += 10 * SECOND
        return asyncio.run(self.store.commit(step))

    def _found(self, tx: Transaction) -> None:
        at = self.now
        digest = sha256_hex(roster())
        created = journal.record("home.created", at, home=HOME, practice=False, roster=digest)
        tx.set_fact(ROSTER, roster(), created)
        people = {NAMES.person(each): each for each in ("ann", "bob")}
        tx.set_fact(kept_fact(PEOPLE, digest), msgspec.json.encode(people))
        loaded = journal.record(
            "boundary.loaded",
            at,
            name="soc-triage",
            digest=self.boundary,
            version=7,
            signers=[NAMES.person("ann")],
            expired=False,
        )
        tx.set_fact(BOUNDARY, b"{}", loaded)
        tx.set_fact(BOUNDARY_FILE, self.boundary_file)
        tx.set_fact(kept_fact(BOUNDARY_FILE, self.boundary), self.boundary_file)
        tx.set_fact(INVENTORY, INVENTORY_CSV, journal.record("inventory.loaded", at, digest="d", targets=3))
        tx.put_run(
            self.run(),
            journal.record(
                "run.opened", at, run="run_1", agent="triage", case="alert-7", by=NAMES.person("orchestrator")
            ),
        )

    def run(self, **changes: Any) -> Run:
        fields: dict[str, Any] = {
            "id": "run_1",
            "agent": "triage",
            "case": "alert-7",
            "opened_by": "orchestrator",
            "opened_at": START,
            "expires_at": START + 60 * MINUTE,
            "mandate": Mandate(("WS-7",), ("host.isolate", "evidence.read")),
            "token_hash": "hash-of-the-token",
        }
        return Run(**(fields | changes))

    def fresh(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}_{self._count:016}"

    # --- proposing -------------------------------------------------------------------------------------------------

    def propose(
        self,
        decision: Decision = Decision.AUTO,
        *,
        cites: tuple[str, ...] = (),
        summary: str = "beacons to a known bad address",
        targets: tuple[str, ...] = ("WS-7",),
        **changes: Any,
    ) -> Action:
        """A proposal, ruled; an `auto` one with its intent."""
        rationale = Rationale(
            summary=summary,
            signals=tuple(Signal(f"it says so in {each}", each) for each in cites),
            confidence=0.9,
            alternatives=("wait",),
        )
        name = self.fresh("act")
        proposal = Proposal(
            arguments=msgspec.json.encode({"host": targets[0] if targets else ""}).decode(),
            targets=targets,
            asked="{}",
            salt="5a" * 16,
            rationale=rationale,
        )
        payload = Payload(id=f"{name}.proposal", kind="proposal", salt=b"s" * 16, data=msgspec.json.encode(proposal))
        action = self._action(name, decision, targets, **changes)
        action = msgspec.structs.replace(action, digest=intake.digest_of(action, proposal), proposal=payload.id)
        return self.commit(lambda tx: self._propose_step(tx, action, payload))  # type: ignore[no-any-return]

    def _action(self, name: str, decision: Decision, targets: tuple[str, ...], **changes: Any) -> Action:
        at = self.now + 10 * SECOND
        states = {
            Decision.AUTO: State.EXECUTING,
            Decision.APPROVE: State.WAITING,
            Decision.FORBID: State.BLOCKED,
        }
        ask = Ask() if decision is Decision.APPROVE else None
        times: dict[Decision, dict[str, Any]] = {
            Decision.AUTO: {"decided_at": at, "intended_at": at},
            Decision.APPROVE: {"expires_at": at + 30 * MINUTE},
            Decision.FORBID: {"decided_at": at, "ended_at": at},
        }
        fields: dict[str, Any] = {
            "id": name,
            "revision": 1,
            "state": states[decision],
            "agent": "triage",
            "run": "run_1",
            "case": "alert-7",
            "connector": "edr",
            "tool": "isolate_host",
            "category": "host.isolate",
            "effect": Effect.CHANGE,
            "definition": "d" * 64,
            "targets": targets,
            "bounded": True,
            "digest": "",
            "fingerprint": name,
            "proposal": "",
            "ruling": Ruling(decision=decision, clauses=(DECIDED[decision],), ask=ask, boundary=self.boundary),
            "opened_at": at,
            "warrant": name.replace("act", "wrt"),
            "credential": CredentialClass.WARRANT,
        }
        return Action(**(fields | times[decision] | changes))

    def _propose_step(self, tx: Transaction, action: Action, payload: Payload) -> Action:
        tx.put_payload(payload)
        rationale = msgspec.json.decode(payload.data, type=Proposal).rationale
        reasons = journal.reasons(rationale, cited(tx, rationale), action.run, self.now, NAMES)
        records = [journal.proposal(action, self.now, NAMES, journal.commits(payload), reasons)]
        if action.state is State.EXECUTING:
            records.append(self.intent(action))
        if action.state is State.BLOCKED:
            records.append(journal.of_action("alert", self.now, action, code="forbidden"))
        return tx.open(action, (), *records)

    def intent(self, action: Action, *approvers: str) -> Any:
        return journal.of_action(
            "intent",
            self.now,
            action,
            digest=action.digest,
            definition=action.definition,
            ruling=journal.ruled(action.ruling),
            approvers=NAMES.people(approvers),
            credential=action.credential,
            warrant=action.warrant,
        )

    # --- people ----------------------------------------------------------------------------------------------------

    def vote(self, action: Action, person: str, verb: Any = "approve", *, key: str = "", digest: str = "") -> Action:
        """A signed answer, and what follows from it: rejected, or approved and executing."""
        at = self.now + 10 * SECOND
        statement = ApprovalStatement(
            home=HOME,
            person=person,
            issued=at - SECOND,
            expires=at + 5 * MINUTE,
            verb=verb,
            action=action.id,
            digest=digest or action.digest,
            card_digest="c" * 64,
            boundary_digest=self.boundary,
        ).encode()
        signature = sign(KEYS[key or person], statement, Namespace.APPROVAL)
        approval = Approval(action=action.id, person=person, verb=verb, at=at, statement=statement, signature=signature)

        def step(tx: Transaction) -> Action:
            who = NAMES.person(person)
            tx.put_approval(approval, journal.of_action("vote", self.now, action, person=who, verb=verb))
            if verb == "reject":
                told = journal.of_action("alert", self.now, action, code="rejected")
                return tx.move(action.id, action.revision, Event.REJECT, told, decided_at=at, ended_at=at)
            approved = journal.of_action("approved", self.now, action)
            moved = tx.move(action.id, action.revision, Event.APPROVE, approved, decided_at=at)
            intent = self.intent(action, person)
            return tx.move(moved.id, moved.revision, Event.INTEND, intent, intended_at=at)

        return self.commit(step)  # type: ignore[no-any-return]

    # --- endings ---------------------------------------------------------------------------------------------------

    def end(self, action: Action, event: Event = Event.SUCCEED, why: str = "", raw: bytes = b"") -> Action:
        """The outcome; with `raw`, the result that came back becomes evidence."""

        def step(tx: Transaction) -> Action:
            changes: dict[str, Any] = {"ended_at": self.now, "handed_over": True, "outcome": why}
            fields: dict[str, Any] = {"warrant": action.warrant, "handed_over": True}
            if raw:
                evidence = self._keep(tx, action, raw)
                changes |= {"evidence": evidence, "result": f"{evidence}.result"}
                fields |= {"evidence": evidence}
            state = {Event.SUCCEED: "done", Event.LOSE: "unknown", Event.CUT: "cut", Event.FAIL: "failed"}[event]
            outcome = journal.of_action("outcome", self.now, action, state=state, **fields)
            return tx.move(action.id, action.revision, event, outcome, **changes)

        return self.commit(step)  # type: ignore[no-any-return]

    def _keep(self, tx: Transaction, action: Action, raw: bytes) -> str:
        name = action.id.replace("act", "ev")
        tx.put_payload(Payload(id=f"{name}.result", kind="result", salt=b"s" * 16, data=raw))
        tx.put_evidence(
            Evidence(
                id=name,
                run=action.run,
                action=action.id,
                at=self.now,
                digest=hashlib.sha256(raw).hexdigest(),
                label=Label(Integrity.THIRD_PARTY, Confidentiality.INTERNAL, action.connector),
                payload=f"{name}.result",
            )
        )
        return name

    def expire(self, action: Action) -> Action:
        def step(tx: Transaction) -> Action:
            expired = journal.of_action("expired", self.now, action)
            return tx.move(action.id, action.revision, Event.EXPIRE, expired, ended_at=self.now)

        return self.commit(step)  # type: ignore[no-any-return]

    def settle(self, action: Action, *, applied: bool, by: str) -> Action:
        def step(tx: Transaction) -> Action:
            event = Event.SETTLE_APPLIED if applied else Event.SETTLE_NOT_APPLIED
            settled = journal.of_action("settled", self.now, action, applied=applied, hand=False)
            outcome = f"{'applied' if applied else 'not applied'}, settled by {by}"
            return tx.move(action.id, action.revision, event, settled, settled_by=by, outcome=outcome)

        return self.commit(step)  # type: ignore[no-any-return]

    def stop(self, by: str = "bob", **did: Any) -> StopOrder:
        order = StopOrder(id=self.fresh("stp"), mode=StopMode.CUT, scope=Scope(), at=self.now, by=by)

        def step(tx: Transaction) -> None:
            payload = journal.words(order.id, "order", b"s" * 16, by=by, reason="", name="")
            tx.put_payload(payload)
            tx.append(journal.stopped(order.at, order, NAMES, journal.commits(payload)))
            tx.append(journal.record("cut", self.now, stop=order.id, **did))

        self.commit(step)
        return order

    def void(self, action: Action, order: StopOrder) -> Action:
        def step(tx: Transaction) -> Action:
            record = journal.of_action("void", self.now, action, stop=order.id)
            return tx.move(action.id, action.revision, Event.VOID, record, ended_at=self.now, outcome="stopped")

        return self.commit(step)  # type: ignore[no-any-return]

    # --- what else happens -----------------------------------------------------------------------------------------

    def read(self, raw: bytes = b'{"structuredContent":{"isolated":false}}', **changes: Any) -> str:
        """A finished read; returns the id of its evidence."""
        fields: dict[str, Any] = {"tool": "host_status", "category": "evidence.read", "effect": Effect.READ}
        action = self.end(self.propose(**(fields | changes)), raw=raw)
        return action.evidence

    def own_read(self) -> str:
        """Remit's own question about the target."""
        return self.read(agent=REMIT, run="run_remit")

    def refusal(self) -> int:
        """A call to a tool that the run does not have; returns the position of its record."""
        record = journal.record(
            "refusal", self.now, run="run_1", agent="triage", clauses=["unknown-tool"], why="parked", connector="edr"
        )
        self.commit(lambda tx: tx.append(record))
        return self.store.reads.counts()["records"] - 1
