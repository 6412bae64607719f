"""Who holds the keys that the payloads' keys are wrapped with: a protocol for a KMS, and a file that fulfils it.

What lives here: creating, fetching and destroying whole epoch keys. What never may: a payload, or a payload's own key.

INVARIANT: once `destroy` has returned, the keeper can never give that key again.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import msgspec

from remit.adapters.disk import write
from remit.model.errors import Fault

KEY_BYTES = 32


class KeyKeeper(Protocol):
    """What Remit needs of a key management service. Called from any thread; `create` and `destroy` from one at a time.

    Every method raises `Fault` where the keeper cannot be asked; then nothing that needs it goes on.
    """

    def create(self, name: str) -> bytes:
        """Make a fresh key of 32 bytes under this name, durably, and return it."""
        ...

    def key(self, name: str) -> bytes | None:
        """The key of this name; None where there is none (any more)."""
        ...

    def destroy(self, names: Iterable[str]) -> None:
        """Destroy these keys for good. Unknown names are passed over."""
        ...

    def names(self) -> frozenset[str]:
        """The names of all keys that there are."""
        ...


class _Kept(msgspec.Struct, forbid_unknown_fields=True):
    v: int
    keys: dict[str, str]


class FileKeeper:
    """Epoch keys in one file of mode 0600, replaced whole. What it held before is overwritten where it lay."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, name: str) -> bytes:
        """See `KeyKeeper`."""
        keys = self._load() if self.path.exists() else {}
        key = os.urandom(KEY_BYTES)
        self._save({**keys, name: key})
        return key

    def key(self, name: str) -> bytes | None:
        """See `KeyKeeper`."""
        return self._load().get(name)

    def destroy(self, names: Iterable[str]) -> None:
        """See `KeyKeeper`."""
        keys, doomed = self._load(), frozenset(names)
        if not doomed.isdisjoint(keys):
            self._save({name: key for name, key in keys.items() if name not in doomed})

    def names(self) -> frozenset[str]:
        """See `KeyKeeper`."""
        return frozenset(self._load()) if self.path.exists() else frozenset()

    def _load(self) -> dict[str, bytes]:
        try:
            mode = stat.S_IMODE(self.path.stat().st_mode)
            data = self.path.read_bytes()
        except FileNotFoundError:
            hint = "bring `keys/` back from where it was kept; without it no payload can be read"
            raise Fault(f"the file of the payloads' keys, `{self.path}`, is missing", hint=hint) from None
        except OSError as error:
            says = f"the file of the payloads' keys, `{self.path}`, cannot be read ({error.strerror})"
            raise Fault(says, hint="look at the file's owner") from None
        if mode & 0o077:
            says = f"the file of the payloads' keys can be read by others: its mode is {mode:04o}, expected 0600"
            raise Fault(says, hint=f"chmod 600 {self.path}")
        try:
            kept = msgspec.json.decode(data, type=_Kept)
            keys = {name: bytes.fromhex(key) for name, key in kept.keys.items()}
        except (msgspec.MsgspecError, ValueError):
            kept, keys = _Kept(0, {}), {}
        if kept.v != 1 or any(len(key) != KEY_BYTES for key in keys.values()):
            says = f"`{self.path}` is no file of payload keys: expected version 1 with keys of {KEY_BYTES} bytes"
            raise Fault(says, hint="bring `keys/` back from where it was kept")
        return keys

    def _save(self, keys: dict[str, bytes]) -> None:
        body = {"v": 1, "keys": {name: key.hex() for name, key in sorted(keys.items())}}
        try:
            replace(self.path, msgspec.json.encode(body))
        except OSError as error:
            says = f"the file of the payloads' keys cannot be written ({(error.strerror or str(error)).lower()})"
            raise Fault(says, hint="look at the disk") from error


def replace(path: Path, data: bytes) -> None:
    """Replace a file whole and durably (mode 0600), then overwrite what it held where that lay.

    Overwriting reaches the old bytes on file systems that write in place; where they copy on write, or the disk moves
    blocks about, only destroying the key above them does. Raises `OSError`.
    """
    old = -1
    with contextlib.suppress(FileNotFoundError):
        old = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        write(path, data)
        if old >= 0:
            overwrite(old)
    finally:
        if old >= 0:
            os.close(old)


def overwrite(descriptor: int) -> None:
    """Write zeros over all of an open file, durably."""
    size = os.fstat(descriptor).st_size
    for start in range(0, size, 1 << 20):
        os.pwrite(descriptor, bytes(min(1 << 20, size - start)), start)
    os.fsync(descriptor)
