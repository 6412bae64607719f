"""Servers as processes of their own: started, waited for, and ended when the block ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

READY_SECONDS = 60.0
END_SECONDS = 10.0


@dataclass(frozen=True)
class Server:
    """A running server: where it answers, and whose CPU it uses."""

    url: str
    pid: int


@contextmanager
def python(arguments: Sequence[str], log: Path) -> Iterator[Server]:
    """Run `python ARGUMENTS`, which says `{"url": …}` on its first line once it serves. Its stderr goes to `log`.

    Raises `RuntimeError` with the end of the log where it does not come up.
    """
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, env=_clean()
        )
    try:
        yield Server(_url(process, log), process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
        process.kill()
        process.wait()


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("REMIT_", "FASTMCP_"))}


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    assert process.stdout is not None
    killer = threading.Timer(READY_SECONDS, process.kill)
    killer.start()
    try:
        line = process.stdout.readline()
    finally:
        killer.cancel()
    if not line:
        raise RuntimeError(f"a server did not come up:\n{log.read_text()[-2000:]}")
    return str(json.loads(line)["url"])
