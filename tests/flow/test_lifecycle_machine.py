"""Random interleavings of everything that can happen to actions, judged by what really happened in the lab.

The model knows little: which stops have returned, which actions were seen unknown and were not settled. Everything else
is asked of the lab's effects: each had a durable intent (P1), the approvals that its ruling asked for, once (P4), came
after no stop that had returned (P6), and on no target of which something was unknown, but by a human's word (P7).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
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

from remit.flow import carrying
from remit.flow.in_flight import subject_of
from remit.flow.lifecycle import Stale, unsettled
from remit.gates import stop
from remit.gates.stop import Latch
from remit.model.errors import CommitUnknown, NotCommitted, NotVerified, Refusal
from remit.model.words import (
    REMIT,
    Action,
    Approval,
    Decision,
    Effect,
    Run,
    ScopeKind,
    State,
    StopMode,
    StopOrder,
)
from tests.flow.home import Files
from tests.flow.world import Crash, World, memory

T = TypeVar("T")

HOSTS = ("WS-1", "laptop-1", "WS-2", "WS-P", "SRV-1", "DC-1")
OUTCOMES = ("answer", "answer", "hang", "hang", "error", "not_sent", "lost", "lost_before", "refused", "garbage")
HAPPENED = (State.DONE, State.UNKNOWN, State.CUT, State.EXECUTING)
SCOPES = (
    (ScopeKind.EVERYTHING, ""),
    (ScopeKind.AGENT, "triage"),
    (ScopeKind.AGENT, "hunt"),
    (ScopeKind.CONNECTOR, "edr"),
    (ScopeKind.CATEGORY, "host.*"),
    (ScopeKind.TARGET, "WS-1"),
)
POINTS = ("proposing", "intended", "deciding", "approved", "executing", "set out", "minted", "handing over", "answered")


class Lifecycle(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stopped: list[StopOrder] = []
        self.unknown: set[str] = set()
        self.votes: list[Approval] = []
        self.settling = False

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it on the machine's own loop, to its end."""
        return self.loop.run_until_complete(asyncio.wait_for(work, 20))

    def teardown(self) -> None:
        self.run(self.world.crash())
        self.loop.close()

    @initialize(uncuttable=st.booleans(), shared=st.booleans())
    def begin(self, uncuttable: bool, shared: bool) -> None:
        self.run(self._begin(uncuttable, shared))

    async def _begin(self, uncuttable: bool, shared: bool) -> None:
        self.world = await World.begin(files=Files({"hold_after": "5", "most_targets": "20", "most_actions": "200"}))
        self.world.lab.shared_process = shared
        if uncuttable:
            self.world.lab.uncuttable.add("edr")
        targets = ("WS-1", "WS-2", "WS-P", "SRV-1", "j.doe")
        self.runs: list[Run] = [
            await self.world.open(*targets, seconds=86_400),
            await self.world.open(*targets, seconds=86_400, agent="hunt"),
        ]
        self.world.lab.forbidden = self._why_not

    def _why_not(self, action_id: str) -> str:
        """Why an action must not reach a connector now, by what the model knows."""
        action = self.world.action(action_id)
        if action.agent == REMIT and self.settling:
            return ""
        order = stop.refusing(Latch(tuple(self.stopped)), subject_of(action))
        if order is not None:
            return f"`{order.id}` had returned"
        if action.effect is Effect.READ or self.world.durable.reads.approvals(action_id):
            return ""
        for other in self.world.actions(State.UNKNOWN, State.CUT):
            holds = unsettled(other) and other.effect is not Effect.READ
            if holds and other.connector == action.connector and {*other.targets} & {*action.targets}:
                return f"what became of `{other.id}` on its target is not known"
        return ""

    # --- what can happen -------------------------------------------------------------------------------------------

    async def _attempt(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something that a fault, a crash or a refusal may befall; a node that is in doubt or dead starts again."""
        try:
            await work
        except (Crash, CommitUnknown):
            await self._restart(landing=False)
        except (NotCommitted, Refusal, NotVerified, Stale):
            pass
        if self.world.store.dead:
            await self._restart(landing=False)
        await self.world.settle_down()

    async def _restart(self, *, landing: bool) -> None:
        self.world.at.clear()
        memory(self.world)._faults.clear()
        await self.world.crash(landing=landing)
        await self.world.start()

    @rule(which=st.sampled_from([0, 0, 1]), host=st.sampled_from(HOSTS), outcome=st.sampled_from(OUTCOMES))
    def isolate(self, which: int, host: str, outcome: str) -> None:
        self.world.lab.next("isolate_host", outcome)
        self.run(self._attempt(self.world.propose(self.runs[which], "edr__isolate_host", host=host)))

    @rule(outcome=st.sampled_from(OUTCOMES))
    def isolate_two(self, outcome: str) -> None:
        self.world.lab.next("isolate_hosts", outcome)
        self.run(self._attempt(self.world.propose(self.runs[0], "edr__isolate_hosts", hosts=["WS-2", "WS-1"])))

    @rule(outcome=st.sampled_from(OUTCOMES))
    def disable(self, outcome: str) -> None:
        self.world.lab.next("disable_account", outcome)
        self.run(self._attempt(self.world.propose(self.runs[0], "idp__disable_account", account="j.doe")))

    @rule()
    def read(self) -> None:
        self.run(self._attempt(self.world.propose(self.runs[0], "edr__host_status", host="WS-1")))

    @rule(data=st.data(), person=st.sampled_from(["ann", "bob", "olga", "oz", "cyd"]), yes=st.booleans())
    def vote(self, data: st.DataObject, person: str, yes: bool) -> None:
        waiting = self.world.actions(State.WAITING)
        if waiting:
            action = data.draw(st.sampled_from(waiting))
            vote = self.world.vote(action, person, verb="approve" if yes or person == "ann" else "reject")
            self.votes.append(vote)
            self.run(self._attempt(self.world.decide(vote)))

    @precondition(lambda self: self.votes)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        vote = data.draw(st.sampled_from(self.votes))
        self.run(self._attempt(self.world.decide(vote)))

    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        waiting = self.world.actions(State.WAITING, State.APPROVED)
        if waiting:
            self.run(self._attempt(self.world.steward.withdraw(data.draw(st.sampled_from(waiting)), "agent")))

    @rule(seconds=st.sampled_from([1, 60, 900, 1800]))
    def time_passes(self, seconds: int) -> None:
        self.world.clock.advance(seconds)
        self.run(self._attempt(self.world.steward.expire()))

    @precondition(lambda self: self.world.lab.hanging)
    @rule(data=st.data(), answered=st.booleans())
    def release(self, data: st.DataObject, answered: bool) -> None:
        found = data.draw(st.sampled_from(sorted(self.world.lab.hanging)))
        self.world.lab.release(self.world.lab.hanging[found], answered=answered)
        self.run(self.world.settle_down())

    @rule(mode=st.sampled_from(list(StopMode)), scope=st.sampled_from(SCOPES))
    def stop(self, mode: StopMode, scope: tuple[ScopeKind, str]) -> None:
        self.run(self._stop(mode, scope))
        self.run(self.world.settle_down())

    async def _stop(self, mode: StopMode, scope: tuple[ScopeKind, str]) -> None:
        order = self.world.order(mode, *scope)
        before = [each for each in self.world.lab.hanging if self._in_scope(order, self.world.action(each))]
        report = self.world.desk.stop(order)
        self.stopped.append(order)
        if mode is StopMode.CUT:
            # INVARIANT (P6): everything that was in flight in its scope is severed, or listed
            listed = {*report.severed, *(each.action for each in report.may_still_land), *report.collateral}
            assert {each for each in before if self._alive(each)} <= listed

    def _alive(self, action_id: str) -> bool:
        return any(each.action.id == action_id for each in self.world.in_flight.executions())

    def _in_scope(self, order: StopOrder, action: Action) -> bool:
        return stop.refusing(Latch((order,)), subject_of(action)) is not None

    @rule(point=st.sampled_from(POINTS), mode=st.sampled_from(list(StopMode)), scope=st.sampled_from(SCOPES))
    def stop_at_a_point(self, point: str, mode: StopMode, scope: tuple[ScopeKind, str]) -> None:
        def happens() -> None:
            order = self.world.order(mode, *scope)
            self.world.desk.stop(order)
            if point != "handing over":  # there it is already decided, and the stop lists it
                self.stopped.append(order)

        self.world.at[point] = happens

    @rule()
    def resume(self) -> None:
        async def lift() -> None:
            await self.world.resume("lena")
            self.stopped.clear()

        self.run(self._attempt(lift()))

    @rule(landing=st.booleans())
    def crash(self, landing: bool) -> None:
        self.run(self._restart(landing=landing))
        self.run(self.world.settle_down())

    @rule(commits=st.integers(1, 4))
    def crash_after_some_commits(self, commits: int) -> None:
        self.world.store.dies_after = self.world.store.steps + commits

    @rule(form=st.sampled_from(["not_applied", "applied_answer_lost"]), after=st.integers(0, 3))
    def disk_fault(self, form: Any, after: int) -> None:
        memory(self.world).fail_next(form, after=after)

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        waiting = self.world.settling.unsettled()
        if not waiting:
            return
        action = data.draw(st.sampled_from(waiting))
        if action.id in self.world.lab.hanging:
            self.world.lab.release(self.world.lab.hanging[action.id])
        applied = self.world.lab.times(action.id) == 1 or action.effect is Effect.READ
        self.unknown.discard(action.id)
        self.run(self._attempt(self.world.settling.settle(action.id, applied, "bob")))

    # --- what must hold --------------------------------------------------------------------------------------------

    @invariant()
    def the_lab_saw_nothing_that_must_not_be(self) -> None:
        assert self.world.lab.violations == []

    @invariant()
    def every_effect_has_its_approvals_and_every_state_tells_the_truth(self) -> None:
        effects = {each.action for each in self.world.lab.effects}
        for action in self.world.actions():
            if action.effect is Effect.READ:
                continue
            if action.id in effects:
                assert action.state in HAPPENED, action
                self._approved_as_asked(action)
            else:
                assert action.state is not State.DONE, action

    def _approved_as_asked(self, action: Action) -> None:
        if action.ruling.decision is not Decision.APPROVE:
            assert action.ruling.decision is Decision.AUTO
            return
        assert action.ruling.ask is not None
        given = self.world.durable.reads.approvals(action.id)
        people = {each.person for each in given if each.verb == "approve"}
        assert len(people) >= action.ruling.ask.quorum
        assert people.isdisjoint({"olga", "oz"}), "the owner and the opener never approve"
        assert not any(each.verb == "reject" for each in given)
        assert action.expires_at is not None
        assert action.intended_at is not None
        assert action.intended_at < action.expires_at

    @invariant()
    def what_is_unknown_stays_so_until_somebody_settles_it(self) -> None:
        for action_id in self.unknown:
            assert self.world.action(action_id).state is State.UNKNOWN
        self.unknown |= {each.id for each in self.world.actions(State.UNKNOWN)}

    @invariant()
    def what_hangs_in_the_register_executes_by_the_store(self) -> None:
        running = {each.action.id for each in self.world.in_flight.executions()}
        assert running <= {each.id for each in self.world.actions(State.EXECUTING)}


@pytest.mark.promise("P1")
@pytest.mark.promise("P4")
@pytest.mark.promise("P6")
@pytest.mark.promise("P7")
def test_no_interleaving_breaks_a_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrying, "RETRY_AFTER", (0.0, 0.0))
    run_state_machine_as_test(Lifecycle, settings=settings(max_examples=15, stateful_step_count=40, deadline=None))
