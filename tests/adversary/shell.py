"""The attacker: a script of standard-library Python that runs as another user and reports what it got hold of.

It is fed to an interpreter on standard input, so that it needs no file that its user can read. `main` gets the facts
that an agent could know: where the home is, the gateway's process id and address, statements that it captured.
"""

import ctypes
import json
import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

FILES = (
    "people.toml",
    "boundary.toml",
    "inventory.csv",
    "remit.toml",
    "connectors/idp.toml",
    "keys/warrant.key",
    "keys/names.key",
    "keys/fingerprint.key",
    "keys/warrant.pub",
    "practice/approver.key",
    "practice/leader.key",
    "keys/log.key",
    "keys/log-signed",
    "keys/payload-keys",
    "keys/payloads/epoch-000001",
    "log/checkpoint",
    "state/remit.db",
    "state/remit.db-wal",
    "state/latch",
    "state/home.json",
    "state/idp.stderr",
    "run/lock",
)

LOGGED = (
    "keys/log.key",
    "keys/log-signed",
    "log/checkpoint",
    "log/tile/0/000.p/1",
    "state/remit.db",
    "state/remit.db-wal",
)


def tried(what: str, attempt: Callable[[], object]) -> tuple[str, str]:
    """Empty where the attempt failed, else what came of it."""
    try:
        return what, str(attempt())[:200] or "it worked"
    except (OSError, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError) and error.code < 400:
            return what, f"HTTP {error.code}"
        return what, ""


def read(path: str) -> str:
    return f"read {len(Path(path).read_bytes())} bytes"


def write(path: str) -> str:
    with Path(path).open("ab"):
        return "opened for writing"


def command(path: str, line: bytes) -> object:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(path)
        connection.sendall(line + b"\n")
        return connection.recv(1000) or "connected"


def post(url: str, token: str, name: str, arguments: dict[str, str]) -> object:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
    request = urllib.request.Request(url, json.dumps(call).encode(), method="POST")
    request.add_header("content-type", "application/json")
    request.add_header("accept", "application/json, text/event-stream")
    if token:
        request.add_header("authorization", "Bearer " + token)
    with urllib.request.urlopen(request, timeout=5) as answer:
        return answer.read(300)


def attach(pid: int) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, pid, 0, 0) != 0:
        raise OSError("refused")
    return "attached"


def listed(path: str) -> str:
    return f"listed {len(list(Path(path).iterdir()))} names"


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        found: bytes = answer.read(100)
    return found


def attempts(facts: dict[str, Any]) -> Iterator[tuple[str, Callable[[], object]]]:
    home, pid, url = facts["home"], facts["pid"], facts["url"]
    yield "list the home", partial(listed, home)
    for name in FILES:
        yield "read " + name, partial(read, f"{home}/{name}")
    for name in ("STOP", "state/latch", "boundary.toml", "inventory.csv", *LOGGED):
        yield "write " + name, partial(write, f"{home}/{name}")
    yield "rename the home", partial(Path(home).rename, home + "2")
    for method, params in (("status", {}), ("stop", {}), *facts["captured"].items()):
        line = json.dumps({"id": 1, "method": method, "params": params}).encode()
        yield "command " + method, partial(command, home + "/run/control.sock", line)
    yield "the agents' socket", partial(command, home + "/run/agents.sock", b"remit_guess")
    for name in ("environ", "mem", "maps"):
        yield "its " + name, partial(read, f"/proc/{pid}/{name}")
    for name in ("cwd", "fd"):
        yield "its " + name, partial(listed, f"/proc/{pid}/{name}")
    yield "attach to it", partial(attach, pid)
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGKILL):
        yield f"signal {number}", partial(os.kill, pid, number)
    yield "no token", partial(post, url, "", "remit__my_remit", {})
    yield "a guessed token", partial(post, url, "remit_" + "A" * 43, "remit__my_remit", {})
    for path in ("/control", "/admin", "/approvals", "/../control", "/mcp/../control"):
        yield "GET " + path, partial(fetch, url.rsplit("/", 1)[0] + path)


def main(facts: str) -> None:
    print(json.dumps(dict(tried(what, attempt) for what, attempt in attempts(json.loads(facts)))))
