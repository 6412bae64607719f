"""One HTTP tool call, directly and through what stands in its way: Remit, and FastMCP's proxy.

Everything is measured in one run, each server a process of its own, and compared as ratios: machines and disks differ,
and swing. The gateway has the settings that it comes with. A run may send 500 messages a second by default, so the
load is spread over `RUNS` runs, and each client takes its turns through all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from bench import homes, servers
from bench.figures import table
from bench.load import Call, Figures, measure
from bench.servers import Server
from bench.store import raw_appends
from remit.node import Node

RUNS = 8
CLIENTS = (1, 32)
ROUNDS = 3
PATIENCE = 10.0
_RATIONALE = {"summary": "the alert names this host"}

Calls = Callable[[int], Sequence[Sequence[Call]]]


@dataclass(frozen=True)
class Row:
    """One server and tool: the figures at 1 and at 32 clients."""

    name: str
    alone: Figures
    many: Figures


@dataclass(frozen=True)
class Measured:
    """Everything of one run. `append` is the p50 of a raw 4 KiB append with fdatasync, in milliseconds."""

    rows: dict[str, Row]
    append: float


def run(folder: Path, *, seconds: float = 5.0) -> Measured:
    """Measure all of it with the files in `folder`: `ROUNDS` times in turn, so that what else the machine does falls
    on everybody, and the median of each figure."""
    with ExitStack() as stack:
        contenders = _contenders(folder, stack)
        rounds: dict[str, list[Row]] = {key: [] for key in contenders}
        appends = []
        for number in range(ROUNDS):
            appends.append(raw_appends(folder, 300).p50)
            for key, (name, server, calls) in contenders.items():
                if key != "default":
                    rounds[key].append(_row(name, server, calls, seconds / ROUNDS))
                elif number == 0:  # it answers some ten calls a second, so it needs longer, and once will do
                    rounds[key].append(_row(name, server, calls, max(seconds, PATIENCE)))
    return Measured({key: _median(rows) for key, rows in rounds.items()}, median(appends))


def _contenders(folder: Path, stack: ExitStack) -> dict[str, tuple[str, Server, Calls]]:
    """Everybody who is measured, started: name, server, and the calls of so many clients."""
    upstream = stack.enter_context(servers.python(["-m", "bench.upstream", "http"], folder / "upstream.log"))
    remit, runs = stack.enter_context(gateway(folder, upstream))
    warm, default = (
        stack.enter_context(
            servers.python(["-m", "bench.fastmcp_proxy", kind, upstream.url], folder / f"fastmcp-{kind}.log")
        )
        for kind in ("warm", "default")
    )
    return {
        "direct": ("direct call", upstream, _plain),
        "read": ("Remit, `auto` read", remit, partial(reads, runs)),
        "change": ("Remit, `auto` change", remit, partial(changes, runs)),
        "warm": ("FastMCP's proxy, warm", warm, _plain),
        "default": ("FastMCP's proxy, default", default, _plain),
    }


def _median(rows: Sequence[Row]) -> Row:
    def of(figures: Sequence[Figures]) -> Figures:
        return Figures(
            p50=median(each.p50 for each in figures),
            p99=median(each.p99 for each in figures),
            cpu=median(each.cpu for each in figures),
            per_second=median(each.per_second for each in figures),
            count=sum(each.count for each in figures),
        )

    return Row(rows[0].name, of([row.alone for row in rows]), of([row.many for row in rows]))


@contextmanager
def gateway(folder: Path, upstream: Server) -> Iterator[tuple[Server, Sequence[tuple[str, tuple[str, ...]]]]]:
    """The gateway as `remit gateway` runs it, on a home of 100 rules and quotas; and its runs, as tokens and hosts."""
    home = folder / "home"
    runs = asyncio.run(_prepare(home, upstream.url))
    arguments = ["-m", "remit.doors.cli.main", "gateway", "--home", str(home), "--json", "--listen", "127.0.0.1:0"]
    with servers.python(arguments, folder / "gateway.log") as server:
        yield server, runs


async def _prepare(home: Path, url: str) -> Sequence[tuple[str, tuple[str, ...]]]:
    await homes.make(home, {"edr": homes.connector("edr", homes.over_http(url))})
    node = await Node.start(home, what="the bench")
    try:
        await homes.accept_tools(node)
        return await homes.open_runs(node, RUNS)
    finally:
        await node.close()


def reads(runs: Sequence[tuple[str, tuple[str, ...]]], clients: int) -> Sequence[Sequence[Call]]:
    """Each client reads one host, through every run in turn."""
    return [
        [Call("edr__host_status", {"host": hosts[client]}, token) for token, hosts in _turned(runs, client)]
        for client in range(clients)
    ]


def changes(runs: Sequence[tuple[str, tuple[str, ...]]], clients: int) -> Sequence[Sequence[Call]]:
    """Each client changes a host of its own in every run: the same change asked for twice at once would be one."""
    return [
        [
            Call("edr__isolate_host", {"host": hosts[client], "rationale": _RATIONALE}, token)
            for token, hosts in _turned(runs, client)
        ]
        for client in range(clients)
    ]


def _turned(runs: Sequence[tuple[str, tuple[str, ...]]], by: int) -> Sequence[tuple[str, tuple[str, ...]]]:
    start = by % len(runs)
    return [*runs[start:], *runs[:start]]


def _plain(clients: int) -> Sequence[Sequence[Call]]:
    return [[Call("host_status", {"host": "WS-00001"})] for _ in range(clients)]


def _row(name: str, server: Server, calls: Calls, seconds: float) -> Row:
    alone, many = (measure(server, calls(clients), seconds) for clients in CLIENTS)
    return Row(name, alone, many)


def report(measured: Measured) -> str:
    """The table, and what it says of the figures to reach."""
    warm = measured.rows["warm"]
    head = ["one HTTP tool call", "p50 ms", "p99 ms", "CPU ms", "calls/s", "p50 ms", "p99 ms", "CPU ms", "calls/s"]
    head += ["CPU : warm", "calls/s : warm"]
    lines = [[row.name, *_cells(row.alone), *_cells(row.many), *_ratios(row, warm)] for row in measured.rows.values()]
    above = "one client: columns 2 to 5; 32 clients: columns 6 to 9 and the ratios\n"
    raw = f"\nraw 4 KiB append with fdatasync: p50 {measured.append:.2f} ms"
    return "\n".join([above + table(head, lines) + raw, "", *verdicts(measured)])


def _cells(figures: Figures) -> list[str]:
    return [f"{figures.p50:.2f}", f"{figures.p99:.2f}", f"{figures.cpu:.2f}", f"{figures.per_second:,.0f}"]


def _ratios(row: Row, warm: Row) -> list[str]:
    return [f"{row.many.cpu / warm.many.cpu:.2f}", f"{row.many.per_second / warm.many.per_second:.1f}"]


def verdicts(measured: Measured) -> list[str]:
    """One line for each floor and each aim: what was reached beside what was to be reached."""
    lines = []
    direct, warm = measured.rows["direct"], measured.rows["warm"]
    for name in ("read", "change"):
        row = measured.rows[name]
        for what, cpu, rate, slack in (("floor", 0.4, 3.0, 3.0), ("aim", 0.2, 6.0, 1.5)):
            most = direct.alone.p50 + 2 * measured.append + slack
            judged: tuple[tuple[str, float, str, float, str], ...] = (
                ("CPU a call, 1 client", row.alone.cpu / warm.alone.cpu, "≤", cpu, "× warm"),
                ("CPU a call, 32 clients", row.many.cpu / warm.many.cpu, "≤", cpu, "× warm"),
                ("calls/s, 32 clients", row.many.per_second / warm.many.per_second, "≥", rate, "× warm"),
                ("p50, 1 client", row.alone.p50, "≤", most, f"ms (direct + 2 appends + {slack:g} ms)"),
            )
            lines += [
                _verdict(f"{what:5} {name:6} {about}", got, relation, wanted, unit)
                for about, got, relation, wanted, unit in judged
            ]
    return lines


def _verdict(about: str, got: float, relation: str, wanted: float, unit: str) -> str:
    reached = got <= wanted if relation == "≤" else got >= wanted
    return f"{'pass' if reached else 'MISS'}  {about:38} {got:6.2f}  {relation} {wanted:.2f} {unit}"
