"""Files that a record commits to: a boundary or a roster, and the signatures over it.

What lives here: making them payloads, once for each content. What never may: checking a signature.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from remit.flow.ports import Ids, Transaction
from remit.gates import journal
from remit.model.canonical import sha256_hex
from remit.model.words import Payload


class Filing(Struct, frozen=True):
    """A file and the signatures over it on their way into the store, as payloads that a record commits to.

    Their ids come from their digests, so that each is kept once, however often it is loaded.
    """

    payloads: tuple[Payload, ...]

    @classmethod
    def of(cls, prefix: str, data: bytes, signatures: Mapping[str, bytes], ids: Ids) -> Filing:
        """The file alone where there are no signatures."""
        file_id = f"{prefix}_{sha256_hex(data)[:16]}"
        payloads = [Payload(id=f"{file_id}.file", kind="file", salt=ids.salt(), data=data)]
        if signatures:
            texts = [each.decode("ascii", "replace") for _, each in sorted(signatures.items())]
            listed = msgspec.json.encode(texts)
            name = f"{file_id}_{sha256_hex(listed)[:8]}.signatures"
            payloads.append(Payload(id=name, kind="signatures", salt=ids.salt(), data=listed))
        return cls(tuple(payloads))

    def keep(self, tx: Transaction) -> dict[str, str]:
        """Keep what is not kept yet. Returns each id with its commitment, which stays what it was at first."""
        kept = {}
        for payload in self.payloads:
            before = tx.fact(f"commitment:{payload.id}")
            if before is None:
                tx.put_payload(payload)
                tx.set_fact(f"commitment:{payload.id}", journal.commitment(payload).encode())
            kept[payload.id] = before.decode() if before else journal.commitment(payload)
        return kept
