"""The right edge of a growing log: what is in the tiles that are not full yet.

What lives here: adding entries, handing out the files that a larger tree needs, and the root. What never may: reading
or writing them. At most 255 hashes for each level of tiles, and 255 entries, whatever the size of the log.
"""

from __future__ import annotations

from collections.abc import Sequence

from remit.gates.log.merkle import Frontier, leaf_hash
from remit.gates.log.tiles import WIDTH, Bundle, Tile, encode_entries

Files = list[tuple[str, bytes, bool]]
"""Name, bytes, and whether the file will never change again."""


class Edge:
    """See the module. `levels` holds, for each level of tiles, the hashes of its last tile."""

    def __init__(self, size: int = 0, levels: Sequence[Sequence[bytes]] = (), entries: Sequence[bytes] = ()) -> None:
        """The edge of a tree of `size` entries. Raises `ValueError` where the parts cannot be those of such a tree."""
        self.size = size
        self._levels = [list(each) for each in levels]
        self._entries = list(entries)
        self._full: Files = []  # files that became full since `full` was asked last
        for level, width in enumerate(widths(size)):
            if level >= len(self._levels) or len(self._levels[level]) != width:
                raise ValueError(f"level {level} of a tree of {size} entries needs {width} hashes")
        if len(self._entries) != size % WIDTH:
            raise ValueError(f"{len(self._entries)} entries after the last full bundle, expected {size % WIDTH}")

    def copy(self) -> Edge:
        """The same edge, to grow on its own."""
        return Edge(self.size, self._levels, self._entries)

    def add(self, entry: bytes) -> None:
        """Append one entry."""
        self._entries.append(entry)
        if len(self._entries) == WIDTH:
            self._full.append((Bundle(self.size // WIDTH).path, encode_entries(self._entries), True))
            self._entries = []
        self.size += 1
        self._add(0, leaf_hash(entry))

    def _add(self, level: int, found: bytes) -> None:
        if level == len(self._levels):
            self._levels.append([])
        hashes = self._levels[level]
        hashes.append(found)
        if len(hashes) == WIDTH:
            index = (self.size >> 8 * (level + 1)) - 1
            self._full.append((Tile(level, index).path, b"".join(hashes), True))
            self._levels[level] = []
            self._add(level + 1, _root(hashes))

    def full(self) -> Files:
        """The files that became full since this was asked last."""
        found, self._full = self._full, []
        return found

    def partial(self) -> Files:
        """The files of the tree that are not full."""
        found: Files = []
        if self._entries:
            found.append((Bundle(self.size // WIDTH, len(self._entries)).path, encode_entries(self._entries), False))
        for level, hashes in enumerate(self._levels):
            if hashes:
                tile = Tile(level, self.size >> 8 * (level + 1), len(hashes))
                found.append((tile.path, b"".join(hashes), False))
        return found

    def root(self) -> bytes:
        """The root over all entries so far."""
        return self.frontier().root()

    def frontier(self) -> Frontier:
        """The same tree as the roots of its complete subtrees."""
        subtrees: list[bytes] = []
        for hashes in reversed(self._levels):
            at = 0
            for bit in reversed(range(8)):
                if len(hashes) >> bit & 1:
                    subtrees.append(_root(hashes[at : at + (1 << bit)]))
                    at += 1 << bit
        return Frontier(self.size, subtrees)


def widths(size: int) -> list[int]:
    """How many hashes the last tile of each level has that is not full, 0 where all are full; the lowest first."""
    found = []
    while size:
        found.append(size % WIDTH)
        size //= WIDTH
    return found


def _root(hashes: Sequence[bytes]) -> bytes:
    tree = Frontier()
    for found in hashes:
        tree.add(found)
    return tree.root()
