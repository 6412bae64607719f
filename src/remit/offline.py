"""What works without a node, while no gateway runs: stopping on the latch file alone, and looking into the store.

What lives here: what must start fast, so it imports next to nothing. What never may: a connector, a node, writing into
the store.
"""

from __future__ import annotations

import time
from pathlib import Path

from remit.adapters.clock import SystemClock
from remit.adapters.home.folder import Home, Lock
from remit.adapters.home.latch_file import FileLatch
from remit.adapters.home.watching import INTERVAL
from remit.adapters.ids import RandomIds
from remit.flow.ports import Reads
from remit.flow.stopping import Stops
from remit.gates.stop import order_of
from remit.model.errors import Fault
from remit.model.words import Instant, Json


def stop_without_gateway(path: Path, params: dict[str, Json], user: str) -> dict[str, Json]:
    """Latch a stop while no gateway answers. It holds when one starts.

    Where a process has the home all the same (a gateway that is starting or ending, a command that acts by itself), it
    sees the latch at its next look, and this returns only after that.
    """
    home = Home(path)
    home.identity()
    order = order_of(params, user, RandomIds().new("stp"), SystemClock().now())
    latch = FileLatch(home.latch)
    problem = Stops(latch).place(order)
    if problem:
        raise Fault(f"the stop could not be latched: {problem}", hint=f"put a file named STOP into {home.path}")
    running = Lock(home).held()
    if running:
        time.sleep(4 * INTERVAL)
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
        "running": running,
    }


def now() -> Instant:
    """The machine's present, in microseconds since the epoch, for commands that sign or show something."""
    return SystemClock().now()


def open_reads(path: Path) -> Reads:
    """Look into a home's store without a gateway and without a lock. Raises `RemitError` where there is none."""
    home = Home(path)
    home.identity()
    from remit.adapters.store.reads import open_reads as open_store_reads

    return open_store_reads(home.store)
