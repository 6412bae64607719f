"""The official client of the `mcp` package, in both eras, over both ways in."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import mcp_types as types
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError

from tests.doors.gateway.double import TOKEN, Doors, waiting, within

ERAS = ["legacy", "2026-07-28", "auto"]
WAYS = ["http", "bridge"]


def bridge_parameters(doors: Doors) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "remit.doors.cli.connect", "--socket", str(doors.socket)],
        env={"REMIT_TOKEN": TOKEN, "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
    )


@asynccontextmanager
async def connected(doors: Doors, way: str, era: str) -> AsyncIterator[Client]:
    if way == "bridge":
        async with Client(stdio_client(bridge_parameters(doors)), mode=era) as client:
            yield client
        return
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=20) as http,
        Client(streamable_http_client(doors.url, http_client=http), mode=era) as client,
    ):
        yield client


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("era", ERAS)
class TestEachEraOverEachWay:
    async def test_a_call_returns_the_connectors_content_behind_its_evidence(
        self, doors: Doors, way: str, era: str
    ) -> None:
        async with connected(doors, way, era) as client:
            result = await client.call_tool("siem__echo", {"text": "hello"})
        assert isinstance(result, types.CallToolResult)
        assert not result.is_error
        assert result.content[0].text == (  # type: ignore[union-attr]
            "[remit evidence ev_0000000000000001 · integrity=third-party · confidentiality=internal · source=siem]"
        )
        assert result.content[1].text == '{"text": "hello"}'  # type: ignore[union-attr]
        assert result.structured_content == {"text": "hello"}
        assert result.meta is not None
        assert result.meta["remit/evidence"]["action_id"] == "act_0000000000000001"

    async def test_tools_are_listed_without_what_loads_or_promises_too_much(
        self, doors: Doors, way: str, era: str
    ) -> None:
        async with connected(doors, way, era) as client:
            listed = (await client.list_tools()).tools
        assert [tool.name for tool in listed] == ["siem__echo", "edr__isolate"]
        assert listed[0].output_schema is not None
        assert listed[1].output_schema is None
        assert listed[0].icons is None
        assert "x-mcp-header" not in str(listed[0].input_schema)

    async def test_a_refusal_is_a_tool_error_with_state_clause_and_hint(self, doors: Doors, way: str, era: str) -> None:
        async with connected(doors, way, era) as client:
            result = await client.call_tool("edr__delete_everything", {})
        assert isinstance(result, types.CallToolResult)
        assert result.is_error
        assert result.structured_content == {
            "state": "blocked",
            "action_id": "act_0000000000000002",
            "clauses": [{"id": "N-1", "says": "domain controllers are never touched"}],
            "hint": "ask a human",
        }

    async def test_a_waiting_call_answers_with_a_handle(self, doors: Doors, way: str, era: str) -> None:
        doors.node.answers["edr__isolate"] = waiting()
        async with connected(doors, way, era) as client:
            result = await client.call_tool("edr__isolate", {})
        assert isinstance(result, types.CallToolResult)
        assert not result.is_error
        assert result.structured_content == {
            "state": "awaiting_approval",
            "action_id": "act_0000000000000003",
            "poll_after_ms": 5_000,
            "expires_at": "2027-01-15T08:00:00Z",
        }

    async def test_progress_of_the_connector_reaches_the_client_safe_and_rising(
        self, doors: Doors, way: str, era: str
    ) -> None:
        seen: list[tuple[float, float | None, str | None]] = []

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            seen.append((progress, total, message))

        async with connected(doors, way, era) as client:
            await client.call_tool("progress", {}, progress_callback=on_progress)
            await within(lambda: len(seen) == 2)
        assert seen == [(1, 3, "one⟦esc⟧[31m"), (3, None, None)]

    async def test_a_held_call_sends_heartbeats_until_it_ends(self, doors: Doors, way: str, era: str) -> None:
        seen: list[float] = []

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            seen.append(progress)
            if len(seen) == 3:
                doors.node.release.set()

        async with connected(doors, way, era) as client:
            result = await client.call_tool("slow", {}, progress_callback=on_progress)
        assert isinstance(result, types.CallToolResult)
        assert result.structured_content == {"slow": True}
        assert seen == sorted(set(seen))

    async def test_giving_up_ends_the_waiting_and_the_action_goes_on(self, doors: Doors, way: str, era: str) -> None:
        async with connected(doors, way, era) as client:
            call = asyncio.create_task(client.call_tool("slow", {}))
            await asyncio.wait_for(doors.node.started.wait(), 5)
            call.cancel()
            await asyncio.wait((call,))
            await asyncio.wait_for(doors.node.cancelled.wait(), 5)
            assert not doors.node.landed.is_set()
            doors.node.release.set()
            await asyncio.wait_for(doors.node.landed.wait(), 5)
            assert (await client.call_tool("siem__echo", {})).content  # the session goes on

    async def test_what_is_not_offered_is_a_method_not_found(self, doors: Doors, way: str, era: str) -> None:
        async with connected(doors, way, era) as client:
            with pytest.raises(MCPError) as refused:
                await client.session.list_resources()
        assert refused.value.error.code == types.METHOD_NOT_FOUND
        assert "not offered here" in refused.value.error.message

    async def test_the_clients_name_is_noted_once(self, doors: Doors, way: str, era: str) -> None:
        async with connected(doors, way, era) as client:
            await client.call_tool("siem__echo", {})
            await client.call_tool("siem__echo", {})
        assert len(doors.node.clients) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_ping_is_answered_in_the_handshake_era(doors: Doors, way: str) -> None:
    async with connected(doors, way, "legacy") as client:
        await client.session.send_ping()


def oracle() -> Server[Any]:
    """A server of the official package that offers what we offer, to compare answers with."""

    async def on_list(context: Any, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[types.Tool(name="siem__echo", input_schema={"type": "object"})])

    async def on_call(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        return types.CallToolResult(content=[types.TextContent(text="x")], structured_content={"text": "x"})

    return Server("remit", version="0", title="Remit", instructions="x", on_list_tools=on_list, on_call_tool=on_call)


def shape(value: Any) -> Any:
    """The keys and types of an answer, without its words."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in sorted(value.items())}
    if isinstance(value, list):
        return [shape(inner) for inner in value[:1]]
    return type(value).__name__


HANDSHAKE = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
}
ACCEPT = "application/json, text/event-stream"


async def exchanges(http: httpx2.AsyncClient) -> list[tuple[str, int, Any]]:
    """The same requests to either server: what each answers, in status and JSON."""
    answers: list[tuple[str, int, Any]] = []

    async def post(method: str, params: Any, **headers: str) -> httpx2.Response:
        body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
        response = await http.post("/mcp", json=body, headers={"accept": ACCEPT, **headers})
        answers.append((method, response.status_code, response.json()))
        return response

    started = await post("initialize", HANDSHAKE)
    session = {"mcp-session-id": started.headers["mcp-session-id"], "mcp-protocol-version": "2025-06-18"}
    await post("ping", {}, **session)
    await post("tools/list", {}, **session)
    await post("resources/list", {}, **session)
    await post("server/discover", {}, **session)
    for method in ("server/discover", "tools/list", "resources/list", "ping", "initialize", "tools/call"):
        params = {"_meta": ENVELOPE, **({"name": "siem__echo", "arguments": {"text": "x"}} if "call" in method else {})}
        name = {"mcp-name": "siem__echo"} if "call" in method else {}
        await post(method, params, **{"mcp-protocol-version": "2026-07-28", "mcp-method": method}, **name)
    await post("tools/list", {}, **{"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/list"})
    await post("tools/list", {"_meta": ENVELOPE}, **{"mcp-protocol-version": "2026-07-28", "mcp-method": "ping"})
    return answers


async def test_answers_have_the_status_and_shape_of_the_official_server(doors: Doors) -> None:
    doors.node.tools = lambda run: []  # type: ignore[method-assign]
    app = oracle().streamable_http_app(json_response=True)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1:8000") as theirs,
        httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{doors.port}", headers={"authorization": f"Bearer {TOKEN}"}
        ) as ours,
    ):
        expected, found = await exchanges(theirs), await exchanges(ours)
    for (method, status, answer), (_, our_status, our_answer) in zip(expected, found, strict=True):
        assert our_status == status, (method, our_answer)
        if "error" in answer:
            if method != "initialize":
                assert our_answer["error"]["code"] == answer["error"]["code"], (method, our_answer)
            continue
        ours_result, theirs_result = our_answer["result"], answer["result"]
        for ignored in ("tools", "content", "structuredContent", "isError"):
            ours_result.pop(ignored, None)
            theirs_result.pop(ignored, None)
        ours_result.get("_meta", {}).pop("remit/evidence", None)
        assert shape(ours_result) == shape(theirs_result), method
