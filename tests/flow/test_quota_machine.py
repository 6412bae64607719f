"""Quotas against a naive model of a sliding window: a list of what was started, and when it could have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from remit.flow.lifecycle import OPEN, unsettled
from remit.flow.rulings import MOST_WAITING
from remit.model.words import MINUTE, Action, Instant, Run, State
from tests.flow.home import Files
from tests.flow.world import World

T = TypeVar("T")
HOSTS = tuple(f"WS-{number}" for number in range(1, 7))
WINDOW = 15 * MINUTE
OUTCOMES = ("answer", "answer", "answer", "hang", "lost", "lost_before", "not_sent", "error")


@dataclass
class Started:
    """Something that went by itself. `ended` is None while it may still have an effect."""

    action: str
    targets: frozenset[str]
    ended: Instant | None = None


class Quotas(RuleBasedStateMachine):
    """See the module. Nobody approves anything here, so all that happens went by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.started: list[Started] = []
        self.effects: list[tuple[Instant, frozenset[str]]] = []
        self.calls = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it on the machine's own loop, to its end."""
        return self.loop.run_until_complete(asyncio.wait_for(work, 20))

    def teardown(self) -> None:
        self.run(self.world.crash())
        self.loop.close()

    @initialize(distinct=st.integers(1, 4), actions=st.sampled_from([3, 30, 30]))
    def begin(self, distinct: int, actions: int) -> None:
        self.most_targets, self.most_actions = distinct, actions
        self.run(self._begin())

    async def _begin(self) -> None:
        values = {"most_targets": str(self.most_targets), "most_actions": str(self.most_actions)}
        self.world = await World.begin(files=Files(values))
        self.runs: list[Run] = [
            await self.world.open(*HOSTS, seconds=86_400),
            await self.world.open(*HOSTS, seconds=86_400, agent="hunt"),
        ]

    # --- the model -------------------------------------------------------------------------------------------------

    def _fits(self, targets: frozenset[str]) -> bool:
        since = self.world.clock.at - WINDOW
        counted = [each for each in self.started if each.ended is None or each.ended >= since]
        distinct = frozenset[str]().union(targets, *(each.targets for each in counted))
        return len(distinct) <= self.most_targets and len(counted) + 1 <= self.most_actions

    def _held(self, targets: frozenset[str]) -> bool:
        return any(each.targets & targets and unsettled(self.world.action(each.action)) for each in self.started)

    def _look(self) -> None:
        """Note what ended, and what happened, since the last look. The clock stood still meanwhile."""
        for each in self.started:
            action = self.world.action(each.action)
            if each.ended is None and action.state not in OPEN and not unsettled(action):
                each.ended = self.world.clock.at
        ids = {target: target for target in HOSTS} | {"host-0001": "WS-1"}
        for effect in self.world.lab.effects[len(self.effects) :]:
            named = frozenset(ids[target] for target in effect.targets)
            self.effects.append((self.world.clock.at, named))

    async def _call(self, which: int, tool: str, targets: frozenset[str], outcome: str, **arguments: Any) -> Action:
        self.calls += 1
        fits, held = self._fits(targets), self._held(targets)
        if fits and not held:
            self.world.lab.next(tool, outcome)
        if tool != "isolate_hosts":
            arguments["reason"] = str(self.calls)
        before = {each.id for each in self.world.actions()}
        queued = sum(each.run == self.runs[which].id and each.state is State.WAITING for each in self.world.actions())
        action = await self.world.propose(self.runs[which], f"edr__{tool}", **arguments)
        await self.world.settle_down()
        found = self.world.action(action.id)
        if action.id in before:
            return found  # a repeat of what is still open
        if fits and not held:
            assert found.state is not State.WAITING, found.ruling
            self.started.append(Started(action.id, targets))
        else:
            assert found.state is (State.WAITING if queued < MOST_WAITING else State.BLOCKED), found
        return found

    # --- what can happen -------------------------------------------------------------------------------------------

    @rule(which=st.sampled_from([0, 1]), host=st.sampled_from(HOSTS), outcome=st.sampled_from(OUTCOMES))
    def one(self, which: int, host: str, outcome: str) -> None:
        self.run(self._call(which, "isolate_host", frozenset([host]), outcome, host=host))
        self._look()

    @rule(
        hosts=st.lists(st.sampled_from(HOSTS), min_size=1, max_size=3, unique=True), outcome=st.sampled_from(OUTCOMES)
    )
    def batch(self, hosts: list[str], outcome: str) -> None:
        self.run(self._call(0, "isolate_hosts", frozenset(hosts), outcome, hosts=hosts))
        self._look()

    @rule(hosts=st.lists(st.sampled_from(HOSTS), min_size=2, max_size=6))
    def many_at_once(self, hosts: list[str]) -> None:
        self.run(self._many(hosts))
        self._look()

    async def _many(self, hosts: list[str]) -> None:
        proposals = []
        for host in hosts:
            self.calls += 1
            call = self.world.call(self.runs[0], "edr__isolate_host", host=host, reason=str(self.calls))
            proposals.append(self.world.steward.propose(call))
        actions = [action for action, _ in await asyncio.gather(*proposals)]
        await self.world.settle_down()
        self.started += [
            Started(each.id, frozenset(each.targets))
            for each in actions
            if self.world.action(each.id).state not in (State.WAITING, State.BLOCKED)
        ]

    @rule(seconds=st.sampled_from([1, 100, 300, 450, 899, 900, 901]))
    def time_passes(self, seconds: int) -> None:
        self.world.clock.advance(seconds)

    @precondition(lambda self: self.world.lab.hanging)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        found = data.draw(st.sampled_from(sorted(self.world.lab.hanging)))
        self.world.lab.release(self.world.lab.hanging[found])
        self.run(self.world.settle_down())
        self._look()

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        waiting = self.world.settling.unsettled()
        if waiting:
            action = data.draw(st.sampled_from(waiting))
            applied = self.world.lab.times(action.id) == 1
            self.run(self.world.settling.settle(action.id, applied, "bob"))
            self._look()

    @rule(landing=st.booleans())
    def crash(self, landing: bool) -> None:
        self.run(self.world.restart(landing=landing))
        self._look()

    # --- what must hold --------------------------------------------------------------------------------------------

    @invariant()
    def no_window_holds_more_distinct_targets_than_the_quota_says(self) -> None:
        for start, _ in self.effects:
            seen = [targets for at, targets in self.effects if start <= at <= start + WINDOW]
            assert len(frozenset[str]().union(*seen)) <= self.most_targets
            assert len(seen) <= self.most_actions

    @invariant()
    def the_lab_saw_nothing_that_must_not_be(self) -> None:
        assert self.world.lab.violations == []


@pytest.mark.promise("P10")
def test_quotas_agree_with_a_naive_count_in_every_interleaving() -> None:
    run_state_machine_as_test(Quotas, settings=settings(max_examples=15, stateful_step_count=30, deadline=None))
