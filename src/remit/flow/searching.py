"""Finding records by what they can be found by: through the index, and through the records that it does not cover yet.

What lives here: the tail behind the index, and putting the two together. What never may: trusting the index with more
than what to look at; writing.

INVARIANT: an answer is the same whether the index is complete, behind, or missing; only the time that it takes differs.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from typing import Final

import msgspec

from remit.flow.ports import Index, Look, Reads, StoredRecord, Torn
from remit.gates import search
from remit.gates.journal import Pseudonyms
from remit.gates.search import FoundBy, term
from remit.model.words import Instant, Json, Payload

Groups = Sequence[Sequence[str]]
"""Terms: at least one of every group must be there."""

_CHUNK: Final = 1_000
_OF_PAYLOADS: Final = ("word", "signal", "skill", "intel", "evidence", "target")


def fields_of(record: StoredRecord) -> dict[str, Json]:
    """What a record says; nothing where its bytes are no JSON object."""
    try:
        fields = msgspec.json.decode(record.data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def found_by(
    record: StoredRecord, payload: Callable[[str], Payload | None] | None, names: Pseudonyms | None = None
) -> FoundBy:
    """What a record can be found by, with the words of its payload where that can be read."""
    fields = fields_of(record)
    found = search.of_record(record.kind, record.action, record.run, record.agent, fields)
    kept = payload(found.payload) if payload is not None and found.payload else None
    if kept is None:
        return found
    # A record lists the first thousand targets; where there are `more`, the payload has them all.
    more = names.of if names is not None and "more" in fields else None
    return msgspec.structs.replace(found, terms=(*found.terms, *search.of_payload(found.payload, kept.data, more)))


class Search:
    """See the module. `names` are the home's pseudonyms: without them, nothing is found by a target or an approver.

    `behind` and `why` are of the last search: how many records were read one by one, and why so many.
    """

    def __init__(self, reads: Reads, index: Index | None = None, names: Pseudonyms | None = None) -> None:
        self.names = names
        self._reads = reads
        self._index = index
        self.behind = 0
        self.why = ""

    def matching(
        self, groups: Groups, *, since: Instant | None = None, until: Instant | None = None
    ) -> Generator[StoredRecord, None, None]:
        """The records that match, newest first. Close the iterator when you stop early."""
        given: set[int] = set()
        try:
            with self._look() as look:
                for each in self._matching(look, groups, since, until):
                    given.add(each.position)
                    yield each
        except Torn as torn:
            rest = self._matching(NoLook(f"the index cannot be read: {torn}"), groups, since, until)
            yield from (each for each in rest if each.position not in given)

    def _matching(
        self, look: Look, groups: Groups, since: Instant | None, until: Instant | None
    ) -> Iterator[StoredRecord]:
        tail = _Tail(self._reads, look, frozenset(each for group in groups for each in group), self.names)
        tail.read()
        self.behind, self.why = tail.length, look.why
        newer = sorted(tail.matching(groups, since, until), reverse=True)
        older = (each for each in look.match(groups, since=since, until=until) if each not in tail.changed)
        yield from self._read(heapq.merge(newer, older, reverse=True))

    def records(self, *terms: str, kinds: Sequence[str] = (), limit: int = 1000) -> list[StoredRecord]:
        """The newest `limit` records that have all of these terms and one of these kinds, in the order of commits."""
        groups: list[Sequence[str]] = [(each,) for each in terms]
        if kinds:
            groups.append([term("kind", each) for each in kinds])
        with closing(self.matching(groups)) as matching:
            found = list(islice(matching, limit))
        return found[::-1]

    def _read(self, positions: Iterator[int]) -> Iterator[StoredRecord]:
        size = 16
        while True:
            part = list(islice(positions, size))
            if not part:
                return
            yield from reversed(self._reads.records_at(part))
            size = min(2 * size, _CHUNK)

    @contextmanager
    def _look(self) -> Iterator[Look]:
        if self._index is None:
            yield NoLook("there is no index")
            return
        with self._index.look() as look:
            yield look


class NoLook:
    """A look that covers nothing, and why."""

    position = 0

    def __init__(self, why: str) -> None:
        self.why = why

    def match(self, groups: Groups, *, since: Instant | None = None, until: Instant | None = None) -> Iterator[int]:
        """Nothing."""
        return iter(())

    def which(self, position: int, terms: Iterable[str]) -> frozenset[str]:
        """Nothing."""
        return frozenset()

    def proposal(self, action_id: str) -> int | None:
        """Nothing."""
        return None


class _Change:
    """What the tail changes of a proposal that the index covers."""

    __slots__ = ("gained", "lost")

    def __init__(self) -> None:
        self.gained: set[str] = set()
        self.lost: set[str] = set()


class _Tail:
    """The records behind the index, as far as the wanted terms go."""

    def __init__(self, reads: Reads, look: Look, wanted: frozenset[str], names: Pseudonyms | None) -> None:
        self.length = 0
        self.changed: dict[int, _Change] = {}
        self._reads = reads
        self._look = look
        self._wanted = wanted
        self._names = names
        self._states = frozenset(each for each in wanted if each.startswith("state="))
        self._verdicts = frozenset(each for each in wanted if each.startswith("verdict="))
        self._payload = reads.payload if any(each.partition("=")[0] in _OF_PAYLOADS for each in wanted) else None
        self._own: dict[int, set[str]] = {}
        self._at: dict[int, Instant] = {}
        self._proposals: dict[str, int] = {}
        self._of_run: defaultdict[str, list[int]] = defaultdict(list)
        self._concluded: dict[str, str] = {}

    def read(self) -> None:
        """Take in every record from where the index stands."""
        position = self._look.position
        while records := self._reads.records_from(position, _CHUNK):
            for each in records:
                self._take(each, found_by(each, self._payload, self._names))
            position = records[-1].position + 1
            self.length += len(records)

    def matching(self, groups: Groups, since: Instant | None, until: Instant | None) -> Iterator[int]:
        """The positions of the tail that match, and those before it that it changed and that match now."""
        if not groups:
            return
        for position, have in self._own.items():
            if _within(self._at[position], since, until) and _has(have, groups):
                yield position
        for position, change in self.changed.items():
            now = (self._look.which(position, self._wanted) - change.lost) | change.gained
            if _has(now, groups) and all(_within(each.at, since, until) for each in self._reads.records_at([position])):
                yield position

    def _take(self, record: StoredRecord, found: FoundBy) -> None:
        mine = self._wanted.intersection(found.terms)
        if record.kind == "proposal":
            self._proposals[record.action] = record.position
            self._at[record.position] = record.at
            mine |= self._wanted & {term("state", found.state)}
            if self._verdicts:
                self._of_run[record.run].append(record.position)
                mine |= self._wanted & {term("verdict", self._verdict_of(record.run))}
        elif record.action and ((found.state and self._states) or self._wanted.intersection(found.gains)):
            self._change(record.action, found)
        if mine:
            self._own[record.position] = set(mine)
            self._at[record.position] = record.at
        if found.verdict and self._verdicts:
            self._conclude(record.run, found.verdict)

    def _change(self, action_id: str, found: FoundBy) -> None:
        position = self._proposals.get(action_id)
        if position is None:
            position = self._look.proposal(action_id)
        if position is not None:
            lost = self._states if found.state else frozenset()
            self._replace(position, lost, self._wanted.intersection((*found.gains, term("state", found.state))))

    def _conclude(self, run: str, verdict: str) -> None:
        self._concluded[run] = verdict
        covered = self._look.match([(term("run", run),), (term("kind", "proposal"),)])
        for position in [*covered, *self._of_run[run]]:
            self._replace(position, self._verdicts, self._wanted & {term("verdict", verdict)})

    def _replace(self, position: int, lost: frozenset[str], gained: frozenset[str]) -> None:
        if position >= self._look.position:
            own = self._own.setdefault(position, set())
            own -= lost
            own |= gained
            return
        change = self.changed.setdefault(position, _Change())
        change.gained -= lost
        change.gained |= gained
        change.lost |= lost

    def _verdict_of(self, run: str) -> str:
        if run not in self._concluded:
            last = next(self._look.match([(term("run", run),), (term("kind", "verdict"),)]), None)
            have = self._look.which(last, self._verdicts) if last is not None else ()
            self._concluded[run] = next((each.partition("=")[2] for each in have), "")
        return self._concluded[run]


def _has(have: frozenset[str] | set[str], groups: Groups) -> bool:
    return all(any(each in have for each in group) for group in groups)


def _within(at: Instant, since: Instant | None, until: Instant | None) -> bool:
    return (since is None or at >= since) and (until is None or at <= until)
