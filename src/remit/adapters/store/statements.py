"""Every statement of the store, in the SQL that SQLite and PostgreSQL share, and how rows become values.

What lives here: text, encoders and decoders. What never may: a connection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import msgspec
from msgspec.structs import replace

from remit.adapters.store import rules
from remit.flow import lifecycle
from remit.flow.ports import PAYLOAD_CLASSES, StoredRecord
from remit.flow.query import Query
from remit.model.words import READ_RESULT, Action, Approval, Confidentiality, Evidence, Integrity, Label, Payload, Run

OPEN_END = 2**63 - 1
"""`claims.ended` of a claim that is open."""

_TABLES_OF_ROLE = {
    "proposal": ("proposals",),
    "result": ("read_results", "change_results"),
    "verdict": ("verdicts",),
}

LIVE = frozenset(state for state, _ in lifecycle.TABLE)
"""The states that are not final."""

FREQUENT = "('proposal', 'intent', 'outcome')"
_FREQUENT = frozenset({"proposal", "intent", "outcome"})

encode = msgspec.json.Encoder().encode
decode_action = msgspec.json.Decoder(Action).decode
decode_run = msgspec.json.Decoder(Run).decode
decode_evidence = msgspec.json.Decoder(Evidence).decode

ACTION = "SELECT body FROM actions WHERE id = ?"
OPEN_ACTION = (
    "INSERT INTO actions (id, revision, state, live, agent, run, case_id, category, connector, tool, opened_at,"
    " fingerprint, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
MOVE_ACTION = (
    "UPDATE actions SET revision = ?, state = ?, live = ?, fingerprint = ?, body = ? WHERE id = ? AND revision = ?"
)
NOTE_ACTION = "UPDATE actions SET revision = ?, body = ? WHERE id = ? AND revision = ?"
SCRUB_ACTION = "UPDATE actions SET body = ? WHERE id = ?"
SCRUB_CLAIM = "UPDATE OR REPLACE claims SET target = ? WHERE action = ? AND target = ?"
_OPEN_STATES = ", ".join(f"'{state}'" for state in sorted(lifecycle.OPEN))
TWIN = (
    f"SELECT body FROM actions WHERE live = 1 AND state IN ({_OPEN_STATES}) AND fingerprint = ?"  # noqa: S608
    " ORDER BY seq LIMIT 1"
)

HOLD = "INSERT INTO holds (connector, target, action) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
RELEASE = "DELETE FROM holds WHERE action = ?"

CLAIM = (
    "INSERT INTO claims (action, category, target, agent, start, ended) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT DO NOTHING"
)
CLAIM_CATEGORY = "INSERT INTO claim_categories (category) VALUES (?) ON CONFLICT DO NOTHING"
CLAIM_CATEGORIES = "SELECT category FROM claim_categories"
OPEN_CLAIM = f"SELECT 1 FROM claims WHERE action = ? AND ended = {OPEN_END} LIMIT 1"  # noqa: S608
END_CLAIMS = f"UPDATE claims SET ended = ? WHERE action = ? AND ended = {OPEN_END}"  # noqa: S608
REOPEN_CLAIMS = f"UPDATE claims SET ended = {OPEN_END} WHERE action = ?"  # noqa: S608

CHANGED_BY_OTHERS = "PRAGMA data_version"
NEXT_POSITION = "SELECT coalesce(max(position) + 1, 0) FROM records"
_RECORDS = "SELECT position, kind, at, action, run, agent, data, sha256 FROM records"
RECORDS_FROM = f"{_RECORDS} WHERE position >= ? ORDER BY position LIMIT ?"
LAST_TIME = "SELECT at FROM records ORDER BY position DESC LIMIT 1"
_APPEND = "INSERT INTO records (position, kind, at, action, run, agent, data, sha256) VALUES "

_PUT = "INSERT INTO {} (id, kind, position, slot, sealed) VALUES (?, ?, ?, ?, ?)"
PUT_PAYLOAD = {table: _PUT.format(table) for table in ("payloads", *PAYLOAD_CLASSES)}
TAKE_PAYLOAD = {table: f"DELETE FROM {table} WHERE id = ? RETURNING slot" for table in PUT_PAYLOAD}  # noqa: S608
OLDEST_PAYLOADS = {table: f"SELECT id, position FROM {table} ORDER BY rowid" for table in PAYLOAD_CLASSES}  # noqa: S608
TOMBSTONE = "INSERT INTO tombstones (payload, position) VALUES (?, ?) ON CONFLICT DO NOTHING"
TOMBSTONE_OF = (
    "SELECT t.payload, t.position, r.data FROM tombstones t JOIN records r ON r.position = t.position"
    " WHERE t.payload = ?"
)
TIME_AT = "SELECT at FROM records WHERE position = ?"
_PAYLOAD = "SELECT id, kind, slot, sealed FROM {} WHERE id = ?"
ANY_PAYLOAD = tuple(f"SELECT 1 FROM {table} LIMIT 1" for table in PUT_PAYLOAD)  # noqa: S608
DOOMED = "SELECT slot FROM doomed_keys"
DOOM = "INSERT INTO doomed_keys (slot) VALUES (?) ON CONFLICT DO NOTHING"
UNDOOM = "DELETE FROM doomed_keys WHERE slot = ?"

_RUN = "SELECT body, calls, integrity, confidentiality, source FROM runs"
RUN = f"{_RUN} WHERE id = ?"
RUN_BY_TOKEN = f"{_RUN} WHERE token_hash = ?"
RUNS = f"{_RUN} ORDER BY opened_at, id"
RUNS_OPEN = f"{_RUN} WHERE closed_at IS NULL ORDER BY opened_at, id"
PUT_RUN = (
    "INSERT INTO runs (id, token_hash, agent, case_id, opened_at, closed_at, calls, integrity, confidentiality,"
    " source, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
    " token_hash = excluded.token_hash, agent = excluded.agent, case_id = excluded.case_id,"
    " opened_at = excluded.opened_at, closed_at = excluded.closed_at, calls = excluded.calls,"
    " integrity = excluded.integrity, confidentiality = excluded.confidentiality, source = excluded.source,"
    " body = excluded.body"
)
COUNT_CALL = "UPDATE runs SET calls = calls + 1 WHERE id = ? RETURNING body, calls, integrity, confidentiality, source"
LABEL = "SELECT integrity, confidentiality, source FROM runs WHERE id = ?"
RAISE_LABEL = "UPDATE runs SET integrity = ?, confidentiality = ?, source = ? WHERE id = ?"

EVIDENCE = "SELECT body FROM evidence WHERE id = ?"
SCRUB_EVIDENCE = "UPDATE evidence SET body = ? WHERE id = ?"
PUT_EVIDENCE = "INSERT INTO evidence (id, run, body) VALUES (?, ?, ?)"

APPROVALS = "SELECT action, person, verb, at, statement, signature FROM approvals WHERE action = ? ORDER BY seq"
PUT_APPROVAL = "INSERT INTO approvals (action, person, verb, at, statement, signature) VALUES (?, ?, ?, ?, ?, ?)"

NOTE_REFUSAL = "INSERT INTO refusals (agent, at) VALUES (?, ?)"
PRUNE_REFUSALS = "DELETE FROM refusals WHERE at < ?"
REFUSALS = "SELECT count(*) FROM refusals WHERE agent = ? AND at >= ?"
BURN = "INSERT INTO nonces (nonce, expires) VALUES (?, ?) ON CONFLICT DO NOTHING"
PRUNE_NONCES = "DELETE FROM nonces WHERE expires < ?"
FACT = "SELECT value FROM facts WHERE name = ?"
SET_FACT = "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

COUNT_LIVE = "SELECT state, count(*) FROM actions WHERE live = 1 GROUP BY state"
LATEST = "SELECT MAX(at) FROM (SELECT at FROM records ORDER BY position DESC LIMIT 1000) AS newest"

COUNT_ALL = (
    "SELECT (SELECT coalesce(max(seq), 0) FROM actions), (SELECT coalesce(max(position) + 1, 0) FROM records),"
    " (SELECT count(*) FROM runs)"
)


@cache
def records_at(count: int) -> str:
    """The statement that reads the records at so many positions, in order."""
    return f"{_RECORDS} WHERE position IN ({_marks(count)}) ORDER BY position"


@cache
def append(count: int) -> str:
    """The statement that writes so many records at once."""
    return _APPEND + ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * count)


def payload_tables(payload_id: str) -> tuple[str, ...]:
    """The tables in which a payload of this id can be: the part after the last dot is its role."""
    return _TABLES_OF_ROLE.get(payload_id.rpartition(".")[2], ("payloads",))


def payload_table(payload_id: str, kind: str) -> str:
    """The table that takes a payload of this id and kind."""
    tables = payload_tables(payload_id)
    return tables[kind != READ_RESULT] if len(tables) > 1 else tables[0]


@cache
def payload(tables: tuple[str, ...]) -> str:
    """The statement that finds a payload; its id is asked once for each table."""
    return " UNION ALL ".join(map(_PAYLOAD.format, tables))


def older_payloads(payload_class: str) -> str:
    """The statement that counts a class's payloads before a position."""
    table = PAYLOAD_CLASSES[PAYLOAD_CLASSES.index(payload_class)]
    return f"SELECT count(*) FROM {table} WHERE position < ?"  # noqa: S608


def _marks(count: int) -> str:
    return ", ".join("?" * count)


@cache
def counting(categories: int, agents: int) -> str:
    """Claims that count in one window: parameters are the categories, `since`, the agents."""
    text = f"SELECT target, action, ended FROM claims WHERE category IN ({_marks(categories)}) AND ended >= ?"  # noqa: S608
    return f"{text} AND agent IN ({_marks(agents)})" if agents else text


@cache
def holding(targets: int) -> str:
    """Bodies of actions that hold: parameters are the connector and the targets; none means every target."""
    on = f" AND target IN ({_marks(targets)})" if targets else ""
    held = f"SELECT action FROM holds WHERE connector = ?{on}"  # noqa: S608
    return f"SELECT body FROM actions WHERE id IN ({held}) ORDER BY seq"  # noqa: S608


def finding(query: Query) -> tuple[str, list[Any]]:
    """The statement and the parameters that answer a query, newest first. Raises as `Reads.actions` does."""
    rules.need_stored(query)
    terms: list[str] = []
    values: list[Any] = []
    columns = (
        ("agent = ?", query.agent),
        ("run = ?", query.run),
        ("case_id = ?", query.case),
        ("category = ?", query.category),
        ("connector = ?", query.connector),
    )
    for term, wanted in columns:
        if wanted:
            terms.append(term)
            values.append(wanted)
    for term, instant in (("opened_at >= ?", query.since), ("opened_at <= ?", query.until)):
        if instant is not None:
            terms.append(term)
            values.append(instant)
    if query.states:
        terms.append(f"state IN ({_marks(len(query.states))})")
        values.extend(str(state) for state in query.states)
        if LIVE.issuperset(query.states):
            terms.append("live = 1")
    where = " AND ".join(terms) or "1 = 1"
    text = f"SELECT body FROM actions WHERE {where} ORDER BY opened_at DESC, seq DESC LIMIT ?"  # noqa: S608
    return text, [*values, max(query.limit, 0)]


def journal(action: str, run: str, kinds: Sequence[str], limit: int) -> tuple[str, list[Any]]:
    """The statement and the parameters that find records, newest first."""
    terms: list[str] = []
    values: list[Any] = []
    if action:
        terms.append("action = ? AND action <> ''")
        values.append(action)
    if run:
        terms.append("run = ? AND run <> ''")
        values.append(run)
    if kinds:
        terms.append(f"kind IN ({_marks(len(kinds))})")
        values.extend(kinds)
        if not (action or run) and _FREQUENT.isdisjoint(kinds):
            terms.append(f"kind NOT IN {FREQUENT}")  # in the words of the index, which has the others alone
    where = " AND ".join(terms) or "1 = 1"
    text = f"{_RECORDS} WHERE {where} ORDER BY position DESC LIMIT ?"
    return text, [*values, max(limit, 0)]


def action_of(row: Sequence[Any] | None) -> Action | None:
    """The action in a row of one body."""
    return None if row is None else decode_action(row[0])


def says_id(action_id: str) -> str:
    """The payload that holds what an action's clauses say where that can repeat an argument."""
    return f"{action_id}.says"


def with_says(action: Action, payload: Callable[[str], Payload | None]) -> Action:
    """The action of a row with what is kept apart from it."""
    if not rules.is_apart(action):
        return action
    kept = payload(says_id(action.id))
    return rules.told_together(action, msgspec.json.decode(kept.data, type=dict[str, str]) if kept else None)


def evidence_of(row: Sequence[Any] | None) -> Evidence | None:
    """The evidence in a row of one body."""
    return None if row is None else decode_evidence(row[0])


@cache
def label_of(integrity: str, confidentiality: str, source: str) -> Label:
    """A label from its three columns."""
    return Label(Integrity(integrity), Confidentiality(confidentiality), source)


def run_of(row: Sequence[Any] | None) -> Run | None:
    """The run in a row: its body, with the calls and the label from their columns."""
    if row is None:
        return None
    body, calls, integrity, confidentiality, source = row
    return replace(decode_run(body), calls=calls, label=label_of(integrity, confidentiality, source))


def run_row(run: Run) -> tuple[Any, ...]:
    """The parameters of `PUT_RUN`."""
    label = run.label
    looked_up = (run.id, run.token_hash, run.agent, run.case, run.opened_at, run.closed_at, run.calls)
    return (*looked_up, label.integrity.value, label.confidentiality.value, label.source, encode(run))


def approval_of(row: Sequence[Any]) -> Approval:
    """The approval in a row."""
    return Approval(action=row[0], person=row[1], verb=row[2], at=row[3], statement=row[4], signature=row[5])


def record_of(row: Sequence[Any]) -> StoredRecord:
    """The record in a row, where it stands."""
    position, kind, at, action, run, agent, data, sha256 = row
    return StoredRecord(
        position=position, kind=kind, at=at, action=action, run=run, agent=agent, data=data, sha256=sha256
    )
