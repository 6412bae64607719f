"""`remit resume`: lift a stop, by a person on the roster and with a reason."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from remit.doors.cli import signing
from remit.doors.cli.answering import home_path, show
from remit.doors.cli.calling import identity, latch
from remit.doors.cli.tables import several
from remit.doors.control.signed import ROLES
from remit.gates.stop import MARKER_ID
from remit.model.errors import Misuse, Refusal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which stop, and why it is safe to go on."""
    parser.add_argument("stop", nargs="*", metavar="STOP", help="which ones (default: the only one in force)")
    parser.add_argument("--all", action="store_true", help="every stop in force")
    parser.add_argument("--clock", action="store_true", help="this machine's clock was looked at: lift its hold")
    parser.add_argument(
        "--blind",
        action="store_true",
        help="the latch cannot be read: make a new one, which stops everything until that is resumed, too",
    )
    parser.add_argument("--reason", required=True, help="why it is safe to go on, for the record")
    signing.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Sign, lift, and say what is still in force."""
    home = home_path(arguments)
    identity(home)
    signer = signing.signer(arguments, home, ROLES["resume"])
    if arguments.blind:
        return _mend(arguments, home, signer)
    if arguments.clock:
        answer = signing.signed(signer, home, "clock", {})
        was = answer["was"] or "it had not jumped"
        show(arguments, answer, f"the clock counts again, by {answer['by']} ({was})")
        return 0
    held = latch(home)
    if held.blind:
        hint = "`remit resume --blind --reason WHY` makes a new latch; it begins with everything stopped"
        raise Refusal(f"everything is refused: {held.blind}", hint=hint)
    in_force = [order.id for order in held.orders]
    ids = _chosen(arguments, in_force)
    answer = signing.signed(signer, home, "resume", {"stops": ids, "reason": arguments.reason})
    show(arguments, answer, told(answer))
    return 0


def _mend(arguments: argparse.Namespace, home: Path, signer: signing.Signer) -> int:
    if arguments.stop or arguments.all or arguments.clock:
        raise Misuse("`--blind` goes with `--reason` alone", hint="first mend the latch, then resume what it holds")
    answer = signing.signed(signer, home, "latch.mend", {"reason": arguments.reason})
    show(arguments, answer, told_mended(answer))
    return 0


def told_mended(answer: dict[str, Any]) -> str:
    """That nothing was lifted, and what to do before it is."""
    return "\n".join(
        [
            f"MENDED by {answer['by']}: {answer['was']}",
            f"everything is STOPPED by the new latch [{answer['stop']}]; which stops the old one held is not known",
            f"next: place anew those that still matter, then remit resume {answer['stop']} --reason WHY",
        ]
    )


def _chosen(arguments: argparse.Namespace, in_force: list[str]) -> list[str]:
    if arguments.stop:
        return list(arguments.stop)
    if not in_force:
        raise Refusal("nothing is stopped", hint="`remit status` tells what goes on")
    if MARKER_ID in in_force:
        raise Refusal("the file `STOP` is in the home, and while it is there it wins", hint="remove it, then resume")
    if len(in_force) > 1 and not arguments.all:
        raise Misuse(
            f"{len(in_force)} stops are in force: {several(in_force, most=10)}",
            hint="name those to lift, or give `--all`; `remit status` tells what each one is",
        )
    return in_force


def told(answer: dict[str, Any]) -> str:
    """What was lifted, and what was not."""
    lines = [
        f"RESUMED by {answer['by']}: {order['mode']}, {order['scope']} (placed by {order['by']} at {order['at']})"
        for order in answer["lifted"]
    ]
    lines.append(f"still in force: {', '.join(answer['left'])}" if answer["left"] else "nothing is stopped any more")
    lines.append("what the stop voided stays void: agents propose anew what still matters")
    return "\n".join(lines)
