"""Writing the log: what is in the folder after each round, and beginning from what is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from remit.adapters.log.reading import FolderSource, Missing
from remit.adapters.log.signing import Diverged, LocalSigner
from remit.gates.log.tiles import WIDTH, Tile, entries_path, entry_bundles, tiles_of
from remit.model.errors import Fault
from tests.adapters.log.conftest import Bed, ListRecords


@pytest.mark.parametrize("steps", [[1], [255, 1, 1], [256], [257], [300, 212, 1], [1, 2, 3, 700], [70_000]])
def test_the_folder_holds_every_record_under_the_signed_root_whatever_the_rounds(bed: Bed, steps: list[int]) -> None:
    writer = bed.writer()
    writer.open()
    for count in steps:
        bed.records.grow(count)
        while writer.append():
            pass
        assert bed.check() == len(bed.records.data)
    size = len(bed.records.data)
    wanted = {tile.path for tile in tiles_of(size)} | {bundle.path for bundle in entry_bundles(0, size)}
    assert wanted <= {path.relative_to(bed.folder).as_posix() for path in bed.folder.rglob("*") if path.is_file()}


def test_an_open_log_without_records_publishes_the_signed_empty_tree(bed: Bed) -> None:
    bed.writer().open()
    assert bed.opened().checkpoint.size == 0


def test_a_log_with_nothing_new_signs_nothing(bed: Bed) -> None:
    writer = bed.writer()
    writer.open()
    bed.records.grow(3)
    writer.append()
    before = (bed.folder / "checkpoint").stat().st_ino, (bed.keys / "log-signed").stat().st_ino
    assert not writer.append()
    assert before == ((bed.folder / "checkpoint").stat().st_ino, (bed.keys / "log-signed").stat().st_ino)


def _whole(folder: Path) -> None:
    shutil.rmtree(folder)


def _one_full_tile(folder: Path) -> None:
    (folder / Tile(0, 1).path).unlink()


def _one_bundle_emptied(folder: Path) -> None:
    (folder / entries_path(0)).write_bytes(b"")


def _the_last_partial_tile(folder: Path) -> None:
    shutil.rmtree((folder / Tile(0, 3, 32).path).parent)


def _a_byte_of_the_edge(folder: Path) -> None:
    path = folder / Tile(1, 0, 3).path
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(bytes(data))


def _a_byte_of_the_last_full_bundle(folder: Path) -> None:
    path = folder / entries_path(2)
    data = bytearray(path.read_bytes())
    data[9] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "damage",
    [
        _whole,
        _one_full_tile,
        _one_bundle_emptied,
        _the_last_partial_tile,
        _a_byte_of_the_edge,
        _a_byte_of_the_last_full_bundle,
    ],
)
def test_a_folder_that_lost_or_changed_files_is_made_anew_from_the_records(
    bed: Bed, damage: Callable[[Path], None]
) -> None:
    writer = bed.writer()
    writer.open()
    bed.records.grow(800)
    writer.append()
    damage(bed.folder)
    again = bed.writer()
    again.open()
    assert bed.check() == 800
    for tile in tiles_of(800):
        assert len((bed.folder / tile.path).read_bytes()) == tile.width * 32
    bed.records.grow(500)
    again.append()
    assert bed.check() == 1300


def test_fewer_records_than_were_signed_are_a_divergence_and_nothing_is_signed_or_written(bed: Bed) -> None:
    writer = bed.writer()
    writer.open()
    bed.records.grow(300)
    writer.append()
    files = {path: path.read_bytes() for path in bed.root.rglob("*") if path.is_file()}
    backup = ListRecords(bed.records.data[:200])
    with pytest.raises(Diverged, match="holds 200 records, and the log has signed 300"):
        bed.writer(backup).open()
    assert files == {path: path.read_bytes() for path in bed.root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("changed", [0, 100, 299])
def test_a_store_that_went_on_from_a_backup_is_a_divergence_wherever_it_differs(bed: Bed, changed: int) -> None:
    writer = bed.writer()
    writer.open()
    bed.records.grow(300)
    writer.append()
    shutil.rmtree(bed.folder)  # even where there is no file to compare with, the signer's memory is
    other = ListRecords(bed.records.data[:changed])
    other.grow(400 - changed, mark="another history")
    with pytest.raises(Diverged, match="not those that the log has signed"):
        bed.writer(other).open()
    assert not bed.folder.exists()


def test_a_store_that_went_on_from_a_backup_is_noticed_with_all_files_in_place(bed: Bed) -> None:
    writer = bed.writer()
    writer.open()
    bed.records.grow(300)
    writer.append()
    other = ListRecords(bed.records.data[:299])
    other.grow(200, mark="another history")
    with pytest.raises(Diverged):
        bed.writer(other).open()


def went_on_after_a_backup(bed: Bed) -> tuple[dict[Path, bytes], ListRecords]:
    """A log of 15 records, and the files of its keys and the store as they were after 10."""
    writer = bed.writer()
    writer.open()
    bed.records.grow(10)
    writer.append()
    keys = {path: path.read_bytes() for path in bed.keys.iterdir() if path.is_file()}
    backup = ListRecords(list(bed.records.data))
    bed.records.grow(5)
    writer.append()
    return keys, backup


def test_a_signers_memory_that_was_put_back_is_noticed_by_what_lies_published(bed: Bed) -> None:
    """Store and keys from one backup agree with each other, and would sign a second history of the same log."""
    keys, backup = went_on_after_a_backup(bed)
    for path, data in keys.items():
        path.write_bytes(data)
    published = {path: path.read_bytes() for path in bed.folder.rglob("*") if path.is_file()}
    backup.grow(9, mark="another history")
    with pytest.raises(Diverged, match="memory is an older copy"):
        bed.writer(backup).open()
    assert published == {path: path.read_bytes() for path in bed.folder.rglob("*") if path.is_file()}


def test_a_longer_history_than_the_published_one_must_extend_it(bed: Bed) -> None:
    keys, backup = went_on_after_a_backup(bed)
    kept = (bed.folder / "checkpoint").read_bytes()
    shutil.rmtree(bed.folder)
    for path, data in keys.items():
        path.write_bytes(data)
    other = bed.writer(backup)  # nothing lies published, so it cannot know
    other.open()
    backup.grow(9, mark="another history")
    other.append()
    (bed.folder / "checkpoint").write_bytes(kept)
    with pytest.raises(Diverged, match="does not extend it"):
        bed.writer(backup).open()
    assert (bed.folder / "checkpoint").read_bytes() == kept


def test_two_processes_cannot_get_two_histories_signed(bed: Bed) -> None:
    """Both began from the same checkpoint; the second is refused, and its history is never under a signature."""
    bed.records.grow(10)
    first, second = bed.writer(), bed.writer(fork := ListRecords(list(bed.records.data)))
    first.open()
    second.open()
    first.append()
    second.append()  # the same records: the same checkpoint, which may be asked for again
    bed.records.grow(5)
    fork.grow(5, mark="another history")
    first.append()
    with pytest.raises(Diverged, match="another log of 15 entries was signed"):
        second.append()
    fork.grow(5, mark="another history")
    with pytest.raises((Diverged, Fault)):
        second.append()
    assert bed.check() == 15


def test_a_checkpoint_whose_answer_was_lost_is_published_by_whoever_opens_next(bed: Bed) -> None:
    class Losing(LocalSigner):
        def sign(self, old, proof, text):  # type: ignore[no-untyped-def]
            super().sign(old, proof, text)
            raise Fault("the answer was lost")

    writer = bed.writer(signer=Losing(bed.keys))
    writer.open()
    bed.records.grow(7)
    with pytest.raises(Fault, match="lost"):
        writer.append()
    assert bed.check() == 0
    bed.writer().open()
    assert bed.check() == 7


def test_a_missing_memory_of_the_signer_is_never_taken_for_an_empty_log(bed: Bed) -> None:
    (bed.keys / "log-signed").unlink()
    with pytest.raises(Fault, match="is missing"):
        bed.writer().open()


def test_a_reader_of_an_older_checkpoint_still_finds_its_partial_files(bed: Bed) -> None:
    writer = bed.writer()
    writer.open()
    bed.records.grow(10)
    writer.append()
    bed.records.grow(300)
    writer.append()
    source = FolderSource(bed.folder)
    assert len(source.tile(0, 0, 10)) == 320
    (bed.folder / Tile(0, 0, 10).path).unlink()
    assert len(source.tile(0, 0, 10)) == 320, "the full tile takes its place"
    with pytest.raises(Missing):
        source.tile(0, 7)
    assert WIDTH == 256


def test_a_damaged_record_of_the_store_is_not_signed(bed: Bed) -> None:
    class Damaged(ListRecords):
        def records_from(self, position, limit):  # type: ignore[no-untyped-def]
            found = super().records_from(position, limit)
            return [
                type(each)(**{**{f: getattr(each, f) for f in each.__struct_fields__}, "data": b"{}"}) for each in found
            ]

    records = Damaged()
    writer = bed.writer(records)
    writer.open()
    records.grow(2)
    with pytest.raises(Fault, match="record 0 is damaged"):
        writer.append()
    assert bed.opened().checkpoint.size == 0
