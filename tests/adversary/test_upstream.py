"""What goes upstream is what was decided about: tricks with JSON and names, checked in the lab's own audit."""

from __future__ import annotations

import json

import httpx2
import pytest

from remit_lab.state import audit
from tests.support.fixtures import Make
from tests.support.gateway import Agent, Gateway
from tests.support.home import Practice

WHY = '"rationale": {"summary": "x"}'

# Arguments as bytes that no honest client sends; none may reach the connector.
TRICKS = {
    "a duplicate key": f'{{"host": "WS-014", "host": "DC-01", {WHY}}}',
    "a duplicate key, escaped": f'{{"host": "WS-014", "h\\u006fst": "DC-01", {WHY}}}',
    "a key that other decoders fold": f'{{"host": "WS-014", "ho\u017ft": "DC-01", {WHY}}}',
    "a key in capitals": f'{{"host": "WS-014", "HOST": "DC-01", {WHY}}}',
    "a look-alike key": f'{{"host": "WS-014", "h\u043est": "DC-01", {WHY}}}',
    "a look-alike key alone": f'{{"h\u043est": "WS-014", {WHY}}}',
    "a lone surrogate": f'{{"host": "WS-014\\ud800", {WHY}}}',
    "a null byte": f'{{"host": "WS-014\\u0000DC-01", {WHY}}}',
    "a list for a name": f'{{"host": ["WS-014", "DC-01"], {WHY}}}',
    "an object for a name": f'{{"host": {{"$ne": ""}}, {WHY}}}',
    "two names in one": f'{{"host": "WS-014,DC-01", {WHY}}}',
    "a duplicate key within": '{"host": "WS-014", "rationale": {"summary": "x", "summary": "y"}}',
    "not a number": f'{{"host": "WS-014", "reason": NaN, {WHY}}}',
    "an integer beyond 2^53": f'{{"host": "WS-014", "reason": 9007199254740993, {WHY}}}',
}
SPELLINGS = ["WS-014", "ws-014", "WS-014.corp.example", "ws-014.CORP.example.", "\uff37\uff33-014"]


async def post(agent: Agent, name: str, arguments: str) -> tuple[int, str]:
    """One call with these bytes as its arguments. Returns the HTTP status and the body."""
    envelope = json.dumps(
        {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
        }
    )
    params = f'{{"name": "{name}", "arguments": {arguments}, "_meta": {envelope}}}'
    body = f'{{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {params}}}'
    headers = {
        "authorization": f"Bearer {agent.token}",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": name,
    }
    async with httpx2.AsyncClient(timeout=20) as http:
        response = await http.post(agent.url, content=body.encode("utf-8", "surrogatepass"), headers=headers)
    return response.status_code, response.text


def reached(practice: Practice, tool: str) -> list[dict[str, object]]:
    """The arguments of every call of this tool that the connector saw, refused ones included."""
    return [entry["arguments"] for entry in audit(practice.lab, "edr") if entry["tool"] == tool]


@pytest.mark.promise("P8")
async def test_arguments_that_two_decoders_read_differently_never_reach_a_connector(make: Make) -> None:
    practice = make("edr", boundary={"hold_after = 2": "hold_after = 100"})
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("WS-014")
        for what, arguments in TRICKS.items():
            status, body = await post(agent, "edr__isolate_host", arguments)
            assert status in (200, 400), what
            assert '"isError":true' in body.replace(" ", "") or '"error":' in body, f"{what}: {body}"
            assert "Traceback" not in body, what
            assert reached(practice, "isolate_host") == [], what
        status, body = await post(agent, "edr__isolate_host", f'{{"host": "WS-014", {WHY}}}')
        assert '"isError":true' not in body.replace(" ", ""), body
    assert len(reached(practice, "isolate_host")) == 1


@pytest.mark.promise("P5")
async def test_every_spelling_of_a_target_is_that_target_and_goes_upstream_as_the_connectors_own_id(
    make: Make,
) -> None:
    practice = make("edr")
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("WS-014")
        for spelling in SPELLINGS:
            answer = await agent.call("edr__host_status", host=spelling)
            assert answer.done, f"{spelling}: {answer.text}"
        assert (await agent.change("edr__isolate_host", host="ws-014.corp.example", reason="one  two")).done
        held = await gateway.waiting(agent, "edr__isolate_host", host="WS-022")
        await held.withdraw()
    asked = {str(arguments["host"]) for arguments in reached(practice, "host_status")}
    assert len(asked) == 1
    (own_id,) = asked
    assert own_id.startswith("dev-")
    assert reached(practice, "isolate_host") == [{"host": own_id, "reason": "one  two"}]
    actions = practice.actions("isolate_host")
    assert actions[0]["targets"] == ["WS-014"]


@pytest.mark.promise("P5")
async def test_the_rationale_stays_with_remit(make: Make) -> None:
    practice = make("edr")
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("WS-014")
        refused = await agent.call("edr__isolate_host", host="WS-014")
        assert refused.state == "blocked"
        answer = await agent.call("edr__list_hosts", rationale={"summary": "looking around"})
        assert answer.done, answer.text
    assert reached(practice, "list_hosts") == [{}]
    assert reached(practice, "isolate_host") == []
