"""Actions on their way: every executing action has its own task here, never the request's.

What lives here: the register of executions, and severing them. What never may: a decision other than the latch's.

INVARIANT: an execution marks itself handed over *before* it looks at the latch for the last time, and a stop latches
*before* it looks at the register. So whichever comes second sees the other: no call slips between them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from remit.flow.ports import Connectors
from remit.flow.stopping import Stops
from remit.gates import stop
from remit.gates.stop import Latch, Subject
from remit.model.words import Action, StopMode, StopOrder

log = logging.getLogger("remit.flow")


class Stopped(Exception):
    """The latch refuses it: nothing was handed over."""

    def __init__(self, order: StopOrder) -> None:
        super().__init__(order.id)
        self.order = order


@dataclass(eq=False)
class Execution:
    """One action on its way. Fields are owned by the event loop, except `handed_over`, which a stop's thread reads."""

    action: Action
    subject: Subject
    task: asyncio.Task[None] | None = None
    handed_over: bool = False
    cut_by: StopOrder | None = None
    severed: bool = False
    collateral: bool = False


@dataclass(frozen=True)
class Cut:
    """What a stop did to what was in flight; ids of actions, and the connectors that cannot be severed for certain."""

    order: StopOrder
    not_sent: tuple[str, ...] = ()
    severed: tuple[str, ...] = ()
    may_still_land: tuple[str, ...] = ()
    collateral: tuple[str, ...] = ()
    executions: tuple[Execution, ...] = field(default=(), repr=False)

    def __bool__(self) -> bool:
        return bool(self.executions)


class InFlight:
    """The register. `start` is called on the event loop only; `sever` from any thread."""

    def __init__(self, stops: Stops, connectors: Connectors) -> None:
        self._stops = stops
        self._connectors = connectors
        self._running: dict[str, Execution] = {}

    def start(
        self, action: Action, call: Callable[[Execution], Awaitable[None]], *, past_stops: bool = False
    ) -> Execution:
        """Latch check, register and create the task in one turn of the loop. Raises `Stopped`; nothing was started."""
        execution = Execution(action, subject_of(action, past_stops=past_stops))
        order = self._stops.check(execution.subject)
        if order is not None:
            raise Stopped(order)
        # INVARIANT: what a stop finds in the register has a task whose first step is queued already. Cancelled before
        # that step, it would end without an outcome.
        execution.task = asyncio.get_running_loop().create_task(self._run(execution, call), name=action.id)
        self._running[action.id] = execution
        return execution

    def hand_over(self, execution: Execution) -> None:
        """The last look before the first byte leaves. Raises `Stopped`; then nothing leaves."""
        execution.handed_over = True
        order = execution.cut_by or self._stops.check(execution.subject)
        if order is not None:
            execution.handed_over = False
            raise Stopped(order)

    def executions(self) -> tuple[Execution, ...]:
        """Everything in flight now."""
        return tuple(self._running.values())

    def sever(self, order: StopOrder) -> Cut:
        """Cut every call in the order's scope, now, from any thread. The latch must already hold the order.

        Kills what can be killed; who is severed for certain, who may still land, and whose calls fell with a shared
        process is in what comes back. Cancelling the tasks is `settle_cut`'s, on the loop.
        """
        if order.mode is not StopMode.CUT:
            return Cut(order)
        only = Latch((order,))
        mine = [each for each in self.executions() if stop.refusing(only, each.subject)]
        for execution in mine:
            execution.cut_by = order
        by_connector: dict[str, list[Execution]] = {}
        for execution in mine:
            if execution.handed_over:
                by_connector.setdefault(execution.action.connector, []).append(execution)
        severed: list[str] = []
        landing: list[str] = []
        fallen: list[str] = []
        for connector, executions in by_connector.items():
            ids = [each.action.id for each in executions]
            certain, others = self._sever(connector, ids)
            (severed if certain else landing).extend(ids)
            for each in executions:
                each.severed = certain
            fallen.extend(other for other in others if other not in ids)
        collateral = [each for each in self.executions() if each.action.id in fallen]
        for each in collateral:
            each.collateral = True
        return Cut(
            order,
            not_sent=tuple(each.action.id for each in mine if not each.handed_over),
            severed=tuple(severed),
            may_still_land=tuple(landing),
            collateral=tuple(each.action.id for each in collateral),
            executions=tuple(mine),
        )

    def _sever(self, connector: str, ids: list[str]) -> tuple[bool, tuple[str, ...]]:
        """Whatever befalls one connector, the others are severed too, and what was not is listed."""
        try:
            return self._connectors.sever(connector, ids)
        except Exception:
            log.exception("connector %s could not be severed; what it was doing may still land", connector)
            return False, ()

    def cancel(self, cut: Cut) -> None:
        """End the waiting of what was cut; on the loop. The outcome is then written by whoever cut it."""
        for execution in cut.executions:
            if execution.task is not None:
                execution.task.cancel()

    async def finish(self, seconds: float) -> tuple[str, ...]:
        """Wait until nothing is in flight, at most `seconds`. Returns the ids of what still is."""
        tasks = [each.task for each in self.executions() if each.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        return tuple(self._running)

    async def _run(self, execution: Execution, call: Callable[[Execution], Awaitable[None]]) -> None:
        try:
            await call(execution)
        finally:
            self._running.pop(execution.action.id, None)


def subject_of(action: Action, *, past_stops: bool = False) -> Subject:
    """An action as the latch sees it."""
    return Subject(
        agent=action.agent,
        run=action.run,
        connector=action.connector,
        category=action.category,
        targets=action.targets,
        bounded=action.bounded,
        effect=action.effect,
        past_stops=past_stops,
    )
