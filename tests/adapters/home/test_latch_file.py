"""The latch file: written in place, read as blind wherever it is not whole."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from remit.adapters.home.latch_file import SIZE, FileLatch
from remit.flow.stopping import Stops
from remit.gates import stop
from remit.gates.stop import Latch
from remit.model.words import Scope, ScopeKind, StopMode, StopOrder

SECTOR = 512


def order(number: int) -> StopOrder:
    """An order of an agent."""
    scope = Scope(ScopeKind.AGENT, f"agent-{number}")
    return StopOrder(id=f"stp_{number:016d}", mode=StopMode.CUT, scope=scope, at=number, by="bob", reason="x" * 40)


def latch(*numbers: int) -> Latch:
    """A latch of these orders."""
    return Latch(tuple(map(order, numbers)))


@pytest.fixture
def file(tmp_path: Path) -> FileLatch:
    made = FileLatch(tmp_path / "latch")
    made.create()
    return made


@pytest.mark.promise("P6")
def test_what_was_written_is_read_back_by_another_process(file: FileLatch, tmp_path: Path) -> None:
    for wanted in (latch(1), latch(1, 2, 3), latch(3), Latch()):
        file.write(wanted)
        assert FileLatch(tmp_path / "latch").read() == wanted


def test_it_is_preallocated_private_and_overwritten_in_place(file: FileLatch, tmp_path: Path) -> None:
    path = tmp_path / "latch"
    before = path.stat()
    assert (before.st_size, before.st_mode & 0o777) == (SIZE, 0o600)
    assert before.st_blocks * 512 >= SIZE
    file.write(latch(1, 2))
    after = path.stat()
    assert (after.st_ino, after.st_size, after.st_blocks) == (before.st_ino, before.st_size, before.st_blocks)
    file.create()
    assert file.read() == latch(1, 2)


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    "data", [b"", b"\0" * SIZE, b" " * SIZE, b"{}", b"[]", b'{"version":1,"orders":[{}]}', b"\xff"]
)
def test_a_file_that_is_not_a_latch_is_blind(file: FileLatch, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "latch").write_bytes(data)
    assert file.read().blind


@pytest.mark.promise("P6")
@pytest.mark.parametrize("data", [None, b"torn", b"x" * (2 * SIZE)])
def test_a_file_that_cannot_be_read_is_replaced_whole(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "latch"
    if data is not None:
        path.write_bytes(data)
    FileLatch(path).renew(latch(7))
    assert FileLatch(path).read() == latch(7)
    assert (path.stat().st_size, path.stat().st_mode & 0o777) == (SIZE, 0o600)


def test_a_file_that_is_missing_or_a_folder_is_blind(tmp_path: Path) -> None:
    assert FileLatch(tmp_path / "nothing").read().blind
    assert FileLatch(tmp_path).read().blind


@pytest.mark.promise("P6")
@given(
    old=st.lists(st.integers(0, 60), unique=True, max_size=40),
    new=st.lists(st.integers(0, 60), unique=True, max_size=40),
    arrived=st.sets(st.integers(0, SIZE // SECTOR - 1)),
)
@example(old=[0, 1, 2], new=[0, 1, 3, 2], arrived={0})  # good JSON that lacks an order of both
@example(old=[0, 1, 2, 3], new=[0, 1, 4, 2, 3], arrived={0, 2})
def test_a_torn_write_is_the_latch_before_or_after_or_blind(old: list[int], new: list[int], arrived: set[int]) -> None:
    before = stop.encode(latch(*old)).ljust(SIZE, b" ")
    after = stop.encode(latch(*new)).ljust(SIZE, b" ")
    torn = bytearray(before)
    for sector in arrived:
        torn[sector * SECTOR : (sector + 1) * SECTOR] = after[sector * SECTOR : (sector + 1) * SECTOR]
    found = stop.decode(bytes(torn))
    assert found.blind or found in (latch(*old), latch(*new))


@pytest.mark.promise("P6")
def test_a_latch_without_its_hash_or_of_another_version_is_blind() -> None:
    whole = stop.encode(latch(1))
    fields = json.loads(whole)
    changes: tuple[dict[str, object], ...] = ({"sha256": ""}, {"version": 1}, {"orders": []})
    for changed in changes:
        assert stop.decode(json.dumps(fields | changed).encode()).blind
    assert not stop.decode(whole).blind


def test_more_orders_than_fit_are_refused_and_the_file_stays_whole(file: FileLatch) -> None:
    file.write(latch(1))
    with pytest.raises(OSError, match="fit"):
        file.write(latch(*range(1000)))
    assert file.read() == latch(1)


@pytest.mark.promise("P6")
def test_a_full_disk_does_not_keep_a_stop_from_latching(file: FileLatch, tmp_path: Path) -> None:
    stops = Stops(file)
    assert stops.place(order(1)) == ""
    os.truncate(tmp_path / "latch", 10)  # torn
    again = Stops(file)
    assert again.place(order(2)) == ""
    assert Stops(file).check(stop.Subject(agent="anybody")) is not None
