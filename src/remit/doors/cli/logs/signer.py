"""`remit log signer`: the log's signer as a process of its own, under another user than the gateway's."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from remit.model.errors import Misuse

SAYS = "run the log's signer as a process of its own"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where its files are, where it answers, and whom."""
    parser.add_argument("--folder", required=True, metavar="DIR", help="where log.key and log-signed are")
    parser.add_argument("--socket", required=True, metavar="PATH", help="where the gateway reaches it")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="USER", help="the gateway's user; may be given again"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    from remit.offline import serve_log_signer

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    folder, socket = (Path(each).expanduser().resolve() for each in (arguments.folder, arguments.socket))

    if not folder.is_dir():
        hint = "make it, and move `log.key` and `log-signed` into it: docs/LOG.md tells how"
        raise Misuse(f"there is no folder `{folder}`", hint=hint)

    def ready() -> None:
        sys.stdout.write(f"log signer ready at {socket}\n")
        sys.stdout.flush()

    serve_log_signer(folder, socket, arguments.allow, ready)
    return 0
