"""What happened, in sentences for somebody who has never seen Remit.

What lives here: choosing the words. What never may: looking anything up, believing what an agent says, markup.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Final
from zoneinfo import ZoneInfo

from remit.gates.story.dossier import Dossier, Reconciled
from remit.gates.story.words import Cited, Story, Vote
from remit.model.display import safe_line, utc
from remit.model.words import REMIT, CredentialClass, Decision, Effect, Instant, Integrity, State

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_LATEST: Final[Instant] = 253_402_214_400_000_000
"""31 December 9999. Later times are told as this one: a witness can sign one that no calendar has."""

_BECAME: Final[dict[State, str]] = {
    State.WAITING: "It waits for a person’s answer; nothing has been done",
    State.APPROVED: "It is about to be carried out",
    State.EXECUTING: "It is on its way; what became of it is not on record yet",
    State.DONE: "It was done",
    State.FAILED: "It was tried, and it failed",
    State.CUT: "It was cut off by a stop",
    State.UNKNOWN: "It was sent, and what became of it is not known",
    State.BLOCKED: "It was refused, and nothing was done",
    State.REJECTED: "Nothing was done",
    State.EXPIRED: "Nothing was done",
    State.WITHDRAWN: "It was withdrawn before anything was done",
    State.VOID: "A stop cancelled it before anything was done",
}
MARKS: Final[dict[State, tuple[str, str]]] = {
    State.DONE: ("good", "Done"),
    State.FAILED: ("warn", "Failed"),
    State.CUT: ("warn", "Cut off by a stop"),
    State.UNKNOWN: ("bad", "Outcome unknown"),
    State.BLOCKED: ("warn", "Refused by the rules"),
    State.REJECTED: ("warn", "Refused by a person"),
    State.EXPIRED: ("warn", "Not answered, so not done"),
    State.WITHDRAWN: ("", "Withdrawn"),
    State.VOID: ("warn", "Cancelled by a stop"),
    State.WAITING: ("", "Waiting for a person"),
    State.APPROVED: ("", "Approved"),
    State.EXECUTING: ("", "Under way"),
}
"""The colour and the words of the mark that says at a glance what became of an action."""

CREDENTIALS: Final[dict[CredentialClass, str]] = {
    CredentialClass.WARRANT: "a pass that is good for this one action only; the system checks it itself",
    CredentialClass.EXCHANGED: "a short-lived credential that was made for this one action",
    CredentialClass.STATIC: "a standing password of the gateway’s: the system cannot tell one action from another",
    CredentialClass.NONE: "no credential: the system asks for no proof",
}


class Clock:
    """Times in one zone, as people write them. Raises `zoneinfo.ZoneInfoNotFoundError` for a zone that is none."""

    def __init__(self, zone: str) -> None:
        self._zone = ZoneInfo(zone)
        self.zone = zone

    def moment(self, at: Instant) -> str:
        """`22 November 2026, 03:14:07`."""
        local = self._local(at)
        return f"{self._day(local)}, {local:%H:%M:%S}"

    def day(self, at: Instant) -> str:
        """`22 November 2026`."""
        return self._day(self._local(at))

    def minute(self, at: Instant) -> str:
        """`03:14`."""
        return f"{self._local(at):%H:%M}"

    def exact(self, at: Instant) -> str:
        """ISO 8601 in UTC, for programs."""
        return utc(at)

    def _local(self, at: Instant) -> datetime.datetime:
        return (_EPOCH + datetime.timedelta(microseconds=min(at, _LATEST))).astimezone(self._zone)

    @staticmethod
    def _day(local: datetime.datetime) -> str:
        months = (
            *("January", "February", "March", "April", "May", "June", "July"),
            *("August", "September", "October", "November", "December"),
        )
        return f"{local.day} {months[local.month - 1]} {local.year}"


def headline(story: Story, dossier: Dossier, clock: Clock) -> str:
    """One plain sentence or two: who wanted what, who decided, what became of it."""
    when = f"On {clock.day(story.proposed_at)} at {clock.minute(story.proposed_at)} ({clock.zone})"
    wanted = f"{when}, {agent(story)} asked to {does(story, dossier)}{_on(story)}."
    return f"{wanted} {decided(story, dossier)} {became(story)}."


def agent(story: Story) -> str:
    """The agent, said to be software."""
    return "Remit itself" if story.agent == REMIT else f"the software agent “{safe_line(story.agent, 60)}”"


def does(story: Story, dossier: Dossier) -> str:
    """What it wanted to do, in the words of the signed rules where they have words for it."""
    named = dossier.kinds.get(story.category)
    return named or f"use “{safe_line(story.tool, 60)}” of “{safe_line(story.connector, 60)}”"


def _on(story: Story) -> str:
    if not story.targets:
        return ""
    named = [safe_line(each.removeprefix("unknown:"), 60) for each in story.targets[:3]]
    more = f" and {len(story.targets) - 3} more" if len(story.targets) > 3 else ""
    return f" ({', '.join(named)}{more})"


def decided(story: Story, dossier: Dossier) -> str:
    """Who decided, in a sentence."""
    yes = [vote for vote in story.votes if vote.verb == "approve"]
    no = [vote for vote in story.votes if vote.verb == "reject"]
    if no:
        return f"{names([each.person for each in no], dossier, short=True)} said no after {length(no[0].waited)}."
    if story.state is State.EXPIRED:
        return "The rules asked for a person’s yes; nobody answered in time, which counts as no."
    if yes and story.executed:
        return f"{names([each.person for each in yes], dossier, short=True)} said yes after {length(yes[-1].waited)}."
    if story.decision is Decision.FORBID:
        return "The signed rules forbid it."
    if story.decision is Decision.AUTO:
        return "The signed rules let it do that without asking."
    return "The signed rules ask for a person’s yes."


def became(story: Story) -> str:
    """What became of it, without a full stop."""
    says = _BECAME[story.state]
    if story.undone_by:
        return f"{says}, and it was undone later"
    if story.state is State.CUT and story.stopping and story.stopping.effect.startswith("cut before"):
        return f"{says} before anything was sent"
    return says


def names(people: Iterable[str], dossier: Dossier, *, short: bool = False) -> str:
    """People by the names that the roster gives them; with their ids unless `short`."""
    found = [person(one, dossier, short=short) for one in dict.fromkeys(people)]
    *most, last = found or ["nobody"]
    return f"{', '.join(most)} and {last}" if most else last


def person(one: str, dossier: Dossier, *, short: bool = False) -> str:
    """A person by name, and by id unless `short`."""
    known = dossier.people.get(one.casefold(), "")
    if known and short:
        return safe_line(known, 80)
    return f"{safe_line(known, 80)} ({safe_line(one, 80)})" if known and known != one else safe_line(one, 80)


def clause(name: str, says: str, dossier: Dossier) -> str:
    """A rule in the words of the signed file, else what was kept of it."""
    return dossier.clauses.get(name) or says or "the wording is not in this file"


def worth(cited: Cited, clock: Clock) -> str:
    """What a piece of evidence is worth, in a sentence or two."""
    if not cited.grounded:
        return f"Not borne out: {cited.why_not}. The record of the request marks it as {cited.mark}."
    when = f" on {clock.moment(cited.shown_at)}" if cited.shown_at is not None else ""
    shown = f"Borne out as far as this goes: the agent was shown this evidence{when}, before it asked. "
    shown += f"The record of the request marks it as {cited.mark}."
    if cited.label is None:
        return shown
    return f"{shown} It came from “{safe_line(cited.label.source, 60)}” and {origin(cited.label.integrity)}."


def origin(integrity: Integrity) -> str:
    """Who can have written something."""
    return {
        Integrity.OPERATOR: "was written by our own operators",
        Integrity.SYSTEM_OF_RECORD: "comes from a system that outsiders cannot write into",
        Integrity.THIRD_PARTY: "may contain text that outsiders wrote",
    }[integrity]


def answered(vote: Vote, dossier: Dossier) -> str:
    """One person's answer in a sentence."""
    verb = "said yes" if vote.verb == "approve" else "said no"
    signed = "The signature is genuine." if vote.verified else f"THE SIGNATURE DOES NOT HOLD: {vote.why_not}."
    return f"{person(vote.person, dossier)} {verb} {length(vote.waited)} after being asked. {signed}"


def asked(story: Story) -> str:
    """What people had to do with it, in a sentence."""
    if not story.votes and story.state is not State.EXPIRED and "nobody was asked" in story.approval:
        forbidden = story.decision is Decision.FORBID
        return "Nobody: " + ("what is forbidden cannot be approved." if forbidden else "the rules do not ask for it.")
    needed = max(story.quorum, 1)
    people = "one person’s yes" if needed == 1 else f"the yes of {needed} different people"
    return f"The rules ask for {people}, signed with a key of their own, on exactly this request."


def undo(story: Story) -> str:
    """How to take it back, in a sentence."""
    if story.effect is Effect.READ:
        return "There is nothing to undo: it only looked something up."
    if story.undone_by:
        return f"It has been undone, by {', '.join(story.undone_by)}."
    if story.undo.command:
        return "It can be undone by a person on the roster, who signs this command:"
    says = story.undo.says.replace("`", "")
    return f"{says[:1].upper()}{says[1:]}."


def length(microseconds: Instant) -> str:
    """A length of time in words: `less than a second`, `12 seconds`, `3 minutes 10 seconds`, `2 hours`."""
    seconds = microseconds // 1_000_000
    if seconds < 1:
        return "less than a second"
    units = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
    first = next(place for place, (size, _) in enumerate(units) if seconds >= size)
    parts = []
    for size, unit in units[first : first + 2]:
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(f"{number} {unit}" + ("" if number == 1 else "s"))
    return " ".join(parts)


def reconciled(found: Reconciled, clock: Clock) -> str:
    """What comparing the system's own trail with this log came to."""
    if found.at is None:
        return (
            f"As far as this file shows, nobody has ever compared this log with the audit trail that "
            f"“{safe_line(found.connector, 60)}” itself keeps. What was done there past Remit would not show here."
        )
    result = (
        "Everything agreed."
        if not found.findings
        else f"{found.findings} {'thing' if found.findings == 1 else 'things'} did not agree; the record says which."
    )
    return (
        f"The audit trail that “{safe_line(found.connector, 60)}” itself keeps was last compared with this log on "
        f"{clock.moment(found.at)}: {found.matched} of {found.effects} changes there had been ordered through Remit. "
        f"{result}"
    )
