"""Fresh ids and salts from the system's randomness."""

from __future__ import annotations

import os
import secrets

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


class RandomIds:
    """See `remit.flow.ports.Ids`. Ids have 80 random bits, in lower-case Crockford base32."""

    def new(self, prefix: str) -> str:
        """See `Ids`."""
        value = int.from_bytes(os.urandom(10))
        letters = []
        for _ in range(16):
            letters.append(_ALPHABET[value & 31])
            value >>= 5
        return f"{prefix}_{''.join(letters)}"

    def salt(self) -> bytes:
        """See `Ids`."""
        return os.urandom(16)

    def token(self) -> str:
        """See `Ids`."""
        return secrets.token_urlsafe(32)
