"""What the HTTP door does with requests that no well-behaved client would send."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.doors.gateway.double import OTHER_TOKEN, TOKEN, Doors, done, open_doors, within
from tests.doors.gateway.raw import CALL, META, MODERN_CALL, modern, open_session, post, request, send

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
HEADER_MISMATCH, UNSUPPORTED_VERSION = -32020, -32022


def changed(**changes: Any) -> dict[str, Any]:
    """The 2026 call with other members of its params."""
    return {**MODERN_CALL, "params": {**MODERN_CALL["params"], **changes}}


async def test_a_whole_request_is_answered(doors: Doors) -> None:
    response = await modern(doors.port)
    assert response.status == 200
    assert response.json["result"]["resultType"] == "complete"
    assert response.json["result"]["structuredContent"] == {"text": "x"}


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic cnVu", f"Token {TOKEN}", "Bearer " + "x" * 600],
)
async def test_a_missing_or_foreign_token_is_unauthorized(doors: Doors, authorization: str | None) -> None:
    response = await modern(doors.port, authorization=authorization)
    assert response.status == 401
    assert response.headers["www-authenticate"].startswith('Bearer realm="remit"')
    assert doors.node.calls == []


async def test_a_run_that_ends_is_refused_from_then_on(doors: Doors) -> None:
    assert (await modern(doors.port)).status == 200
    del doors.node.runs[TOKEN]
    assert (await modern(doors.port)).status == 401


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", "", None])
async def test_a_host_that_is_not_ours_is_misdirected(doors: Doors, host: str | None) -> None:
    assert (await modern(doors.port, host=host)).status in (400, 421)
    assert doors.node.calls == []


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "file://127.0.0.1", ""])
async def test_an_origin_that_is_not_ours_is_forbidden(doors: Doors, origin: str) -> None:
    assert (await modern(doors.port, origin=origin)).status == 403
    assert doors.node.calls == []


async def test_our_own_origin_and_names_are_served(doors: Doors) -> None:
    for name in ("localhost", "127.0.0.1", "[::1]"):
        own = f"{name}:{doors.port}"
        assert (await modern(doors.port, host=own, origin=f"http://{own}")).status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_type": None}, 415),
        ({"content_type": "text/plain"}, 415),
        ({"content_type": "application/json; charset=utf-16"}, 415),
        ({"content_encoding": "gzip"}, 415),
        ({"accept": "text/html"}, 406),
        ({"accept": "text/event-stream"}, 406),
        ({"accept": "application/json;q=0"}, 406),
        ({"accept": None}, 200),
        ({"accept": "application/json"}, 200),
        ({"content_type": "application/json; charset=UTF-8"}, 200),
    ],
)
async def test_media_types_are_checked(doors: Doors, headers: dict[str, str | None], status: int) -> None:
    assert (await modern(doors.port, **headers)).status == status


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", PARSE_ERROR),
        (b"{", PARSE_ERROR),
        (b"\xff\xfe", PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":1,"method":"\xc3"}', PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","n\\u0061me":"b"}}', PARSE_ERROR),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{"host":1,"ho\xc5\xbft":2}}}',
            PARSE_ERROR,
        ),
        (b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}', PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}', PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":NaN}}', PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":' + b"[" * 40 + b"]" * 40 + b"}}", PARSE_ERROR),
        (b"[" * 100_000, PARSE_ERROR),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', INVALID_REQUEST),
        (b"[]", INVALID_REQUEST),
        (b'"text"', INVALID_REQUEST),
        (b"null", INVALID_REQUEST),
        (b'{"id":1,"method":"ping"}', INVALID_REQUEST),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":""}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":3}}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', INVALID_REQUEST),
        *[
            (b'{"jsonrpc":"2.0","id":%b,"method":"ping"}' % bad, INVALID_REQUEST)
            for bad in (b"null", b"true", b"1.5", b"[1]", b'{"a":1}', b'"' + b"x" * 300 + b'"')
        ],
    ],
)
async def test_a_body_that_is_no_message_is_a_bad_request(doors: Doors, body: bytes, code: int) -> None:
    response = await post(doors.port, body)
    assert (response.status, response.code) == (400, code)
    assert doors.node.calls == []


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"name": 7}, INVALID_PARAMS),
        ({"name": ""}, INVALID_PARAMS),
        ({"name": "x" * 300}, INVALID_PARAMS),
        ({"arguments": [1]}, INVALID_PARAMS),
        ({"arguments": "text"}, INVALID_PARAMS),
        ({"requestState": "forged"}, INVALID_PARAMS),
        ({"inputResponses": {}}, INVALID_PARAMS),
        ({"_meta": {**META, "progressToken": [1]}}, INVALID_PARAMS),
        ({"_meta": {**META, "io.modelcontextprotocol/clientCapabilities": 3}}, INVALID_PARAMS),
        ({"_meta": {**META, "io.modelcontextprotocol/clientInfo": "me"}}, INVALID_PARAMS),
        ({"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}, INVALID_PARAMS),
        ({"_meta": {}}, INVALID_PARAMS),
    ],
)
async def test_parameters_of_the_wrong_shape_are_invalid(doors: Doors, params: dict[str, Any], code: int) -> None:
    name = params.get("name", "siem__echo")
    response = (
        await modern(doors.port, changed(**params), mcp_name=str(name))
        if name != 7
        else await modern(doors.port, changed(**params))
    )
    assert response.status == 400
    assert response.code in (code, HEADER_MISMATCH)
    assert response.json["id"] == 1
    assert doors.node.calls == []


@pytest.mark.parametrize(
    "headers",
    [
        {"mcp_method": "tools/list"},
        {"mcp_method": None},
        {"mcp_name": "edr__isolate"},
        {"mcp_name": None},
        {"mcp_name": "=?base64?!!!?="},
        {"mcp_protocol_version": "2025-11-25"},
        {"mcp_protocol_version": None},
    ],
)
async def test_headers_that_contradict_the_body_are_refused(doors: Doors, headers: dict[str, str | None]) -> None:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    response = await modern(doors.port, **headers)
    assert (response.status, response.code) == (400, HEADER_MISMATCH)
    assert doors.node.calls == []


async def test_a_name_header_in_base64_is_read(doors: Doors) -> None:
    assert (await modern(doors.port, **{"mcp-name": "=?base64?c2llbV9fZWNobw==?="})).status == 200


@pytest.mark.parametrize("version", ["2099-01-01", "1", "2024-11-05", "x" * 1000])
async def test_an_unknown_version_is_refused_and_the_served_ones_named(doors: Doors, version: str) -> None:
    response = await post(doors.port, CALL, **{"mcp-protocol-version": version})
    assert (response.status, response.code) == (400, UNSUPPORTED_VERSION)
    meta = {**META, "io.modelcontextprotocol/protocolVersion": version}
    response = await modern(doors.port, changed(_meta=meta), **{"mcp-protocol-version": version})
    assert (response.status, response.code) == (400, UNSUPPORTED_VERSION)
    assert response.json["error"]["data"]["supported"] == ["2026-07-28"]


@pytest.mark.parametrize(
    "header", ["authorization", "host", "content-type", "mcp-method", "mcp-name", "mcp-protocol-version", "origin"]
)
async def test_a_second_copy_of_a_header_that_decides_is_refused(doors: Doors, header: str) -> None:
    data = request(doors.port, json.dumps(MODERN_CALL).encode())
    line = f"{header}: x\r\n".encode()
    response = await send(doors.port, data.replace(b"\r\nhost", b"\r\n" + line * 2 + b"host", 1))
    assert response.status == 400


async def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(doors: Doors) -> None:
    data = request(doors.port, b"", **{"content-length": "99999999"})
    assert (await send(doors.port, data)).status == 413


async def test_a_body_that_turns_out_too_large_is_refused(doors: Doors) -> None:
    head = request(doors.port, b"", **{"content-length": None, "transfer-encoding": "chunked"})
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    assert (await send(doors.port, head + chunk * 20)).status == 413


async def test_too_many_or_too_long_headers_are_refused(doors: Doors) -> None:
    many = {f"x-{number}": "1" for number in range(100)}
    assert (await modern(doors.port, **many)).status == 431
    assert (await modern(doors.port, x_long="y" * 40_000)).status in (400, 431)
    endless = b"POST /mcp HTTP/1.1\r\nx-endless: " + b"y" * 100_000
    assert (await send(doors.port, endless)).status == 431


async def test_a_head_or_a_body_that_dribbles_in_is_cut_off(short_path: Path) -> None:
    async with open_doors(short_path, head_timeout=0.1, body_timeout=0.1) as doors:
        assert (await send(doors.port, b"POST /mcp HTTP/1.1\r\nhost:")).status == 408
        assert (await send(doors.port, b"")).status == 408
        assert (await send(doors.port, request(doors.port, b"", **{"content-length": "10"}))).status == 408


async def test_a_kept_connection_cannot_be_held_open_with_empty_lines(short_path: Path) -> None:
    async with open_doors(short_path, head_timeout=0.1) as doors:
        reader, writer = await asyncio.open_connection("127.0.0.1", doors.port)
        writer.write(request(doors.port, b"{}"))
        await reader.readuntil(b"}}")
        writer.write(b"\r\n")
        assert b"408" in await asyncio.wait_for(reader.read(), 5)
        writer.close()


async def test_a_second_request_that_dribbles_in_does_not_spoil_the_first_ones_answer(short_path: Path) -> None:
    async with open_doors(short_path, head_timeout=0.1) as doors:
        reader, writer = await asyncio.open_connection("127.0.0.1", doors.port)
        body = json.dumps(changed(name="slow")).encode()
        headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "slow"}
        writer.write(request(doors.port, body, **headers) + b"POST /mcp")
        await asyncio.wait_for(doors.node.started.wait(), 5)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


@pytest.mark.parametrize(
    "data",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"GARBAGE\r\n\r\n", b"POST /\xff HTTP/1.1\r\n\r\n", b"\r\n" * 3 + b"\x00" * 64],
)
async def test_what_is_not_http_is_a_bad_request(doors: Doors, data: bytes) -> None:
    assert (await send(doors.port, data)).status == 400


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "OPTIONS", "HEAD"])
async def test_other_methods_are_not_served(doors: Doors, method: str) -> None:
    response = await send(doors.port, request(doors.port, b"", method).replace(b"HEAD", b"TRACE"))
    assert response.status == 405
    assert response.headers["allow"] == "POST, DELETE"


async def test_other_paths_hold_nothing(doors: Doors) -> None:
    for path in ("/", "/mcp/", "/MCP", "/.well-known/oauth-protected-resource"):
        assert (await send(doors.port, request(doors.port, b"", "POST", path))).status == 404


@pytest.mark.parametrize(
    "method", ["sampling/createMessage", "resources/list", "prompts/get", "roots/list", "nonsense"]
)
async def test_methods_that_are_not_offered_are_not_found_in_either_era(doors: Doors, method: str) -> None:
    body = {"jsonrpc": "2.0", "id": "a", "method": method, "params": {}}
    session = await open_session(doors.port)
    handshake = await post(doors.port, body, mcp_session_id=session)
    assert (handshake.status, handshake.code, handshake.json["id"]) == (200, METHOD_NOT_FOUND, "a")
    body["params"] = {"_meta": META}
    response = await modern(doors.port, body, **{"mcp-method": method})
    assert (response.status, response.code) == (404, METHOD_NOT_FOUND)
    assert "tools are all there is" in response.json["error"]["data"]["hint"]


async def test_a_session_is_good_for_its_own_token_until_it_is_ended(doors: Doors) -> None:
    session = await open_session(doors.port)
    other = {"authorization": f"Bearer {OTHER_TOKEN}"}
    assert (await post(doors.port, CALL, mcp_session_id=session)).status == 200
    assert (await post(doors.port, CALL, mcp_session_id=session, **other)).status == 404
    assert (await post(doors.port, CALL, mcp_session_id=session[:-1] + "é")).status == 404
    assert (await post(doors.port, CALL, mcp_session_id="")).status == 404
    assert (await post(doors.port, CALL)).status == 400
    delete = request(doors.port, b"", "DELETE", **{"mcp-session-id": session})
    assert (await send(doors.port, delete.replace(TOKEN.encode(), OTHER_TOKEN.encode()))).status == 404
    assert (await send(doors.port, delete)).status == 204
    assert (await post(doors.port, CALL, mcp_session_id=session)).status == 404
    assert len(doors.node.calls) == 1


async def test_ending_a_session_ends_its_waiting(doors: Doors) -> None:
    session = await open_session(doors.port)
    slow = {**CALL, "params": {"name": "slow"}}
    call = asyncio.create_task(post(doors.port, slow, mcp_session_id=session))
    await asyncio.wait_for(doors.node.started.wait(), 5)
    await send(doors.port, request(doors.port, b"", "DELETE", **{"mcp-session-id": session}))
    assert (await call).code == -32800
    assert not doors.node.landed.is_set()


async def test_another_session_or_run_cannot_end_a_waiting(doors: Doors) -> None:
    session, second = await open_session(doors.port), await open_session(doors.port)
    foreign = await open_session(doors.port, OTHER_TOKEN)
    call = asyncio.create_task(post(doors.port, {**CALL, "params": {"name": "slow"}}, mcp_session_id=session))
    await asyncio.wait_for(doors.node.started.wait(), 5)
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    assert (await post(doors.port, cancel, mcp_session_id=second)).status == 202
    assert (await post(doors.port, cancel, mcp_session_id=foreign, authorization=f"Bearer {OTHER_TOKEN}")).status == 202
    odd: Any
    for odd in (None, True, 1.0, "1", [1], {}):
        params = {**cancel, "params": {"requestId": odd}}
        assert (await post(doors.port, params, mcp_session_id=session)).status == 202
    assert not doors.node.cancelled.is_set()
    assert (await post(doors.port, cancel, mcp_session_id=session)).status == 202
    assert (await call).code == -32800
    assert doors.node.cancelled.is_set()


async def test_hanging_up_ends_the_waiting_and_the_action_goes_on(doors: Doors) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", doors.port)
    body = json.dumps(changed(name="slow")).encode()
    writer.write(request(doors.port, body, mcp_protocol_version="2026-07-28", mcp_method="tools/call", mcp_name="slow"))
    await asyncio.wait_for(doors.node.started.wait(), 5)
    writer.close()
    await asyncio.wait_for(doors.node.cancelled.wait(), 5)
    assert not doors.node.landed.is_set()
    doors.node.release.set()
    await asyncio.wait_for(doors.node.landed.wait(), 5)


async def test_a_run_that_is_too_fast_is_slowed_and_another_is_not(short_path: Path) -> None:
    async with open_doors(short_path, rate=0.5, burst=3) as doors:
        statuses = [(await modern(doors.port)).status for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        refused = await modern(doors.port)
        assert refused.headers["retry-after"] == "2"
        assert (await modern(doors.port, authorization=f"Bearer {OTHER_TOKEN}")).status == 200


async def test_a_run_holds_only_so_many_calls_and_another_is_not_harmed(short_path: Path) -> None:
    async with open_doors(short_path, max_calls=2) as doors:
        slow = changed(name="slow")
        held = [asyncio.create_task(modern(doors.port, slow, **{"mcp-name": "slow"})) for _ in range(2)]
        await within(lambda: len(doors.node.calls) == 2)
        assert (await modern(doors.port)).status == 429
        assert (await modern(doors.port, authorization=f"Bearer {OTHER_TOKEN}")).status == 200
        doors.node.release.set()
        assert [response.status for response in await asyncio.gather(*held)] == [200, 200]
        assert (await modern(doors.port)).status == 200


async def test_a_bug_shows_a_reference_and_nothing_else(doors: Doors, caplog: pytest.LogCaptureFixture) -> None:
    doors.node.crash = RuntimeError("the secret inside")
    with caplog.at_level(logging.ERROR, "remit.gateway"):
        response = await modern(doors.port)
    assert response.status == 500
    reference = response.json["error"]["data"]["reference"]
    assert b"secret" not in response.body
    assert b"Traceback" not in response.body
    assert reference in caplog.text
    assert "the secret inside" in caplog.text


async def test_a_quick_call_is_answered_in_json_even_where_a_stream_is_accepted(doors: Doors) -> None:
    response = await modern(doors.port, changed(_meta={**META, "progressToken": 1}))
    assert response.headers["content-type"] == "application/json"


async def test_a_client_that_takes_no_stream_gets_json_however_long_it_takes(doors: Doors) -> None:
    body = changed(name="slow", _meta={**META, "progressToken": 1})
    call = asyncio.create_task(modern(doors.port, body, accept="application/json", **{"mcp-name": "slow"}))
    await asyncio.wait_for(doors.node.started.wait(), 5)
    doors.node.release.set()
    assert (await call).json["result"]["structuredContent"] == {"slow": True}


async def test_a_notification_is_accepted_and_changes_nothing(doors: Doors) -> None:
    note = {"jsonrpc": "2.0", "method": "notifications/anything", "params": {}}
    assert (await modern(doors.port, note, **{"mcp-method": None, "mcp-name": None})).status == 202
    assert doors.node.calls == []


async def test_a_connection_too_many_is_dropped_and_the_others_go_on(short_path: Path) -> None:
    async with open_doors(short_path, max_connections=2) as doors:
        idle = [await asyncio.open_connection("127.0.0.1", doors.port) for _ in range(2)]
        assert (await modern_or_nothing(doors.port)) == 0
        for _, writer in idle:
            writer.close()
        async with asyncio.timeout(5):
            while await modern_or_nothing(doors.port) != 200:
                await asyncio.sleep(0.01)


async def modern_or_nothing(port: int, **headers: str) -> int:
    """The status of a call, 0 where the connection was dropped."""
    try:
        return (await modern(port, **headers)).status
    except ConnectionError:
        return 0


async def test_a_client_that_does_not_read_loses_its_connection(short_path: Path) -> None:
    async with open_doors(short_path, write_timeout=0.3, max_connections=1) as doors:
        big = done(doors.node.runs[TOKEN], {"content": [{"type": "text", "text": "x" * 600_000}]})
        doors.node.answers["siem__echo"] = big
        call = request(
            doors.port,
            json.dumps(MODERN_CALL).encode(),
            **{"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "siem__echo"},
        )
        small = {"authorization": f"Bearer {OTHER_TOKEN}", "content-type": "none"}
        with socket.create_connection(("127.0.0.1", doors.port)) as deaf:
            deaf.sendall(call * 40)
            await within(lambda: len(doors.node.calls) > 1)
            assert await modern_or_nothing(doors.port, **small) == 0
            async with asyncio.timeout(5):
                while await modern_or_nothing(doors.port, **small) != 415:
                    await asyncio.sleep(0.01)
        assert len(doors.node.calls) < 40


async def test_a_call_without_an_id_is_never_carried_out(doors: Doors) -> None:
    call = {key: value for key, value in MODERN_CALL.items() if key != "id"}
    assert (await modern(doors.port, call)).status == 202
    assert doors.node.calls == []
