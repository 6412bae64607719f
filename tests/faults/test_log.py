"""A node and its log: what is under a checkpoint, what a restored backup or a fork brings, and how a person goes on."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from remit.adapters.log.reading import FolderSource, entries
from remit.doors.control.commands import Commands
from remit.gates.log import checkpoints
from remit.gates.log.merkle import Frontier, leaf_hash
from remit.gates.log.notes import VerifierKey
from remit.gates.stop import LOG_ID
from remit.model.errors import Refusal
from remit.model.words import StopMode
from remit.node import Node
from tests.support.fixtures import short_folder
from tests.support.gateway import statement
from tests.support.home import Practice, build

SECONDS = 15.0


@pytest.fixture
def practice():  # type: ignore[no-untyped-def]
    root = short_folder()
    yield build(root, {})
    shutil.rmtree(root, ignore_errors=True)


@asynccontextmanager
async def running(practice: Practice) -> AsyncIterator[Node]:
    node = await Node.start(practice.home)
    try:
        yield node
    finally:
        await node.close()


def stored(practice: Practice) -> list[bytes]:
    """Every record of the store, in order."""
    connection = sqlite3.connect(practice.home / "state" / "remit.db")
    rows = connection.execute("SELECT data FROM records ORDER BY position").fetchall()
    connection.close()
    return [data for (data,) in rows]


def logged(practice: Practice, folder: str = "log") -> list[bytes]:
    """Every entry of the log, after its checkpoint's signature and root were checked."""
    keys = [VerifierKey.parse(line) for line in (practice.home / "keys" / "log.pub").read_text().split()]
    source = FolderSource(practice.home / folder)
    checkpoint = checkpoints.opened(source.checkpoint(), keys).checkpoint
    found = list(entries(source, checkpoint.size))
    tree = Frontier()
    for entry in found:
        tree.add(leaf_hash(entry))
    assert tree.root() == checkpoint.root
    return found


def database(practice: Practice) -> list[Path]:
    return sorted((practice.home / "state").glob("remit.db*"))


async def test_after_a_node_has_ended_its_whole_journal_is_under_a_checkpoint(practice: Practice) -> None:
    async with running(practice) as node:
        assert node.log.trouble() == ""
    assert logged(practice) == stored(practice)
    (key,) = (practice.home / "keys" / "log.pub").read_text().split()
    (created,) = practice.records("home.created")
    assert created["log"] == key
    assert created == practice.records()[0]
    assert (practice.home / "keys" / "log.key").stat().st_mode & 0o777 == 0o600


async def test_a_restored_backup_is_noticed_signs_nothing_and_puts_everything_on_hold(practice: Practice) -> None:
    async with running(practice):
        pass
    backup = {path: path.read_bytes() for path in database(practice)}
    async with running(practice):
        pass
    before = logged(practice)
    for path in database(practice):
        path.unlink()
    for path, data in backup.items():
        path.write_bytes(data)
    async with running(practice) as node:
        assert "older copy" in node.log.trouble()
        (order,) = node.stops.current.orders
        assert (order.id, order.mode, order.automatic) == (LOG_ID, StopMode.HOLD, True)
        with pytest.raises(Refusal, match="cannot be lifted"):
            await signed(node, practice, "resume", stops=[LOG_ID], reason="it will be fine")
        assert node.stops.current.orders == (order,)
    assert logged(practice) == before, "what was signed stays as it was"
    assert [each["code"] for each in practice.records("alert")] == ["log-diverged"]
    assert len(practice.records("stop")) == 1


async def signed(node: Node, practice: Practice, command: str, **parameters: object) -> dict[str, object]:
    person = "leader" if command == "log.continue" else "on-call"
    commands = Commands(node, patience=5.0)
    return await commands.dispatch("signed", dict(statement(practice, command, person, parameters)), "somebody")


async def test_a_person_begins_another_log_and_only_then_the_hold_can_be_lifted(practice: Practice) -> None:
    async with running(practice):
        pass
    old_key = (practice.home / "keys" / "log.pub").read_text()
    memory = (practice.home / "keys" / "log-signed").read_bytes()
    before = (practice.home / "log" / "checkpoint").read_bytes()
    lose_the_last_record(practice)
    async with running(practice) as node:
        with pytest.raises(Refusal):
            await signed(node, practice, "resume", stops=[LOG_ID], reason="it will be fine")
        answer = await signed(node, practice, "log.continue", reason="the disk was restored")
        assert answer["origin"] == f"remit/{practice.id}/2"
        await until(lambda: node.log.trouble() == "", "the log did not go on")
        await signed(node, practice, "resume", stops=[LOG_ID], reason="another log was begun")
        assert node.stops.current.orders == ()
    assert logged(practice, "log-2") == stored(practice)
    assert (practice.home / "log" / "checkpoint").read_bytes() == before
    assert (practice.home / "keys" / "log-signed").read_bytes() == memory
    assert (practice.home / "keys" / "log.pub").read_text() != old_key
    (continued,) = practice.records("log.continued")
    assert continued["before"] == f"remit/{practice.id}"
    async with running(practice) as node:
        assert node.log.trouble() == ""
    assert logged(practice, "log-2") == stored(practice)


def lose_the_last_record(practice: Practice) -> None:
    """What somebody with the database file can do."""
    connection = sqlite3.connect(practice.home / "state" / "remit.db")
    for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute("DELETE FROM records WHERE position = (SELECT max(position) FROM records)")
    connection.commit()
    connection.close()


async def until(holds, what: str) -> None:  # type: ignore[no-untyped-def]
    import asyncio

    async with asyncio.timeout(SECONDS):
        while not holds():
            await asyncio.sleep(0.01)


async def test_a_log_that_goes_on_cannot_be_begun_anew(practice: Practice) -> None:
    async with running(practice) as node:
        with pytest.raises(Refusal, match="goes on"):
            await signed(node, practice, "log.continue", reason="because")
    assert not practice.records("log.continued")


async def test_a_missing_key_is_trouble_and_no_new_one_is_made(practice: Practice) -> None:
    (practice.home / "keys" / "log.key").unlink()
    async with running(practice) as node:
        assert "log.key" in node.log.trouble()
        assert node.stops.current.orders == ()
    assert not (practice.home / "keys" / "log.key").exists()


async def test_a_deleted_log_folder_is_told_of_and_stop_still_works(practice: Practice) -> None:
    async with running(practice) as node:
        (practice.home / "keys" / "log.key").rename(practice.home / "keys" / "away")
        shutil.rmtree(practice.home / "log")
        assert node.log.trouble()
        told = Commands(node).stop({}, "somebody")
        assert told["mode"] == "cut"
        (practice.home / "keys" / "away").rename(practice.home / "keys" / "log.key")
        await until(lambda: node.log.trouble() == "", "the trouble did not end")
    assert logged(practice) == stored(practice)


_CHILD = """
import asyncio, sys
from pathlib import Path
from remit.gates import journal
from remit.node import Node

async def main() -> None:
    node = await Node.start(Path(sys.argv[1]))
    print("ready", flush=True)
    number = 0
    while True:
        number += 1
        record = journal.record("alert", node.clock.now(), code=f"number {number}")
        await node.store.commit(lambda tx, record=record: tx.append(record))

asyncio.run(main())
"""


@pytest.mark.parametrize("seconds", [0.03, 0.11, 0.2, 0.33, 0.5])
def test_a_kill_at_any_moment_leaves_a_log_that_is_never_ahead_of_the_store_and_goes_on(
    practice: Practice, seconds: float
) -> None:
    child = subprocess.Popen([sys.executable, "-c", _CHILD, str(practice.home)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    time.sleep(seconds)  # the moment of the kill, not a wait for anything
    os.kill(child.pid, signal.SIGKILL)
    child.wait(SECONDS)
    child.stdout.close()
    records = stored(practice)
    found = logged(practice)
    assert found == records[: len(found)]
    again = subprocess.run(
        [sys.executable, "-c", _ONCE, str(practice.home)], capture_output=True, timeout=60, check=True
    )
    assert again.stdout == b"\n", again.stderr
    assert logged(practice) == stored(practice)
    assert stored(practice)[: len(records)] == records


_ONCE = """
import asyncio, sys
from pathlib import Path
from remit.node import Node

async def main() -> None:
    node = await Node.start(Path(sys.argv[1]))
    print(node.log.trouble())
    await node.close()

asyncio.run(main())
"""
