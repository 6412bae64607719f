"""An agent's session as bytes, in either era: for what no client library would send, and no client would do.

Over HTTP with a session of the handshake era, or with the envelope of 2026-07-28 in every request; or over the unix
socket, where one connection is the session.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import struct
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from tests.doors.gateway import raw
from tests.support.gateway import PATIENCE, Agent

Arguments = bytes | dict[str, Any]
"""The arguments of a call: as bytes, where they are to be what no encoder would write."""

_RESETS = struct.pack("ii", 1, 0)


class Era(StrEnum):
    """How a session is kept."""

    HANDSHAKE = "2025-11-25"
    MODERN = "2026-07-28"


@dataclass
class Wire:
    """One session of an agent over HTTP."""

    port: int
    token: str
    era: Era
    session: str = ""
    ids: count[int] = field(default_factory=lambda: count(1))

    @classmethod
    async def open(cls, agent: Agent, era: Era) -> Wire:
        """A session that may call tools."""
        port = urlsplit(agent.url).port
        assert port is not None
        session = await raw.open_session(port, agent.token) if era is Era.HANDSHAKE else ""
        return cls(port, agent.token, era, session)

    def message(self, tool: str, arguments: Arguments, number: int | None = None) -> bytes:
        """A `tools/call` with these arguments. Its id is the next one, or `number`."""
        params: dict[str, Any] = {"name": tool, "arguments": "HERE"}
        if self.era is Era.MODERN:
            params["_meta"] = raw.META
        body = {"jsonrpc": "2.0", "id": next(self.ids) if number is None else number, "method": "tools/call"}
        data = arguments if isinstance(arguments, bytes) else json.dumps(arguments, ensure_ascii=False).encode()
        return json.dumps(body | {"params": params}).encode().replace(b'"HERE"', data)

    def request(self, body: bytes, tool: str = "", *, method: str = "POST") -> bytes:
        """An HTTP request of this session with this body, which calls `tool` or is another message of its era."""
        headers: dict[str, str | None] = {"authorization": f"Bearer {self.token}"}
        if self.era is Era.HANDSHAKE:
            headers["mcp-session-id"] = self.session
        else:
            headers["mcp-protocol-version"] = self.era
            headers |= {"mcp-method": "tools/call", "mcp-name": _header(tool)} if tool else {}
        return raw.request(self.port, body, method, **headers)

    async def call(self, tool: str, arguments: Arguments, number: int | None = None) -> raw.Response:
        """One call, to its answer."""
        return await raw.send(self.port, self.request(self.message(tool, arguments, number), tool))

    async def cancel(self, request: Any) -> raw.Response:
        """Say that this session does not wait for a request any more."""
        params = {"requestId": request, "reason": "changed my mind"}
        body = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
        return await raw.send(self.port, self.request(json.dumps(body).encode()))

    async def delete(self) -> raw.Response:
        """End the session."""
        return await raw.send(self.port, self.request(b"", method="DELETE"))

    async def begin(self, tool: str, arguments: Arguments, number: int | None = None) -> Begun:
        """Send one call and read nothing."""
        begun = await Begun.connect(self.port)
        await begun.write(self.request(self.message(tool, arguments, number), tool))
        return begun


@dataclass
class Begun:
    """One connection on which something was sent; how it ends is the agent's choice."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def connect(cls, port: int) -> Begun:
        """A connection to the agents' port."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def write(self, data: bytes) -> None:
        """Send these bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> raw.Response:
        """The response; status 0 where there is none. The connection ends with it."""
        try:
            return await asyncio.wait_for(raw.read(self.reader), PATIENCE)
        finally:
            self.close()

    def close(self) -> None:
        """End the connection in order, without reading."""
        self.writer.close()

    def half_close(self) -> None:
        """Say that nothing more will be sent, and keep listening."""
        self.writer.write_eof()

    def reset(self) -> None:
        """End the connection with a reset, so that what is under way in it is thrown away."""
        found: socket.socket = self.writer.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESETS)
        self.writer.transport.abort()


def _header(name: str) -> str:
    """A tool's name as MCP 2026-07-28 writes it in a header: in base64 where it is not plain."""
    if name.isascii() and name.isprintable():
        return name
    return f"=?base64?{base64.b64encode(name.encode()).decode()}?="
