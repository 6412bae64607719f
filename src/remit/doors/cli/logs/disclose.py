"""`remit log disclose`: the payloads that an auditor may see, as a file beside the log.

What lives here: what a person chose to hand over. What never may: choosing for them.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from remit.doors.cli.answering import Answered, home_path, show
from remit.doors.cli.calling import now
from remit.doors.cli.tables import count
from remit.flow.auditing.selecting import ROLES, Selection
from remit.gates import phrases
from remit.model.errors import Misuse
from remit.model.reading import nearest

SAYS = "write the payloads that an auditor may see, beside the log"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything that is given must match."""
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the file to write; it must not be there")
    parser.add_argument("--since", metavar="WHEN", help="recorded from then on (rosters and boundaries: always)")
    parser.add_argument("--until", metavar="WHEN", help="recorded up to then")
    parser.add_argument("--action", action="append", default=[], metavar="ID", help="of this action (repeatable)")
    parser.add_argument("--case", default="", metavar="CASE", help="of this case")
    parser.add_argument(
        "--without", action="append", default=[], metavar="ROLE", help=f"leave out: {', '.join(ROLES)} (repeatable)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the file, for the user alone to read. Works without a gateway."""
    from remit import offline

    selection = _selection(arguments)
    target = Path(arguments.output).expanduser()
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            counts = offline.disclose(home_path(arguments), selection, file)
    except FileExistsError:
        raise Misuse(f"`{target}` is there already", hint="name another file") from None
    except OSError as error:
        raise Answered(3, f"`{target}` cannot be written: {(error.strerror or str(error)).lower()}") from None
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    gone = counts.pop("gone", 0)
    answer = {"file": str(target), "payloads": dict(sorted(counts.items())), "gone": gone}
    show(arguments, answer, _told(target, counts, gone))
    sys.stderr.write("the file holds what the log only commits to: names, arguments, results; hand it over with care\n")
    return 0


def _selection(arguments: argparse.Namespace) -> Selection:
    for role in arguments.without:
        if role not in ROLES:
            close = nearest(role, ROLES)
            hint = f"did you mean `{close}`?" if close else f"roles: {', '.join(ROLES)}"
            raise Misuse(f"there is no role `{role}`", hint=hint)
    at = now()
    since = phrases.beginning(arguments.since, at, "UTC") if arguments.since else None
    until = phrases.end(arguments.until, at, "UTC") if arguments.until else None
    if since is not None and until is not None and until < since:
        raise Misuse("`--until` is before `--since`", hint="put the earlier time into `--since`")
    return Selection(
        since=since,
        until=until,
        actions=frozenset(arguments.action),
        case=arguments.case,
        without=frozenset(arguments.without),
    )


def _told(target: Path, counts: dict[str, int], gone: int) -> str:
    lines = [f"{target}: {count(sum(counts.values()), 'payload')}"]
    lines += [f"  {number:>10,}  {role}" for role, number in sorted(counts.items())]
    if gone:
        lines.append(f"  {gone:>10,}  erased or pruned, so not in it; the log says which and why")
    lines.append("verify with: remit log verify LOG --key VKEY --payloads " + str(target))
    return "\n".join(lines)
