"""Talking to the gateway's control socket, and printing answers. Standard library only: `remit stop` uses it."""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

EXIT = {"refused": 1, "misuse": 2, "fault": 3}
SECONDS = 130.0


class Answered(Exception):
    """The gateway answered with an error: its words, and the exit code that they mean."""

    def __init__(self, code: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class NoGateway(Exception):
    """No gateway answers on this home's control socket."""


def add_common(parser: argparse.ArgumentParser, **default: Any) -> None:
    """The options that every command has."""
    parser.add_argument("--home", help="the home folder (default: $REMIT_HOME, else ~/.remit)", **default)
    parser.add_argument("--json", action="store_true", help="print the answer as JSON", **default)


def add_command(commands: Any, name: str, says: str) -> argparse.ArgumentParser:
    """A command of a command (`remit run open`), which takes the common options behind its name as well."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=says, description=says)
    add_common(parser, default=argparse.SUPPRESS)
    return parser


def home_path(arguments: argparse.Namespace) -> Path:
    """The home that the command is about."""
    named = arguments.home or os.environ.get("REMIT_HOME")
    return Path(named).expanduser().resolve() if named else Path.home() / ".remit"


def ask(home: Path, method: str, params: dict[str, Any], seconds: float = SECONDS) -> dict[str, Any]:
    """One command to the gateway. Raises `NoGateway`, or `Answered` with the gateway's error."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(seconds)
            connection.connect(str(home / "run" / "control.sock"))
            connection.sendall(json.dumps({"id": 1, "method": method, "params": params}).encode() + b"\n")
            with connection.makefile("rb") as lines:
                line = lines.readline()
    except (FileNotFoundError, ConnectionRefusedError):
        raise NoGateway from None
    except PermissionError:
        hint = "the home belongs to another user; run this as that user"
        raise Answered(3, f"the control socket of `{home}` cannot be opened by this user", hint) from None
    except OSError as error:
        raise Answered(3, f"the gateway did not answer ({error})", "`remit status` tells what runs") from None
    if not line:
        raise Answered(3, "the gateway closed the connection without an answer", "its own log says why")
    answer = json.loads(line)
    refused = answer.get("error")
    if refused:
        raise Answered(EXIT.get(refused["code"], 3), refused["message"], refused.get("hint", ""))
    result: dict[str, Any] = answer["result"]
    return result


def show(arguments: argparse.Namespace, result: dict[str, Any], text: str) -> None:
    """Print the answer: JSON where asked for, else the text. Data goes to stdout."""
    sys.stdout.write((json.dumps(result, indent=2, ensure_ascii=False) if arguments.json else text).rstrip("\n") + "\n")
