"""`remit log prune`: remove payloads that are older than `[retention]` in remit.toml says, now."""

from __future__ import annotations

import argparse
from typing import Any

from remit.doors.cli.answering import home_path, show
from remit.doors.cli.calling import call, identity
from remit.doors.cli.tables import table

SAYS = "remove payloads that are older than the home keeps"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Only look, or do it."""
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")


def run(arguments: argparse.Namespace) -> int:
    """Prune, or say what would be. Exit code 1 where the keys of what was removed could not be destroyed yet."""
    home = home_path(arguments)
    identity(home)
    answer = call(home, "prune", {"dry_run": bool(arguments.dry_run)})
    show(arguments, answer, told(answer, dry=bool(arguments.dry_run)))
    return 1 if answer["unfinished"] else 0


def told(answer: dict[str, Any], *, dry: bool) -> str:
    """What went, a line for each class that is not kept for ever."""
    if not answer["pruned"]:
        return "everything is kept: remit.toml has no figure under [retention]"
    rows = [(each["class"], each["before"], str(each["count"])) for each in answer["pruned"]]
    text = table(("CLASS", "BEFORE", "WOULD GO" if dry else "REMOVED"), rows)
    if answer["unfinished"]:
        text += f"\nNOT FINISHED: {answer['unfinished']}; the gateway tries again, and so does its next start"
    return text
