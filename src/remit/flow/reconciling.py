"""Comparing a connector's own audit trail with the log, and keeping what came of it.

What lives here: what the journal has for a connector, bringing both sides' names into one form, the record of the
comparison, and when each connector was last compared. What never may: reading files, judging a difference away.

INVARIANT: an order counts only where the journal has its intent: a row in the store without a record is no order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from remit.flow.ports import Alerts, Clock, Ids, Reads, Store, Transaction
from remit.flow.query import Query
from remit.flow.reloading import INVENTORY
from remit.gates import journal
from remit.gates.reconciling import Finding, Order, Reconciliation, reconcile
from remit.model.audits import AuditMap, Trail, read_trail
from remit.model.canonical import sha256_hex
from remit.model.display import redact_patterns, safe_line, shown
from remit.model.errors import Misuse
from remit.model.targets import Inventory, load_inventory
from remit.model.words import MINUTE, Action, Effect, Instant, Json, Payload, Record, State

MOST_LISTED: Final = 2_000
"""So many findings stand in a report one by one; all are counted."""
_MOST_ACTIONS: Final = 10_000_000
_LONGEST_WAIT: Final = 31 * 24 * 60 * MINUTE  # an action of the window was proposed at most this long before it
_MOST_ANSWERED: Final = 10_000


class Report(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of one comparison. `audit` is the SHA-256 of the trail's bytes; `findings` counts by kind, `listed`
    are the first of them, `alarming` how many of all are an alert. Times in microseconds."""

    connector: str
    audit: str
    since: Instant
    until: Instant
    lines: int
    effects: int
    matched: int
    before: int
    after: int
    orders: int
    findings: dict[str, int]
    alarming: int
    listed: tuple[Finding, ...] = ()

    @property
    def found(self) -> int:
        """How many differences there are."""
        return sum(self.findings.values())


class Last(Struct, frozen=True, kw_only=True):
    """When a connector was last compared, and what that found; `position` is its record's."""

    connector: str
    at: Instant
    position: int
    since: Instant
    until: Instant
    effects: int
    matched: int
    findings: int


def compare(
    reads: Reads,
    connector: str,
    data: bytes,
    audit: AuditMap,
    *,
    now: Instant,
    since: Instant | None = None,
    until: Instant | None = None,
) -> Report:
    """Compare a trail's bytes with the log, from the log's beginning up to `now` where no window is given.

    The log's time goes on until now, whenever its last record was: what a connector did while no gateway ran was done
    past it. The trail must have been read before this is called, for an order is in the log before its effect is in the
    trail. Raises `Misuse` where the log is empty or the window is.
    """
    first, end = _begun(reads), max(now, reads.latest()) + 1
    begin, end = max(since or first, first), min(until if until is not None else end, end)
    if end <= begin:
        raise Misuse("the log has nothing in that time", hint="name another time with `--since` and `--until`")
    inventory = _inventory(reads)
    trail = _resolved(read_trail(data.splitlines(), audit), connector, inventory)
    orders = list(orders_of(reads, connector, begin - _LONGEST_WAIT))
    return _report(connector, data, reconcile(trail, orders, audit, since=begin, until=end))


def orders_of(reads: Reads, connector: str, since: Instant) -> Iterable[Order]:
    """What the journal has of orders to a connector that were proposed from `since` on, reads left out."""
    query = Query(connector=connector, since=since, limit=_MOST_ACTIONS)
    for action in reads.actions(query):
        if action.effect is Effect.READ:
            continue
        order = _order(reads, action)
        if order is not None:
            yield order


def _order(reads: Reads, action: Action) -> Order | None:
    found: dict[str, dict[str, Json]] = {}
    position = 0
    for record in reads.records(action=action.id):
        fields = _fields(record.data)
        found[record.kind] = fields
        if record.kind == "intent":
            position = record.position
    intent, outcome, settled = (found.get(kind) for kind in ("intent", "outcome", "settled"))
    if intent is None or not isinstance(intent.get("at"), int):
        return None
    state = str(outcome.get("state")) if outcome else ""
    return Order(
        action=action.id,
        tool=action.tool,
        at=intent["at"],
        warrant=str(intent.get("warrant", "")),
        targets=action.targets,
        state=State(state) if state in list(State) else None,
        handed_over=outcome is not None and outcome.get("handed_over") is True,
        ended_at=outcome.get("at") if outcome else None,
        applied=settled.get("applied") is True if settled else None,
        position=position,
    )


def _resolved(trail: Trail, connector: str, inventory: Inventory) -> Trail:
    """The trail with every name in the form in which actions have it."""
    known: dict[str, str] = {}

    def one(name: str) -> str:
        if name not in known:
            known[name] = inventory.resolve(name, connector=connector).id
        return known[name]

    effects = tuple(replace(each, targets=tuple(map(one, each.targets))) for each in trail.effects)
    return replace(trail, effects=effects)


def _report(connector: str, data: bytes, found: Reconciliation) -> Report:
    counts: dict[str, int] = {}
    for each in found.findings:
        counts[each.what] = counts.get(each.what, 0) + 1
    worst = sorted(found.findings, key=lambda each: each not in found.alarming)[:MOST_LISTED]
    return Report(
        connector=connector,
        audit=sha256_hex(data),
        since=found.since,
        until=found.until,
        lines=found.lines,
        effects=found.effects,
        matched=found.matched,
        before=found.before,
        after=found.after,
        orders=found.orders,
        findings=counts,
        alarming=len(found.alarming),
        listed=tuple(sorted(map(_inert, worst), key=lambda each: (each.at, each.line))),
    )


def _inert(finding: Finding) -> Finding:
    """A finding that may be shown: names and tools come from the trail, which anybody may have written into."""
    return replace(
        finding,
        tool=safe_line(redact_patterns(finding.tool), 80),
        targets=tuple(safe_line(redact_patterns(each), 80) for each in finding.targets[:20]),
    )


# --- keeping it -------------------------------------------------------------------------------------------------------


class Reconciling:
    """Writes the record of a comparison, and tells somebody where it found another road."""

    def __init__(self, *, store: Store, clock: Clock, ids: Ids, alerts: Alerts) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._alerts = alerts

    async def keep(self, report: Report) -> dict[str, Json]:
        """Write it down, durably: the id of the report, its record's time. Raises what the store raises."""
        if not report.connector or len(report.connector) > 100:
            raise Misuse(f"{shown(report.connector)} cannot be a connector's name")
        name, at = self._ids.new("rec"), self._clock.now()
        payload = Payload(
            id=f"{name}.report", kind="report", salt=self._ids.salt(), data=msgspec.json.encode(report, order="sorted")
        )
        records = [_record(report, at, journal.commits(payload))]
        if report.alarming:
            records.append(journal.alert(at, "another-road", connector=report.connector))

        def step(tx: Transaction) -> None:
            tx.put_payload(payload)
            for record in records:
                tx.append(record)

        await self._store.commit(step)
        if report.alarming:
            says = "the connector did what no order of the log explains: somebody took another road"
            self._alerts.send(
                {"code": "another-road", "connector": report.connector, "found": report.alarming, "says": says}
            )
        return {"report": payload.id, "at": at}


def _record(report: Report, at: Instant, payloads: dict[str, str]) -> Record:
    return journal.record(
        "reconciled",
        at,
        connector=report.connector,
        audit=report.audit,
        since=report.since,
        until=report.until,
        lines=report.lines,
        effects=report.effects,
        matched=report.matched,
        before=report.before,
        after=report.after,
        orders=report.orders,
        findings=report.findings,
        payloads=payloads,
    )


# --- looking back -----------------------------------------------------------------------------------------------------


def last_reconciled(reads: Reads) -> dict[str, Last]:
    """The newest comparison of each connector that has one."""
    found: dict[str, Last] = {}
    for record in reads.records(kinds=("reconciled",), limit=_MOST_ANSWERED):
        one = last_of(record.position, _fields(record.data))
        if one is not None:
            found[one.connector] = one
    return found


def last_of(position: int, fields: Mapping[str, Json]) -> Last | None:
    """What a `reconciled` record says; None where it is none."""
    numbers = {name: fields.get(name) for name in ("at", "since", "until", "effects", "matched")}
    counts = fields.get("findings")
    connector = fields.get("connector")
    if not isinstance(connector, str) or not isinstance(counts, dict):
        return None
    if not all(isinstance(each, int) for each in (*numbers.values(), *counts.values())):
        return None
    return Last(connector=connector, position=position, findings=sum(counts.values()), **numbers)  # type: ignore[arg-type]


def reconciled_status(reads: Reads, connectors: Sequence[str]) -> list[dict[str, Json]]:
    """For every connector, when it was last compared and how many differences that found; `at` is None for never."""
    found = last_reconciled(reads)
    return [
        {
            "connector": name,
            "at": found[name].at if name in found else None,
            "findings": found[name].findings if name in found else None,
        }
        for name in sorted({*connectors, *found})
    ]


def _begun(reads: Reads) -> Instant:
    first = next((each.at for each in reads.records(kinds=("home.created",), limit=1)), None)
    if first is None:
        raise Misuse("there is nothing in the log yet", hint="let the gateway run first")
    return first


def _inventory(reads: Reads) -> Inventory:
    data = reads.fact(INVENTORY)
    return load_inventory(data) if data else Inventory()


def _fields(data: bytes) -> dict[str, Json]:
    try:
        fields = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}
