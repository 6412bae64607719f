"""`remit gateway`: run the gateway on a home until it is told to end."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from functools import partial
from typing import TYPE_CHECKING

from remit.doors.cli.answering import home_path

if TYPE_CHECKING:
    from remit.node import Node


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to listen, if not where `remit.toml` says."""
    parser.add_argument("--listen", metavar="ADDRESS:PORT", help="where agents reach it (default: as remit.toml says)")
    parser.add_argument("--verbose", action="store_true", help="log more")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT. SIGUSR1 stops everything and goes on serving."""
    from remit.doors.serving import loop_factory, serve

    level = logging.INFO if arguments.verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    listen = _address(arguments.listen) if arguments.listen else None
    ready = partial(_say_ready, as_json=arguments.json)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve(home_path(arguments), ready=ready, listen=listen))
    return 0


def _address(listen: str) -> tuple[str, int]:
    from remit.model.errors import Misuse

    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise Misuse(f"`{listen}` is not an address, expected `ADDRESS:PORT`", hint="for example 127.0.0.1:8700")
    return host.strip("[]"), int(port)


def _say_ready(node: Node, url: str, *, as_json: bool) -> None:
    """One line on stdout once everything is open: whoever started the gateway waits for it."""
    if as_json:
        ready = {"ready": True, "home": str(node.home.path), "url": url, "control": str(node.home.control_socket)}
        line = json.dumps(ready)
    else:
        practice = "PRACTICE " if node.identity.practice else ""
        line = f"{practice}gateway ready on {node.home.path}: agents at {url}"
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
