"""The manifest of the connector in `tests/support/rude.py`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.support import rude

SCRIPT = Path(rude.__file__).resolve()


def manifest(name: str, credential: str, timeout: str = "5s") -> bytes:
    """A connector of that name whose tools are all reads."""
    lines = [
        "[connector]",
        f'name = "{name}"',
        'transport = "stdio"',
        f"command = {json.dumps([sys.executable, '-I', '-S', str(SCRIPT)])}",
        f'timeout = "{timeout}"',
        f"credential = {credential}",
    ]
    for tool in rude.TOOLS:
        lines += ["[[tool]]", f'name = "{tool}"', 'category = "evidence.read"', 'effect = "read"']
        lines += ['target = { takes = "none" }']
    return ("\n".join(lines) + "\n").encode()
