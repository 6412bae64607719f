"""A home's log, checked by both verifiers: Remit's own, and the one that imports nothing of it."""

from __future__ import annotations

from pathlib import Path

from remit import offline
from remit.adapters.log.disclosing import StorePayloads
from remit.adapters.payloads.sealing import sealer
from remit.adapters.store.reads import SqliteReads
from remit.flow.auditing.audit import audit
from remit.flow.auditing.files import Trust
from remit.flow.auditing.ledger import MemoryLedger
from remit.flow.auditing.selecting import Selection
from tests.conformance.log import verifier
from tests.support.home import Practice


def verified(practice: Practice) -> int:
    """Every record is in the log, and Remit's own verifier finds nothing wrong with it. Returns how many there are."""
    files, keys = offline.log_of(practice.home)
    reads = SqliteReads(practice.home / "state" / "remit.db", sealer(practice.home / "keys"))
    try:
        report = audit(files, Trust(keys=keys), StorePayloads(reads), MemoryLedger())
        assert report.findings == ()
        assert report.size == reads.size(), "records are not in the log"
        return report.size
    finally:
        reads.close()


def verified_by_both(practice: Practice, scratch: Path) -> int:
    """Every record of a home whose gateway has ended is in its log, and both verifiers find nothing wrong with it.

    Returns how many there are.
    """
    size = verified(practice)
    _, keys = offline.log_of(practice.home)
    payloads = scratch / "payloads.jsonl"
    with payloads.open("wb") as target:
        offline.disclose(practice.home, Selection(), target)
    number = keys[0].name.split("/")[2:]
    folder = practice.home / "-".join(["log", *number])
    other = verifier.verify(folder, [key.text for key in keys], payloads=payloads)
    assert other.findings == []
    assert other.size == size
    return size
