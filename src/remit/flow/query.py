"""What is asked of actions that were: the fields of `find`, and which actions they fit.

What lives here: the question. What never may: how a store or an index answers it.
"""

from __future__ import annotations

from msgspec import Struct

from remit.model.words import Action, Instant

INDEXED = ("target", "clause", "approver", "verdict", "skill", "intel", "evidence", "signal", "words")
"""The fields that only the index answers."""


class Query(Struct, frozen=True, kw_only=True):
    """What `find` looks for; empty fields match everything. Times in microseconds; newest first.

    The fields in `INDEXED` are known to the index alone (`Stories.find`), not to `Reads.actions`: `clause` is one that
    ever decided, `approver` is a person's id, `skill` and `intel` are names, perhaps with `@version`, `evidence` is the
    id of what was cited, and `signal` and `words` are words that must all be there.
    """

    agent: str = ""
    run: str = ""
    case: str = ""
    category: str = ""
    connector: str = ""
    states: tuple[str, ...] = ()
    target: str = ""
    clause: str = ""
    approver: str = ""
    verdict: str = ""
    skill: str = ""
    intel: str = ""
    evidence: str = ""
    signal: str = ""
    words: str = ""
    since: Instant | None = None
    until: Instant | None = None
    limit: int = 100

    def fits(self, action: Action) -> bool:
        """Whether an action is asked for, by what it says of itself: the fields in `INDEXED` do not count."""
        pairs = (
            (self.agent, action.agent),
            (self.run, action.run),
            (self.case, action.case),
            (self.category, action.category),
            (self.connector, action.connector),
        )
        return (
            all(wanted in ("", value) for wanted, value in pairs)
            and (not self.states or action.state in self.states)
            and (self.since is None or action.opened_at >= self.since)
            and (self.until is None or action.opened_at <= self.until)
        )
