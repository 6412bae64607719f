"""The connector that is measured against: it does next to nothing, so that what is measured is the way to it.

Over HTTP (`python -m bench.upstream http`) it is a raw ASGI application that answers in JSON, handshake era; over
standard streams (`… stdio`) a loop of the standard library. Its tools: `host_status` (a read), `isolate_host` (a
change), and `hang`, which never answers.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Json = Any
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_HOST = {
    "type": "object",
    "properties": {"host": {"type": "string"}, "reason": {"type": "string"}},
    "required": ["host"],
    "additionalProperties": False,
}
TOOLS = [
    {"name": "host_status", "description": "How a host is.", "inputSchema": _HOST},
    {"name": "isolate_host", "description": "Cut a host off the network.", "inputSchema": _HOST},
    {"name": "hang", "description": "Begin something, and never answer.", "inputSchema": _HOST},
]
_HEADERS = [(b"content-type", b"application/json")]


def answer(message: dict[str, Json]) -> dict[str, Json] | None:
    """The response to one message: None for a notification, and for a call that hangs."""
    params = message.get("params") or {}
    match message.get("method"):
        case "initialize":
            version = params.get("protocolVersion", "2025-06-18")
            info = {"name": "bench-upstream", "version": "1"}
            result: Json = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
        case "tools/list":
            result = {"tools": TOOLS}
        case "tools/call" if params.get("name") == "hang":
            return None
        case "tools/call":
            host = params["arguments"]["host"]
            told = {"host": host, "online": True, "isolated": params["name"] == "isolate_host"}
            result = {"content": [{"type": "text", "text": json.dumps(told)}], "structuredContent": told}
        case _ if "id" not in message:
            return None
        case _:
            return {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no such method"}}
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application. A hanging call is held until the caller goes."""
    if scope["method"] != "POST":
        await _send(send, 405, b"")
        return
    body = b""
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        body += event.get("body", b"")
        if not event.get("more_body"):
            break
    message = json.loads(body)
    response = answer(message)
    if response is not None:
        await _send(send, 200, json.dumps(response).encode())
    elif "id" not in message:
        await _send(send, 202, b"")
    else:
        while (await receive())["type"] != "http.disconnect":
            pass


async def _send(send: Send, status: int, body: bytes) -> None:
    headers = [*_HEADERS, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _serve_http() -> None:
    import uvicorn
    import uvloop

    listener = socket.create_server(("127.0.0.1", 0))
    print(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"}), flush=True)
    config = uvicorn.Config(app, lifespan="off", log_level="warning", access_log=False, http="httptools")
    uvloop.run(uvicorn.Server(config).serve(sockets=[listener]))


def _serve_stdio() -> None:
    for line in sys.stdin:
        response = answer(json.loads(line))
        if response is not None:
            sys.stdout.write(json.dumps(response) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    _serve_stdio() if sys.argv[1:] == ["stdio"] else _serve_http()
