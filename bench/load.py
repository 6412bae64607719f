"""The client that makes the load: raw HTTP on uvloop, the same for every server. Its own CPU is in no figure.

Each of the clients keeps one connection and has one call on its way at a time. Sessions (MCP up to 2025-11-25) are
opened first and are not measured.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from typing import Any
from urllib.parse import urlsplit

from bench.figures import cpu_seconds, quantile
from bench.servers import Server

VERSION = "2025-06-18"
WARM_UP_SECONDS = 1.0
_ACCEPT = "application/json, text/event-stream"
_REFUSALS = (b'"isError":true', b'"isError": true', b'"error"')


@dataclass(frozen=True)
class Call:
    """One tool call as every client makes it; `token` is a run's, empty where the server wants none."""

    tool: str
    arguments: dict[str, Any]
    token: str = ""


@dataclass(frozen=True)
class Figures:
    """Latencies and CPU in milliseconds per call; `count` calls were measured."""

    p50: float
    p99: float
    cpu: float
    per_second: float
    count: int


@dataclass
class _Tally:
    until: float = 0.0
    measuring: bool = False
    latencies: list[float] = field(default_factory=list)


def measure(server: Server, calls: Sequence[Sequence[Call]], seconds: float) -> Figures:
    """Let each client make its calls in turn for `seconds`, after a warm-up. One sequence of calls per client.

    Raises `RuntimeError` for any answer that is not a result.
    """
    import uvloop

    requests = [[request(server.url, call, number) for call in mine] for number, mine in enumerate(calls, start=1)]
    return uvloop.run(_load(server, requests, seconds))


def request(url: str, call: Call, number: int) -> bytes:
    """The exact bytes of one call, in a session opened for it."""
    address = urlsplit(url)
    headers = {"authorization": f"Bearer {call.token}"} if call.token else {}
    headers |= {"content-type": "application/json", "accept": _ACCEPT, "mcp-protocol-version": VERSION}
    headers |= _session(url, headers)
    body = json.dumps(
        {
            "jsonrpc": "2.0",
            "id": number,
            "method": "tools/call",
            "params": {"name": call.tool, "arguments": call.arguments},
        }
    ).encode()
    lines = [f"{name}: {value}" for name, value in {**headers, "content-length": str(len(body))}.items()]
    return "\r\n".join([f"POST {address.path} HTTP/1.1", f"host: {address.netloc}", *lines, "", ""]).encode() + body


def _session(url: str, headers: dict[str, str]) -> dict[str, str]:
    info = {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
    asked = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": info}
    session = _post(url, headers, asked)
    kept = {"mcp-session-id": session} if session else {}
    _post(url, headers | kept, {"jsonrpc": "2.0", "method": "notifications/initialized"})
    return kept


def _post(url: str, headers: dict[str, str], message: dict[str, Any]) -> str:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=30)
    connection.request("POST", address.path, json.dumps(message), headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    if response.status not in (200, 202):
        raise RuntimeError(f"{url} answered {response.status}: {body[:300]!r}")
    return response.headers.get("mcp-session-id", "")


class _Client(asyncio.Protocol):
    def __init__(self, requests: Sequence[bytes], tally: _Tally) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = cycle(requests)
        self._tally = tally
        self._received = b""
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport  # uvloop's transports are of no asyncio class
        self._next()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not _whole(self._received):
            return
        now = time.perf_counter()
        answer, self._received = self._received, b""
        if not answer.startswith(b"HTTP/1.1 200") or any(word in answer for word in _REFUSALS):
            self._fail(RuntimeError(f"not a result: {answer[-600:]!r}"))
            return
        if self._tally.measuring and now <= self._tally.until:
            self._tally.latencies.append(now - self._sent)
        if now < self._tally.until:
            self._next()
        else:
            self._transport.close()
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(RuntimeError(f"the server hung up ({exc})"))

    def _next(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(next(self._requests))

    def _fail(self, error: RuntimeError) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self._transport.close()


def _whole(answer: bytes) -> bool:
    """Whether a response has come to its end, by its length or its last chunk (RFC 9112 section 6)."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator:
        return False
    _, found, rest = head.lower().partition(b"content-length:")
    if found:
        return len(body) >= int(rest.partition(b"\r\n")[0])
    return body.endswith(b"0\r\n\r\n")


async def _load(server: Server, requests: list[list[bytes]], seconds: float) -> Figures:
    loop = asyncio.get_running_loop()
    address = urlsplit(server.url)
    tally = _Tally(until=time.perf_counter() + WARM_UP_SECONDS + seconds)
    clients: list[_Client] = []
    for mine in requests:
        _, client = await loop.create_connection(
            partial(_Client, mine, tally), address.hostname or "", address.port or 80
        )
        clients.append(client)
    await asyncio.sleep(WARM_UP_SECONDS)
    cpu, began = cpu_seconds(server.pid), time.perf_counter()
    tally.until, tally.measuring = began + seconds, True
    await asyncio.sleep(seconds)
    elapsed, cpu = time.perf_counter() - began, cpu_seconds(server.pid) - cpu
    await asyncio.wait_for(asyncio.gather(*(client.done for client in clients)), 60)
    took = tally.latencies
    if not took:
        raise RuntimeError(f"no call ended within {seconds:g} s")
    return Figures(
        p50=quantile(took, 0.5) * 1e3,
        p99=quantile(took, 0.99) * 1e3,
        cpu=cpu / len(took) * 1e3,
        per_second=len(took) / elapsed,
        count=len(took),
    )
