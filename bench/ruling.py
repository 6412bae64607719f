"""How long one ruling takes, by the number of rules: 20,000 targets, quotas on everything that is asked about.

Run: `python -m bench.ruling`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench import homes
from bench.figures import quantile, table
from remit.gates.boundary.evaluator import Evaluator, compile_boundary
from remit.gates.boundary.load import digest_of, load
from remit.gates.boundary.words import Request
from remit.model.words import CredentialClass, Effect, Label, Mandate, Target, Used

RULES = (10, 100, 1_000)
TARGETS = 20_000
AIM = 10.0  # microseconds, p99 at 1,000 rules
_KINDS = ("workstation", *homes.KINDS)


@dataclass(frozen=True)
class Row:
    """One line of the table, in microseconds; `compiled` in milliseconds, once per boundary and inventory. `first` is
    the p99 while the evaluator still works out which rules match together."""

    rules: int
    p50: float
    p99: float
    first: float
    compiled: float


def targets() -> Sequence[Target]:
    """An estate of every kind, a tenth of it privileged, spread over fifty sites."""
    return [
        Target(
            id=f"T-{number:05}",
            kind=_KINDS[number % len(_KINDS)],
            privileged=number % 10 == 0,
            labels=(f"site-{number % 50}",),
        )
        for number in range(TARGETS)
    ]


def run(*, rulings: int = 50_000) -> list[Row]:
    """One row for each number of rules. Counting what a quota has used is the store's, and not in it."""
    estate = targets()
    return [_measure(rules, estate, rulings) for rules in RULES]


def _measure(rules: int, estate: Sequence[Target], rulings: int) -> Row:
    data = homes.boundary_text(rules, {}).encode()
    boundary = load(data)
    began = time.perf_counter()
    evaluator = compile_boundary(boundary, digest_of(data), estate)
    compiled = time.perf_counter() - began
    chosen = random.Random(7)  # the same requests every time
    mandate = Mandate(tuple(each.id for each in chosen.sample(estate, 40)), homes.CATEGORIES)
    now = time.time_ns() // 1000
    requests = [_request(chosen, estate, mandate, now) for _ in range(rulings)]
    used = {quota.id: Used(frozenset(), 3) for quota in boundary.quotas}
    first = _timed(evaluator, requests, used)
    again = _timed(evaluator, requests, used)
    return Row(rules, quantile(again, 0.5), quantile(again, 0.99), quantile(first, 0.99), compiled * 1e3)


def _timed(evaluator: Evaluator, requests: Sequence[Request], used: Mapping[str, Used]) -> list[float]:
    took = []
    for request in requests:
        start = time.perf_counter_ns()
        evaluator.windows(request.agent, request.category, request.at)
        evaluator.rule(request, used)
        took.append((time.perf_counter_ns() - start) / 1e3)
    return took


def _request(chosen: random.Random, estate: Sequence[Target], mandate: Mandate, now: int) -> Request:
    category = chosen.choice(homes.CATEGORIES)
    return Request(
        agent=chosen.choice(homes.AGENTS),
        category=category,
        effect=Effect.READ if category.endswith(".read") else Effect.CHANGE,
        connector="edr",
        tool="tool",
        credential=CredentialClass.WARRANT,
        targets=(chosen.choice(estate),),
        mandate=mandate,
        label=Label(),
        at=now,
    )


def report(rows: Sequence[Row]) -> str:
    """The table, and whether the aim was reached."""
    head = ["one ruling, 20,000 targets", "p50 µs", "p99 µs", "p99 at first", "compiled ms"]
    lines = [
        [f"{row.rules:,} rules", f"{row.p50:.1f}", f"{row.p99:.1f}", f"{row.first:.1f}", f"{row.compiled:,.0f}"]
        for row in rows
    ]
    last = rows[-1].p99
    verdict = f"{'pass' if last <= AIM else 'MISS'}  aim   ruling, 1,000 rules, p99: {last:.1f} µs ≤ {AIM:.0f} µs"
    return f"{table(head, lines)}\n\n{verdict}"


if __name__ == "__main__":
    print(report(run()))
