"""Names for the pseudonyms in records, where somebody who may read the store looks back.

What lives here: who stands behind which pseudonym, from the rosters that were in force and from the payloads that
records commit to. What never may: a name in a record.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Final

import msgspec

from remit.flow.ports import Reads, StoredRecord
from remit.flow.reloading import PEOPLE, kept_fact
from remit.flow.searching import Search
from remit.gates.story import Entry
from remit.gates.story.entries import pseudonyms
from remit.model.words import Json

_MOST_ROSTERS: Final = 10_000
_SAID: Final = {"by": "by", "name": "name"}


class Naming:
    """See the module. What was in force is read once."""

    def __init__(self, reads: Reads, search: Search) -> None:
        self._reads = reads
        self._search = search

    def of(self, entries: Iterable[Entry]) -> dict[str, str]:
        """Pseudonym to name, for what stands in these entries: everybody who was ever on the roster, and what the
        entries' own payloads name. A name that is gone is not in it."""
        found: dict[str, str] = {}
        for entry in entries:
            found |= {each: self._people[each] for each in pseudonyms(entry.fields) if each in self._people}
            said = self._said(entry)
            for field, word in _SAID.items():
                pseudonym, name = entry.fields.get(field), said.get(word)
                if isinstance(pseudonym, str) and isinstance(name, str) and pseudonym and name:
                    found[pseudonym] = name
        return found

    @cached_property
    def _people(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for record in self._search.records(kinds=("home.created", "roster.loaded"), limit=_MOST_ROSTERS):
            found |= self._listed(record)
        return found

    def _listed(self, record: StoredRecord) -> dict[str, str]:
        fields = _object(record.data)
        data = self._reads.fact(kept_fact(PEOPLE, str(fields.get("digest", fields.get("roster")))))
        return {key: each for key, each in _object(data or b"{}").items() if isinstance(each, str)}

    def _said(self, entry: Entry) -> dict[str, Json]:
        """What the payload of an order or a mandate says, empty where it is gone."""
        kept = entry.fields.get("payloads")
        for payload_id in kept if isinstance(kept, dict) else {}:
            if payload_id.rpartition(".")[2] in ("order", "mandate"):
                payload = self._reads.payload(payload_id)
                return _object(payload.data) if payload is not None else {}
        return {}


def _object(data: bytes) -> dict[str, Json]:
    try:
        decoded = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}
