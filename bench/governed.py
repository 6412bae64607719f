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
from pathlib import Path

from bench import homes, servers
from bench.figures import table
from bench.load import Call, Figures, measure
from bench.servers import Server
from bench.store import raw_appends
from remit.node import Node

RUNS = 8
CLIENTS = (1, 32)
PATIENCE = {"warm": 0.0, "default": 10.0}
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
    """Everything of one run. `append` is the p50 of a raw 4 KiB append with fdatasync, in milliseconds: the mean of
    one measurement before and one after."""

    rows: dict[str, Row]
    append: float


def run(folder: Path, *, seconds: float = 5.0) -> Measured:
    """Measure all of it with the files in `folder`."""
    with ExitStack() as stack:
        upstream = stack.enter_context(servers.python(["-m", "bench.upstream", "http"], folder / "upstream.log"))
        before = raw_appends(folder, 400).p50
        rows = {
            "direct": _row("direct call", upstream, _plain, seconds),
            **_through_remit(folder, upstream, seconds),
            **_through_fastmcp(folder, upstream, seconds),
        }
        return Measured(rows, (before + raw_appends(folder, 400).p50) / 2)


def _through_remit(folder: Path, upstream: Server, seconds: float) -> dict[str, Row]:
    with gateway(folder, upstream) as (server, runs):
        return {
            "read": _row("Remit, `auto` read", server, lambda clients: reads(runs, clients), seconds),
            "change": _row("Remit, `auto` change", server, lambda clients: changes(runs, clients), seconds),
        }


def _through_fastmcp(folder: Path, upstream: Server, seconds: float) -> dict[str, Row]:
    rows = {}
    for kind in ("warm", "default"):
        arguments = ["-m", "bench.fastmcp_proxy", kind, upstream.url]
        with servers.python(arguments, folder / f"fastmcp-{kind}.log") as server:
            # By default it answers some ten calls a second: it needs longer for as good a figure.
            rows[kind] = _row(f"FastMCP's proxy, {kind}", server, _plain, max(seconds, PATIENCE[kind]))
    return rows


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
