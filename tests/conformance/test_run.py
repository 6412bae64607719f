"""The comparison with the known gaps, and the front that adds the token."""

import tomllib
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from multidict import CIMultiDict
from yarl import URL

from tests.conformance.everything_server import TOOLS
from tests.conformance.front import forwarded, front
from tests.conformance.run import complaints

HERE = Path(__file__).resolve().parent


@pytest.mark.parametrize(
    ("outcomes", "gaps", "expected"),
    [
        ({"a": [], "b": ["x: y"]}, {"b": "why"}, []),
        ({"a": ["x: y"], "b": []}, {}, ["`a` failed: x: y"]),
        ({"a": [], "b": []}, {"b": "why"}, ["`b` is listed as a known gap, but it passed"]),
        ({"a": []}, {}, ["`b` did not run"]),
        ({"a": [], "b": []}, {"c": "why"}, ["`c` is a known gap, but no scenario of the suite"]),
    ],
)
def test_surprises_in_both_directions_fail_the_run(
    outcomes: dict[str, list[str]], gaps: dict[str, str], expected: list[str]
) -> None:
    assert complaints({"a", "b"}, outcomes, gaps) == expected


def test_only_the_fronts_own_authority_is_replaced() -> None:
    own, gateway = "127.0.0.1:1", "127.0.0.1:2"
    ours = forwarded(CIMultiDict({"Host": own, "Origin": f"http://{own}"}), own, gateway, "t")
    foreign = forwarded(CIMultiDict({"host": "evil.example", "Origin": "http://evil.example"}), own, gateway, "t")
    assert dict(ours) == {"Host": gateway, "Origin": f"http://{gateway}", "Authorization": "Bearer t"}
    assert dict(foreign) == {
        "host": "evil.example",
        "Origin": "http://evil.example",
        "Authorization": "Bearer t",
    }


async def test_the_front_adds_the_token_and_passes_status_headers_and_body() -> None:
    async def answer(request: web.Request) -> web.Response:
        said = f"{request.headers['Authorization']} {request.host} {await request.text()}"
        return web.Response(text=said, status=202, headers={"Mcp-Session-Id": "s"})

    application = web.Application()
    application.router.add_post("/mcp", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        authority = f"127.0.0.1:{runner.addresses[0][1]}"
        async with (
            front(URL(f"http://{authority}/mcp"), "rt_1") as address,
            ClientSession() as client,
            client.post(address, data="hello") as response,
        ):
            assert await response.text() == f"Bearer rt_1 {authority} hello"
            assert (response.status, response.headers["Mcp-Session-Id"]) == (202, "s")
    finally:
        await runner.cleanup()


def test_the_connector_file_classifies_every_tool_of_the_upstream() -> None:
    connector = tomllib.loads((HERE / "everything.toml").read_text(encoding="utf-8"))
    assert [tool["name"] for tool in connector["tool"]] == list(TOOLS)
