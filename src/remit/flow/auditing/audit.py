"""One streaming pass over a log, from the checkpoint to the last payload, and what it found.

What lives here: the order of the checks, and the report. What never may: a check of its own.
INVARIANT: what could not be checked is listed in the report, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import Struct

from remit.flow.auditing.actions import LIFE, MENTIONS, Actions
from remit.flow.auditing.continued import Continued, home_of
from remit.flow.auditing.files import (
    Head,
    LogFiles,
    Rehash,
    Trust,
    Witnessed,
    check_age,
    check_extends,
    head_of,
    notes_of,
)
from remit.flow.auditing.findings import Finding, Findings, Word
from remit.flow.auditing.ledger import Ledger
from remit.flow.auditing.payloads import Disclosure, Payloads
from remit.flow.auditing.people import BY_ORDER, People
from remit.flow.auditing.records import Entry, Reading
from remit.model.display import utc
from remit.model.words import Instant

Progress = Callable[[int, int], None]
"""Told now and then how many entries of how many have been read."""

TELL_EVERY = 4096
MOST_OPEN = 100


class Report(Struct, frozen=True, kw_only=True):
    """What a pass found. Times are in microseconds since the epoch; positions count from 0. `witnessed` is the
    checkpoint that a quorum of witnesses has cosigned, where one was asked for and the entries lead to its root."""

    origin: str = ""
    size: int = 0
    root: bytes = b""
    signed_by: tuple[str, ...] = ()
    cosigned: tuple[tuple[str, int], ...] = ()
    witnessed: Witnessed | None = None
    read: int = 0
    complete: bool = False
    latest: Instant = 0
    kinds: dict[str, int] = {}
    committed: int = 0
    payloads: dict[str, int] = {}
    withheld: dict[str, int] = {}
    erased: int = 0
    pruned: int = 0
    ended: int = 0
    signatures: dict[str, int] = {}
    unmade: tuple[str, ...] = ()
    open_at_end: tuple[tuple[int, str], ...] = ()
    still_open: int = 0
    findings: tuple[Finding, ...] = ()
    counts: dict[Word, int] = {}

    @property
    def verified(self) -> bool:
        """Whether nothing is wrong. Says nothing of what was not checked."""
        return not self.counts

    @property
    def after_witnessed(self) -> int:
        """How many records came after the checkpoint that a quorum of witnesses has cosigned; 0 where there is none."""
        return self.size - self.witnessed.checkpoint.size if self.witnessed is not None else 0

    @property
    def first_bad(self) -> int | None:
        """The first position that a finding names, or None."""
        return min((each.position for each in self.findings if each.position is not None), default=None)


class Journal:
    """The checks of records, over entries in the log's order: all of them, or those of one story.

    Owned by one pass. `people`, `payloads` and `actions` hold what was counted.
    """

    def __init__(self, findings: Findings, ledger: Ledger, disclosure: Disclosure, *, whole: bool = False) -> None:
        """`whole`: every record will be there, so that what rests on a command without one was not ordered."""
        self.findings = findings
        self._whole = whole
        self.reading = Reading(findings)
        self.people = People(findings, ledger)
        self.payloads = Payloads(findings, ledger, disclosure)
        self.actions = Actions(findings, ledger, self.people)
        self.continued = Continued(findings)
        self._steps: dict[str, Callable[[Entry, dict[str, bytes]], None]] = {
            "home.created": lambda entry, found: self.people.created(entry, found.get("file")),
            "roster.loaded": lambda entry, found: self.people.roster_loaded(
                entry, found.get("file"), found.get("signatures")
            ),
            "boundary.loaded": lambda entry, found: self.people.boundary_loaded(
                entry, found.get("file"), found.get("signatures")
            ),
            "run.opened": lambda entry, found: self.actions.run_opened(entry),
            "statement": lambda entry, found: self.people.command(entry, found.get("statement")),
            "verdict": lambda entry, found: self.actions.concluded(entry),
            "log.continued": lambda entry, found: self.continued.take(entry),
            "erased": lambda entry, found: self.payloads.erase(entry, ordered=self.people.may_erase(entry)),
            "pruned": lambda entry, found: self.payloads.prune(entry),
        }

    def take(self, position: int, data: bytes) -> Entry | None:
        """One entry: the record that it is, or None where it is none. What is wrong becomes a finding."""
        entry = self.reading.read(position, data)
        if entry is None:
            return None
        kind = entry.kind
        found = self.payloads.of(entry, effect=self.actions.effect_of(entry.action)) if entry.payloads else {}
        if kind != "erased":
            self.people.beside(entry)
        if self._whole and kind in BY_ORDER:
            self.people.by_order(entry)
        if kind in LIFE:
            self.actions.take(entry, found.get("statement"))
            if not self.actions.is_open(entry.action):
                self.payloads.end(entry.action)
            return entry
        step = self._steps.get(kind)
        if step is not None:
            step(entry, found)
        if entry.action and kind in MENTIONS:
            self.actions.mention(entry)
        return entry

    def close(self) -> None:
        """The log's end: what is still owed is a finding."""
        self.people.close()
        self.payloads.close()


def audit(
    files: LogFiles, trust: Trust, disclosure: Disclosure, ledger: Ledger, progress: Progress | None = None
) -> Report:
    """Verify a log in one pass, in memory that does not grow with it, and report what was found.

    Raises `Misuse` for keys that cannot be used together, and what the ports raise: then nothing was verified.
    """
    findings = Findings()
    note, witnessed = notes_of(files, trust)
    head = head_of(note, trust, findings, witnessed)
    if head is None:
        return Report(findings=findings.all(), counts=findings.counts(), unmade=("everything below the checkpoint",))
    rehash = Rehash(files, head, trust, findings)
    journal = Journal(findings, ledger, disclosure, whole=True)
    read = _read(rehash, journal, head, progress)
    if read == head.checkpoint.size:
        journal.close()
        journal.continued.close(head.checkpoint.origin)
    check_extends(rehash, head, trust, findings)
    check_age(head, journal.reading.latest, trust, findings)
    return _report(head, trust, rehash, journal, read)


def _read(rehash: Rehash, journal: Journal, head: Head, progress: Progress | None) -> int:
    read, size = 0, head.checkpoint.size
    for position, data in rehash.entries():
        entry = journal.take(position, data)
        if entry is not None and position == 0 and home_of(head.checkpoint.origin) != journal.people.home:
            says = f"the log's origin is `{head.checkpoint.origin}`, and its first record makes another home"
            journal.findings.add(Word.BAD_START, 0, says)
        read = position + 1
        if progress is not None and read % TELL_EVERY == 0:
            progress(read, size)
    if progress is not None:
        progress(read, size)
    return read


def _report(head: Head, trust: Trust, rehash: Rehash, journal: Journal, read: int) -> Report:
    payloads, people, seen = journal.payloads, journal.people, head.witnessed
    still_open = journal.actions.open_at_end()
    return Report(
        origin=head.checkpoint.origin,
        size=head.checkpoint.size,
        root=head.checkpoint.root,
        signed_by=tuple(each.key.text for each in head.signed),
        cosigned=tuple((each.key.name, each.at or 0) for each in head.cosigned),
        witnessed=seen if seen is not None and rehash.reaches(seen.checkpoint) else None,
        read=read,
        complete=rehash.complete,
        latest=journal.reading.latest,
        kinds=dict(sorted(journal.reading.kinds.items())),
        committed=payloads.committed,
        payloads=dict(sorted(payloads.checked.items())),
        withheld={role: count for role, count in sorted(payloads.withheld.items()) if count},
        erased=payloads.erased,
        pruned=payloads.pruned,
        ended=payloads.ended,
        signatures=dict(sorted(people.checked.items())),
        unmade=tuple(_unmade(head, trust, rehash, journal, read)),
        open_at_end=still_open[:MOST_OPEN],
        still_open=len(still_open),
        findings=journal.findings.all(),
        counts=journal.findings.counts(),
    )


_SAYS: dict[str, str] = {
    "rosters": "the signatures of {count} rosters: their files or signatures were not disclosed",
    "boundaries": "the signatures of {count} loads of a boundary: files, signatures or the roster were not disclosed",
    "approvals": "the signatures of {count} approvals and rejections: statements or the roster were not disclosed",
    "commands": "the signatures of {count} commands: statements or the roster were not disclosed",
}


def _unwitnessed(head: Head, rehash: Rehash) -> Iterator[str]:
    """Which records may have been rewritten without a witness's knowledge."""
    seen = head.witnessed
    if seen is None:
        if not head.cosigned:
            yield (
                "that history was never rewritten: no witness that you trust has cosigned, "
                "so rewriting by whoever holds the log's key is not excluded"
            )
    elif not rehash.complete:
        yield "that the log extends what the witnesses saw last: its entries do not lead to the signed root"
    elif after := head.checkpoint.size - seen.checkpoint.size:
        many, those = (f"{after:,} records", "those") if after > 1 else ("1 record", "it")
        yield (
            f"{many} came after what the witnesses saw last, at {utc(seen.at)}; "
            f"for {those}, rewriting by whoever holds the log's key is not excluded"
        )


def _unmade(head: Head, trust: Trust, rehash: Rehash, journal: Journal, read: int) -> list[str]:
    """What was not checked, and why."""
    found = []
    if read < head.checkpoint.size:
        found.append(f"the records from position {read} on: entries are missing")
    found += _unwitnessed(head, rehash)
    if trust.older is None:
        found.append("that the log extends what was seen before: no older checkpoint was given")
    elif not rehash.complete:
        found.append("that the log extends the older checkpoint: its entries do not lead to the signed root")
    if not trust.max_age:
        found.append("that nothing newer is held back: no highest age was given")
    withheld = sum(journal.payloads.withheld.values())
    if withheld:
        found.append(f"{withheld} of {journal.payloads.committed} payloads against their commitments: not disclosed")
    found += [_SAYS[what].format(count=count) for what, count in sorted(journal.people.unchecked.items())]
    return found
