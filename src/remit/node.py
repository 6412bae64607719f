"""Builds one node: the only place that picks adapters.

What lives here: putting the parts together and taking them apart. What never may: a decision about an action.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from remit.adapters.clock import SystemClock
from remit.adapters.connectors.running import RunningConnectors
from remit.adapters.credentials.minting import Minter
from remit.adapters.credentials.secrets import resolve
from remit.adapters.home.folder import Home, Identity, Lock
from remit.adapters.home.init import init_home
from remit.adapters.home.latch_file import FileLatch
from remit.adapters.home.settings import Settings, load_settings
from remit.adapters.home.sources import HomeSources
from remit.adapters.home.ssh_keygen import sign_with_ssh_keygen
from remit.adapters.home.watching import MarkerWatch, is_there
from remit.adapters.ids import RandomIds
from remit.adapters.notify.alerts import Announcer, Webhook
from remit.adapters.store.sqlite import SqliteStore, open_store
from remit.flow.agent_side import Agents
from remit.flow.carrying import Carrier
from remit.flow.force import Force, Forces
from remit.flow.hints import Hints
from remit.flow.in_flight import InFlight
from remit.flow.own_tools import OwnTools
from remit.flow.points import nothing
from remit.flow.reloading import ROSTER, Reloading
from remit.flow.reruling import Reruling
from remit.flow.rulings import Rulings
from remit.flow.runs import Runs
from remit.flow.settling import Settling
from remit.flow.steward import Steward
from remit.flow.stop_desk import StopDesk, latched_by_file
from remit.flow.stopping import Stops
from remit.gates import journal, stop
from remit.gates.journal import Pseudonyms
from remit.model.errors import Fault, RemitError
from remit.model.people import load_roster
from remit.model.words import SECOND, Json, Record, Scope, ScopeKind, StopMode, StopOrder

__all__ = [
    "Node",
    "found_home",
    "init_home",
    "run_once",
    "sign_with_ssh_keygen",
]

log = logging.getLogger("remit.node")
HOUSEKEEPING_SECONDS = 1.0
Faults = Callable[[str], None]


class Node:
    """One node on one home. Make it with `Node.start`; `close` takes it apart.

    Owned by the event loop it was started on, except `stop_desk.stop` and `see_marker`, which any thread may call.
    """

    def __init__(self, home: Home, identity: Identity, settings: Settings, faults: Faults | None) -> None:
        self.home = home
        self.identity = identity
        self.settings = settings
        self.ids = RandomIds()
        self.store: SqliteStore = open_store(home.store, faults=faults)
        self._point: Faults = faults or nothing
        self.clock = SystemClock(self.store.reads.latest())
        self.names = Pseudonyms(home.key("names.key"))
        self.alerts = Announcer(
            new_id=lambda: self.ids.new("alr"), seconds=self._seconds, webhook=_webhook(home, settings)
        )
        self.pool = RunningConnectors(
            warrant_key_file=home.keys / "warrant.pub",
            stderr_folder=home.state,
            base=home.path,
            environment=dict(os.environ),
            now=self.clock.now,
            jitter=random.random,
        )
        self.stops = Stops(FileLatch(home.latch))
        self.in_flight = InFlight(self.stops, self.pool)
        self.hints = Hints()
        self.reloading = Reloading(
            home=identity.id,
            store=self.store,
            sources=HomeSources(home),
            offers=self.pool,
            clock=self.clock,
            alerts=self.alerts,
        )
        self._lock = Lock(home)
        self._background: list[asyncio.Task[None]] = []
        self._watch: MarkerWatch | None = None
        self._changing = asyncio.Lock()

    @classmethod
    async def start(cls, path: Path, *, what: str = "a gateway", faults: Faults | None = None) -> Node:
        """Take the home's lock, check and load everything, recover, and be ready.

        Raises `RemitError` saying what keeps it from starting; then nothing runs and the lock is free.
        """
        home = Home(path)
        identity = home.identity()
        lock = Lock(home)
        lock.take(what)
        node: Node | None = None
        try:
            node = cls(home, identity, load_settings(home), faults)
            node._lock = lock
            await node._begin(what)
        except BaseException:
            if node is not None:
                await node.close()
            lock.free()
            raise
        return node

    async def _begin(self, what: str) -> None:
        self._watch = MarkerWatch(self.home.marker, self._marker_seen, latch=self.home.latch, latched=self._latch_seen)
        if is_there(self.home.marker):
            self._marker_seen(True)
        force = await self.reloading.load(journal.record("node.started", self.clock.now(), what=what, pid=os.getpid()))
        self._assemble(Forces(force))
        self.reloading.bind(self.forces)
        self.pool.on_change = self.reloading.tools_changed
        self.reloading.tools_changed()
        for agent in force.boundary.agents:
            self.rulings.latch_hold(agent.name)
        self._watch.start()
        lost = await self.steward.recover()
        if lost:
            log.warning("unknown after the last end: %s; settle them with `remit settle`", ", ".join(lost))
        self._say_warnings(force)
        self._background.append(asyncio.get_running_loop().create_task(self._keep_house(), name="housekeeping"))

    def _assemble(self, forces: Forces) -> None:
        key = self.home.key("fingerprint.key")
        self.forces = forces
        self.rulings = Rulings(
            forces=forces, stops=self.stops, in_flight=self.in_flight, clock=self.clock, reads=self.store.reads
        )
        self.reruling = Reruling(rulings=self.rulings, clock=self.clock, ids=self.ids, reads=self.store.reads)
        carrier = Carrier(
            store=self.store,
            in_flight=self.in_flight,
            connectors=self.pool,
            credentials=Minter(self.home.key("warrant.key"), self.identity.id),
            clock=self.clock,
            ids=self.ids,
            alerts=self.alerts,
            hints=self.hints,
            point=self._point,
        )
        self.steward = Steward(
            store=self.store,
            forces=forces,
            stops=self.stops,
            in_flight=self.in_flight,
            carrier=carrier,
            rulings=self.rulings,
            reruling=self.reruling,
            clock=self.clock,
            ids=self.ids,
            alerts=self.alerts,
            names=self.names,
            hints=self.hints,
            fingerprint_key=key,
            point=self._point,
        )
        self._assemble_sides(forces)

    def _assemble_sides(self, forces: Forces) -> None:
        shared: dict[str, Any] = {"store": self.store, "forces": forces, "steward": self.steward, "clock": self.clock}
        self.runs = Runs(**shared, ids=self.ids, names=self.names)
        self.settling = Settling(**shared, reruling=self.reruling, hints=self.hints)
        self.stop_desk = StopDesk(
            **shared,
            stops=self.stops,
            in_flight=self.in_flight,
            alerts=self.alerts,
            names=self.names,
            loop=asyncio.get_running_loop(),
            forgive_clock=self.clock.forgive,
        )
        own = OwnTools(**shared, runs=self.runs, ids=self.ids, alerts=self.alerts)
        self.agents = Agents(
            store=self.store, forces=forces, steward=self.steward, runs=self.runs, hints=self.hints, own=own
        )

    async def reload(self, *records: Record) -> Force:
        """Load the home's files again and swap, while calls run. Raises what the checks raise; then nothing changed."""
        async with self._changing:
            return await self.reloading.load(*records)

    async def close(self) -> None:
        """Refuse new work, give what is on its way a moment, end the connectors, close the store, free the lock."""
        for task in self._background:
            task.cancel()
        if self._watch is not None:
            self._watch.close()
        await self.pool.close()
        if hasattr(self, "forces"):
            await self.in_flight.finish(2.0)
        ended = journal.record("node.stopped", self.clock.now(), pid=os.getpid())
        with contextlib.suppress(RemitError):
            await self.store.commit(lambda tx: tx.append(ended))
        self.store.close()
        self.alerts.close()
        self._lock.free()

    # --- the world outside --------------------------------------------------------------------------------------------

    def _marker_seen(self, present: bool) -> None:
        order = stop.marker_order(self.clock.now()) if present else None
        if hasattr(self, "stop_desk"):
            self.stop_desk.see_marker(order)
            return
        self.stops.see_marker(order)
        if order is not None:
            self.stops.place(latched_by_file(order))

    def _latch_seen(self) -> None:
        self.stop_desk.reread()

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            try:
                await self.steward.expire()
                await self.steward.go_on()
                self._note_jump()
            except RemitError as error:
                log.warning("housekeeping: %s", error.message)
            except Exception:
                log.exception("housekeeping failed; it is tried again")

    def _note_jump(self) -> None:
        """A clock jump becomes a latched hold on everything, once."""
        why = self.clock.jumped()
        if not why or any(order.id == CLOCK_HOLD for order in self.stops.current.orders):
            return
        order = StopOrder(
            id=CLOCK_HOLD,
            mode=StopMode.HOLD,
            scope=Scope(ScopeKind.EVERYTHING),
            at=self.clock.now(),
            by="remit",
            reason=why,
            automatic=True,
        )
        self.stop_desk.stop(order)
        jump = journal.record("clock.jump", order.at, why=why)
        self.store.commit_soon(lambda tx: tx.append(jump))

    def _say_warnings(self, force: Force) -> None:
        report = self.reloading.report(force)
        for warning in filter(None, (report.warning, self.home.readable_by_others(), *report.inventory_waits)):
            log.warning("%s", warning)
        if report.warning:
            self.alerts.send({"code": "boundary-expiry", "says": report.warning})
        if self.identity.practice:
            log.warning("this is a PRACTICE home: its keys are beside it, so its signatures prove nothing")

    def _seconds(self) -> int:
        return self.clock.now() // SECOND


CLOCK_HOLD = "stp_clock"


def _webhook(home: Home, settings: Settings) -> Webhook | None:
    if not settings.webhook:
        return None
    secret = resolve(settings.webhook_secret, environment=dict(os.environ), base=home.path)
    return Webhook(settings.webhook, secret.encode())


async def found_home(path: Path, roster: bytes) -> None:
    """Write a new home's first facts: its roster, which everything after it is signed under. Raises `Unreadable` for
    a roster that is none, `Fault` where the home has one already."""
    home = Home(path)
    identity = home.identity()
    first = load_roster(roster)
    store = open_store(home.store)
    try:
        if store.reads.fact(ROSTER) is not None:
            raise Fault("this home has its first roster already", hint="a new roster is signed under the one before")
        clock = SystemClock()
        created = journal.record(
            "home.created",
            clock.now(),
            home=identity.id,
            practice=identity.practice,
            roster=first.digest,
            version=first.version,
        )
        await store.commit(lambda tx: tx.set_fact(ROSTER, roster, created))
    finally:
        store.close()


async def run_once(
    path: Path, command: Callable[[Node], Awaitable[dict[str, Json]]], *, what: str = "a command"
) -> dict[str, Json]:
    """Take the home's lock, run one command on a node that serves nobody, and take it apart."""
    node = await Node.start(path, what=what)
    try:
        return await command(node)
    finally:
        await node.close()
