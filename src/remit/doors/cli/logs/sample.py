"""`remit log sample`: every action and refusal of a period, for whoever draws samples, with its count proved."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from remit.doors.cli.answering import home_path, show
from remit.doors.cli.calling import identity, now, reads, write_file
from remit.doors.cli.logs.reconcile import window

if TYPE_CHECKING:
    from remit.flow.bundling.sampling import Population
    from remit.flow.ports import Reads

SAYS = "every action and refusal of a period, counted against the log"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A period, where the rows go, and how many of them."""
    parser.add_argument("--since", required=True, metavar="WHEN", help="from then on: `2026-11-01`, `last monday`")
    parser.add_argument("--until", metavar="WHEN", help="up to then (default: now)")
    parser.add_argument("--csv", nargs="?", const="-", metavar="FILE", help="write the rows there (`-`: print them)")
    parser.add_argument("--size", type=int, metavar="N", help="only N rows, drawn by chance that anybody can repeat")
    parser.add_argument("--seed", metavar="S", help="what the draw depends on; agree on it before you look")
    parser.add_argument("--pseudonyms", action="store_true", help="keep the names of targets out of the rows")


def run(arguments: argparse.Namespace) -> int:
    """Count, prove and write. Works without a gateway."""
    from remit import offline
    from remit.flow.bundling.sampling import drawn, population, written
    from remit.flow.queries import Stories
    from remit.model.errors import Misuse

    if (arguments.size is None) != (arguments.seed is None) or (arguments.size is not None and arguments.size < 1):
        raise Misuse("a sample needs `--size` of at least 1 and `--seed`", hint="say both, or neither for every row")
    home = home_path(arguments)
    identity(home)
    store = reads(home)
    zone = Stories(store).zone
    since, until = window(arguments, zone)
    files, keys = offline.log_of(home)
    names = _nobody if arguments.pseudonyms else _names(store)
    found = population(files, keys, since or 0, until if until is not None else now() + 1, names)
    rows = found.rows if arguments.size is None else drawn(found.rows, arguments.size, arguments.seed)
    text = written(rows)
    if arguments.csv == "-" and not arguments.json:
        sys.stdout.write(text)
        sys.stderr.write(told(found, len(rows), arguments.seed) + "\n")
        return 0
    if arguments.csv and arguments.csv != "-":
        write_file(Path(arguments.csv), text.encode())
    show(arguments, as_json(found, rows), told(found, len(rows), arguments.seed))
    return 0


def told(found: Population, rows: int, seed: str | None) -> str:
    """What was counted, what it was proved against, and how to count again."""
    if found.first is None:
        return f"no entry of the log is of that time; the log has {found.size:,} entries, root {found.root}"
    lines = [
        f"{found.actions:,} actions and {found.refusals:,} refusals",
        f"out of entries {found.first:,} to {found.last:,} of {found.origin}: {found.entries:,} entries, all of them",
        f"read, and proved to be in the signed log of {found.size:,} entries with root {found.root}",
        "to count again: verify the log (`remit log verify`), then count in it, from the first to the last of these "
        "positions, the records of kind `proposal` and `refusal` whose `at` is in the period",
    ]
    if seed is not None:
        rule = "those with the lowest SHA-256 over the seed, a colon and the position"
        lines.append(f"{rows:,} of them drawn with seed `{seed}`: {rule}")
    return "\n".join(lines)


def as_json(found: Population, rows: Sequence[dict[str, str]]) -> dict[str, Any]:
    """The same for programs, with the rows."""
    import msgspec

    answer: dict[str, Any] = msgspec.to_builtins(found)
    return answer | {"rows": list(rows)}


def _names(store: Reads) -> Callable[[str], Sequence[str]]:
    def names(action_id: str) -> Sequence[str]:
        action = store.action(action_id)
        return action.targets if action is not None else ()

    return names


def _nobody(_: str) -> Sequence[str]:
    return ()
