"""A working store in memory, for tests: the same protocol, and stricter than the real one.

It polices what a step must keep to: it runs every step twice, first on a copy that it throws away, and raises
`AssertionError` if the two runs did not do the same ("may run again"). It offers both forms of a fault.
What never may live here: something that the protocol does not promise and a caller could come to lean on.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from msgspec.structs import replace

from remit.adapters.store import rules
from remit.adapters.store import statements as sql
from remit.adapters.store.tables import Tables
from remit.flow import lifecycle
from remit.flow.ports import Reads, StoredRecord, Transaction
from remit.flow.query import Query
from remit.model.errors import CommitUnknown, NotCommitted
from remit.model.words import (
    Action,
    Approval,
    Claim,
    Event,
    Evidence,
    Instant,
    Payload,
    Record,
    Run,
    Tombstone,
    Used,
    Window,
)

T = TypeVar("T")
FaultForm = Literal["not_applied", "applied_answer_lost"]
_LOG = logging.getLogger(__name__)


class MemoryTransaction:
    """One step's view. It is dead once the step has returned."""

    def __init__(self, tables: Tables) -> None:
        self._open: Tables | None = tables
        self._owes_record = False
        self._records_before = len(tables.records)

    @property
    def _tables(self) -> Tables:
        if self._open is None:
            raise AssertionError("a step used its transaction after it had returned")
        return self._open

    def end(self) -> None:
        """Close the transaction. Raises `ValueError` if it changed state without a record."""
        if self._owes_record and len(self._tables.records) == self._records_before:
            raise ValueError("a change of state needs at least one record in the same transaction")
        self._open = None

    # actions

    def action(self, action_id: str) -> Action | None:
        return self._tables.actions.get(action_id)

    def open(self, action: Action, claims: Sequence[Claim], *records: Record) -> Action:
        action = rules.opened(action, claims, records)
        if action.id in self._tables.actions:
            raise ValueError(f"action `{action.id}` is there already")
        self._write(action)
        self._claim(claims)
        self._journal(records)
        return action

    def move(self, action_id: str, expected: int, event: Event, *records: Record, **changes: Any) -> Action:
        action = rules.moved(self.action(action_id), action_id, expected, event, records, changes)
        if rules.settled(action):
            for key, (claim, ended) in self._tables.claims.items():
                if claim.action == action_id and ended is None:
                    self._tables.claims[key] = (claim, rules.end_of_claims(changes))
        if rules.drops_secrets(action):
            self._remove(action.secrets)
        self._write(action)
        self._journal(records)
        return action

    def note(self, action_id: str, expected: int, *records: Record, **changes: Any) -> Action:
        before = self.action(action_id)
        action = rules.noted(before, action_id, expected, records, changes)
        if before is not None and rules.settled(before) and not rules.settled(action):
            for key, (claim, _) in self._tables.claims.items():
                if claim.action == action_id:
                    self._tables.claims[key] = (claim, None)
        self._write(action)
        self._journal(records)
        return action

    def open_twin(self, fingerprint: str) -> Action | None:
        if not fingerprint:
            return None
        twins = (each for each in self._tables.actions.values() if each.fingerprint == fingerprint)
        return next((each for each in twins if each.state in lifecycle.OPEN), None)

    def unsettled(self, connector: str, targets: Sequence[str]) -> tuple[Action, ...]:
        wanted = {*targets, rules.EVERY_TARGET}
        return tuple(
            each
            for each in self._tables.actions.values()
            if each.connector == connector
            and rules.holding(each)
            and (not targets or not wanted.isdisjoint(rules.held_targets(each)))
        )

    def _write(self, action: Action) -> None:
        self._tables.actions[action.id] = action

    # quotas

    def used(self, windows: Sequence[Window]) -> dict[str, Used]:
        return {window.quota: self._used(window) for window in windows}

    def _used(self, window: Window) -> Used:
        counted = [
            claim
            for claim, ended in self._tables.claims.values()
            if (ended is None or ended >= window.since)
            and (not window.agents or claim.agent in window.agents)
            and any(rules.covers(pattern, claim.category) for pattern in window.categories)
        ]
        return Used(frozenset(claim.target for claim in counted), len({claim.action for claim in counted}))

    def reserve(self, claims: Sequence[Claim]) -> None:
        for action_id in {claim.action for claim in claims}:
            rules.reservable(self.action(action_id), action_id)
        self._owes_record = True
        self._claim(claims)

    def _claim(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            self._tables.claims.setdefault((claim.action, claim.category, claim.target), (claim, None))

    # payloads and records

    def put_payload(self, payload: Payload) -> None:
        if payload.id in self._tables.payloads:
            raise ValueError(f"payload `{payload.id}` is there already")
        self._tables.payloads[payload.id] = payload
        self._tables.put_at[payload.id] = len(self._tables.records)

    def payload(self, payload_id: str) -> Payload | None:
        return self._tables.payloads.get(payload_id)

    def erase(self, payload_ids: Sequence[str], record: Record) -> None:
        for payload_id in payload_ids:
            if self._remove(payload_id):
                self._tables.tombstones.setdefault(payload_id, len(self._tables.records))
        self._journal((record,))

    def prune(self, payload_class: str, before: Instant, limit: int) -> int:
        records = self._tables.records
        cut = rules.position_at(before - rules.BACK, len(records), lambda each: records[each].at)
        found = [
            payload.id
            for payload in self._tables.payloads.values()
            if sql.payload_table(payload.id, payload.kind) == payload_class
            and self._tables.put_at[payload.id] < cut
            and (payload_class != "proposals" or self._over(payload.id))
        ][:limit]
        for payload_id in found:
            self._remove(payload_id)
        self._owes_record = self._owes_record or bool(found)
        return len(found)

    def _over(self, proposal_id: str) -> bool:
        action = self.action(proposal_id.partition(".")[0])
        return action is None or rules.settled(action)

    def _remove(self, payload_id: str) -> bool:
        owner, _, role = payload_id.rpartition(".")
        evidence = self.evidence(owner) if role == "result" else None
        if evidence is not None:
            self._tables.evidence[owner] = replace(evidence, digest="")
        return self._tables.payloads.pop(payload_id, None) is not None

    def scrub(self, action_id: str, names: Mapping[str, str]) -> None:
        action = rules.scrubbed(self.action(action_id), action_id, names)
        self._owes_record = True
        self._tables.actions[action_id] = action
        for (owner, category, target), (claim, ended) in list(self._tables.claims.items()):
            if owner == action_id and target in names:
                del self._tables.claims[owner, category, target]
                stand_in = replace(claim, target=names[target])
                self._tables.claims[owner, category, stand_in.target] = (stand_in, ended)

    def scrub_run(self, run_id: str, names: Mapping[str, str]) -> None:
        self._owes_record = True
        self._tables.runs[run_id] = rules.scrubbed_run(self.run(run_id), run_id, names)

    def append(self, record: Record) -> None:
        self._journal((record,))

    def _journal(self, records: Sequence[Record]) -> None:
        for record in records:
            self._tables.records.append(
                StoredRecord(
                    position=len(self._tables.records),
                    kind=record.kind,
                    at=record.at,
                    action=record.action,
                    run=record.run,
                    agent=record.agent,
                    data=record.data,
                    sha256=hashlib.sha256(record.data).digest(),
                )
            )

    # runs

    def run(self, run_id: str) -> Run | None:
        return self._tables.runs.get(run_id)

    def run_by_token(self, token_hash: str) -> Run | None:
        return next((each for each in self._tables.runs.values() if each.token_hash == token_hash), None)

    def put_run(self, run: Run, *records: Record) -> None:
        rules.need_records(records)
        rules.replaceable(self.run(run.id), run)
        other = self.run_by_token(run.token_hash)
        if other is not None and other.id != run.id:
            raise ValueError(f"the token of run `{run.id}` belongs to another run")
        self._tables.runs[run.id] = run
        self._journal(records)

    def count_call(self, run_id: str) -> Run | None:
        run = self.run(run_id)
        if run is None:
            return None
        run = self._tables.runs[run_id] = replace(run, calls=run.calls + 1)
        return run

    def raise_label(self, run: Run, evidence: Evidence) -> None:
        current = self.run(run.id)
        if current is None:
            raise ValueError(f"there is no run `{run.id}`")
        label = rules.raised(current.label, evidence)
        if label != current.label:
            self._owes_record = True
            self._tables.runs[run.id] = replace(current, label=label)

    # evidence and approvals

    def put_evidence(self, evidence: Evidence) -> None:
        if evidence.id in self._tables.evidence:
            raise ValueError(f"evidence `{evidence.id}` is there already")
        self._tables.evidence[evidence.id] = evidence

    def evidence(self, evidence_id: str) -> Evidence | None:
        return self._tables.evidence.get(evidence_id)

    def put_approval(self, approval: Approval, *records: Record) -> None:
        if approval.action not in self._tables.actions:
            raise ValueError(f"there is no action `{approval.action}` to approve")
        self._owes_record = True
        self._tables.approvals.append(approval)
        self._journal(records)

    def approvals(self, action_id: str) -> tuple[Approval, ...]:
        return tuple(each for each in self._tables.approvals if each.action == action_id)

    # refusals, nonces, facts

    def note_refusal(self, agent: str, at: Instant) -> None:
        kept = [each for each in self._tables.refusals if each[1] >= at - rules.REFUSALS_KEPT]
        self._tables.refusals[:] = [*kept, (agent, at)]

    def refusals(self, agent: str, since: Instant) -> int:
        return sum(1 for who, at in self._tables.refusals if who == agent and at >= since)

    def burn_nonce(self, nonce: str, expires: Instant) -> bool:
        if self._tables.records:
            long_gone = self._tables.records[-1].at - rules.NONCES_KEPT
            for each in [name for name, until in self._tables.nonces.items() if until < long_gone]:
                del self._tables.nonces[each]
        if nonce in self._tables.nonces:
            return False
        self._tables.nonces[nonce] = expires
        return True

    def fact(self, name: str) -> bytes | None:
        return self._tables.facts.get(name)

    def set_fact(self, name: str, value: bytes, *records: Record) -> None:
        self._owes_record = True
        self._tables.facts[name] = value
        self._journal(records)


class MemoryReads:
    """What is committed, for looking."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    @property
    def _tables(self) -> Tables:
        return self._store.tables

    def action(self, action_id: str) -> Action | None:
        return self._tables.actions.get(action_id)

    def actions(self, query: Query) -> list[Action]:
        rules.need_stored(query)
        found = [each for each in reversed(self._tables.actions.values()) if query.fits(each)]
        return sorted(found, key=lambda each: each.opened_at, reverse=True)[: query.limit]

    def records(
        self, *, action: str = "", run: str = "", kinds: Sequence[str] = (), limit: int = 1000
    ) -> list[StoredRecord]:
        found = [
            each
            for each in self._tables.records
            if (not action or each.action == action)
            and (not run or each.run == run)
            and (not kinds or each.kind in kinds)
        ]
        return found[-limit:] if limit > 0 else []

    def records_from(self, position: int, limit: int) -> list[StoredRecord]:
        return self._tables.records[position : position + limit]

    def records_at(self, positions: Sequence[int]) -> list[StoredRecord]:
        return [self._tables.records[each] for each in sorted(set(positions)) if each < len(self._tables.records)]

    def payload(self, payload_id: str) -> Payload | None:
        return self._tables.payloads.get(payload_id)

    def tombstone(self, payload_id: str) -> Tombstone | None:
        position = self._tables.tombstones.get(payload_id)
        if position is None:
            return None
        return Tombstone(payload=payload_id, position=position, data=self._tables.records[position].data)

    def prunable(self, payload_class: str, before: Instant) -> int:
        tables = self._tables
        cut = rules.position_at(before - rules.BACK, len(tables.records), lambda each: tables.records[each].at)
        of_class = (each for each in tables.payloads.values() if sql.payload_table(each.id, each.kind) == payload_class)
        return sum(tables.put_at[each.id] < cut for each in of_class)

    def evidence(self, evidence_id: str) -> Evidence | None:
        return self._tables.evidence.get(evidence_id)

    def approvals(self, action_id: str) -> tuple[Approval, ...]:
        return tuple(each for each in self._tables.approvals if each.action == action_id)

    def run(self, run_id: str) -> Run | None:
        return self._tables.runs.get(run_id)

    def runs(self, *, open_only: bool = False) -> list[Run]:
        found = sorted(self._tables.runs.values(), key=lambda each: (each.opened_at, each.id))
        return [each for each in found if not open_only or each.closed_at is None]

    def fact(self, name: str) -> bytes | None:
        return self._tables.facts.get(name)

    def counts(self) -> dict[str, int]:
        tables = self._tables
        counted = {"actions": len(tables.actions), "records": len(tables.records), "runs": len(tables.runs)}
        for each in tables.actions.values():
            if each.state not in lifecycle.FINAL:
                counted[each.state.value] = counted.get(each.state.value, 0) + 1
        return counted

    def latest(self) -> Instant:
        return max((each.at for each in self._tables.records), default=0)


class MemoryStore:
    """The store as a double: `fail_next` and `sicken` make it fail the way that disks do."""

    def __init__(self) -> None:
        self.tables = Tables()
        self.reads: Reads = MemoryReads(self)
        self.commits = 0
        self._lock = threading.RLock()
        self._faults: list[tuple[int, FaultForm]] = []
        self._sick = ""

    async def commit(self, step: Callable[[Transaction], T]) -> T:
        try:
            with self._lock:
                return self._commit(step)
        finally:
            # The real store always answers from another thread: a caller must stand being interleaved here.
            await asyncio.sleep(0)

    def commit_soon(self, step: Callable[[Transaction], Any]) -> None:
        """Run the step now, whatever happens to it. Never raises."""
        with self._lock:
            try:
                if not self._sick:
                    self._apply(step)
            except Exception:
                _LOG.exception("a step that nobody waits for failed")

    async def purge(self) -> int:
        """Nothing of what was removed is left here."""
        return 0

    @property
    def removed(self) -> bool:
        """See `purge`."""
        return False

    @property
    def healthy(self) -> str:
        return self._sick

    def close(self) -> None:
        self._sick = "the store is closed"

    def fail_next(self, form: FaultForm, *, after: int = 0) -> None:
        """Fail the next commit in this form, or the one after `after` more have passed."""
        self._faults.append((self.commits + after, form))

    def sicken(self, reason: str) -> None:
        """Refuse every commit from now on, as after an error of the disk; an empty reason heals."""
        self._sick = reason

    def _commit(self, step: Callable[[Transaction], T]) -> T:
        if self._sick:
            raise NotCommitted(f"the store takes no more writes: {self._sick}")
        form = next((form for due, form in self._faults if due == self.commits), None)
        self._faults = [each for each in self._faults if each[0] > self.commits]
        self.commits += 1
        if form == "not_applied":
            raise NotCommitted("the disk refused the write")
        value = self._apply(step)
        if form == "applied_answer_lost":
            raise CommitUnknown("the disk did not say whether the write took place")
        return value

    def _apply(self, step: Callable[[Transaction], T]) -> T:
        scratch, real = self.tables.copy(), self.tables.copy()
        refused: Exception | None = None
        try:
            _run(step, scratch)
        except Exception as error:
            refused = error
        try:
            value = _run(step, real)
        except Exception as error:
            if type(refused) is not type(error):
                raise AssertionError(f"a step is not fit to run again: {refused!r}, then {error!r}") from error
            raise
        if refused is not None:
            raise AssertionError(f"a step is not fit to run again: it raised {refused!r}, then passed")
        if scratch != real:
            raise AssertionError("a step is not fit to run again: its second run wrote something else")
        # INVARIANT: records are never changed or removed.
        kept = len(self.tables.records)
        if real.records[:kept] != self.tables.records:
            raise AssertionError("a step changed the journal's past")
        self.tables = real
        return value


def _run(step: Callable[[Transaction], T], tables: Tables) -> T:
    transaction = MemoryTransaction(tables)
    value = step(transaction)
    rules.need_plain(value)
    transaction.end()
    return value
