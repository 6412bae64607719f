"""Fresh ids and salts from the system's randomness."""

from __future__ import annotations

import os
import secrets
import threading

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


class RandomIds:
    """See `remit.flow.ports.Ids`. Ids have 80 random bits, in lower-case Crockford base32."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._block = b""  # guarded by _lock

    def new(self, prefix: str) -> str:
        """See `Ids`."""
        value = int.from_bytes(self._random(10))
        letters = []
        for _ in range(16):
            letters.append(_ALPHABET[value & 31])
            value >>= 5
        return f"{prefix}_{''.join(letters)}"

    def _random(self, count: int) -> bytes:
        """Fresh random bytes, read in blocks: each system call gives up the interpreter's lock. Each byte is given out
        once; a forked child must make ids of its own."""
        with self._lock:
            if len(self._block) < count:
                self._block = os.urandom(4096)
            given, self._block = self._block[:count], self._block[count:]
        return given

    def salt(self) -> bytes:
        """See `Ids`."""
        return self._random(16)

    def token(self) -> str:
        """See `Ids`."""
        return secrets.token_urlsafe(32)
