"""A working node in memory, as agents' doors see it; it polices what a door may do."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from remit.doors.gateway.exchange import Exchange
from remit.doors.gateway.lines import serve_socket
from remit.doors.gateway.server import serve_http
from remit.doors.gateway.settings import GatewaySettings
from remit.flow.answers import Answer, ShownTool
from remit.model.errors import Refusal
from remit.model.words import Clause, Decision, Evidence, Json, Label, Mandate, Run, State

TOKEN = "run-token-of-the-triage-agent"
OTHER_TOKEN = "run-token-of-another-agent"

ECHO_SCHEMA = {"type": "object", "properties": {"text": {"type": "string", "x-mcp-header": "text"}}}


def run_of(token: str) -> Run:
    return Run(
        id=f"run_{hashlib.sha256(token.encode()).hexdigest()[:8]}",
        agent="triage",
        case="case-1",
        opened_by="soc-lead@example.com",
        opened_at=0,
        expires_at=2**50,
        mandate=Mandate(("WS-1",), ("evidence.read",)),
        token_hash=hashlib.sha256(token.encode()).hexdigest(),
    )


class FakeAgentSide:
    """Tools: echo, slow, fail, wait, refuse, crash, progress, and whatever `answers` holds by name."""

    def __init__(self) -> None:
        self.runs = {token: run_of(token) for token in (TOKEN, OTHER_TOKEN)}
        self.calls: list[tuple[str, str, dict[str, Json]]] = []
        self.clients: list[str] = []
        self.answers: dict[str, Answer] = {}
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.landed = asyncio.Event()
        self.crash: Exception | None = None
        self._actions: set[asyncio.Task[None]] = set()

    def authenticate(self, token: str) -> Run:
        if token not in self.runs:
            raise Refusal(
                "this token belongs to no open run", hint="open a run with `remit run open`", state="unauthorized"
            )
        return self.runs[token]

    def note_client(self, run: Run, client: str) -> None:
        self.clients.append(client)

    def tools(self, run: Run) -> Sequence[ShownTool]:
        echo = {
            "inputSchema": ECHO_SCHEMA,
            "description": "says it back",
            "icons": [{"src": "https://x.example/i.svg"}],
        }
        output = {"type": "object", "properties": {"state": {"type": "string"}}}
        return [
            ShownTool(
                name="siem__echo", definition={"name": "echo", **echo, "outputSchema": output}, consequential=False
            ),
            ShownTool(
                name="edr__isolate", definition={"name": "i", **echo, "outputSchema": output}, consequential=True
            ),
        ]

    async def call(
        self,
        run: Run,
        name: str,
        arguments: dict[str, Json],
        *,
        hold: float,
        on_progress: Callable[[Json], None] | None = None,
    ) -> Answer:
        assert isinstance(arguments, dict)
        self.calls.append((run.id, name, arguments))
        if self.crash is not None:
            raise self.crash
        if name in self.answers:
            return self.answers[name]
        if name == "slow":
            return await self._slow()
        if name == "progress" and on_progress is not None:
            for value in (
                {"progress": 1, "total": 3, "message": "one\x1b[31m"},
                {"progress": 1},
                {"progress": 3},
                "junk",
            ):
                on_progress(value)
        if name == "siem__echo" or name == "progress":
            return done(
                run, {"content": [{"type": "text", "text": json.dumps(arguments)}], "structuredContent": arguments}
            )
        return refused(name)

    async def wait(self, run: Run, action: str, *, hold: float) -> Answer:
        raise AssertionError("the door calls remit__await_action like any other tool")

    async def _slow(self) -> Answer:
        """An action of its own, which goes on when its waiter is cancelled."""
        action = asyncio.create_task(self._act())
        self._actions.add(action)
        self.started.set()
        try:
            await asyncio.shield(action)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return Answer(state=State.DONE, action="act_0000000000000001", structured={"slow": True})

    async def _act(self) -> None:
        await self.release.wait()
        self.landed.set()


def done(run: Run, result: Json, state: State = State.DONE) -> Answer:
    raw = result if isinstance(result, bytes) else json.dumps(result).encode()
    evidence = Evidence(
        id="ev_0000000000000001",
        run=run.id,
        action="act_0000000000000001",
        at=0,
        digest=hashlib.sha256(raw).hexdigest(),
        label=Label(source="siem"),
        payload="pay_1",
    )
    return Answer(state=state, action="act_0000000000000001", result=raw, evidence=evidence)


def refused(name: str) -> Answer:
    clause = Clause("N-1", Decision.FORBID, "domain controllers are never touched")
    return Answer(
        state=State.BLOCKED,
        action="act_0000000000000002",
        message=f"`{name}` is not allowed here",
        hint="ask a human",
        clauses=(clause,),
    )


def waiting(expires_at: int | None = 1_800_000_000_000_000) -> Answer:
    return Answer(state=State.WAITING, action="act_0000000000000003", expires_at=expires_at)


class Doors:
    """Both doors of one gateway over one double, opened for a test."""

    def __init__(self, node: FakeAgentSide, exchange: Exchange, port: int, socket: Path) -> None:
        self.node = node
        self.exchange = exchange
        self.port = port
        self.socket = socket
        self.url = f"http://127.0.0.1:{port}/mcp"


@asynccontextmanager
async def open_doors(folder: Path, **changes: Json) -> AsyncIterator[Doors]:
    settings = GatewaySettings(**{"port": 0, "heartbeat": 0.05, **changes})
    node = FakeAgentSide()
    exchange = Exchange(node, settings)
    socket = folder / "agents.sock"
    async with (
        serve_http(node, settings, exchange=exchange) as port,
        serve_socket(socket, node, settings, exchange=exchange),
    ):
        try:
            yield Doors(node, exchange, port, socket)
        finally:
            node.release.set()


async def within(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until `condition` holds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.005)
    assert condition()
