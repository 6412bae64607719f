"""`remit log witness`: a small witness of its own, best on somebody else's machine."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from remit.doors.cli.answering import add_command, show

SAYS = "make and run a witness, which cosigns logs and never two histories of one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`init` and `serve`."""
    commands = parser.add_subparsers(dest="witness", required=True, metavar="init|serve")
    init = add_command(commands, "init", "make a witness's folder and key")
    init.add_argument("folder", help="a folder of its own")
    init.add_argument("--name", required=True, help="the witness's name, like `witness.example.com/w1`")
    init.add_argument(
        "--log", action="append", required=True, metavar="KEY", help="a log's verifier key; may be given again"
    )
    serve = add_command(commands, "serve", "answer logs over HTTP")
    serve.add_argument("folder", help="the witness's folder")
    serve.add_argument("--listen", default="127.0.0.1:8701", metavar="ADDRESS:PORT", help="port 0 takes a free one")


def run(arguments: argparse.Namespace) -> int:
    """Make a witness, or serve one until SIGTERM or SIGINT."""
    from remit import offline

    folder = Path(arguments.folder).expanduser().resolve()
    if arguments.witness == "init":
        key = offline.make_log_witness(folder, arguments.name, arguments.log)
        text = (
            f"{key}\nnext: give this line to the log's operator and to whoever verifies; then remit log witness serve"
        )
        show(arguments, {"key": key, "folder": str(folder)}, f"{text} {folder}")
        return 0
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

    def ready(url: str) -> None:
        sys.stdout.write(f"witness ready at {url}\n")
        sys.stdout.flush()

    offline.serve_log_witness(folder, arguments.listen, ready)
    return 0
