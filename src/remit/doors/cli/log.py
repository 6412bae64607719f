"""`remit log`: the verifiable log. Each command of its own is a module of `doors/cli/logs`, imported when asked for."""

from __future__ import annotations

import argparse
import importlib
from typing import Final, Protocol, cast

from remit.doors.cli.answering import add_command

SUBCOMMANDS: Final[dict[str, str]] = {
    "status": "how far the log is, and what is wrong with it",
    "key": "the log's verifier key, for auditors; and replacing it",
    "signer": "run the log's signer as a process of its own",
    "verify": "check a log from its first entry to its last, without trusting who keeps it",
    "disclose": "write the payloads that an auditor may see, beside the log",
    "bundle": "one file with an action's or a case's story and its whole proof",
    "sample": "every action and refusal of a period, counted against the log",
    "reconcile": "compare a connector's own audit trail with the log",
    "reindex": "build what `find` and `explain` look into anew",
    "erase": "erase the payloads of an action, evidence, run or verdict (signed)",
    "prune": "remove payloads that are older than the home keeps",
    "witness": "make and run a witness, which cosigns logs and never two histories of one",
    "continue": "begin another log, where the store is not what was signed",
}
_FILES: Final[dict[str, str]] = {"continue": "going_on"}  # `continue` is a word of Python's


class Subcommand(Protocol):
    """What a module of `doors/cli/logs` offers."""

    SAYS: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, arguments: argparse.Namespace) -> int: ...


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One command of its own for each module."""
    commands = parser.add_subparsers(dest="what", required=True, metavar="|".join(SUBCOMMANDS))
    for name, says in SUBCOMMANDS.items():
        _module(name).add_arguments(add_command(commands, name, says))


def run(arguments: argparse.Namespace) -> int:
    """Run the one that was asked for."""
    return _module(arguments.what).run(arguments)


def _module(name: str) -> Subcommand:
    return cast(Subcommand, importlib.import_module(f"remit.doors.cli.logs.{_FILES.get(name, name)}"))
