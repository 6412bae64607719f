# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-any-generics
"""Connectors against real processes and servers: the official SDK is the oracle."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from remit.adapters.connectors.connector import Connector
from remit.adapters.connectors.settings import ConnectorSettings
from remit.flow.ports import AnswerLost, NotSent, UpstreamRefused

UPSTREAM = Path(__file__).with_name("upstream.py")
PYTHON = sys.executable


def settings(*command, **more):
    more = {"name": "edr", "transport": "stdio", "command": command, "timeout": 20.0, **more}
    return ConnectorSettings(**more)


def script(text):
    return (PYTHON, "-u", "-c", textwrap.dedent(HELLO) + textwrap.dedent(text))


HELLO = """
import json, os, sys, time, subprocess
def read():
    return json.loads(sys.stdin.readline())
def say(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
first = read()
say(id=first["id"], result={"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "s"}})
read()
"""


@asynccontextmanager
async def connected(given):
    connector = Connector(given, now=lambda: time.time_ns() // 1000, jitter=lambda: 0.0)
    await connector.start()
    try:
        yield connector
    finally:
        await connector.close(0.2)


async def call(connector, tool="echo", arguments=b"{}", **more):
    more = {"action": "act_1", "handed_over": lambda: None, **more}
    return await connector.call(tool, arguments, {}, **more)


async def until(condition, seconds=10.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@asynccontextmanager
async def http_upstream(kind):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([PYTHON, str(UPSTREAM), "http", str(port), kind])

    def listening():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        await until(listening)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait()


ARGUMENTS = {"host": "hoſt", "n": 1.5, "deep": {"list": [1, None, True]}}


def plain(raw):
    result = json.loads(raw)
    result.pop("_meta", None)
    result.pop("resultType", None)
    return result


@pytest.mark.parametrize("era", ["handshake", "stateless"])
async def test_over_stdio_the_result_is_what_the_official_client_gets(era):
    command = StdioServerParameters(command=PYTHON, args=[str(UPSTREAM), "stdio"])
    async with Client(stdio_client(command)) as client:
        expected = await client.call_tool("echo", ARGUMENTS)
        names = [tool.name for tool in (await client.list_tools()).tools]
    async with connected(settings(PYTHON, str(UPSTREAM), "stdio", era=era)) as connector:
        assert connector.status.state == "up", connector.status
        assert [tool["name"] for tool in await connector.list_tools()] == names
        got = plain(await call(connector, arguments=json.dumps(ARGUMENTS, ensure_ascii=False).encode()))
    assert got["structuredContent"] == expected.structured_content
    assert got["content"][0]["text"] == expected.content[0].model_dump()["text"]


@pytest.mark.parametrize("kind", ["json", "sse"])
@pytest.mark.parametrize("era", ["handshake", "stateless"])
async def test_over_http_the_result_is_what_the_official_client_gets(era, kind):
    async with http_upstream(kind) as url:
        async with Client(url) as client:
            expected = await client.call_tool("echo", ARGUMENTS)
        progress: list[dict[str, object]] = []
        async with connected(settings(transport="http", url=url, era=era)) as connector:
            assert connector.status.state == "up", connector.status
            assert len(await connector.list_tools()) == 7
            got = plain(await call(connector, arguments=json.dumps(ARGUMENTS).encode()))
            await call(connector, "progress", on_progress=progress.append)
    assert got["structuredContent"] == expected.structured_content
    if kind == "sse":
        assert [each["message"] for each in progress] == ["half"]


async def test_progress_over_stdio_reaches_the_call_that_it_belongs_to():
    seen: list[dict[str, object]] = []
    async with connected(settings(PYTHON, str(UPSTREAM), "stdio")) as connector:
        await call(connector, "progress", on_progress=seen.append)
    assert [(each["progress"], each["message"]) for each in seen] == [(1, "half")]


async def test_a_missing_program_is_down_with_a_reason_and_nothing_is_handed_over():
    handed = []
    async with connected(settings("no-such-program")) as connector:
        assert connector.status.state == "down"
        with pytest.raises(NotSent, match="no program `no-such-program`"):
            await call(connector, handed_over=lambda: handed.append(1))
    assert handed == []


async def test_a_crash_in_the_middle_of_a_call_is_an_answer_lost_and_the_connector_comes_back():
    async with connected(settings(PYTHON, str(UPSTREAM), "stdio")) as connector:
        with pytest.raises(AnswerLost, match="exit code 3"):
            await call(connector, "crash")
        await until(lambda: connector.status.state == "up" and connector.status.restarts == 1)
        await call(connector)


async def test_a_veto_at_the_last_look_sends_nothing(tmp_path):
    class Veto(Exception):
        pass

    def refuse():
        raise Veto

    note = tmp_path / "note"
    text = f"""
    for line in sys.stdin:
        open({str(note)!r}, "a").write(line)
    """
    async with connected(settings(*script(text))) as connector:
        with pytest.raises(Veto):
            await call(connector, handed_over=refuse)
    assert not note.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("read(); print('x' * 300_000, flush=True); read()", "line longer than"),
        ("m = read(); say(id=m['id'], result={}, error={'code': 1, 'message': 'x'}); read()", "both a result"),
        ("read()\nwhile True: say(method='notifications/message')", "nobody asked for"),
        ("m = read(); say(id=m['id'], result=[]); read()", "not a JSON object"),
    ],
)
async def test_an_upstream_that_breaks_the_rules_loses_its_call(text, words):
    async with connected(settings(*script(text), max_result_bytes=100_000)) as connector:
        with pytest.raises(AnswerLost, match=words):
            await call(connector)


async def test_garbage_unknown_ids_pings_and_duplicates_harm_nothing():
    text = """
    m = read()
    print("starting up..."); print(); print("[1]")
    say(id=999, result={})
    say(id="p", method="ping")
    pong = read()
    say(id="s", method="sampling/createMessage", params={})
    no = read()
    say(id=m["id"], result={"pong": pong["result"], "no": no["error"]["code"], "sent": m["params"]["arguments"]})
    say(id=m["id"], result={"second": True})
    sys.stdin.read()
    """
    async with connected(settings(*script(text))) as connector:
        result = json.loads(await call(connector, arguments=b'{"b":1e2}'))
    assert result == {"pong": {}, "no": -32601, "sent": {"b": 100.0}}


@pytest.mark.parametrize("arguments", [b"[]", b'{"a":1},"x":{}', b'{"a":\n1}', b'{"a":"\xff"}', b"{"])
async def test_arguments_that_are_not_one_object_on_one_line_are_not_sent(arguments):
    async with connected(settings(PYTHON, str(UPSTREAM), "stdio")) as connector:
        with pytest.raises(NotSent):
            await call(connector, arguments=arguments)


async def test_flooding_stderr_is_bounded_and_secrets_are_struck_out(tmp_path):
    given = settings(
        PYTHON, str(UPSTREAM), "stdio", secrets=("hunter2secret",), stderr_file=tmp_path / "log", max_stderr_bytes=9999
    )
    async with connected(given) as connector:
        await call(connector, "flood_stderr")
        tail = connector.stderr_tail()
    assert 0 < len(tail) <= 9999
    assert "hunter2secret" not in tail + (tmp_path / "log").read_text()


async def test_a_slow_connector_does_not_hold_up_a_fast_one():
    slow = settings(PYTHON, str(UPSTREAM), "stdio", name="slow", timeout=1.0, max_in_flight=1, max_waiting=1)
    fast = settings(PYTHON, str(UPSTREAM), "stdio", name="fast")
    async with connected(slow) as one, connected(fast) as two:
        waits = [asyncio.create_task(call(one, "wait", action=f"a{n}")) for n in range(3)]
        await call(two)
        assert not any(wait.done() for wait in waits[:2])
        ends = await asyncio.gather(*waits, return_exceptions=True)
    assert isinstance(ends[0], AnswerLost)
    assert isinstance(ends[2], NotSent)
    assert "within 1 s" in str(ends[0])
    assert "busy" in str(ends[2])


async def test_severing_kills_the_process_and_names_the_collateral():
    async with connected(settings(PYTHON, str(UPSTREAM), "stdio")) as connector:
        process, grandchild = json.loads(await call(connector, "escape"))["content"][0]["text"].split()
        handed = []
        calls = [
            asyncio.create_task(call(connector, "wait", action=f"a{n}", handed_over=lambda: handed.append(1)))
            for n in range(2)
        ]
        await until(lambda: len(handed) == 2)
        certain, others = await asyncio.to_thread(connector.sever, ["a0"])
        assert (certain, others) == (True, ("a1",))
        assert not alive(process)
        assert not alive(grandchild)
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends] == [AnswerLost, AnswerLost]


async def test_cancelling_a_call_ends_the_waiting_and_the_connector_serves_on():
    async with connected(settings(PYTHON, str(UPSTREAM), "stdio")) as connector:
        handed = asyncio.Event()
        waiting = asyncio.create_task(call(connector, "wait", handed_over=handed.set))
        await asyncio.wait_for(handed.wait(), 5)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await call(connector)


HOLDER = """
import asyncio, sys, time, json
from remit.adapters.connectors.connector import Connector
from remit.adapters.connectors.settings import ConnectorSettings
async def main():
    given = ConnectorSettings(name="edr", transport="stdio", command=(sys.executable, sys.argv[1], "stdio"))
    connector = Connector(given, now=lambda: 0, jitter=lambda: 0.0)
    await connector.start()
    raw = await connector.call("escape", b"{}", {}, action="a", handed_over=lambda: None)
    print(json.loads(raw)["content"][0]["text"], flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_kill_9_of_the_gateway_takes_the_process_and_its_escaped_grandchild_with_it():
    holder = subprocess.Popen([PYTHON, "-c", HOLDER, str(UPSTREAM)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    line = await asyncio.to_thread(holder.stdout.readline)
    process, grandchild = line.split()
    assert alive(process.decode())
    assert alive(grandchild.decode())
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    await until(lambda: not alive(process.decode()) and not alive(grandchild.decode()))


@asynccontextmanager
async def fake_http(answer):
    async def handle(request):
        if request.method != "POST":
            return web.Response(status=405)
        message = await request.json()
        if message.get("method") == "initialize":
            result = {"protocolVersion": "2025-11-25", "capabilities": {}}
            headers = {"Mcp-Session-Id": "s1"}
            return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": result}, headers=headers)
        if "id" not in message:
            return web.Response(status=202)
        return await answer(message)

    app = web.Application()
    app.router.add_route("*", "/mcp", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield settings(transport="http", url=f"http://127.0.0.1:{port}/mcp", max_result_bytes=10_000, timeout=5.0)
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "error"),
    [(500, AnswerLost), (503, AnswerLost), (302, AnswerLost), (307, UpstreamRefused), (403, UpstreamRefused)],
)
async def test_an_http_status_is_a_refusal_only_where_it_says_that_nothing_was_done(status, error):
    async def answer(message):
        return web.Response(status=status, headers={"Location": "/mcp"})

    async with fake_http(answer) as given, connected(given) as connector:
        with pytest.raises(error):
            await call(connector)


async def test_an_answer_that_is_too_long_is_lost():
    async def answer(message):
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": {"x": "y" * 20_000}})

    async with fake_http(answer) as given, connected(given) as connector:
        with pytest.raises(AnswerLost, match="longer than 10000 bytes"):
            await call(connector)


async def test_a_session_that_ended_is_opened_again_and_the_call_looks_once_more_before_it_goes():
    asked, handed = [], []

    async def answer(message):
        asked.append(message["params"])
        if len(asked) == 1:
            return web.Response(status=404)
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": {}})

    async with fake_http(answer) as given, connected(given) as connector:
        assert await call(connector, handed_over=lambda: handed.append(1)) == b"{}"
    assert len(asked) == len(handed) == 2


async def test_severing_over_http_breaks_the_call_off_and_is_never_certain():
    async def answer(message):
        await asyncio.sleep(60)

    async with fake_http(answer) as given, connected(given) as connector:
        handed = asyncio.Event()
        waiting = asyncio.create_task(call(connector, handed_over=handed.set))
        await asyncio.wait_for(handed.wait(), 5)
        assert connector.sever(["act_1"]) == (False, ())
        with pytest.raises(AnswerLost, match="severed"):
            await waiting


async def test_an_http_upstream_that_is_gone_is_down_and_says_so_without_its_secrets():
    given = settings(transport="http", url="http://127.0.0.1:9/mcp?key=s3cret", headers={"Authorization": "s3cret"})
    async with connected(given) as connector:
        with pytest.raises(NotSent, match="cannot be reached") as caught:
            await call(connector)
    assert "s3cret" not in str(caught.value) + repr(given)


def test_under_uvloop_a_call_goes_through_and_severing_is_certain():
    uvloop = pytest.importorskip("uvloop")

    async def work():
        async with connected(settings(PYTHON, str(UPSTREAM), "stdio")) as connector:
            assert plain(await call(connector, arguments=b'{"a":1}'))["structuredContent"] == {"arguments": {"a": 1}}
            assert await asyncio.to_thread(connector.sever, ["act_1"]) == (True, ())

    uvloop.run(work())
