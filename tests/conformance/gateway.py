"""A gateway on a practice home of its own, with the everything server behind it, for as long as a run of the suite."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from yarl import URL

from remit.adapters.clock import SystemClock
from remit.adapters.home.init import init_home, sign_in_practice
from remit.model.canonical import sha256_hex
from remit.model.signatures import Namespace
from remit.node import found_home

HERE = Path(__file__).resolve().parent
START_SECONDS = 30.0

BOUNDARY = """
[boundary]
name = "conformance"
version = 1
not_before = 2020-01-01T00:00:00Z
not_after = 2100-01-01T00:00:00Z
detection_time = "15m"
timezone = "UTC"
signatures = {{ tighten = 1, widen = 1 }}
[boundary.pins.connectors]
everything = "sha256:{pin}"

[[category]]
name = "conformance.read"
does = "call the suite's tools"
effect = "read"

[[agent]]
name = "triage"
owner = "leader"
purpose = "the official conformance suite"
categories = ["conformance.read"]
review_by = 2099-12-31

[[rule]]
id = "READ"
then = "auto"
agents = ["triage"]
categories = ["conformance.read"]
in_mandate = false
"""


def connector_file() -> bytes:
    """The connector's file for this machine: this Python, from the repository's folder."""
    text = (HERE / "everything.toml").read_text(encoding="utf-8")
    text = text.replace('"python3"', json.dumps(sys.executable))
    return text.replace("[connector]\n", f"[connector]\ncwd = {json.dumps(str(HERE.parents[1]))}\n").encode()


async def make_home(path: Path) -> None:
    """A signed practice home with the connector in it."""
    connector = connector_file()
    made = init_home(path, now=SystemClock().now())
    (path / "connectors" / "everything.toml").write_bytes(connector)
    (path / "boundary.toml").write_text(BOUNDARY.format(pin=sha256_hex(connector)), encoding="utf-8")
    sign_in_practice(made.home, made.home.boundary, Namespace.BOUNDARY)
    await found_home(path, made.roster)


@asynccontextmanager
async def gateway() -> AsyncIterator[tuple[URL, str]]:
    """The URL of a running gateway, and a run's token."""
    with tempfile.TemporaryDirectory(prefix="rc-") as folder:
        home = Path(folder) / "home"
        await make_home(home)
        words = [sys.executable, "-m", "remit.doors.cli.main", "gateway", "--home", str(home), "--json"]
        process = await asyncio.create_subprocess_exec(
            *words, "--listen", "127.0.0.1:0", stdout=asyncio.subprocess.PIPE, env=dict(os.environ)
        )
        try:
            assert process.stdout is not None
            ready = json.loads(await asyncio.wait_for(process.stdout.readline(), START_SECONDS))
            token = await asyncio.to_thread(open_run, home)
            yield URL(ready["url"]), token
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), START_SECONDS)


def open_run(home: Path) -> str:
    """Accept the connector's tools as the practice operator, open a run, and return its token."""
    command(home, "connectors", "accept", "everything", "--yes")
    token: str = command(home, "run", "open", "--agent", "triage", "--case", "conformance")["token"]
    return token


def command(home: Path, *words: str) -> dict[str, Any]:
    """What one command answers. Raises `CalledProcessError` where it refuses."""
    line = [sys.executable, "-m", "remit.doors.cli.main", *words, "--home", str(home), "--json"]
    answer: dict[str, Any] = json.loads(subprocess.run(line, check=True, capture_output=True, timeout=60).stdout)
    return answer
