"""When what is under a gateway fails, every action is refused, reads too, with the reason, and a stop works at once.

Nothing that was answered is lost; when the fault is over it goes on, by itself or after a restart, with nothing lost.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.shimming import Orders
from tests.faults.verifying import verified_by_both
from tests.support.fixtures import Make
from tests.support.gateway import Agent, Answer, Gateway, remit
from tests.support.home import Practice

STOP_SECONDS = 2.0
ANYTHING = "/"


@dataclass(frozen=True)
class Trouble:
    """What fails, under which clause everything is refused then, what that says, and whether it heals by itself."""

    orders: tuple[tuple[str, int, str], ...]
    clause: str
    says: str
    heals: bool
    latches: bool = True


def _log(*orders: tuple[str, int, str], says: str = "input/output error") -> Trouble:
    return Trouble(orders, "log", says, heals=True)


def _store(*orders: tuple[str, int, str], says: str = "disk", heals: bool = False, latches: bool = True) -> Trouble:
    return Trouble(orders, "journal", says, heals=heals, latches=latches)


FULL, LOST, SHUT = errno.ENOSPC, errno.EIO, errno.EROFS
TROUBLES = {
    "the disk is full": _store(("write", FULL, ANYTHING), says="disk is full", heals=True, latches=False),
    "the store's disk is full": _store(("write", FULL, "state/remit.db"), says="disk is full", heals=True),
    "no write to the store arrives": _store(("write", LOST, "state/remit.db")),
    "no sync of the store works": _store(("sync", LOST, "state/remit.db")),
    "everything is read-only": _store(("write", SHUT, ANYTHING), ("open", SHUT, ANYTHING), latches=False),
    "the log's disk is full": _log(("write", FULL, "log/"), ("open", FULL, "log/"), says="no space left"),
    "no write to the log arrives": _log(("write", LOST, "log/")),
    "the signer's memory cannot be written": _log(("write", LOST, "log-signed.new")),
    "no sync of the signer's memory works": _log(("sync", LOST, "log-signed.new")),
    "no sync of the keys' folder works": _log(("sync", LOST, "keys")),
}


async def refused(agent: Agent, trouble: Trouble, state: str = "blocked") -> None:
    """A read and a change are refused for this, and say what a human must do. The first actions may still
    come through to the fault, and end as unknown; none of them is answered as done."""
    until = asyncio.get_running_loop().time() + 15.0
    while True:
        answers = [await agent.call("edr__list_hosts"), await agent.change("edr__isolate_host", host="WS-014")]
        if all(trouble.clause in answer.clauses for answer in answers):
            break
        assert asyncio.get_running_loop().time() < until, [answer.text for answer in answers]
    for answer in answers:
        assert answer.error
        assert answer.state == state
        assert trouble.says in answer.text, answer.text
        assert "hint: " in answer.text
        assert "human" in answer.text, answer.text


def isolations(practice: Practice) -> int:
    return sum(effect["tool"] == "isolate_host" for effect in practice.effects())


async def stopped_in_time(gateway: Gateway, *, latches: bool) -> None:
    """`remit stop` works. Where the latch cannot be written it says so, and the gateway is stopped all the same."""
    began = time.monotonic()
    told = await gateway.ask("stop", reason="at night")
    assert time.monotonic() - began < STOP_SECONDS
    assert bool(told["problem"]) is not latches
    kept = json.loads((gateway.practice.home / "state" / "latch").read_bytes().rstrip())["orders"]
    assert bool(kept) is latches


async def every_answer_is_on_record(practice: Practice, answers: list[Answer]) -> None:
    ended = {record["action"]: record["state"] for record in practice.records("outcome")}
    for answer in answers:
        if answer.done:
            assert ended[answer.action] == "done"


@pytest.mark.promise("P1")
@pytest.mark.promise("P6")
@pytest.mark.parametrize("what", TROUBLES)
async def test_while_it_fails_all_is_refused_and_stop_works_and_afterwards_nothing_is_missing(
    make: Make, shim: Path, tmp_path: Path, what: str
) -> None:
    practice, trouble = make("edr"), TROUBLES[what]
    orders = Orders(practice.root, shim, practice.home)
    async with Gateway.on(practice, **orders.environment) as gateway:
        agent = await gateway.open("WS-014")
        answers = [await agent.call("edr__list_hosts") for _ in range(3)]
        assert all(answer.done for answer in answers)
        orders.give(*trouble.orders)
        before = isolations(practice)
        await refused(agent, trouble)
        landed = isolations(practice)
        await refused(agent, trouble)
        assert isolations(practice) == landed, "something was done that could not be recorded"
        assert landed - before <= len(practice.records("intent")), "something was done without an intent"
        await stopped_in_time(gateway, latches=trouble.latches)
        orders.give()
        if trouble.heals:
            await goes_on(gateway, agent)
    if not trouble.heals:
        async with Gateway.on(practice) as gateway:
            await goes_on(gateway, await gateway.again(agent))
    await every_answer_is_on_record(practice, answers)
    verified_by_both(practice, tmp_path)


async def goes_on(gateway: Gateway, agent: Agent) -> None:
    """The fault is over: once the stop is lifted, a read works."""
    until = asyncio.get_running_loop().time() + 15.0
    while (await gateway.ask("status"))["stops"]:
        await gateway.signed("resume", "on-call", reason="it is over")
    while not (answer := await agent.call("edr__list_hosts")).done:
        assert asyncio.get_running_loop().time() < until, answer.text


ENDS = {
    "remit-store": (
        ("before_begin", "exit"),
        Trouble((), "journal", "writer has ended", heals=False),
    ),
    "remit-log": (("proposing", "end"), Trouble((), "log", "keeper has ended", heals=False)),
}


@pytest.mark.promise("P1")
@pytest.mark.promise("P6")
@pytest.mark.parametrize("thread", ENDS)
async def test_when_a_thread_is_killed_all_is_refused_and_stop_works_and_a_restart_mends_it(
    make: Make, tmp_path: Path, thread: str
) -> None:
    practice, ((point, does), trouble) = make("edr"), ENDS[thread]
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("WS-014")
        answers = [await agent.call("edr__list_hosts")]
        gateway.arm(point, 1, does, thread=thread)
        await refused(agent, trouble)
        landed = isolations(practice)
        await stopped_in_time(gateway, latches=True)
        assert isolations(practice) == landed
        gateway.disarm()
    async with Gateway.on(practice) as gateway:
        await goes_on(gateway, await gateway.again(agent))
    await every_answer_is_on_record(practice, answers)
    verified_by_both(practice, tmp_path)


@pytest.mark.promise("P8")
async def test_while_the_clock_is_behind_all_is_refused_and_once_a_human_has_looked_it_goes_on(
    make: Make, shim: Path, tmp_path: Path
) -> None:
    practice = make("edr")
    orders = Orders(practice.root, shim, practice.home)
    async with Gateway.on(practice, **orders.environment) as gateway:
        agent = await gateway.open("WS-014")
        assert (await agent.call("edr__list_hosts")).done
        orders.give(("clock", -3600, "clock"))
        await refused(agent, Trouble((), "log", "the wall clock jumped by -3600", heals=False))
        await stopped_in_time(gateway, latches=True)
        orders.give()
        await refused(agent, Trouble((), "stop", "stopped", heals=False), "stopped")
        await gateway.signed("clock", "on-call")
        await goes_on(gateway, agent)
    verified_by_both(practice, tmp_path)


@pytest.mark.promise("P1")
async def test_while_the_logs_folder_is_gone_all_is_refused_and_it_is_made_anew(make: Make, tmp_path: Path) -> None:
    practice = make("edr")
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("WS-014")
        assert (await agent.call("edr__list_hosts")).done
        folder = practice.home / "log"
        folder.rename(practice.home / "away")
        folder.touch()  # nobody can make it anew now
        await refused(agent, Trouble((), "log", "log", heals=True))
        assert isolations(practice) == 0
        await stopped_in_time(gateway, latches=True)
        folder.unlink()
        await goes_on(gateway, agent)
    shutil.rmtree(practice.home / "away")
    verified_by_both(practice, tmp_path)


# --- real file systems ------------------------------------------------------------------------------------------------


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A small file system in memory. Skips where this user may not mount one."""
    folder = Path("/tmp") / f"rt-{os.getpid()}-{tmp_path.name[-12:]}"
    folder.mkdir(mode=0o700)
    made = mount(folder, "-t", "tmpfs", "-o", "size=48m", "tmpfs")
    if made:
        folder.rmdir()
        pytest.skip(f"a file system cannot be mounted here: {made}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=30)
    folder.rmdir()


def mount(folder: Path, *words: str) -> str:
    """Empty, or why it did not work."""
    if shutil.which("mount") is None:
        return "there is no `mount`"
    done = subprocess.run(["mount", *words, str(folder)], capture_output=True, text=True, timeout=30, check=False)
    return done.stderr.strip() if done.returncode else ""


@pytest.mark.promise("P1")
@pytest.mark.promise("P6")
async def test_on_a_disk_that_really_is_full_all_is_refused_and_with_room_it_goes_on(
    make: Make, mounted: Path, tmp_path: Path
) -> None:
    practice = make("edr").copy(mounted)
    ballast = mounted / "ballast"
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("WS-014")
        answers = [await agent.call("edr__list_hosts")]
        fill(ballast)
        with pytest.raises(AssertionError, match="full"):
            while True:
                answers.append(await agent.call("edr__list_hosts"))
                assert answers[-1].done, answers[-1].text
        landed = isolations(practice)
        for call in (agent.call("edr__list_hosts"), agent.change("edr__isolate_host", host="WS-014")):
            answer = await call
            assert answer.clauses & {"journal", "log"}
            assert "full" in answer.text or "no space" in answer.text, answer.text
        assert isolations(practice) == landed
        await stopped_in_time(gateway, latches=True)  # it needs no room
        ballast.unlink()
        await goes_on(gateway, agent)
    await every_answer_is_on_record(practice, answers)
    verified_by_both(practice, tmp_path)


def fill(ballast: Path) -> None:
    """Leave no room."""
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            while True:
                try:
                    file.write(bytes(size))
                except OSError as error:
                    assert error.errno == errno.ENOSPC
                    break


async def test_on_a_read_only_file_system_a_gateway_refuses_to_start_and_says_why(
    make: Make, mounted: Path, tmp_path: Path
) -> None:
    practice = make("edr").copy(mounted)
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("WS-014")
        assert (await agent.call("edr__list_hosts")).done
    assert mount(mounted, "-o", "remount,ro") == ""
    code, _, err = await remit(practice, "gateway")
    assert code == 3, err
    assert "read-only" in err or "readonly" in err, err
    assert "Traceback" not in err
    assert mount(mounted, "-o", "remount,rw") == ""
    async with Gateway.on(practice) as gateway:
        assert (await (await gateway.again(agent)).call("edr__list_hosts")).done
    verified_by_both(practice, tmp_path)
