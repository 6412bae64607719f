"""What is in an evidence bundle, as frozen values.

What lives here: types, and the port to a log's files. What never may: reading, writing, checking.
"""

from __future__ import annotations

from typing import Final, Protocol

from msgspec import Struct

from remit.gates.log.tiles import Bundle, Tile
from remit.model.words import Payload

FORMAT: Final = 1
LARGEST_BUNDLE: Final = 64 * 1024 * 1024
"""Bytes of a whole file."""
LARGEST_PAYLOAD: Final = 128 * 1024
"""Payloads beyond it stay out unless somebody asks for them: an ordinary bundle is well below 1 MB."""


class LogFiles(Protocol):
    """A log's files, in a folder or below a URL."""

    def checkpoint(self) -> bytes:
        """The newest signed checkpoint; empty where there is none."""
        ...

    def witnessed(self) -> bytes:
        """The newest checkpoint that as many witnesses cosigned as the log asks for; empty where there is none."""
        ...

    def tile(self, tile: Tile) -> bytes | None:
        """The bytes of a tile of hashes, or None where it is not there."""
        ...

    def bundle(self, bundle: Bundle) -> bytes | None:
        """The bytes of a bundle of entries, or None where it is not there."""
        ...


class About(Struct, frozen=True, kw_only=True):
    """What a bundle is about: one action, or all of a case."""

    action: str = ""
    case: str = ""


class Proved(Struct, frozen=True, kw_only=True):
    """One entry of the log: its exact bytes, and the text of its proof (c2sp.org/tlog-proof@v1)."""

    position: int
    entry: bytes
    proof: bytes


class Disclosed(Struct, frozen=True, kw_only=True):
    """A payload, and the position of the first entry in the bundle that commits to it."""

    entry: int
    payload: Payload


class Absent(Struct, frozen=True, kw_only=True):
    """A payload that an entry commits to and that is not in the bundle. `why`: `withheld`, `secret`, `large`,
    `ended` (with its action), `erased`, `pruned` or `gone`."""

    id: str
    why: str


class Material(Struct, frozen=True, kw_only=True):
    """Everything in a bundle that is not made from the rest. `connectors` are the files that the boundary pins."""

    about: About
    checkpoint: bytes
    keys: tuple[str, ...]
    entries: tuple[Proved, ...]
    payloads: tuple[Disclosed, ...]
    absent: tuple[Absent, ...] = ()
    connectors: dict[str, bytes] = {}
