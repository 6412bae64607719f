"""What a batch of records changes in the index, gathered before anything is written.

What lives here: which positions get and lose which terms, and which state a proposal is in. What never may: SQL.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Protocol

from remit.adapters.index.bits import BLOCK, Terms, offsets
from remit.flow.ports import StoredRecord
from remit.gates.search import FoundBy, term
from remit.model.words import Instant

SUBJECTS = frozenset({"proposal", "refusal", "verdict"})
"""The kinds of records that people search for, which have their time in the index."""


class Before(Protocol):
    """What the file held before the batch."""

    def proposal(self, action_id: str) -> int | None: ...
    def state(self, position: int) -> str: ...
    def verdict(self, run: int) -> str: ...
    def proposals_of(self, run: int) -> Iterable[int]: ...


class Subject:
    """A row of `subjects`, as it will be."""

    __slots__ = ("at", "id", "state")

    def __init__(self, action_id: str, at: Instant, state: str) -> None:
        self.id = action_id
        self.at = at
        self.state = state


class Batch:
    """See the module. `gained` and `lost` are bits by block and term; no bit is in both."""

    def __init__(self, terms: Terms, before: Before) -> None:
        self.gained: defaultdict[int, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
        self.lost: defaultdict[int, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
        self.subjects: dict[int, Subject] = {}
        self.states: dict[int, str] = {}  # of proposals from before the batch
        self.verdicts: dict[int, str] = {}
        self._terms = terms
        self._before = before
        self._proposals: dict[str, int] = {}

    def take(self, record: StoredRecord, found: FoundBy) -> None:
        """Take in one record. Records come in the order of their positions."""
        gained, bit = self.gained[record.position // BLOCK], 1 << record.position % BLOCK
        for each in self._terms.all(found.terms):
            gained[each] |= bit
        if record.kind in SUBJECTS:
            is_proposal = record.kind == "proposal"
            self.subjects[record.position] = Subject(record.action if is_proposal else "", record.at, "")
        if record.kind == "proposal":
            self._proposals[record.action] = record.position
            self._stands(record.position, found.state)
            self._concluded(record)
        elif record.action and (found.gains or found.state):
            self._about(record.action, found)
        if found.verdict:
            self._conclude(self._terms.of(term("run", record.run)), found.verdict)

    def _about(self, action_id: str, found: FoundBy) -> None:
        position = self._proposals.get(action_id)
        if position is None:
            position = self._before.proposal(action_id)
        if position is None:
            return
        self._proposals[action_id] = position
        for each in self._terms.all(found.gains):
            self._gain(position, each)
        if found.state:
            self._stands(position, found.state)

    def _stands(self, position: int, state: str) -> None:
        subject = self.subjects.get(position)
        before = subject.state if subject else self.states.get(position) or self._before.state(position)
        if before == state:
            return
        if before:
            self._lose(position, self._terms.of(term("state", before)))
        self._gain(position, self._terms.of(term("state", state)))
        if subject:
            subject.state = state
        else:
            self.states[position] = state

    def _concluded(self, record: StoredRecord) -> None:
        run = self._terms.of(term("run", record.run))
        if run not in self.verdicts:
            self.verdicts[run] = self._before.verdict(run)
        if self.verdicts[run]:
            self._gain(record.position, self._terms.of(term("verdict", self.verdicts[run])))

    def _conclude(self, run: int, verdict: str) -> None:
        before = self.verdicts.get(run) or self._before.verdict(run)
        self.verdicts[run] = verdict
        if before == verdict:
            return
        for position in (*self._before.proposals_of(run), *self._new_proposals(run)):
            if before:
                self._lose(position, self._terms.of(term("verdict", before)))
            self._gain(position, self._terms.of(term("verdict", verdict)))

    def _new_proposals(self, run: int) -> list[int]:
        kind = self._terms.of(term("kind", "proposal"))
        found = []
        for block, gained in self.gained.items():
            found += [block * BLOCK + each for each in offsets(gained.get(run, 0) & gained.get(kind, 0))]
        return found

    def _gain(self, position: int, each: int) -> None:
        block, bit = position // BLOCK, 1 << position % BLOCK
        self.gained[block][each] |= bit
        if self.lost and each in self.lost[block]:
            self.lost[block][each] &= ~bit

    def _lose(self, position: int, each: int) -> None:
        block, bit = position // BLOCK, 1 << position % BLOCK
        self.lost[block][each] |= bit
        if each in self.gained[block]:
            self.gained[block][each] &= ~bit
