"""Every way to tamper with a log that we could think of, each named by both verifiers: remit's own, and the one in
tests/conformance/log that imports nothing of remit. They must agree on the record, too."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from remit import offline
from remit.flow.auditing.audit import Report, audit
from remit.flow.auditing.files import Trust
from remit.flow.auditing.ledger import MemoryLedger
from remit.gates.log.checkpoints import opened
from remit.gates.log.notes import VerifierKey
from tests.conformance.log import verifier
from tests.support import forgeries, secret_tampers, unwitnessed
from tests.support.tampering import LENGTH, SEED, Case
from tests.support.tampers import TAMPERS

SECOND = 1_000_000
FEWEST = 55
Named = set[tuple[str, int | None]]

assert forgeries and secret_tampers and unwitnessed  # imported for the attacks that they register


@cache
def correct(length: int) -> Case:
    return Case.fresh(SEED, length)


def tampered_with(name: str, folder: Path) -> Case:
    """The journal after the attack, written below the folder. Only the attacks on level 1 need a long one."""
    case = correct(LENGTH if name.startswith("high_") else 0).copied()
    TAMPERS[name].change(case)
    case.write(folder)
    return case


def by_remit(case: Case, folder: Path) -> Report:
    keys = tuple(VerifierKey.parse(each.text) for each in case.keys or [case.key])
    trust = Trust(
        keys=keys,
        witnesses=tuple(VerifierKey.parse(each.text) for each in case.witnesses) if case.quorum else (),
        quorum=case.quorum,
        older=opened(case.older, keys).checkpoint if case.older else None,
        max_age=case.max_age * SECOND,
        now=case.now * SECOND,
    )
    return audit(offline.log_at(str(folder / "log")), trust, offline.payloads_in(folder / "payloads"), MemoryLedger())


def by_the_other(case: Case, folder: Path) -> verifier.Report:
    return verifier.verify(
        folder / "log",
        [each.text for each in case.keys or [case.key]],
        witnesses=[each.text for each in case.witnesses] if case.quorum else [],
        quorum=case.quorum,
        older=case.older,
        max_age=case.max_age or None,
        payloads=folder / "payloads",
        now=case.now,
    )


def named_by_remit(report: Report) -> Named:
    return {(str(each.word), each.position) for each in report.findings}


def named_by_the_other(report: verifier.Report) -> Named:
    return {(word, position) for word, position, _ in report.findings}


def first_of(word: str, named: Named) -> int | None:
    """The first record that a word names, or None where it names only the log as a whole."""
    return min((position for found, position in named if found == word and position is not None), default=None)


def test_a_journal_that_nobody_touched_passes_both_verifiers(tmp_path: Path) -> None:
    for length in (0, LENGTH):
        case, folder = correct(length).copied(), tmp_path / str(length)
        case.quorum, case.older, case.max_age = 2, case.note(90), 3600
        case.write(folder)
        assert named_by_remit(by_remit(case, folder)) == set()
        assert named_by_the_other(by_the_other(case, folder)) == set()


def test_there_are_many_attacks() -> None:
    assert len(TAMPERS) >= FEWEST


@pytest.mark.parametrize("name", [name for name, each in TAMPERS.items() if each.word])
def test_an_attack_is_named_by_both_verifiers_at_the_same_record(name: str, tmp_path: Path) -> None:
    case, word = tampered_with(name, tmp_path), TAMPERS[name].word
    ours, others = named_by_remit(by_remit(case, tmp_path)), named_by_the_other(by_the_other(case, tmp_path))
    assert word in {found for found, _ in ours}
    assert word in {found for found, _ in others}
    assert first_of(word, ours) == first_of(word, others)


@pytest.mark.parametrize("name", [name for name in TAMPERS if "witness" in name])
def test_of_what_witnesses_saw_both_verifiers_say_the_same_and_nothing_else(name: str, tmp_path: Path) -> None:
    case = tampered_with(name, tmp_path)
    ours, others = named_by_remit(by_remit(case, tmp_path)), named_by_the_other(by_the_other(case, tmp_path))
    assert ours == others


@pytest.mark.parametrize("length", [0, LENGTH])
@pytest.mark.parametrize("after", [0, 1, 7, 8, 100])
def test_a_log_whose_witnesses_are_behind_passes_both_verifiers(length: int, after: int, tmp_path: Path) -> None:
    case = correct(length).copied()
    case.max_age, case.older = 3600, case.note(90)
    case.fall_behind(len(case.records) - after)
    case.write(tmp_path)
    ours, other = by_remit(case, tmp_path), by_the_other(case, tmp_path)
    assert (named_by_remit(ours), named_by_the_other(other)) == (set(), set())
    for said in (ours.unmade, other.notes):
        told = [each for each in said if "came after what the witnesses saw last" in each]
        assert [each.split(" ", 1)[0] for each in told] == ([str(after)] if after else [])


@pytest.mark.parametrize("name", [name for name, each in TAMPERS.items() if not each.word])
def test_what_cannot_be_found_is_said_to_be_not_excluded_by_both(name: str, tmp_path: Path) -> None:
    case = tampered_with(name, tmp_path)
    ours, other = by_remit(case, tmp_path), by_the_other(case, tmp_path)
    assert (named_by_remit(ours), named_by_the_other(other)) == (set(), set())
    for said in (ours.unmade, other.notes):
        assert any("rewriting by whoever holds the log's key is not excluded" in each for each in said)
