"""Roots and proofs are those of RFC 6962, whatever the size, and no changed proof is accepted."""

from __future__ import annotations

import hashlib
import json
import random
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remit.gates.log.merkle import (
    EMPTY_ROOT,
    Frontier,
    NotProven,
    check_consistency,
    check_inclusion,
    consistency_proof,
    frontier_of,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
)

VECTORS = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "log" / "tree.json").read_text())
ENTRIES = [bytes.fromhex(entry) for entry in VECTORS["entries"]]
LARGEST = 300
LEAVES = [leaf_hash(b"%d" % number) for number in range(5000)]


def hashes(level: int, index: int) -> bytes:
    """Of the complete subtrees over LEAVES, the plain way."""
    return reference_root(index << level, (index + 1) << level)


def split(width: int) -> int:
    """The largest power of two below `width`."""
    found = 1
    while found * 2 < width:
        found *= 2
    return found


@cache
def reference_root(start: int, end: int) -> bytes:
    """MTH of RFC 6962 section 2.1 over LEAVES[start:end], word for word."""
    if start == end:
        return hashlib.sha256(b"").digest()
    if end - start == 1:
        return LEAVES[start]
    middle = start + split(end - start)
    both = reference_root(start, middle) + reference_root(middle, end)
    return hashlib.sha256(b"\x01" + both).digest()


def reference_path(index: int, start: int, end: int) -> tuple[bytes, ...]:
    """PATH of section 2.1.1."""
    if end - start == 1:
        return ()
    middle = start + split(end - start)
    if index < middle:
        return (*reference_path(index, start, middle), reference_root(middle, end))
    return (*reference_path(index, middle, end), reference_root(start, middle))


def reference_proof(old: int, start: int, end: int, whole: bool) -> tuple[bytes, ...]:
    """SUBPROOF of section 2.1.2; `old` counts from the beginning of the log."""
    if old == end:
        return () if whole else (reference_root(start, end),)
    middle = start + split(end - start)
    if old <= middle:
        return (*reference_proof(old, start, middle, whole), reference_root(middle, end))
    return (*reference_proof(old, middle, end, False), reference_root(start, middle))


def unhex(proof: list[str]) -> tuple[bytes, ...]:
    return tuple(map(bytes.fromhex, proof))


def vector_hashes(level: int, index: int) -> bytes:
    tree = Frontier()
    for entry in ENTRIES[index << level : (index + 1) << level]:
        tree.add(leaf_hash(entry))
    return tree.root()


def test_the_known_tree_of_eight_entries_has_its_known_roots() -> None:
    assert VECTORS["roots"][1] == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert VECTORS["roots"][8] == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    tree = Frontier()
    found = [tree.root().hex()]
    for entry in ENTRIES:
        tree.add(leaf_hash(entry))
        found.append(tree.root().hex())
    assert found == VECTORS["roots"]
    assert [leaf_hash(entry).hex() for entry in ENTRIES] == VECTORS["leaf_hashes"]


def test_the_known_tree_has_its_known_proofs() -> None:
    for vector in VECTORS["inclusion"]:
        index, size, proof = vector["index"], vector["size"], unhex(vector["proof"])
        assert inclusion_proof(index, size, vector_hashes) == proof
        check_inclusion(leaf_hash(ENTRIES[index]), index, size, proof, bytes.fromhex(VECTORS["roots"][size]))
    for vector in VECTORS["consistency"]:
        old, new, proof = vector["old"], vector["new"], unhex(vector["proof"])
        roots = [bytes.fromhex(VECTORS["roots"][size]) for size in (old, new)]
        assert consistency_proof(old, new, vector_hashes) == proof
        check_consistency(old, roots[0], new, roots[1], proof)


def test_a_growing_tree_always_has_the_root_of_the_plain_recursion() -> None:
    tree = Frontier()
    for size, leaf in enumerate(LEAVES):
        if size <= LARGEST or size % 97 == 0:
            assert tree.size == size
            assert tree.root() == reference_root(0, size) == root_of(size, hashes)
            assert frontier_of(size, hashes).hashes == tree.hashes
        tree.add(leaf)


def test_every_inclusion_proof_is_the_plain_recursions_and_holds() -> None:
    for size in range(1, LARGEST + 1):
        root = reference_root(0, size)
        for index in range(size):
            proof = inclusion_proof(index, size, hashes)
            assert proof == reference_path(index, 0, size)
            check_inclusion(LEAVES[index], index, size, proof, root)


def test_every_consistency_proof_is_the_plain_recursions_and_holds() -> None:
    for new in range(LARGEST + 1):
        for old in range(new + 1):
            proof = consistency_proof(old, new, hashes)
            assert proof == (reference_proof(old, 0, new, True) if 0 < old < new else ())
            check_consistency(old, reference_root(0, old), new, reference_root(0, new), proof)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_proofs_of_larger_trees_are_the_plain_recursions_and_hold(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, len(LEAVES)))
    old = data.draw(st.integers(1, new - 1))
    root = reference_root(0, new)
    path = inclusion_proof(old, new, hashes)
    assert path == reference_path(old, 0, new)
    check_inclusion(LEAVES[old], old, new, path, root)
    proof = consistency_proof(old, new, hashes)
    assert proof == reference_proof(old, 0, new, True)
    check_consistency(old, reference_root(0, old), new, root, proof)


def changed(proof: tuple[bytes, ...]) -> list[tuple[bytes, ...]]:
    """Every proof with one bit changed, one hash left out, doubled or with its neighbour, and one added."""
    found = [
        (*proof[:at], (int.from_bytes(one) ^ (1 << bit)).to_bytes(32), *proof[at + 1 :])
        for at, one in enumerate(proof)
        for bit in range(256)
    ]
    for at in range(len(proof)):
        found += [(*proof[:at], *proof[at + 1 :]), (*proof[: at + 1], *proof[at:])]
    found += [(*proof[:at], proof[at + 1], proof[at], *proof[at + 2 :]) for at in range(len(proof) - 1)]
    return [*found, (*proof, EMPTY_ROOT), (EMPTY_ROOT, *proof)]


@pytest.mark.parametrize(("index", "size"), [(0, 1), (0, 2), (5, 8), (6, 7), (6, 13), (12, 13), (255, 257), (256, 257)])
def test_no_change_of_an_inclusion_proof_is_accepted(index: int, size: int) -> None:
    root, proof = reference_root(0, size), inclusion_proof(index, size, hashes)
    for other in changed(proof):
        with pytest.raises(NotProven):
            check_inclusion(LEAVES[index], index, size, other, root)
    for wrong in (*range(-1, index), *range(index + 1, size + 2)):
        with pytest.raises(NotProven):
            check_inclusion(LEAVES[index], wrong, size, proof, root)
    for leaf, under in ((LEAVES[index + 1], root), (LEAVES[index], LEAVES[-1]), (b"", root), (LEAVES[index], b"")):
        with pytest.raises(NotProven):
            check_inclusion(leaf, index, size, proof, under)


@pytest.mark.parametrize(("old", "new"), [(1, 2), (4, 8), (3, 7), (6, 8), (7, 8), (8, 13), (255, 257), (256, 257)])
def test_no_change_of_a_consistency_proof_is_accepted(old: int, new: int) -> None:
    roots, proof = (reference_root(0, old), reference_root(0, new)), consistency_proof(old, new, hashes)
    for other in changed(proof):
        with pytest.raises(NotProven):
            check_consistency(old, roots[0], new, roots[1], other)
    for bit in range(256):
        bent = [(int.from_bytes(root) ^ (1 << bit)).to_bytes(32) for root in roots]
        with pytest.raises(NotProven):
            check_consistency(old, bent[0], new, roots[1], proof)
        with pytest.raises(NotProven):
            check_consistency(old, roots[0], new, bent[1], proof)


def test_a_rewritten_log_has_no_proof_that_it_continues_the_old_one() -> None:
    chance = random.Random(7)
    for _ in range(50):
        new = chance.randrange(2, 200)
        old = chance.randrange(1, new)
        forged = list(LEAVES[:new])
        forged[chance.randrange(old)] = leaf_hash(b"another")

        def other(level: int, index: int, forged: list[bytes] = forged) -> bytes:
            tree = Frontier()
            for leaf in forged[index << level : (index + 1) << level]:
                tree.add(leaf)
            return tree.root()

        with pytest.raises(NotProven):
            check_consistency(old, root_of(old, hashes), new, root_of(new, other), consistency_proof(old, new, other))


def test_equal_sizes_need_equal_roots_and_an_empty_proof() -> None:
    root, other = reference_root(0, 5), reference_root(0, 6)
    check_consistency(5, root, 5, root, ())
    for old_root, new_root, proof in ((root, other, ()), (root, root, (root,))):
        with pytest.raises(NotProven):
            check_consistency(5, old_root, 5, new_root, proof)


def test_every_tree_continues_the_empty_one_and_only_the_empty_one_has_its_root() -> None:
    root = reference_root(0, 5)
    check_consistency(0, EMPTY_ROOT, 5, root, ())
    check_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, ())
    for old, old_root, new, new_root, proof in (
        (0, root, 5, root, ()),
        (0, root, 0, root, ()),
        (0, EMPTY_ROOT, 5, root, (root,)),
        (5, root, 0, EMPTY_ROOT, ()),
        (-1, EMPTY_ROOT, 5, root, ()),
    ):
        with pytest.raises(NotProven):
            check_consistency(old, old_root, new, new_root, proof)


def test_hashes_that_are_cut_elsewhere_are_not_taken_for_the_same() -> None:
    root = node_hash(LEAVES[0], LEAVES[1])
    with pytest.raises(NotProven, match="33"):
        check_inclusion(LEAVES[0] + LEAVES[1][:1], 0, 2, (LEAVES[1][1:],), root)


def test_sizes_that_no_tree_has_are_the_callers_bug() -> None:
    for call in (
        lambda: root_of(-1, hashes),
        lambda: root_of(2**63, hashes),
        lambda: inclusion_proof(5, 5, hashes),
        lambda: inclusion_proof(-1, 5, hashes),
        lambda: consistency_proof(6, 5, hashes),
        lambda: consistency_proof(-1, 5, hashes),
        lambda: Frontier(3, LEAVES[:1]),
        lambda: Frontier(1, [b"short"]),
    ):
        with pytest.raises(ValueError, match=r".+"):
            call()


def test_a_copy_grows_on_its_own() -> None:
    tree = Frontier()
    tree.add(LEAVES[0])
    other = tree.copy()
    other.add(LEAVES[1])
    assert (tree.size, tree.root()) == (1, reference_root(0, 1))
    assert (other.size, other.root()) == (2, reference_root(0, 2))
