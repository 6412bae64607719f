"""Server-sent events, as far as MCP uses them (WHATWG HTML, section 9.2.6), without I/O."""

from __future__ import annotations

import re

_END = re.compile(rb"\r\n|\n|\r(?=.)", re.DOTALL)


class SseReader:
    """Feed it bytes, get the data of finished events. Remembers the last event id and the wished pause."""

    def __init__(self) -> None:
        self.last_id = ""
        self.retry = 1.0
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of every event that this chunk ends; empty events are left out."""
        lines = _END.split(self._rest + chunk)
        self._rest = lines.pop()
        events = []
        for line in lines:
            if line:
                self._field(line)
            elif self._data:
                events.append(b"\n".join(self._data))
                self._data = []
        return [event for event in events if event]

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"id" and len(value) <= 1024 and value.isascii() and value.decode().isprintable():
            self.last_id = value.decode()
        elif name == b"retry" and value.isdigit() and len(value) < 8:
            self.retry = min(int(value) / 1000, 30.0)
