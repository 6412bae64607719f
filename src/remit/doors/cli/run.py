"""`remit run`: open a run, start an agent in one, close it, list them."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from remit.doors.cli import signing
from remit.doors.cli.answering import Answered, NoGateway, add_command, ask, home_path, show
from remit.doors.cli.calling import identity, needs_gateway, now, reads, write_file
from remit.doors.cli.tables import several, table
from remit.doors.control.signed import ROLES
from remit.model.errors import Misuse, RemitError
from remit.model.reading import duration
from remit.model.words import SECOND


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Four commands of their own."""
    commands = parser.add_subparsers(dest="what", required=True, metavar="open|exec|close|list")
    opening = add_command(commands, "open", "open a run and print its token")
    _add_order(opening)
    opening.add_argument(
        "--token-file", metavar="FILE", help="write the token there (mode 0600) instead of printing it"
    )
    executing = add_command(commands, "exec", "open a run, start COMMAND with its token, close the run when it ends")
    _add_order(executing)
    executing.add_argument("command", nargs="+", metavar="COMMAND", help="after `--`: the agent and its arguments")
    closing = add_command(commands, "close", "close or revoke a run: its token is dead at once")
    closing.add_argument("run", metavar="RUN", help="the run's id")
    signing.add_arguments(closing)
    listing = add_command(commands, "list", "the runs that are open")
    listing.add_argument("--all", action="store_true", help="also those that are closed or have expired")


def _add_order(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--agent", required=True, metavar="NAME", help="which agent of the boundary")
    parser.add_argument("--case", required=True, metavar="CASE", help="the alert or incident that it is about")
    parser.add_argument(
        "--target", action="append", default=[], metavar="NAME", help="a target that it may act on (repeatable)"
    )
    parser.add_argument(
        "--category",
        action="append",
        default=[],
        metavar="NAME",
        help="only these kinds of action (repeatable; default: all that the agent is granted)",
    )
    parser.add_argument("--for", dest="lasts", default="1h", metavar="TIME", help="how long, like 30m (default: 1h)")
    parser.add_argument(
        "--max-calls", type=int, default=2_000, metavar="N", help="at most so many calls (default: 2000)"
    )
    parser.add_argument("--clean", action="store_true", help="you declare that nothing in the case is from outsiders")
    parser.add_argument(
        "--declare", action="append", default=[], metavar="NAME=VALUE", help="say of its model, prompt or skills"
    )
    signing.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Open, exec, close or list."""
    home = home_path(arguments)
    identity(home)
    return {"open": _open, "exec": _exec, "close": _close, "list": _list}[arguments.what](arguments, home)


def order(arguments: argparse.Namespace) -> dict[str, Any]:
    """What is asked for, as the signed statement says it. Raises `Misuse`."""
    lasts = duration(arguments.lasts)
    if lasts is None or lasts < SECOND:
        raise Misuse(f"`{arguments.lasts}` is not a time, expected one like `30m` or `1h`", hint="at most 24h")
    declared = dict(each.partition("=")[::2] for each in arguments.declare)
    if any("=" not in each for each in arguments.declare):
        raise Misuse("`--declare` takes NAME=VALUE", hint="for example --declare model=example-1")
    if arguments.max_calls < 1:
        raise Misuse(f"`--max-calls` is {arguments.max_calls}, expected at least 1")
    return {
        "agent": arguments.agent,
        "case": arguments.case,
        "targets": arguments.target,
        "categories": arguments.category,
        "seconds": lasts // SECOND,
        "max_calls": arguments.max_calls,
        "clean": arguments.clean,
        "declared": declared,
    }


def _open(arguments: argparse.Namespace, home: Path) -> int:
    signer = signing.signer(arguments, home, ROLES["run.open"])
    answer = signing.signed(signer, home, "run.open", order(arguments))
    shown = dict(answer)
    if arguments.token_file:
        path = Path(arguments.token_file).expanduser()
        write_file(path, f"{answer['token']}\n".encode())
        shown = {**answer, "token": "", "token_file": str(path)}
    show(arguments, shown, told(shown))
    return 0


def told(answer: dict[str, Any]) -> str:
    """The run, and how an agent uses it."""
    lines = [
        f"opened {answer['run']}: {answer['agent']} on {answer['case']}, until {answer['expires']}",
        f"may act on: {several(answer['targets'], 'no target without a human', 8)}",
    ]
    if answer["token"]:
        lines += [f"export REMIT_TOKEN={answer['token']}", "this token is shown once; Remit keeps only its hash"]
    else:
        lines.append(f"export REMIT_TOKEN_FILE={answer['token_file']}")
    if answer["url"]:
        lines.append(f"export REMIT_URL={answer['url']}")
    return "\n".join(lines)


def _exec(arguments: argparse.Namespace, home: Path) -> int:
    words = arguments.command
    doors = needs_gateway(home, "hello")
    signer = signing.signer(arguments, home, ROLES["run.open"])
    opened = signing.signed(signer, home, "run.open", order(arguments))
    sys.stderr.write(f"opened {opened['run']}: {opened['agent']} on {opened['case']}, until {opened['expires']}\n")
    try:
        return _supervised(words, _environment(opened["token"], doors["url"], doors["socket"]))
    finally:
        _close_after(signer, home, opened["run"])


def _environment(token: str, url: str, socket: str) -> dict[str, str]:
    """The agent's environment: ours, without what belongs to whoever opens runs, and with the token."""
    kept = {
        name: value for name, value in os.environ.items() if name not in ("REMIT_KEY", "REMIT_HOME", "REMIT_TOKEN_FILE")
    }
    return kept | {"REMIT_TOKEN": token, "REMIT_URL": url, "REMIT_SOCKET": socket}


def _supervised(words: list[str], environment: dict[str, str]) -> int:
    """Run the command to its end, passing signals on. Returns its exit code; 128 and the signal where one ended it."""
    try:
        child = subprocess.Popen(words, env=environment)  # noqa: S603 - the person's own command, without a shell
    except OSError as error:
        why = (error.strerror or "it failed").lower()
        raise Misuse(f"`{words[0]}` cannot be started: {why}", hint="give the command after `--`") from None
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGQUIT)}
    for number in (signal.SIGTERM, signal.SIGHUP):
        before[number] = signal.signal(number, lambda got, _: child.send_signal(got))
    try:
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def _close_after(signer: signing.Signer, home: Path, run_id: str) -> None:
    try:
        closed = signing.signed(signer, home, "run.close", {"run": run_id})
        verdict = closed["verdict"] or "without a verdict"
        sys.stderr.write(f"closed {run_id} after {closed['calls']} calls, {verdict}\n")
    except (RemitError, Answered) as error:
        sys.stderr.write(f"WARNING: {run_id} is still open, its token works until it expires: {error}\n")
        sys.stderr.write(f"hint: remit run close {run_id}\n")


def _close(arguments: argparse.Namespace, home: Path) -> int:
    signer = signing.signer(arguments, home, ROLES["run.close"])
    answer = signing.signed(signer, home, "run.close", {"run": arguments.run})
    show(arguments, answer, f"closed {answer['run']}: its token is dead, and what it left waiting is withdrawn")
    return 0


def _list(arguments: argparse.Namespace, home: Path) -> int:
    try:
        answer = ask(home, "run.list", {"all": arguments.all})
    except NoGateway:
        from remit.doors.control.looking import runs

        answer = runs(reads(home), now(), every=arguments.all)
    show(arguments, answer, listed(answer["runs"]))
    return 0


def listed(runs: list[dict[str, Any]]) -> str:
    """The runs as a table."""
    head = ("RUN", "STATE", "AGENT", "CASE", "OPENED BY", "UNTIL", "CALLS", "TARGETS", "VERDICT")
    rows = [
        (
            each["run"],
            each["state"],
            each["agent"],
            each["case"],
            each["opened_by"],
            each["closed"] or each["expires"],
            each["calls"],
            several(each["targets"]),
            each["verdict"].partition("\n")[0] or "-",
        )
        for each in runs
    ]
    return table(head, rows) or "no run is open"
