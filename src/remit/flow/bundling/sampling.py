"""The whole population of a period: every action and every refusal, one row each, counted against the tree.

What lives here: finding the period's entries in the log, proving that they are all of them, and rows. What never may: a
row that does not come from an entry of the log; names that only the store knows stand in columns of their own.

INVARIANT: every entry of the range is hashed, and leads to the signed root, before a row of it counts.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct

from remit.flow.bundling.making import fetching
from remit.flow.bundling.retelling import Fields, fields_of, text, texts
from remit.flow.bundling.words import LogFiles
from remit.gates.log.checkpoints import Opened, opened
from remit.gates.log.merkle import check_inclusion, inclusion_proof, leaf_hash
from remit.gates.log.notes import VerifierKey
from remit.gates.log.tiles import WIDTH, Bundle, Tile, TileHashes, decode_entries
from remit.model.display import safe_line, utc
from remit.model.errors import Fault, NotVerified
from remit.model.words import SECOND, Instant

SLACK: Final = 5 * SECOND
"""How far `at` may go back from one entry to the next."""
COLUMNS: Final = (
    *("position", "time", "what", "id", "state", "agent", "run", "case", "connector", "tool", "category", "effect"),
    *("ruling", "clauses", "boundary", "quorum", "approvals", "rejections", "executed", "outcome_position", "targets"),
)
_STATES: Final = {
    "withdrawn": "withdrawn",
    "expired": "expired",
    "void": "void",
    "refused": "blocked",
    "approved": "approved",
    "asked.again": "awaiting_approval",
    "intent": "executing",
}
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class Population(Struct, frozen=True, kw_only=True):
    """The rows of a period, and what they are counted against.

    `first` and `last` are the positions of the first and the last entry of the period (None where there is none), and
    `entries` how many entries there are between them, both included; all of them lead to `root`, the root of the log
    of `size` entries.
    """

    origin: str
    size: int
    root: str
    since: Instant
    until: Instant
    first: int | None
    last: int | None
    entries: int
    actions: int
    refusals: int
    rows: tuple[dict[str, str], ...]


class _Row:
    """One action in the making. Owned by `population`."""

    def __init__(self, position: int, fields: Fields) -> None:
        self.position = position
        self.fields = fields
        self.state = text(fields, "state")
        self.yes = self.no = 0
        self.executed = False
        self.ended: int | None = None


def population(
    files: LogFiles,
    keys: Sequence[VerifierKey],
    since: Instant,
    until: Instant,
    names: Callable[[str], Sequence[str]] = lambda action: (),
) -> Population:
    """Everything that was proposed or refused from `since` up to `until` (not included), as it stands at the log's end.

    `names` gives the names of an action's targets where they are still known. Raises `NotVerified` where entries do not
    lead to the signed root, `Fault` where files are missing.
    """
    note = files.checkpoint()
    if not note:
        raise Fault("the log has no signed checkpoint", hint="`remit gateway` keeps the log; is it running?")
    found = opened(note, keys)
    log = _ProvedLog(files, found)
    rows: dict[str, _Row] = {}
    refusals: list[tuple[int, Fields]] = []
    first = last = None
    for position, data in log.entries(log.beginning(since - SLACK)):
        fields = fields_of(data)
        at = fields.get("at")
        inside = isinstance(at, int) and since <= at < until
        if inside:
            first, last = position if first is None else first, position
        _take(rows, refusals, position, fields, inside=inside)
    told = [_told(each, names) for each in rows.values()] + [_refusal(position, each) for position, each in refusals]
    return Population(
        origin=found.checkpoint.origin,
        size=found.checkpoint.size,
        root=found.checkpoint.root.hex(),
        since=since,
        until=until,
        first=first,
        last=last,
        entries=0 if first is None or last is None else last - first + 1,
        actions=len(rows),
        refusals=len(refusals),
        rows=tuple(sorted(told, key=lambda row: int(row["position"]))),
    )


def drawn(rows: Sequence[dict[str, str]], size: int, seed: str) -> tuple[dict[str, str], ...]:
    """A sample of `size` rows that anybody can draw again: those whose SHA-256 over seed, `:` and position is lowest,
    in the order of the log."""

    def rank(row: dict[str, str]) -> bytes:
        return hashlib.sha256(f"{seed}:{row['position']}".encode()).digest()

    return tuple(sorted(sorted(rows, key=rank)[:size], key=lambda row: int(row["position"])))


def written(rows: Iterable[dict[str, str]]) -> str:
    """The rows as CSV (RFC 4180). A text that a spreadsheet would take for a formula stands behind an apostrophe."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([inert(row[column]) for column in COLUMNS])
    return buffer.getvalue()


def inert(cell: str) -> str:
    """A cell that is shown and never calculated."""
    safe = safe_line(cell, 500)
    return f"'{safe}" if safe.lstrip(" \u00a0").startswith(_FORMULA) else safe


def _take(
    rows: dict[str, _Row], refusals: list[tuple[int, Fields]], position: int, fields: Fields, *, inside: bool
) -> None:
    kind, name = text(fields, "kind"), text(fields, "action")
    if kind == "proposal" and inside:
        rows.setdefault(name, _Row(position, fields))
    elif kind == "refusal" and inside:
        refusals.append((position, fields))
    elif name in rows:
        _move(rows[name], kind, position, fields)


def _move(row: _Row, kind: str, position: int, fields: Fields) -> None:
    row.state = _STATES.get(kind, row.state)
    if kind == "vote":
        approved = fields.get("verb") == "approve"
        row.yes, row.no = row.yes + approved, row.no + (not approved)
        row.state = row.state if approved else "rejected"
    elif kind == "intent":
        row.executed = True
    elif kind == "outcome":
        row.state, row.ended = text(fields, "state"), position
    elif kind == "settled":
        row.state = "done" if fields.get("applied") is True else "failed"


def _told(row: _Row, names: Callable[[str], Sequence[str]]) -> dict[str, str]:
    fields = row.fields
    ruling = fields.get("ruling")
    ruling = ruling if isinstance(ruling, dict) else {}
    known = names(text(fields, "action"))
    return {
        **{
            column: text(fields, column)
            for column in ("agent", "run", "case", "connector", "tool", "category", "effect")
        },
        "position": str(row.position),
        "time": _time(fields),
        "what": "action",
        "id": text(fields, "action"),
        "state": row.state,
        "ruling": text(ruling, "decision"),
        "clauses": " ".join(texts(ruling, "clauses")),
        "boundary": text(ruling, "boundary"),
        "quorum": str(ruling.get("quorum", "")),
        "approvals": str(row.yes),
        "rejections": str(row.no),
        "executed": "yes" if row.executed else "no",
        "outcome_position": "" if row.ended is None else str(row.ended),
        "targets": " ".join(known or (f"pseudonym:{each}" for each in texts(fields, "targets"))),
    }


def _refusal(position: int, fields: Fields) -> dict[str, str]:
    row = dict.fromkeys(COLUMNS, "")
    row |= {column: text(fields, column) for column in ("agent", "run", "connector", "tool")}
    return row | {
        "position": str(position),
        "time": _time(fields),
        "what": "refusal",
        "id": f"#{position}",
        "state": "refused",
        "ruling": "forbid",
        "clauses": " ".join(texts(fields, "clauses")),
        "executed": "no",
    }


def _time(fields: Fields) -> str:
    at = fields.get("at")
    return utc(at if isinstance(at, int) else 0)


class _ProvedLog:
    """Entries of a log, each bundle of them proved before it is given out."""

    def __init__(self, files: LogFiles, found: Opened) -> None:
        self._files = files
        self._size = found.checkpoint.size
        self._root = found.checkpoint.root
        self._fetch = fetching(files)

    def beginning(self, at: Instant) -> int:
        """A position before which no entry is as late as `at`. The search believes what it looks at; where it ends is
        only taken if a proved entry there is earlier than `at`, else it goes further back."""
        low, high = 0, -(-self._size // WIDTH)
        while low < high:
            middle = (low + high) // 2
            entries = self._bundle(middle)
            if entries and _at(entries[0]) >= at:
                high = middle
            else:
                low = middle + 1
        back = 1
        start = max(low - back, 0)
        while start > 0 and self._proved_at(start) >= at:
            back *= 2
            start = max(low - back, 0)
        return start * WIDTH

    def _proved_at(self, index: int) -> Instant:
        entries = self._bundle(index)
        self._prove(index, entries)
        return _at(entries[0])

    def entries(self, start: int) -> Iterator[tuple[int, bytes]]:
        """Position and bytes from a bundle's beginning to the log's end. Raises `NotVerified` for what is not in the
        log, `Fault` where files are missing."""
        for index in range(start // WIDTH, -(-self._size // WIDTH)):
            entries = self._bundle(index)
            self._prove(index, entries)
            yield from enumerate(entries, index * WIDTH)

    def _bundle(self, index: int) -> list[bytes]:
        width = min(WIDTH, self._size - index * WIDTH)
        data = self._files.bundle(Bundle(index, width))
        if data is None:
            raise Fault(f"the log has no entries `{Bundle(index, width).path}`", hint="`remit log verify` tells more")
        entries = decode_entries(data)[:width]
        if len(entries) < width:
            raise NotVerified(f"the log has {len(entries)} entries from {index * WIDTH} on, expected {width}")
        return entries

    def _prove(self, index: int, entries: Sequence[bytes]) -> None:
        """That all entries of a bundle are the log's: the proof of the first one takes the hashes of all the others,
        which are made here, and the rest from the log's files."""
        mine = b"".join(map(leaf_hash, entries))

        def fetch(tile: Tile) -> bytes:
            return mine if (tile.level, tile.index) == (0, index) else bytes(self._fetch(tile))

        position = index * WIDTH
        path = inclusion_proof(position, self._size, TileHashes(self._size, fetch))
        check_inclusion(leaf_hash(entries[0]), position, self._size, path, self._root)


def _at(entry: bytes) -> Instant:
    at = fields_of(entry).get("at")
    return at if isinstance(at, int) else 0
