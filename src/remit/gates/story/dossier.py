"""What the page for somebody who has never seen Remit is written from, as frozen values.

What lives here: types. What never may: looking anything up, layout.
"""

from __future__ import annotations

from msgspec import Struct

from remit.gates.story.words import RecordStory, Story
from remit.model.words import Instant


class Cosigned(Struct, frozen=True, kw_only=True):
    """A witness that saw the same log, and when (microseconds since the epoch)."""

    name: str
    at: Instant


class ProofFacts(Struct, frozen=True, kw_only=True):
    """What a reader can hold the page against: the signed checkpoint that every record below is proved under."""

    origin: str
    size: int
    root: str
    keys: tuple[str, ...] = ()
    cosigned: tuple[Cosigned, ...] = ()
    until: Instant = 0


class Reconciled(Struct, frozen=True, kw_only=True):
    """How a connector's own audit trail compared with the log when somebody last looked; without `at`: never."""

    connector: str
    at: Instant | None = None
    since: Instant | None = None
    until: Instant | None = None
    effects: int = 0
    matched: int = 0
    findings: int = 0
    position: int | None = None


class LeftOut(Struct, frozen=True, kw_only=True):
    """A payload that the log commits to and that is not in the file. `why` is `withheld`, `secret`, `large`, `ended`,
    `erased`, `pruned` or `gone`; `note` says of what was erased by whom and on which ground."""

    id: str
    role: str
    why: str
    position: int
    note: str = ""


class Exact(Struct, frozen=True, kw_only=True):
    """One record as it stands in the log."""

    position: int
    kind: str
    at: Instant
    says: str
    text: str
    sha256: str


class Dossier(Struct, frozen=True, kw_only=True):
    """Everything that the page says. `clauses`, `kinds` and `people` put the boundary's rules, its kinds of action and
    the roster's ids in plain words; `case` is empty where the page is about one action."""

    home: str
    practice: bool
    zone: str
    stories: tuple[Story, ...]
    proof: ProofFacts
    case: str = ""
    refusals: tuple[RecordStory, ...] = ()
    records: tuple[Exact, ...] = ()
    clauses: dict[str, str] = {}
    kinds: dict[str, str] = {}
    people: dict[str, str] = {}
    purposes: dict[str, str] = {}
    reconciled: tuple[Reconciled, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
