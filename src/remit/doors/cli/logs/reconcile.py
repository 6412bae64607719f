"""`remit log reconcile`: did a connector do what the log does not know of, or the log claim what it never did?"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from remit.doors.cli.answering import NoGateway, ask, home_path, show
from remit.doors.cli.calling import file_bytes, identity, now, quiet, reads
from remit.doors.cli.tables import count, several, table

if TYPE_CHECKING:
    from remit.flow.reconciling import Report
    from remit.gates.reconciling import Finding
    from remit.gates.story.sentences import Clock
    from remit.model.audits import AuditMap

SAYS = "compare a connector's own audit trail with the log"
MOST_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A connector and its trail."""
    parser.add_argument("connector", metavar="CONNECTOR", help="whose trail it is")
    parser.add_argument("--audit", required=True, metavar="FILE", help="its own trail, JSON lines")
    parser.add_argument(
        "--map", metavar="FILE", help="which fields say what (default: `[audit]` of the connector's file)"
    )
    parser.add_argument("--since", metavar="WHEN", help="from then on (default: the log's beginning)")
    parser.add_argument("--until", metavar="WHEN", help="up to then (default: now)")


def run(arguments: argparse.Namespace) -> int:
    """Compare, and write down what came of it. Exit code 1 where anything differs."""
    from remit.flow.queries import Stories
    from remit.flow.reconciling import compare

    home = home_path(arguments)
    identity(home)
    store = reads(home)
    zone = Stories(store).zone
    audit = audit_map(home, arguments.connector, arguments.map)
    data = file_bytes(Path(arguments.audit), "fetch the trail from the system itself, and name the file with `--audit`")
    since, until = window(arguments, zone)
    report = compare(store, arguments.connector, data, audit, now=now(), since=since, until=until)
    kept = _kept(home, report)
    answer = msgspec.to_builtins(report) | {"found": report.found, "report": kept["report"], "zone": zone}
    show(arguments, answer, told(report, str(kept["report"]), zone))
    return 1 if report.found else 0


def _kept(home: Path, report: Report) -> dict[str, Any]:
    """What became of the report: kept by the gateway, or here where none runs. No connector is needed for that."""
    try:
        return ask(home, "reconciled", {"report": msgspec.to_builtins(report)})
    except NoGateway:
        from remit.node import keep_report

        quiet()
        return asyncio.run(keep_report(home, report))


def window(arguments: argparse.Namespace, zone: str) -> tuple[int | None, int | None]:
    """The two times as they were typed, None where none was. Raises `Misuse` for one that is none."""
    from remit.gates import phrases

    at = now()
    since = phrases.beginning(arguments.since, at, zone) if arguments.since is not None else None
    until = phrases.end(arguments.until, at, zone) if arguments.until is not None else None
    return since, until


def audit_map(home: Path, connector: str, named: str | None) -> AuditMap:
    """The mapping of `--map`, else the one in the connector's file. Raises `Misuse` where there is none."""
    from remit.model.audits import load_map
    from remit.model.display import shown
    from remit.model.errors import Misuse
    from remit.model.manifest import load_manifest

    if named is not None:
        return load_map(file_bytes(Path(named), "name a file with a table `[audit]`"), named)
    path = home / "connectors" / f"{connector}.toml"
    if not path.resolve().parent == (home / "connectors").resolve():
        raise Misuse(f"{shown(connector)} is no connector's name")
    found = load_manifest(file_bytes(path, "`remit connectors list` names the connectors"), connector).audit
    if found is None:
        hint = "write a table `[audit]` into it, or into a file of its own for `--map`: docs/EVIDENCE.md tells how"
        raise Misuse(f"the file of connector {shown(connector)} does not say how its trail is read", hint=hint)
    return found


def told(report: Report, kept: str, zone: str) -> str:
    """What was compared, and every difference, the worst first."""
    from remit.gates.story.sentences import Clock

    clock = Clock(zone)
    lines = [
        f"{report.connector}: {count(report.effects, 'effect')} in the trail, {report.matched} of them under an order "
        f"of the log; {count(report.orders, 'outcome')} in the log",
        f"from {clock.moment(report.since)} up to {clock.moment(report.until)} ({zone})",
    ]
    if report.before or report.after:
        lines.append(f"outside of that time, not compared: {report.before} effects before it, {report.after} after it")
    if not report.found:
        lines.append("both say the same")
    else:
        lines += [f"{count(report.found, 'difference')}: {_kinds(report)}", ""]
        lines.append(table(("time", "what", "line", "tool", "target", "action"), _rows(report, clock)).rstrip())
        left = report.found - MOST_SHOWN
        if left > 0:
            lines.append(f"… {left} more (--json lists up to {len(report.listed)})")
        if report.alarming:
            lines += ["", "SOMEBODY TOOK ANOTHER ROAD: an alert was raised"]
    return "\n".join([*lines, f"kept as {kept}"])


def _kinds(report: Report) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(report.findings.items()))


def _rows(report: Report, clock: Clock) -> list[tuple[object, ...]]:
    from remit.gates.reconciling import ALARMING

    worst = sorted(report.listed, key=lambda each: each.what not in ALARMING)[:MOST_SHOWN]
    return [_row(each, clock) for each in worst]


def _row(finding: Finding, clock: Clock) -> tuple[object, ...]:
    line, tool, action = (each or "-" for each in (finding.line, finding.tool, finding.action))
    return clock.moment(finding.at), finding.what, line, tool, several(finding.targets), action
