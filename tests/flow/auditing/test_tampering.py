"""Every way to tamper with a log is found and named by the verifier, and nothing else is said of a correct one."""

from __future__ import annotations

from pathlib import Path

import pytest

from remit.adapters.home.auditing import files_at
from remit.adapters.log.disclosing import DisclosureFile
from remit.adapters.log.ledger import TemporaryLedger
from remit.flow.auditing.audit import Report, audit
from remit.flow.auditing.files import Trust
from remit.flow.auditing.findings import Word
from remit.gates.log.checkpoints import opened
from remit.gates.log.notes import VerifierKey
from tests.support import forgeries, secret_tampers, tampers, unwitnessed
from tests.support.tampering import Case

SECOND = 1_000_000
_FRESH = Case.fresh()
assert forgeries and secret_tampers and unwitnessed  # their attacks register themselves in `tampers`


def verified(case: Case, folder: Path) -> Report:
    """What the verifier says of a case, given what the case says that an auditor has."""
    case.write(folder)
    keys = tuple(VerifierKey.parse(each.text) for each in case.keys or [case.key])
    trust = Trust(
        keys=keys,
        witnesses=tuple(VerifierKey.parse(each.text) for each in case.witnesses),
        quorum=case.quorum,
        older=opened(case.older, keys).checkpoint if case.older else None,
        max_age=case.max_age * SECOND,
        now=case.now * SECOND,
    )
    ledger = TemporaryLedger()
    try:
        return audit(files_at(str(folder / "log")), trust, DisclosureFile(folder / "payloads"), ledger)
    finally:
        ledger.close()


def test_a_correct_log_is_verified_and_everything_in_it_was_checked(tmp_path: Path) -> None:
    case = _FRESH.copied()
    report = verified(case, tmp_path)
    assert (report.findings, report.verified, report.complete) == ((), True, True)
    assert report.read == report.size == len(case.records)
    assert sum(report.payloads.values()) + report.erased + report.pruned + report.ended == report.committed
    assert report.ended
    assert set(report.signatures) == {"approvals", "boundaries", "commands", "rosters"}


@pytest.mark.parametrize("name", tampers.TAMPERS)
def test_tampering_is_named_by_its_word(name: str, tmp_path: Path) -> None:
    tamper = tampers.TAMPERS[name]
    case = _FRESH.copied()
    tamper.change(case)
    report = verified(case, tmp_path)
    found = {str(word) for word in report.counts}
    if tamper.word:
        assert tamper.word in found, (tamper.says, found)
        assert not report.verified
    else:
        assert found == set(), tamper.says
        assert any("rewriting by whoever holds the log's key is not excluded" in each for each in report.unmade)


def test_every_word_is_the_name_of_at_least_one_attack() -> None:
    assert {tamper.word for tamper in tampers.TAMPERS.values()} - {""} == {str(word) for word in Word}
