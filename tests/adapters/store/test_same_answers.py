"""Whatever steps come, the store on disk and the double in memory say the same."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from remit.adapters.store.memory import MemoryStore
from remit.adapters.store.sqlite import open_store
from remit.flow.ports import Transaction
from remit.flow.query import Query
from remit.model.words import Confidentiality, Effect, Event, Record, State
from tests.adapters.store import samples as a

IDS = st.sampled_from([f"act_{number}" for number in range(5)])
TARGETS = st.lists(st.sampled_from(["WS-1", "WS-2", "DC"]), unique=True, max_size=2).map(tuple)
CATEGORIES = st.sampled_from(["host.isolate", "host.release", "evidence.read"])
REVISIONS = st.integers(1, 4)
TIMES = st.integers(0, 50)
RECORDS = st.lists(st.builds(a.record, st.sampled_from(["x", "y"]), TIMES, action=IDS), max_size=2)


class BothStores(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.disk = open_store(Path(self.folder.name) / "remit.db")
        self.memory = MemoryStore()

    def teardown(self) -> None:
        if hasattr(self, "disk"):
            self.disk.close()
            self.loop.close()
            self.folder.cleanup()

    def both(self, step: Callable[[Transaction], Any]) -> None:
        answers = []
        for store in (self.memory, self.disk):
            try:
                answers.append(self.loop.run_until_complete(store.commit(step)))
            except Exception as error:
                answers.append(type(error))
        assert answers[0] == answers[1]

    @rule(
        name=IDS,
        state=st.sampled_from([State.EXECUTING, State.EXECUTING, State.WAITING, State.BLOCKED, State.DONE]),
        on=TARGETS,
        category=CATEGORIES,
        effect=st.sampled_from([Effect.READ, Effect.CHANGE]),
        bounded=st.booleans(),
        at=TIMES,
        records=RECORDS,
        claimed=st.booleans(),
        secret=st.booleans(),
    )
    def open(
        self, name: str, on: tuple[str, ...], claimed: bool, at: int, records: list[Record], secret: bool, **fields: Any
    ) -> None:
        secrets = f"{name}.secrets" if secret else ""
        action = a.action(name, targets=on, opened_at=at, fingerprint=f"fp-{len(on)}", secrets=secrets, **fields)
        claims = [a.claim(name, target, category=action.category) for target in action.targets if claimed]

        def step(tx: Transaction) -> Any:
            if secret:
                tx.put_payload(a.payload(secrets))
            return tx.open(action, claims, *records)

        self.both(step)

    @rule(
        name=IDS,
        expected=REVISIONS,
        event=st.sampled_from(Event),
        ended=st.one_of(st.none(), TIMES),
        handed_over=st.booleans(),
        records=RECORDS,
    )
    def move(
        self, name: str, expected: int, event: Event, ended: int | None, handed_over: bool, records: list[Record]
    ) -> None:
        changes = {"ended_at": ended, "handed_over": handed_over}
        self.both(lambda tx: tx.move(name, expected, event, *records, **changes))

    @rule(name=IDS, expected=REVISIONS, records=RECORDS, fail=st.booleans())
    def hand_over(self, name: str, expected: int, records: list[Record], fail: bool) -> None:
        def step(tx: Transaction) -> None:
            tx.note(name, expected, *records, handed_over=True)
            if fail:
                raise LookupError

        self.both(step)

    @rule(name=IDS, on=st.sampled_from(["WS-1", "DC"]), category=CATEGORIES, records=RECORDS)
    def reserve(self, name: str, on: str, category: str, records: list[Record]) -> None:
        def step(tx: Transaction) -> None:
            tx.reserve([a.claim(name, on, category=category)])
            for record in records:
                tx.append(record)

        self.both(step)

    @rule(name=IDS, records=RECORDS, secret=st.sampled_from(Confidentiality), at=st.integers(0, 10**10))
    def run_and_nonce(self, name: str, records: list[Record], secret: Confidentiality, at: int) -> None:
        def step(tx: Transaction) -> Any:
            if tx.run("run_1") is None:
                tx.put_run(a.run(), *records)
            tx.raise_label(a.run(), a.evidence(confidentiality=secret))
            tx.append(a.record(at=at))
            tx.note_refusal("triage", at)
            return tx.count_call("run_1"), tx.burn_nonce(name, at), tx.refusals("triage", at - 5)

        self.both(step)

    @rule(since=TIMES, on=TARGETS, agents=st.sampled_from([(), ("triage",), ("other",)]))
    def ask(self, since: int, on: tuple[str, ...], agents: tuple[str, ...]) -> None:
        windows = [a.window(since, category, agents=agents) for category in ("host.*", "*", "host.isolate", "no.*")]

        def step(tx: Transaction) -> Any:
            standing = sorted(each.id for each in tx.unsettled("edr", on))
            twins = [each and each.id for each in map(tx.open_twin, ("fp-0", "fp-1", "fp-2"))]
            return [tx.used([window]) for window in windows], standing, [bool(each) for each in twins]

        self.both(step)

    @invariant()
    def readers_see_the_same(self) -> None:
        if not hasattr(self, "disk"):
            return
        memory, disk = self.memory.reads, self.disk.reads
        assert memory.counts() == disk.counts()
        assert memory.records() == disk.records()
        assert memory.runs() == disk.runs()
        for name in (f"act_{number}.secrets" for number in range(5)):
            assert memory.payload(name) == disk.payload(name)
        for query in (Query(), Query(case="c2"), Query(states=("executing", "cut")), Query(until=20, limit=2)):
            assert memory.actions(query) == disk.actions(query)


TestBothStores = BothStores.TestCase
TestBothStores.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
