"""`remit log erase`: destroy what was kept about something, and leave a tombstone that says so."""

from __future__ import annotations

import argparse
from typing import Any

from remit.doors.cli import signing
from remit.doors.cli.answering import home_path, show
from remit.doors.cli.calling import identity
from remit.doors.control.signed import ROLES

SAYS = "erase the payloads of an action, evidence, run or verdict (signed)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What, why, and under which law."""
    parser.add_argument("ids", nargs="+", metavar="ID", help="an action, a piece of evidence, a run or a verdict")
    parser.add_argument("--reason", required=True, help="why, in words; kept apart from the log")
    parser.add_argument(
        "--basis", required=True, help="the legal basis as a short citation, `GDPR 17(1)(a)` say; stands in the log"
    )
    signing.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Sign and send the order. Exit code 1 where the keys of what was removed could not be destroyed yet."""
    home = home_path(arguments)
    identity(home)
    signer = signing.signer(arguments, home, ROLES["erase"])
    parameters = {"ids": arguments.ids, "reason": arguments.reason, "basis": arguments.basis}
    answer = signing.signed(signer, home, "erase", parameters)
    show(arguments, answer, told(answer))
    return 1 if answer["unfinished"] else 0


def told(answer: dict[str, Any]) -> str:
    """What is gone, and what is not in our hands."""
    lines = [f"erased by {answer['by']}: {', '.join(answer['payloads'])}"]
    if answer["unfinished"]:
        lines.append(f"NOT FINISHED: {answer['unfinished']}; the gateway tries again, and so does its next start")
    else:
        lines.append("their keys are destroyed: no copy of the database or of `keys/payloads` opens them any more")
    lines.append("not reached from here: the connector's own records, and backups that hold `keys/` and database alike")
    return "\n".join(lines)
