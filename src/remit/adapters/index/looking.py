"""Looking into the index's file: one moment of it, through a connection of its own.

What lives here: matching terms. What never may: writing, taking the file's word without asking the store.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from operator import and_, or_
from typing import Any

from remit.adapters.index.bits import BLOCK, SPAN, Terms, offsets, unpack
from remit.flow.ports import Torn
from remit.model.words import Instant

_AT_ONCE = 10_000  # terms in one statement; SQLite takes 32,766


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
            have = self._have("spans", span, [each for group in groups for each in group])
            for offset in offsets(_common(groups, have)):
                block = span * SPAN + offset
                if blocks is not None and block not in blocks:
                    continue
                bits = self._in_block(block, groups, have, seen)
                if bits and blocks is not None and not blocks[block]:
                    bits &= self._within(block, since, until)
                yield from (block * BLOCK + each for each in offsets(bits))

    def which(self, position: int, terms: Iterable[str]) -> frozenset[str]:
        """See `Look`."""
        asked = {self._terms.of(each): each for each in terms}
        bit = 1 << position % BLOCK
        have = self._have("postings", position // BLOCK, list(asked))
        return frozenset(asked[each] for each, hits in have.items() if _bits(hits) & bit)

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

    def _have(self, table: str, part: int, terms: Sequence[int]) -> dict[int, Any]:
        """What one block of `postings`, or one span of `spans`, has of these terms, as it stands in the file."""
        key, column = ("block", "hits") if table == "postings" else ("span", "blocks")
        found: dict[int, Any] = {}
        for start in range(0, len(terms), _AT_ONCE):
            asked = terms[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(asked))
            text = f"SELECT term, {column} FROM {table} WHERE {key} = ? AND term IN ({marks})"  # noqa: S608
            found |= self._rows(text, (part, *asked))
        return found

    def _in_block(self, block: int, groups: Sequence[Sequence[int]], have: dict[int, int], seen: list[int]) -> int:
        """What has a term of every group in one block. The group that had the fewest in the block before comes first,
        and the rest is not read where nothing is left; `seen` is kept from block to block."""
        bit, left = 1 << block % SPAN, -1
        for group in sorted(range(len(groups)), key=seen.__getitem__):
            found = 0
            for each in groups[group]:
                if have.get(each, 0) & bit:
                    found |= self._hits(block, each)
            seen[group] = found.bit_count()
            left &= found
            if not left:
                return 0
        return left

    def _hits(self, block: int, term: int) -> int:
        """What has a term in one block."""
        row = next(iter(self._rows("SELECT hits FROM postings WHERE block = ? AND term = ?", (block, term))), None)
        return 0 if row is None else _bits(row[0])

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


def _bits(hits: bytes) -> int:
    try:
        return unpack(hits)
    except (ValueError, TypeError) as error:
        raise Torn(str(error)) from error


def _common(groups: Sequence[Sequence[int]], have: dict[int, int]) -> int:
    """What has a term of every group."""
    return reduce(and_, (reduce(or_, (have.get(each, 0) for each in group)) for group in groups))
