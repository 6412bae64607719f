"""FastMCP's own proxy over HTTP before the same upstream: `python -m bench.fastmcp_proxy default|warm URL`.

`default` is what `create_proxy(URL)` gives: a fresh connection to the upstream for every call. `warm` is the fastest
that FastMCP documents: one connected client, shared by all calls. Neither checks nor records anything.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys

from fastmcp import Client
from fastmcp.server import create_proxy


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def _serve(kind: str, url: str) -> None:
    port = _free_port()
    if kind == "default":
        await _run(create_proxy(url, name="proxy"), port)
        return
    async with Client(url) as client:
        await _run(create_proxy(client, name="proxy"), port)


async def _run(proxy: object, port: int) -> None:
    task = asyncio.create_task(
        proxy.run_http_async(show_banner=False, host="127.0.0.1", port=port, path="/mcp", log_level="warning")  # type: ignore[attr-defined]
    )
    while not task.done():
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        break
    print(json.dumps({"url": f"http://127.0.0.1:{port}/mcp"}), flush=True)
    await task


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(*sys.argv[1:]))
