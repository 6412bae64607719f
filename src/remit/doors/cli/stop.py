"""`remit stop`: stop everything, or one scope. Standard library only where a gateway runs: it answers in 150 ms."""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path
from typing import Any

from remit.doors.cli.answering import Answered, NoGateway, ask, home_path, show

FAULT = 3
SCOPES = ("agent", "run", "connector", "category", "target")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`remit stop` alone cuts everything."""
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--cut", action="store_const", const="cut", dest="mode", help="refuse all and sever (default)")
    mode.add_argument("--drain", action="store_const", const="drain", dest="mode", help="let running actions finish")
    mode.add_argument("--hold", action="store_const", const="hold", dest="mode", help="reads go on, changes do not")
    scope = parser.add_mutually_exclusive_group()
    for kind in SCOPES:
        scope.add_argument(f"--{kind}", metavar="NAME", help=f"only this {kind}")
    parser.add_argument("--reason", default="", help="why, for the record")
    parser.set_defaults(mode="cut")


def run(arguments: argparse.Namespace) -> int:
    """Stop, through the gateway, or on the latch file where none runs."""
    home = home_path(arguments)
    kind = next((each for each in SCOPES if getattr(arguments, each)), "everything")
    name = getattr(arguments, kind) if kind != "everything" else ""
    params = {"mode": arguments.mode, "scope": kind, "name": name, "reason": arguments.reason}
    try:
        result = ask(home, "stop", params, seconds=5.0)
    except NoGateway:
        result = _latch_alone(home, params)
    except Answered as answered:
        if answered.code != FAULT:
            raise
        return _by_file(home, answered)
    show(arguments, result, told(result))
    return 0


def told(result: dict[str, Any]) -> str:
    """What the stop did, for the person who stopped."""
    scope = result["scope"] + (f" {result['name']}" if result["name"] else "")
    lines = [f"STOPPED ({result['mode']}): {scope}    stop {result['stop']}"]
    if result.get("note"):
        lines.append(f"WARNING: {result['note']}; the stop holds all the same. Did you mean another name?")
    if not result["gateway"]:
        lines.append(
            "a process has this home and did not answer; it was given time to see the latch, and what it had in flight "
            "is not listed here: `remit status`"
            if result.get("running")
            else "no gateway runs on this home; the latch holds when one starts"
        )
        return "\n".join(lines)
    lines.append(f"severed or listed within {result['milliseconds']:.1f} ms")
    for key, says in (
        ("severed", "severed, their connector's process is dead; not known whether they had landed"),
        ("not_sent", "cut before anything was sent"),
        ("collateral", "of others, fell with a shared process, now `unknown`"),
    ):
        lines += [f"  {says}: {', '.join(result[key])}"] if result[key] else []
    for each in result["may_still_land"]:
        targets = ", ".join(each["targets"])
        lines.append(
            f"  MAY STILL LAND: {each['action']} {each['connector']}.{each['tool']} on {targets}: {each['check']}"
        )
    if not any(result[key] for key in ("severed", "not_sent", "collateral", "may_still_land")):
        lines.append("  nothing was in flight")
    if result["problem"]:
        lines.append(f"WARNING: {result['problem']}; the stop holds in memory, but would not survive a restart")
        lines.append("hint: put a file named STOP into the home folder as well")
    lines.append("nothing new starts in this scope until `remit resume`")
    return "\n".join(lines)


def _by_file(home: Path, answered: Answered) -> int:
    """The gateway did not answer: leave the file that stops it, whatever it is doing."""
    (home / "STOP").touch(mode=0o600)
    sys.stderr.write(
        f"{answered.message}\nhint: the file `STOP` was put into {home}: it stops EVERYTHING; "
        "to go on, remove it, then `remit resume`\n"
    )
    return FAULT


def _latch_alone(home: Path, params: dict[str, Any]) -> dict[str, Any]:
    from remit.offline import stop_without_gateway

    return stop_without_gateway(home, params, getpass.getuser())
