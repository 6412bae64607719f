"""Run tokens: their form, what is kept of them, and finding one where it must not be."""

from __future__ import annotations

import hashlib
import re

PREFIX = "remit_"  # so that scanners recognise a leaked one
_TOKEN = re.compile(r"remit_[A-Za-z0-9_-]{43}")


def token_hash(token: str) -> str:
    """What is kept of a token: SHA-256 in hex. Tokens have 256 random bits, so no salt or stretching is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


def leaked(text: str, kept: str) -> str:
    """The run's own token in a text, given what is kept of it; empty where it is not there."""
    if PREFIX not in text:
        return ""
    return next((found for found in _TOKEN.findall(text) if token_hash(found) == kept), "")
