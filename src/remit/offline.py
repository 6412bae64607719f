"""Stopping without a node: the latch file alone, while no gateway runs.

What lives here: what must start fast, so it imports next to nothing. What never may: the store, a connector, a node.
"""

from __future__ import annotations

from pathlib import Path

from remit.adapters.clock import SystemClock
from remit.adapters.home.folder import Home
from remit.adapters.home.latch_file import FileLatch
from remit.adapters.ids import RandomIds
from remit.flow.stopping import Stops
from remit.gates.stop import order_of
from remit.model.errors import Fault
from remit.model.words import Json


def stop_without_gateway(path: Path, params: dict[str, Json], user: str) -> dict[str, Json]:
    """Latch a stop while no gateway runs. It holds when one starts; nothing can be in flight."""
    home = Home(path)
    home.identity()
    order = order_of(params, user, RandomIds().new("stp"), SystemClock().now())
    latch = FileLatch(home.latch)
    problem = Stops(latch).place(order)
    if problem:
        raise Fault(f"the stop could not be latched: {problem}", hint=f"put a file named STOP into {home.path}")
    return {
        "stop": order.id,
        "mode": order.mode,
        "scope": order.scope.kind,
        "name": order.scope.name,
        "gateway": False,
        "milliseconds": 0.0,
        "severed": [],
        "not_sent": [],
        "collateral": [],
        "may_still_land": [],
        "problem": "",
    }
