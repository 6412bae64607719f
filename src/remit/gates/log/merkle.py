"""The hash tree of RFC 6962, section 2.1: roots, and proofs of inclusion and of consistency, made and checked.

What lives here: arithmetic over hashes of 32 bytes. Proofs are made from `Hashes`, a function that gives the hash of
any complete subtree, so that tiles, a list in memory or a database can feed them. What never may: an entry's
meaning, a file, a signature. A proof is only worth what the root that it leads to is worth, and the root's worth
comes from a signed checkpoint.

INVARIANT: a check takes every hash of a proof into account, and refuses hashes that are not 32 bytes long; else two
different proofs could hash the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from remit.gates.log.spelling import LARGEST
from remit.model.errors import NotVerified

HASH_SIZE = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

Hashes = Callable[[int, int], bytes]
"""From (level, index) to the hash of the complete subtree over leaves `index * 2**level` up to the next index's."""

_sha256 = hashlib.sha256


class NotProven(NotVerified):
    """The proof does not show what it should. Nothing may be concluded about the entry or the tree."""


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one entry: SHA-256 of a zero byte and the entry."""
    return _sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: SHA-256 of a one byte and its two children."""
    return _sha256(b"\x01" + left + right).digest()


class Frontier:
    """A tree that only grows, kept as the roots of its complete subtrees: at most 63 hashes for any size."""

    __slots__ = ("_hashes", "_size")

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        """The tree of `size` leaves whose complete subtrees have `hashes`, left to right (see `frontier_of`).

        Raises `ValueError` where the hashes cannot be those of a tree of this size.
        """
        self._size = size
        self._hashes = list(hashes)  # owned by `add`; the largest subtree first
        if not 0 <= size <= LARGEST:
            raise ValueError(f"a tree has 0 to {LARGEST} leaves, found {size}")
        if len(self._hashes) != size.bit_count() or any(len(found) != HASH_SIZE for found in self._hashes):
            raise ValueError(f"expected {size.bit_count()} hashes of {HASH_SIZE} bytes for {size} leaves")

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return self._size

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """The roots of the complete subtrees, left to right."""
        return tuple(self._hashes)

    def add(self, leaf: bytes) -> None:
        """Appends a leaf, given as its `leaf_hash`."""
        hashes = self._hashes
        filled = self._size
        while filled & 1:
            leaf = _sha256(b"\x01" + hashes.pop() + leaf).digest()
            filled >>= 1
        hashes.append(leaf)
        self._size += 1

    def root(self) -> bytes:
        """The root over all leaves so far; `EMPTY_ROOT` when there are none."""
        return _joined(self._hashes)

    def copy(self) -> Frontier:
        """The same tree, to grow on its own."""
        return Frontier(self._size, self._hashes)


def frontier_of(size: int, hashes: Hashes) -> Frontier:
    """The tree of `size` leaves, to be continued. Raises what `hashes` raises, `ValueError` for a bad size."""
    _expect_size(size)
    return Frontier(size, _subtrees(0, size, hashes))


def root_of(size: int, hashes: Hashes) -> bytes:
    """The root of the tree over the first `size` leaves. Raises what `hashes` raises, `ValueError` for a bad size."""
    _expect_size(size)
    return _over(0, size, hashes)


def inclusion_proof(index: int, size: int, hashes: Hashes) -> tuple[bytes, ...]:
    """The audit path of leaf `index` in the tree of `size` leaves, from the leaf's sibling up (section 2.1.1).

    Raises `ValueError` where there is no such leaf, and what `hashes` raises.
    """
    _expect_size(size)
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_over(middle, end, hashes))
            end = middle
        else:
            path.append(_over(start, middle, hashes))
            start = middle
    return tuple(reversed(path))


def consistency_proof(old: int, new: int, hashes: Hashes) -> tuple[bytes, ...]:
    """The proof that the tree of `new` leaves continues the one of `old` leaves (section 2.1.2).

    Empty where the sizes are equal, and from the empty tree, which every tree continues. Raises `ValueError` where
    `old` is larger, and what `hashes` raises.
    """
    _expect_size(new)
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} leaves cannot continue one of {old}")
    if old in {0, new}:
        return ()
    path: list[bytes] = []
    start, end = 0, new
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_over(middle, end, hashes))
            end = middle
        else:
            path.append(_over(start, middle, hashes))
            start = middle
    if start:  # else the last subtree is the old tree, whose root the verifier has
        path.append(_over(start, end, hashes))
    return tuple(reversed(path))


def check_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Returns where `proof` shows that `leaf` (a `leaf_hash`) is leaf `index` under `root` (RFC 9162, 2.1.3.2).

    Raises `NotProven` with the reason where it does not.
    """
    _expect_hashes((leaf, root), proof)
    if not 0 <= index < size <= LARGEST:
        raise NotProven(f"a tree of `{size}` entries has no entry `{index}`")
    node, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise NotProven(f"the proof of entry `{index}` has more hashes than a tree of `{size}` entries is high")
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise NotProven(f"the proof of entry `{index}` has fewer hashes than a tree of `{size}` entries asks")
    if found != root:
        raise NotProven(f"the proof of entry `{index}` leads to root `{found.hex()}`, expected `{root.hex()}`")


def check_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Returns where `proof` shows that the tree under `new_root` continues that under `old_root` (RFC 9162, 2.1.4.2).

    Raises `NotProven` with the reason where it does not. From the empty tree nothing is to be shown but that
    `old_root` is the empty tree's and the proof is empty.
    """
    _expect_hashes((old_root, new_root), proof)
    if not 0 <= old <= new <= LARGEST:
        raise NotProven(f"a log of `{new}` entries cannot continue one of `{old}`")
    for size, root in ((old, old_root), (new, new_root)):
        if size == 0 and root != EMPTY_ROOT:
            raise NotProven(f"the root of no entries is `{EMPTY_ROOT.hex()}`, found `{root.hex()}`")
    if old == new and old_root != new_root:
        raise NotProven(f"two roots for `{old}` entries: `{old_root.hex()}` and `{new_root.hex()}`")
    if old in {0, new}:
        if proof:
            raise NotProven(f"expected no hashes to prove that `{new}` entries continue `{old}`, found {len(proof)}")
        return
    _replay(old, old_root, new, new_root, proof)


def _replay(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Rebuilds both roots from a proof between two trees of different sizes, neither of them empty."""
    path = list(proof)
    if old & (old - 1) == 0:  # a complete tree: its root begins the path
        path.insert(0, old_root)
    claim = f"that `{new}` entries continue `{old}`"
    if not path:
        raise NotProven(f"the proof {claim} is empty")
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old_found = new_found = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise NotProven(f"the proof {claim} has too many hashes")
        if node & 1 or node == last:
            old_found, new_found = node_hash(sibling, old_found), node_hash(sibling, new_found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new_found = node_hash(new_found, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise NotProven(f"the proof {claim} has too few hashes")
    for found, expected, which in ((old_found, old_root, "old"), (new_found, new_root, "new")):
        if found != expected:
            raise NotProven(f"the proof {claim} leads to {which} root `{found.hex()}`, expected `{expected.hex()}`")


def _split(width: int) -> int:
    """The largest power of two below `width`, which is at least 2: how many leaves go to the left."""
    return 1 << (width - 1).bit_length() - 1


def _subtrees(start: int, end: int, hashes: Hashes) -> list[bytes]:
    """The complete subtrees that make up the leaves from `start` to `end`, the largest and leftmost first.

    `start` is a multiple of the largest power of two that fits between the two.
    """
    found: list[bytes] = []
    while start < end:
        level = (end - start).bit_length() - 1
        found.append(hashes(level, start >> level))
        start += 1 << level
    return found


def _over(start: int, end: int, hashes: Hashes) -> bytes:
    return _joined(_subtrees(start, end, hashes))


def _joined(subtrees: Sequence[bytes]) -> bytes:
    """The root over complete subtrees of falling size, left to right."""
    if not subtrees:
        return EMPTY_ROOT
    found = subtrees[-1]
    for left in subtrees[-2::-1]:
        found = node_hash(left, found)
    return found


def _expect_size(size: int) -> None:
    if not 0 <= size <= LARGEST:
        raise ValueError(f"a tree has 0 to {LARGEST} leaves, found {size}")


def _expect_hashes(ends: Sequence[bytes], proof: Sequence[bytes]) -> None:
    for found in (*ends, *proof):
        if len(found) != HASH_SIZE:
            raise NotProven(f"expected hashes of {HASH_SIZE} bytes, found one of {len(found)}")
