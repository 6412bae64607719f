"""The keeper: records come under a checkpoint by themselves, and what goes wrong is said at once and ends by itself."""

from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import Sequence

import pytest

from remit.adapters.log import keeper as keeping
from remit.adapters.log import signing
from remit.adapters.log.folder import LogFolder
from remit.adapters.log.keeper import Keeper
from remit.adapters.log.signing import LocalSigner
from remit.model.errors import Fault
from tests.adapters.log.conftest import Bed, ListRecords, wait_until


def _in_time(bed: Bed, keeper: Keeper) -> None:
    wait_until(lambda: keeper.state.size == len(bed.records.data), "the records did not come under a checkpoint")


def test_records_come_under_a_checkpoint_after_a_commit(bed: Bed) -> None:
    keeper = bed.keeper()
    assert keeper.trouble() == ""
    for count in (1, 300, 5000):
        bed.records.grow(count)
        keeper.wake()
        _in_time(bed, keeper)
        assert bed.check() == len(bed.records.data)
    assert keeper.trouble() == ""


def test_an_idle_log_signs_nothing_though_it_is_woken(bed: Bed) -> None:
    class Counting(LocalSigner):
        signed = 0

        def sign(self, old: int, proof: Sequence[bytes], text: str) -> bytes:
            self.signed += 1
            return super().sign(old, proof, text)

    signer = Counting(bed.keys)
    keeper = bed.keeper(signer=signer)
    bed.records.grow(3)
    keeper.wake()
    _in_time(bed, keeper)
    keeper.wake()
    wait_until(lambda: not keeper._since and not keeper._woken.is_set(), "the keeper did not look")
    assert signer.signed == 1
    assert keeper.trouble() == ""


def test_closing_brings_what_is_left_under_a_checkpoint(bed: Bed) -> None:
    keeper = bed.keeper()
    bed.records.grow(4)
    keeper.close()
    assert bed.check() == 4


def test_a_deleted_folder_is_trouble_at_once_and_is_made_anew_from_the_records(bed: Bed) -> None:
    keeper = bed.keeper()
    bed.records.grow(700)
    keeper.wake()
    _in_time(bed, keeper)
    shutil.rmtree(bed.folder)
    assert keeper.trouble()
    wait_until(lambda: keeper.trouble() == "", "the trouble did not end")
    assert bed.check() == 700
    bed.records.grow(1)
    keeper.wake()
    _in_time(bed, keeper)
    assert bed.check() == 701


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("where", ["a file of the log", "the signer's memory"])
def test_a_disk_that_refuses_is_trouble_until_it_takes_writes_again_and_nothing_is_lost(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, number: int, where: str
) -> None:
    keeper = bed.keeper()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, "it refuses")

    with monkeypatch.context() as broken:
        if where == "a file of the log":
            broken.setattr(LogFolder, "write", refuse)
        else:
            broken.setattr(signing, "write", refuse)
        bed.records.grow(5)
        keeper.wake()
        wait_until(keeper.trouble, "the fault was not noticed")
        assert "it refuses" in keeper.trouble()
    wait_until(lambda: keeper.trouble() == "", "the trouble did not end")
    _in_time(bed, keeper)
    assert bed.check() == 5


def test_a_store_that_cannot_be_read_is_trouble(bed: Bed) -> None:
    keeper = bed.keeper()
    bed.records.fails = Fault("the store cannot be read")
    keeper.wake()
    wait_until(keeper.trouble, "the fault was not noticed")
    bed.records.fails = None
    wait_until(lambda: keeper.trouble() == "", "the trouble did not end")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_keeper_that_was_killed_is_trouble(bed: Bed) -> None:
    keeper = bed.keeper()
    bed.records.fails = SystemExit()
    keeper.wake()
    wait_until(lambda: "keeper has ended" in keeper.trouble(), "a dead keeper was not noticed")


def test_a_record_that_waits_too_long_for_its_checkpoint_is_trouble(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "LAG_SECONDS", 0.1)
    goes_on = threading.Event()

    class Hanging(LocalSigner):
        def sign(self, old: int, proof: Sequence[bytes], text: str) -> bytes:
            goes_on.wait(10)
            return super().sign(old, proof, text)

    keeper = bed.keeper(signer=Hanging(bed.keys))
    bed.records.grow(1)
    keeper.wake()
    try:
        wait_until(lambda: "has waited" in keeper.trouble(), "the lag was not noticed")
    finally:
        goes_on.set()
    wait_until(lambda: keeper.trouble() == "", "the trouble did not end")


def test_a_clock_that_went_back_is_trouble(bed: Bed) -> None:
    says = ["the wall clock went back"]
    keeper = bed.keeper(clock=lambda: says[0])
    assert keeper.trouble() == says[0]
    says[0] = ""
    assert keeper.trouble() == ""


def test_a_divergence_is_told_once_and_only_a_person_ends_it(bed: Bed) -> None:
    keeper = bed.keeper()
    bed.records.grow(9)
    keeper.wake()
    _in_time(bed, keeper)
    keeper.close()
    signed = (bed.keys / "log-signed").read_bytes()
    bed.records = ListRecords(bed.records.data[:4])
    again = bed.keeper()
    bed.records.grow(20, mark="another history")
    again.wake()
    again.wake()
    assert bed.diverged == [again.diverged]
    assert "has signed 9" in again.trouble()
    assert (bed.keys / "log-signed").read_bytes() == signed


def test_followers_see_every_record_once_and_in_order_and_their_failure_is_no_trouble(bed: Bed) -> None:
    seen: list[tuple[int, int]] = []

    def follow(first: int, records: Sequence[object]) -> None:
        seen.append((first, len(records)))
        raise RuntimeError("the index is broken")

    keeper = bed.keeper(followers=[follow])
    for _ in range(3):
        bed.records.grow(10)
        keeper.wake()
        _in_time(bed, keeper)
    wait_until(lambda: sum(count for _, count in seen) == 30, "a record was not followed")
    assert [first for first, _ in seen] == [0, 10, 20]
    assert keeper.trouble() == ""
