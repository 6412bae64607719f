"""How many durable steps a second the store commits, beside raw appends to the same disk in the same run.

A pair of steps is one `auto` call: the proposal with its intent, then its outcome. Run: `python -m bench.store`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import table
from remit.adapters.store.sqlite import SqliteStore, open_store
from remit.flow.ports import Transaction
from remit.model.words import (
    Action,
    Claim,
    Clause,
    Decision,
    Effect,
    Event,
    Evidence,
    Label,
    Mandate,
    Payload,
    Record,
    Ruling,
    Run,
    State,
)

CALLERS = (1, 16, 64, 256)
_BODY = b'{"kind":"proposal","digest":"' + b"0" * 400 + b'"}'
_RULING = Ruling(decision=Decision.AUTO, clauses=(Clause("ISO-1", Decision.AUTO, "ordinary workstation"),))


@dataclass(frozen=True)
class Row:
    """One line of the table. Times in milliseconds; `cpu` is per step, all threads of the process."""

    name: str
    per_second: float
    p50: float
    p99: float
    cpu: float


def _row(name: str, took: Sequence[float], elapsed: float, cpu: float) -> Row:
    ordered = sorted(took)
    p50, p99 = (1000 * ordered[int(len(ordered) * share)] for share in (0.5, 0.99))
    return Row(name, len(took) / elapsed, p50, p99, 1000 * cpu / len(took))


def raw_appends(folder: Path, count: int) -> Row:
    """4 KiB appends with fdatasync, one after the other."""
    took = []
    file = os.open(folder / "raw", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        start = time.perf_counter()
        os.write(file, b"x" * 4096)
        os.fdatasync(file)
        took.append(time.perf_counter() - start)
    elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
    os.close(file)
    return _row("raw 4 KiB append + fdatasync", took, elapsed, cpu)


def _record(kind: str, name: str) -> Record:
    return Record(kind=kind, at=1, data=_BODY, action=name, run="run_bench", agent="triage")


def propose(name: str) -> Any:
    """The first step of an `auto` call: count, open with three records and a claim, payload."""
    action = Action(
        id=name,
        revision=1,
        state=State.EXECUTING,
        agent="triage",
        run="run_bench",
        case="case-1",
        connector="siem",
        tool="search_events",
        category="evidence.read",
        effect=Effect.READ,
        definition="d" * 64,
        targets=("WS-1",),
        bounded=True,
        digest="e" * 64,
        fingerprint=f"fp-{name}",
        proposal=f"pay_{name}",
        ruling=_RULING,
        opened_at=1,
    )
    records = [_record(kind, name) for kind in ("proposal", "ruling", "intent")]

    def step(tx: Transaction) -> None:
        tx.count_call("run_bench")
        tx.open(action, [Claim(name, "triage", "evidence.read", "WS-1", 1)], *records)
        tx.put_payload(Payload(id=f"pay_{name}", kind="proposal", salt=b"s" * 16, data=_BODY))

    return step


def conclude(name: str) -> Any:
    """The second step: outcome with one record, evidence, payload."""
    evidence = Evidence(
        id=f"ev_{name}", run="run_bench", action=name, at=2, digest="0" * 64, label=Label(), payload=f"res_{name}"
    )

    def step(tx: Transaction) -> None:
        tx.move(name, 1, Event.SUCCEED, _record("outcome", name), ended_at=2, evidence=evidence.id)
        tx.put_evidence(evidence)
        tx.put_payload(Payload(id=f"res_{name}", kind="result", salt=b"s" * 16, data=_BODY * 4))

    return step


async def steps(store: SqliteStore, callers: int, pairs: int) -> Row:
    """Pairs of steps by so many callers at once, each waiting for its own."""
    took: list[float] = []

    async def caller(number: int) -> None:
        for each in range(pairs // callers):
            name = f"act_{callers}_{number}_{each}"
            for step in (propose(name), conclude(name)):
                start = time.perf_counter()
                await store.commit(step)
                took.append(time.perf_counter() - start)

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*map(caller, range(callers)))
    return _row(f"store, {callers} callers", took, time.perf_counter() - began, time.process_time() - cpu)


async def _measure(folder: Path, pairs: int) -> list[Row]:
    store = open_store(folder / "remit.db")
    run = Run(
        id="run_bench",
        agent="triage",
        case="case-1",
        opened_by="bench",
        opened_at=1,
        expires_at=2,
        mandate=Mandate((), ()),
        token_hash="h",
    )
    await store.commit(lambda tx: tx.put_run(run, _record("run-opened", "")))
    try:
        return [await steps(store, callers, min(pairs, 200 * callers)) for callers in CALLERS]
    finally:
        store.close()


def run(folder: Path | None = None, *, pairs: int = 4096) -> list[Row]:
    """Raw appends first, then the store at each number of callers. `folder` chooses the disk."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        return [raw_appends(Path(made), 500), *asyncio.run(_measure(Path(made), pairs))]


def report(rows: Sequence[Row]) -> str:
    """The table, and whether the aims were reached."""
    lines = [[row.name, f"{row.per_second:,.0f}", f"{row.p50:.2f}", f"{row.p99:.2f}", f"{row.cpu:.3f}"] for row in rows]
    raw, alone, _, many, _ = rows
    verdicts = (
        (many.per_second >= 5_000, f"64 callers: {many.per_second:,.0f} ≥ 5,000 steps/s"),
        (many.p99 <= 30, f"64 callers, p99: {many.p99:.1f} ≤ 30 ms"),
        (alone.p50 <= 2 * raw.p50, f"alone, p50: {alone.p50:.2f} ≤ {2 * raw.p50:.2f} ms (2 raw appends)"),
    )
    said = [f"{'pass' if reached else 'MISS'}  aim   store, {about}" for reached, about in verdicts]
    head = ["durable steps", "steps/s", "p50 ms", "p99 ms", "CPU ms a step"]
    return "\n".join([table(head, lines), "", *said])


def main() -> None:
    """Print the table."""
    print(report(run(Path(sys.argv[1]) if len(sys.argv) > 1 else None)))


if __name__ == "__main__":
    main()
