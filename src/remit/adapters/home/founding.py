"""The first facts of a new home, in a store of its own.

What lives here: that store's first commit. What never may: a second first roster.
"""

from __future__ import annotations

from pathlib import Path

from remit.adapters.clock import SystemClock
from remit.adapters.disk import read
from remit.adapters.home.folder import Home
from remit.adapters.ids import RandomIds
from remit.adapters.payloads.sealing import sealer
from remit.adapters.store.sqlite import open_store
from remit.flow.filing import Filing
from remit.flow.ports import Transaction
from remit.flow.reloading import ROSTER
from remit.gates import journal
from remit.model.errors import Fault
from remit.model.people import load_roster


async def found_home(path: Path, roster: bytes) -> None:
    """Write a new home's first facts: its roster, which everything after it is signed under. Raises `Unreadable` for
    a roster that is none, `Fault` where the home has one already."""
    home = Home(path)
    identity = home.identity()
    first = load_roster(roster)
    store = open_store(home.store, sealer=sealer(home.keys))
    try:
        if store.reads.fact(ROSTER) is not None:
            raise Fault("this home has its first roster already", hint="a new roster is signed under the one before")
        at, filing = SystemClock().now(), Filing.of("ros", roster, {}, RandomIds())

        def step(tx: Transaction) -> None:
            created = journal.record(
                "home.created",
                at,
                home=identity.id,
                practice=identity.practice,
                roster=first.digest,
                version=first.version,
                log=read(home.log_key).decode().strip(),
                payloads=filing.keep(tx),
            )
            tx.set_fact(ROSTER, roster, created)

        await store.commit(step)
    finally:
        store.close()
