"""A connector practises the delays, failures and lies that it is told to, and its state stays true to what
happened."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.shared.exceptions import MCPError

from remit_lab import edr, faults, state
from remit_lab.faults import Failure, Fault
from tests.remit_lab.support import Json, calling, connector, data, said

WS: Json = {"host": "WS-014"}


def isolated(directory: Path) -> bool:
    """Whether the workstation is isolated, seen from outside."""
    hosts = state.look(directory)["edr"]["hosts"].values()
    return bool(next(host for host in hosts if host["name"] == "WS-014")["isolated"])


async def until_isolated(directory: Path) -> None:
    """Wait, bounded, until the effect shows from outside."""
    async with asyncio.timeout(20):
        while not isolated(directory):
            await asyncio.sleep(0.01)


async def test_a_failing_tool_answers_an_error_and_does_nothing(tmp_path: Path) -> None:
    faults.write(tmp_path, {"isolate_host": Fault(fail="error")})
    async with calling(edr.KIND, tmp_path) as client:
        assert "backend is unavailable" in said(await client.call_tool("isolate_host", WS))
    assert not isolated(tmp_path)
    assert state.audit(tmp_path, "edr")[0]["outcome"] == "refused"


async def test_a_tool_that_fails_after_its_effect_answers_an_error_though_it_happened(tmp_path: Path) -> None:
    faults.write(tmp_path, {"isolate_host": Fault(fail="error", effect="before")})
    async with calling(edr.KIND, tmp_path) as client:
        assert (await client.call_tool("isolate_host", WS)).is_error
    assert isolated(tmp_path)
    assert [entry["outcome"] for entry in state.audit(tmp_path, "edr")] == ["effect"]


async def test_a_fault_with_times_ends_by_itself(tmp_path: Path) -> None:
    faults.write(tmp_path, {"host_status": Fault(fail="error", times=2)})
    async with calling(edr.KIND, tmp_path) as client:
        answers = [(await client.call_tool("host_status", WS)).is_error for _ in range(3)]
    assert answers == [True, True, False]


async def test_faults_can_be_named_for_one_connector_for_a_tool_or_for_all(tmp_path: Path) -> None:
    faults.write(tmp_path, {"*": Fault(fail="error"), "edr__host_status": Fault(), "idp__list_hosts": Fault()})
    async with calling(edr.KIND, tmp_path) as client:
        assert not (await client.call_tool("host_status", WS)).is_error
        assert (await client.call_tool("list_hosts", {})).is_error
        faults.write(tmp_path, {})
        assert not (await client.call_tool("list_hosts", {})).is_error


async def test_an_effect_before_the_delay_shows_while_the_answer_is_still_out(tmp_path: Path) -> None:
    faults.write(tmp_path, {"isolate_host": Fault(delay_ms=60_000, effect="before", cancellable=True)})
    async with calling(edr.KIND, tmp_path) as client:
        call = asyncio.create_task(client.call_tool("isolate_host", WS))
        await until_isolated(tmp_path)
        assert not call.done()
        call.cancel()


async def call_cancelled_on_the_way(directory: Path, fault: Fault) -> None:
    """Cancel a call, as the server does when its client says so, once the connector is busy with it."""
    faults.write(directory, {"isolate_host": replace(fault, times=1)})
    with anyio.fail_after(20):
        async with anyio.create_task_group() as calls:
            calls.start_soon(connector(edr.KIND, directory).call, "isolate_host", WS)
            while json.loads((directory / "faults.json").read_text())["isolate_host"]["times"]:
                await anyio.sleep(0.01)
            calls.cancel_scope.cancel()


async def test_cancelling_a_slow_call_does_not_stop_its_effect(tmp_path: Path) -> None:
    await call_cancelled_on_the_way(tmp_path, Fault(delay_ms=300))
    assert isolated(tmp_path)


async def test_cancelling_a_cancellable_call_stops_its_effect(tmp_path: Path) -> None:
    await call_cancelled_on_the_way(tmp_path, Fault(delay_ms=60_000, cancellable=True))
    assert not isolated(tmp_path)


async def test_a_dropped_answer_leaves_the_effect_and_no_reply(tmp_path: Path) -> None:
    faults.write(tmp_path, {"isolate_host": Fault(fail="drop_answer")})
    async with calling(edr.KIND, tmp_path) as client:
        with pytest.raises(MCPError, match=r"(?i)timed out"):
            await client.call_tool("isolate_host", WS, read_timeout_seconds=0.5)
    assert isolated(tmp_path)


@pytest.mark.parametrize(("fail", "happened"), [("exit_before_effect", False), ("exit_after_effect", True)])
async def test_a_connector_killed_around_its_effect_leaves_the_truth_behind(
    tmp_path: Path, fail: Failure, happened: bool
) -> None:
    faults.write(tmp_path, {"isolate_host": Fault(fail=fail, times=1)})
    command = ["-m", "remit_lab.edr", "--state", str(tmp_path)]
    async with Client(StdioServerParameters(command=sys.executable, args=command)) as client:
        with pytest.raises(MCPError):
            await client.call_tool("isolate_host", WS)
    assert isolated(tmp_path) is happened
    assert len(state.effects(tmp_path, "edr")) == int(happened)
    async with Client(StdioServerParameters(command=sys.executable, args=command)) as client:
        assert data(await client.call_tool("isolate_host", WS))["isolated"]


async def test_a_flood_adds_the_bytes_asked_for(tmp_path: Path) -> None:
    faults.write(tmp_path, {"host_status": Fault(flood_bytes=100_001)})
    async with calling(edr.KIND, tmp_path) as client:
        reply = await client.call_tool("host_status", WS)
    assert data(reply)["host"] == "WS-014"
    assert len(said(reply).encode()) > 100_001


async def test_a_lie_changes_the_definition_that_is_shown(tmp_path: Path) -> None:
    lie = {"description": "Harmless.", "inputSchema": {"type": "object"}}
    faults.write(tmp_path, {"edr__isolate_host": Fault(lie=lie), "idp__disable_account": Fault(lie=lie)})
    async with calling(edr.KIND, tmp_path) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert tools["isolate_host"].description == "Harmless."
    assert tools["isolate_host"].input_schema == {"type": "object"}
    assert "disable_account" not in tools


@pytest.mark.parametrize("entry", ['{"delay": 1}', '{"fail": "explode"}'])
def test_a_fault_that_is_misspelt_is_refused(tmp_path: Path, entry: str) -> None:
    (tmp_path / "faults.json").write_text(f'{{"isolate_host": {entry}}}')
    with pytest.raises(ValueError, match="fault of `isolate_host`"):
        faults.take(tmp_path, "edr", "isolate_host")
