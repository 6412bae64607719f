"""Forgetting: taking from the index what it learned from payloads that are gone, and leaving what records say.

What lives here: which positions that concerns. What never may: deciding that a payload goes.

Everything here runs within a transaction on the index. The caller empties the write-ahead log afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from remit.adapters.index.bits import Terms
from remit.adapters.index.file import IndexFile
from remit.adapters.index.looking import FileLook
from remit.flow.ports import Reads, StoredRecord
from remit.flow.searching import fields_of, found_by
from remit.gates.search import term

_KINDS: Final = {"proposals": "proposal", "verdicts": "verdict"}
"""The classes of payloads that the index learns from, and the kinds of records that they belong to."""

_AT_ONCE: Final = 1_000


def told(file: IndexFile, look: FileLook, reads: Reads, terms: Terms, records: Sequence[StoredRecord]) -> bool:
    """Forget what these records say was erased or pruned. True where there was something to forget."""
    ids: list[str] = []
    forgot = False
    for record in records:
        fields = fields_of(record) if record.kind in ("erased", "pruned") else {}
        erased = fields.get("erased")
        if isinstance(erased, dict):
            ids += [each for each in erased if each.endswith((".proposal", ".verdict"))]
        if record.kind == "pruned" and fields.get("class") in _KINDS and isinstance(fields.get("before"), int):
            forgot |= _pruned(file, look, reads, terms, str(fields["class"]), int(fields["before"]))
    forget(file, look, reads, terms, ids)
    return forgot or bool(ids)


def forget(file: IndexFile, look: FileLook, reads: Reads, terms: Terms, ids: Iterable[str]) -> None:
    """Leave only what the records themselves say of these actions and verdicts."""
    positions: list[int] = []
    for each in ids:
        if each.endswith(".verdict"):
            positions += look.match([(term("payload", each),)])
        else:
            at = look.proposal(each.removesuffix(".proposal"))
            positions += [] if at is None else [at]
    file.only({each.position: _kept(look, reads, terms, each) for each in reads.records_at(positions)})


def _kept(look: FileLook, reads: Reads, terms: Terms, record: StoredRecord) -> list[int]:
    """What the records themselves say of an action or a verdict."""
    kept = set(found_by(record, None).terms)
    if record.kind == "proposal":
        about = reads.records_at(list(look.match([(term("action", record.action),)])))
        kept |= {each for later in about for each in found_by(later, None).gains}
        kept.add(term("state", look.state(record.position)))
        kept.add(term("verdict", look.verdict(terms.of(term("run", record.run)))))
    return terms.all(kept)


def _pruned(file: IndexFile, look: FileLook, reads: Reads, terms: Terms, pruned: str, before: int) -> bool:
    """Go on from where the last pruning of this class ended, up to that time."""
    ask = file.connection.execute
    row = ask("SELECT position FROM pruned WHERE class = ?", (pruned,)).fetchone()
    start = row[0] if row else 0
    again = [at for (at,) in ask("SELECT position FROM left_over WHERE class = ? ORDER BY position", (pruned,))]
    new = ask("SELECT position FROM subjects WHERE position >= ? AND at < ? ORDER BY position", (start, before))
    found = [at for (at,) in new]
    positions = [*again, *found]
    forgot = False
    for first in range(0, len(positions), _AT_ONCE):
        records = reads.records_at(positions[first : first + _AT_ONCE])
        of_class = [each for each in records if each.kind == _KINDS[pruned]]
        forgot |= _gone(file, look, reads, terms, pruned, of_class)
    if found:
        ask("INSERT OR REPLACE INTO pruned VALUES (?, ?)", (pruned, found[-1] + 1))
    return forgot


def _gone(
    file: IndexFile, look: FileLook, reads: Reads, terms: Terms, pruned: str, records: Iterable[StoredRecord]
) -> bool:
    """Forget the payloads of these records that are gone, and note those that are not. True where one was."""
    ask = file.connection.execute
    kept: dict[int, list[int]] = {}
    for record in records:
        payload_id = found_by(record, None).payload
        if payload_id and reads.payload(payload_id) is None:
            kept[record.position] = _kept(look, reads, terms, record)
            ask("DELETE FROM left_over WHERE class = ? AND position = ?", (pruned, record.position))
        else:
            ask("INSERT OR IGNORE INTO left_over VALUES (?, ?)", (pruned, record.position))
    file.only(kept)
    return bool(kept)
