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
    "state/remit.db",
    "state/remit.db-wal",
    "state/latch",
    "state/home.json",
    "state/idp.stderr",
    "run/lock",
)


def tried(what, attempt):
    """Empty where the attempt failed, else what came of it."""
    try:
        return what, str(attempt())[:200] or "it worked"
    except (OSError, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError) and error.code < 400:
            return what, f"HTTP {error.code}"
        return what, ""


def read(path):
    with open(path, "rb") as file:
        return f"read {len(file.read())} bytes"


def write(path):
    with open(path, "ab"):
        return "opened for writing"


def command(path, line):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(path)
        connection.sendall(line + b"\n")
        return connection.recv(1000) or "connected"


def post(url, token, name, arguments):
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
    request = urllib.request.Request(url, json.dumps(call).encode(), method="POST")
    request.add_header("content-type", "application/json")
    request.add_header("accept", "application/json, text/event-stream")
    if token:
        request.add_header("authorization", "Bearer " + token)
    with urllib.request.urlopen(request, timeout=5) as answer:
        return answer.read(300)


def attach(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, pid, 0, 0) != 0:
        raise OSError("refused")
    return "attached"


def attempts(facts):
    home, pid, url = facts["home"], facts["pid"], facts["url"]
    control = home + "/run/control.sock"
    yield "list the home", lambda: os.listdir(home)
    for name in FILES:
        yield "read " + name, lambda name=name: read(f"{home}/{name}")
    for name in ("STOP", "state/latch", "boundary.toml", "inventory.csv"):
        yield "write " + name, lambda name=name: write(f"{home}/{name}")
    yield "rename the home", lambda: os.rename(home, home + "2")
    for method, params in (("status", {}), ("stop", {}), *facts["captured"].items()):
        line = json.dumps({"id": 1, "method": method, "params": params}).encode()
        yield "command " + method, lambda line=line: command(control, line)
    yield "the agents' socket", lambda: command(home + "/run/agents.sock", b"remit_guess")
    for name in ("environ", "mem", "maps", "cwd", "fd"):
        path = f"/proc/{pid}/{name}"
        yield "its " + name, lambda path=path: os.listdir(path) if path.endswith("fd") else read(path)
    yield "attach to it", lambda: attach(pid)
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGKILL):
        yield f"signal {number}", lambda number=number: os.kill(pid, number)
    yield "no token", lambda: post(url, "", "remit__my_remit", {})
    yield "a guessed token", lambda: post(url, "remit_" + "A" * 43, "remit__my_remit", {})
    for path in ("/control", "/admin", "/approvals", "/../control", "/mcp/../control"):
        base = url.rsplit("/", 1)[0]
        yield "GET " + path, lambda path=path: urllib.request.urlopen(base + path, timeout=5).read(100)


def main(facts):
    print(json.dumps(dict(tried(what, attempt) for what, attempt in attempts(json.loads(facts)))))
