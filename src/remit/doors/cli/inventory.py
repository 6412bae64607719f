"""`remit inventory`: what the inventory file would change, and accepting what loosens."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from remit.doors.cli import signing
from remit.doors.cli.answering import Answered, add_command, home_path, show
from remit.doors.cli.calling import file_bytes, identity, reads
from remit.doors.cli.tables import count
from remit.doors.control.looking import inventory
from remit.doors.control.signed import ROLES

MOST_SHOWN = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Two commands of their own."""
    commands = parser.add_subparsers(dest="what", required=True, metavar="show|accept")
    add_command(commands, "show", "what `inventory.csv` would change")
    accept = add_command(commands, "accept", "accept it, also what loosens")
    signing.add_arguments(accept, asks="accept")


def run(arguments: argparse.Namespace) -> int:
    """Show or accept."""
    home = home_path(arguments)
    identity(home)
    return {"show": _show, "accept": _accept}[arguments.what](arguments, home)


def look(home: Path) -> dict[str, Any]:
    """What the file would change against the inventory in force."""
    return inventory(reads(home), file_bytes(home / "inventory.csv"))


def _show(arguments: argparse.Namespace, home: Path) -> int:
    answer = look(home)
    show(arguments, answer, told(answer))
    return 0


def told(answer: dict[str, Any]) -> str:
    """The changes: what loosens first."""
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(answer["kinds"].items()))
    lines = [f"inventory.csv has {count(answer['targets'], 'target')}{f' ({kinds})' if kinds else ''}"]
    if not answer["in_force"]:
        return "\n".join([*lines, "none is in force yet: it comes into force with the first start"])
    if answer["in_force"] == answer["digest"]:
        return "\n".join([*lines, "it is in force"])
    lines += _some("would loosen, and waits for acceptance", answer["loosening"])
    lines += _some("tightens, and applies at the next reload", answer["tightening"])
    if answer["loosening"]:
        lines.append("next: remit inventory accept")
    return "\n".join(lines)


def _some(head: str, changes: list[str]) -> list[str]:
    if not changes:
        return []
    more = [f"  and {len(changes) - MOST_SHOWN} more"] if len(changes) > MOST_SHOWN else []
    return [f"{count(len(changes), 'change')} {head}", *(f"  {each}" for each in changes[:MOST_SHOWN]), *more]


def _accept(arguments: argparse.Namespace, home: Path) -> int:
    answer = look(home)
    if answer["in_force"] == answer["digest"]:
        show(arguments, answer, "it is in force already")
        return 0
    signer = signing.signer(arguments, home, ROLES["inventory.accept"])
    sys.stderr.write(told(answer) + "\n")
    if not signing.confirmed(f"accept it as {signer.person}?", yes=arguments.yes):
        raise Answered(1, "nothing was accepted")
    done = signing.signed(signer, home, "inventory.accept", {"digest": answer["digest"]})
    show(arguments, done, f"accepted by {signer.person}: {count(done['targets'], 'target')} in force")
    return 0
