"""Requests as bytes, for what no well-behaved client would send."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.doors.gateway.double import TOKEN

CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "siem__echo", "arguments": {"text": "x"}}}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
MODERN_CALL: dict[str, Any] = {**CALL, "params": {**CALL["params"], "_meta": META}}  # type: ignore[dict-item]
MODERN_HEADERS = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "siem__echo"}


class Response:
    """Status, headers and body of one HTTP response."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> int:
        """The JSON-RPC error's code."""
        return int(self.json["error"]["code"])


async def send(port: int, data: bytes, *, finish: bool = True) -> Response:
    """Write `data` to the port and read one response; status 0 where the server just hung up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return await asyncio.wait_for(read(reader), 10)
    finally:
        writer.close()


async def read(reader: asyncio.StreamReader) -> Response:
    """The next response; status 0 where the server just hung up."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return Response(0, {}, b"")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Response(int(head[0].split()[1]), headers, body)


def request(port: int, body: bytes = b"", method: str = "POST", path: str = "/mcp", /, **headers: str | None) -> bytes:
    """An HTTP request; a header given as None is left out, underscores in its name become hyphens."""
    given = {
        "host": f"127.0.0.1:{port}",
        "authorization": f"Bearer {TOKEN}",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "content-length": str(len(body)),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items() if value is not None)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def post(port: int, body: bytes | dict[str, Any] | list[Any], /, **headers: str | None) -> Response:
    """POST `body` and read the response."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await send(port, request(port, data, **headers))


async def modern(port: int, body: dict[str, Any] | None = None, /, **headers: str | None) -> Response:
    """POST a 2026 call, whole unless `headers` or `body` say otherwise."""
    return await post(port, body if body is not None else MODERN_CALL, **{**MODERN_HEADERS, **headers})


async def open_session(port: int, token: str = TOKEN) -> str:
    """The id of a new session of the handshake era."""
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
    body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    response = await post(port, body, authorization=f"Bearer {token}")
    assert response.status == 200
    return response.headers["mcp-session-id"]


async def lines(path: Path, *sent: bytes, count: int) -> list[Any]:
    """Write lines to the socket and read `count` lines back, fewer where the gateway ends the connection."""
    reader, writer = await asyncio.open_unix_connection(str(path), limit=4 * 1024 * 1024)
    try:
        writer.write(b"".join(line + b"\n" for line in sent))
        read: list[Any] = []
        while len(read) < count and (line := await asyncio.wait_for(reader.readline(), 10)):
            read.append(json.loads(line))
        return read
    finally:
        writer.close()
