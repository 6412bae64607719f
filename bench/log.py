"""How long a durable record waits for its signed checkpoint, with the gateway's store, keeper and signer.

So many callers commit one record after the other; a follower of the keeper notes when each came under a checkpoint.
"alone" commits ten a second: each finds the log idle. `steps/s` is beside the same store without a log. Run:
`python -m bench.log`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec

from bench.figures import quantile, table
from remit.adapters.log.keeper import Keeper
from remit.adapters.log.signing import SEED_SIZE, LocalSigner, found_log
from remit.adapters.log.writing import LogWriter
from remit.adapters.store.reads import open_reads
from remit.adapters.store.sqlite import SqliteStore, open_store
from remit.flow.ports import StoredRecord, Transaction
from remit.gates import journal
from remit.model.words import Record

CALLERS = (1, 16, 64, 256)
ALONE = 0  # the row of a log that is idle before each record
SECONDS = 3.0
AIM = 150.0  # milliseconds, p99


class _Seen(msgspec.Struct):
    code: str


@dataclass
class Row:
    """One line of the table: latencies in milliseconds from the commit's return, steps a second with and without."""

    callers: int
    latencies: list[float] = field(default_factory=list)
    rate: float = 0.0
    bare: float = 0.0


def run(folder: Path, seconds: float = SECONDS) -> list[Row]:
    """One row for each number of callers, each on a store and a log of its own in `folder`."""
    return [_measure(folder / f"log-{callers}", callers, seconds) for callers in (ALONE, *CALLERS)]


def _measure(folder: Path, callers: int, seconds: float) -> Row:
    row = Row(callers)
    committed: dict[str, float] = {}
    signed: dict[str, float] = {}

    def follow(_: int, records: Sequence[StoredRecord]) -> None:
        now = time.perf_counter()
        for record in records:
            signed[msgspec.json.decode(record.data, type=_Seen).code] = now

    folder.mkdir()
    store = open_store(folder / "remit.db")
    with contextlib.closing(store), _kept(folder, store, follow):
        row.rate = asyncio.run(_commit(store, callers, seconds, committed)) / seconds
    if callers:
        with contextlib.closing(open_store(folder / "bare.db")) as bare:
            row.bare = asyncio.run(_commit(bare, callers, seconds, {})) / seconds
    row.latencies = [max(0.0, signed[code] - at) * 1e3 for code, at in committed.items()]
    return row


@contextlib.contextmanager
def _kept(folder: Path, store: SqliteStore, follow: object) -> Iterator[None]:
    keys = folder / "keys"
    keys.mkdir()
    key = found_log(keys, "remit/bench", os.urandom(SEED_SIZE))
    with contextlib.closing(open_reads(folder / "remit.db")) as reads:
        writer = LogWriter(folder / "log", reads, LocalSigner(keys), lambda: (key,))
        keeper = Keeper(writer, now=lambda: 0, followers=[follow])  # type: ignore[list-item]
        store.on_commit = keeper.wake
        keeper.start()
        try:
            yield
        finally:
            keeper.close()


async def _commit(store: SqliteStore, callers: int, seconds: float, committed: dict[str, float]) -> int:
    """Commit records until the time is up; how many. Notes when each commit returned."""
    ends = time.perf_counter() + seconds
    count = 0

    async def caller(name: int) -> None:
        nonlocal count
        while time.perf_counter() < ends:
            count += 1
            code = f"{name}-{count}"
            record = journal.record("alert", time.time_ns() // 1000, code=code, why="x" * 500)
            await store.commit(partial(_append, record))
            committed[code] = time.perf_counter()
            if callers == ALONE:
                await asyncio.sleep(0.1)

    await asyncio.gather(*(caller(name) for name in range(max(callers, 1))))
    return count


def _append(record: Record, tx: Transaction) -> None:
    tx.append(record)


def report(rows: Sequence[Row]) -> str:
    """The table, and whether the aim was reached."""
    head = ["record to checkpoint, callers", "p50 ms", "p99 ms", "worst ms", "steps/s", "without a log"]
    lines = [
        [
            f"{row.callers}" if row.callers else "alone",
            *(f"{quantile(row.latencies, share):.0f}" for share in (0.5, 0.99, 1.0)),
            f"{row.rate:,.0f}",
            f"{row.bare:,.0f}" if row.bare else "",
        ]
        for row in rows
    ]
    worst = max(quantile(row.latencies, 0.99) for row in rows)
    verdict = "pass" if worst <= AIM else "MISS"
    return f"{table(head, lines)}\n\n{verdict}  aim   record to signed checkpoint, p99: {worst:.0f} ms ≤ {AIM:.0f} ms"


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        print(report(run(Path(folder))))


if __name__ == "__main__":
    main()
