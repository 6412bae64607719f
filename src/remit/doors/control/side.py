"""What people's commands need of a node, as one narrow protocol. `remit.node.Node` fulfils it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from remit.flow.force import Force, Forces
from remit.flow.ports import Ids, Store
from remit.flow.reloading import Reloading
from remit.flow.reruling import Reruling
from remit.flow.runs import Runs
from remit.flow.settling import Settling
from remit.flow.steward import Steward
from remit.flow.stop_desk import StopDesk
from remit.flow.stopping import Stops
from remit.model.words import Instant, Record


class Identity(Protocol):
    """Who the home is."""

    @property
    def id(self) -> str: ...
    @property
    def practice(self) -> bool: ...


class Health(Protocol):
    """How one connector is: `state` is `starting`, `up`, `down` or `closed`; `reason` says why in one sentence."""

    @property
    def state(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def since(self) -> Instant: ...
    @property
    def restarts(self) -> int: ...


class Pool(Protocol):
    """The running connectors."""

    def statuses(self) -> Mapping[str, Health]: ...
    def stderr_tail(self, name: str) -> str: ...


class NodeClock(Protocol):
    """Time, and forgetting a jump of it once a human has looked."""

    def now(self) -> Instant: ...
    def jumped(self) -> str: ...
    def forgive(self) -> None: ...


class NodeSide(Protocol):
    """Everything that the control door asks of a node."""

    @property
    def identity(self) -> Identity: ...
    @property
    def store(self) -> Store: ...
    @property
    def forces(self) -> Forces: ...
    @property
    def stops(self) -> Stops: ...
    @property
    def stop_desk(self) -> StopDesk: ...
    @property
    def steward(self) -> Steward: ...
    @property
    def runs(self) -> Runs: ...
    @property
    def settling(self) -> Settling: ...
    @property
    def reloading(self) -> Reloading: ...
    @property
    def reruling(self) -> Reruling: ...
    @property
    def pool(self) -> Pool: ...
    @property
    def clock(self) -> NodeClock: ...
    @property
    def ids(self) -> Ids: ...

    async def reload(self, *records: Record) -> Force: ...
