"""`remit approvals`: what waits for a human, and the card of one action."""

from __future__ import annotations

import argparse
from typing import Any

from remit.doors.cli.answering import NoGateway, ask, home_path, show
from remit.doors.cli.calling import call, identity, latch, now, reads
from remit.doors.cli.cards import first_screen, second_screen
from remit.doors.cli.tables import several, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All that waits, or one."""
    parser.add_argument("action", nargs="?", metavar="ACTION", help="show the card of this action")
    parser.add_argument("--more", action="store_true", help="show everything behind the card, too")


def run(arguments: argparse.Namespace) -> int:
    """List, or show one card."""
    home = home_path(arguments)
    identity(home)
    if arguments.action:
        answer = call(home, "card", {"action": arguments.action})
        text = first_screen(answer)
        show(arguments, answer, f"{text}\n{second_screen(answer)}" if arguments.more else text)
        return 0
    try:
        waiting = ask(home, "approvals", {})["waiting"]
    except NoGateway:
        from remit.doors.control.looking import at_rest

        waiting = at_rest(reads(home), latch(home), now())["waiting"]
    show(arguments, {"waiting": waiting}, listed(waiting))
    return 0


def listed(waiting: list[dict[str, Any]]) -> str:
    """The actions that wait, oldest first."""
    if not waiting:
        return "nothing waits for a human"
    rows = [
        (
            each["action"],
            each["agent"],
            each["category"],
            several(each["targets"]),
            f"{len(each['said_yes'])} of {each['quorum']}" if "quorum" in each else "-",
            each["expires"],
        )
        for each in waiting
    ]
    head = ("ACTION", "AGENT", "WANTS", "TARGETS", "SAID YES", "REJECTED AT")
    return table(head, rows) + f"\nnext: remit approve {waiting[0]['action']}, or remit reject {waiting[0]['action']}"
