"""The practice SOC stands by itself: it imports nothing of Remit, and its light parts stay light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import remit_lab

SOURCE = Path(remit_lab.__file__).parent


def test_no_module_imports_remit() -> None:
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not [name for name in names if name.split(".")[0] == "remit"], path


@pytest.mark.parametrize("module", ["state", "estate", "faults"])
def test_looking_from_outside_needs_no_mcp(module: str) -> None:
    script = f"import sys, remit_lab.{module}; sys.exit('mcp' in sys.modules or 'cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0


def test_the_incident_uses_only_documentation_addresses_and_names() -> None:
    text = (SOURCE / "data" / "incident.jsonl").read_text()
    assert 60 <= len(text.splitlines()) <= 120
    allowed = ("192.0.2.", "198.51.100.", "203.0.113.", "127.0.0.1")
    assert all(found.startswith(allowed) for found in re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", text))
    domains = set(re.findall(r"[\w-]+\.(?:example(?:\.(?:com|net|org))?|com|net|org)\b", text.casefold()))
    assert all(".example" in domain or "example." in domain for domain in domains)
