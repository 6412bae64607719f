"""What the gateway's own lane costs: a `tools/call` over HTTP to a node that answers at once.

Client and server are processes of their own; CPU is the server's, user and system, over the calls of the measured
part. Prints one line, and `run` returns the figures.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from remit.doors.gateway.server import serve_http
from remit.doors.gateway.settings import GatewaySettings
from remit.flow.answers import Answer, ShownTool
from remit.model.words import Evidence, Json, Label, Mandate, Run, State

TOKEN = "bench"
_RUN = Run(
    id="run_bench",
    agent="bench",
    case="bench",
    opened_by="bench",
    opened_at=0,
    expires_at=2**50,
    mandate=Mandate((), ()),
    token_hash="0" * 64,
)
_RESULT = json.dumps(
    {
        "content": [{"type": "text", "text": "WS-1 is online"}],
        "structuredContent": {"host": "WS-1", "online": True, "isolated": False},
    }
).encode()
_EVIDENCE = Evidence(
    id="ev_0000000000000001",
    run=_RUN.id,
    action="act_0000000000000001",
    at=0,
    digest="0" * 64,
    label=Label(source="edr"),
    payload="pay_1",
)
_META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
}
_PARAMS = {"name": "edr__host_status", "arguments": {"host": "WS-1"}, "_meta": _META}
_BODY = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": _PARAMS}).encode()


class _Node:
    """Answers at once."""

    def authenticate(self, token: str) -> Run:
        return _RUN

    def note_client(self, run: Run, client: str) -> None:
        return None

    def tools(self, run: Run) -> Sequence[ShownTool]:
        return ()

    async def call(
        self,
        run: Run,
        name: str,
        arguments: dict[str, Json],
        *,
        hold: float,
        on_progress: Callable[[Json], None] | None = None,
    ) -> Answer:
        return Answer(state=State.DONE, action=_EVIDENCE.action, result=_RESULT, evidence=_EVIDENCE)

    async def wait(self, run: Run, action: str, *, hold: float) -> Answer:
        raise NotImplementedError("the door never asks")


def _serve(pipe: Connection) -> None:
    import uvloop

    async def serve() -> None:
        settings = GatewaySettings(port=0, rate=1e9, burst=10**9, max_calls=10_000)
        async with serve_http(_Node(), settings) as port:
            pipe.send(port)
            while True:
                await asyncio.to_thread(pipe.recv)
                usage = resource.getrusage(resource.RUSAGE_SELF)
                pipe.send(usage.ru_utime + usage.ru_stime)

    uvloop.run(serve())


async def _client(port: int, calls: int, latencies: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {TOKEN}\r\n"
        "content-type: application/json\r\naccept: application/json, text/event-stream\r\n"
        "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: edr__host_status\r\n"
        f"content-length: {len(_BODY)}\r\n\r\n"
    ).encode()
    for _ in range(calls):
        before = time.perf_counter()
        writer.write(head + _BODY)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not answer.startswith(b"http/1.1 200"):
            raise RuntimeError(answer.decode("latin-1"))
        length = int(answer.split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        latencies.append(time.perf_counter() - before)
    writer.close()


def _measure(pipe: Connection, port: int, clients: int, calls: int) -> dict[str, float]:
    import uvloop

    latencies: list[float] = []

    async def load(each: int) -> None:
        await asyncio.gather(*(_client(port, each, latencies) for _ in range(clients)))

    uvloop.run(load(max(1, calls // clients // 10)))
    latencies.clear()
    pipe.send("cpu")
    cpu = pipe.recv()
    before = time.perf_counter()
    uvloop.run(load(calls // clients))
    elapsed = time.perf_counter() - before
    pipe.send("cpu")
    cpu = pipe.recv() - cpu
    latencies.sort()
    count = len(latencies)
    return {
        "clients": clients,
        "p50_ms": latencies[count // 2] * 1e3,
        "p99_ms": latencies[int(count * 0.99)] * 1e3,
        "cpu_ms_per_call": cpu / count * 1e3,
        "calls_per_s": count / elapsed,
    }


def run(calls: int = 20_000) -> list[dict[str, float]]:
    """The lane at 1 and at 32 clients: p50, p99 and CPU per call in ms, and calls per second."""
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    server.start()
    try:
        port: Any = here.recv()
        return [_measure(here, port, 1, calls // 4), _measure(here, port, 32, calls)]
    finally:
        server.terminate()
        server.join()


def main() -> None:
    """Print the figures as JSON lines."""
    for figures in run(*map(int, sys.argv[1:])):
        print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
