"""Payloads sealed before they reach any file: compressed, then encrypted under a key that is used once.

What lives here: the form of sealed bytes, and the way between a payload and them. What never may: the database, the
files of keys.

Sealed is AES-256-GCM, under the payload's own key and a nonce of zeros (the key seals nothing else), with the payload's
id and kind as associated data, of: one byte (0 as it is, 1 raw DEFLATE, RFC 1951), one byte with the length of the
salt, the salt, the bytes.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from remit.adapters.clock import SystemClock
from remit.adapters.payloads.keepers import FileKeeper
from remit.adapters.payloads.keys import KeyGone, Keyring, Points
from remit.model.errors import Fault, NotCommitted
from remit.model.words import Payload

_NONCE = bytes(12)
_WORTH_IT = 128  # bytes below which compression saves less than it costs
_SMALL = 8192  # bytes up to which a small window does as well, and is set up in a fraction of the time


class Sealer(Protocol):
    """How a store keeps payloads. Called from any thread."""

    def seal(self, payload: Payload) -> tuple[int, bytes]:
        """The slot of the payload's key, and the sealed bytes. Raises `NotCommitted` where no key can be made."""
        ...

    def open(self, payload_id: str, kind: str, slot: int, sealed: bytes) -> Payload | None:
        """The payload; None where its key was destroyed. Raises `Fault` where the keys are missing or wrong, or the
        bytes are not those that were sealed."""
        ...

    def destroy(self, slots: list[int]) -> None:
        """Destroy these keys, so that nothing that is left or was copied opens what they sealed. Raises `Fault`."""
        ...

    def ready(self, *, sealed_before: bool) -> None:
        """Finish what a crash left. Raises `Fault` where something was sealed before and its keys are missing."""
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...


class KeyedSealer:
    """The `Sealer` on a `Keyring`."""

    def __init__(self, keys: Keyring) -> None:
        self._keys = keys

    def seal(self, payload: Payload) -> tuple[int, bytes]:
        """See `Sealer`."""
        try:
            slot, key = self._keys.take()
        except (OSError, Fault) as error:
            why = error.message if isinstance(error, Fault) else (error.strerror or str(error)).lower()
            raise NotCommitted(f"nothing was written: no key for a payload can be made ({why})") from error
        packed = _packed(payload.data)
        head = bytes((packed is not None, len(payload.salt))) + payload.salt
        plain = head + (payload.data if packed is None else packed)
        return slot, AESGCM(key).encrypt(_NONCE, plain, _bound_to(payload.id, payload.kind))

    def open(self, payload_id: str, kind: str, slot: int, sealed: bytes) -> Payload | None:
        """See `Sealer`."""
        try:
            plain = AESGCM(self._keys.key(slot)).decrypt(_NONCE, sealed, _bound_to(payload_id, kind))
        except KeyGone:
            return None
        except InvalidTag:
            hint = "somebody changed the store, or its keys are those of another one"
            raise Fault(f"the payload `{payload_id}` is not what was sealed", hint=hint) from None
        start = 2 + plain[1]
        data = zlib.decompress(plain[start:], -15) if plain[0] else plain[start:]
        return Payload(id=payload_id, kind=kind, salt=plain[2:start], data=data)

    def destroy(self, slots: list[int]) -> None:
        """See `Sealer`."""
        try:
            self._keys.destroy(slots)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise Fault(f"the keys of payloads could not be destroyed yet ({why})", hint="look at the disk") from error

    def ready(self, *, sealed_before: bool) -> None:
        """See `Sealer`."""
        try:
            if sealed_before:
                self._keys.check()
            self._keys.tidy()
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise Fault(f"the keys of payloads cannot be read ({why})", hint="look at the owner of `keys/`") from error

    def close(self) -> None:
        """See `Sealer`."""
        self._keys.close()


def sealer(folder: Path, *, point: Points | None = None) -> KeyedSealer:
    """The sealer of a home, whose folder of keys this is: `payload-keys` and `payloads/` in it. `point` is told of the
    moments of a destruction."""
    keeper = FileKeeper(folder / "payload-keys")
    return KeyedSealer(Keyring(folder / "payloads", keeper, now=SystemClock().now, point=point))


def _packed(data: bytes) -> bytes | None:
    if len(data) < _WORTH_IT:
        return None
    # A small compressor is set up in half the time of the default one, which is most of what a small payload costs.
    small = len(data) <= _SMALL
    compressor = zlib.compressobj(1, zlib.DEFLATED, -12 if small else -15, 5 if small else 8)
    packed = compressor.compress(data) + compressor.flush()
    return packed if len(packed) < len(data) else None


def _bound_to(payload_id: str, kind: str) -> bytes:
    return f"remit/payload/v1\n{payload_id}\n{kind}".encode()


def beside(store: Path) -> KeyedSealer:
    """The sealer of a store that is in no home: its keys lie in a folder beside the file."""
    return sealer(store.with_name(f"{store.name}.keys"))
