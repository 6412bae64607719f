"""Builds one node: the only place that picks adapters.

What lives here: putting the parts together and taking them apart. What never may: a decision about an action.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from remit.adapters.clock import SystemClock
from remit.adapters.connectors.running import RunningConnectors
from remit.adapters.credentials.minting import Minter
from remit.adapters.disk import read, write
from remit.adapters.home.folder import Home, Identity, Lock
from remit.adapters.home.founding import found_home
from remit.adapters.home.init import init_home
from remit.adapters.home.latch_file import FileLatch
from remit.adapters.home.settings import Settings, load_settings
from remit.adapters.home.sources import HomeSources
from remit.adapters.home.ssh_keygen import sign_with_ssh_keygen
from remit.adapters.home.watching import MarkerWatch, is_there
from remit.adapters.ids import RandomIds
from remit.adapters.index.following import SearchIndex
from remit.adapters.log.apart import RemoteSigner
from remit.adapters.log.keeper import Keeper
from remit.adapters.log.signing import SEED_SIZE, LocalSigner, Signer, begin_epoch, forget_older_logs, next_key
from remit.adapters.log.witnesses import Witnesses
from remit.adapters.log.writing import LogWriter
from remit.adapters.notify.alerts import Announcer, webhook_of
from remit.adapters.payloads.sealing import sealer
from remit.adapters.store.reads import SqliteReads
from remit.adapters.store.sqlite import SqliteStore, open_store
from remit.flow.agent_side import Agents
from remit.flow.carrying import Carrier
from remit.flow.concluding import Concluding
from remit.flow.erasing import Erasing
from remit.flow.force import Force, Forces
from remit.flow.hints import Hints
from remit.flow.in_flight import InFlight
from remit.flow.own_tools import OwnTools
from remit.flow.points import nothing
from remit.flow.ports import Transaction
from remit.flow.reconciling import Reconciling, Report
from remit.flow.reloading import Reloading
from remit.flow.reruling import Reruling
from remit.flow.retention import Retention
from remit.flow.rulings import Rulings
from remit.flow.runs import Runs
from remit.flow.settling import Settling
from remit.flow.steward import Steward
from remit.flow.stop_desk import StopDesk, latched_by_file
from remit.flow.stopping import Stops
from remit.gates import journal, stop
from remit.gates.journal import Pseudonyms
from remit.gates.log import checkpoints
from remit.gates.log.notes import VerifierKey
from remit.model.errors import Refusal, RemitError
from remit.model.words import SECOND, Json, Record, Scope, ScopeKind, StopMode, StopOrder

__all__ = [
    "Node",
    "found_home",
    "init_home",
    "keep_report",
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
        seals = sealer(home.keys, point=faults)
        self.store: SqliteStore = open_store(home.store, sealer=seals, faults=faults)
        self._point: Faults = faults or nothing
        self.clock = SystemClock(self.store.reads.latest())
        self.names = Pseudonyms(home.key("names.key"))
        self.alerts = Announcer(
            new_id=lambda: self.ids.new("alr"),
            seconds=lambda: self.clock.now() // SECOND,
            webhook=webhook_of(settings.webhook, settings.webhook_secret, base=home.path),
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
            ids=self.ids,
            alerts=self.alerts,
            names=self.names,
        )
        self.index = SearchIndex(home.index, home.key("names.key"), self.store.reads)
        apart = settings.log_signer
        self._signer: Signer = RemoteSigner(apart) if apart is not None else LocalSigner(home.keys)
        self._log_reads = SqliteReads(home.store, seals)
        self.witnesses = Witnesses(settings.witnesses, settings.quorum)
        keys = partial(_log_keys, home)
        self.log = Keeper(
            LogWriter(settings.log_folder, self._log_reads, self._signer, keys, self.witnesses.publish),
            now=self.clock.now,
            clock=self.clock.went_back,
            witnesses=self.witnesses.contradicted,
            diverged=self._log_diverged,
            followers=(self.index.follow,),
        )
        self.store.on_commit = self.log.wake
        self.reconciling = Reconciling(store=self.store, clock=self.clock, ids=self.ids, alerts=self.alerts)
        self._log_trouble = ""
        self._witnesses_away: dict[str, str] = {}  # by name, who was told to be away
        self._lock = Lock(home)
        self._background: list[asyncio.Task[None]] = []
        self._watch: MarkerWatch | None = None
        self._changing = asyncio.Lock()

    @classmethod
    async def start(cls, path: Path, *, what: str = "a gateway", faults: Faults | None = None) -> Node:
        """Take the home's lock, check and load everything, recover, and be ready.

        Raises `RemitError` saying what keeps it from starting; then nothing runs and the lock is free.
        """
        return await cls._take(path, what, faults, cls._begin)

    @classmethod
    async def to_write(cls, path: Path, *, what: str) -> Node:
        """Take the home's lock only to write into its journal: nothing is loaded, no connector starts, and nothing that
        waits is carried on. `reconciling` is all that it has. Raises `RemitError`, as `start` does."""
        return await cls._take(path, what, None, cls._begin_to_write)

    @classmethod
    async def _take(
        cls, path: Path, what: str, faults: Faults | None, begin: Callable[[Node, str], Awaitable[None]]
    ) -> Node:
        home = Home(path)
        identity = home.identity()
        lock = Lock(home)
        lock.take(what)
        node: Node | None = None
        try:
            node = cls(home, identity, load_settings(home), faults)
            node._lock = lock
            await begin(node, what)
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
        force = await self.reloading.load(self._started(what))
        self._assemble(Forces(force))
        self.reloading.bind(self.forces)
        self.pool.on_change = self.reloading.tools_changed
        self.reloading.tools_changed()
        for agent in force.boundary.agents:
            self.rulings.latch_hold(agent.name)
        self._watch.start()
        if isinstance(self._signer, LocalSigner):
            with contextlib.suppress(RemitError, OSError):  # what is wrong with the keys is the log's trouble
                forget_older_logs(self.home.log_key, self._signer.verifiers())
        self.witnesses.start()
        self.log.start()
        self.index.start()
        lost = await self.steward.recover()
        if lost:
            log.warning("unknown after the last end: %s; settle them with `remit settle`", ", ".join(lost))
        self._say_warnings(force)
        self._background.append(asyncio.get_running_loop().create_task(self._keep_house(), name="housekeeping"))

    async def _begin_to_write(self, what: str) -> None:
        await self.store.commit(partial(_append, (self._started(what),)))
        self.witnesses.start()
        self.log.start()

    def _started(self, what: str) -> Record:
        return journal.record("node.started", self.clock.now(), what=what, pid=os.getpid())

    def _assemble(self, forces: Forces) -> None:
        key = self.home.key("fingerprint.key")
        self.forces = forces
        self.rulings = Rulings(
            forces=forces,
            stops=self.stops,
            in_flight=self.in_flight,
            clock=self.clock,
            reads=self.store.reads,
            log=self.log,
            witnesses=self.witnesses,
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
            witnesses=self.witnesses,
            point=self._point,
        )
        self.concluding = Concluding(
            store=self.store,
            forces=forces,
            stops=self.stops,
            reruling=self.reruling,
            clock=self.clock,
            ids=self.ids,
            names=self.names,
            hints=self.hints,
            fingerprint_key=key,
        )
        self.steward = Steward(
            store=self.store,
            forces=forces,
            stops=self.stops,
            in_flight=self.in_flight,
            carrier=carrier,
            concluding=self.concluding,
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
        self.erasing = Erasing(
            store=self.store,
            clock=self.clock,
            ids=self.ids,
            names=self.names,
            index=self.index,
            leavings=self.pool,
        )
        self.retention = Retention(
            store=self.store,
            clock=self.clock,
            erasing=self.erasing,
            keep=self.settings.retention,
            leavings=self.pool,
        )
        self.settling = Settling(**shared, reruling=self.reruling, hints=self.hints, names=self.names)
        self.stop_desk = StopDesk(
            **shared,
            stops=self.stops,
            in_flight=self.in_flight,
            ids=self.ids,
            alerts=self.alerts,
            names=self.names,
            loop=asyncio.get_running_loop(),
            forgive_clock=self.clock.forgive,
            keeps=self._keeps,
        )
        own = OwnTools(**shared, runs=self.runs, ids=self.ids, alerts=self.alerts, concluding=self.concluding)
        self.agents = Agents(
            store=self.store, forces=forces, steward=self.steward, runs=self.runs, hints=self.hints, own=own
        )

    async def reload(self, *records: Record) -> Force:
        """Load the home's files again and swap, while calls run. Raises what the checks raise; then nothing changed."""
        async with self._changing:
            force = await self.reloading.load(*records)
        self._say_unwitnessed(force)
        return force

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
        if hasattr(self, "erasing") and self.store.removed:
            await self.erasing.finish()
        self.index.close()
        self.log.close()
        self.witnesses.close()
        self.store.close()
        self._log_reads.close()
        self._signer.close()
        self.alerts.close()
        self._lock.free()

    async def continue_log(self, person: str, *records: Record) -> dict[str, Json]:
        """A person accepts that the log cannot go on under the history that was signed: begin the next one, over the
        store as it is. The old files stay as evidence. Raises `Refusal` where the log goes on, or its key is not here.

        The hold that came with it stays until somebody resumes.
        """
        why = self.log.diverged
        if not why:
            raise Refusal("the log goes on, so there is nothing to begin anew", hint="`remit log status` shows it")
        if not isinstance(self._signer, LocalSigner):
            raise Refusal("the log's key is with a signer of its own, not in this home", hint="docs/LOG.md says how")
        before = checkpoints.opened(self._signer.last(), _log_keys(self.home)).checkpoint
        key = next_key(self.home.keys, os.urandom(SEED_SIZE))
        continued = journal.record(
            "log.continued",
            self.clock.now(),
            log=key.verifier.text,
            before=before.origin,
            size=before.size,
            root=before.root.hex(),
            by=self.names.person(person),
        )
        await self.store.commit(partial(_append, (continued, *records)))
        # Both keys are trusted before the new one signs: whatever moment a crash comes at, what signs is known.
        write(self.home.log_key, read(self.home.log_key).rstrip() + f"\n{key.verifier.text}\n".encode(), 0o644)
        begin_epoch(self.home.keys, key)
        forget_older_logs(self.home.log_key, (key.verifier,))
        self.log.begin_anew()
        self.alerts.send({"code": "log-continued", "by": person, "origin": key.name})
        return {"origin": key.name, "key": key.verifier.text, "was": why, "before": before.origin, "size": before.size}

    def _keeps(self, order: StopOrder) -> str:
        """Empty, or why this order cannot be lifted now."""
        return self.log.diverged if order.id == stop.LOG_ID else ""

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
                self._note_log()
                self._note_witnesses()
                await self.erasing.tick()
                await self.retention.tick()
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
        jump = journal.record("clock.jump", order.at, stop=order.id)
        self.store.commit_soon(lambda tx: tx.append(jump))

    def _note_log(self) -> None:
        """Tell of the log's trouble when it comes, when it changes and when it goes."""
        says = self.log.trouble()
        if says == self._log_trouble:
            return
        self._log_trouble = says
        told = journal.alert(self.clock.now(), "log-trouble" if says else "log-kept")
        self.store.commit_soon(lambda tx: tx.append(told))
        self.alerts.send({"code": "log-trouble" if says else "log-kept", "says": says})

    def _note_witnesses(self) -> None:
        """Tell of each witness that is away, or contradicts the log, once; and once when it is back."""
        away = {each.name: each.away for each in self.witnesses.state.witnesses if each.away}
        for name in away.keys() ^ self._witnesses_away.keys():
            code = "witness-away" if name in away else "witness-back"
            told = journal.alert(self.clock.now(), code, witness=name)
            self.store.commit_soon(partial(_append, (told,)))
            self.alerts.send({"code": code, "witness": name, "says": away.get(name, "it cosigns again")})
        self._witnesses_away = away

    def _log_diverged(self, why: str) -> None:
        """The store and what the log has signed are two histories: a latched hold on everything, from any thread."""
        self.alerts.send({"code": "log-diverged", "says": why})
        told = journal.alert(self.clock.now(), "log-diverged")
        self.store.commit_soon(lambda tx: tx.append(told))
        if any(order.id == stop.LOG_ID for order in self.stops.current.orders):
            return
        order = stop.log_order(self.clock.now(), why)
        if hasattr(self, "stop_desk"):
            self.stop_desk.stop(order)
        else:
            self.stops.place(order)

    def _say_warnings(self, force: Force) -> None:
        report = self.reloading.report(force)
        for warning in filter(None, (report.warning, self.home.readable_by_others(), *report.inventory_waits)):
            log.warning("%s", warning)
        if report.warning:
            self.alerts.send({"code": "boundary-expiry", "says": report.warning})
        self._say_unwitnessed(force)
        if self.identity.practice:
            log.warning("this is a PRACTICE home: its keys are beside it, so its signatures prove nothing")

    def _say_unwitnessed(self, force: Force) -> None:
        """A category that must be witnessed, and nobody who could: it never runs by itself."""
        names = [each.name for each in force.boundary.categories if each.witnessed]
        if names and not self.settings.witnesses:
            says = f"the boundary wants {', '.join(names)} witnessed, and `remit.toml` names no witness"
            log.warning("%s: it waits for a human, or is refused, as the boundary says", says)
            self.alerts.send({"code": "no-witness", "says": says})


CLOCK_HOLD = "stp_clock"


def _append(records: Iterable[Record], tx: Transaction) -> None:
    for record in records:
        tx.append(record)


def _log_keys(home: Home) -> tuple[VerifierKey, ...]:
    return tuple(VerifierKey.parse(line) for line in read(home.log_key).decode().split())


async def run_once(
    path: Path, command: Callable[[Node], Awaitable[dict[str, Json]]], *, what: str = "a command"
) -> dict[str, Json]:
    """Take the home's lock, run one command on a node that serves nobody, and take it apart."""
    node = await Node.start(path, what=what)
    try:
        return await command(node)
    finally:
        await node.close()


async def keep_report(path: Path, report: Report) -> dict[str, Json]:
    """Write down what a comparison found, while no gateway runs: see `Reconciling.keep`. Raises `RemitError`."""
    node = await Node.to_write(path, what="the command `reconciled`")
    try:
        return await node.reconciling.keep(report)
    finally:
        await node.close()
