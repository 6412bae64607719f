"""Tiles (c2sp.org/tlog-tiles): which files a tree of some size consists of, and what is in them.

What lives here: names and bytes of tiles of hashes and of bundles of entries, and `TileHashes`, which answers for
any complete subtree from them. What never may: opening a file or a connection; a fetching function is an argument.

Bytes from a tile are a claim. They are worth something once a proof or a root made from them has led to the root
of a signed checkpoint.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from remit.gates.log.merkle import HASH_SIZE, Frontier
from remit.gates.log.spelling import LARGEST, decimal
from remit.model.display import shown
from remit.model.errors import NotVerified

WIDTH = 256
MAX_ENTRY = 65_535
"""Bytes. An entry's length is written in 16 bits."""

_HEIGHT = 8  # 2 ** _HEIGHT == WIDTH
_HIGHEST_LEVEL = 63
_CACHED_TILES = 64


class BadTile(NotVerified):
    """The bytes are not what a tile or bundle of this name holds, or the name is none."""


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """The hashes at level `8 * level` of the tree from `256 * index` on, `width` of them.

    Raises `ValueError` where there can be no such tile.
    """

    level: int
    index: int
    width: int = WIDTH

    def __post_init__(self) -> None:
        if not 0 <= self.level <= _HIGHEST_LEVEL:
            raise ValueError(f"a tile's level is 0 to {_HIGHEST_LEVEL}, found {self.level}")
        _expect_place(self.index, self.width)

    @property
    def path(self) -> str:
        """Where it lies below the log's folder or URL: `tile/0/x001/x234/067`, partial ones with `.p/W`."""
        return f"tile/{self.level}/{_place(self.index, self.width)}"


@dataclass(frozen=True, slots=True, order=True)
class Bundle:
    """The entries from `256 * index` on, `width` of them. Raises `ValueError` where there can be no such bundle."""

    index: int
    width: int = WIDTH

    def __post_init__(self) -> None:
        _expect_place(self.index, self.width)

    @property
    def path(self) -> str:
        """Where it lies below the log's folder or URL: `tile/entries/x001/x234/067`, partial ones with `.p/W`."""
        return entries_path(self.index, self.width)


def entries_path(index: int, width: int = WIDTH) -> str:
    """Where the bundle of `width` entries from `256 * index` on lies below the log's folder or URL."""
    return f"tile/entries/{_place(index, width)}"


def parse_path(path: str) -> Tile | Bundle:
    """The tile or bundle that lies at `path`, as `path` of either writes it. Raises `BadTile` for any other text."""
    try:
        top, kind, *groups = path.split("/")
        width = WIDTH
        if len(groups) > 1 and groups[-2].endswith(".p"):
            width = decimal(groups.pop())
            groups[-1] = groups[-1].removesuffix(".p")
        index = int("".join(group.removeprefix("x") for group in groups)) if groups else -1
        found = Bundle(index, width) if kind == "entries" else Tile(decimal(kind), index, width)
    except ValueError:
        found = None
        top = ""
    # The one spelling that counts is the one that we would write: this refuses all the others at once.
    if found is None or top != "tile" or found.path != path:
        raise BadTile(f"{shown(path)} is not the path of a tile", hint="expected one like `tile/0/x001/067.p/12`")
    return found


def tiles_of(size: int) -> list[Tile]:
    """Every tile that a tree of `size` leaves consists of, the lowest level first."""
    return new_tiles(0, size)


def new_tiles(old: int, new: int) -> list[Tile]:
    """The tiles of a tree of `new` leaves that one of `old` leaves did not have, the lowest level first."""
    _expect_growth(old, new)
    found: list[Tile] = []
    level = 0
    while new:
        found += (Tile(level, index, width) for index, width in _spans(old, new))
        old, new, level = old >> _HEIGHT, new >> _HEIGHT, level + 1
    return found


def entry_bundles(old: int, new: int) -> list[Bundle]:
    """The bundles that hold the entries from position `old` to `new`, as a log of `new` entries has them."""
    _expect_growth(old, new)
    return [Bundle(index, width) for index, width in _spans(old, new)]


def encode_entries(entries: Sequence[bytes]) -> bytes:
    """A bundle's bytes: each entry after its length in 16 bits, big-endian.

    Raises `ValueError` for an entry over `MAX_ENTRY`, and unless there are 1 to 256.
    """
    if not 1 <= len(entries) <= WIDTH:
        raise ValueError(f"a bundle has 1 to {WIDTH} entries, found {len(entries)}")
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY:
            raise ValueError(f"an entry has at most {MAX_ENTRY} bytes, found {len(entry)}")
        parts += (len(entry).to_bytes(2, "big"), entry)
    return b"".join(parts)


def decode_entries(data: bytes, width: int | None = None) -> list[bytes]:
    """The entries in a bundle's bytes, 1 to 256 of them, or exactly `width`.

    Raises `BadTile` where the bytes end within an entry, or hold another number of them.
    """
    entries: list[bytes] = []
    at, end = 0, len(data)
    while at < end and len(entries) <= WIDTH:
        start = at + 2
        at = start + int.from_bytes(data[at:start], "big")
        if at > end:
            raise BadTile(f"the bundle ends within its entry {len(entries)}")
        entries.append(data[start:at])
    if not 1 <= len(entries) <= WIDTH:
        raise BadTile(f"expected 1 to {WIDTH} entries in a bundle, found {'more' if entries else 'none'}")
    if width is not None and len(entries) != width:
        raise BadTile(f"expected {width} entries in the bundle, found {len(entries)}")
    return entries


def decode_tile(data: bytes, width: int) -> list[bytes]:
    """The `width` hashes in a tile's bytes. Raises `BadTile` for another length."""
    if len(data) != width * HASH_SIZE:
        raise BadTile(f"expected {width * HASH_SIZE} bytes in the tile, found {len(data)}")
    return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]


class TileHashes:
    """`merkle.Hashes` for a tree of `size` leaves, out of its tiles.

    `fetch` gives the bytes of one tile; what it raises passes through. The last tiles are remembered (64 at most), so
    that a proof fetches each that it needs once.
    """

    def __init__(self, size: int, fetch: Callable[[Tile], bytes]) -> None:
        _expect_growth(0, size)
        self._size = size
        self._fetch = fetch
        self._tiles: OrderedDict[Tile, list[bytes]] = OrderedDict()  # owned by `_hashes_of`

    def __call__(self, level: int, index: int) -> bytes:
        """The hash of the complete subtree over leaves `index * 2**level` up to the next index's.

        Raises `ValueError` where the tree has no such subtree, `BadTile` where a tile has a wrong length.
        """
        if level < 0 or index < 0 or (index + 1) << level > self._size:
            raise ValueError(f"a tree of {self._size} leaves has no complete subtree {index} at level {level}")
        tile_level, height = divmod(level, _HEIGHT)
        first = index << height
        tile_index, at = divmod(first, WIDTH)
        filled = (self._size >> _HEIGHT * tile_level) - tile_index * WIDTH
        hashes = self._hashes_of(Tile(tile_level, tile_index, min(WIDTH, filled)))
        if height == 0:
            return hashes[at]
        subtree = Frontier()
        for found in hashes[at : at + (1 << height)]:
            subtree.add(found)
        return subtree.root()

    def _hashes_of(self, tile: Tile) -> list[bytes]:
        if tile in self._tiles:
            self._tiles.move_to_end(tile)
            return self._tiles[tile]
        found = self._tiles[tile] = decode_tile(self._fetch(tile), tile.width)
        if len(self._tiles) > _CACHED_TILES:
            self._tiles.popitem(last=False)
        return found


def _place(index: int, width: int) -> str:
    """`N` or `N.p/W` of a path: the index in groups of three digits, all but the last after an `x`."""
    _expect_place(index, width)
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    place = "/".join((*(f"x{group}" for group in groups[:-1]), groups[-1]))
    return place if width == WIDTH else f"{place}.p/{width}"


def _spans(old: int, new: int) -> Iterator[tuple[int, int]]:
    """Index and width of what holds the places from `old` to `new`, filled up to `new`."""
    if old == new:
        return
    for index in range(old // WIDTH, -(-new // WIDTH)):
        yield index, min(WIDTH, new - index * WIDTH)


def _expect_place(index: int, width: int) -> None:
    if not 0 <= index <= LARGEST // WIDTH:
        raise ValueError(f"a tile's index is 0 to {LARGEST // WIDTH}, found {index}")
    if not 1 <= width <= WIDTH:
        raise ValueError(f"a tile's width is 1 to {WIDTH}, found {width}")


def _expect_growth(old: int, new: int) -> None:
    if not 0 <= old <= new <= LARGEST:
        raise ValueError(f"a tree of {new} leaves cannot continue one of {old}")
