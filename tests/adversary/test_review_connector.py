"""What a lying connector tries with its results, and by coming up as another program."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from pathlib import Path

import pytest

from remit.adapters.connectors.running import RunningConnectors
from remit.doors.control.deciding import LONGEST_READ, text_of
from remit.flow.ports import AnswerLost, NotSent
from remit.model.manifest import load_manifest
from remit.model.words import State
from tests.flow.world import World

NESTED = b'{"content": [], "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
NOT_TEXT = b'{"content": [{"type": "text", "text": "\xff\xfe"}]}'

SERVER = """\
import json, os, pathlib, sys, time
starts = pathlib.Path(sys.argv[1], "starts")
number = int(starts.read_text()) if starts.exists() else 0
starts.write_text(str(number + 1))
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    params = message.get("params", {})
    if message["method"] == "initialize":
        info = {"name": "server", "version": "1"}
        result = {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": info}
    elif message["method"] == "tools/list":
        time.sleep(0.2 * number)
        schema = {"type": "object", "properties": {"a": {"type": "string"}}}
        worded = "version 0" if sys.argv[2] == "same" else f"version {number}"
        result = {"tools": [{"name": "act", "description": worded, "inputSchema": schema}]}
    elif params["arguments"]["a"] == "die":
        os._exit(1)
    else:
        with pathlib.Path(sys.argv[1], "acted").open("a") as acted:
            acted.write(f"{number}:{params['arguments']['a']} ")
        result = {"content": [{"type": "text", "text": "done"}]}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


@pytest.mark.promise("P7")
async def test_a_result_too_deep_to_read_leaves_the_action_unknown_and_nobody_waiting(world: World) -> None:
    run = await world.open("WS-1")
    world.lab.next("isolate_host", raw=NESTED)
    action = await world.do(run, "edr__isolate_host", host="WS-1")
    assert action.state is State.UNKNOWN
    assert world.hints.finished(action.id) is not None
    assert world.in_flight.executions() == ()


@pytest.mark.parametrize("raw", [NESTED, NOT_TEXT], ids=["nested", "not text"])
def test_evidence_that_cannot_be_read_is_shown_as_it_is_and_hides_no_card(raw: bytes) -> None:
    assert text_of(raw) == raw.decode("utf-8", "replace")


def test_of_a_long_result_a_card_reads_only_the_beginning() -> None:
    text = '{"content": [{"type": "text", "text": "' + "x" * LONGEST_READ + '"}]}'
    assert text_of(text.encode()) == text[:LONGEST_READ]


async def restarted(folder: Path, kind: str) -> tuple[str, str]:
    """Call while the connector comes up again after its end: what came of it, and what the connector did."""
    (folder / "server.py").write_text(SERVER)
    text = f"""
[connector]
name = "c"
transport = "stdio"
command = ["{sys.executable}", "{folder}/server.py", "{folder}", "{kind}"]
credential = {{ class = "none" }}
[[tool]]
name = "act"
category = "evidence.read"
effect = "read"
target = {{ takes = "none" }}
"""
    running = RunningConnectors(
        warrant_key_file=folder / "key",
        stderr_folder=folder,
        base=folder,
        environment={},
        now=lambda: time.time_ns() // 1000,
        jitter=lambda: 0.0,
    )

    async def call(word: str) -> bytes:
        arguments = f'{{"a":"{word}"}}'.encode()
        action = hashlib.sha256(word.encode()).hexdigest()
        return await running.call("c", "act", arguments, {}, action=action, handed_over=lambda: None)

    try:
        await running.apply({"c": load_manifest(text.encode(), "c")})
        with pytest.raises(AnswerLost):
            await call("die")
        async with asyncio.timeout(10):
            while running.statuses()["c"].state != "starting":
                await asyncio.sleep(0.005)
        try:
            came = (await call("again")).decode()
        except NotSent as error:
            came = f"not sent: {error}"
    finally:
        await running.close()
    acted = folder / "acted"
    return came, acted.read_text().strip() if acted.exists() else ""


@pytest.mark.promise("P8")
async def test_a_connector_that_comes_up_with_another_definition_gets_no_call_that_was_meant_for_the_old_one(
    tmp_path: Path,
) -> None:
    came, acted = await restarted(tmp_path, "changed")
    assert "offers `act` with another definition" in came
    assert acted == ""


async def test_a_connector_that_comes_up_as_it_was_gets_the_call_that_waited(tmp_path: Path) -> None:
    came, acted = await restarted(tmp_path, "same")
    assert "done" in came
    assert acted == "1:again"
