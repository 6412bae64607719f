"""Plain English for the leader's page: phrases for targets, times and amounts, without our words for machinery."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from zoneinfo import ZoneInfo

from remit.gates.boundary.words import ALL, Agent, Boundary, Hours, LabelLimit, Selector
from remit.model.words import MINUTE, SECOND, Ask, Confidentiality, Instant, Integrity

_UNITS = ((24 * 60 * MINUTE, "day"), (60 * MINUTE, "hour"), (MINUTE, "minute"), (SECOND, "second"))


def one_of(items: Iterable[str], last: str = "or") -> str:
    """`a`, `a or b`, `a, b or c`."""
    *most, final = list(items)
    return f"{', '.join(most)} {last} {final}" if most else final


def counted(number: int, noun: str) -> str:
    """`1 host`, `2 hosts`."""
    if number != 1:
        return f"{number:,} {plural(noun)}"
    return "1 DNS server" if noun == "dns" else f"1 {noun.replace('-', ' ')}"


def plural(noun: str) -> str:
    """The plural of a kind of target, with its hyphens as spaces."""
    words = noun.replace("-", " ")
    if words == "dns":
        return "DNS servers"
    return f"{words}es" if words.endswith(("s", "x", "ch")) else f"{words}s"


def span(microseconds: int) -> str:
    """`15 minutes`, in the largest unit that keeps it whole."""
    for size, unit in _UNITS:
        if microseconds % size == 0:
            return counted(microseconds // size, unit)
    return f"{microseconds / SECOND:g} seconds"


def moment(at: Instant, timezone: str) -> str:
    """An instant as the boundary's people read it."""
    local = datetime.datetime.fromtimestamp(at // SECOND, ZoneInfo(timezone))
    return f"{day(local.date())}, {local:%H:%M} ({timezone})"


def day(date: datetime.date) -> str:
    """`22 November 2026`."""
    return f"{date.day} {date:%B %Y}"


def clock(hours: Hours, timezone: str) -> str:
    """`between 22:00 and 06:00 (Europe/Berlin)`."""
    start, end = (f"{minute // 60:02}:{minute % 60:02}" for minute in (hours.start, hours.end))
    return f"between {start} and {end} ({timezone})"


def targets(selector: Selector, boundary: Boundary) -> str:
    """Which things a selector is about."""
    where = {tier.name: tier.where for tier in boundary.tiers}
    noun = one_of(plural(kind) for kind in selector.kind) if selector.kind else "things"
    parts = [noun]
    if selector.privileged is not None:
        parts.append("that are privileged" if selector.privileged else "that are not privileged")
    if selector.owner:
        parts.append(f"that belong to {one_of(selector.owner)}")
    if selector.labels:
        parts.append(f"marked {one_of(quoted(selector.labels))}")
    if selector.names:
        parts.append(_names(selector.names))
    if selector.tier:
        each = [f'"{name}" ({targets(where[name], boundary)})' for name in selector.tier if name in where]
        parts.append(f"that count as {one_of(each)}")
    return " ".join(parts)


def quoted(items: Iterable[str]) -> list[str]:
    """Each in quotation marks."""
    return [f'"{item}"' for item in items]


def _names(patterns: tuple[str, ...]) -> str:
    if ALL in patterns:
        return "of any name"
    said = [
        f'whose name begins with "{pattern[:-1]}"' if pattern.endswith(ALL) else f'called "{pattern}"'
        for pattern in patterns
    ]
    return one_of(said)


def label(limit: LabelLimit) -> str:
    """What a run may have read for it to go on by itself."""
    parts = []
    if limit.integrity is Integrity.OPERATOR:
        parts.append("it has read only what our own operators wrote")
    if limit.integrity is Integrity.SYSTEM_OF_RECORD:
        parts.append("it has read nothing that outsiders could have written")
    if limit.confidentiality is not Confidentiality.SECRET:
        parts.append(f"it has read nothing above {limit.confidentiality.value}")
    return f"only while {one_of(parts, 'and')}" if parts else ""


def ask(wanted: Ask, default: Ask | None = None) -> str:
    """Who must say yes, and how soon. Empty where it is the usual."""
    if wanted == default:
        return ""
    owner = "" if wanted.owner_may_approve else "; never the agent's own owner"
    people = "1 person" if wanted.quorum == 1 else f"{wanted.quorum} people"
    return f"{people} ({one_of(wanted.roles)}) within {span(wanted.answer_within)}, or it is refused{owner}"


def who(agents: Iterable[Agent], boundary: Boundary) -> str:
    """The agents by name."""
    names = [agent.name for agent in agents]
    return "every agent" if len(names) > 1 and len(names) == len(boundary.agents) else one_of(names, "and")


def tally(counts: Mapping[str, int]) -> str:
    """`412 workstations and 3 servers today`."""
    if not counts:
        return "none today"
    each = [counted(number, kind) for kind, number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    shown = each if len(each) <= 4 else [*each[:3], f"{sum(sorted(counts.values())[:-3]):,} more"]
    return f"{one_of(shown, 'and')} today"
