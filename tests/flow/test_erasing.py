"""Erasing and retention on a real database: what is gone cannot be opened again, and what happened stays on record."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from remit.adapters.payloads.sealing import beside, sealer
from remit.adapters.store.reads import open_reads
from remit.adapters.store.sqlite import SqliteStore, open_store
from remit.flow.erasing import Erased
from remit.flow.queries import Stories
from remit.flow.retention import Retention, pruned
from remit.gates import journal
from remit.gates.story import Story
from remit.model.errors import Fault, Misuse, Refusal, RemitError
from remit.model.words import Action, Payload, State
from tests.flow.world import DAY, World, sqlite_world

ARGUMENT, REASON, RESULT, SIGNAL = "Planted-Argument-7781", "Planted-Reason-7782", "Planted-Result-7783", "Planted-7784"
PLANTED = (ARGUMENT, REASON, RESULT, SIGNAL)
WHY = {"summary": REASON, "signals": [{"says": SIGNAL}]}
BASIS = "GDPR 17(1)(a)"


async def isolated(world: World, host: str = "WS-1", **more: Any) -> Action:
    """An action that was carried out, with planted words in everything that it is about."""
    run = await world.open(host)
    said = {"content": [{"type": "text", "text": RESULT}], "structuredContent": {"ok": True}}
    world.lab.next("isolate_host", "answer", raw=json.dumps(said).encode())
    action, _ = await world.steward.propose(
        world.call(run, "edr__isolate_host", why=WHY, host=host, reason=ARGUMENT, **more)
    )
    return await world.done(action)


async def looked(world: World, host: str = "WS-1") -> Action:
    run = await world.open(host)
    return await world.do(run, "edr__host_status", host=host)


async def erase(world: World, *ids: str) -> Erased:
    return await world.erasing.erase(ids, "lena", "they asked for it", BASIS)


def holding(folder: Path, *words: str) -> list[str]:
    """The files below a folder that hold one of these words."""
    sought = [word.encode() for word in words]
    found = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in found if any(word in path.read_bytes() for word in sought)]


def payload_ids(action: Action) -> list[str]:
    return [action.proposal, action.result]


async def test_no_file_ever_holds_what_was_planted_in_arguments_results_or_reasons(tmp_path: Path) -> None:
    async with sqlite_world(tmp_path) as world:
        seen: list[str] = []
        for point in ("proposing", "intended", "minted", "answered", "recorded"):
            world.at[point] = lambda: seen.append("".join(holding(tmp_path, *PLANTED)))
        action = await isolated(world)
        payload = world.durable.reads.payload(action.result)
        assert payload is not None
        assert RESULT.encode() in payload.data
        seen.append("".join(holding(tmp_path, *PLANTED)))
    seen.append("".join(holding(tmp_path, *PLANTED)))
    assert len(seen) >= 5
    assert set(seen) == {""}


async def test_what_a_refusal_repeats_of_an_argument_is_in_no_file_and_goes_with_the_action(tmp_path: Path) -> None:
    async with sqlite_world(tmp_path) as world:
        run = await world.open("WS-1")
        action = await world.do(run, "edr__isolate_host", host=f"{ARGUMENT} [x]", reason="x", **{ARGUMENT: 1})
        assert action.state is State.BLOCKED
        said = [clause.says for clause in action.ruling.clauses if clause.id.startswith(("intake.", "validation."))]
        assert said
        assert any(ARGUMENT in each for each in said)
        assert world.durable.reads.action(action.id) == action
        assert holding(tmp_path, ARGUMENT) == []
        await erase(world, action.id)
        assert ARGUMENT not in str(world.action(action.id))


async def test_what_is_planted_is_found_where_it_is_in_clear(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(f"x{RESULT}x")
    assert holding(tmp_path, *PLANTED) == ["a"]


async def test_an_erased_action_is_gone_and_its_story_says_by_whom_when_and_why(tmp_path: Path) -> None:
    async with sqlite_world(tmp_path) as world:
        action, other = await isolated(world), await isolated(world, "WS-2")
        erased = await erase(world, action.id)
        assert sorted(erased.payloads) == sorted(payload_ids(action))
        assert (erased.keys, erased.unfinished) == (2, "")
        reads = world.durable.reads
        assert [reads.payload(each) for each in payload_ids(action)] == [None, None]
        assert all(reads.payload(each) is not None for each in payload_ids(other))
        (record,) = reads.records(kinds=("erased",))
        tombstone = reads.tombstone(action.result)
        assert tombstone is not None
        assert (tombstone.position, tombstone.data) == (record.position, record.data)
        said = json.loads(record.data)
        assert (said["by"], said["basis"], said["action"]) == (world.names.person("lena"), BASIS, action.id)
        story = Stories(reads).explain(action.id)
        assert isinstance(story, Story)
        text = json.dumps([entry.says for entry in story.entries])
        assert "they asked for it" in text
        assert BASIS in text
        erased_by = f"{story.entries[-1].says.partition(':')[0]}: they asked for it"
        assert f"the arguments and reasons were {erased_by}" in story.gaps
        assert f"what came back was {erased_by}" in story.gaps


async def test_the_tombstone_repeats_the_commitments_that_the_records_made(tmp_path: Path) -> None:
    async with sqlite_world(tmp_path) as world:
        action = await isolated(world)
        said: dict[str, str] = {}
        for record in world.durable.reads.records(action=action.id, kinds=("proposal", "outcome")):
            said |= json.loads(record.data)["payloads"]
        await erase(world, action.id)
        (record,) = world.durable.reads.records(kinds=("erased",))
        assert json.loads(record.data)["erased"] == said
        (why,) = json.loads(record.data)["payloads"].items()
        kept = world.durable.reads.payload(why[0])
        assert kept is not None
        assert journal.commitment(kept) == why[1]


async def test_names_of_targets_leave_the_rows_of_an_erased_action(tmp_path: Path) -> None:
    async with sqlite_world(tmp_path) as world:
        action = await isolated(world)
        await erase(world, action.id)
        stand_in = world.names.of("WS-1")
        assert world.action(action.id).targets == (stand_in,)
        connection = sqlite3.connect(tmp_path / "remit.db")
        for table, column in (("claims", "action"), ("holds", "action")):
            rows = connection.execute(f"SELECT target FROM {table} WHERE {column} = ?", (action.id,))
            assert {target for (target,) in rows} <= {stand_in}
        (body,) = connection.execute("SELECT body FROM actions WHERE id = ?", (action.id,)).fetchone()
        connection.close()
        assert b"WS-1" not in body


def opened(store: Path, keys: Path, names: list[str]) -> list[Payload]:
    """What of these payloads can be decrypted from a copy of the database with a folder of keys."""
    found = []
    reads = open_reads(store, sealer(keys))
    for name in names:
        try:
            payload = reads.payload(name)
        except RemitError:
            continue
        if payload is not None:
            found.append(payload)
    reads.close()
    return found


async def test_old_copies_of_database_and_slots_open_nothing_erased_with_any_key_that_is_left(tmp_path: Path) -> None:
    home, copy = tmp_path / "home", tmp_path / "copy"
    home.mkdir()
    async with sqlite_world(home) as world:
        action, other = await isolated(world), await isolated(world, "WS-2")
        shutil.copytree(home, copy)
        assert len(opened(copy / "remit.db", copy / "remit.db.keys", payload_ids(action))) == 2
        await erase(world, action.id)
        left = home / "remit.db.keys"
        # Today's keys with the old database; then the old slots too, with today's keys above them.
        assert opened(copy / "remit.db", left, payload_ids(action)) == []
        assert len(opened(copy / "remit.db", left, payload_ids(other))) == 2
        mixed = tmp_path / "mixed"
        shutil.copytree(copy / "remit.db.keys", mixed)
        shutil.copy(left / "payload-keys", mixed / "payload-keys")
        assert opened(copy / "remit.db", mixed, payload_ids(action)) == []
        assert all(world.durable.reads.payload(each) for each in payload_ids(other))
        kept = json.loads((copy / "remit.db.keys" / "payload-keys").read_bytes())["keys"]
        assert holding(home, *kept.values()) == []


async def test_the_rows_and_the_write_ahead_log_no_longer_hold_the_sealed_bytes(tmp_path: Path) -> None:
    async with sqlite_world(tmp_path) as world:
        action = await isolated(world)
        connection = sqlite3.connect(tmp_path / "remit.db")
        (sealed,) = connection.execute("SELECT sealed FROM proposals WHERE id = ?", (action.proposal,)).fetchone()
        connection.close()
        assert any(sealed[:40] in path.read_bytes() for path in tmp_path.glob("remit.db*") if path.is_file())
        await erase(world, action.id)
        assert not any(sealed[:40] in path.read_bytes() for path in tmp_path.glob("remit.db*") if path.is_file())


async def test_what_is_open_or_unsettled_is_not_erased_and_nothing_is_half_done(tmp_path: Path) -> None:
    async with sqlite_world(tmp_path) as world:
        done = await isolated(world)
        run = await world.open("WS-3")
        world.lab.next("isolate_host", "lost")
        unknown = await world.do(run, "edr__isolate_host", host="WS-3", reason="x")
        assert unknown.state is State.UNKNOWN
        with pytest.raises(Refusal, match="needed until it has ended") as refused:
            await erase(world, done.id, unknown.id)
        assert "settle" in refused.value.hint
        assert world.durable.reads.payload(done.proposal) is not None
        with pytest.raises(Refusal, match="is open"):
            await erase(world, run.id)
        assert not world.durable.reads.records(kinds=("erased",))


@pytest.mark.parametrize("name", ["sta_1", "vot_1.statement", "bnd_1.file", "ros_1.signatures", "stp_1", "era_1.why"])
async def test_what_proves_who_ordered_or_allowed_something_is_never_erased(world: World, name: str) -> None:
    with pytest.raises(Refusal, match="is kept"):
        await erase(world, name)


async def test_an_unknown_id_a_second_time_and_a_basis_in_prose_are_refused(world: World) -> None:
    action = await isolated(world)
    with pytest.raises(Misuse, match="there is no `act_nobody`"):
        await erase(world, "act_nobody")
    with pytest.raises(Misuse, match="short citation"):
        await world.erasing.erase([action.id], "lena", "why", "because <b>someone</b> asked")
    await erase(world, action.id)
    with pytest.raises(Refusal, match="left to erase"):
        await erase(world, action.id)


async def test_one_piece_of_evidence_goes_alone_and_a_closed_run_goes_whole(any_world: World) -> None:
    world = any_world
    action = await looked(world)
    assert (await erase(world, action.evidence)).payloads == (action.result,)
    assert world.durable.reads.payload(action.proposal) is not None
    evidence = world.durable.reads.evidence(action.evidence)
    assert evidence is not None
    assert evidence.digest == ""
    await world.runs.close(action.run, "lena")
    erased = await erase(world, action.run)
    assert f"{action.run}.mandate" in erased.payloads
    assert action.proposal in erased.payloads
    run = world.durable.reads.run(action.run)
    assert run is not None
    assert "WS-1" not in json.dumps(run.mandate.targets)


# --- crashes -------------------------------------------------------------------------------------------------------


class Died(Exception):
    """The process would be gone here."""


@pytest.mark.parametrize(
    "point", ["before", "keys_new_key_made", "keys_file_replaced", "keys_old_key_destroyed", "before clearing"]
)
async def test_an_erasure_that_a_crash_broke_off_is_finished_at_the_next_start(
    tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sqlite_world(tmp_path) as world:
        action, other = await isolated(world), await isolated(world, "WS-2")
        assert isinstance(world.durable, SqliteStore)
        keys = world.durable._sealer
        real = keys.destroy

        def dies(slots: list[int]) -> None:
            if point == "before":
                raise Died
            if point == "before clearing":
                real(slots)
                raise Died

            def at(where: str) -> None:
                if where == point:
                    raise Died

            keys._keys._point = at  # type: ignore[attr-defined]
            real(slots)

        monkeypatch.setattr(keys, "destroy", dies)
        with pytest.raises(Died):
            await erase(world, action.id)
        await world.durable.commit(lambda tx: tx.append(journal.record("clock.jump", world.clock.now())))
    store = open_store(tmp_path / "remit.db")
    try:
        assert [store.reads.payload(each) for each in payload_ids(action)] == [None, None]
        assert all(store.reads.payload(each) for each in payload_ids(other))
        connection = sqlite3.connect(tmp_path / "remit.db")
        assert connection.execute("SELECT count(*) FROM doomed_keys").fetchone() == (0,)
        connection.close()
        assert len(json.loads((tmp_path / "remit.db.keys" / "payload-keys").read_bytes())["keys"]) == 1
    finally:
        store.close()


async def test_a_disk_that_refuses_leaves_the_erasure_unfinished_and_says_so_until_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sqlite_world(tmp_path) as world:
        action = await isolated(world)
        assert isinstance(world.durable, SqliteStore)

        def refuses(slots: list[int]) -> None:
            raise Fault("the disk is full")

        with monkeypatch.context() as patched:
            patched.setattr(world.durable._sealer, "destroy", refuses)
            assert (await erase(world, action.id)).unfinished == "the disk is full"
        assert world.durable.reads.payload(action.result) is None
        assert await world.erasing.finish() == 2
        assert world.erasing.unfinished == ""


# --- retention -----------------------------------------------------------------------------------------------------


async def test_results_of_reads_that_are_over_are_pruned_and_everything_else_stays(any_world: World) -> None:
    world = any_world
    old = await looked(world)
    changed = await isolated(world)
    world.clock.advance(31 * 24 * 3600)
    young = await looked(world, "WS-2")
    due = {each.payload_class: each.count for each in world.retention.due()}  # Remit's own reads are reads too
    assert due["proposals"] == 0
    assert due["read_results"] >= 1
    assert world.durable.reads.payload(old.result) is not None
    assert await world.retention.prune() == due
    reads = world.durable.reads
    assert reads.payload(old.result) is None
    assert pruned(reads, old.result)
    assert not pruned(reads, young.result)
    assert all(reads.payload(each) for each in (old.proposal, young.result, changed.result))
    (record,) = reads.records(kinds=("pruned",))
    said = json.loads(record.data)
    assert (said["class"], said["count"]) == ("read_results", due["read_results"])
    assert said["before"] <= world.clock.now() - 30 * DAY
    assert await world.retention.prune() == {"read_results": 0, "proposals": 0}
    assert len(reads.records(kinds=("pruned",))) == 1


class Leavings:
    """Fulfils `Leavings`: for how long it was asked to keep what connectors wrote."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def forget(self, connectors: Iterable[str]) -> None:
        raise AssertionError("nobody erases")

    async def let_go(self, age: int) -> None:
        self.asked.append(age)


async def test_what_connectors_wrote_goes_hourly_once_the_shortest_time_of_what_it_may_repeat_is_over() -> None:
    world = await World.begin()
    keeps = {"verdicts": DAY, "read_results": 30 * DAY, "proposals": 400 * DAY}
    for keep, asks in ((keeps, [30 * DAY]), ({"verdicts": DAY}, [])):
        leavings = Leavings()
        retention = Retention(store=world.store, clock=world.clock, erasing=world.erasing, keep=keep, leavings=leavings)
        for _ in range(5):
            await retention.tick()
        assert leavings.asked == asks
        world.clock.advance(3600)
        await retention.tick()
        assert leavings.asked == asks * 2


async def test_the_proposal_of_an_action_that_nobody_has_settled_is_never_pruned(any_world: World) -> None:
    world = any_world
    run = await world.open("WS-3")
    world.lab.next("isolate_host", "lost")
    unknown = await world.do(run, "edr__isolate_host", host="WS-3", reason="x")
    done = await isolated(world)
    world.clock.advance(401 * 24 * 3600)
    await looked(world, "WS-2")
    assert (await world.retention.prune())["proposals"] >= 1
    assert world.durable.reads.payload(unknown.proposal) is not None
    assert world.durable.reads.payload(done.proposal) is None


async def test_pruning_gives_back_nearly_all_of_the_room_on_disk(tmp_path: Path) -> None:
    store = open_store(tmp_path / "remit.db")
    noise = [bytes(str(each) * 3, "ascii") + beside.__module__.encode() for each in range(3)]

    def put(tx: Any, start: int, kind: str) -> None:
        for each in range(start, start + 250):
            body = b"".join(noise) + bytes((each * 7 + place) % 251 for place in range(2000))
            tx.put_payload(Payload(id=f"ev_{kind}{each}.result", kind=kind, salt=b"s" * 16, data=body))
            tx.put_payload(Payload(id=f"act_{kind}{each}.proposal", kind="proposal", salt=b"s" * 16, data=body[:700]))
        tx.append(journal.record("node.started", start + 10**12))

    try:
        for start in range(0, 3000, 250):
            await store.commit(lambda tx, start=start: put(tx, start, "read_result"))  # type: ignore[misc]
        await store.commit(lambda tx: tx.append(journal.record("node.started", 10**15)))
        await store.purge()
        connection = sqlite3.connect(tmp_path / "remit.db")
        (held,) = connection.execute("SELECT sum(length(sealed)) FROM read_results").fetchone()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        before = sum(path.stat().st_size for path in tmp_path.glob("remit.db*") if path.is_file())
        while await store.commit(lambda tx: _prune(tx)):
            pass
        await store.purge()
        after = sum(path.stat().st_size for path in tmp_path.glob("remit.db*") if path.is_file())
        connection.close()
    finally:
        store.close()
    assert before - after >= 0.95 * held


def _prune(tx: Any) -> int:
    count = tx.prune("read_results", 10**15, 500)
    if count:
        tx.append(journal.record("node.started", 10**15))
    return int(count)


# --- secrets -------------------------------------------------------------------------------------------------------

SECRET = "ghp_" + "a1" * 18


async def test_what_looks_like_a_secret_in_a_result_or_a_rationale_is_not_kept(
    world: World,
) -> None:
    run = await world.open("WS-1")
    said = {"content": [{"type": "text", "text": f"the token is {SECRET}"}]}
    world.lab.next("isolate_host", "answer", raw=json.dumps(said).encode())
    call = world.call(run, "edr__isolate_host", why={"summary": f"because {SECRET}"}, host="WS-1", reason="x")
    action, _ = await world.steward.propose(call)
    action = await world.done(action)
    reads = world.durable.reads
    kept = [reads.payload(each) for each in payload_ids(action)]
    assert all(each is not None and SECRET.encode() not in each.data and b"secret" in each.data for each in kept)
    evidence = reads.evidence(action.evidence)
    assert evidence is not None
    assert kept[1] is not None
    assert evidence.digest == hashlib.sha256(kept[1].data).hexdigest()


async def test_a_result_without_a_secret_is_kept_byte_for_byte(world: World) -> None:
    run = await world.open("WS-1")
    raw = b'{ "content" : [ { "type":"text", "text":"\\u0041 plain \\"answer\\"" } ] }'
    world.lab.next("isolate_host", "answer", raw=raw)
    action = await world.do(run, "edr__isolate_host", host="WS-1", reason="x")
    payload = world.durable.reads.payload(action.result)
    assert payload is not None
    assert payload.data == raw
