"""What `remit log verify` does with a bundle instead of a log: check it offline, and tell what it found."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import msgspec

from remit.doors.cli.answering import show
from remit.doors.cli.tables import count
from remit.model.display import safe_line

if TYPE_CHECKING:
    from remit.flow.auditing.files import Trust
    from remit.flow.bundling.checking import BundleReport


def verify_bundle(arguments: argparse.Namespace, data: bytes, trust: Trust) -> int:
    """Check the bytes of a bundle and tell. Exit code 0 where nothing is wrong, 1 where something is."""
    from remit.flow.bundling.checking import check_bundle

    report = check_bundle(data, trust)
    show(arguments, as_json(report), told(report))
    return 0 if report.verified else 1


def told(report: BundleReport) -> str:
    """The verdict first, then what was checked, what was not, and each thing that is wrong."""
    what = safe_line(report.about.action or f"case {report.about.case}", 100)
    if report.verified:
        lines = [f"VERIFIED: the bundle about {what} is what the log {safe_line(report.origin)} holds"]
    else:
        lines = [f"NOT VERIFIED: {count(len(report.breaches), 'thing')} wrong with this bundle"]
        lines += [
            f"  {each.word:<22}{_where(each.member, each.position)}: {safe_line(each.says)}" for each in report.breaches
        ]
    if report.size:
        lines += [
            "",
            f"checked: {count(report.entries, 'record')} against a log of {report.size:,} entries, "
            f"{count(report.payloads, 'payload')} against the records, the page against both",
            f"  signed by   {', '.join(map(safe_line, report.signed_by)) or 'nobody whose key you gave'}",
        ]
        lines += [f"  witnessed   by {safe_line(name)}" for name, _ in report.cosigned]
        lines += [f"  {number:>11} signatures of {name} hold" for name, number in report.signatures.items()]
    if report.left_out:
        lines += ["", f"left out: {count(len(report.left_out), 'payload')}"]
        lines += [f"  {safe_line(name, 60)}: {safe_line(why, 20)}" for name, why in report.left_out[:20]]
    if report.unmade:
        lines += ["", "not checked", *(f"  {safe_line(each, 300)}" for each in report.unmade)]
    return "\n".join(lines)


def _where(member: str, position: int | None) -> str:
    return f"{safe_line(member, 60)}" + (f", position {position:,}" if position is not None else "")


def as_json(report: BundleReport) -> dict[str, Any]:
    """The same for programs."""
    found: dict[str, Any] = msgspec.to_builtins(report)
    return {"verified": report.verified, **found}
