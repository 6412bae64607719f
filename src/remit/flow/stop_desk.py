"""Stopping and resuming a node: latch, sever, tell the loop, record. `stop` may be called from any thread.

What lives here: the order of those steps. What never may: waiting for the event loop or the store before the
latch holds and what can be killed is dead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from remit.flow.force import Forces
from remit.flow.in_flight import Cut, InFlight
from remit.flow.ports import Alerts, Clock, Ids, Store, Transaction
from remit.flow.rulings import hold_fact
from remit.flow.steward import Steward
from remit.flow.stopping import Stops
from remit.gates import journal, stop
from remit.gates.journal import Pseudonyms
from remit.model.errors import Misuse, Refusal
from remit.model.words import Instant, Json, Payload, Record, ScopeKind, StopOrder

LATCHED_BY_FILE = "stp_by_file"

log = logging.getLogger("remit.flow")


class Landing(Struct, frozen=True):
    """An action that may still have its effect after the stop, and what to look at by hand."""

    action: str
    connector: str
    tool: str
    targets: tuple[str, ...]
    check: str


class StopReport(Struct, frozen=True, kw_only=True):
    """What a stop did. `milliseconds` is from the order to everything severed or listed."""

    order: StopOrder
    not_sent: tuple[str, ...]
    severed: tuple[str, ...]
    may_still_land: tuple[Landing, ...]
    collateral: tuple[str, ...]
    milliseconds: float
    problem: str = ""


class StopDesk:
    """See the module."""

    def __init__(
        self,
        *,
        store: Store,
        forces: Forces,
        stops: Stops,
        in_flight: InFlight,
        steward: Steward,
        clock: Clock,
        ids: Ids,
        alerts: Alerts,
        names: Pseudonyms,
        loop: asyncio.AbstractEventLoop,
        forgive_clock: Callable[[], None],
        keeps: Callable[[StopOrder], str] = lambda _: "",
    ) -> None:
        """`keeps` says why an order cannot be lifted now, whoever asks; empty where it can."""
        self._store = store
        self._forces = forces
        self._stops = stops
        self._in_flight = in_flight
        self._steward = steward
        self._clock = clock
        self._ids = ids
        self._alerts = alerts
        self._names = names
        self._loop = loop
        self._forgive_clock = forgive_clock
        self._keeps = keeps
        self._tasks: set[asyncio.Task[object]] = set()

    def stop(self, order: StopOrder) -> StopReport:
        """Latch and cut, now. INVARIANT: when this returns, nothing new starts in scope, and everything that was in
        flight there is severed or listed."""
        began = self._clock.now()
        problem = self._stops.place(order)
        return self._cut(order, began, problem)

    def see_marker(self, order: StopOrder | None) -> StopReport | None:
        """The `STOP` file came or went. While it is there it wins; the stop that it began stays latched when it goes,
        until somebody resumes."""
        began = self._clock.now()
        self._stops.see_marker(order)
        if order is None:
            return None
        problem = self._stops.place(latched_by_file(order))
        return self._cut(order, began, problem)

    def reread(self) -> tuple[StopReport, ...]:
        """Another process wrote the latch: what it stopped is in force and cut here as well."""
        began = self._clock.now()
        return tuple(self._cut(order, began, "") for order in self._stops.reread())

    def _cut(self, order: StopOrder, began: Instant, problem: str) -> StopReport:
        cut = self._in_flight.sever(order)
        report = StopReport(
            order=order,
            not_sent=cut.not_sent,
            severed=cut.severed,
            may_still_land=tuple(self._landing(each) for each in cut.may_still_land),
            collateral=cut.collateral,
            milliseconds=(self._clock.now() - began) / 1000,
            problem=problem,
        )
        try:
            self._loop.call_soon_threadsafe(self._follow_up, order, cut)
        except RuntimeError:
            log.warning("the gateway is closing; the stop is latched and what could be severed is severed")
        self._record(order, report)
        return report

    def _follow_up(self, order: StopOrder, cut: Cut) -> None:
        self._in_flight.cancel(cut)
        task = self._loop.create_task(self._steward.void(order))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _record(self, order: StopOrder, report: StopReport) -> None:
        payload = self._order(order)
        became = {
            "not_sent": report.not_sent,
            "severed": report.severed,
            "may_still_land": [each.action for each in report.may_still_land],
            "collateral": report.collateral,
        }

        def step(tx: Transaction) -> None:
            at = self._clock.now()  # when it is written, which may be later: the log's times do not go back
            cuts = journal.cuts(at, order, round(report.milliseconds * 1000), **became)
            _append([journal.stopped(at, order, self._names, journal.commits(payload)), *cuts], payload, tx)

        self._store.commit_soon(step)
        self._alerts.send({"code": "stopped", "stop": order.id, "mode": order.mode, "scope": str(order.scope)})

    def _order(self, order: StopOrder) -> Payload:
        """Who placed a stop, on what and why. Under an id of its own: a stop's id may come back (the `STOP` file's)."""
        said = {"by": order.by, "reason": order.reason, "name": order.scope.name}
        return journal.words(self._ids.new("stp"), "order", self._ids.salt(), **said)

    def _landing(self, action_id: str) -> Landing:
        found = next((each.action for each in self._in_flight.executions() if each.action.id == action_id), None)
        if found is None:
            return Landing(action_id, "", "", (), "")
        tool = self._forces.current.upstream(found.connector, found.tool)
        status = tool.manifest.status if tool else None
        asks = f"`remit settle {action_id}` asks `{status.tool}`" if status else "look at the connector by hand"
        return Landing(action_id, found.connector, found.tool, found.targets, asks)

    # --- resume ---------------------------------------------------------------------------------------------------

    async def resume(self, ids: frozenset[str], person: str, reason: str, *records: Record) -> tuple[StopOrder, ...]:
        """Lift orders by id (empty: all), by a person on the roster whose statement was verified.

        Raises `Refusal` where it may not be lifted: the `STOP` file is there, or the boundary asks for another person
        than the one who stopped. The record is written first, so no resume is without one.
        """
        orders = self._liftable(ids, person)
        at = self._clock.now()
        payload = journal.words(self._ids.new("stp"), "order", self._ids.salt(), by=person, reason=reason)
        fields: dict[str, Json] = {"by": self._names.person(person), "payloads": journal.commits(payload)}
        lifted = [
            journal.record(
                "resume", at, stop=order.id, placed_by=self._names.placed_by(order), since=order.at, **fields
            )
            for order in orders
        ]

        await self._store.commit(partial(_write_lift, orders, [*lifted, *records], payload))
        for order in orders:
            # What came in while the stop was placed, or could not be recorded as void then, must not outlive it.
            await self._steward.void(order)
        problem = self._stops.lift(frozenset(order.id for order in orders))
        if problem:
            failed = journal.alert(at, "not-resumed", stops=[order.id for order in orders[: journal.MOST_LISTED]])
            self._store.commit_soon(partial(_append, [failed], None))
            raise Refusal(f"the stop stays in force: {problem}", hint="make room or mend the disk, then resume again")
        if any(order.automatic and order.scope.kind is ScopeKind.EVERYTHING for order in orders):
            self._forgive_clock()
        self._alerts.send({"code": "resumed", "by": person, "stops": [order.id for order in orders], "reason": reason})
        return orders

    async def mend(self, order: StopOrder, *records: Record) -> str:
        """Replace a latch that cannot be read by one that begins with `order`, a cut on everything, by a person on the
        roster whose statement was verified. Returns what was wrong with it.

        Raises `Refusal` where the latch can be read, or the new one could not be made durable: then it is as blind as
        it was. The record is written first. INVARIANT: mending lifts nothing.
        """
        blind = self._stops.current.blind
        if not blind:
            raise Refusal(
                "the latch can be read, so there is nothing to mend", hint="`remit resume` lifts what is in force"
            )
        payload = self._order(order)
        kept, by = journal.commits(payload), self._names.person(order.by)
        at = self._clock.now()
        mended = journal.record("latch.mended", at, by=by, stop=order.id, payloads=kept)
        written = [mended, journal.stopped(at, order, self._names, kept), *records]
        await self._store.commit(partial(_append, written, payload))
        problem = self._stops.mend(order)
        if problem:
            failed = journal.alert(at, "not-mended", stops=[order.id])
            self._store.commit_soon(partial(_append, [failed], None))
            raise Refusal(f"the latch stays as it is: {problem}", hint="make room or mend the disk, then mend it again")
        await self._steward.void(order)
        self._alerts.send({"code": "latch-mended", "by": order.by, "stop": order.id, "reason": order.reason})
        return blind

    def _liftable(self, ids: frozenset[str], person: str) -> tuple[StopOrder, ...]:
        latch = self._stops.current
        if latch.blind:
            raise Refusal(f"the stop cannot be lifted: {latch.blind}", hint="`remit resume --blind` makes a new latch")
        chosen = tuple(order for order in latch.orders if not ids or order.id in ids)
        missing = ids - {order.id for order in chosen}
        if missing:
            raise Misuse(f"there is no stop `{sorted(missing)[0]}` in force", hint="`remit status` lists them")
        from_file = {stop.MARKER_ID, LATCHED_BY_FILE}
        if any(order.id == stop.MARKER_ID for order in latch.orders) and any(each.id in from_file for each in chosen):
            raise Refusal(
                "the file `STOP` is in the home, and while it is there it wins", hint="remove it, then `remit resume`"
            )
        for order in chosen:
            if why := self._keeps(order):
                raise Refusal(
                    f"`{order.id}` cannot be lifted: {why}",
                    hint="find out how it came to be; then `remit log continue --reason WHY` begins another log",
                )
            if self._forces.current.boundary.resume_by_another_person and self._same_person(order, person):
                raise Refusal(
                    f"`{person}` placed `{order.id}`, and the boundary wants another person to lift it",
                    hint="ask somebody else on the roster",
                )
        return chosen

    def _same_person(self, order: StopOrder, person: str) -> bool:
        """Whether the person placed the order: by name, or as the local user that the roster says they are."""
        found = self._forces.current.roster.person(person)
        names = {person.casefold(), *([found.user.casefold()] if found is not None and found.user else [])}
        return not order.automatic and order.by.casefold() in names


def latched_by_file(marker: StopOrder) -> StopOrder:
    """The order that stays when the `STOP` file goes."""
    return replace(marker, id=LATCHED_BY_FILE, reason="the file `STOP` was put into the home")


def _append(records: list[Record], payload: Payload | None, tx: Transaction) -> None:
    if payload is not None:
        tx.put_payload(payload)
    for record in records:
        tx.append(record)


def _write_lift(orders: tuple[StopOrder, ...], records: list[Record], payload: Payload, tx: Transaction) -> None:
    _append(records, payload, tx)
    for order in orders:
        if order.automatic and order.scope.kind is ScopeKind.AGENT and tx.fact(hold_fact(order.scope.name)):
            lifted = journal.record("hold", records[0].at, agent=order.scope.name, stop=order.id, lifted=True)
            tx.set_fact(hold_fact(order.scope.name), b"", lifted)
