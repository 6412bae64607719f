"""Sessions of the handshake era, without a table of them.

A session id is a random part and a MAC of it under the hash of the run's token, so it is good for that token alone and
outlives a restart of the gateway. Whoever holds the token could make one, and gains nothing: a session only keeps the
request ids of two clients of one run apart.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict

from remit.model.words import Run

_MOST_ENDED = 64
_MOST_RUNS = 1_024


class Sessions:
    """Issues, checks and ends session ids."""

    def __init__(self) -> None:
        self._ended: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()  # run id -> session ids; by `end` only

    def open(self, run: Run) -> str:
        """A new session id for `run`: visible ASCII (MCP 2025-11-25, session management)."""
        nonce = secrets.token_urlsafe(16)
        return f"{nonce}.{_mac(run, nonce)}"

    def good(self, run: Run, session: str) -> bool:
        """Whether `session` was issued for this run's token and has not been ended."""
        nonce, _, mac = session.partition(".")
        if not session.isascii() or not hmac.compare_digest(mac, _mac(run, nonce)):
            return False
        return session not in self._ended.get(run.id, ())

    def end(self, run: Run, session: str) -> None:
        """Refuse `session` from now on. Of each run the last ended ones are remembered; older ones harm nobody."""
        ended = self._ended.setdefault(run.id, OrderedDict())
        self._ended.move_to_end(run.id)
        ended[session] = None
        if len(ended) > _MOST_ENDED:
            ended.popitem(last=False)
        if len(self._ended) > _MOST_RUNS:
            self._ended.popitem(last=False)


def _mac(run: Run, nonce: str) -> str:
    return hmac.digest(run.token_hash.encode(), b"remit session\0" + nonce.encode(), "sha256").hex()[:32]
