"""The state table: what leads where, and that nothing else can be written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from remit.adapters.store.memory import MemoryStore
from remit.adapters.store.sqlite import open_store
from remit.flow.lifecycle import FINAL, OPEN, OPENINGS, TABLE, NoSuchTransition, after, unsettled
from remit.flow.ports import Transaction
from remit.model.words import Event, State
from tests.adapters.store.samples import action, record
from tests.flow.world import AnyStore

ALL = [(state, event) for state in State for event in Event]
FINALS = {State.DONE, State.FAILED, State.BLOCKED, State.REJECTED, State.EXPIRED, State.WITHDRAWN, State.VOID}


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyStore]:
    made: AnyStore = MemoryStore() if request.param == "memory" else open_store(tmp_path / "remit.db")
    yield made
    made.close()


def test_the_final_states_are_exactly_those_that_the_design_names() -> None:
    assert FINAL == FINALS


@pytest.mark.parametrize("event", list(Event))
@pytest.mark.parametrize("state", sorted(FINALS))
def test_nothing_leads_out_of_a_final_state(state: State, event: Event) -> None:
    with pytest.raises(NoSuchTransition):
        after(state, event)


@pytest.mark.promise("P1")
def test_only_an_intent_leads_into_executing_and_only_from_an_approved_action() -> None:
    assert [move for move, to in TABLE.items() if to is State.EXECUTING] == [(State.APPROVED, Event.INTEND)]


@pytest.mark.promise("P4")
def test_only_an_approval_leads_into_approved_and_only_from_a_waiting_action() -> None:
    assert [move for move, to in TABLE.items() if to is State.APPROVED] == [(State.WAITING, Event.APPROVE)]


@pytest.mark.promise("P7")
def test_only_settling_leads_out_of_unknown() -> None:
    assert {event for state, event in TABLE if state is State.UNKNOWN} == {
        Event.SETTLE_APPLIED,
        Event.SETTLE_NOT_APPLIED,
    }
    assert State.EXECUTING not in {to for (state, _), to in TABLE.items() if state in (State.UNKNOWN, State.CUT)}


def test_every_state_but_the_openings_can_be_reached_and_every_open_one_can_be_left() -> None:
    assert set(State) - set(TABLE.values()) <= OPENINGS
    assert {state for state, _ in TABLE} >= OPEN


def test_an_unknown_action_is_unsettled_and_a_cut_one_only_where_it_was_handed_over() -> None:
    assert unsettled(action(state=State.UNKNOWN))
    assert unsettled(action(state=State.CUT, handed_over=True))
    assert not unsettled(action(state=State.CUT, handed_over=False))
    assert not any(unsettled(action(state=state, handed_over=True)) for state in FINAL | OPEN)


async def _in_state(store: AnyStore, name: str, state: State) -> None:
    """Write an action in this state by moves that the table has."""
    opening = state if state in OPENINGS else State.EXECUTING
    if state in (State.APPROVED, State.REJECTED, State.EXPIRED, State.WITHDRAWN, State.VOID):
        opening = State.WAITING
    await store.commit(lambda tx: tx.open(action(name, state=opening, handed_over=True), (), record()))
    if state is not opening:
        (event,) = [event for (before, event), to in TABLE.items() if before is opening and to is state]
        await store.commit(lambda tx: tx.move(name, 1, event, record(), ended_at=2))


@pytest.mark.promise("P1")
async def test_a_move_that_the_table_does_not_have_cannot_be_written(store: AnyStore) -> None:
    for number, (state, event) in enumerate(ALL):
        name = f"act_{number}"
        await _in_state(store, name, state)
        before = store.reads.action(name)
        assert before is not None
        revision = before.revision

        def step(tx: Transaction, name: str = name, revision: int = revision, event: Event = event) -> None:
            tx.move(name, revision, event, record(), ended_at=3)

        if (state, event) in TABLE:
            await store.commit(step)
            moved = store.reads.action(name)
            assert moved is not None
            assert moved.state is TABLE[state, event]
        else:
            with pytest.raises(NoSuchTransition):
                await store.commit(step)
            assert store.reads.action(name) == before


@pytest.mark.parametrize("state", sorted(set(State) - OPENINGS))
async def test_an_action_cannot_be_opened_as_anything_but_an_opening(store: AnyStore, state: State) -> None:
    with pytest.raises(NoSuchTransition):
        await store.commit(lambda tx: tx.open(action(state=state), (), record()))
    assert store.reads.action("act_1") is None


@pytest.mark.promise("P1")
async def test_a_move_without_a_record_cannot_be_written(store: AnyStore) -> None:
    await store.commit(lambda tx: tx.open(action(state=State.WAITING), (), record()))
    with pytest.raises(ValueError, match="record"):
        await store.commit(lambda tx: tx.move("act_1", 1, Event.APPROVE))
    found = store.reads.action("act_1")
    assert found is not None
    assert found.state is State.WAITING
