"""`remit undo`: carry out the declared undo of an action, by a human's signed order."""

from __future__ import annotations

import argparse
from typing import Any

from remit.doors.cli import signing
from remit.doors.cli.answering import home_path, show
from remit.doors.cli.calling import identity
from remit.doors.cli.tables import several
from remit.doors.control.signed import ROLES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which action, and why."""
    parser.add_argument("action", metavar="ACTION", help="the action to take back")
    parser.add_argument("--reason", required=True, help="why, for the record")
    signing.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Order the undo; it takes the road like any other action. Exit code 0 where it is done or waits for approval."""
    home = home_path(arguments)
    identity(home)
    signer = signing.signer(arguments, home, ROLES["undo"])
    parameters = {"action": arguments.action, "reason": arguments.reason}
    answer = signing.signed(signer, home, "undo", parameters)
    show(arguments, answer, told(answer))
    return 0 if answer["state"] in ("done", "executing", "approved", "awaiting_approval") else 1


def told(answer: dict[str, Any]) -> str:
    """Where the undo stands."""
    what = f"{answer['tool']} on {several(answer['targets'])}, the undo of {answer['undoes']}, is {answer['action']}"
    says = "; ".join(clause["says"] for clause in answer["clauses"])
    state = {
        "done": "done",
        "executing": "it is on its way",
        "awaiting_approval": f"it waits for somebody else's approval: remit approve {answer['action']}",
        "blocked": f"NOT DONE, refused: {says}",
        "failed": f"IT FAILED: {answer['outcome']}",
        "unknown": f"WHAT BECAME OF IT IS NOT KNOWN\nnext: remit settle {answer['action']}",
    }.get(answer["state"], f"it is `{answer['state']}`")
    return f"{what}\n{state}"
