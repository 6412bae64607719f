"""`remit log key`: the log's verifier key, and replacing it."""

from __future__ import annotations

import argparse
from pathlib import Path

from remit.doors.cli.answering import home_path, show
from remit.doors.cli.calling import identity
from remit.model.errors import Misuse

SAYS = "the log's verifier key, for auditors; and replacing it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Alone, it shows the key."""
    parser.add_argument(
        "--rotate",
        choices=("begin", "end"),
        help="begin: from now on a new key signs beside the old one; end: the new one alone, and the old is destroyed",
    )
    parser.add_argument("--folder", metavar="DIR", help="with --rotate: the folder of a signer of its own")


def run(arguments: argparse.Namespace) -> int:
    """Show, begin or end."""
    from remit import offline

    home = home_path(arguments)
    if arguments.folder and not arguments.rotate:
        raise Misuse("`--folder` goes with `--rotate`")
    if not arguments.rotate:
        identity(home)
        keys = offline.log_keys(home)
        show(arguments, {"keys": keys}, "\n".join(keys))
        return 0
    if not arguments.folder:
        identity(home)
    begin = arguments.rotate == "begin"
    folder = Path(arguments.folder).expanduser().resolve() if arguments.folder else None
    old, new = offline.rotate_log_key(home, begin=begin, folder=folder)
    says = "signs beside the old one from the next checkpoint on" if begin else "signs alone; the old one is destroyed"
    lines = [f"old key: {old}", f"new key: {new}", f"the new key {says}"]
    if folder is not None:
        kept = "both keys" if begin else "the new key alone"
        lines.append(f"next: put {kept} into the file keys/log.pub of the gateway's home")
    elif begin:
        lines.append("next: give auditors the new key, then `remit log key --rotate end`")
    show(arguments, {"old": old, "new": new, "rotation": "begun" if begin else "ended"}, "\n".join(lines))
    return 0
