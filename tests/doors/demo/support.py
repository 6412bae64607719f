"""Running the demonstration as a program of its own, and finding what it might have left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

COMMAND = (sys.executable, "-m", "remit.doors.cli.main", "demo")
LONGEST = 240.0


def environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("REMIT_")}
    return own | {"PYTHONUNBUFFERED": "1"}


def demo(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end in `folder`/.demo."""
    return subprocess.run(
        [*COMMAND, *words],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )


def running(folder: Path) -> list[str]:
    """The processes whose words or environment name the folder."""
    found, mark = [], os.fsencode(folder)
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            if mark in (process / "cmdline").read_bytes() or mark in (process / "environ").read_bytes():
                words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
                found += [f"{process.name} {words}"] if words else []
        except OSError:
            continue
    return found


def wait_until(what: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.05)
    return what()
