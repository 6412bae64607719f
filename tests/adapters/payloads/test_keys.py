"""The payloads' keys: handed out once, durable first, destroyed for good, also against older copies of every file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from remit.adapters.payloads.keepers import FileKeeper
from remit.adapters.payloads.keys import CHUNK, FIRST_CHUNK, KeyGone, Keyring
from remit.model.errors import Fault


def ring(folder: Path, *, now: int = 1, **settings: Any) -> Keyring:
    return Keyring(folder / "payloads", FileKeeper(folder / "payload-keys"), now=lambda: now, **settings)


def test_a_key_that_was_taken_is_found_again_by_another_process(tmp_path: Path) -> None:
    taken = [ring(tmp_path).take() for _ in range(3)]
    other = ring(tmp_path)
    assert [other.key(slot) for slot, _ in taken] == [key for _, key in taken]


def test_no_slot_and_no_key_is_ever_handed_out_twice_whoever_asks(tmp_path: Path) -> None:
    taken = []
    for _ in range(4):
        first, second = ring(tmp_path, epoch_slots=500), ring(tmp_path, epoch_slots=500)
        for _ in range(FIRST_CHUNK * 3):
            taken += [first.take(), second.take()]
    assert len({slot for slot, _ in taken}) == len({key for _, key in taken}) == len(taken)
    assert all(ring(tmp_path).key(slot) == key for slot, key in taken)


def test_a_slot_that_a_crash_tore_is_passed_over(tmp_path: Path) -> None:
    slot, key = ring(tmp_path).take()
    (file,) = (tmp_path / "payloads").glob("epoch-*")
    with file.open("ab") as torn:
        torn.write(b"half a slot")
    later, _ = ring(tmp_path).take()
    assert later > slot + FIRST_CHUNK - 1
    assert ring(tmp_path).key(slot) == key


def test_taking_a_key_writes_nothing_while_there_are_some(tmp_path: Path) -> None:
    keys = ring(tmp_path)
    keys.take()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for _ in range(FIRST_CHUNK // 2 - 1):  # when half of them are gone, more are made beside
        keys.take()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_many_more_keys_than_a_chunk_can_be_taken_while_they_are_made_ahead(tmp_path: Path) -> None:
    keys = ring(tmp_path)
    taken = [keys.take() for _ in range(3 * CHUNK)]
    assert len({slot for slot, _ in taken}) == len(taken)
    keys.close()
    assert ring(tmp_path).key(taken[-1][0]) == taken[-1][1]


def test_a_new_epoch_begins_when_one_is_full_or_old(tmp_path: Path) -> None:
    keys = ring(tmp_path, epoch_slots=10)
    slots = [keys.take()[0] for _ in range(25)]
    keys.close()
    newest = keys.epochs()[-1]
    assert len({slot >> 24 for slot in slots}) == 3
    assert ring(tmp_path, now=11, epoch_age=10).take()[0] >> 24 > newest


def test_a_destroyed_key_is_gone_and_every_other_one_stays(tmp_path: Path) -> None:
    keys = ring(tmp_path)
    taken = [keys.take() for _ in range(40)]
    keys.destroy([slot for slot, _ in taken[::2]])
    for each in (keys, ring(tmp_path)):
        for slot, _ in taken[::2]:
            with pytest.raises(KeyGone):
                each.key(slot)
        assert all(each.key(slot) == key for slot, key in taken[1::2])


def test_keys_made_ahead_before_their_epoch_was_rekeyed_are_still_good(tmp_path: Path) -> None:
    keys = ring(tmp_path)
    slot, _ = keys.take()
    keys.destroy([slot])
    later, key = keys.take()
    assert later == slot + 1
    assert ring(tmp_path).key(later) == key


def test_a_destroyed_slot_is_not_handed_out_again_when_all_of_its_epoch_was_destroyed(tmp_path: Path) -> None:
    keys = ring(tmp_path)
    slots = [keys.take()[0] for _ in range(FIRST_CHUNK)]
    keys.destroy(slots)
    assert ring(tmp_path).take()[0] not in slots


def test_an_epoch_of_which_nothing_is_left_loses_its_file_and_its_key(tmp_path: Path) -> None:
    keys = ring(tmp_path, epoch_slots=10)
    slots = [keys.take()[0] for _ in range(11)]
    keys.destroy(slots[:10])
    assert 1 not in keys.epochs()
    assert not [name for name in FileKeeper(tmp_path / "payload-keys").names() if name.startswith("000001")]
    with pytest.raises(KeyGone):
        ring(tmp_path).key(slots[0])


def test_an_old_copy_of_the_slots_does_not_open_with_the_keys_that_are_left(tmp_path: Path) -> None:
    home, copy = tmp_path / "home", tmp_path / "copy"
    home.mkdir()
    keys = ring(home)
    (doomed, _), (other, _) = keys.take(), keys.take()
    shutil.copytree(home, copy)
    keys.destroy([doomed])
    shutil.copy(home / "payload-keys", copy / "payload-keys")
    for slot in (doomed, other):
        with pytest.raises(Fault, match="missing"):
            ring(copy).key(slot)


def test_a_reader_finds_a_key_although_its_epoch_was_rekeyed_meanwhile(tmp_path: Path) -> None:
    keys, reader = ring(tmp_path), ring(tmp_path)
    (doomed, _), (other, key) = keys.take(), keys.take()
    assert reader.key(other) == key
    keys.destroy([doomed])
    assert reader.key(other) == key


POINTS = ("keys_new_key_made", "keys_file_replaced", "keys_old_key_destroyed")


@pytest.mark.parametrize("point", POINTS)
def test_a_destruction_that_a_crash_broke_off_is_finished_by_repeating_it(tmp_path: Path, point: str) -> None:
    def die(where: str) -> None:
        if where == point:
            raise KeyboardInterrupt

    keeper = FileKeeper(tmp_path / "payload-keys")
    keys = Keyring(tmp_path / "payloads", keeper, now=lambda: 1, point=die)
    (doomed, _), (other, key) = keys.take(), keys.take()
    with pytest.raises(KeyboardInterrupt):
        keys.destroy([doomed])
    again = ring(tmp_path)
    again.tidy()
    again.destroy([doomed])
    again.destroy([doomed])
    assert again.key(other) == key
    with pytest.raises(KeyGone):
        again.key(doomed)
    assert len(keeper.names()) == 1


def test_half_made_files_and_keys_that_no_epoch_names_are_removed(tmp_path: Path) -> None:
    keys = ring(tmp_path)
    slot, key = keys.take()
    FileKeeper(tmp_path / "payload-keys").create("000009-orphan")
    (tmp_path / "payloads" / ".epoch-000001.new").write_bytes(b"half")
    keys.tidy()
    assert not list((tmp_path / "payloads").glob(".*"))
    assert "000009-orphan" not in FileKeeper(tmp_path / "payload-keys").names()
    assert ring(tmp_path).key(slot) == key


def test_a_key_file_that_is_missing_wrong_or_open_to_others_is_refused_clearly(tmp_path: Path) -> None:
    slot, _ = ring(tmp_path / "a").take()
    ring(tmp_path / "b").take()
    file = tmp_path / "a" / "payload-keys"
    file.chmod(0o640)
    with pytest.raises(Fault, match="can be read by others: its mode is 0640, expected 0600"):
        ring(tmp_path / "a").key(slot)
    file.chmod(0o600)
    good = file.read_bytes()
    file.write_bytes((tmp_path / "b" / "payload-keys").read_bytes())
    with pytest.raises(Fault, match="is missing"):
        ring(tmp_path / "a").check()
    file.write_bytes(good[:20])
    with pytest.raises(Fault, match="no file of payload keys"):
        ring(tmp_path / "a").key(slot)
    file.unlink()
    with pytest.raises(Fault, match="missing"):
        ring(tmp_path / "a").key(slot)


def test_a_key_that_is_another_ones_is_called_the_wrong_one(tmp_path: Path) -> None:
    slot, _ = ring(tmp_path).take()
    file = tmp_path / "payload-keys"
    (name,) = FileKeeper(file).names()
    right = FileKeeper(file).key(name)
    assert right is not None
    file.write_bytes(file.read_bytes().replace(right.hex().encode(), bytes(32).hex().encode()))
    with pytest.raises(Fault, match="is the wrong one"):
        ring(tmp_path).key(slot)


def test_slots_that_are_older_than_the_database_are_refused_and_not_taken_for_erased(tmp_path: Path) -> None:
    keys = ring(tmp_path)
    slot, _ = keys.take()
    with pytest.raises(Fault, match="older than the database"):
        keys.key(slot + CHUNK)
    with pytest.raises(Fault, match="are missing"):
        keys.key(2 << 24)
