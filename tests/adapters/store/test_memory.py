"""The double keeps callers to what a step must be, and fails in both forms."""

from __future__ import annotations

import itertools

import pytest

from remit.adapters.store.memory import MemoryStore
from remit.flow.ports import Transaction
from remit.model.errors import CommitUnknown, NotCommitted
from tests.adapters.store import samples as a


async def test_a_step_that_is_not_fit_to_run_again_is_caught() -> None:
    numbers = itertools.count()

    def different(tx: Transaction) -> None:
        tx.append(a.record(at=next(numbers)))

    def only_once(tx: Transaction) -> None:
        if next(numbers) % 2:
            raise LookupError

    for step in (different, only_once):
        with pytest.raises(AssertionError, match="not fit to run again"):
            await MemoryStore().commit(step)


async def test_a_fault_comes_in_both_forms_once() -> None:
    store = MemoryStore()
    store.fail_next("not_applied")
    store.fail_next("applied_answer_lost", after=1)
    with pytest.raises(NotCommitted):
        await store.commit(lambda tx: tx.append(a.record("a")))
    with pytest.raises(CommitUnknown):
        await store.commit(lambda tx: tx.append(a.record("b")))
    await store.commit(lambda tx: tx.append(a.record("c")))
    assert [each.kind for each in store.reads.records()] == ["b", "c"]


async def test_a_sick_store_refuses_until_it_heals() -> None:
    store = MemoryStore()
    store.sicken("the disk is full")
    with pytest.raises(NotCommitted, match="the disk is full"):
        await store.commit(lambda tx: tx.append(a.record()))
    store.sicken("")
    store.commit_soon(lambda tx: tx.append(a.record()))
    assert store.reads.counts()["records"] == 1
