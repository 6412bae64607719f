"""A small world for the flow: real gates and flow, a store, a clock that stands still, and a lab that counts effects.

A world can crash (`crash`) and start again on what is durable (`start`): its store, its latch file and the lab stay.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from remit.adapters.credentials.minting import Minter
from remit.adapters.log.memory import MemoryLog, MemoryWitnesses
from remit.adapters.store.memory import MemoryStore
from remit.adapters.store.sqlite import SqliteStore, open_store
from remit.flow.agent_side import Agents
from remit.flow.carrying import Carrier
from remit.flow.concluding import Concluding
from remit.flow.drafts import Call
from remit.flow.erasing import Erasing
from remit.flow.force import Force, Forces
from remit.flow.hints import Hints
from remit.flow.in_flight import InFlight
from remit.flow.own_tools import OwnTools
from remit.flow.ports import Reads, StoredRecord, Transaction
from remit.flow.reloading import ROSTER, Reloading, lock_fact
from remit.flow.reruling import Reruling
from remit.flow.retention import Retention
from remit.flow.rulings import Rulings
from remit.flow.runs import Order, Runs
from remit.flow.settling import Settling
from remit.flow.steward import Steward
from remit.flow.stop_desk import StopDesk
from remit.flow.stopping import Stops
from remit.gates import approvals, journal, stop
from remit.gates.journal import Pseudonyms
from remit.gates.stop import Latch
from remit.model.definitions import LockFile
from remit.model.signatures import Namespace, sign
from remit.model.statements import ApprovalStatement
from remit.model.words import (
    MINUTE,
    SECOND,
    Action,
    Approval,
    Effect,
    Instant,
    Json,
    Run,
    Scope,
    ScopeKind,
    State,
    StopMode,
    StopOrder,
)
from tests.flow.home import DEFINITIONS, KEYS, NOW, Files, digest, roster_bytes
from tests.flow.lab import Lab

T = TypeVar("T")
AnyStore = MemoryStore | SqliteStore
HOME, CARD = "home_1", "c" * 64
WHY = {"summary": "the alert names it"}


class Crash(BaseException):
    """The process that wanted to commit this is dead."""


class FakeClock:
    """Fulfils `Clock`: moved by hand. `jump` is what it says of itself."""

    def __init__(self) -> None:
        self.at: Instant = NOW
        self.jump = ""

    def now(self) -> Instant:
        return self.at

    def jumped(self) -> str:
        return self.jump

    def forgive(self) -> None:
        self.jump = ""

    def advance(self, seconds: float) -> None:
        self.at += int(seconds * SECOND)


class CountingIds:
    """Fulfils `Ids`: names in order, so that a failing example can be read."""

    def __init__(self) -> None:
        self._count = 0

    def new(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}_{self._count:016d}"

    def salt(self) -> bytes:
        self._count += 1
        return self._count.to_bytes(16)

    def token(self) -> str:
        self._count += 1
        return f"token{self._count}".ljust(43, "-")


class KeptLatch:
    """Fulfils `LatchFile`: bytes that survive a crash. `failing` is the error of the disk."""

    def __init__(self) -> None:
        self.data = stop.encode(Latch())
        self.failing: OSError | None = None

    def read(self) -> Latch:
        return stop.decode(self.data)

    def write(self, latch: Latch) -> None:
        if self.failing is not None:
            raise self.failing
        self.data = stop.encode(latch)

    def renew(self, latch: Latch) -> None:
        self.write(latch)


DAY = 24 * 60 * MINUTE


class Told(list[dict[str, Json]]):
    """Fulfils `Alerts`: what was told."""

    def send(self, alert: dict[str, Json]) -> None:
        self.append(alert)

    def codes(self) -> list[str]:
        """Their codes, in order."""
        return [str(each["code"]) for each in self]


class Handle:
    """A store as one process has it: after the process died, its steps go nowhere."""

    def __init__(self, store: AnyStore) -> None:
        self.store = store
        self.dead = False
        self.dies_after = -1
        self.steps = 0

    @property
    def reads(self) -> Reads:
        return self.store.reads

    async def purge(self) -> int:
        return await self.store.purge()

    @property
    def removed(self) -> bool:
        return self.store.removed

    @property
    def healthy(self) -> str:
        return self.store.healthy

    async def commit(self, step: Callable[[Transaction], T]) -> T:
        if self.dead:
            raise Crash
        self.steps += 1
        value = await self.store.commit(step)
        if self.dead or self.steps == self.dies_after:
            self.dead = True
            raise Crash
        return value

    def commit_soon(self, step: Callable[[Transaction], Any]) -> None:
        if not self.dead:
            self.store.commit_soon(step)

    def close(self) -> None:
        self.store.close()


class World:
    """See the module. Make it with `World.begin`."""

    def __init__(self, store: AnyStore, files: Files) -> None:
        self.files = files
        self.durable = store
        self.clock = FakeClock()
        self.ids = CountingIds()
        self.told = Told()
        self.latch = KeptLatch()
        self.log = MemoryLog()
        self.witnesses = MemoryWitnesses()
        self.names = Pseudonyms(b"names")
        self.lab = Lab({name: list(found) for name, found in DEFINITIONS.items()}, reads=store.reads)
        self.lost: tuple[str, ...] = ()
        self.at: dict[str, Callable[[], object]] = {}  # what happens, once, at a point of the road (`flow.points`)

    @classmethod
    async def begin(cls, store: AnyStore | None = None, files: Files | None = None) -> World:
        """A world whose home was just made, whose tools are all accepted, and whose node has started."""
        world = cls(store or MemoryStore(), files or Files())
        made = journal.record("home.created", NOW, home=HOME, practice=False, roster=digest(roster_bytes()), version=1)

        def step(tx: Transaction) -> None:
            tx.set_fact(ROSTER, roster_bytes(), made)
            for name, found in world.lab.definitions_by_connector.items():
                lock = LockFile({each.name: each.digest for each in found})
                tx.set_fact(lock_fact(name), lock.dump(name).encode(), made)

        await world.durable.commit(step)
        await world.start()
        return world

    async def start(self) -> None:
        """Start a node on what is durable, as `remit.node` does."""
        self.store = Handle(self.durable)
        self.stops = Stops(self.latch)
        self.in_flight = InFlight(self.stops, self.lab)
        self.hints = Hints()
        shared: dict[str, Any] = {"store": self.store, "clock": self.clock}
        self.reloading = Reloading(
            home=HOME,
            sources=self.files,
            offers=self.lab,
            ids=self.ids,
            alerts=self.told,
            names=self.names,
            **shared,
        )
        self.forces = Forces(await self.reloading.load())
        self.reloading.bind(self.forces)
        provable: dict[str, Any] = {"log": self.log, "witnesses": self.witnesses, "reads": self.store.reads}
        self.rulings = Rulings(
            forces=self.forces, stops=self.stops, in_flight=self.in_flight, clock=self.clock, **provable
        )
        self.reruling = Reruling(rulings=self.rulings, clock=self.clock, ids=self.ids, reads=self.store.reads)
        shared |= {"alerts": self.told, "ids": self.ids, "hints": self.hints, "point": self._point}
        credentials = Minter(b"\7" * 32, HOME)
        outside: dict[str, Any] = {"connectors": self.lab, "credentials": credentials, "witnesses": self.witnesses}
        carrier = Carrier(in_flight=self.in_flight, **outside, **shared)
        self.concluding = Concluding(
            store=self.store,
            forces=self.forces,
            stops=self.stops,
            reruling=self.reruling,
            clock=self.clock,
            ids=self.ids,
            names=self.names,
            hints=self.hints,
            fingerprint_key=b"fingerprint",
        )
        self.steward = Steward(
            forces=self.forces,
            stops=self.stops,
            in_flight=self.in_flight,
            carrier=carrier,
            concluding=self.concluding,
            rulings=self.rulings,
            reruling=self.reruling,
            names=self.names,
            fingerprint_key=b"fingerprint",
            **shared,
        )
        self._sides()
        for agent in self.forces.current.boundary.agents:
            self.rulings.latch_hold(agent.name)
        self.lost = await self.steward.recover()

    def _sides(self) -> None:
        shared: dict[str, Any] = {
            "store": self.store,
            "forces": self.forces,
            "steward": self.steward,
            "clock": self.clock,
        }
        self.runs = Runs(**shared, ids=self.ids, names=self.names)
        self.erasing = Erasing(store=self.store, clock=self.clock, ids=self.ids, names=self.names)
        self.retention = Retention(
            store=self.store,
            clock=self.clock,
            erasing=self.erasing,
            keep={"read_results": 30 * DAY, "proposals": 400 * DAY},
        )
        self.settling = Settling(**shared, reruling=self.reruling, hints=self.hints, names=self.names)
        self.desk = StopDesk(
            **shared,
            ids=self.ids,
            stops=self.stops,
            in_flight=self.in_flight,
            alerts=self.told,
            names=self.names,
            loop=asyncio.get_running_loop(),
            forgive_clock=self.clock.forgive,
        )
        self.own = OwnTools(**shared, runs=self.runs, ids=self.ids, alerts=self.told, concluding=self.concluding)
        self.agents = Agents(
            store=self.store,
            forces=self.forces,
            steward=self.steward,
            runs=self.runs,
            hints=self.hints,
            own=self.own,
        )

    def _point(self, name: str) -> None:
        happens = self.at.pop(name, None)
        if happens is not None:
            happens()

    async def crash(self, *, landing: bool = False) -> None:
        """The gateway is killed: nothing that it was about to write is written; what hung at a connector lands or
        not."""
        self.store.dead = True
        tasks = [each.task for each in self.in_flight.executions() if each.task is not None]
        self.lab.die(landing=landing)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)
        for task in tasks:
            with contextlib.suppress(BaseException):
                task.exception()

    async def restart(self, *, landing: bool = False) -> None:
        """Crash and start again."""
        await self.crash(landing=landing)
        await self.start()

    async def reload(self) -> Force:
        """What `remit boundary reload` does."""
        return await self.reloading.load()

    # --- runs and calls --------------------------------------------------------------------------------------------

    async def open(self, *targets: str, agent: str = "triage", by: str = "oz", **more: Any) -> Run:
        """A run on these targets."""
        self.lab.next("get_alert", "error")
        run, self.token = await self.runs.open(Order(agent=agent, case="case-1", targets=targets, **more), by)
        return run

    def call(self, run: Run, name: str, *, why: Json = None, **arguments: Json) -> Call:
        """A call as the gateway hands it in; `name` is the tool's name for agents."""
        tool = self.forces.current.tools[name]
        if tool.manifest.effect is not Effect.READ:
            arguments["rationale"] = why or WHY
        return Call(run=run, tool=tool, arguments=arguments)

    async def propose(self, run: Run, name: str, **arguments: Json) -> Action:
        """Propose, and say how it stands then."""
        action, _ = await self.steward.propose(self.call(run, name, **arguments))
        return action

    async def done(self, action: Action) -> Action:
        """The action once nothing of it is in flight."""
        await self.settle_down()
        return self.action(action.id)

    async def do(self, run: Run, name: str, **arguments: Json) -> Action:
        """Propose, and wait until it ended or waits for a human."""
        return await self.done(await self.propose(run, name, **arguments))

    async def settle_down(self) -> None:
        """Wait until nothing is in flight but what hangs at a connector."""
        async with asyncio.timeout(10):
            while any(each.action.id not in self.lab.hanging for each in self.in_flight.executions()):
                await asyncio.sleep(0)
            for _ in range(3):
                await asyncio.sleep(0)

    def action(self, action_id: str) -> Action:
        """The action as it stands in the store."""
        found = self.durable.reads.action(action_id)
        assert found is not None
        return found

    def actions(self, *states: State) -> list[Action]:
        """Every action in these states."""
        return self.reruling.in_states(*(states or tuple(State)))

    # --- people ----------------------------------------------------------------------------------------------------

    def vote(self, action: Action, person: str, *, verb: str = "approve", key: str = "", **changes: Any) -> Approval:
        """One person's signed statement about an action."""
        fields: dict[str, Any] = {
            "home": HOME,
            "person": person,
            "issued": self.clock.at,
            "expires": self.clock.at + 20 * MINUTE,
            "verb": verb,
            "action": action.id,
            "digest": action.digest,
            "card_digest": CARD,
            "boundary_digest": self.forces.current.boundary_digest,
        }
        data = ApprovalStatement(**(fields | changes)).encode()
        signature = sign(KEYS[key or person], data, Namespace.APPROVAL)
        said: Any = verb
        return Approval(
            action=action.id, person=person, verb=said, at=self.clock.at, statement=data, signature=signature
        )

    async def decide(self, approval: Approval) -> Action:
        """What the control door does with a signed vote, with a card that never changes."""

        def check(action: Action, force: Force) -> None:
            run = self.durable.reads.run(action.run)
            agent = force.boundary.agent(action.agent)
            context = approvals.Context(
                home=HOME,
                boundary=force.boundary_digest,
                roster=force.roster,
                owner=agent.owner if agent else "",
                opener=run.opened_by if run else "",
                now=self.clock.at,
            )
            assert action.ruling.ask is not None
            given = self.durable.reads.approvals(action.id)
            approvals.check_vote(action, action.ruling.ask, approval, context, CARD, given=given)

        return await self.steward.decide(approval, check)

    async def approve(self, action: Action, person: str = "ann", **changes: Any) -> Action:
        """Approve, and wait until what follows has ended."""
        return await self.done(await self.decide(self.vote(action, person, **changes)))

    async def reject(self, action: Action, person: str = "ann") -> Action:
        """Reject."""
        return await self.done(await self.decide(self.vote(action, person, verb="reject")))

    # --- stop ------------------------------------------------------------------------------------------------------

    def order(
        self,
        mode: StopMode = StopMode.CUT,
        kind: ScopeKind = ScopeKind.EVERYTHING,
        name: str = "",
        *,
        by: str = "bob",
        **more: Any,
    ) -> StopOrder:
        """An order to stop."""
        stop_id = self.ids.new("stp")
        return StopOrder(id=stop_id, mode=mode, scope=Scope(kind, name), at=self.clock.at, by=by, **more)

    def orders(self) -> tuple[StopOrder, ...]:
        """Every order in force."""
        return self.stops.current.orders

    async def resume(self, person: str = "lena", *ids: str) -> None:
        """Lift stops by id, or all."""
        await self.desk.resume(frozenset(ids), person, "looked at it")

    # --- the journal -----------------------------------------------------------------------------------------------

    def records(self, *kinds: str, action: str = "") -> list[StoredRecord]:
        """The journal's records of these kinds, in order."""
        return self.durable.reads.records(kinds=kinds, action=action, limit=100_000)

    def kinds(self, action: str) -> list[str]:
        """The kinds of an action's records, in order."""
        return [each.kind for each in self.records(action=action)]

    def body(self, record: StoredRecord) -> dict[str, Json]:
        """A record, decoded."""
        found: dict[str, Json] = msgspec.json.decode(record.data)
        return found

    def alerts(self, action: str = "") -> list[str]:
        """The codes of the alerts in the journal."""
        return [str(self.body(each)["code"]) for each in self.records("alert", action=action)]


@contextlib.asynccontextmanager
async def sqlite_world(folder: Path, files: Files | None = None) -> AsyncIterator[World]:
    """A world on a real database."""
    store = open_store(folder / "remit.db")
    try:
        yield await World.begin(store, files)
    finally:
        store.close()


def memory(world: World) -> MemoryStore:
    """The store of a world in memory, to make it fail."""
    assert isinstance(world.durable, MemoryStore)
    return world.durable


def clauses(world: World, action_id: str) -> list[str]:
    """The ids of the clauses that decided on an action."""
    return journal.clause_ids(world.action(action_id).ruling.clauses)
