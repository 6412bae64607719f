"""A loopback front for clients that cannot send a token: it adds the `Authorization` header.

The conformance suite has no option for headers. Where `Host` and `Origin` name the front's own authority,
they name the gateway's instead, because that is what a client of the gateway itself would have sent. Every
foreign value goes through as it came, so that the gateway's own checks are what is tested.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientSession, ClientTimeout, web
from multidict import CIMultiDict
from yarl import URL

HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"})


def forwarded(headers: CIMultiDict[str], own: str, gateway: str, token: str) -> CIMultiDict[str]:
    """The headers that the gateway gets: its own authority in the place of ours (`own`), and the token."""
    ahead: CIMultiDict[str] = CIMultiDict()
    for name, value in headers.items():
        if name.lower() not in HOP_BY_HOP:
            ahead.add(name, {own: gateway, f"http://{own}": f"http://{gateway}"}.get(value, value))
    ahead["Authorization"] = f"Bearer {token}"
    return ahead


@asynccontextmanager
async def front(gateway: URL, token: str) -> AsyncIterator[URL]:
    """Listens on a free loopback port while the context lasts; yields the address to give to the client."""
    own = ""

    async def pass_on(request: web.Request) -> web.StreamResponse:
        headers = forwarded(CIMultiDict(request.headers), own, gateway.authority, token)
        body = await request.read()
        async with client.request(
            request.method, gateway, headers=headers, data=body or None, allow_redirects=False
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response

    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_route("*", gateway.path, pass_on)
    async with ClientSession(auto_decompress=False, timeout=ClientTimeout(total=None)) as client:
        runner = web.AppRunner(application, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            own = f"127.0.0.1:{runner.addresses[0][1]}"
            yield URL(f"http://{own}{gateway.path}")
        finally:
            await runner.cleanup()
