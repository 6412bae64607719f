"""Building `shim.c`, and telling a process under it what shall fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("shim.c")
SECONDS = 60
SIZE = 4096


def build_shim(folder: Path) -> Path:
    """The shim, built. Skips where that does not work."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("there is no C compiler `cc` here, so nothing can stand between a process and its files")
    built = folder / "shim.so"
    words = [compiler, "-std=gnu11", "-O1", "-shared", "-fPIC", "-o", str(built), str(SOURCE), "-ldl", "-pthread"]
    made = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=False)
    if made.returncode:
        pytest.skip(f"the C compiler does not work here: {made.stderr.strip()[-200:]}")
    return built


class Orders:
    """What shall fail in a process, from now on."""

    def __init__(self, folder: Path, shim: Path, below: Path) -> None:
        self._path = folder / "orders"
        self._path.write_bytes(bytes(SIZE))
        self.environment = {
            "LD_PRELOAD": str(shim),
            "REMIT_SHIM_ROOT": str(below),
            "REMIT_SHIM_ORDERS": str(self._path),
        }

    def give(self, *lines: tuple[str, int, str]) -> None:
        """Operation, error number and part of the path; none: everything works again."""
        text = "".join(f"{what} {number} {part}\n" for what, number, part in lines).encode()
        with self._path.open("r+b") as file:
            file.write(text.ljust(SIZE, b"\0"))
