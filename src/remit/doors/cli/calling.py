"""From a command's words to a node: the gateway where one runs, else one command on this home's own lock.

What lives here: choosing between the two, and the few facts that a command reads from the home folder itself.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import logging
from pathlib import Path
from typing import Any

from remit.doors.cli.answering import Answered, NoGateway, ask
from remit.flow.ports import Reads
from remit.gates import stop
from remit.gates.stop import Latch
from remit.model.errors import Misuse

ONCE_SECONDS = 90.0
"""How long a command without a gateway waits for an action that it set in motion: nobody goes on with it after."""


def call(home: Path, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    """One command to the gateway, or without one to a node that lives as long as the command."""
    try:
        return ask(home, method, params or {})
    except NoGateway:
        return once(home, method, params or {})


def once(home: Path, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Take the home's lock and run one command on it. Raises `RemitError`."""
    from remit.doors.control.commands import Commands
    from remit.node import Node, run_once

    identity(home)
    quiet()

    async def command(node: Node) -> dict[str, Any]:
        return await Commands(node, patience=ONCE_SECONDS).dispatch(method, params, getpass.getuser())

    return asyncio.run(run_once(home, command, what=f"the command `{method}`"))


def quiet() -> None:
    """What a gateway would log of its own starting is not for whoever runs one command."""
    logging.getLogger("remit").setLevel(logging.ERROR)


def needs_gateway(home: Path, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    """One command that is worth nothing without a gateway."""
    try:
        return ask(home, method, params or {})
    except NoGateway:
        raise Answered(3, f"no gateway runs on `{home}`", f"start it with `remit gateway --home {home}`") from None


def reads(home: Path) -> Reads:
    """The home's store, to look at. Raises `RemitError` where there is none."""
    from remit.offline import open_reads

    return open_reads(home)


def now() -> int:
    """The present, in microseconds since the epoch."""
    from remit import offline

    return offline.now()


def identity(home: Path) -> dict[str, Any]:
    """The home's id, and whether it is a practice home. Raises `Misuse` where the folder is no home."""
    try:
        found: dict[str, Any] = json.loads((home / "state" / "home.json").read_bytes())
    except FileNotFoundError:
        raise Misuse(f"`{home}` is not a Remit home", hint=f"`remit init {home}` makes one") from None
    except (OSError, ValueError) as error:
        raise Misuse(f"the home `{home}` cannot be read ({error})", hint="run this as the home's own user") from None
    return found


def is_practice(home: Path) -> bool:
    """Whether the home is stamped as one for practice."""
    return (home / "PRACTICE").exists()


def latch(home: Path) -> Latch:
    """The latch as it stands on disk, the `STOP` file included."""
    try:
        found = stop.decode((home / "state" / "latch").read_bytes())
    except OSError as error:
        found = Latch(blind=f"the latch file cannot be read ({error.strerror})")
    return found.with_order(stop.marker_order(now())) if (home / "STOP").exists() else found


def file_bytes(path: Path, hint: str = "name another home with `--home`") -> bytes:
    """A file that people write, of the home unless `hint` says otherwise. Raises `Misuse` saying which is missing."""
    try:
        return path.read_bytes()
    except OSError as error:
        why = (error.strerror or "it failed").lower()
        raise Misuse(f"`{path}` cannot be read: {why}", hint=hint) from None


def write_file(path: Path, data: bytes) -> None:
    """Replace a file whole. Raises `Answered` (a fault) where the disk refuses."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.write_bytes(data)
        fresh.chmod(0o600)
        fresh.replace(path)
    except OSError as error:
        raise Answered(3, f"`{path}` cannot be written: {(error.strerror or str(error)).lower()}") from None
