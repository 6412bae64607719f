"""What a bundle is proved against while the log's witnesses are behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from remit import offline
from remit.flow.auditing.files import Trust
from remit.flow.bundling.checking import BundleReport, check_bundle
from remit.flow.bundling.members import read
from remit.flow.bundling.retelling import fields_of
from remit.flow.bundling.zipping import unpack
from remit.gates.log.checkpoints import Checkpoint
from remit.gates.log.merkle import NotProven
from remit.gates.log.notes import LogKey, Note, WitnessKey
from remit.model.words import SECOND
from tests.support.evidence import CASE, COSIGNED, Told

ONE, OTHER = (WitnessKey.generate(f"witness.example/{name}", name.encode() * 32) for name in ("a", "b"))


@pytest.fixture
def home(told: Told, tmp_path: Path) -> Told:
    """A copy of the home whose witnesses may fall behind."""
    return told.copied(tmp_path / "copy")


def trust(told: Told, *witnesses: WitnessKey, age: int = 0, now: int = 0) -> Trust:
    """All of these witnesses are asked for."""
    keys = tuple(each.verifier for each in witnesses)
    return Trust(keys=told.keys, witnesses=keys, quorum=len(keys), max_age=age * SECOND, now=now * SECOND)


def made(told: Told, believed: Trust, action: str = "", case: str = "") -> tuple[bytes, BundleReport]:
    """A bundle, and what checking it says."""
    data = told.bundle(action, case, trust=believed)
    return data, check_bundle(data, believed)


def words(report: BundleReport) -> list[str]:
    return [each.word for each in report.breaches]


def test_an_action_that_the_witnesses_saw_is_proved_against_what_they_saw(home: Told) -> None:
    size = home.last_of(home.isolated) + 1
    home.fall_behind(size, ONE)
    data, report = made(home, trust(home, ONE), home.isolated)
    assert report.breaches == ()
    assert (report.size, report.cosigned) == (size, ((ONE.name, COSIGNED),))
    assert not any("rewriting" in each for each in report.unmade)
    assert "countersigned by witness.example/a" in unpack(data)["story.html"].decode()
    assert made(home, trust(home), home.isolated)[1].size == home.size  # nobody's cosignature was asked for


def test_wherever_the_log_ends_a_bundle_is_verified_and_holds_nothing_of_another_action(home: Told) -> None:
    others, sizes = {home.disabled, home.rejected}, range(home.last_of(home.isolated) + 1, home.size + 1)
    last = offline.open_reads(home.home).records_at([size - 1 for size in sizes])
    assert others <= {each.action for each in last}
    for size in sizes:
        home.fall_behind(size, ONE)
        data, report = made(home, trust(home, ONE), home.isolated)
        assert (report.breaches, report.size) == ((), size)
        assert others.isdisjoint(fields_of(each.entry).get("action") for each in read(unpack(data)).entries)


def test_an_action_that_the_witnesses_saw_in_part_is_told_to_its_end_and_is_not_witnessed(home: Told) -> None:
    home.fall_behind(home.last_of(home.isolated), ONE)
    data, report = made(home, trust(home, ONE), home.isolated)
    assert (words(report), report.size) == (["no-quorum"], home.size)
    assert check_bundle(data, home.trust).breaches == ()


def test_a_case_is_witnessed_only_where_all_of_its_runs_are(home: Told) -> None:
    home.fall_behind(home.last_of(home.isolated) + 1, ONE)
    assert words(made(home, trust(home, ONE), case=CASE)[1]) == ["no-quorum"]
    home.fall_behind(home.size, ONE)
    assert made(home, trust(home, ONE), case=CASE)[1].breaches == ()


def test_what_too_few_witnesses_cosigned_is_no_better_than_the_newest(home: Told) -> None:
    home.fall_behind(home.last_of(home.isolated) + 1, ONE)
    _, report = made(home, trust(home, ONE, OTHER), home.isolated)
    assert (words(report), report.size) == (["no-quorum"], home.size)


@pytest.mark.parametrize("change", [b"", b"nothing", b"\xff"])
def test_what_is_no_checkpoint_is_passed_over(home: Told, change: bytes) -> None:
    (home.home / "log" / "checkpoint.witnessed").write_bytes(change)
    _, report = made(home, trust(home, ONE), home.isolated)
    assert (words(report), report.size) == (["no-quorum"], home.size)


def test_nothing_is_proved_against_a_checkpoint_that_is_not_of_this_history(home: Told) -> None:
    key = LogKey.parse((home.home / "keys" / "log.key").read_text())
    text = Checkpoint(key.name, home.size, b"r" * 32).encode()
    (home.home / "log" / "checkpoint.witnessed").write_bytes(
        Note(text, (key.sign(text), ONE.cosign(text, COSIGNED))).encode()
    )
    with pytest.raises(NotProven, match="is not the one that the log was signed with"):
        home.bundle(home.isolated, trust=trust(home, ONE))


def test_a_bundle_is_as_old_as_its_cosignatures_where_those_are_asked_for(home: Told) -> None:
    now = offline.open_reads(home.home).latest() // SECOND + 1  # the records are of just now
    home.fall_behind(home.size, ONE, seconds=now - 60)
    data, _ = made(home, trust(home, ONE), home.isolated)
    assert check_bundle(data, trust(home, ONE, age=60, now=now)).breaches == ()
    stale = check_bundle(data, trust(home, ONE, age=59, now=now))
    assert [(each.word, each.member) for each in stale.breaches] == [("stale", "checkpoint")]
    assert check_bundle(data, trust(home, age=59, now=now)).breaches == ()
    assert words(check_bundle(data, trust(home, age=59, now=now + 60))) == ["stale"]


def test_a_witness_that_signs_a_time_that_no_calendar_has_ends_nothing(home: Told) -> None:
    home.fall_behind(home.size, ONE, seconds=2**62)
    data, report = made(home, trust(home, ONE), home.isolated)
    assert (report.breaches, report.cosigned) == ((), ((ONE.name, 2**62),))
    assert "31 December 9999" in unpack(data)["story.html"].decode()
