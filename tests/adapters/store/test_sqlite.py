"""What only the store on disk can show: group commit, faults, other processes, the file."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from remit.adapters.store import filesystem
from remit.adapters.store import sqlite as writer
from remit.adapters.store import statements as sql
from remit.adapters.store.reads import open_reads
from remit.adapters.store.sqlite import SqliteStore, open_store
from remit.flow.ports import Transaction
from remit.flow.query import Query
from remit.model.errors import CommitUnknown, Misuse, NotCommitted
from remit.model.words import Event, State
from tests.adapters.store import samples as a


class Faults:
    """Raises what is planned for a point, once; counts how often each point was reached."""

    def __init__(self) -> None:
        self.planned: dict[str, BaseException] = {}
        self.reached: dict[str, int] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Event()

    def __call__(self, point: str) -> None:
        self.reached[point] = self.reached.get(point, 0) + 1
        if point == "before_begin":
            self.arrived.set()
            assert self.gate.wait(10)
        if point in self.planned:
            raise self.planned.pop(point)


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def store(tmp_path: Path, faults: Faults) -> Iterator[SqliteStore]:
    made = open_store(tmp_path / "remit.db", faults=faults, busy_milliseconds=50, max_waiting=64)
    yield made
    faults.gate.set()
    made.close()


def append(kind: str) -> Callable[[Transaction], str]:
    def step(tx: Transaction) -> str:
        tx.append(a.record(kind))
        return kind

    return step


def kinds(store: SqliteStore) -> list[str]:
    return [each.kind for each in store.reads.records()]


async def behind_the_gate(store: SqliteStore, faults: Faults, *steps: Callable[[Transaction], Any]) -> list[Any]:
    """The answers of steps that all wait while the writer is busy with a first one."""
    faults.arrived.clear()
    faults.gate.clear()
    first = asyncio.create_task(store.commit(append("first")))
    await asyncio.to_thread(faults.arrived.wait, 10)
    tasks = [asyncio.create_task(store.commit(step)) for step in steps]
    await asyncio.sleep(0)
    faults.gate.set()
    return (await asyncio.gather(first, *tasks, return_exceptions=True))[1:]


async def test_steps_that_wait_together_share_one_commit_in_their_order(store: SqliteStore, faults: Faults) -> None:
    names = [f"s{number}" for number in range(40)]
    assert await behind_the_gate(store, faults, *map(append, names)) == names
    assert kinds(store) == ["first", *names]
    assert faults.reached["before_commit"] == 2


async def test_one_bad_step_of_a_batch_harms_no_other(store: SqliteStore, faults: Faults) -> None:
    def bad(tx: Transaction) -> None:
        tx.append(a.record("bad"))
        raise LookupError

    answers = await behind_the_gate(store, faults, append("x"), bad, append("y"))
    assert (answers[0], type(answers[1]), answers[2]) == ("x", LookupError, "y")
    assert [(each.position, each.kind) for each in store.reads.records()] == [(0, "first"), (1, "x"), (2, "y")]


async def test_a_full_queue_refuses_with_the_reason(store: SqliteStore, faults: Faults) -> None:
    answers = await behind_the_gate(store, faults, *(append(str(number)) for number in range(70)))
    refused = [each for each in answers if isinstance(each, NotCommitted)]
    assert len(refused) == 6
    assert "64 steps wait for the disk already" in str(refused[0])


async def test_cancelling_the_wait_does_not_take_the_step_back(store: SqliteStore, faults: Faults) -> None:
    faults.gate.clear()
    task = asyncio.create_task(store.commit(append("kept")))
    await asyncio.to_thread(faults.arrived.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    faults.gate.set()
    await store.commit(append("next"))
    assert kinds(store) == ["kept", "next"]


async def test_callers_on_several_loops_and_threads_each_get_their_own_answer(store: SqliteStore) -> None:
    async def many(prefix: int) -> list[str]:
        return list(await asyncio.gather(*(store.commit(append(f"{prefix}-{each}")) for each in range(15))))

    answers = await asyncio.gather(*(asyncio.to_thread(asyncio.run, many(prefix)) for prefix in range(4)))
    assert answers == [[f"{prefix}-{each}" for each in range(15)] for prefix in range(4)]
    assert len(kinds(store)) == 60


async def test_a_step_queued_from_any_thread_is_committed_before_closing(store: SqliteStore, tmp_path: Path) -> None:
    await asyncio.to_thread(store.commit_soon, append("stop"))
    store.close()
    store.close()
    reads = open_reads(tmp_path / "remit.db")
    assert [each.kind for each in reads.records()] == ["stop"]
    reads.close()
    store.commit_soon(append("late"))
    with pytest.raises(NotCommitted, match="closed"):
        await store.commit(append("late"))
    assert store.healthy == "the store is closed"


@pytest.mark.parametrize("point", ["before_begin", "after_step", "before_commit"])
async def test_a_fault_before_the_commit_leaves_nothing_and_the_store_well(
    store: SqliteStore, faults: Faults, point: str
) -> None:
    faults.planned[point] = RuntimeError("planned")
    with pytest.raises(NotCommitted, match="planned"):
        await store.commit(append("x"))
    await store.commit(append("y"))
    assert kinds(store) == ["y"]


@pytest.mark.parametrize(("point", "there"), [("before_commit", []), ("after_commit_before_ack", ["x"])])
async def test_after_an_unknown_commit_the_store_writes_no_more(
    store: SqliteStore, faults: Faults, point: str, there: list[str]
) -> None:
    faults.planned[point] = sqlite3.OperationalError("disk I/O error")
    with pytest.raises(CommitUnknown):
        await store.commit(append("x"))
    assert "disk I/O error" in store.healthy
    with pytest.raises(NotCommitted, match="disk I/O error"):
        await store.commit(append("y"))
    assert kinds(store) == there


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(("point", "there"), [("before_begin", []), ("after_commit_before_ack", ["x"])])
async def test_a_writer_that_was_killed_leaves_nobody_waiting_and_the_store_refuses(
    store: SqliteStore, faults: Faults, point: str, there: list[str]
) -> None:
    faults.planned[point] = SystemExit()
    with pytest.raises(CommitUnknown, match="writer has ended"):
        await asyncio.wait_for(store.commit(append("x")), 5)
    assert "writer has ended" in store.healthy
    with pytest.raises(NotCommitted, match="writer has ended"):
        await asyncio.wait_for(store.commit(append("y")), 5)
    with pytest.raises(NotCommitted, match="writer has ended"):
        await asyncio.wait_for(store.purge(), 5)
    assert kinds(store) == there


async def test_every_caller_of_a_lost_batch_is_told_so(store: SqliteStore, faults: Faults) -> None:
    def plan(tx: Transaction) -> None:
        faults.planned["before_commit"] = sqlite3.OperationalError("disk I/O error")
        raise LookupError

    answers = await behind_the_gate(store, faults, append("x"), plan, append("y"))
    assert [type(each) for each in answers] == [CommitUnknown] * 3


@pytest.mark.parametrize("alone", [0, 12])
async def test_a_full_disk_refuses_heals_and_keeps_what_nobody_waits_for(
    store: SqliteStore, alone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_SLOW_SECONDS", 60.0)
    for _ in range(alone):
        await store.commit(append("early"))  # a caller that has been alone for a while is served without the thread
    connection = store._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    large = a.payload(data=os.urandom(200_000))
    with pytest.raises(NotCommitted, match="the disk is full"):
        await store.commit(lambda tx: tx.put_payload(large))
    assert store.healthy == "the disk is full"

    def stop(tx: Transaction) -> None:
        tx.put_payload(large)
        tx.append(a.record("stop"))

    store.commit_soon(stop)
    with pytest.raises(NotCommitted):
        await store.commit(lambda tx: tx.put_payload(a.payload("pay_2", large.data)))
    connection.execute("PRAGMA max_page_count = 1000000").fetchall()
    await store.commit(append("after"))
    assert store.healthy == ""
    assert kinds(store) == [*["early"] * alone, "stop", "after"]


async def test_a_store_locked_by_another_process_refuses_and_heals(store: SqliteStore, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "remit.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(NotCommitted, match="another process holds the store"):
        await store.commit(append("x"))
    other.execute("ROLLBACK")
    other.close()
    await store.commit(append("y"))
    assert (kinds(store), store.healthy) == (["y"], "")


async def test_readers_see_only_what_is_durable_and_never_block_the_writer(store: SqliteStore, faults: Faults) -> None:
    seen: list[int] = []

    def step(tx: Transaction) -> None:
        tx.append(a.record())
        seen.append(store.reads.counts()["records"])

    await store.commit(step)
    assert (seen, store.reads.counts()["records"]) == ([0], 1)


@pytest.mark.parametrize(
    ("index", "statement"),
    [
        ("actions_live (state=? AND fingerprint=?)", (sql.TWIN, ["fp-1"])),
        ("actions_live", (sql.COUNT_LIVE, [])),
        ("actions_live (state=?)", sql.finding(Query(states=(State.WAITING, State.UNKNOWN)))),
        ("records_by_kind (kind=?)", sql.journal("", "", ("statement", "erased"), 10)),
        ("records_by_action (action=?)", sql.journal("act_1", "", ("outcome",), 10)),
        ("records_by_run (run=?)", sql.journal("", "run_1", ("verdict",), 10)),
    ],
)
def test_what_is_looked_up_often_has_an_index(store: SqliteStore, index: str, statement: tuple[str, list[str]]) -> None:
    text, values = statement
    plan = store._connection.execute(f"EXPLAIN QUERY PLAN {text}", values).fetchall()
    assert any(f"INDEX {index}" in row[3] for row in plan), plan


async def test_the_journal_refuses_to_be_changed_even_by_plain_sql(store: SqliteStore) -> None:
    await store.commit(append("x"))
    for statement in ("UPDATE records SET kind = 'y'", "DELETE FROM records"):
        with pytest.raises(sqlite3.IntegrityError, match="a record"):
            store._connection.execute(statement)
        store._connection.execute("ROLLBACK") if store._connection.in_transaction else None


async def test_a_checkpoint_keeps_everything(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_PAGES_BETWEEN_CHECKPOINTS", 1)
    for number in range(5):
        await store.commit(append(str(number)))
    store.close()
    assert not (tmp_path / "remit.db-wal").exists()
    reads = open_reads(tmp_path / "remit.db")
    assert len(reads.records()) == 5
    reads.close()


async def test_what_was_written_is_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "remit.db"
    for number in range(3):
        store = open_store(path)
        await store.commit(append(str(number)))
        store.close()
    reads = open_reads(path)
    assert [(each.position, each.kind) for each in reads.records()] == [(0, "0"), (1, "1"), (2, "2")]
    reads.close()


def test_the_file_is_its_owners_alone(store: SqliteStore, tmp_path: Path) -> None:
    assert {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.glob("remit.db*")} == {0o600}


def test_the_disk_is_asked_for_the_strictest_durability(store: SqliteStore) -> None:
    ask = store._connection.execute
    found = [ask(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")]
    assert found == ["wal", 2, 1]
    assert ask("PRAGMA secure_delete").fetchone()[0] == 1


def test_a_newer_schema_and_a_foreign_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "remit.db"
    open_store(path).close()
    for pragma, says in (("user_version = 99", "has schema 99"), ("application_id = 1", "not a store of Remit's")):
        with sqlite3.connect(path) as connection:
            connection.execute(f"PRAGMA {pragma}")
        connection.close()
        for opening in (open_store, open_reads):
            with pytest.raises(Misuse, match=says):
                opening(path)
    with pytest.raises(Misuse, match="there is no store"):
        open_reads(tmp_path / "none.db")


@pytest.mark.parametrize(("f_type", "name"), [(0x6969, "NFS"), (-11317950, "CIFS"), (0x01021997, "9p"), (0xEF53, "")])
def test_network_file_systems_are_known_by_their_number(f_type: int, name: str) -> None:
    assert filesystem.network_file_system(f_type) == name


def test_a_store_on_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert filesystem.network_file_system(filesystem.file_system_type(tmp_path)) == ""
    monkeypatch.setattr(filesystem, "file_system_type", lambda _: 0x6969)
    with pytest.raises(Misuse, match="is on NFS, expected a local disk"):
        open_store(tmp_path / "remit.db")


CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from remit.adapters.store.sqlite import open_store
from remit.model.words import Record

point, left = sys.argv[2], int(sys.argv[3])

def faults(reached):
    global left
    left -= reached == point
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

async def caller(store, name):
    for number in range(10_000):
        kind = f"{os.getpid()}-{name}-{number}"
        await store.commit(lambda tx: tx.append(Record(kind=kind, at=1, data=kind.encode())))
        os.write(1, (kind + "\\n").encode())

async def main():
    store = open_store(Path(sys.argv[1]), faults=faults)
    await asyncio.gather(*(caller(store, name) for name in range(8)))

asyncio.run(main())
"""


@pytest.mark.parametrize("point", ["before_begin", "after_step", "before_commit", "after_commit_before_ack"])
def test_what_was_acknowledged_outlives_kill_9(tmp_path: Path, point: str) -> None:
    path = tmp_path / "remit.db"
    acknowledged: set[str] = set()
    for left in (0, 7, 23):
        child = [sys.executable, "-c", CHILD, str(path), point, str(left)]
        ended = subprocess.run(child, stdout=subprocess.PIPE, timeout=60, check=False)
        assert ended.returncode == -9
        acknowledged |= set(ended.stdout.decode().split())
        open_store(path).close()
        reads = open_reads(path)
        found = reads.records(limit=10**6)
        reads.close()
        assert acknowledged <= {each.kind for each in found}
        assert [each.position for each in found] == list(range(len(found)))
        assert len(found) - len(acknowledged) <= 8 * 3


LIMITED = """
import asyncio, resource, signal, sys
from pathlib import Path
from remit.adapters.store.sqlite import open_store
from remit.model.errors import CommitUnknown, NotCommitted
from remit.model.words import Record

async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = open_store(Path(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
    for number in range(1000):
        try:
            await store.commit(lambda tx: tx.append(Record(kind=str(number), at=1, data=b"x" * 3000)))
        except CommitUnknown:
            break
        print(number, flush=True)
    try:
        await store.commit(lambda tx: tx.append(Record(kind="late", at=1, data=b"")))
    except NotCommitted:
        print("refused", bool(store.healthy))

asyncio.run(main())
"""


def test_a_write_error_at_the_commit_is_unknown_and_the_store_stops(tmp_path: Path) -> None:
    path = tmp_path / "remit.db"
    ended = subprocess.run([sys.executable, "-c", LIMITED, str(path)], stdout=subprocess.PIPE, timeout=60, check=True)
    *acknowledged, last = ended.stdout.decode().splitlines()
    assert last == "refused True"
    reads = open_reads(path)
    found = [each.kind for each in reads.records()]
    reads.close()
    assert acknowledged and found[: len(acknowledged)] == acknowledged
    assert "late" not in found


# --- secret arguments ---------------------------------------------------------------------------------------------


async def with_secrets(store: SqliteStore) -> list[int]:
    """The slots of the keys of an open action's proposal and of its secret arguments."""

    def step(tx: Transaction) -> None:
        for role in ("proposal", "secrets"):
            tx.put_payload(a.payload(f"act_1.{role}"))
        tx.open(a.action(secrets="act_1.secrets"), (), a.record(action="act_1"))

    await store.commit(step)
    return slots(store, "proposals") + slots(store, "payloads")


def slots(store: SqliteStore, table: str) -> list[int]:
    rows = store._reads._rows(f"SELECT slot FROM {table}")
    return [slot for (slot,) in rows]


def succeeded(tx: Transaction) -> None:
    tx.move("act_1", 1, Event.SUCCEED, a.record("outcome", action="act_1"), ended_at=9)


async def test_the_commit_that_ends_an_action_dooms_the_key_of_its_secret_arguments_and_no_other(
    store: SqliteStore,
) -> None:
    _, secret = await with_secrets(store)
    assert (slots(store, "doomed_keys"), store.removed) == ([], False)
    await store.commit(succeeded)
    assert (slots(store, "doomed_keys"), slots(store, "payloads")) == ([secret], [])
    assert store.removed
    assert await store.purge() == 1
    assert (slots(store, "doomed_keys"), store.removed) == ([], False)


async def test_a_commit_that_failed_dooms_no_key(store: SqliteStore, faults: Faults) -> None:
    _, secret = await with_secrets(store)
    faults.planned["before_commit"] = OSError("told to fail")
    with pytest.raises(NotCommitted):
        await store.commit(succeeded)
    assert (slots(store, "doomed_keys"), slots(store, "payloads")) == ([], [secret])
    assert store.reads.payload("act_1.secrets") is not None


async def test_a_key_that_was_doomed_before_a_crash_is_destroyed_when_the_store_is_opened(
    store: SqliteStore, tmp_path: Path
) -> None:
    await with_secrets(store)
    kept = dict(json.loads((tmp_path / "remit.db.keys" / "payload-keys").read_bytes())["keys"])
    await store.commit(succeeded)
    store.close()
    open_store(tmp_path / "remit.db").close()
    left = json.loads((tmp_path / "remit.db.keys" / "payload-keys").read_bytes())["keys"]
    assert not kept.keys() & left.keys()
    again = open_reads(tmp_path / "remit.db")
    try:
        assert again.payload("act_1.proposal") == a.payload("act_1.proposal")
        assert again._rows("SELECT slot FROM doomed_keys") == []
    finally:
        again.close()
