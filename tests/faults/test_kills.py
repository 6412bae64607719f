"""`kill -9` again and again, with the log on: at random moments, and within an erasure, the replacing of a key and the
beginning of another log. After every end the log is a beginning of the journal, and at last both verifiers find
everything in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from remit.gates.log.checkpoints import parse
from remit.gates.log.merkle import Frontier, leaf_hash
from remit.gates.log.notes import parse_note
from tests.faults.checks import every_effect_had_an_intent
from tests.faults.shimming import Orders
from tests.faults.test_log import lose_the_last_record, stored
from tests.faults.verifying import verified_by_both
from tests.support.fixtures import Make
from tests.support.gateway import Agent, Gateway, Refused, eventually, give_up
from tests.support.home import Practice

KILL = -signal.SIGKILL
SECONDS = 60
ROUNDS = 4
POINTS = (
    "before_begin",
    "after_step",
    "before_commit",
    "after_commit_before_ack",
    "minted",
    "handing over",
    "answered",
)


def log_is_a_beginning(practice: Practice, folder: str = "log") -> None:
    """What is published and what the signer remembers are beginnings of the journal."""
    records = stored(practice)
    for path in (practice.home / folder / "checkpoint", practice.home / "keys" / folder.replace("log", "log-signed")):
        checkpoint = parse(parse_note(path.read_bytes()).text)
        tree = Frontier()
        for record in records[: checkpoint.size]:
            tree.add(leaf_hash(record))
        assert checkpoint.size <= len(records), f"`{path.name}` is ahead of the records"
        assert tree.root() == checkpoint.root, f"`{path.name}` is a fork"


@pytest.mark.promise("P1")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
async def test_a_gateway_killed_again_and_again_leaves_one_whole_log(make: Make, tmp_path: Path, seed: int) -> None:
    practice, chance = make("edr"), random.Random(seed)
    done: list[str] = []
    for _ in range(ROUNDS):
        before = stored(practice)
        gateway = await Gateway.start(practice)
        with contextlib.suppress(OSError, ValueError, Refused):
            agent = await gateway.open("WS-014", max_calls=200)
            if chance.random() < 0.7:
                gateway.arm(chance.choice(POINTS), chance.randint(1, 12))
            calls = [asyncio.create_task(work(agent, done)) for _ in range(4)]
            await asyncio.wait([*calls, asyncio.create_task(gateway.process.wait())], timeout=chance.uniform(0.1, 1.5))
        if gateway.process.returncode is None:
            gateway.process.kill()
        await gateway.died()
        for call in calls:
            await give_up(call)
        gateway.disarm()
        assert stored(practice)[: len(before)] == before
        log_is_a_beginning(practice)
        every_effect_had_an_intent(practice)
    async with Gateway.on(practice):
        pass
    outcomes = {record["action"]: record["state"] for record in practice.records("outcome")}
    assert {outcomes[action] for action in done} <= {"done"}, "an answer was not on record"
    verified_by_both(practice, tmp_path)


async def work(agent: Agent, done: list[str]) -> None:
    """Reads and changes, until the gateway is gone. Notes the actions that were answered as done."""
    while True:
        for name in ("edr__isolate_host", "edr__release_host"):
            for answer in (await agent.call("edr__list_hosts"), await agent.change(name, host="WS-014")):
                done += [answer.action] if answer.done else []


ERASING = {
    "before the rows' commit is synced": ("sync", "state/remit.db-wal"),
    "before the log is emptied into the database": ("write", "state/remit.db"),
    "before the epoch's new key": ("open", "keys/.payload-keys.new"),
    "before the epoch's new file": ("open", "keys/payloads/.epoch"),
    "before the epoch's new file is synced": ("sync", "keys/payloads/.epoch"),
    "before the epochs' folder is synced": ("sync", "keys/payloads"),
    "before the record is signed": ("sync", "keys/.log-signed.new"),
    "before the checkpoint is published": ("open", "log/.checkpoint.new"),
}


@pytest.mark.parametrize("when", ERASING)
async def test_an_erasure_that_a_kill_broke_off_is_all_or_nothing_and_the_log_is_whole(
    make: Make, shim: Path, tmp_path: Path, when: str
) -> None:
    practice = make("edr")
    orders = Orders(practice.root, shim, practice.home)
    gateway = await Gateway.start(practice, **orders.environment)
    agent = await gateway.open("WS-014")
    isolated = await agent.change("edr__isolate_host", host="WS-014")
    assert isolated.done
    operation, path = ERASING[when]
    orders.give((operation, KILL, path))
    order = {"ids": [isolated.action], "reason": "asked to", "basis": "GDPR 17(1)(a)"}
    with contextlib.suppress(OSError, ValueError):
        await gateway.signed("erase", "auditor", **order)
    await gateway.died()
    orders.give()
    log_is_a_beginning(practice)
    async with Gateway.on(practice) as gateway:
        if not practice.records("erased"):
            await gateway.signed("erase", "auditor", **order)
    erased = practice.records("erased")
    assert isolated.action in {record["action"] for record in erased}
    assert doomed(practice) == 0, "keys of what was erased are left"
    verified_by_both(practice, tmp_path)


def doomed(practice: Practice) -> int:
    """How many keys are still to be destroyed."""
    connection = sqlite3.connect(practice.home / "state" / "remit.db")
    (count,) = connection.execute("SELECT count(*) FROM doomed_keys").fetchone()
    connection.close()
    return int(count)


CONTINUING = (
    ("open", "keys/.log.pub.new"),
    ("sync", "keys/.log.pub.new"),
    ("open", "keys/.log-signed-2.new"),
    ("sync", "keys/.log-signed-2.new"),
    ("open", "keys/.log.key.new"),
    ("sync", "keys/.log.key.new"),
    ("open", "log-2/.checkpoint.new"),
)


@pytest.mark.parametrize(("operation", "path"), CONTINUING)
async def test_another_log_whose_beginning_a_kill_broke_off_is_begun_or_can_be(
    make: Make, shim: Path, tmp_path: Path, operation: str, path: str
) -> None:
    practice = make("edr")
    lose_the_last_record(practice)
    orders = Orders(practice.root, shim, practice.home)
    gateway = await Gateway.start(practice, **orders.environment)
    orders.give((operation, KILL, path))
    with contextlib.suppress(OSError, ValueError):
        await gateway.signed("log.continue", "leader", reason="the disk was restored")
    await gateway.died()
    orders.give()
    async with Gateway.on(practice) as gateway:
        if (await gateway.ask("status"))["log"]["trouble"]:
            await gateway.signed("log.continue", "leader", reason="the disk was restored")
        await logged(gateway)
        assert (await gateway.ask("status"))["log"]["origin"] == f"remit/{practice.id}/2"
        await gateway.signed("resume", "on-call", reason="the log goes on as another one")
        agent = await gateway.open("WS-014")
        assert (await agent.call("edr__list_hosts")).done
    assert len((practice.home / "keys" / "log.pub").read_text().split()) == 1
    log_is_a_beginning(practice, "log-2")
    verified_by_both(practice, tmp_path)


async def logged(gateway: Gateway) -> None:
    """Wait until the log is kept."""
    for _ in range(400):
        if not (await gateway.ask("status"))["log"]["trouble"]:
            return
        await asyncio.sleep(0.02)
    raise AssertionError((await gateway.ask("status"))["log"]["trouble"])


ROTATING = [
    (step, operation, name)
    for step in ("begin", "end")
    for operation, name in (
        ("open", "keys/.log.key.next.new"),
        ("sync", "keys/.log.key.next.new"),
        ("write", "keys/log.key"),
        ("open", "keys/.log.pub.new"),
        ("sync", "keys/.log.pub.new"),
        ("sync", "keys"),
    )
    if not (step == "end" and "next" in name)
]


@pytest.mark.parametrize(("step", "operation", "path"), ROTATING)
async def test_a_key_whose_replacing_a_kill_broke_off_can_still_be_replaced(
    make: Make, shim: Path, tmp_path: Path, step: str, operation: str, path: str
) -> None:
    practice = make("edr")
    orders = Orders(practice.root, shim, practice.home)
    old = (practice.home / "keys" / "log.pub").read_text().split()
    async with Gateway.on(practice) as gateway:
        for each in ("begin", "end"):
            if each == step:
                orders.give((operation, KILL, path))
                rotate(practice, each, orders)
                orders.give()
            rotate(practice, each, orders)
            agent = await gateway.open("WS-014")  # something to sign with both
            assert (await agent.call("edr__list_hosts")).done, "the log stands still"
            await eventually(lambda each=each: signatures(practice) >= (2 if each == "begin" else 1), "both signed")  # type: ignore[misc]
        await logged(gateway)
    (new,) = (practice.home / "keys" / "log.pub").read_text().split()
    assert [new] != old
    verified_by_both(practice, tmp_path)


def signatures(practice: Practice) -> int:
    return len(parse_note((practice.home / "keys" / "log-signed").read_bytes()).lines)


def rotate(practice: Practice, step: str, orders: Orders) -> None:
    """Begin or end it, in a process that may be killed on the way."""
    words = [sys.executable, "-m", "remit.doors.cli.main", "log", "key", "--rotate", step, "--home", str(practice.home)]
    environment = {**os.environ, **orders.environment}
    subprocess.run(words, env=environment, cwd=practice.home, capture_output=True, timeout=SECONDS, check=False)
