"""The index: the same answers with it, behind it and without it; what it forgets; and files that cannot be trusted."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from remit.adapters.index import bits, forgetting
from remit.adapters.index.following import SearchIndex
from remit.flow.queries import Found, Stories
from remit.flow.query import Query
from remit.flow.searching import Search
from remit.gates import journal
from remit.gates.journal import Pseudonyms
from remit.model.words import MINUTE, SECOND, Decision, Event, Payload, State
from tests.adapters.index.conftest import KEY
from tests.flow.past import NAMES, START, Past

QUERIES = [
    Query(),
    Query(target="ws-7"),
    Query(target="WS-*"),
    Query(target="DC01"),
    Query(agent="triage"),
    Query(run="run_1"),
    Query(case="alert-7"),
    Query(category="host.isolate"),
    Query(connector="edr"),
    Query(clause="ISO-1"),
    Query(clause="N-1"),
    *(Query(states=(state,)) for state in State),
    Query(states=(State.DONE, State.BLOCKED), target="WS-7"),
    Query(words="beacons"),
    Query(words="beacons bad"),
    Query(words="quiet"),
    Query(evidence="ev_0000000000000003"),
    Query(approver="BOB"),
    Query(approver="ann"),
    Query(since=START + MINUTE),
    Query(until=START + MINUTE),
    Query(since=START + MINUTE, until=START + 2 * MINUTE, agent="triage"),
    Query(limit=2),
    Query(words="beacons", limit=1),
]


def happen(past: Past, number: int) -> None:
    """One of the things that happen, so that every kind of change falls before and behind the index."""
    match number % 6:
        case 0:
            past.end(past.propose())
        case 1:
            past.vote(past.propose(Decision.APPROVE, summary="quiet for hours"), "bob")
        case 2:
            past.vote(past.propose(Decision.APPROVE, targets=("WS-8",)), "bob", "reject")
        case 3:
            past.propose(Decision.FORBID, targets=("DC01",))
        case 4:
            past.refusal()
        case 5:
            past.settle(past.end(past.propose(cites=("ev_0000000000000003",)), Event.LOSE), applied=True, by="bob")


def ids(found: Found) -> tuple[Any, ...]:
    return (
        [each.id for each in found.actions],
        [each.entry.position for each in found.refusals],
        [each.entry.position for each in found.verdicts],
        found.more,
    )


@pytest.mark.parametrize("indexed", [1, 3, 7, 100])
def test_the_answer_is_the_same_wherever_the_index_stands(
    past: Past, index: SearchIndex, stories: Stories, indexed: int
) -> None:
    for number in range(13):
        if number <= indexed:
            index.catch_up()
        happen(past, number)
    if indexed == 100:
        index.catch_up()
    plain = Stories(past.store.reads, searching=Search(past.store.reads, None, NAMES))
    for query in QUERIES:
        assert ids(stories.find(query)) == ids(plain.find(query)), query
        assert (stories.find(query).behind == 0) == (indexed == 100)


def test_a_change_behind_the_index_replaces_the_state_that_it_knows(
    past: Past, index: SearchIndex, stories: Stories
) -> None:
    waiting = past.propose(Decision.APPROVE)
    index.catch_up()
    past.vote(waiting, "bob", "reject")
    assert stories.find(Query(states=(State.WAITING,))).actions == ()
    assert [each.id for each in stories.find(Query(states=(State.REJECTED,))).actions] == [waiting.id]
    assert [each.id for each in stories.find(Query(approver="bob")).actions] == [waiting.id]


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"this is not a database, but long enough to look at" * 99),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: damage(path),
        lambda path: change(path, "PRAGMA user_version = 9"),
        lambda path: change(path, "PRAGMA application_id = 9"),
        lambda path: change(path, "DELETE FROM standing"),
        lambda path: change(path, "UPDATE standing SET position = 2"),
        lambda path: change(path, "UPDATE standing SET last = x'00'"),
        lambda path: change(path, "UPDATE standing SET position = 900"),
        lambda path: change(path, "UPDATE standing SET key = 1"),
        lambda path: change(path, "DROP TABLE postings"),
        lambda path: change(path, "UPDATE postings SET hits = x'ffff'"),
        lambda path: change(path, "UPDATE postings SET hits = x'00'"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_passed_over_and_built_anew(
    past: Past, index: SearchIndex, stories: Stories, tmp_path: Path, harm: Callable[[Path], Any]
) -> None:
    for number in range(6):
        happen(past, number)
    index.catch_up()
    wanted = ids(stories.find(Query(agent="triage")))
    index.close()
    harm(tmp_path / "index.db")
    assert ids(stories.find(Query(agent="triage"))) == wanted
    assert stories.find(Query(agent="triage")).behind > 0
    past.propose()
    index.catch_up()
    found = stories.find(Query(agent="triage"))
    assert len(found.actions) == len(wanted[0]) + 1
    assert (found.behind, found.why) == (0, "")


def damage(path: Path) -> None:
    """Overwrite the insides of every page but the first."""
    data = bytearray(path.read_bytes())
    for start in range(4096, len(data), 4096):
        data[start : start + 64] = b"\xff" * 64
    path.write_bytes(data)


def change(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()


def test_an_index_of_another_store_is_not_believed(past: Past, index: SearchIndex, tmp_path: Path) -> None:
    past.propose()
    index.catch_up()
    other = Past()
    other.now += SECOND
    other.propose(summary="another story")
    other.propose()
    look = Stories(other.store.reads, searching=Search(other.store.reads, reopened(tmp_path, other), NAMES))
    assert len(look.find(Query()).actions) == 2
    assert look.find(Query()).why == "the index is not about this store"


def reopened(folder: Path, past: Past, key: bytes = KEY) -> SearchIndex:
    return SearchIndex(folder / "index.db", key, past.store.reads)


def test_an_index_under_another_key_is_not_believed(past: Past, index: SearchIndex, tmp_path: Path) -> None:
    past.propose()
    index.catch_up()
    other = b"o" * 32
    search = Search(past.store.reads, reopened(tmp_path, past, other), Pseudonyms(other))
    assert len(Stories(past.store.reads, searching=search).find(Query(agent="triage")).actions) == 1
    assert search.why == "the index is another home's"


# --- what it holds, and forgets -------------------------------------------------------------------------------------


def files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob("index.db*")))


def hashed(term: str) -> bytes:
    return bits.Terms(KEY).of(term).to_bytes(8, "big", signed=True)


def test_the_file_has_no_word_target_or_person_in_clear(past: Past, index: SearchIndex, tmp_path: Path) -> None:
    past.vote(past.propose(Decision.APPROVE, summary="Xylophone beacons"), "bob")
    index.catch_up()
    kept = files(tmp_path).lower()
    for word in (b"xylophone", b"beacons", b"ws-7", b"bob", b"triage", b"alert-7"):
        assert word not in kept
    assert hashed("word=xylophone") in files(tmp_path)


def test_what_is_forgotten_is_gone_from_every_file(
    past: Past, index: SearchIndex, stories: Stories, tmp_path: Path
) -> None:
    for number in range(50):
        past.end(past.propose(summary=f"filler number{number} beacons"))
    action = past.end(past.propose(summary="Xylophone beacons"))
    other = past.end(past.propose(summary="beacons again"))
    index.catch_up()
    assert [each.id for each in stories.find(Query(words="xylophone")).actions] == [action.id]
    erase(past, action.proposal)
    index.forget([action.id])
    assert hashed("word=xylophone") not in files(tmp_path)
    assert stories.find(Query(words="xylophone")).actions == ()
    assert action.id not in [each.id for each in stories.find(Query(words="beacons")).actions]
    assert other.id in [each.id for each in stories.find(Query(words="beacons")).actions]
    for query in (Query(target="WS-7"), Query(clause="ISO-1"), Query(states=(State.DONE,)), Query(case="alert-7")):
        assert action.id in [each.id for each in stories.find(query).actions]


def erase(past: Past, payload_id: str) -> None:
    del past.store.tables.payloads[payload_id]


def test_forgetting_while_somebody_looks_is_finished_afterwards(past: Past, index: SearchIndex, tmp_path: Path) -> None:
    action = past.propose(summary="Xylophone beacons")
    index.catch_up()
    erase(past, action.proposal)
    with index.look():
        index.forget([f"{action.id}.proposal"])
    index.catch_up()
    assert hashed("word=xylophone") not in files(tmp_path)


def test_forgetting_what_is_not_indexed_changes_nothing(past: Past, index: SearchIndex) -> None:
    index.forget(["act_none"])
    past.propose()
    index.catch_up()
    index.forget(["act_none", "ev_1.result", "vrd_1.verdict"])
    with index.look() as look:
        assert len(list(look.match([["kind=proposal"]]))) == 1


# --- following ------------------------------------------------------------------------------------------------------


def test_it_follows_by_itself_when_told_of_records(past: Past, index: SearchIndex) -> None:
    index.start()
    past.propose()
    index.follow(0, past.store.reads.records_from(0, 100))
    assert reached(index, past)


def test_what_is_erased_as_the_gateway_ends_is_forgotten_before_it_has_ended(
    past: Past, index: SearchIndex, tmp_path: Path
) -> None:
    action = past.end(past.propose(summary="Xylophone beacons"))
    index.start()
    assert reached(index, past)
    erase(past, action.proposal)
    gone = journal.of_action("erased", past.now, action, erased={action.proposal: "c" * 64})
    past.commit(lambda tx: tx.append(gone))
    index.close()
    assert hashed("word=xylophone") not in files(tmp_path)


def reached(index: SearchIndex, past: Past) -> bool:
    import time

    for _ in range(500):
        with index.look() as look:
            if look.position == len(past.store.tables.records):
                return True
        time.sleep(0.01)
    return False


def test_a_rebuilt_index_covers_every_record_and_says_how_far_it_is(past: Past, index: SearchIndex) -> None:
    for number in range(6):
        happen(past, number)
    told: list[tuple[int, int]] = []
    assert index.rebuild(lambda done, of: told.append((done, of))) == len(past.store.tables.records)
    assert told[-1] == (len(past.store.tables.records),) * 2


def test_two_indexes_on_one_file_take_turns(past: Past, index: SearchIndex, tmp_path: Path, stories: Stories) -> None:
    other = reopened(tmp_path, past)
    for number in range(12):
        happen(past, number)
        (other if number % 2 else index).catch_up()
    other.rebuild()
    happen(past, 0)
    index.catch_up()
    plain = Stories(past.store.reads, searching=Search(past.store.reads, None, NAMES))
    assert ids(stories.find(Query())) == ids(plain.find(Query()))
    assert stories.find(Query()).behind == 0
    other.close()


def test_a_folder_that_refuses_is_a_fault_and_searches_go_on(past: Past, stories: Stories, index: SearchIndex) -> None:
    past.propose()
    missing = SearchIndex(Path("/proc/nowhere/index.db"), KEY, past.store.reads)
    with pytest.raises(Exception, match="cannot be written"):
        missing.catch_up()
    search = Search(past.store.reads, missing, NAMES)
    assert len(Stories(past.store.reads, searching=search).find(Query()).actions) == 1
    assert search.why == "there is no index"


def test_a_payload_that_is_no_proposal_is_passed_over(past: Past, index: SearchIndex, stories: Stories) -> None:
    action = past.propose()
    past.store.tables.payloads[action.proposal] = Payload(
        id=action.proposal, kind="proposal", salt=b"", data=msgspec.json.encode([1])
    )
    index.catch_up()
    assert stories.find(Query(words="beacons")).actions == ()
    assert len(stories.find(Query(target="WS-7")).actions) == 1


# --- what records say is gone ---------------------------------------------------------------------------------------


def test_what_a_record_says_was_erased_is_forgotten_without_being_asked(
    past: Past, index: SearchIndex, stories: Stories, tmp_path: Path
) -> None:
    action = past.end(past.propose(summary="Xylophone beacons"))
    index.catch_up()
    erase(past, action.proposal)
    gone = journal.of_action("erased", past.now, action, erased={action.proposal: "c" * 64})
    past.commit(lambda tx: tx.append(gone))
    index.catch_up()
    assert hashed("word=xylophone") not in files(tmp_path)
    assert [each.id for each in stories.find(Query(target="WS-7")).actions] == [action.id]


@pytest.mark.parametrize("at_once", [1, 2, 1_000])
def test_what_retention_removed_is_forgotten_and_what_it_left_is_kept(
    past: Past, index: SearchIndex, stories: Stories, tmp_path: Path, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "_AT_ONCE", at_once)
    old, held, new = (past.end(past.propose(summary=f"{word} beacons")) for word in ("Xylophone", "Held", "Recent"))
    index.catch_up()
    erase(past, old.proposal)
    prune(past, new.opened_at)
    index.catch_up()
    assert hashed("word=xylophone") not in files(tmp_path)
    assert [each.id for each in stories.find(Query(words="beacons")).actions] == [new.id, held.id]
    erase(past, held.proposal)
    prune(past, new.opened_at)
    index.catch_up()
    assert hashed("word=held") not in files(tmp_path)
    assert [each.id for each in stories.find(Query(words="beacons")).actions] == [new.id]


def prune(past: Past, before: int) -> None:
    fields: dict[str, Any] = {"class": "proposals", "before": before, "count": 1}
    record = journal.record("pruned", past.now, **fields)
    past.commit(lambda tx: tx.append(record))
