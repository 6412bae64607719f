"""Progress notifications of one call: what the connector reports, and heartbeats while nothing is reported."""

from __future__ import annotations

import math
from collections.abc import Callable

from remit.doors.gateway.messages import Message, bad_params, encode_notification
from remit.model.display import safe_line
from remit.model.words import Json

_BEAT = 1e-6


def progress_token(message: Message) -> str | int | None:
    """The token under which the client wants progress, or None. Raises `ProtocolError` for one of another type."""
    token = message.meta.get("progressToken")
    if token is None or isinstance(token, str) or (isinstance(token, int) and not isinstance(token, bool)):
        return token
    raise bad_params(message, "_meta.progressToken", "a text or a whole number", token)


class Progress:
    """Writes notifications whose `progress` only rises, as MCP asks (utilities, progress).

    Heartbeats rise by so little that they never overtake what the connector reports.
    """

    def __init__(self, token: str | int, write: Callable[[bytes], None]) -> None:
        self._token = token
        self._write = write
        self._last: float | None = None  # written by `_send` only

    def relay(self, value: Json) -> None:
        """Pass on what a connector reported: the `params` of its notification. What is not progress is dropped."""
        if not isinstance(value, dict) or not _is_number(value.get("progress")):
            return
        progress: float = value["progress"]
        if self._last is not None and progress <= self._last:
            return
        more: dict[str, Json] = {}
        if _is_number(value.get("total")):
            more["total"] = value["total"]
        if isinstance(value.get("message"), str):
            more["message"] = safe_line(value["message"])
        self._send(progress, more)

    def beat(self) -> None:
        """Tell the client that the call is still held."""
        self._send(0 if self._last is None else self._last + _BEAT, {"message": "still waiting"})

    def _send(self, progress: float, more: dict[str, Json]) -> None:
        self._last = progress
        self._write(
            encode_notification("notifications/progress", {"progressToken": self._token, "progress": progress, **more})
        )


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
