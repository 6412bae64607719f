"""The connectors of a home: what is struck out of what they say, and when severing proves something."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from remit.adapters.connectors.running import RunningConnectors
from remit.flow.ports import AnswerLost, UpstreamRefused
from remit.model.manifest import load_manifest
from remit.model.words import Json

SECRET = "hunter2-hunter2"
LEAKY = """
import json, os, sys
token = os.environ["TOKEN"]
def send(message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    number, method, params = asked.get("id"), asked.get("method"), asked.get("params", {})
    if method == "initialize":
        about = {"name": "leaky", "version": "1"}
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": about}
        send({"id": number, "result": result})
    elif method == "tools/list":
        tool = {"name": "leak", "description": "uses " + token, "inputSchema": {"type": "object"}}
        send({"id": number, "result": {"tools": [tool]}})
    elif method == "tools/call" and params["arguments"].get("how") == "error":
        send({"id": number, "error": {"code": -32000, "message": "denied for " + token}})
    elif method == "tools/call" and params["arguments"].get("how") == "wait":
        pass
    elif method == "tools/call":
        about = {"progressToken": params.get("_meta", {}).get("progressToken"), "progress": 1, "message": token}
        send({"method": "notifications/progress", "params": about})
        send({"id": number, "result": {"content": [{"type": "text", "text": "I hold " + token}]}})
"""


@asynccontextmanager
async def running(folder: Path, *, cuttable: bool = True) -> AsyncIterator[RunningConnectors]:
    program = folder / "leaky.py"
    program.write_text(LEAKY)
    file = f"""
[connector]
name = "leaky"
transport = "stdio"
command = [{str(sys.executable)!r}, {str(program)!r}]
cuttable = {str(cuttable).lower()}
credential = {{ class = "static", into = "env:TOKEN", secret = "env:LEAKY" }}
"""
    pool = RunningConnectors(
        warrant_key_file=folder / "warrant.pub",
        stderr_folder=folder,
        base=folder,
        environment={"LEAKY": SECRET},
        now=lambda: 0,
        jitter=lambda: 0.0,
    )
    try:
        await pool.apply({"leaky": load_manifest(file.encode(), "leaky")})
        yield pool
    finally:
        await pool.close()


async def call(
    pool: RunningConnectors,
    how: str,
    *,
    action: str = "act_1",
    handed_over: Callable[[], None] = lambda: None,
    on_progress: Callable[[Json], None] | None = None,
) -> bytes:
    return await pool.call(
        "leaky",
        "leak",
        f'{{"how":"{how}"}}'.encode(),
        {},
        action=action,
        handed_over=handed_over,
        on_progress=on_progress,
    )


@pytest.mark.promise("P9")
async def test_a_secret_never_comes_back_in_an_answer_an_error_a_progress_or_a_definition(tmp_path: Path) -> None:
    progress: list[Json] = []
    async with running(tmp_path) as pool:
        answer = await call(pool, "tell", on_progress=progress.append)
        with pytest.raises(UpstreamRefused) as refused:
            await call(pool, "error")
        definitions = pool.definitions()["leaky"]
    assert b"I hold" in answer
    assert "denied for" in refused.value.message
    assert definitions[0].description.startswith("uses ")
    assert progress
    shown = f"{answer!r} {refused.value.message} {progress} {definitions}"
    assert SECRET not in shown
    assert shown.count("⟦secret⟧") >= 3


@pytest.mark.parametrize("cuttable", [True, False])
@pytest.mark.promise("P6")
async def test_a_dead_process_proves_nothing_where_the_connector_is_not_cuttable(
    tmp_path: Path, cuttable: bool
) -> None:
    handed = asyncio.Event()
    async with running(tmp_path, cuttable=cuttable) as pool:
        waiting = asyncio.create_task(call(pool, "wait", handed_over=handed.set))
        async with asyncio.timeout(10):
            await handed.wait()
            certain, collateral = await asyncio.to_thread(pool.sever, "leaky", ["act_1"])
            with pytest.raises(AnswerLost):
                await waiting
    assert (certain, collateral) == (cuttable and sys.platform == "linux", ())
