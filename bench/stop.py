"""How long `remit stop` takes from the command on the control socket until everything is severed or listed.

So many calls hang, most of them in connectors over standard streams, which a stop kills, some in one over HTTP, which
it can only list as "may still land". A connector takes 32 calls at once, so a thousand take 31 processes and one
server. Three moments are measured from the command: its answer, the last of the connectors' processes dead (looked at
from outside), and the last outcome on record. Run: `python -m bench.stop`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import select
import socket
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from bench import homes, servers
from bench.figures import table
from bench.servers import Server
from remit.doors.control.commands import Commands
from remit.doors.control.server import ControlServer
from remit.model.words import Run
from remit.node import Node

IN_FLIGHT = (1, 100, 1_000)
EACH = 32  # calls that one connector takes at once
AIM = 250.0  # milliseconds, 1,000 in flight
WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Row:
    """One line of the table; times in milliseconds from the command."""

    in_flight: int
    answered: float
    dead: float
    recorded: float
    severed: int
    may_still_land: int


async def run(folder: Path) -> list[Row]:
    """One row for each number of calls in flight, each on a home of its own in `folder`."""
    logging.getLogger("remit").setLevel(logging.CRITICAL)  # the alerts of a thousand cut calls
    with ExitStack() as stack:
        upstream = stack.enter_context(servers.python(["-m", "bench.upstream", "http"], folder / "upstream.log"))
        return [await _measure(folder / f"stop-{count}", upstream, count) for count in IN_FLIGHT]


async def _measure(home: Path, upstream: Server, count: int) -> Row:
    connectors = {
        f"lab{number}": homes.connector(f"lab{number}", homes.over_stdio())
        for number in range(max(1, ceil(count / EACH) - 1))
    }
    if count > 1:
        connectors["remote"] = homes.connector("remote", homes.over_http(upstream.url))
    await homes.make(home, connectors)
    async with AsyncExitStack() as stack:
        node = await Node.start(home, what="the bench")
        stack.push_async_callback(node.close)
        loop = asyncio.get_running_loop()
        commands = Commands(node)
        control = ControlServer(node.home.control_socket, loop, commands.immediate, commands.dispatch)
        control.start()
        stack.callback(control.close)
        await homes.accept_tools(node)
        calls = await _hang(node, list(connectors), count)
        row = await _stop(node, count)
        await asyncio.gather(*calls)
        return row


async def _hang(node: Node, connectors: Sequence[str], count: int) -> list[asyncio.Task[object]]:
    """Make so many calls that hang, and wait until every one was handed over."""
    ((token, hosts),) = await homes.open_runs(node, 1)
    run = node.agents.authenticate(token)
    calls = [
        asyncio.create_task(_call(node, run, connectors[number % len(connectors)], hosts[number % len(hosts)], number))
        for number in range(count)
    ]
    async with asyncio.timeout(WAIT_SECONDS):
        while sum(each.handed_over for each in node.in_flight.executions()) < count:
            await asyncio.sleep(0.02)
    return calls


async def _call(node: Node, run: Run, connector: str, host: str, number: int) -> object:
    # Another reason each time: the same change asked for twice at once would be one.
    arguments = {"host": host, "reason": f"number {number}", "rationale": {"summary": "the alert names this host"}}
    return await node.agents.call(run, f"{connector}__hang", arguments, hold=WAIT_SECONDS)


async def _stop(node: Node, count: int) -> Row:
    loop = asyncio.get_running_loop()
    watched = [os.pidfd_open(pid) for pid in _below(os.getpid())]
    with ThreadPoolExecutor(2) as pool:
        began = time.perf_counter()
        deaths = loop.run_in_executor(pool, _dead, watched)
        report = await loop.run_in_executor(pool, _command, node.home.control_socket)
        answered = time.perf_counter()
        dead = await deaths
        async with asyncio.timeout(WAIT_SECONDS):
            while node.in_flight.executions():
                await asyncio.sleep(0.001)
        recorded = time.perf_counter()
    return Row(
        in_flight=count,
        answered=(answered - began) * 1e3,
        dead=(dead - began) * 1e3,
        recorded=(recorded - began) * 1e3,
        severed=len(report["severed"]),
        may_still_land=len(report["may_still_land"]),
    )


def _command(path: Path) -> dict[str, list[str]]:
    """What `remit stop` does: one line to the control socket, one line back."""
    with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rb") as lines:
        connection.connect(str(path))
        connection.sendall(b'{"id":1,"method":"stop","params":{}}\n')
        answer = json.loads(lines.readline())
    if "error" in answer:
        raise RuntimeError(f"the stop was refused: {answer['error']}")
    return dict(answer["result"])


def _dead(watched: list[int]) -> float:
    """When the last of these processes was dead (pidfd_open(2): readable then)."""
    poll = select.poll()
    left = set(watched)
    for each in watched:
        poll.register(each, select.POLLIN)
    until = time.perf_counter() + WAIT_SECONDS
    while left and time.perf_counter() < until:
        for ready, _ in poll.poll(1000):
            poll.unregister(ready)
            left.discard(ready)
    ended = time.perf_counter()
    for each in watched:
        os.close(each)
    if left:
        raise RuntimeError(f"{len(left)} processes outlived the stop")
    return ended


def _below(pid: int) -> list[int]:
    """The processes of stdio connectors below this one, their own children too (proc(5))."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            if b"bench.upstream" not in Path(f"/proc/{child}/cmdline").read_bytes():
                found += [child, *_below(child)]
    return found


def report(rows: Sequence[Row]) -> str:
    """The table, and whether the aim was reached."""
    head = ["stop, calls in flight", "answered ms", "processes dead ms", "outcomes on record ms"]
    head += ["severed", "may still land"]
    lines = [
        [
            f"{row.in_flight:,}",
            *(f"{value:.1f}" for value in (row.answered, row.dead, row.recorded)),
            f"{row.severed}",
            f"{row.may_still_land}",
        ]
        for row in rows
    ]
    slowest = max(rows[-1].answered, rows[-1].dead)
    verdict = f"{'pass' if slowest <= AIM else 'MISS'}  aim   stop, 1,000 in flight: {slowest:.0f} ms ≤ {AIM:.0f} ms"
    return f"{table(head, lines)}\n\n{verdict}"


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        print(report(asyncio.run(run(Path(folder)))))


if __name__ == "__main__":
    main()
