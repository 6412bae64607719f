"""Each tool of the endpoint console, the identity provider and the firewall does what it says, and shows
it outside."""

from __future__ import annotations

from pathlib import Path

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from remit_lab import edr, firewall, idp, state
from remit_lab.serving import Kind
from tests.remit_lab.support import Json, calling, connector, data, known, said

KINDS = (edr.KIND, idp.KIND, firewall.KIND)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_every_tool_refuses_undeclared_arguments_and_tells_its_effect(kind: Kind, tmp_path: Path) -> None:
    async with calling(kind, tmp_path) as client:
        for tool in (await client.list_tools()).tools:
            assert tool.input_schema["additionalProperties"] is False
            assert tool.description
            assert tool.annotations is not None
            reply = await client.call_tool(tool.name, {"surprise": 1})
            assert reply.is_error
            assert "do not fit" in said(reply)


async def test_isolating_and_releasing_a_host_shows_in_its_status_and_from_outside(tmp_path: Path) -> None:
    async with calling(edr.KIND, tmp_path) as client:
        before = data(await client.call_tool("host_status", {"host": "WS-014"}))
        assert before == {
            "host": "WS-014",
            "device_id": before["device_id"],
            "online": True,
            "isolated": False,
            "kind": "workstation",
            "owner": "k.adeyemi",
        }
        assert data(await client.call_tool("isolate_host", {"host": "WS-014", "reason": "dump"}))["isolated"]
        assert ("edr", "WS-014", "ISOLATED, workstation") in state.rows(state.look(tmp_path))
        assert not data(await client.call_tool("release_host", {"host": "WS-014"}))["isolated"]
        assert ("edr", "WS-014", "connected, workstation") in state.rows(state.look(tmp_path))


@pytest.mark.parametrize("name", ["WS-014", "ws-014", "ws-014.corp.example", "device id"])
async def test_a_host_answers_to_its_name_its_full_name_and_its_device_id(name: str, tmp_path: Path) -> None:
    ids = {host.name: host.device_id for host in known().hosts}
    async with calling(edr.KIND, tmp_path) as client:
        asked = ids["WS-014"] if name == "device id" else name
        assert data(await client.call_tool("host_status", {"host": asked}))["device_id"] == ids["WS-014"]


async def test_an_unknown_host_is_an_error_that_names_it_and_changes_nothing(tmp_path: Path) -> None:
    async with calling(edr.KIND, tmp_path) as client:
        reply = await client.call_tool("isolate_host", {"host": "WS-999"})
    assert said(reply) == "host `WS-999` is not known"
    assert not state.effects(tmp_path, "edr")
    assert state.audit(tmp_path, "edr")[0]["outcome"] == "refused"


async def test_an_offline_host_cannot_be_isolated_and_a_batch_with_it_touches_none(tmp_path: Path) -> None:
    async with calling(edr.KIND, tmp_path) as client:
        kept = state.State(tmp_path, "edr")

        def unplug(data: Json) -> None:
            next(host for host in data["hosts"].values() if host["name"] == "WS-022")["online"] = False

        kept.change(state.Call("unplug", {}), unplug)
        assert "offline" in said(await client.call_tool("isolate_host", {"host": "WS-022"}))
        assert (await client.call_tool("isolate_hosts", {"hosts": ["WS-014", "WS-022"]})).is_error
        status = data(await client.call_tool("host_status", {"host": "WS-014"}))
    assert status["isolated"] is False


async def test_isolating_a_list_and_a_group_reaches_each_member(tmp_path: Path) -> None:
    async with calling(edr.KIND, tmp_path) as client:
        listed = data(await client.call_tool("isolate_hosts", {"hosts": ["WS-014", "SRV-FILE-01"]}))
        assert [host["host"] for host in listed["hosts"]] == ["WS-014", "SRV-FILE-01"]
        group = data(await client.call_tool("isolate_group", {"group": "domain-controllers"}))
        assert [host["host"] for host in group["hosts"]] == ["DC-01"]
        unknown = await client.call_tool("isolate_group", {"group": "printers"})
        assert "known groups are all, domain-controllers, servers, workstations" in said(unknown)
        hosts = data(await client.call_tool("list_hosts", {}))["hosts"]
    assert {host["host"] for host in hosts if host["isolated"]} == {"WS-014", "SRV-FILE-01", "DC-01"}


async def test_a_script_is_noted_on_its_host(tmp_path: Path) -> None:
    async with calling(edr.KIND, tmp_path) as client:
        reply = await client.call_tool("run_script", {"host": "DC-01", "script": "whoami"})
    assert data(reply)["exit_status"] == 0
    assert ("edr", "DC-01", "connected, domain-controller, 1 script run") in state.rows(state.look(tmp_path))


async def test_an_account_is_disabled_enabled_and_deleted_for_good(tmp_path: Path) -> None:
    async with calling(idp.KIND, tmp_path) as client:
        status = data(await client.call_tool("account_status", {"account": "CORP\\k.adeyemi"}))
        assert (status["account"], status["enabled"], status["privileged"]) == ("k.adeyemi", True, False)
        assert status["devices"] == ["WS-014"]
        assert not data(await client.call_tool("disable_account", {"account": status["account_id"]}))["enabled"]
        assert ("idp", "k.adeyemi", "DISABLED") in state.rows(state.look(tmp_path))
        assert data(await client.call_tool("enable_account", {"account": "k.adeyemi"}))["enabled"]
        assert data(await client.call_tool("delete_account", {"account": "k.adeyemi"}))["deleted"]
        gone = await client.call_tool("enable_account", {"account": "k.adeyemi"})
    assert "has been deleted" in said(gone)
    assert ("idp", "k.adeyemi", "DELETED") in state.rows(state.look(tmp_path))


async def test_an_address_is_blocked_by_itself_and_within_a_network_until_it_is_unblocked(
    tmp_path: Path,
) -> None:
    async with calling(firewall.KIND, tmp_path) as client:
        assert not data(await client.call_tool("block_status", {"address": "203.0.113.9"}))["blocked"]
        assert data(await client.call_tool("block_address", {"address": "203.0.113.0/24"}))["blocked"]
        assert data(await client.call_tool("block_status", {"address": "203.0.113.9"}))["by"] == "203.0.113.0/24"
        assert not data(await client.call_tool("block_status", {"address": "2001:db8::1"}))["blocked"]
        own = await client.call_tool("unblock_address", {"address": "203.0.113.9"})
        assert "no block of its own" in said(own)
        assert not data(await client.call_tool("unblock_address", {"address": "203.0.113.0/24"}))["blocked"]
        assert data(await client.call_tool("list_blocks", {}))["blocks"] == []


async def test_a_block_with_a_time_to_live_carries_its_end(tmp_path: Path) -> None:
    async with calling(firewall.KIND, tmp_path) as client:
        blocked = data(await client.call_tool("block_address", {"address": "2001:DB8:0::1", "ttl": 3600}))
        assert blocked["address"] == "2001:db8::1"
        (block,) = data(await client.call_tool("list_blocks", {}))["blocks"]
    assert block["until"] == blocked["until"]


async def test_text_that_is_no_address_is_refused(tmp_path: Path) -> None:
    async with calling(firewall.KIND, tmp_path) as client:
        assert "no IP address" in said(await client.call_tool("block_address", {"address": "example.com"}))


async def test_an_unknown_tool_is_a_protocol_error_and_is_recorded(tmp_path: Path) -> None:
    async with calling(edr.KIND, tmp_path) as client:
        with pytest.raises(MCPError, match="unknown tool `format_disk`"):
            await client.call_tool("format_disk", {"host": "WS-014"})
    assert state.audit(tmp_path, "edr")[0]["reason"] == "unknown_tool: no such tool"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_both_protocol_eras_get_the_same_tools(mode: str, tmp_path: Path) -> None:
    async with Client(connector(edr.KIND, tmp_path).server(), mode=mode) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
    assert names == [tool.name for tool in edr.TOOLS]
