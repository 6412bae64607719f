"""Runs the official MCP conformance suite and compares what failed with the known gaps.

    python -m tests.conformance.run --direct        the upstream alone: the baseline, where nothing may fail
    python -m tests.conformance.run                 a gateway of its own with the upstream behind it
    python -m tests.conformance.run --gateway URL   a running gateway with the upstream behind it;
                                                    the run's token is read from REMIT_TOKEN

Exit code 0: only the known gaps failed. 1: something else failed, a known gap passed, or a scenario did not
run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import sys
import tempfile
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from yarl import URL

from tests.conformance.front import front
from tests.conformance.gateway import gateway

HERE = Path(__file__).resolve().parent
TOOLS = HERE.parents[1] / ".cache" / "conformance" / "node_modules"
NODE = TOOLS / ".bin" / "node"
SUITE = TOOLS / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
SUITE_SECONDS = 300
START_SECONDS = 20
RESULT_FOLDER = re.compile(r"server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z")

Outcomes = dict[str, list[str]]
"""What failed in each scenario that ran; an empty list where nothing did."""


async def suite(*words: str) -> str:
    """What one command of the suite prints. Raises TimeoutError when it takes too long."""
    process = await asyncio.create_subprocess_exec(NODE, SUITE, *words, stdout=asyncio.subprocess.PIPE)
    try:
        printed, _ = await asyncio.wait_for(process.communicate(), SUITE_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return printed.decode()


async def scenarios() -> set[str]:
    """The names of all scenarios for servers that the installed suite has."""
    return set(re.findall(r"^ +- ([\w-]+)", await suite("list", "--server"), re.M))


def read_outcomes(folder: Path) -> Outcomes:
    outcomes: Outcomes = {}
    for result in sorted(folder.glob("*/checks.json")):
        if name := RESULT_FOLDER.fullmatch(result.parent.name):
            checks = json.loads(result.read_text(encoding="utf-8"))
            failed = [check for check in checks if check["status"] == "FAILURE"]
            outcomes[name[1]] = [f"{check['id']}: {check.get('errorMessage', '')}" for check in failed]
    return outcomes


async def outcomes_against(url: URL) -> Outcomes:
    with tempfile.TemporaryDirectory(prefix="remit-conformance-") as folder:
        await suite("server", "--url", str(url), "--suite", "all", "--output-dir", folder)
        return read_outcomes(Path(folder))


def complaints(known: set[str], outcomes: Outcomes, gaps: Mapping[str, str]) -> list[str]:
    """Everything that makes the run fail: surprises in either direction, and what did not run."""
    found = [f"`{name}` did not run" for name in sorted(known - outcomes.keys())]
    found += [f"`{name}` is a known gap, but no scenario of the suite" for name in sorted(gaps.keys() - known)]
    for name, failures in sorted(outcomes.items()):
        if failures and name not in gaps:
            found.append(f"`{name}` failed: " + "; ".join(failures))
        if not failures and name in gaps:
            found.append(f"`{name}` is listed as a known gap, but it passed")
    return found


async def listening(port: int, process: asyncio.subprocess.Process) -> None:
    """Returns once the port accepts connections. Raises RuntimeError when the process ends first."""
    while process.returncode is None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise RuntimeError(f"the upstream ended with code {process.returncode}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def upstream() -> AsyncIterator[URL]:
    """The everything server over HTTP, by itself, while the context lasts."""
    port = free_port()
    command = [sys.executable, "-m", "tests.conformance.everything_server", "--http", f"127.0.0.1:{port}"]
    process = await asyncio.create_subprocess_exec(*command, cwd=HERE.parents[1])
    try:
        await asyncio.wait_for(listening(port, process), START_SECONDS)
        yield URL(f"http://127.0.0.1:{port}/mcp")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def through(url: URL, token: str) -> Outcomes:
    async with front(url, token) as fronted:
        return await outcomes_against(fronted)


async def run(running: URL | None, *, direct: bool) -> int:
    known = await scenarios()
    gaps: dict[str, str] = {}
    if direct:
        async with upstream() as url:
            outcomes = await outcomes_against(url)
    else:
        gaps = tomllib.loads((HERE / "known_gaps.toml").read_text(encoding="utf-8"))["gaps"]
        if running is not None:
            outcomes = await through(running, os.environ["REMIT_TOKEN"])
        else:
            async with gateway() as (url, token):
                outcomes = await through(url, token)
    for name, failures in outcomes.items():
        print(f"{'fails ' if failures else 'passes'} {name}" + (f"  ({gaps[name]})" if name in gaps else ""))
    found = complaints(known, outcomes, gaps)
    passed = sum(1 for failures in outcomes.values() if not failures)
    print(f"\n{passed} of {len(known)} scenarios pass, {len(gaps)} are known gaps")
    for complaint in found:
        print(f"error: {complaint}", file=sys.stderr)
    return 1 if found else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.run", description="the official MCP suite")
    aim = parser.add_mutually_exclusive_group()
    aim.add_argument("--direct", action="store_true", help="the upstream alone")
    aim.add_argument("--gateway", type=URL, metavar="URL", help="a running gateway; the token is in REMIT_TOKEN")
    given = parser.parse_args()
    if not (NODE.exists() and SUITE.exists()):
        print("error: the conformance suite is not installed\nhint: make conformance", file=sys.stderr)
        return 1
    if given.gateway is not None and not os.environ.get("REMIT_TOKEN"):
        print("error: REMIT_TOKEN is not set\nhint: open a run and put its token there", file=sys.stderr)
        return 1
    return asyncio.run(run(given.gateway, direct=given.direct))


if __name__ == "__main__":
    sys.exit(main())
