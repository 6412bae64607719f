"""A verifier's report in plain words, and as JSON.

What lives here: sentences. What never may: judging; what a report does not say is not said.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from remit.doors.cli.tables import count
from remit.flow.auditing.audit import Report
from remit.flow.auditing.findings import HOLDER, Finding, Meaning, Word
from remit.model.display import safe_line, utc
from remit.model.words import SECOND

MOST_TOLD = 20
_UNSIGNED = "the entries are not those that were signed, so this may only follow from what was changed"


def told(report: Report) -> str:
    """Verdict first; then what was checked, what was not, what is open, and each finding."""
    lines = [_verdict(report)]
    if report.origin:
        lines += ["", *_checked(report)]
    if report.unmade:
        lines += ["", "not checked"]
        lines += [f"  {each}" for each in report.unmade]
    if report.still_open:
        lines += ["", f"open at the end of the log: {count(report.still_open, 'action')} without an outcome yet"]
        lines += [f"  {position:>10,}  {safe_line(action)}" for position, action in report.open_at_end[:MOST_TOLD]]
    if report.findings:
        lines += ["", *_findings(report)]
    return "\n".join(lines)


def _verdict(report: Report) -> str:
    if report.verified:
        return f"VERIFIED: {count_of(report.size, 'record')} of {safe_line(report.origin)}, nothing is wrong with them"
    total = sum(report.counts.values())
    first = report.first_bad
    where = f"; the first record concerned is at position {first:,}" if first is not None else ""
    return f"NOT VERIFIED: {count(total, 'finding')}{where}"


def count_of(number: int, one: str) -> str:
    """`1 record`, `12,345 records`."""
    return f"{number:,} {one if number == 1 else one + 's'}"


def _checked(report: Report) -> list[str]:
    lines = [f"checked: {report.read:,} of {count_of(report.size, 'entry').replace('entrys', 'entries')}"]
    lines.append(f"  root        {report.root.hex()}" + ("" if report.complete else "  NOT REACHED by the entries"))
    lines.append(f"  signed by   {', '.join(map(safe_line, report.signed_by)) or 'nobody whose key you gave'}")
    for name, seconds in report.cosigned:
        lines.append(f"  witnessed   by {safe_line(name)} at {utc(seconds * SECOND)}")
    lines += _witnessed(report)
    if report.latest:
        lines.append(f"  newest      {utc(report.latest)}")
    for kind, number in sorted(report.kinds.items(), key=lambda item: -item[1]):
        lines.append(f"  {number:>10,}  {kind}")
    for what, number in report.signatures.items():
        lines.append(f"  {number:>10,}  signatures of {what}")
    for role, number in report.payloads.items():
        lines.append(f"  {number:>10,}  payloads: {safe_line(role)}")
    if report.erased or report.pruned:
        lines.append(f"  {report.erased:>10,}  tombstones; {report.pruned:,} payloads gone by retention")
    if report.ended:
        lines.append(f"  {report.ended:>10,}  payloads of secret arguments, gone with their actions")
    return lines


def _witnessed(report: Report) -> Iterator[str]:
    """Who has cosigned the checkpoint that the witnesses saw last, where it is an older one."""
    seen = report.witnessed
    if seen is not None and report.after_witnessed:
        first = count_of(seen.checkpoint.size, "record")
        for each in seen.cosigned:
            yield f"  witnessed   the first {first}, by {safe_line(each.key.name)} at {utc((each.at or 0) * SECOND)}"


def _findings(report: Report) -> list[str]:
    lines = ["findings"]
    for each in report.findings[:MOST_TOLD]:
        where = "the log" if each.position is None else f"{each.position:,}"
        lines += [f"  {each.word}  {where}: {safe_line(each.says, 300)}", f"      {each.meaning.says}"]
    total = sum(report.counts.values())
    if total > MOST_TOLD:
        lines.append(f"  and {total - MOST_TOLD:,} more; `--json` lists the first 100 of each kind")
    for word in dict.fromkeys(each.word for each in report.findings):
        meaning = next(each.meaning for each in report.findings if each.word is word)
        lines.append(f"hint ({word}): {_hint(meaning, report)}")
    return lines


def _hint(meaning: Meaning, report: Report) -> str:
    """What to do. Only of entries that lead to a signed root can one say that the key's holder signed them."""
    signed = report.complete and not {Word.BAD_NOTE, Word.BAD_SIGNATURE} & report.counts.keys()
    return meaning.hint if signed or meaning.hint != HOLDER else _UNSIGNED


def as_json(report: Report) -> dict[str, Any]:
    """The same as JSON: times in ISO 8601 with Z, hashes in hexadecimal."""
    return {
        "verified": report.verified,
        "origin": report.origin,
        "size": report.size,
        "root": report.root.hex(),
        "complete": report.complete,
        "signed_by": list(report.signed_by),
        "cosigned": [{"witness": name, "at": utc(seconds * SECOND)} for name, seconds in report.cosigned],
        "witnessed": _seen(report),
        "read": report.read,
        "newest": utc(report.latest) if report.latest else None,
        "kinds": report.kinds,
        "signatures": report.signatures,
        "payloads": {
            "committed": report.committed,
            "checked": report.payloads,
            "not_disclosed": report.withheld,
            "tombstones": report.erased,
            "pruned": report.pruned,
            "ended": report.ended,
        },
        "not_checked": list(report.unmade),
        "open_at_end": [{"position": position, "action": action} for position, action in report.open_at_end],
        "still_open": report.still_open,
        "first_bad": report.first_bad,
        "counts": {str(word): number for word, number in report.counts.items()},
        "findings": [_finding(each, report) for each in report.findings],
    }


def _seen(report: Report) -> dict[str, Any] | None:
    seen = report.witnessed
    if seen is None:
        return None
    return {
        "size": seen.checkpoint.size,
        "root": seen.checkpoint.root.hex(),
        "at": utc(seen.at),
        "by": [{"witness": each.key.name, "at": utc((each.at or 0) * SECOND)} for each in seen.cosigned],
        "records_after": report.after_witnessed,
    }


def _finding(finding: Finding, report: Report) -> dict[str, Any]:
    return {
        "word": str(finding.word),
        "position": finding.position,
        "says": finding.says,
        "meaning": finding.meaning.says,
        "hint": _hint(finding.meaning, report),
    }
