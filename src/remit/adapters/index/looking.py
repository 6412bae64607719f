"""Looking into the index's file: one moment of it, through a connection of its own.

What lives here: matching terms. What never may: writing, taking the file's word without asking the store.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from operator import or_
from typing import Any

from remit.adapters.index.bits import BLOCK, SPAN, Terms, offsets, unpack
from remit.flow.ports import Torn
from remit.model.words import Instant

_AT_ONCE = 10_000  # terms in one statement; SQLite takes 32,766
_Blocks = dict[int, list[bytes]]


class FileLook:
    """The `Look` of `remit.flow.ports` on a file, within the transaction that the connection has open.

    Raises `Torn` where the file cannot be read as an index.
    """

    why = ""

    def __init__(self, connection: sqlite3.Connection, terms: Terms, position: int) -> None:
        self.position = position
        self._connection = connection
        self._terms = terms

    def match(
        self, groups: Sequence[Sequence[str]], *, since: Instant | None = None, until: Instant | None = None
    ) -> Iterator[int]:
        """See `Look`."""
        if groups and all(groups):
            hashed = [self._terms.all(group) for group in groups]
            yield from self.match_hashes(hashed, since, until)

    def match_hashes(
        self, groups: Sequence[Sequence[int]], since: Instant | None = None, until: Instant | None = None
    ) -> Iterator[int]:
        """The same for the hashes of terms."""
        timed = since is not None or until is not None
        blocks = self._blocks(since, until) if timed else None
        seen = [0] * len(groups)
        for span in range(max(self.position - 1, 0) // (BLOCK * SPAN), -1, -1):
            if blocks is not None and not any(each // SPAN == span for each in blocks):
                continue
            have = self._in_span(span, groups, seen)
            for block in sorted(set.intersection(*map(set, have)), reverse=True):
                if blocks is not None and block not in blocks:
                    continue
                bits = _common([each[block] for each in have], seen)
                if bits and blocks is not None and not blocks[block]:
                    bits &= self._within(block, since, until)
                yield from (block * BLOCK + each for each in offsets(bits))

    def which(self, position: int, terms: Iterable[str]) -> frozenset[str]:
        """See `Look`."""
        asked = {self._terms.of(each): each for each in terms}
        block, bit = position // BLOCK, 1 << position % BLOCK
        have = self._hits(block // SPAN, list(asked), block)
        return frozenset(asked[each] for each, _, hits in have if _bits(hits) & bit)

    def proposal(self, action_id: str) -> int | None:
        """See `Look`."""
        row = next(iter(self._rows("SELECT position FROM subjects WHERE id = ? AND id <> ''", (action_id,))), None)
        return None if row is None else int(row[0])

    def state(self, position: int) -> str:
        """The state that the action proposed here is in; empty where there is none."""
        row = next(iter(self._rows("SELECT state FROM subjects WHERE position = ?", (position,))), None)
        return "" if row is None else str(row[0])

    def verdict(self, run: int) -> str:
        """What the run of that hash concluded last; empty where it has not."""
        row = next(iter(self._rows("SELECT verdict FROM verdicts WHERE run = ?", (run,))), None)
        return "" if row is None else str(row[0])

    def proposals_of(self, run: int) -> Iterator[int]:
        """Where the proposals of the run of that hash stand."""
        return self.match_hashes([(run,), (self._terms.of("kind=proposal"),)])

    def _in_span(self, span: int, groups: Sequence[Sequence[int]], seen: list[int]) -> list[_Blocks]:
        """By block of a span: the sets of each group's terms. Nothing more is read once a group has none; the group
        that had the fewest members in the block before comes first."""
        have: list[_Blocks] = [{} for _ in groups]
        for group in sorted(range(len(groups)), key=seen.__getitem__):
            for _, block, hits in self._hits(span, groups[group]):
                have[group].setdefault(block, []).append(hits)
            if not have[group]:
                seen[group] = 0
                break
        return have

    def _hits(self, span: int, terms: Sequence[int], block: int | None = None) -> Iterator[tuple[int, int, bytes]]:
        """Term, block and set: what these terms have in a span, or in one block of it."""
        for start in range(0, len(terms), _AT_ONCE):
            asked = terms[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(asked))
            text = f"SELECT term, block, hits FROM postings WHERE span = ? AND term IN ({marks})"  # noqa: S608
            if block is None:
                yield from self._rows(text, (span, *asked))
            else:
                yield from self._rows(f"{text} AND block = ?", (span, *asked, block))

    def _blocks(self, since: Instant | None, until: Instant | None) -> dict[int, bool]:
        """The blocks with something in that time, and whether all that they have is."""
        least, most = (-(2**63) if since is None else since), (2**63 - 1 if until is None else until)
        rows = self._rows("SELECT block, first, last FROM blocks WHERE last >= ? AND first <= ?", (least, most))
        return {block: least <= first and last <= most for block, first, last in rows}

    def _within(self, block: int, since: Instant | None, until: Instant | None) -> int:
        text = "SELECT position FROM subjects WHERE position BETWEEN ? AND ? AND at BETWEEN ? AND ?"
        least, most = (-(2**63) if since is None else since), (2**63 - 1 if until is None else until)
        rows = self._rows(text, (block * BLOCK, block * BLOCK + BLOCK - 1, least, most))
        return reduce(or_, (1 << position % BLOCK for (position,) in rows), 0)

    def _rows(self, text: str, values: Sequence[Any]) -> list[Any]:
        try:
            return self._connection.execute(text, values).fetchall()
        except sqlite3.Error as error:
            raise Torn(str(error)) from error


def _common(sets: Sequence[Iterable[bytes]], seen: list[int]) -> int:
    """What has a term of every group in one block. The smallest comes first, going by the block before, and the rest
    is not unpacked where nothing is left; `seen` is kept from block to block."""
    left = -1
    for group in sorted(range(len(sets)), key=seen.__getitem__):
        found = reduce(or_, map(_bits, sets[group]))
        seen[group] = found.bit_count()
        left &= found
        if not left:
            return 0
    return left


def _bits(hits: bytes) -> int:
    try:
        return unpack(hits)
    except (ValueError, TypeError) as error:
        raise Torn(str(error)) from error
