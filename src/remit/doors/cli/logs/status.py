"""`remit log status`: how far the log is, and what is wrong with it."""

from __future__ import annotations

import argparse
from typing import Any

from remit.doors.cli.answering import NoGateway, ask, home_path, show
from remit.doors.cli.calling import identity

UNWITNESSED = "that whoever holds the log's key rewrote it is not excluded"
SAYS = "how far the log is, and what is wrong with it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing of its own."""


def run(arguments: argparse.Namespace) -> int:
    """Ask the gateway, or look at the files. Exit code 1 where the log is in trouble."""
    home = home_path(arguments)
    identity(home)
    try:
        answer = dict(ask(home, "status", {}, seconds=10.0)["log"])
    except NoGateway:
        from remit.offline import log_at_rest

        answer = log_at_rest(home)
    show(arguments, answer, told(answer))
    return 1 if answer["trouble"] else 0


def told(answer: dict[str, Any]) -> str:
    """The state as lines."""
    lines = [f"log      {answer['origin'] or 'not open'}"]
    signed = f", the last at {answer['signed']}" if answer["signed"] else "; no gateway runs"
    lines.append(f"signed   {answer['size']:,} of {answer['records']:,} records{signed}")
    lines += witnessed(answer["witnesses"])
    if answer["trouble"]:
        lines += [f"TROUBLE  {answer['trouble']}", "every action is refused until it is mended: docs/LOG.md"]
    return "\n".join(lines)


def witnessed(answer: dict[str, Any]) -> list[str]:
    """How far others vouch for the log, as lines."""
    if not answer["each"]:
        return [f"witness  none: {UNWITNESSED}", "         docs/LOG.md says how to have one"]
    lines = [f"witness  {answer['size']:,} records cosigned by {answer['quorum']} of {len(answer['each'])} witnesses"]
    if answer["away"]:
        lines.append(f"AWAY     {answer['away']}; the log goes on, and what comes now is not witnessed: {UNWITNESSED}")
    for each in answer["each"]:
        lines.append(f"         {each['name']} at {each['url']}{': ' if each['away'] else ''}{each['away']}")
    return lines
