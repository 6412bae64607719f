"""Tiles have the names and bytes of tlog-tiles, and are enough for every root and proof."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit.gates.log.merkle import (
    Frontier,
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
)
from remit.gates.log.tiles import (
    MAX_ENTRY,
    WIDTH,
    BadTile,
    Bundle,
    Tile,
    TileHashes,
    decode_entries,
    encode_entries,
    entries_path,
    entry_bundles,
    new_tiles,
    parse_path,
    tiles_of,
)

VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "log" / "tiles.json").read_text())
SIZE = 66_000
LEAVES = [leaf_hash(b"entry %d" % number) for number in range(SIZE)]


def fetch(tile: Tile) -> bytes:
    """A tile over LEAVES, the plain way."""
    step = WIDTH**tile.level
    parts = []
    for number in range(tile.index * WIDTH, tile.index * WIDTH + tile.width):
        tree = Frontier()
        for leaf in LEAVES[number * step : (number + 1) * step]:
            tree.add(leaf)
        parts.append(tree.root())
    return b"".join(parts)


def roots(*sizes: int) -> dict[int, bytes]:
    tree, found = Frontier(), {}
    for size, leaf in enumerate([*LEAVES, b""]):
        if size in sizes:
            found[size] = tree.root()
        tree.add(leaf)
    return found


@pytest.mark.parametrize("vector", VECTORS["paths"], ids=lambda vector: vector["path"])
def test_paths_are_those_of_the_vectors_and_read_back(vector: dict[str, int | str]) -> None:
    level, index, width = vector["level"], int(vector["index"]), int(vector["width"])
    made = Bundle(index, width) if level == "entries" else Tile(int(level), index, width)
    assert made.path == vector["path"]
    assert parse_path(made.path) == made
    if level == "entries":
        assert entries_path(index, width) == vector["path"]


@pytest.mark.parametrize("path", VECTORS["refused_paths"])
def test_a_path_in_another_spelling_is_refused(path: str) -> None:
    with pytest.raises(BadTile):
        parse_path(path)


@given(st.integers(0, 7), st.integers(0, 2**55 - 1), st.integers(1, WIDTH))
def test_every_path_reads_back(level: int, index: int, width: int) -> None:
    assert parse_path(Tile(level, index, width).path) == Tile(level, index, width)
    assert parse_path(Bundle(index, width).path) == Bundle(index, width)


@pytest.mark.parametrize("tree", VECTORS["trees"], ids=lambda tree: str(tree["size"]))
def test_a_tree_consists_of_the_tiles_of_the_vectors(tree: dict[str, int | str | list[str]]) -> None:
    size = tree["size"]
    assert isinstance(size, int)
    paths = [tile.path for tile in tiles_of(size)]
    assert (len(paths), paths[-3:]) == (tree["tiles"], tree["last"])
    assert hashlib.sha256("".join(f"{path}\n" for path in paths).encode()).hexdigest() == tree["sha256"]
    if size <= SIZE:
        assert roots(size)[size].hex() == tree["root"]


def test_growth_needs_just_the_tiles_that_were_not_there() -> None:
    for old in range(0, 1200, 7):
        for new in range(old, 1200, 11):
            before = set(tiles_of(old))
            assert set(new_tiles(old, new)) == set(tiles_of(new)) - before
            fresh = entry_bundles(old, new)
            assert [(one.index, one.width) for one in fresh] == [
                (tile.index, tile.width) for tile in new_tiles(old, new) if tile.level == 0
            ]


def test_bundles_cover_every_new_entry_once() -> None:
    for old, new in ((0, 1), (0, 256), (255, 256), (255, 257), (256, 600), (300, 300), (511, 1025)):
        covered = [
            place
            for bundle in entry_bundles(old, new)
            for place in range(bundle.index * WIDTH, bundle.index * WIDTH + bundle.width)
        ]
        assert sorted(set(covered)) == covered
        assert [place for place in covered if place >= old] == list(range(old, new))


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 513, 65_535, 65_536, 65_537, SIZE])
def test_tiles_are_enough_for_roots_and_proofs(size: int) -> None:
    fetched: list[Tile] = []

    def counting(tile: Tile) -> bytes:
        fetched.append(tile)
        return fetch(tile)

    hashes = TileHashes(size, counting)
    old = size * 3 // 5
    expected = roots(old, size)
    assert root_of(size, hashes) == expected[size]
    for index in {0, size // 2, size - 1}:
        check_inclusion(LEAVES[index], index, size, inclusion_proof(index, size, hashes), expected[size])
    check_consistency(old, expected[old], size, expected[size], consistency_proof(old, size, hashes))
    assert set(fetched) <= set(tiles_of(size))
    assert len(fetched) == len(set(fetched))


def test_a_subtree_that_is_not_complete_has_no_hash() -> None:
    hashes = TileHashes(5, fetch)
    for level, index in ((0, 5), (1, 2), (2, 1), (3, 0), (-1, 0), (0, -1)):
        with pytest.raises(ValueError, match="no complete subtree"):
            hashes(level, index)


@pytest.mark.parametrize("data", [b"", bytes(31), bytes(33), bytes(32 * 6)])
def test_a_tile_of_a_wrong_length_is_refused(data: bytes) -> None:
    with pytest.raises(BadTile):
        TileHashes(5, lambda _: data)(0, 0)


@pytest.mark.parametrize("vector", VECTORS["bundles"])
def test_bundles_have_the_bytes_of_the_vectors(vector: dict[str, object]) -> None:
    entries = [bytes.fromhex(entry) for entry in vector["entries"]]  # type: ignore[attr-defined]
    data = bytes.fromhex(str(vector["bytes"]))
    assert encode_entries(entries) == data
    assert decode_entries(data) == decode_entries(data, len(entries)) == entries


@pytest.mark.parametrize("data", VECTORS["refused_bundles"])
def test_a_bundle_that_ends_within_an_entry_is_refused(data: str) -> None:
    with pytest.raises(BadTile):
        decode_entries(bytes.fromhex(data))


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=WIDTH))
def test_every_bundle_reads_back_and_no_part_of_it_does(entries: list[bytes]) -> None:
    data = encode_entries(entries)
    assert decode_entries(data, len(entries)) == entries
    with pytest.raises(BadTile):
        decode_entries(data[:-1], len(entries))
    with pytest.raises(BadTile):
        decode_entries(data + b"\0", len(entries))
    with pytest.raises(BadTile):
        decode_entries(data, len(entries) + 1)


def test_an_entry_may_have_65535_bytes_and_a_bundle_256_entries() -> None:
    full = [bytes(MAX_ENTRY)] * WIDTH
    assert decode_entries(encode_entries(full)) == full
    for entries in ([bytes(MAX_ENTRY + 1)], [b""] * (WIDTH + 1), []):
        with pytest.raises(ValueError, match="found"):
            encode_entries(entries)
    with pytest.raises(BadTile):
        decode_entries(b"\0\0" * (WIDTH + 1))
