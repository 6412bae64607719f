"""The command line: finds the command, reads its words, prints its answer, and turns errors into exit codes.

What lives here: the table of commands and nothing that they do. Each command is a module that is imported only when it
is asked for, so `remit stop` starts fast.

Exit codes: 0 fine, 1 no / refused / not verified, 2 wrong use, 3 fault.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from typing import NoReturn, Protocol

from remit.doors.cli.answering import add_common

GROUPS: dict[str, dict[str, str]] = {
    "set up": {
        "init": "make a home folder",
        "check": "say what is wrong with a home, and what is not as safe as it could be",
        "demo": "show the whole road on recorded attack telemetry",
        "gateway": "run the gateway",
        "status": "what is going on, and the next step",
    },
    "agents": {
        "connect": "bridge an agent's stdio to the gateway",
        "run": "open, exec, close and list runs",
    },
    "the boundary": {
        "boundary": "show, explain, sign, verify and reload the boundary",
        "people": "show, sign and reload the roster",
        "inventory": "show what an inventory would change, and accept it",
        "connectors": "list, import, pin and accept connectors",
    },
    "the night": {
        "approvals": "what waits for a human",
        "approve": "approve one action",
        "reject": "reject one action",
        "stop": "stop everything, or one scope",
        "resume": "lift a stop",
        "settle": "say, or ask the connector, what became of an action",
        "undo": "carry out the declared undo of an action",
    },
    "the record": {
        "find": "find actions",
        "explain": "the story of one action",
        "log": "the provable log: keep it, verify it, show it to those who do not trust it",
    },
    "help": {"help": "`remit help on-call`: the six commands of the night"},
}
COMMANDS: dict[str, str] = {name: says for group in GROUPS.values() for name, says in group.items()}


class Command(Protocol):
    """What a command's module offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, arguments: argparse.Namespace) -> int: ...


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one lowercase sentence and a hint."""

    def error(self, message: str) -> NoReturn:
        """Wrong use: exit code 2."""
        sys.stderr.write(f"{message[:1].lower()}{message[1:]}\nhint: `{self.prog} --help`\n")
        raise SystemExit(2)


def main(words: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = sys.argv[1:] if words is None else words
    if not given:
        given = ["status", "--next"]
    if given[0] in ("-h", "--help"):
        print(overview())
        return 0
    if given[0] == "--version":
        from importlib.metadata import version

        print(f"remit {version('remit')}")
        return 0
    if given[0] not in COMMANDS:
        return _unknown(given[0])
    if given[0] == "connect":  # starts with every agent, so it reads its own words
        return _connect(given[1:])
    module = importlib.import_module(f"remit.doors.cli.{given[0]}")
    return _guarded(module, parser_of(given[0], module).parse_args(given[1:]))


def _connect(words: list[str]) -> int:
    if {"-h", "--help"} & set(words):
        return main(["help", "connect"])
    from remit.doors.cli.connect import main as bridge

    return bridge(words)


def parser_of(name: str, module: Command) -> Parser:
    """The parser of one command, with the options that every command has."""
    parser = Parser(prog=f"remit {name}", description=COMMANDS[name])
    add_common(parser)
    module.add_arguments(parser)
    return parser


def overview() -> str:
    """What `remit --help` prints."""
    lines = ["usage: remit COMMAND [options]", ""]
    for group, commands in GROUPS.items():
        lines.append(f"{group}:")
        lines += [f"  {name:<12}{says}" for name, says in commands.items()]
        lines.append("")
    lines.append("every command has --help, --home and --json; exit codes: 0 fine, 1 no, 2 wrong use, 3 fault")
    return "\n".join(lines)


def _unknown(word: str) -> int:
    import difflib

    near = difflib.get_close_matches(word, COMMANDS, n=1)
    hint = f"did you mean `remit {near[0]}`?" if near else "`remit --help` lists the commands"
    sys.stderr.write(f"there is no command `{word}`\nhint: {hint}\n")
    return 2


def _guarded(module: Command, arguments: argparse.Namespace) -> int:
    from remit.doors.cli.answering import Answered

    try:
        return module.run(arguments)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Answered as answered:
        return _fail(answered.code, answered.message, answered.hint, arguments.json)
    except Exception as error:
        return _known(error, arguments.json)


def _known(error: Exception, as_json: bool) -> int:
    from remit.model.errors import Fault, Misuse, RemitError

    if not isinstance(error, RemitError):
        raise error
    code = 2 if isinstance(error, Misuse) else 3 if isinstance(error, Fault) else 1
    return _fail(code, error.shown() if not as_json else error.message, "" if not as_json else error.hint, as_json)


def _fail(code: int, message: str, hint: str, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"error": {"message": message, "hint": hint, "exit": code}}))
    else:
        sys.stderr.write(message + "\n" + (f"hint: {hint}\n" if hint else ""))
    return code


if __name__ == "__main__":
    raise SystemExit(main())
