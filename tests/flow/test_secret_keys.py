"""Keys of secret arguments on a real database: destroyed by housekeeping, and not at the cost of other calls."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from remit.adapters.payloads.sealing import sealer
from remit.adapters.store.sqlite import SqliteStore
from remit.flow import erasing
from remit.model.errors import Fault, RemitError
from remit.model.words import Action, Payload, State
from tests.flow.home import Files
from tests.flow.secret_home import SECRET, home, isolate, kept, waiting
from tests.flow.world import sqlite_world

# --- on disk -------------------------------------------------------------------------------------------------------


def readable(store: Path, keys: Path) -> list[bytes]:
    """The bytes of every payload in a database that opens with some key of this folder."""
    found = []
    opener = sealer(keys)
    connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE sql LIKE '%sealed%'")]
    for table in tables:
        for row in connection.execute(f"SELECT id, kind, slot, sealed FROM {table}"):
            try:
                payload = opener.open(*row)
            except RemitError:
                continue
            if payload is not None:
                found.append(payload.data)
    connection.close()
    return found


def holding(payloads: list[bytes]) -> int:
    return sum(SECRET.encode() in each for each in payloads)


async def test_no_copy_of_rows_and_slots_opens_a_secret_argument_once_housekeeping_came(tmp_path: Path) -> None:
    live, copy, mixed = tmp_path / "live", tmp_path / "copy", tmp_path / "mixed"
    live.mkdir()
    async with sqlite_world(live, home()) as world:
        action = await waiting(world)
        other = await isolate(world, await world.open("SRV-1"), "SRV-1", f"x{SECRET[1:]}")
        shutil.copytree(live, copy)
        assert holding(readable(copy / "remit.db", copy / "remit.db.keys")) == 1
        (sealed,) = rows(live, action)
        assert (await world.approve(action)).state is State.DONE
        assert rows(live, action) == []
        await world.erasing.tick()
        keys = live / "remit.db.keys"
        assert holding(readable(live / "remit.db", keys)) == 0
        assert holding(readable(copy / "remit.db", keys)) == 0
        shutil.copytree(copy / "remit.db.keys", mixed)
        shutil.copy(keys / "payload-keys", mixed / "payload-keys")
        assert holding(readable(copy / "remit.db", mixed)) == 0
        assert not any(sealed in path.read_bytes() for path in live.rglob("*") if path.is_file())
        assert not any(SECRET.encode() in path.read_bytes() for path in live.rglob("*") if path.is_file())
        assert kept(world, other, "secrets") is not None
        assert (await world.approve(other)).state is State.DONE


def rows(folder: Path, action: Action) -> list[bytes]:
    connection = sqlite3.connect(folder / "remit.db")
    found = connection.execute("SELECT sealed FROM payloads WHERE id = ?", (f"{action.id}.secrets",)).fetchall()
    connection.close()
    return [bytes(sealed) for (sealed,) in found]


async def test_keys_of_secret_arguments_go_at_once_and_then_at_most_once_a_minute(tmp_path: Path) -> None:
    async with sqlite_world(tmp_path, home()) as world:
        assert isinstance(world.durable, SqliteStore)
        await world.erasing.tick()
        assert doomed(tmp_path) == 0
        for host, left in (("WS-1", 0), ("WS-2", 1)):
            await isolate(world, await world.open(host), host)
            assert world.durable.removed
            await world.erasing.tick()
            assert doomed(tmp_path) == left
        world.clock.advance(erasing.BETWEEN / 1_000_000)
        await world.erasing.tick()
        assert (doomed(tmp_path), world.durable.removed) == (0, False)


async def test_keys_that_a_disk_refused_to_destroy_are_tried_again_at_the_next_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sqlite_world(tmp_path, home()) as world:
        assert isinstance(world.durable, SqliteStore)

        def refuses(slots: list[int]) -> None:
            raise Fault("the disk is full")

        await isolate(world, await world.open("WS-1"))
        with monkeypatch.context() as patched:
            patched.setattr(world.durable._sealer, "destroy", refuses)
            await world.erasing.tick()
            assert (world.erasing.unfinished, doomed(tmp_path)) == ("the disk is full", 1)
        await world.erasing.tick()
        assert (world.erasing.unfinished, doomed(tmp_path)) == ("", 0)


def doomed(folder: Path) -> int:
    connection = sqlite3.connect(folder / "remit.db")
    (count,) = connection.execute("SELECT count(*) FROM doomed_keys").fetchone()
    connection.close()
    return int(count)


# --- what it costs -------------------------------------------------------------------------------------------------


async def costs(folder: Path, files: Files, arguments: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The kinds of what is sealed, and the statements that run, for one isolation from the call to its outcome."""
    folder.mkdir()
    async with sqlite_world(folder, files) as world:
        store = world.durable
        assert isinstance(store, SqliteStore)
        run = await world.open("WS-1")
        sealed: list[str] = []
        seal = store._sealer.seal

        def counted(payload: Payload) -> tuple[int, bytes]:
            sealed.append(payload.kind)
            return seal(payload)

        store._sealer.seal = counted  # type: ignore[method-assign]
        ran: list[str] = []
        store._connection.set_trace_callback(ran.append)
        action = await world.do(run, "edr__isolate_host", **arguments)
        store._connection.set_trace_callback(None)
        assert action.state is State.DONE
        return sealed, [each.split("(")[0].split(" VALUES")[0][:40] for each in ran]


async def test_a_call_without_a_secret_argument_costs_no_seal_and_no_statement_more(tmp_path: Path) -> None:
    plain = await costs(tmp_path / "a", Files(), {"host": "WS-1", "reason": "x"})
    none_given = await costs(tmp_path / "b", home(), {"host": "WS-1"})
    given = await costs(tmp_path / "c", home(), {"host": "WS-1", "reason": "x"})
    assert plain == none_given
    assert plain[0] == ["proposal", "change_result"]
    assert sorted(given[0]) == ["change_result", "proposal", "secrets"]
    assert len(given[1]) == len(plain[1]) + 3  # a row, its removal, its key on the list
