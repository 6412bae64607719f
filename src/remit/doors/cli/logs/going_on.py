"""`remit log continue`: begin another log, where the store is not what the log before had signed."""

from __future__ import annotations

import argparse
from typing import Any

from remit.doors.cli import signing
from remit.doors.cli.answering import home_path, show
from remit.doors.cli.calling import identity
from remit.doors.control.signed import ROLES
from remit.gates.stop import LOG_ID

SAYS = "begin another log, where the store is not what was signed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Why, for the record, and who signs."""
    parser.add_argument("--reason", required=True, help="how it came to be, for the record")
    signing.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Sign and begin. What was signed before stays where it is, as evidence."""
    home = home_path(arguments)
    identity(home)
    signer = signing.signer(arguments, home, ROLES["log.continue"])
    answer = signing.signed(signer, home, "log.continue", {"reason": arguments.reason})
    show(arguments, answer, told(answer))
    return 0


def told(answer: dict[str, Any]) -> str:
    """What ended, what began, and what is left to do."""
    return "\n".join(
        [
            f"ENDED: {answer['before']} with {answer['size']:,} entries ({answer['was']})",
            f"begun: {answer['origin']}, over the store as it is now",
            f"key:   {answer['key']}",
            "keep the old log's folder and its checkpoints: they are evidence; give auditors both keys",
            f"next: remit resume {LOG_ID} --reason WHY",
        ]
    )
