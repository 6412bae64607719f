"""Everything that is measured, in one run: `make bench`, or `python -m bench`.

`--folder` chooses the disk that is written to, `--seconds` how long each HTTP row is measured, and names of parts
(`governed`, `log`, `index`, `ruling`, `store`, `stop`, `verify`) measure only those. A missed figure is said, and
never fails the run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import governed, index, log, ruling, stop, store, verify

RECORDS_SEARCHED = 100_000  # `python -m bench.index 1000000` takes minutes


def _governed(folder: Path, seconds: float) -> str:
    return governed.report(governed.run(folder, seconds=seconds))


def _log(folder: Path, seconds: float) -> str:
    return log.report(log.run(folder))


def _index(folder: Path, seconds: float) -> str:
    return index.run(folder, RECORDS_SEARCHED)


def _ruling(folder: Path, seconds: float) -> str:
    return ruling.report(ruling.run())


def _store(folder: Path, seconds: float) -> str:
    return store.report(store.run(folder))


def _stop(folder: Path, seconds: float) -> str:
    return stop.report(asyncio.run(stop.run(folder)))


def _verify(folder: Path, seconds: float) -> str:
    return verify.report(verify.run(folder))


PARTS: dict[str, Callable[[Path, float], str]] = {
    "governed": _governed,
    "log": _log,
    "index": _index,
    "ruling": _ruling,
    "store": _store,
    "stop": _stop,
    "verify": _verify,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="How fast Remit is, beside what it replaces.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: everything)")
    parser.add_argument("--folder", type=Path, help="a folder on the disk to write to (default: the temporary one)")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each HTTP row is measured (default: 5)")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.parts if name not in PARTS]:
        parser.error(f"there is no part `{unknown[0]}`, there are {', '.join(PARTS)}")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="remit-bench-") as made:
        for name in arguments.parts or PARTS:
            print(f"\n{PARTS[name](Path(made), arguments.seconds)}", flush=True)


if __name__ == "__main__":
    main()
