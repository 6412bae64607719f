"""`remit settle`: find out, or say, what became of an action whose outcome is not known."""

from __future__ import annotations

import argparse
from typing import Any

from remit.doors.cli import signing
from remit.doors.cli.answering import home_path, show
from remit.doors.cli.calling import call, identity
from remit.doors.cli.status import look
from remit.doors.cli.tables import several, table
from remit.doors.control.signed import ROLES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which action, and what a human saw."""
    parser.add_argument("action", nargs="?", metavar="ACTION", help="which one (default: list them)")
    seen = parser.add_mutually_exclusive_group()
    seen.add_argument("--applied", action="store_true", help="you looked by hand: it had its effect (signed)")
    seen.add_argument("--not-applied", action="store_true", help="you looked by hand: it had none (signed)")
    signing.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """List, ask the connector, or settle by hand. Exit code 1 where it is still not known."""
    home = home_path(arguments)
    identity(home)
    if not arguments.action:
        unsettled = look(home)["unsettled"]
        show(arguments, {"unsettled": unsettled}, listed(unsettled))
        return 0
    if arguments.applied or arguments.not_applied:
        signer = signing.signer(arguments, home, ROLES["settle"])
        parameters = {"action": arguments.action, "applied": bool(arguments.applied)}
        answer = signing.signed(signer, home, "settle", parameters)
    else:
        answer = call(home, "settle.ask", {"action": arguments.action})
    show(arguments, answer, told(answer))
    return 0 if answer["applied"] is not None else 1


def listed(unsettled: list[dict[str, Any]]) -> str:
    """The actions that nobody knows the end of."""
    if not unsettled:
        return "every outcome is known"
    head = ("ACTION", "STATE", "CONNECTOR", "TOOL", "TARGETS", "SINCE", "WHY")
    rows = [
        (
            each["action"],
            each["state"],
            each["connector"],
            each["tool"],
            several(each["targets"]),
            each["opened"],
            each["outcome"],
        )
        for each in unsettled
    ]
    hint = "until it is settled, a human must approve every other change to the same target"
    return table(head, rows) + f"\n{hint}\nnext: remit settle {unsettled[0]['action']}"


def told(answer: dict[str, Any]) -> str:
    """What was found."""
    what = f"{answer['action']} ({answer['tool']} on {several(answer['targets'])})"
    if answer["applied"] is None:
        by_hand = f"remit settle {answer['action']} --applied, or --not-applied"
        return f"{what} is still not known: {answer['says']}\nlook at the connector yourself, then: {by_hand}"
    had = "had its effect" if answer["applied"] else "had no effect"
    undo = f"\nto take it back: remit undo {answer['action']} --reason WHY" if answer["applied"] else ""
    return f"{what} {had}: {answer['says']}{undo}"
