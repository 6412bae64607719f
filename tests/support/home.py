"""Practice homes with the lab's connectors, made once and copied: each test has a home, a lab and an inventory of its
own.

Everything is relative to one short folder: a gateway started there keeps the lab's state in `lab` beside the home, so a
copy of the folder is a home with the same signatures, pins and accepted tools. Socket paths must fit into 107 bytes.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import shutil
import sqlite3
import sys
from collections.abc import Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from remit.model.signatures import Namespace, load_private_key, sign
from remit.node import found_home, init_home
from remit.offline import now
from remit_lab import estate, telemetry
from remit_lab.state import effects

T = TypeVar("T")
LAB = ("edr", "idp")
SETTINGS = '[gateway]\nlisten = "127.0.0.1:0"\n'


@dataclass(frozen=True)
class Practice:
    """One folder with a home and its lab."""

    root: Path

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def lab(self) -> Path:
        return self.root / "lab"

    @property
    def arm(self) -> Path:
        """What the child's hook looks at (see `tests/faults/child.py`)."""
        return self.root / "arm.json"

    @property
    def log(self) -> Path:
        """Everything that gateways of this home wrote to stderr."""
        return self.root / "gateway.log"

    @property
    def control(self) -> Path:
        return self.home / "run" / "control.sock"

    @property
    def id(self) -> str:
        return str(json.loads((self.home / "state" / "home.json").read_bytes())["id"])

    def key(self, person: str) -> Ed25519PrivateKey:
        """The key of one of the practice people."""
        key = load_private_key((self.home / "practice" / f"{person}.key").read_bytes())
        assert isinstance(key, Ed25519PrivateKey)
        return key

    def sign_boundary(self) -> None:
        """Sign the boundary as it lies there."""
        path = self.home / "boundary.toml"
        signature = sign(self.key("leader"), path.read_bytes(), Namespace.BOUNDARY)
        path.with_name("boundary.toml.leader.sig").write_bytes(signature)

    def copy(self, root: Path) -> Practice:
        """The same home in another folder. No gateway may run on this one."""
        shutil.copytree(self.root, root, ignore=shutil.ignore_patterns("*.sock", "arm.json"), dirs_exist_ok=True)
        return Practice(root)

    # --- what happened, from outside --------------------------------------------------------------------------------

    def effects(self) -> list[dict[str, Any]]:
        """Every change that any lab connector made, from the lab's own audit."""
        names = sorted(path.name.removesuffix(".json") for path in self.lab.glob("*.json"))
        known = [name for name in names if name in ("edr", "idp", "firewall")]
        return [{"connector": name, **entry} for name in known for entry in effects(self.lab, name)]

    def records(self, *kinds: str) -> list[dict[str, Any]]:
        """The journal's records of these kinds, as the exact bytes in the file say."""
        with sqlite3.connect(f"file:{self.home / 'state' / 'remit.db'}?mode=ro", uri=True, timeout=5) as connection:
            rows = connection.execute("SELECT data FROM records ORDER BY position").fetchall()
        connection.close()
        found = [json.loads(data) for (data,) in rows]
        return [record for record in found if not kinds or record["kind"] in kinds]

    def actions(self, tool: str) -> list[dict[str, Any]]:
        """Every action with this upstream tool, oldest first, as the store has it."""
        with sqlite3.connect(f"file:{self.home / 'state' / 'remit.db'}?mode=ro", uri=True, timeout=5) as connection:
            rows = connection.execute("SELECT body FROM actions WHERE tool = ? ORDER BY seq", (tool,)).fetchall()
        connection.close()
        return [json.loads(body) for (body,) in rows]


def manifest(name: str, *, command: Iterable[str] = (), replace: Mapping[str, str] | None = None) -> bytes:
    """The shipped manifest of a lab connector, started from the folder above the home."""
    text = resources.files("remit.doors.demo").joinpath("connectors", f"{name}.toml").read_text()
    words = list(command) or [sys.executable, "-m", f"remit_lab.{name}", "--state", "lab"]
    text = text.replace("{{command}}", json.dumps(words))
    for old, new in (replace or {}).items():
        assert old in text, f"`{old}` is not in the manifest of `{name}`"
        text = text.replace(old, new)
    return text.encode()


def inventory() -> bytes:
    """The lab's estate, with all its hosts, accounts, addresses and alerts."""
    return estate.inventory(estate.derive(telemetry.incident())).encode()


def targets(kind: str) -> list[str]:
    """The ids of the inventory's targets of one kind."""
    return [row["id"] for row in csv.DictReader(io.StringIO(inventory().decode())) if row["kind"] == kind]


def build(
    root: Path, connectors: Mapping[str, bytes] | None = None, *, boundary: Mapping[str, str] | None = None
) -> Practice:
    """Make a practice home below `root`. `boundary` replaces texts in the demonstration's boundary."""
    practice = Practice(root)
    practice.lab.mkdir(parents=True, exist_ok=True)
    files = dict(connectors) if connectors is not None else {name: manifest(name) for name in LAB}
    made = init_home(practice.home, now=now(), boundary="demo", connectors=files, inventory=inventory())
    (practice.home / "remit.toml").write_text(SETTINGS)
    path = practice.home / "boundary.toml"
    text = path.read_text()
    for old, new in (boundary or {}).items():
        assert old in text, f"`{old}` is not in the boundary"
        text = text.replace(old, new)
    path.write_text(text)
    practice.sign_boundary()
    run_apart(found_home(practice.home, made.roster))
    return practice


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a loop and a thread of its own: the caller's loop may be running."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
