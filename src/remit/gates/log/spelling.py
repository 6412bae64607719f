"""Numbers and base64 in their one proper spelling.

What lives here: reading the two spellings that every text of the log uses. What never may: a second spelling of
the same value. If `01` were 1, two different texts would say the same and only one of them would be signed.
"""

from __future__ import annotations

import base64
import binascii
import re

LARGEST = 2**63 - 1

_DECIMAL = re.compile(r"(?:0|[1-9][0-9]{0,18})\Z")


class Misspelt(ValueError):
    """The text is not the value's one proper spelling; the message says how, as the end of a sentence."""


def decimal(text: str) -> int:
    """The number from 0 to 2**63 - 1 that `text` is, in ASCII digits and without leading zeroes.

    Raises `Misspelt` for everything else: signs, spaces, other digits, numbers beyond.
    """
    if not _DECIMAL.match(text) or (number := int(text)) > LARGEST:
        raise Misspelt(f"expected a decimal number from 0 to {LARGEST}")
    return number


def from_base64(text: str) -> bytes:
    """The bytes that `text` is in standard base64 with padding (RFC 4648, section 4).

    Raises `Misspelt` where another text would give the same bytes: white space, padding left out, trailing bits
    that are not zero (section 3.5).
    """
    try:
        encoded = text.encode("ascii")
        decoded = binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError:  # UnicodeEncodeError and binascii.Error are both
        raise Misspelt("expected base64") from None
    if base64.b64encode(decoded) != encoded:
        raise Misspelt("expected base64 in its one proper spelling")
    return decoded


def to_base64(data: bytes) -> str:
    """`data` in standard base64 with padding."""
    return base64.b64encode(data).decode("ascii")


def hash_from_base64(text: str) -> bytes:
    """The 32 bytes of a SHA-256 hash in base64. Raises `Misspelt` for other lengths and spellings."""
    if len(digest := from_base64(text)) != 32:
        raise Misspelt(f"expected a hash of 32 bytes, found {len(digest)}")
    return digest
