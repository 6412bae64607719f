"""A log that was begun anew over a restored store: what its journal must say of that.

What lives here: the rule `bad-start` of docs/LOG-FORMAT.md for logs that follow others. What never may: the old log,
which is another folder under another key.
"""

from __future__ import annotations

from remit.flow.auditing.findings import Findings, Word
from remit.flow.auditing.records import Entry
from remit.model.display import shown


class Continued:
    """Follows the records `log.continued`. Owned by one pass."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._last: tuple[int, str] | None = None

    def take(self, entry: Entry) -> None:
        """A person began another log: it follows the one that has ended, which was of the same home."""
        ended, begun = entry.text("before"), entry.text("log").partition("+")[0]
        if home_of(begun) != home_of(ended) or number_of(begun) <= number_of(ended):
            says = f"the log {shown(begun)} cannot follow {shown(ended)}"
            self._findings.add(Word.BAD_START, entry.position, says)
        self._last = (entry.position, begun)

    def close(self, origin: str) -> None:
        """The log's end: the last of these records is how this log began, and the first log of a home has none."""
        if self._last is not None and self._last[1] != origin:
            says = f"the log {shown(self._last[1])} was begun, and this is `{origin}`"
            self._findings.add(Word.BAD_START, self._last[0], says)
        elif self._last is None and number_of(origin) > 1:
            self._findings.add(Word.BAD_START, None, f"no record says how `{origin}` was begun")


def home_of(origin: str) -> str:
    """The id of the home that an origin names; empty where it names none."""
    parts = origin.split("/")
    return parts[1] if parts[0] == "remit" and len(parts) in (2, 3) and (len(parts) == 2 or number_of(origin)) else ""


def number_of(origin: str) -> int:
    """Which log of its home an origin names: 1 for the first; 0 where it names none."""
    last = origin.split("/")[2:]
    if not last:
        return 1
    return int(last[0]) if last[0].isdecimal() and last[0] == str(int(last[0])) and int(last[0]) > 1 else 0
