"""Sets of positions within a block, as numbers whose bits they are, and their bytes in the file.

What lives here: arithmetic. What never may: a term, a connection.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

BLOCK: Final = 4_096
"""Positions in a block."""

SPAN: Final = 8
"""Blocks in a span."""

_FULL: Final = BLOCK // 8
_MOST_LISTED: Final = 64  # a longer list would still be shorter than the bits, but costs more to read


def pack(bits: int) -> bytes:
    """The bytes of a set: a list where it has few members, else its bits."""
    if not bits & (bits - 1):  # one member, as nearly all sets have
        return (bits.bit_length() - 1).to_bytes(2, "little") if bits else b""
    count = bits.bit_count()
    if count > _MOST_LISTED:
        return bits.to_bytes(_FULL, "little")
    return struct.pack(f"<{count}H", *reversed(list(offsets(bits))))


def unpack(hits: bytes) -> int:
    """The set that these bytes are. Raises `ValueError` for bytes that are none."""
    if len(hits) == _FULL:
        return int.from_bytes(hits, "little")
    if len(hits) % 2 or len(hits) > _FULL:
        raise ValueError(f"{len(hits)} bytes are no set of positions")
    bits = bytearray(_FULL)
    for each in struct.unpack(f"<{len(hits) // 2}H", hits):
        if each >= BLOCK:
            raise ValueError("a position lies outside of its block")
        bits[each >> 3] |= 1 << (each & 7)
    return int.from_bytes(bits, "little")


def offsets(bits: int) -> Iterator[int]:
    """Its members, highest first."""
    while bits:
        top = bits.bit_length() - 1
        yield top
        bits ^= 1 << top


class Terms:
    """Keyed hashes of terms: BLAKE2b (RFC 7693) of 64 bits under a key made from the home's."""

    def __init__(self, key: bytes) -> None:
        own = hashlib.blake2b(b"remit.index", key=key, digest_size=32).digest()

        @lru_cache(maxsize=200_000)
        def of(term: str) -> int:
            digest = hashlib.blake2b(term.encode("utf-8", "surrogatepass"), key=own, digest_size=8).digest()
            return int.from_bytes(digest, "big", signed=True)

        self.of = of

    def all(self, terms: Iterable[str]) -> list[int]:
        """Theirs, in order."""
        return [self.of(each) for each in terms]
