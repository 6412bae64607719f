"""The real gateway's process, driven from outside: started, ended, commanded over its socket, used by agents through
the official client.

Every wait is bounded, and only what was started here is killed.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from remit.model.signatures import sign
from remit.model.statements import ApprovalStatement, ControlStatement
from remit.model.words import MINUTE
from remit.offline import now
from tests.support.home import Practice

CHILD = Path(__file__).resolve().parents[1] / "faults" / "child.py"
START_SECONDS = 40.0
PATIENCE = 20.0


class Refused(Exception):
    """The gateway answered a command with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code = error["code"]
        self.says: str = error["message"]
        self.hint: str = error.get("hint", "")


class NotStarted(Exception):
    """The gateway refused to start; the text says why."""


async def eventually(holds: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """What `holds` returns once it is true. Fails after `seconds`."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while not (found := holds()):
        assert loop.time() < until, f"within {seconds:g} s it never came about that {what}"
        await asyncio.sleep(0.02)
    return found


def alive_in(folder: Path) -> list[int]:
    """Processes that work in this folder: a gateway of the test, its connectors and whatever those started."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            here = entry.name.isdigit() and (entry / "cwd").readlink() == folder
            if here and b" Z " not in (entry / "stat").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@dataclass
class Agent:
    """An agent with its run's token; each call is a connection of its own."""

    url: str
    token: str
    run: str = ""

    @asynccontextmanager
    async def connected(self, era: str = "auto") -> AsyncIterator[Client]:
        """The official client, open."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=PATIENCE) as http,
            Client(streamable_http_client(self.url, http_client=http), mode=era) as client,
        ):
            yield client

    async def call(self, name: str, /, **arguments: Any) -> Answer:
        """One call, to its answer."""
        async with asyncio.timeout(PATIENCE), self.connected() as client:
            result = await client.call_tool(name, arguments)
        assert isinstance(result, types.CallToolResult)
        return Answer(result)

    async def change(self, name: str, /, **arguments: Any) -> Answer:
        """One call of a consequential tool, answered without waiting for a human where one is asked."""
        call = self.start(name, rationale={"summary": "what the events say"}, **arguments)
        return await call

    def start(self, name: str, /, **arguments: Any) -> asyncio.Task[Answer]:
        """A call on its way. End it with `give_up`, or await it."""
        return asyncio.get_running_loop().create_task(self.call(name, **arguments))

    async def tools(self) -> list[types.Tool]:
        """What the agent is shown."""
        async with asyncio.timeout(PATIENCE), self.connected() as client:
            return list((await client.list_tools()).tools)


class Answer:
    """What an agent got back."""

    def __init__(self, result: types.CallToolResult) -> None:
        self.result = result
        self.error = bool(result.is_error)
        self.structured: dict[str, Any] = result.structured_content or {}
        self.text = "\n".join(block.text for block in result.content if isinstance(block, types.TextContent))

    @property
    def done(self) -> bool:
        return not self.error and self.state == ""

    @property
    def state(self) -> str:
        return str(self.structured.get("state", ""))

    @property
    def action(self) -> str:
        evidence = (self.result.meta or {}).get("remit/evidence", {})
        return str(self.structured.get("action_id") or evidence.get("action_id", ""))

    @property
    def clauses(self) -> set[str]:
        return {clause["id"] for clause in self.structured.get("clauses", ())}


@dataclass
class Waiting:
    """A proposal that waits for a human, and the call that is held for it."""

    gateway: Gateway
    agent: Agent
    action: str
    tool: str
    call: asyncio.Task[Answer]

    @property
    def clauses(self) -> set[str]:
        """The clauses that ask for a human."""
        found = next(each for each in self.gateway.practice.actions(self.tool) if each["id"] == self.action)
        return {clause["id"] for clause in found["ruling"]["clauses"]}

    async def withdraw(self) -> set[str]:
        """Take it back. Returns the clauses that asked for a human."""
        clauses = self.clauses
        await self.agent.call("remit__withdraw", action_id=self.action)
        answer = await self.call
        assert answer.state == "withdrawn", answer.text
        return clauses


async def give_up(call: asyncio.Task[Any]) -> None:
    """End a call whose gateway is gone, whatever it raises."""
    call.cancel()
    await asyncio.wait([call], timeout=PATIENCE)
    if call.done() and not call.cancelled():
        call.exception()


class Gateway:
    """One gateway's process on one practice home."""

    def __init__(self, practice: Practice, process: asyncio.subprocess.Process, url: str) -> None:
        self.practice = practice
        self.process = process
        self.url = url

    # --- its process ------------------------------------------------------------------------------------------------

    @classmethod
    @asynccontextmanager
    async def on(cls, practice: Practice, **environment: str) -> AsyncIterator[Gateway]:
        """A gateway that serves; it is ended, and everything that it started is seen gone, when the block ends."""
        gateway = await cls.start(practice, **environment)
        try:
            yield gateway
        finally:
            await gateway.end()
            await gateway.all_gone()

    @classmethod
    async def start(cls, practice: Practice, **environment: str) -> Gateway:
        """Start one and wait until all its doors are open. Raises `NotStarted`."""
        with practice.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(CHILD),
                str(practice.home),
                cwd=practice.root,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, "REMIT_TEST_ARM": str(practice.arm), **environment},
            )
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
            first: dict[str, Any] = (
                json.loads(line) if line else {"ready": False, "says": practice.log.read_text()[-2000:]}
            )
            if not first["ready"]:
                raise NotStarted(first["says"])
        except BaseException:
            if process.returncode is None:
                process.kill()
            await process.wait()
            raise
        return cls(practice, process, first["url"])

    async def end(self, number: int = signal.SIGTERM) -> None:
        """End it in order; with SIGKILL where it does not."""
        if self.process.returncode is None:
            self.process.send_signal(number)
            try:
                await asyncio.wait_for(self.process.wait(), PATIENCE)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()
                raise

    async def died(self, seconds: float = PATIENCE) -> None:
        """Wait until it was killed, and everything that it had started is gone too."""
        code = await asyncio.wait_for(self.process.wait(), seconds)
        assert code == -signal.SIGKILL, f"it was to be killed, and ended with {code}"
        await self.all_gone()

    async def all_gone(self) -> None:
        """Wait until nothing that the gateway started is left."""
        await eventually(lambda: not alive_in(self.practice.root), "its connectors were gone", 5.0)

    def arm(self, point: str, passing: int = 1, does: str = "kill", **more: Any) -> None:
        """What shall happen at a point from now on."""
        order = {"id": uuid.uuid4().hex, "point": point, "passing": passing, "does": does, **more}
        fresh = self.practice.arm.with_suffix(".new")
        fresh.write_text(json.dumps(order))
        fresh.replace(self.practice.arm)

    def disarm(self) -> None:
        """Nothing shall happen any more."""
        self.practice.arm.unlink(missing_ok=True)

    # --- people's commands ------------------------------------------------------------------------------------------

    async def ask(self, method: str, /, **params: Any) -> dict[str, Any]:
        """One command over the control socket. Raises `Refused`."""
        return await ask(self.practice, method, **params)

    async def signed(self, command: str, /, person: str = "operator", **parameters: Any) -> dict[str, Any]:
        """One command signed by one of the practice people. Raises `Refused`."""
        return await self.ask("signed", **statement(self.practice, command, person, parameters))

    async def vote(self, action: str, verb: str = "approve", person: str = "approver") -> dict[str, Any]:
        """Approve or reject an action on its card. Raises `Refused`."""
        return await self.ask("decide", **await self.vote_on(action, verb, person))

    async def vote_on(self, action: str, verb: str = "approve", person: str = "approver") -> dict[str, str]:
        """A signed vote on the card that the gateway shows now, to be sent with `decide`."""
        card = await self.ask("card", action=action)
        return ballot(self.practice, card, verb, person)

    async def open(self, *targets: str, agent: str = "triage", case: str = "CASE-1", **more: Any) -> Agent:
        """Open a run on these targets."""
        opened = await self.signed("run.open", agent=agent, case=case, targets=list(targets), **more)
        return Agent(self.url, opened["token"], opened["run"])

    async def again(self, agent: Agent) -> Agent:
        """The same agent after a restart of the gateway."""
        return Agent(self.url, agent.token, agent.run)

    async def waiting(self, agent: Agent, tool: str, /, **arguments: Any) -> Waiting:
        """A change that is asked for and waits for a human. Fails where it does not."""
        before = {each["action"] for each in (await self.ask("status"))["waiting"]}
        call = agent.start(tool, rationale={"summary": "what the events say"}, **arguments)
        until = asyncio.get_running_loop().time() + PATIENCE
        while True:
            new = [each for each in (await self.ask("status"))["waiting"] if each["action"] not in before]
            if new:
                return Waiting(self, agent, new[0]["action"], new[0]["tool"], call)
            if call.done():
                answer = call.result()
                raise AssertionError(f"`{tool}` did not wait for a human: {answer.state or 'done'}: {answer.text}")
            assert asyncio.get_running_loop().time() < until, f"`{tool}` came to nothing"
            await asyncio.sleep(0.02)

    async def accept_tools(self) -> None:
        """Accept everything that the connectors offer."""
        for each in (await self.ask("connectors"))["connectors"]:
            offered = {tool["tool"]: tool["offered"] for tool in each["tools"] if tool["classified"]}
            await self.signed("tools.accept", connector=each["connector"], tools=offered)


async def ask(practice: Practice, method: str, /, **params: Any) -> dict[str, Any]:
    """One command over a home's control socket. Raises `Refused`."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_unix_connection(str(practice.control), limit=16 * 1024 * 1024)
        try:
            writer.write(json.dumps({"id": 1, "method": method, "params": params}).encode() + b"\n")
            answer = json.loads(await reader.readline())
        finally:
            writer.close()
    if "error" in answer:
        raise Refused(answer["error"])
    result: dict[str, Any] = answer["result"]
    return result


def statement(
    practice: Practice, command: str, person: str, parameters: dict[str, Any], **changes: Any
) -> dict[str, str]:
    """A signed command. `changes` replaces fields of the statement before it is signed."""
    at = now()
    fields: dict[str, Any] = {
        "home": practice.id,
        "person": person,
        "issued": at,
        "expires": at + 2 * MINUTE,
        "command": command,
        "parameters": parameters,
        "nonce": secrets.token_hex(16),
    }
    key = changes.pop("key", None) or practice.key(person)
    data = ControlStatement(**{**fields, **changes}).encode()
    return sealed(data, sign(key, data, ControlStatement.namespace))


def ballot(practice: Practice, card: dict[str, Any], verb: str, person: str, **changes: Any) -> dict[str, str]:
    """A signed vote on a card. `changes` replaces fields of the statement before it is signed."""
    at = now()
    fields: dict[str, Any] = {
        "home": practice.id,
        "person": person,
        "issued": at,
        "expires": at + 2 * MINUTE,
        "verb": verb,
        "action": card["action"],
        "digest": card["digest"],
        "card_digest": card["card_digest"],
        "boundary_digest": card["boundary_digest"],
    }
    key = changes.pop("key", None) or practice.key(person)
    data = ApprovalStatement(**{**fields, **changes}).encode()
    return sealed(data, sign(key, data, ApprovalStatement.namespace))


def sealed(data: bytes, signature: bytes) -> dict[str, str]:
    """How statements travel."""
    return {"statement": base64.b64encode(data).decode(), "signature": base64.b64encode(signature).decode()}


async def remit(practice: Practice, *words: str) -> tuple[int, str, str]:
    """Run the command line on the home. Returns its exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "remit.doors.cli.main",
        *words,
        "--home",
        str(practice.home),
        cwd=practice.home,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return int(process.returncode or 0), out.decode(), err.decode()
