"""Making the practice home of the demonstration, as a person would: `remit init`, files, a signature, a gateway.

What lives here: the folder, and the commands that bring a gateway up on it.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import shutil
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from remit.doors.demo.lab import CONNECTORS, Facts, connector_words
from remit.doors.demo.processes import Program, Programs, Said
from remit.gates.boundary.defaults import pins, render, template
from remit.model.canonical import sha256_hex
from remit.model.errors import Fault, Misuse
from remit.model.words import SECOND
from remit.offline import now

MARKER = "DEMO"
AGENT = "triage"
ON_CALL = "on-call"
OWNER = "leader"
LONGEST_SOCKET = 100
"""Bytes of a path that a socket may have (107 on Linux, less elsewhere)."""
_SETTINGS = """\
[gateway]
listen = "127.0.0.1:0"
"""


@contextlib.contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
    """An empty folder for the demonstration, in the place of an earlier one's, and nobody else's while the block lasts.

    Raises `Misuse` where something that is not ours is there, or a demonstration is going on in it.
    """
    if len(bytes(folder / "home" / "run" / "control.sock")) > LONGEST_SOCKET:
        raise Misuse(f"`{folder}` is too long for the path of a socket", hint="name a shorter folder with `--home`")
    if folder.exists():
        if not folder.is_dir() or (any(folder.iterdir()) and not (folder / MARKER).is_file()):
            hint = "name a folder that is not there yet with `--home`"
            raise Misuse(f"`{folder}` is there already and was not made by `remit demo`", hint=hint)
        _check_free(folder)
        shutil.rmtree(folder)
    folder.mkdir(parents=True, mode=0o700)
    with (folder / MARKER).open("w", encoding="utf-8") as marker:
        fcntl.flock(marker, fcntl.LOCK_EX)
        marker.write("Made by `remit demo`, and replaced by its next run.\n")
        marker.flush()
        yield folder


def _check_free(folder: Path) -> None:
    if not (folder / MARKER).is_file():
        return
    with (folder / MARKER).open("rb") as marker:
        try:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            hint = "wait for it, or name another folder with `--home`"
            raise Misuse(f"a demonstration is going on in `{folder}`", hint=hint) from None


def remit(*words: str) -> list[str]:
    """A command of Remit's, run with this Python."""
    return [sys.executable, "-m", "remit.doors.cli.main", *words]


def furnish(home: Path, facts: Facts, state: Path, inject: str) -> str:
    """Write the files that people write: settings, inventory, connectors, boundary. Returns the boundary's digest."""
    (home / "remit.toml").write_text(_SETTINGS, "utf-8")
    (home / "inventory.csv").write_text(facts.inventory, "utf-8")
    digests = {}
    for name in CONNECTORS:
        words = json.dumps(connector_words(facts, state, name, inject), ensure_ascii=False)
        text = (files(__package__) / "connectors" / f"{name}.toml").read_text("utf-8").replace("{{command}}", words)
        data = text.encode()
        (home / "connectors" / f"{name}.toml").write_bytes(data)
        digests[name] = f"sha256:{sha256_hex(data)}"
    boundary = _boundary(digests)
    (home / "boundary.toml").write_bytes(boundary)
    return sha256_hex(boundary)


def _boundary(digests: dict[str, str]) -> bytes:
    today = datetime.datetime.fromtimestamp(now() // SECOND, tz=datetime.UTC).date()
    values = {
        "not_before": f"{today.isoformat()}T00:00:00Z",
        "not_after": f"{(today + datetime.timedelta(days=90)).isoformat()}T00:00:00Z",
        "timezone": "UTC",
        "owner": OWNER,
        "review_by": (today + datetime.timedelta(days=60)).isoformat(),
        "pins": pins(digests),
    }
    return render(template("demo"), values)


def must(said: Said, what: str) -> Said:
    """The answer of a command that has to succeed. Raises `Fault` with its own words where it did not."""
    if said.code != 0:
        last = [line for line in said.err.strip().splitlines() if line][-2:]
        raise Fault(f"{what} failed: {' '.join(last)[:300] or f'exit code {said.code}'}")
    return said


def sign(programs: Programs) -> None:
    """Sign the boundary as the practice leader."""
    must(programs.run(remit("boundary", "sign", "--yes")), "signing the boundary")


def start_gateway(programs: Programs) -> Program:
    """Start the gateway; `opened` waits for it."""
    return programs.start("gateway", remit("gateway", "--json"))


def opened(programs: Programs, program: Program) -> str:
    """The gateway's address for agents, once it is ready and the connectors' tools are accepted."""
    url = str(json.loads(programs.ready(program, "gateway"))["url"])
    begun = []
    for name in CONNECTORS:
        words = remit("connectors", "accept", name, "--yes")
        begun.append((name, words, programs.begin(words)))
    for name, words, process in begun:
        must(programs.finish(process, words), f"accepting the tools of `{name}`")
    return url
