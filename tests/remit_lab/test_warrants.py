"""The connectors refuse every warrant that does not permit exactly the call that it came with."""

from __future__ import annotations

import base64
import json
import sys
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client, StdioServerParameters

from remit_lab import state
from remit_lab.warrants import WarrantRefused, read_key
from tests.remit_lab.support import NOW, Json, Mint, data, encoded, meta, part, said

CALL: Json = {"host": "WS-014"}


async def refused(mint: Mint, directory: Path, token: object, tool: str = "isolate_host") -> str:
    """Call with a token that must be refused, and return what the refusal says."""
    result = await mint.connector(directory).call(tool, CALL, token)
    assert result.is_error
    assert not state.effects(directory, mint.name)
    (entry,) = state.audit(directory, mint.name)
    assert entry["outcome"] == "refused"
    assert entry["tool"] == tool
    return said(result)


async def test_a_good_warrant_permits_the_call_and_is_recorded_with_its_subject(tmp_path: Path) -> None:
    mint = Mint()
    result = await mint.connector(tmp_path).call("isolate_host", CALL, mint.warrant("isolate_host", CALL))
    assert data(result)["isolated"] is True
    (entry,) = state.effects(tmp_path, "edr")
    assert (entry["warrant"], entry["subject"]) == ("wrt_0000000000000001", "triage")
    assert entry["arguments"] == CALL


async def test_a_warrant_travels_in_meta_over_mcp_in_both_eras(tmp_path: Path) -> None:
    mint = Mint()
    server = mint.connector(tmp_path).server()
    for mode in ("auto", "legacy"):
        async with Client(server, mode=mode) as client:
            bare = await client.call_tool("host_status", CALL)
            assert "refused (missing)" in said(bare)
            warrant = mint.warrant("host_status", CALL)
            assert data(await client.call_tool("host_status", CALL, meta=meta(warrant)))["host"] == "WS-014"


async def test_a_call_without_a_warrant_is_refused_reads_included(tmp_path: Path) -> None:
    assert "refused (missing)" in await refused(Mint(), tmp_path, None, "list_hosts")


async def test_a_warrant_signed_with_another_key_is_refused(tmp_path: Path) -> None:
    mint = Mint()
    token = mint.warrant("isolate_host", CALL, key=Ed25519PrivateKey.generate())
    assert "signature is wrong" in await refused(mint, tmp_path, token)


async def test_a_warrant_that_names_another_key_is_refused(tmp_path: Path) -> None:
    mint = Mint()
    token = mint.warrant("isolate_host", CALL, header={"kid": "0" * 16})
    assert "refused (signature)" in await refused(mint, tmp_path, token)


async def test_a_warrant_whose_body_was_changed_after_signing_is_refused(tmp_path: Path) -> None:
    mint = Mint()
    head, body, tail = mint.warrant("isolate_host", CALL).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    token = f"{head}.{encoded({**claims, 'sub': 'somebody'})}.{tail}"
    assert "refused (signature)" in await refused(mint, tmp_path, token)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "EdDSA", "ed25519"])
async def test_a_warrant_of_any_other_algorithm_is_refused(tmp_path: Path, algorithm: str) -> None:
    mint = Mint()
    token = mint.warrant("isolate_host", CALL, header={"alg": algorithm})
    assert f"`alg` is `{algorithm}`" in await refused(mint, tmp_path, token)


async def test_a_token_of_another_type_is_refused(tmp_path: Path) -> None:
    mint = Mint()
    assert "`typ` is `JWT`" in await refused(mint, tmp_path, mint.warrant("isolate_host", CALL, header={"typ": "JWT"}))


@pytest.mark.parametrize("where", ["claims", "detail"])
async def test_a_warrant_for_another_connector_is_refused(tmp_path: Path, where: str) -> None:
    mint = Mint()
    claims = {"aud": "idp"} if where == "claims" else None
    detail = {"connector": "idp"} if where == "detail" else None
    token = mint.warrant("isolate_host", CALL, claims=claims, detail=detail)
    assert "refused (audience)" in await refused(mint, tmp_path, token)


async def test_a_list_of_audiences_is_refused_even_when_this_connector_is_in_it(tmp_path: Path) -> None:
    mint = Mint()
    token = mint.warrant("isolate_host", CALL, claims={"aud": ["edr", "idp"]})
    assert "refused (audience)" in await refused(mint, tmp_path, token)


async def test_a_warrant_for_another_tool_is_refused(tmp_path: Path) -> None:
    mint = Mint()
    token = mint.warrant("host_status", CALL)
    assert "is for tool `host_status`: called was `isolate_host`" in await refused(mint, tmp_path, token)


async def test_a_warrant_for_other_arguments_is_refused(tmp_path: Path) -> None:
    mint = Mint()
    token = mint.warrant("isolate_host", {"host": "DC-01"})
    assert "refused (arguments)" in await refused(mint, tmp_path, token)


async def test_a_warrant_for_the_same_arguments_in_another_order_is_accepted(tmp_path: Path) -> None:
    mint = Mint()
    token = mint.warrant("isolate_host", {"reason": "dump", "host": "WS-014"})
    result = await mint.connector(tmp_path).call("isolate_host", {"host": "WS-014", "reason": "dump"}, token)
    assert not result.is_error


async def test_a_warrant_is_good_for_one_call_even_after_a_restart(tmp_path: Path) -> None:
    mint = Mint()
    token = mint.warrant("host_status", CALL)
    assert not (await mint.connector(tmp_path).call("host_status", CALL, token)).is_error
    again = await mint.connector(tmp_path).call("host_status", CALL, token)
    assert "refused (used)" in said(again)


async def test_a_warrant_used_at_another_process_of_the_same_connector_is_refused(tmp_path: Path) -> None:
    mint = Mint()
    first, second = mint.connector(tmp_path), mint.connector(tmp_path)
    token = mint.warrant("host_status", CALL)
    assert not (await second.call("host_status", CALL, token)).is_error
    assert "refused (used)" in said(await first.call("host_status", CALL, token))


async def test_a_refused_warrant_is_not_used_up(tmp_path: Path) -> None:
    mint = Mint()
    token = mint.warrant("host_status", CALL)
    one = mint.connector(tmp_path)
    assert (await one.call("isolate_host", CALL, token)).is_error
    assert not (await one.call("host_status", CALL, token)).is_error


@pytest.mark.parametrize(
    ("claims", "kind"),
    [
        ({"iat": int(NOW) - 60, "nbf": int(NOW) - 60, "exp": int(NOW)}, "expired"),
        ({"exp": int(NOW) + 61}, "too_long"),
        ({"nbf": int(NOW) - 30, "iat": int(NOW), "exp": int(NOW) + 60}, "too_long"),
        ({"nbf": int(NOW) + 1}, "not_yet_valid"),
        ({"iat": int(NOW) + 5, "nbf": int(NOW), "exp": int(NOW) + 10}, "not_yet_valid"),
        ({"exp": "never"}, "malformed"),
        ({"exp": True}, "malformed"),
        ({"nbf": None}, "malformed"),
        ({"jti": ""}, "malformed"),
        ({"sub": None}, "malformed"),
        ({"authorization_details": []}, "malformed"),
        ({"authorization_details": "all"}, "malformed"),
    ],
)
async def test_a_warrant_outside_its_time_or_form_is_refused_and_says_so(
    tmp_path: Path, claims: Json, kind: str
) -> None:
    mint = Mint()
    token = mint.warrant("isolate_host", CALL, claims=claims)
    assert f"refused ({kind})" in await refused(mint, tmp_path, token)


async def test_two_details_in_one_warrant_are_refused(tmp_path: Path) -> None:
    mint = Mint()
    token = mint.warrant("isolate_host", CALL, claims={"authorization_details": [{}, {}]})
    assert "exactly one member" in await refused(mint, tmp_path, token)


@pytest.mark.parametrize("token", [7, "", "a.b", "a.b.c", "....", {"jwt": "x"}, "é.é.é", "e30.e30.e30"])
async def test_anything_that_is_no_warrant_is_refused(tmp_path: Path, token: object) -> None:
    assert "refused (malformed)" in await refused(Mint(), tmp_path, token)


async def test_a_body_with_a_duplicate_member_is_refused(tmp_path: Path) -> None:
    mint = Mint()
    head, body, _ = mint.warrant("isolate_host", CALL).split(".")
    claims = base64.urlsafe_b64decode(body + "==").decode()
    twice = part((claims[:-1] + ', "aud": "edr"}').encode())
    token = f"{head}.{twice}.{part(mint.key.sign(f'{head}.{twice}'.encode()))}"
    assert "unique members" in await refused(mint, tmp_path, token)


async def test_arguments_without_a_canonical_form_are_refused(tmp_path: Path) -> None:
    mint = Mint()
    token = mint.warrant("isolate_host", CALL)
    result = await mint.connector(tmp_path).call("isolate_host", {"host": "WS-014", "n": 2**60}, token)
    assert "refused (arguments)" in said(result)


@given(position=st.integers(0), replacement=st.characters(codec="ascii"))
def test_a_warrant_with_one_character_changed_is_never_accepted(
    tmp_path_factory: pytest.TempPathFactory, position: int, replacement: str
) -> None:
    mint = Mint()
    token = mint.warrant("host_status", CALL)
    position %= len(token)
    if token[position] == replacement:
        return
    changed = token[:position] + replacement + token[position + 1 :]
    with pytest.raises(WarrantRefused):
        mint.check(tmp_path_factory.mktemp("burned")).permit(changed, "host_status", CALL, NOW)


def test_a_key_file_that_holds_no_public_key_is_refused_at_the_start(tmp_path: Path) -> None:
    mint = Mint()
    path = tmp_path / "warrant.pub"
    path.write_text(base64.b64encode(mint.public).decode() + "\n")
    assert read_key(path) == mint.public
    path.write_text(base64.b64encode(b"short").decode())
    with pytest.raises(ValueError, match="holds 5 bytes"):
        read_key(path)
    path.write_text("not base64!")
    with pytest.raises(ValueError, match="not base64"):
        read_key(path)


async def test_a_connector_process_takes_key_and_name_from_its_environment_and_burns_across_restarts(
    tmp_path: Path,
) -> None:
    mint = Mint("edr-berlin")
    (tmp_path / "warrant.pub").write_text(base64.b64encode(mint.public).decode() + "\n")
    now = int(time.time())
    times = {"iat": now, "nbf": now, "exp": now + 60}
    token = mint.warrant("isolate_host", CALL, claims=times)
    process = StdioServerParameters(
        command=sys.executable,
        args=["-m", "remit_lab.edr", "--state", str(tmp_path)],
        env={"REMIT_WARRANT_KEY": str(tmp_path / "warrant.pub"), "REMIT_CONNECTOR": "edr-berlin"},
    )
    async with Client(process) as client:
        assert data(await client.call_tool("isolate_host", CALL, meta=meta(token)))["isolated"]
    async with Client(process) as client:
        again = await client.call_tool("isolate_host", CALL, meta=meta(token))
        assert "refused (used)" in said(again)
        assert "refused (missing)" in said(await client.call_tool("list_hosts", {}))
    assert len(state.effects(tmp_path, "edr-berlin")) == 1
