"""`remit init DIR`: make a home. Without a leader's key it is one for practice, and says so loudly."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

from remit.doors.cli.answering import home_path, show
from remit.doors.cli.calling import file_bytes, now
from remit.model.errors import Misuse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where, and whose."""
    parser.add_argument("dir", nargs="?", metavar="DIR", help="the folder to make (default: the home)")
    parser.add_argument("--leader", metavar="NAME", help="a real home: who signs its boundary (an e-mail address)")
    parser.add_argument("--public-key", metavar="FILE", help="that person's public SSH key (the .pub file)")
    parser.add_argument("--agent", metavar="NAME", default="triage", help="the first agent's name (default: triage)")


def run(arguments: argparse.Namespace) -> int:
    """Make the home, write its first facts, and say what comes next."""
    from remit.node import found_home, init_home

    path = Path(arguments.dir).expanduser().resolve() if arguments.dir else home_path(arguments)
    if bool(arguments.leader) is not bool(arguments.public_key):
        raise Misuse(
            "`--leader` and `--public-key` belong together",
            hint="give both for a real home, neither for a practice one",
        )
    leader = None
    if arguments.leader:
        line = file_bytes(Path(arguments.public_key).expanduser()).decode("utf-8", "replace")
        leader = (arguments.leader, line.strip())
    made = init_home(path, now=now(), leader=leader, agent=arguments.agent)
    asyncio.run(found_home(path, made.roster))
    answer = {"home": str(path), "id": made.identity.id, "practice": made.identity.practice}
    show(arguments, answer, _told(path, answer))
    return 0


def _told(path: Path, answer: dict[str, Any]) -> str:
    lines = [f"made the home {path} ({answer['id']})"]
    if answer["practice"]:
        lines += [
            "",
            "THIS IS A PRACTICE HOME. The keys of everybody on its roster lie in its folder `practice`, so its",
            "signatures prove nothing, and an agent that runs as this user could sign for itself. For a real one:",
            "  remit init DIR --leader NAME --public-key FILE",
            "",
            "its boundary is signed: agents read by themselves, ask before they change anything, and never destroy",
            "or send anything. Next:",
            f"  remit boundary show --home {path}      what the boundary says, in plain English",
            f"  remit connectors import .mcp.json --home {path}",
            f"  remit gateway --home {path}",
        ]
    else:
        lines += [
            "nothing is signed yet, so no gateway starts on it. Next:",
            f"  1. put people into {path / 'people.toml'}; a later version must be signed by the leader",
            f"  2. put targets into {path / 'inventory.csv'}, connectors into {path / 'connectors'}",
            f"  3. remit boundary show --home {path}, then remit boundary sign --home {path}",
            f"  4. remit check --home {path}, then remit gateway --home {path}",
        ]
    return "\n".join(lines)
