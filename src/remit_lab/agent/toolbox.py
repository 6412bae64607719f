"""The tools the agent was given, over any number of MCP servers, and what calling one comes back with."""

from __future__ import annotations

import os
import shlex
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

import anyio
import mcp_types as types
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.exceptions import MCPError

from remit_lab.files import Json

State = Literal["done", "waiting", "refused", "stopped", "failed"]
SEPARATOR = "__"
CALL_TIMEOUT = 120.0
"""Seconds for one call; longer than any server holds a call that waits for a human."""


FAILED = (MCPError, OSError, RuntimeError, ValueError, anyio.ClosedResourceError, anyio.BrokenResourceError)
"""What the official client raises when a call cannot be made or its answer breaks the protocol."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a server is: a URL, or a command to start."""

    url: str = ""
    command: str = ""
    token: str = ""
    """Bearer token for a URL."""
    remit: bool = False
    """Whether this is Remit, the only one to be given the run's token."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One tool as the agent may call it."""

    client: Client
    name: str
    """The tool's name at its own server."""
    schema: Json

    def accepts(self, argument: str) -> bool:
        """Whether the tool's schema declares this argument."""
        return argument in self.schema.get("properties", {})

    def rationale_argument(self) -> str | None:
        """Return the name of the argument that wants a structured rationale, or None."""
        properties: Json = self.schema.get("properties", {})
        for name in ("remit_rationale", "rationale"):
            if "summary" in properties.get(name, {}).get("properties", {}):
                return name
        return None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back from one call."""

    state: State
    data: Json = field(default_factory=dict)
    text: str = ""
    evidence: str | None = None
    action_id: str | None = None
    poll_after: float = 1.0
    """Seconds to wait before asking again, where `state` is waiting."""


class Toolbox:
    """Open connections and the tools that they offer; use as an async context manager.

    Tools of named servers are called `NAME__tool`; those of one unnamed server keep their names.
    """

    def __init__(self, sources: dict[str, Source | Client]) -> None:
        self._sources = sources
        self._stack = AsyncExitStack()
        self.offers: dict[str, Offer] = {}

    async def __aenter__(self) -> Toolbox:
        async with AsyncExitStack() as stack:
            for name, source in self._sources.items():
                client = source if isinstance(source, Client) else await _client(source, stack)
                await stack.enter_async_context(client)
                prefix = f"{name}{SEPARATOR}" if name else ""
                for tool in await _listed(client):
                    self.offers[prefix + tool.name] = Offer(client, tool.name, tool.input_schema)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    def named(self, tool: str) -> str | None:
        """Return the offered name of a tool, whatever its prefix, or None when it is not offered."""
        if tool in self.offers:
            return tool
        return next((name for name in sorted(self.offers) if name.endswith(SEPARATOR + tool)), None)

    async def call(self, name: str, arguments: Json) -> Reply:
        """Call one offered tool and return what came back; a broken connection is a reply that failed."""
        offer = self.offers[name]
        try:
            result = await offer.client.call_tool(offer.name, arguments, read_timeout_seconds=CALL_TIMEOUT)
        except FAILED as error:
            return Reply("failed", text=f"{error}" or type(error).__name__)
        return reply(result)


def reply(result: types.CallToolResult) -> Reply:
    """Return a tool result in the agent's words."""
    data: Json = result.structured_content if isinstance(result.structured_content, dict) else {}
    text = "\n".join(block.text for block in result.content if isinstance(block, types.TextContent))
    meta: dict[str, Any] = dict(result.meta or {})
    label = meta.get("remit/evidence")
    evidence = label.get("id") if isinstance(label, dict) else None
    action = data.get("action_id") or (label.get("action_id") if isinstance(label, dict) else None)
    state: State = "done"
    if result.is_error:
        state = "stopped" if data.get("state") == "stopped" else "refused"
    elif data.get("state") == "awaiting_approval":
        state = "waiting"
    poll = data.get("poll_after_ms")
    pause = max(poll, 50) / 1000 if isinstance(poll, int | float) else 1.0
    return Reply(state, data, text, evidence, action, pause)


async def _client(source: Source, stack: AsyncExitStack) -> Client:
    if source.command:
        command, *arguments = shlex.split(source.command)
        own = {k: v for k, v in os.environ.items() if source.remit or not k.startswith("REMIT_TOKEN")}
        return Client(StdioServerParameters(command=command, args=arguments, env=own))
    headers = {"Authorization": f"Bearer {source.token}"} if source.token else None
    http = await stack.enter_async_context(create_mcp_http_client(headers=headers))
    return Client(streamable_http_client(source.url, http_client=http))


async def _listed(client: Client) -> list[types.Tool]:
    tools: list[types.Tool] = []
    cursor: str | None = None
    while True:
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None:
            return tools
