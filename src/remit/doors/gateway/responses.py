"""HTTP responses over ASGI: one JSON body, nothing, or a stream of server-sent events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from remit.doors.gateway.eras import SESSION_HEADER
from remit.doors.gateway.exchange import Reply

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_JSON = (b"content-type", b"application/json")
_STREAM = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


async def send_reply(send: Send, reply: Reply) -> None:
    """Send a whole JSON response."""
    headers = [_JSON, (b"content-length", str(len(reply.body)).encode()), *reply.headers]
    if reply.session:
        headers.append((SESSION_HEADER.encode(), reply.session.encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def send_empty(send: Send, status: int) -> None:
    """Send a response without a body."""
    headers = [] if status == 204 else [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def start_stream(send: Send) -> None:
    """Commit to a stream of events."""
    await send({"type": "http.response.start", "status": 200, "headers": list(_STREAM)})


async def send_event(send: Send, message: bytes, *, last: bool = False) -> None:
    """Send one JSON-RPC message as an event (WHATWG HTML, server-sent events). JSON holds no raw line breaks."""
    await send(
        {"type": "http.response.body", "body": b"event: message\ndata: " + message + b"\n\n", "more_body": not last}
    )
