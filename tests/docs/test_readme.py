"""The ten minutes of the README, followed word for word on stand-in servers, up to the official client's answer."""

from __future__ import annotations

import datetime
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
REMIT = str(Path(sys.executable).parent / "remit")
SECONDS = 60
pytestmark = pytest.mark.timeout(300)  # some twenty processes, one after the other
STATIC = '{ class = "static" }'
ASKS = ("boundary sign", "inventory accept", "connectors accept")
SERVER = """
import json, sys
tools = {"git": ["git_status", "git_commit"], "files": ["list_directory", "write_file"]}[sys.argv[1]]
schema = {"type": "object", "properties": {"repo_path": {"type": "string"}, "message": {"type": "string"}}}
def answer(asked):
    if asked["method"] == "initialize":
        about = {"name": sys.argv[1], "version": "1"}
        return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": about}
    if asked["method"] == "tools/list":
        return {"tools": [{"name": name, "description": name, "inputSchema": schema} for name in tools]}
    return {"content": [{"type": "text", "text": json.dumps(asked["params"]["arguments"])}]}
for line in sys.stdin:
    asked = json.loads(line)
    if "id" in asked:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": answer(asked)}), flush=True)
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """The lines of the README's shell blocks, without their remarks."""
    lines = "".join(blocks("sh")).splitlines()
    return [line.partition("  #")[0].strip() for line in lines if line.strip()]


class Reader:
    """Somebody who does what the README says, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "remit-practice"
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.environment = {**kept, "HOME": str(folder), "REMIT_HOME": str(self.home)}
        self.gateway: subprocess.Popen[str] | None = None
        self.url = ""
        self.token = ""
        self.printed: dict[str, str] = {}
        servers = {
            name: {"command": sys.executable, "args": [str(folder / "server.py"), name]} for name in ("git", "files")
        }
        (folder / "server.py").write_text(SERVER)
        (folder / ".mcp.json").write_text(json.dumps({"mcpServers": servers}))
        (folder / "client.py").write_text(blocks("python")[0])

    def follow(self, line: str) -> str:
        """Do one line of a shell block; what it printed. `ACTION` is one that the README's client has had done."""
        if line == "remit gateway &":
            return self._start()
        if line.startswith("export "):
            return ""
        words = [re.sub(r"\$([A-Z_]+)", self._variable, word) for word in shlex.split(line)]
        if words[-1] == "COMMAND":
            words[-1:] = [sys.executable, str(self.folder / "client.py")]
        words = [self._action() if word == "ACTION" else word for word in words]
        yes = ["--yes"] if any(line.startswith(f"remit {each}") for each in ASKS) else []
        done = subprocess.run(
            [REMIT, *words[1:], *yes],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _action(self) -> str:
        asks = 'call_tool("git__git_status", {"repo_path": "notes"})'
        client = blocks("python")[0].replace('call_tool("remit__my_remit")', asks)
        (self.folder / "acting.py").write_text(client)
        run = "remit run exec --agent triage --case INC-1 --target notes --"
        self.follow(f"{run} {sys.executable} {self.folder / 'acting.py'}")
        (found,) = json.loads(self.follow("remit find --json"))["actions"]
        return str(found["id"])

    def _variable(self, found: re.Match[str]) -> str:
        return self.environment[found[1]]

    def _start(self) -> str:
        self.gateway = subprocess.Popen(
            [REMIT, "gateway", "--listen", "127.0.0.1:0"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.gateway.stdout is not None
        ready = self.gateway.stdout.readline()
        assert "ready" in ready
        self.url = ready.split()[-1]
        return ready

    def classify(self) -> None:
        """Put the README's tools in the place of their drafts, and one of the other server's."""
        assert f"credential = {STATIC}" in README
        tools, read = (
            blocks("toml")[0],
            '[[tool]]\nname = "list_directory"\ncategory = "evidence.read"\neffect = "read"\n',
        )
        for connector, text in (("git", tools), ("files", read)):
            file = self.home / "connectors" / f"{connector}.toml"
            named = re.findall(r'name = "(.*)"', text)
            head, *drafts = file.read_text().split("[[tool]]\n")
            kept = [draft for draft in drafts if not any(f'name = "{name}"' in draft for name in named)]
            changed = "[[tool]]\n".join([head, *kept]) + "\n" + text
            file.write_text(changed.replace('{ class = "none" }', STATIC) if connector == "git" else changed)

    def allow(self) -> None:
        """Write the README's inventory, and its additions to the boundary."""
        (self.home / "inventory.csv").write_text(blocks("csv")[0])
        later = datetime.date.today() + datetime.timedelta(days=60)
        added = re.sub(r"rotate_by = \S+", f"rotate_by = {later}", blocks("toml")[1])
        file = self.home / "boundary.toml"
        agent = re.compile(r"(\[\[agent\]\].*?categories = \[)", re.DOTALL)
        file.write_text(agent.sub(r'\1"repo.commit", ', file.read_text(), count=1) + "\n" + added)

    def close(self) -> None:
        if self.gateway is not None:
            self.gateway.terminate()
            self.gateway.wait(SECONDS)


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    """After every line of the README was followed; a line that fails fails here."""
    folder = Path(tempfile.mkdtemp(prefix="remit-"))
    reader = Reader(folder)
    try:
        for line in commands():
            if line == "remit connectors pin git --write":
                reader.classify()
                reader.allow()
            reader.printed[line] = reader.follow(line)
        reader.token = (folder / "run-token").read_text().strip()
        yield reader
    finally:
        reader.close()
        shutil.rmtree(folder, ignore_errors=True)


def test_every_line_works_and_the_official_client_sees_what_the_run_may_do(reader: Reader) -> None:
    shown = next(out for line, out in reader.printed.items() if line.startswith("remit run exec")).splitlines()
    assert "git__git_status" in shown
    assert "git__git_commit" in shown
    assert "files__list_directory" in shown
    assert "files__write_file" not in shown
    assert "'targets_of_this_case': ['notes']" in shown[-1]
    assert "'needs_a_human': ['repo.commit'" in shown[-1]


def test_the_log_and_the_evidence_that_the_readme_makes_are_verified(reader: Reader) -> None:
    shown = {line: out for line, out in reader.printed.items() if line.startswith("remit log verify")}
    assert len(shown) == 2
    assert all(out.startswith("VERIFIED") for out in shown.values())
    assert len((reader.folder / "actions.csv").read_text().splitlines()) > 1


def configurations() -> list[dict[str, Any]]:
    return [json.loads(block)["mcpServers"]["remit"] for block in blocks("json")]


@pytest.mark.parametrize("number", [n for n, each in enumerate(configurations()) if "command" in each])
async def test_a_configuration_over_stdio_works_as_it_stands(reader: Reader, number: int) -> None:
    given = configurations()[number]
    places = {
        "/path/to/.venv/bin/remit": REMIT,
        "/path/to/home": str(reader.home),
        "/path/to/run-token": str(reader.folder / "run-token"),
        "${REMIT_TOKEN}": reader.token,
        "${REMIT_SOCKET}": str(reader.home / "run" / "agents.sock"),
    }
    server = StdioServerParameters(
        command=places[given["command"]],
        args=[places.get(word, word) for word in given["args"]],
        env={name: places[value] for name, value in given["env"].items()},
    )
    async with Client(stdio_client(server)) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        answer = await client.call_tool("git__git_status", {"repo_path": "notes"})
    assert "remit__my_remit" in names
    assert '{"repo_path": "/srv/notes"}' in str(answer.content)


def test_the_configuration_over_http_names_the_door_and_the_header(reader: Reader) -> None:
    (given,) = (each for each in configurations() if "url" in each)
    port = re.compile(r":[0-9]+/")
    assert port.sub("/", given["url"]) == port.sub("/", reader.url)
    assert given["headers"] == {"Authorization": "Bearer ${REMIT_TOKEN}"}
