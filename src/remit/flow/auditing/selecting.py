"""Which payloads an auditor is given: by time, by action or case, and by role.

What lives here: choosing, from the log's entries alone. What never may: the payloads themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from remit.flow.auditing.findings import Findings
from remit.flow.auditing.payloads import SECRETS, Scope
from remit.flow.auditing.records import Entry, Reading, role_of
from remit.model.words import Instant

ROLES = (
    "file",
    "mandate",
    "order",
    "proposal",
    "report",
    "result",
    "signatures",
    "statement",
    "tools",
    "verdict",
    "why",
)
"""What a payload can be that is handed over; docs/LOG-FORMAT.md, section 3, says what is in it. Secret arguments are
handed to nobody, so a file says in its first line that it holds the other roles."""

_GROUND = frozenset({"home.created", "roster.loaded", "boundary.loaded"})
"""Without these nobody's signature can be checked, so they are chosen whatever the time."""


class Selection(Struct, frozen=True, kw_only=True):
    """What is asked for: everything that is given must match. `without` are roles that are left out."""

    since: Instant | None = None
    until: Instant | None = None
    actions: frozenset[str] = frozenset()
    case: str = ""
    without: frozenset[str] = frozenset()

    def scope(self) -> Scope:
        """What a file of these payloads claims to hold."""
        some = self.since is not None or self.until is not None or bool(self.actions or self.case)
        return Scope(roles=tuple(role for role in ROLES if role not in self.without), selected=some)


def chosen(entries: Iterable[tuple[int, bytes]], selection: Selection) -> Iterator[tuple[int, str]]:
    """Position and id of each payload that is asked for, in the order of the entries. An entry that is no record has
    none."""
    reading = Reading(Findings())
    of_case: set[str] = set()  # runs and actions
    for position, data in entries:
        entry = reading.read(position, data)
        if entry is None:
            continue
        if selection.case and entry.text("case") == selection.case:
            of_case.update(filter(None, (entry.run if entry.kind == "run.opened" else "", entry.action)))
        if entry.payloads and (entry.kind in _GROUND or _asked(entry, selection, of_case)):
            for payload_id in entry.payloads:
                if role_of(payload_id) not in (SECRETS, *selection.without):
                    yield position, payload_id


def _asked(entry: Entry, selection: Selection, of_case: set[str]) -> bool:
    if selection.since is not None and entry.at < selection.since:
        return False
    if selection.until is not None and entry.at > selection.until:
        return False
    if selection.actions and entry.action not in selection.actions:
        return False
    if not selection.case or entry.text("case") == selection.case:
        return True
    return entry.action in of_case if entry.action else entry.run in of_case
