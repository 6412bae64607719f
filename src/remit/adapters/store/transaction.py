"""One step's transaction on SQLite. Lives on the writer's thread, between a savepoint and its release.

What lives here: the `Transaction` protocol in statements. What never may: beginning or committing anything.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from remit.adapters.payloads.sealing import Sealer
from remit.adapters.store import rules
from remit.adapters.store import statements as sql
from remit.adapters.store.counting import Changes, Counters
from remit.flow import lifecycle
from remit.model.words import (
    Action,
    Approval,
    Claim,
    Effect,
    Event,
    Evidence,
    Instant,
    Payload,
    Record,
    Run,
    State,
    Used,
    Window,
)

_OWN = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError)


class SqliteTransaction:
    """One step's view. `fault` is set once the database itself failed, even if the step caught the error."""

    def __init__(self, connection: sqlite3.Connection, position: int, counters: Counters, sealer: Sealer) -> None:
        self._connection: sqlite3.Connection | None = connection
        self._counters = counters
        self._sealer = sealer
        self.changes = Changes()  # what the step did to the claims so far
        self.removed = False  # whether it removed a payload, whose key is to be destroyed
        self._owes_record = False
        self._started_at = position
        self.position = position  # of the next record
        self.fault: sqlite3.Error | None = None

    def end(self) -> None:
        """Close the transaction. Raises `ValueError` if it changed state without a record."""
        if self._owes_record and self.position == self._started_at:
            rules.need_records(())
        self._connection = None

    def _run(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        if self._connection is None:
            raise ValueError("a step used its transaction after it had returned")
        try:
            return self._connection.execute(statement, values)
        except _OWN as error:
            raise ValueError(f"the store refuses what the step writes: {error}") from error
        except sqlite3.Error as error:
            self.fault = error
            raise

    # actions

    def action(self, action_id: str) -> Action | None:
        action = sql.action_of(self._run(sql.ACTION, (action_id,)).fetchone())
        return sql.with_says(action, self.payload) if action is not None else None

    def _body(self, action: Action) -> bytes:
        """What the action's row holds: nothing that can repeat an argument, which is a payload of its own."""
        quiet, says = rules.told_apart(action)
        if says:
            kept = Payload(id=sql.says_id(action.id), kind="says", salt=b"", data=sql.encode(says))
            before = self.payload(kept.id)
            if before != kept:
                self._remove(kept.id)
                self.put_payload(kept)
        return sql.encode(quiet)

    def open(self, action: Action, claims: Sequence[Claim], *records: Record) -> Action:
        action = rules.opened(action, claims, records)
        looked_up = (action.agent, action.run, action.case, action.category, action.connector, action.tool)
        standing = (action.id, 1, action.state.value, action.state in sql.LIVE)
        self._run(sql.OPEN_ACTION, (*standing, *looked_up, action.opened_at, _fingerprint(action), self._body(action)))
        if rules.holding(action):
            self._hold(action)
        self._claim(claims)
        self._journal(records)
        return action

    def move(self, action_id: str, expected: int, event: Event, *records: Record, **changes: Any) -> Action:
        before = self.action(action_id)
        action = rules.moved(before, action_id, expected, event, records, changes)
        if rules.settled(action):
            self._end_claims(action_id, changes)
        if rules.drops_secrets(action):
            self._remove(action.secrets)
        standing = (action.revision, action.state.value, action.state in sql.LIVE, _fingerprint(action))
        self._run(sql.MOVE_ACTION, (*standing, self._body(action), action_id, expected))
        self._after(before, action)
        self._journal(records)
        return action

    def note(self, action_id: str, expected: int, *records: Record, **changes: Any) -> Action:
        before = self.action(action_id)
        action = rules.noted(before, action_id, expected, records, changes)
        self._run(sql.NOTE_ACTION, (action.revision, self._body(action), action_id, expected))
        if before is not None and rules.settled(before) and not rules.settled(action):
            self._run(sql.REOPEN_CLAIMS, (action_id,))
            self.changes.unclear = True
        self._after(before, action)
        self._journal(records)
        return action

    def open_twin(self, fingerprint: str) -> Action | None:
        return sql.action_of(self._run(sql.TWIN, (fingerprint,)).fetchone())

    def unsettled(self, connector: str, targets: Sequence[str]) -> tuple[Action, ...]:
        wanted = (*dict.fromkeys(targets), rules.EVERY_TARGET) if targets else ()
        rows = self._run(sql.holding(len(wanted)), (connector, *wanted)).fetchall()
        return tuple(sql.decode_action(body) for (body,) in rows)

    def _after(self, before: Action | None, action: Action) -> None:
        if action.effect is Effect.READ or before is None or rules.holding(before) == rules.holding(action):
            return
        if rules.holding(action):
            self._hold(action)
        else:
            self._run(sql.RELEASE, (action.id,))

    def _hold(self, action: Action) -> None:
        # An action without targets still shows where every target is asked for: its row has an empty one.
        for target in rules.held_targets(action) or ("",):
            self._run(sql.HOLD, (action.connector, target, action.id))

    def _end_claims(self, action_id: str, changes: dict[str, Any]) -> None:
        if changes.get("ended_at") is not None:
            ended = rules.end_of_claims(changes)
            self._run(sql.END_CLAIMS, (ended, action_id))
            self.changes.ended.append((action_id, ended))
        elif self._run(sql.OPEN_CLAIM, (action_id,)).fetchone() is not None:
            rules.end_of_claims(changes)

    # quotas

    def used(self, windows: Sequence[Window]) -> dict[str, Used]:
        return {window.quota: self._used(window) for window in windows}

    def _used(self, window: Window) -> Used:
        known = None if self.changes else self._counters.used(window)
        if known is not None:
            return known
        rows: list[tuple[str, str, Instant]] = []
        categories = self._named(window.categories)
        if categories:
            text = sql.counting(len(categories), len(window.agents))
            rows = self._run(text, (*categories, window.since, *window.agents)).fetchall()
        if not self.changes:
            self._counters.learn(window, rows)
        return Used(frozenset(target for target, _, _ in rows), len({action for _, action, _ in rows}))

    def _named(self, patterns: Sequence[str]) -> list[str]:
        named = [pattern for pattern in patterns if not pattern.endswith("*")]
        if len(named) == len(patterns):
            return named
        known = [category for (category,) in self._run(sql.CLAIM_CATEGORIES)]
        wild = [pattern for pattern in patterns if pattern.endswith("*")]
        return named + [each for each in known if any(rules.covers(pattern, each) for pattern in wild)]

    def reserve(self, claims: Sequence[Claim]) -> None:
        for action_id in {claim.action for claim in claims}:
            rules.reservable(self.action(action_id), action_id)
        self._owes_record = True
        self._claim(claims)

    def _claim(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            values = (claim.action, claim.category, claim.target, claim.agent, claim.start, sql.OPEN_END)
            self._run(sql.CLAIM, values)
            self.changes.claimed.append(claim)
        for category in {claim.category for claim in claims} - self._counters.categories:
            self._run(sql.CLAIM_CATEGORY, (category,))

    # payloads and records

    def put_payload(self, payload: Payload) -> None:
        table = sql.payload_table(payload.id, payload.kind)
        slot, sealed = self._sealer.seal(payload)
        self._run(sql.PUT_PAYLOAD[table], (payload.id, payload.kind, self.position, slot, sealed))

    def payload(self, payload_id: str) -> Payload | None:
        tables = sql.payload_tables(payload_id)
        row = self._run(sql.payload(tables), (payload_id,) * len(tables)).fetchone()
        return None if row is None else self._sealer.open(*row)

    def erase(self, payload_ids: Sequence[str], record: Record) -> None:
        for payload_id in payload_ids:
            if self._remove(payload_id):
                self._run(sql.TOMBSTONE, (payload_id, self.position))
        self._journal((record,))

    def prune(self, payload_class: str, before: Instant, limit: int) -> int:
        cut = rules.position_at(before - rules.BACK, self.position, self._time_at)
        found: list[str] = []
        rows = self._run(sql.OLDEST_PAYLOADS[payload_class])
        for payload_id, position in rows:
            if position >= cut or len(found) >= limit:
                break
            if payload_class != "proposals" or self._over(payload_id):
                found.append(payload_id)
        rows.close()
        for payload_id in found:
            self._remove(payload_id)
        self._owes_record = self._owes_record or bool(found)
        return len(found)

    def _time_at(self, position: int) -> Instant:
        return int(self._run(sql.TIME_AT, (position,)).fetchone()[0])

    def _over(self, proposal_id: str) -> bool:
        action = self.action(proposal_id.partition(".")[0])
        return action is None or rules.settled(action)

    def _remove(self, payload_id: str) -> bool:
        slots = [
            slot
            for table in sql.payload_tables(payload_id)
            for (slot,) in self._run(sql.TAKE_PAYLOAD[table], (payload_id,)).fetchall()
        ]
        for slot in slots:
            self._run(sql.DOOM, (slot,))
        self.removed = self.removed or bool(slots)
        owner, _, role = payload_id.rpartition(".")
        evidence = self.evidence(owner) if role == "result" else None
        if evidence is not None:
            # Without a salt, a digest of little is as good as what it is of.
            self._run(sql.SCRUB_EVIDENCE, (sql.encode(replace(evidence, digest="")), evidence.id))
        return bool(slots)

    def scrub(self, action_id: str, names: Mapping[str, str]) -> None:
        before = self.action(action_id)
        action = rules.scrubbed(before, action_id, names)
        self._owes_record = True
        self._run(sql.SCRUB_ACTION, (self._body(action), action_id))
        for name, stand_in in names.items():
            self._run(sql.SCRUB_CLAIM, (stand_in, action_id, name))
        self.changes.unclear = True

    def scrub_run(self, run_id: str, names: Mapping[str, str]) -> None:
        self._owes_record = True
        self._run(sql.PUT_RUN, sql.run_row(rules.scrubbed_run(self.run(run_id), run_id, names)))

    def append(self, record: Record) -> None:
        self._journal((record,))

    def _journal(self, records: Sequence[Record]) -> None:
        if not records:
            return
        values: list[Any] = []
        for position, each in enumerate(records, self.position):
            digest = hashlib.sha256(each.data).digest()
            values += (position, each.kind, each.at, each.action, each.run, each.agent, each.data, digest)
        self._run(sql.append(len(records)), values)
        self.position += len(records)

    # runs

    def run(self, run_id: str) -> Run | None:
        return sql.run_of(self._run(sql.RUN, (run_id,)).fetchone())

    def run_by_token(self, token_hash: str) -> Run | None:
        return sql.run_of(self._run(sql.RUN_BY_TOKEN, (token_hash,)).fetchone())

    def put_run(self, run: Run, *records: Record) -> None:
        rules.need_records(records)
        rules.replaceable(self.run(run.id), run)
        self._run(sql.PUT_RUN, sql.run_row(run))
        self._journal(records)

    def count_call(self, run_id: str) -> Run | None:
        # Fetched to the end: SQLite finishes an UPDATE with RETURNING only then.
        return sql.run_of(next(iter(self._run(sql.COUNT_CALL, (run_id,)).fetchall()), None))

    def raise_label(self, run: Run, evidence: Evidence) -> None:
        row = self._run(sql.LABEL, (run.id,)).fetchone()
        if row is None:
            raise ValueError(f"there is no run `{run.id}`")
        current = sql.label_of(*row)
        label = rules.raised(current, evidence)
        if label != current:
            self._owes_record = True
            values = (label.integrity.value, label.confidentiality.value, label.source, run.id)
            self._run(sql.RAISE_LABEL, values)

    # evidence and approvals

    def put_evidence(self, evidence: Evidence) -> None:
        self._run(sql.PUT_EVIDENCE, (evidence.id, evidence.run, sql.encode(evidence)))

    def evidence(self, evidence_id: str) -> Evidence | None:
        return sql.evidence_of(self._run(sql.EVIDENCE, (evidence_id,)).fetchone())

    def put_approval(self, approval: Approval, *records: Record) -> None:
        self._owes_record = True
        signed = (approval.statement, approval.signature)
        self._run(sql.PUT_APPROVAL, (approval.action, approval.person, approval.verb, approval.at, *signed))
        self._journal(records)

    def approvals(self, action_id: str) -> tuple[Approval, ...]:
        return tuple(map(sql.approval_of, self._run(sql.APPROVALS, (action_id,)).fetchall()))

    # refusals, nonces, facts

    def note_refusal(self, agent: str, at: Instant) -> None:
        self._run(sql.PRUNE_REFUSALS, (at - rules.REFUSALS_KEPT,))
        self._run(sql.NOTE_REFUSAL, (agent, at))

    def refusals(self, agent: str, since: Instant) -> int:
        return int(self._run(sql.REFUSALS, (agent, since)).fetchone()[0])

    def burn_nonce(self, nonce: str, expires: Instant) -> bool:
        last = self._run(sql.LAST_TIME).fetchone()
        if last is not None:
            self._run(sql.PRUNE_NONCES, (last[0] - rules.NONCES_KEPT,))
        return self._run(sql.BURN, (nonce, expires)).rowcount == 1

    def fact(self, name: str) -> bytes | None:
        row = self._run(sql.FACT, (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def set_fact(self, name: str, value: bytes, *records: Record) -> None:
        self._owes_record = True
        self._run(sql.SET_FACT, (name, value))
        self._journal(records)


_OPEN: frozenset[State] = lifecycle.OPEN


def _fingerprint(action: Action) -> str | None:
    return (action.fingerprint or None) if action.state in _OPEN else None
