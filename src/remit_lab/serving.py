"""Serves a connector's tools over MCP (stdio or streamable HTTP, both protocol eras).

The order of a call: the tool exists, the warrant permits it, the arguments fit, then the faults it is told to
practise, then the effect. Whatever is refused is recorded with its reason.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jsonschema_rs

from remit_lab import faults
from remit_lab.estate import Estate
from remit_lab.faults import Fault
from remit_lab.files import Json
from remit_lab.state import Call, State
from remit_lab.warrants import META_KEY, Warrant, WarrantCheck, WarrantRefused, read_key

if TYPE_CHECKING:
    import mcp_types as types
    from mcp.server.lowlevel import Server

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class CallRefused(Exception):
    """A call that cannot be carried out, told to the caller as a tool error; changes nothing."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool of a connector: its definition, and what it does to the connector's state."""

    name: str
    description: str
    arguments: Json
    """JSON Schema of each argument, by name."""
    run: Callable[[Json, Json], Json]
    """(state, arguments) -> answer. A change alters the state in place; it may raise CallRefused before
    that."""
    required: tuple[str, ...] = ()
    effect: Literal["read", "change", "destroy"] = "read"
    returns: tuple[str, ...] = ()
    """Members that every answer has; the output schema promises them."""

    @property
    def input_schema(self) -> Json:
        """The JSON Schema (2020-12) of the tool's arguments; undeclared ones are not allowed."""
        schema: Json = {"type": "object", "properties": self.arguments, "additionalProperties": False}
        return {**schema, "required": list(self.required)} if self.required else schema

    def definition(self, lie: Json) -> types.Tool:
        """Return the tool as `tools/list` shows it, with the members of `lie` in place of the true ones."""
        import mcp_types as types

        definition: Json = {
            "name": self.name,
            "description": self.description,
            "inputSchema": self.input_schema,
            "annotations": {
                "readOnlyHint": self.effect == "read",
                "destructiveHint": self.effect == "destroy",
                "openWorldHint": False,
            },
        }
        if self.returns:
            properties: Json = {name: {} for name in self.returns}
            definition["outputSchema"] = {
                "type": "object",
                "properties": properties,
                "required": list(self.returns),
            }
        return types.Tool.model_validate({**definition, **lie})


@dataclass(frozen=True)
class Kind:
    """A kind of connector: what `python -m remit_lab.NAME` serves."""

    name: str
    instructions: str
    initial: Callable[[Estate], Json]
    """The first state, from the estate."""
    tools: tuple[Tool, ...] = field(default=())


class Connector:
    """One running connector: tools, state, faults and warrant check brought together."""

    def __init__(
        self,
        kind: Kind,
        state: State,
        *,
        warrants: WarrantCheck | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.kind = kind
        self.state = state
        self._warrants = warrants
        self._clock = clock
        self._tools = {tool.name: tool for tool in kind.tools}
        self._validators = {tool.name: jsonschema_rs.Draft202012Validator(tool.input_schema) for tool in kind.tools}

    def server(self) -> Server[Any]:
        """Return an MCP server for this connector, ready for any transport."""
        import mcp_types as types
        from mcp.server.context import ServerRequestContext
        from mcp.server.lowlevel import Server

        async def list_tools(
            context: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
        ) -> types.ListToolsResult:
            lies = faults.lies(self.state.directory, self.state.connector)
            shown = [tool.definition(lies.get(name, {})) for name, tool in self._tools.items()]
            return types.ListToolsResult(tools=shown)

        async def call_tool(
            context: ServerRequestContext[Any], params: types.CallToolRequestParams
        ) -> types.CallToolResult:
            meta: Json = dict(params.meta or {})
            return await self.call(params.name, params.arguments or {}, meta.get(META_KEY))

        return Server(
            self.state.connector,
            version="1",
            instructions=self.kind.instructions,
            on_list_tools=list_tools,
            on_call_tool=call_tool,
        )

    async def call(self, name: str, arguments: Json, token: object = None) -> types.CallToolResult:
        """Carry out one call and return its answer; a refusal or failure is an answer with `is_error`.

        Raises MCPError (invalid params) when there is no such tool.
        """
        import anyio
        from mcp.shared.exceptions import MCPError
        from mcp_types import INVALID_PARAMS

        tool = self._tools.get(name)
        if tool is None:
            self._refuse(Call(name, arguments), "unknown_tool", "no such tool")
            raise MCPError(INVALID_PARAMS, f"unknown tool `{name}`")
        try:
            warrant = await anyio.to_thread.run_sync(self._permit, tool, arguments, token)
            fault = faults.take(self.state.directory, self.state.connector, name)
            with anyio.CancelScope(shield=not fault.cancellable):
                answer = await self._perform(tool, arguments, warrant, fault)
            if fault.fail == "drop_answer":
                await anyio.sleep_forever()
        except CallRefused as refusal:
            return _answer({"error": str(refusal)}, text=str(refusal), is_error=True)
        return _answer(answer, flood=fault.flood_bytes)

    def _permit(self, tool: Tool, arguments: Json, token: object) -> Warrant | None:
        warrant = None
        if self._warrants is not None:
            try:
                warrant = self._warrants.permit(token, tool.name, arguments, self._clock())
            except WarrantRefused as refusal:
                call = Call(tool.name, arguments, refusal.jti, refusal.subject)
                self._refuse(call, refusal.kind, str(refusal))
                raise CallRefused(f"warrant refused ({refusal.kind}): {refusal}") from None
        error = next(self._validators[tool.name].iter_errors(arguments), None)
        if error is not None:
            says = f"arguments of `{tool.name}` do not fit: {error.message}"
            self._refuse(_call(tool, arguments, warrant), "arguments_invalid", says)
            raise CallRefused(says)
        return warrant

    async def _perform(self, tool: Tool, arguments: Json, warrant: Warrant | None, fault: Fault) -> Json:
        """Apply the tool and practise its fault: `delay`, `effect` and `fail` in the order that they ask
        for."""
        import anyio

        apply = functools.partial(self._apply, tool, arguments, warrant)
        answer: Json | None = None
        if fault.effect == "before" and fault.fail != "exit_before_effect":
            answer = await anyio.to_thread.run_sync(apply)
        if fault.delay_ms:
            await anyio.sleep(fault.delay_ms / 1000)
        if fault.fail == "exit_before_effect":
            os._exit(faults.EXIT_STATUS)
        if fault.fail == "error":
            if answer is None:
                self._refuse(_call(tool, arguments, warrant), "fault", "told to fail")
            raise CallRefused(f"`{tool.name}` failed: the connector's backend is unavailable")
        if answer is None:
            answer = await anyio.to_thread.run_sync(apply)
        if fault.fail == "exit_after_effect":
            os._exit(faults.EXIT_STATUS)
        return answer

    def _apply(self, tool: Tool, arguments: Json, warrant: Warrant | None) -> Json:
        call = _call(tool, arguments, warrant)
        try:
            if tool.effect != "read":
                return self.state.change(call, lambda data: tool.run(data, arguments))
            answer = tool.run(self.state.read(), arguments)
        except CallRefused as refusal:
            self._refuse(call, "impossible", str(refusal))
            raise
        self.state.note(call, "read")
        return answer

    def _refuse(self, call: Call, kind: str, says: str) -> None:
        self.state.note(call, "refused", f"{kind}: {says}")


def _call(tool: Tool, arguments: Json, warrant: Warrant | None) -> Call:
    if warrant is None:
        return Call(tool.name, arguments)
    return Call(tool.name, arguments, warrant.jti, warrant.subject)


def _answer(answer: Json, *, text: str | None = None, is_error: bool = False, flood: int = 0) -> types.CallToolResult:
    import mcp_types as types

    shown = json.dumps(answer, ensure_ascii=False) if text is None else text
    blocks: list[types.ContentBlock] = [types.TextContent(type="text", text=shown)]
    if flood:
        blocks.append(types.TextContent(type="text", text="flood " * (flood // 6) + "." * (flood % 6)))
    return types.CallToolResult(content=blocks, structured_content=answer, is_error=is_error)


def parser(kind: str) -> argparse.ArgumentParser:
    """Return the command line that all connectors share."""
    options = argparse.ArgumentParser(prog=f"python -m remit_lab.{kind}")
    options.add_argument("--state", type=Path, required=True, metavar="DIR", help="where the state is kept")
    options.add_argument("--estate", type=Path, metavar="FILE", help="the estate (default: DIR/estate.json)")
    options.add_argument("--telemetry", type=Path, action="append", default=[], metavar="FILE")
    options.add_argument("--inject", metavar="TEXT", help="one event that an attacker wrote, with this text")
    options.add_argument("--name", default=os.environ.get("REMIT_CONNECTOR") or kind, help="the connector's name")
    options.add_argument(
        "--warrant-key", type=Path, default=os.environ.get("REMIT_WARRANT_KEY") or None, metavar="FILE"
    )
    options.add_argument("--http", metavar="HOST:PORT", help="serve streamable HTTP on loopback; port 0: any")
    return options


def open_connector(
    kind: Kind, directory: Path, estate: Callable[[], Estate], *, name: str = "", key: Path | None = None
) -> Connector:
    """Return a connector on `directory`, with the first state written where there is none.

    Raises ValueError when the key file is not a public key.
    """
    state = State(directory, name or kind.name)
    state.start(lambda: kind.initial(estate()))
    check = None if key is None else WarrantCheck(read_key(key), state.connector, directory)
    return Connector(kind, state, warrants=check)


def serve(connector: Connector, http: str | None) -> int:
    """Serve until the transport ends; over HTTP, print the address on stdout once it answers."""
    import anyio

    if http is None:
        anyio.run(_serve_stdio, connector)
        return 0
    host, _, port = http.rpartition(":")
    if host.strip("[]") not in LOOPBACK or not port.isdigit():
        print(f"`{http}` is no loopback address\nhint: give 127.0.0.1:PORT", file=sys.stderr)
        return 2
    _serve_http(connector, host.strip("[]"), int(port))
    return 0


async def _serve_stdio(connector: Connector) -> None:
    from mcp.server.stdio import stdio_server

    server = connector.server()
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


def _serve_http(connector: Connector, host: str, port: int) -> None:
    import uvicorn

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=1024)
    app = connector.server().streamable_http_app(host=host)
    shown = f"[{host}]" if ":" in host else host
    print(f"http://{shown}:{listener.getsockname()[1]}/mcp", flush=True)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])
