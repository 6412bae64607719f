"""`docs/CLI.md` out of the commands' own parsers. `python -m tests.doors.cli.documentation` writes it."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from remit.doors.cli.help import CONNECT, ON_CALL
from remit.doors.cli.main import COMMANDS, GROUPS, parser_of

PAGE = Path(__file__).resolve().parents[3] / "docs" / "CLI.md"

HEAD = """# The command line

`remit` alone prints the state of the home and the next step. Every command has `--help`, `--home DIR` (default:
`$REMIT_HOME`, else `~/.remit`) and `--json`; both may also stand behind the name of a command's command. Data goes to
stdout, the rest to stderr.

Exit codes: 0 fine, 1 no (refused, not verified, still not known), 2 wrong use, 3 fault.

Looking works without a gateway: the store is opened read-only. What changes something goes to the gateway's socket;
where no gateway runs, the command takes the home's lock and does the same by itself.

Commands that sign take `--key FILE` (default: `$REMIT_KEY`, else `~/.ssh/id_ed25519`), `--person ID` (default: whose
key it is) and `--ssh-keygen` (keys in an agent or on hardware). In a practice home they find the keys of its people.
`remit run exec` sets `REMIT_TOKEN`, `REMIT_URL` and `REMIT_SOCKET` for the command that it starts.

"""


def page() -> str:
    """The whole text of the page."""
    parts = [HEAD, "## The night\n\n```text\n", ON_CALL, "```\n"]
    for group, commands in GROUPS.items():
        parts.append(f"\n## {group[0].upper()}{group[1:]}\n")
        for name in commands:
            parts.extend(_command(name))
    return "".join(parts)


def _command(name: str) -> Iterator[str]:
    yield f"\n### `remit {name}`\n\n{_sentence(COMMANDS[name])}\n"
    if name == "connect":
        yield f"\n```text\n{CONNECT}```\n"
        return
    parser = parser_of(name, importlib.import_module(f"remit.doors.cli.{name}"))
    yield from _options(parser)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, inner in action.choices.items():
                yield f"\n#### `remit {name} {word}`\n\n{_sentence(inner.description or '')}\n"
                yield from _options(inner)


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    rows = [row for action in parser._actions if (row := _row(action))]
    if rows:
        yield "\n| | |\n|---|---|\n" + "".join(rows)


def _row(action: argparse.Action) -> str:
    common = {"--help", "--home", "--json"}
    if isinstance(action, argparse._SubParsersAction) or common & set(action.option_strings):
        return ""
    value = action.metavar if isinstance(action.metavar, str) else ""
    if action.option_strings:
        takes_value = action.nargs != 0
        names = ", ".join(f"`{each}{f' {value}' if takes_value and value else ''}`" for each in action.option_strings)
    else:
        names = f"`{value or action.dest}`"
    required = " (required)" if action.required and action.option_strings else ""
    says = (action.help or "").replace("|", "\\|")
    return f"| {names} | {says}{required} |\n"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def main() -> None:
    """Write the page."""
    os.environ["COLUMNS"] = "100"
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
