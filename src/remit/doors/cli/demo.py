"""`remit demo`: tell the whole story, first without Remit and then with it, on recorded attack events."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from remit.model.errors import Misuse

FOLDER = ".demo"
LONGEST_INJECTION = 2_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is told, and who takes part."""
    parser.epilog = "The practice folder is --home, or .demo in the current folder; $REMIT_HOME is left alone."
    parser.add_argument("--interactive", action="store_true", help="you are the person on call: approve, resume, stop")
    parser.add_argument("--inject", metavar="TEXT", default="", help="you are the attacker: the text planted in a log")
    parser.add_argument(
        "--agent",
        metavar="COMMAND",
        default="",
        help="another MCP client in the scripted agent's place; it finds REMIT_URL and REMIT_TOKEN in its environment",
    )
    parser.add_argument(
        "--telemetry",
        metavar="FILE",
        nargs="+",
        default=[],
        help="recorded Windows events, JSON lines, plain or gzip (default: an incident that comes with Remit)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Tell it. The practice folder is `--home`, or `.demo` under the current one; an earlier demo's is replaced."""
    from remit.doors.demo.screen import Screen
    from remit.doors.demo.story import Options
    from remit.doors.demo.telling import tell

    if arguments.interactive and not sys.stdin.isatty():
        raise Misuse("`--interactive` needs a terminal to ask you on", hint="leave it out, or run it in a terminal")
    if len(arguments.inject) > LONGEST_INJECTION:
        count = len(arguments.inject)
        raise Misuse(f"the text has {count} characters, expected at most {LONGEST_INJECTION}", hint="shorten it")
    folder = Path(arguments.home or FOLDER).expanduser().resolve()
    options = Options(interactive=arguments.interactive, inject=arguments.inject.strip(), agent=arguments.agent)
    screen = Screen(sys.stderr if arguments.json else sys.stdout)
    found = tell(folder, arguments.telemetry, options, screen)
    if arguments.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    return 0
