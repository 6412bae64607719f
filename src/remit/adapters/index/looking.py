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
        for span in range(max(self.position - 1, 0) // (BLOCK * SPAN), -1, -1):
            if blocks is not None and not any(each // SPAN == span for each in blocks):
                continue
            for offset in offsets(self._all("spans", span, groups)):
                block = span * SPAN + offset
                if blocks is not None and block not in blocks:
                    continue
                bits = self._all("postings", block, groups)
                if bits and blocks is not None and not blocks[block]:
                    bits &= self._within(block, since, until)
                yield from (block * BLOCK + each for each in offsets(bits))

    def which(self, position: int, terms: Iterable[str]) -> frozenset[str]:
        """See `Look`."""
        asked = {self._terms.of(each): each for each in terms}
        bit = 1 << position % BLOCK
        have = self._sets("postings", position // BLOCK, list(asked))
        return frozenset(asked[each] for each, bits in have.items() if bits & bit)

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

    def _all(self, table: str, part: int, groups: Sequence[Sequence[int]]) -> int:
        """What has a term of every group, in one block or span."""
        have = self._sets(table, part, [each for group in groups for each in group])
        if not have:
            return 0
        return reduce(and_, (reduce(or_, (have.get(each, 0) for each in group)) for group in groups))

    def _sets(self, table: str, part: int, terms: Sequence[int]) -> dict[int, int]:
        key, column = ("block", "hits") if table == "postings" else ("span", "blocks")
        found: dict[int, int] = {}
        for start in range(0, len(terms), _AT_ONCE):
            asked = terms[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(asked))
            text = f"SELECT term, {column} FROM {table} WHERE {key} = ? AND term IN ({marks})"  # noqa: S608
            found |= self._rows(text, (part, *asked))
        if table != "postings":
            return found
        try:
            return {each: unpack(hits) for each, hits in found.items()}  # type: ignore[arg-type]
        except (ValueError, TypeError) as error:
            raise Torn(str(error)) from error

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
