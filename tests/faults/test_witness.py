"""A gateway with a witness in a process of its own: what is witnessed before it happens, and what while it is away."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from remit.gates.log import checkpoints
from remit.gates.log.checkpoints import Opened
from remit.gates.log.notes import VerifierKey
from remit.offline import log_keys
from tests.support.fixtures import Make, short_folder
from tests.support.gateway import Gateway, eventually, remit
from tests.support.home import SETTINGS, Practice

WITNESSED = {'undo = "host.release"': 'undo = "host.release"\nwitnessed = true'}


class Beside:
    """A witness's folder, and its process where one runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.key = ""

    async def make(self, practice: Practice) -> None:
        (log,) = log_keys(practice.home)
        words = ("log", "witness", "init", str(self.folder), "--name", "witness.example/1", "--log", log)
        code, out, err = await remit(practice, *words)
        assert code == 0, err
        self.key = out.splitlines()[0]

    def configure(self, practice: Practice) -> None:
        witness = f'{{ url = "http://127.0.0.1:{self.port}", key = "{self.key}" }}'
        (practice.home / "remit.toml").write_text(f"{SETTINGS}[log]\nwitnesses = [{witness}]\n")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        words = ("-m", "remit.doors.cli.main", "log", "witness", "serve", str(self.folder))
        listen = ("--listen", f"127.0.0.1:{self.port}")
        process = await asyncio.create_subprocess_exec(
            sys.executable, *words, *listen, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        assert process.stdout is not None
        try:
            line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
            assert line.startswith("witness ready at http://127.0.0.1:"), line
            self.port = int(line.rpartition(":")[2])
            yield
        finally:
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 10) == 0


@pytest.fixture
def beside() -> Iterator[Beside]:
    yield Beside(short_folder() / "witness")


def opened(practice: Practice, name: str, beside: Beside) -> Opened:
    keys = [VerifierKey.parse(text) for text in (*log_keys(practice.home), beside.key)]
    return checkpoints.opened((practice.home / "log" / name).read_bytes(), keys)


async def test_an_intent_is_witnessed_before_it_happens_and_a_human_decides_while_nobody_witnesses(
    make: Make, beside: Beside
) -> None:
    practice = make("edr", boundary=WITNESSED)
    await beside.make(practice)
    async with beside.running():
        beside.configure(practice)
        async with Gateway.on(practice) as gateway:
            agent = await gateway.open("WS-014", "WS-022", "WS-031")
            witnessed = answer = await agent.change("edr__isolate_host", host="WS-014")
            assert answer.done, answer.text
            intents = [number for number, each in enumerate(practice.records()) if each["kind"] == "intent"]
            cosigned = opened(practice, "checkpoint.witnessed", beside)
            assert len(cosigned.cosigned) == 1 and cosigned.checkpoint.size > intents[-1]
            status = await gateway.ask("status")
            assert [each["away"] for each in status["log"]["witnesses"]["each"]] == [""]
            code, out, _ = await remit(practice, "log", "status")
            assert code == 0 and "cosigned by 1 of 1 witnesses" in out
    async with Gateway.on(practice) as gateway:
        agent = await gateway.again(agent)
        before = len(practice.effects())
        answer = await agent.change("edr__isolate_host", host="WS-022")
        assert not answer.done and "its intent was not witnessed in time" in answer.text, answer.text
        assert len(practice.effects()) == before
        waiting = await gateway.waiting(agent, "edr__isolate_host", host="WS-022")
        assert await waiting.withdraw() == {"witness"}
        code, out, _ = await remit(practice, "log", "status")
        assert code == 0 and "AWAY" in out and "not excluded" in out
        await _verified_by_what_was_witnessed(practice, beside, witnessed.action)
        await eventually(lambda: _alerts(practice, "witness-away"), "somebody was told once that the witness is away")
        async with beside.running():
            await eventually(lambda: _alerts(practice, "witness-back"), "somebody was told that it is back")
            answer = await agent.change("edr__isolate_host", host="WS-022")
            assert answer.done, answer.text
    assert (len(_alerts(practice, "witness-away")), len(_alerts(practice, "witness-back"))) == (1, 1)


async def _verified_by_what_was_witnessed(practice: Practice, beside: Beside, action: str) -> None:
    """The witness is away: the log and a bundle are verified by what it saw last, and what came after is counted."""
    code, out, err = await remit(practice, "log", "verify", "--witness", beside.key)
    assert code == 0, out + err
    assert "came after what the witnesses saw last" in out
    path = str(practice.root / "a.zip")
    code, out, err = await remit(practice, "log", "bundle", action, "-o", path)
    assert code == 0 and "too few witnesses" not in out, out + err
    (key,) = log_keys(practice.home)
    code, out, err = await remit(practice, "log", "verify", path, "--key", key, "--witness", beside.key)
    assert code == 0, out + err
    assert "witnessed   by witness.example/1" in out


def _alerts(practice: Practice, code: str) -> list[str]:
    return [each["witness"] for each in practice.records("alert") if each["code"] == code]


async def test_without_any_witness_a_category_that_must_be_witnessed_never_runs_by_itself(make: Make) -> None:
    practice = make("edr", boundary=WITNESSED)
    code, out, _ = await remit(practice, "check")
    assert "wants host.isolate witnessed, and no witness is configured" in " ".join(out.replace("`", "").split())
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("WS-014")
        waiting = await gateway.waiting(agent, "edr__isolate_host", host="WS-014")
        assert await waiting.withdraw() == {"witness"}
        code, out, _ = await remit(practice, "log", "status")
        assert code == 0 and "witness  none" in out and "not excluded" in out
    assert "witnessed, and `remit.toml` names no witness" in practice.log.read_text()
