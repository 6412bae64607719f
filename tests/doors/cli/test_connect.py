"""The bridge as a process: what an MCP client and the person behind it see of it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.doors.gateway.conftest import doors as doors
from tests.doors.gateway.conftest import short_path as short_path
from tests.doors.gateway.double import TOKEN, Doors, open_doors

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'


async def run(*arguments: str, stdin: bytes = b"", environment: dict[str, str]) -> tuple[int, bytes, str]:
    """Exit code, output and errors of the bridge."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "remit.doors.cli.connect",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], **environment},
    )
    output, errors = await asyncio.wait_for(process.communicate(stdin), 20)
    assert process.returncode is not None
    return process.returncode, output, errors.decode()


async def test_lines_are_copied_both_ways_and_the_end_of_input_ends_it(doors: Doors) -> None:
    code, output, errors = await run("--socket", str(doors.socket), stdin=PING, environment={"REMIT_TOKEN": TOKEN})
    assert (code, json.loads(output), errors) == (0, {"jsonrpc": "2.0", "id": 1, "result": {}}, "")


async def test_home_and_token_file_are_read_from_the_environment(short_path: Path, doors: Doors) -> None:
    (short_path / "run").mkdir()
    (short_path / "run" / "agents.sock").symlink_to(doors.socket)
    token = short_path / "token"
    token.write_text(TOKEN + "\n")
    environment = {"REMIT_HOME": str(short_path), "REMIT_TOKEN_FILE": str(token)}
    assert (await run(stdin=PING, environment=environment))[0] == 0
    assert (await run("--home", str(short_path), stdin=PING, environment={"REMIT_TOKEN": TOKEN}))[1].endswith(
        b'"result":{}}\n'
    )


async def test_the_socket_is_read_from_the_environment_and_comes_before_the_home(doors: Doors) -> None:
    environment = {"REMIT_SOCKET": str(doors.socket), "REMIT_HOME": "/nowhere", "REMIT_TOKEN": TOKEN}
    assert (await run(stdin=PING, environment=environment))[0] == 0


async def test_without_a_gateway_it_says_so_and_ends_with_3(short_path: Path) -> None:
    code, output, errors = await run("--home", str(short_path), environment={"REMIT_TOKEN": TOKEN})
    assert (code, output) == (3, b"")
    assert errors.startswith("remit connect: no gateway answers at `")
    assert "hint: start it" in errors


async def test_a_refused_token_is_said_plainly_and_ends_with_1(doors: Doors) -> None:
    code, output, errors = await run("--socket", str(doors.socket), stdin=PING, environment={"REMIT_TOKEN": "wrong"})
    assert code == 1
    assert json.loads(output)["error"]["code"] == -32003
    assert errors == ("remit connect: this token belongs to no open run\nhint: open a run with `remit run open`\n")


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        ((), {"REMIT_TOKEN": "x"}),
        (("--socket",), {"REMIT_TOKEN": "x"}),
        (("--token", "x"), {"REMIT_HOME": "/nowhere"}),
        ((), {"REMIT_HOME": "/nowhere"}),
        ((), {"REMIT_HOME": "/nowhere", "REMIT_TOKEN_FILE": "/nowhere/token"}),
    ],
)
async def test_wrong_use_ends_with_2(arguments: tuple[str, ...], environment: dict[str, str]) -> None:
    code, _, errors = await run(*arguments, environment=environment)
    assert code == 2
    assert errors.startswith("remit connect: ")


async def test_the_end_of_the_gateway_ends_it(short_path: Path) -> None:
    async with open_doors(short_path) as doors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "remit.doors.cli.connect",
            "--socket",
            str(doors.socket),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={"REMIT_TOKEN": TOKEN},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(PING)
        assert json.loads(await asyncio.wait_for(process.stdout.readline(), 10))["id"] == 1
    assert await asyncio.wait_for(process.wait(), 10) == 0


def test_it_imports_nothing_heavy_and_starts_quickly() -> None:
    program = "import sys, remit.doors.cli.connect as c; print(c.main(['--socket', '/nowhere']), *sys.modules)"
    best = 10.0
    for _ in range(5):
        before = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", program], env={"REMIT_TOKEN": "x"}, capture_output=True, text=True, check=True
        )
        best = min(best, time.perf_counter() - before)
    code, *modules = done.stdout.split()
    assert code == "3"
    assert not {"asyncio", "msgspec", "mcp", "argparse", "json", "pathlib", "remit.model.words"} & set(modules)
    bare = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    bare = time.perf_counter() - bare
    assert best < bare + 0.2
