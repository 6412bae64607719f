"""Logs on disk and their verification, for the tests of the auditing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from remit.adapters.home.auditing import files_at
from remit.adapters.log.disclosing import DisclosureFile
from remit.flow.auditing.audit import Report, audit
from remit.flow.auditing.files import Trust
from remit.flow.auditing.ledger import MemoryLedger
from remit.flow.auditing.payloads import Disclosure, Nothing
from remit.gates.log.notes import VerifierKey
from tests.support.scribe import Record
from tests.support.tile_log import Written, write_log

Audit = Callable[..., Report]


@pytest.fixture
def audited(tmp_path: Path) -> Audit:
    """Writes records as a log and verifies it, with what was disclosed, or with `disclosed=False` without."""

    def run(origin: str, records: Iterable[Record], *, disclosed: bool = True) -> Report:
        return checked(write_log(tmp_path / "log", origin, records), disclosed=disclosed)

    return run


def checked(written: Written, *, disclosed: bool = True, **trust: object) -> Report:
    """What the verifier says of a log on disk."""
    given: Disclosure = DisclosureFile(written.payloads) if disclosed else Nothing()
    believed = Trust(keys=(VerifierKey.parse(written.key.text),), **trust)  # type: ignore[arg-type]
    return audit(files_at(str(written.folder)), believed, given, MemoryLedger())


def words(report: Report) -> list[tuple[str, int | None]]:
    """Each finding's word and position."""
    return [(str(each.word), each.position) for each in report.findings]
