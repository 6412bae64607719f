"""Counts that are kept in memory never differ from what the table of claims says."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from remit.adapters.store.memory import MemoryStore
from remit.adapters.store.sqlite import open_store
from remit.flow.ports import Transaction
from remit.model.words import Event, State
from tests.adapters.store import samples as a

WINDOW = 10
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["open", "end", "reserve", "fail", "ask"]),
        st.integers(0, 7),
        st.lists(st.sampled_from(["WS-1", "WS-2", "DC"]), unique=True, max_size=2).map(tuple),
        st.integers(0, 6),
    ),
    max_size=60,
)


def _do(tx: Transaction, what: str, name: str, on: tuple[str, ...], at: int) -> Any:
    if what in ("open", "fail"):
        claims = [a.claim(name, target, agent="hunt" if at % 3 else "triage") for target in on]
        tx.open(a.action(name, targets=on, state=State.EXECUTING, opened_at=at), claims, a.record(at=at))
    elif what == "end":
        tx.move(name, 1, Event.SUCCEED, a.record(at=at), ended_at=at)
    elif what == "reserve":
        tx.reserve([a.claim(name, "DC", category="host.release")])
        tx.append(a.record(at=at))
    if what == "fail":
        raise LookupError
    windows = [a.window(at - WINDOW, *names) for names in (("host.isolate",), ("host.*", "x"), ("host.release",))]
    return [tx.used([each]) for each in (*windows, a.window(at - WINDOW, "*", agents=("hunt",)))]


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_windows_that_move_on_say_what_a_store_without_kept_counts_says(
    steps: list[tuple[str, int, tuple[str, ...], int]],
) -> None:
    async def both() -> None:
        at = 100
        for what, number, on, later in steps:
            at += later
            answers = []
            for store in (memory, disk):
                try:
                    answers.append(await store.commit(lambda tx: _do(tx, what, f"act_{number}", on, at)))  # noqa: B023
                except Exception as error:
                    answers.append(type(error))
            assert answers[0] == answers[1]

    with tempfile.TemporaryDirectory() as folder:
        memory, disk = MemoryStore(), open_store(Path(folder) / "remit.db")
        try:
            asyncio.run(both())
        finally:
            disk.close()


async def test_a_claim_that_another_process_wrote_is_counted(tmp_path: Path) -> None:
    first, second = open_store(tmp_path / "remit.db"), open_store(tmp_path / "remit.db")
    try:
        for number, store in enumerate((first, second, first)):
            name = f"act_{number}"
            used = await store.commit(lambda tx: tx.used([a.window(0)])["Q"])
            assert used.actions == number
            await store.commit(lambda tx: tx.open(a.action(name), [a.claim(name)], a.record()))  # noqa: B023
    finally:
        first.close()
        second.close()
