"""The road that every action takes: `propose` up to a decided row in the store, `execute` from that row on.

    agent proposes ─► stopped? ─► boundary ─┬─ forbidden ─────────────► blocked, recorded, alert
                                            ├─ needs approval ─► human ─┬─ rejects / expires ─► blocked, recorded, alert
                                            │                           └─ approves ─┐
                                            └─ auto ─────────────────────────────────┤
        ┌────────────────────────────────────────────────────────────────────────────┘
        └► validation, ruling again ─► INTENT durable ─► warrant ─► stopped? + hand over ─► executed ─► OUTCOME durable

What lives here: the order of the gates. What never may: a rule of a gate, SQL, MCP, a clock of its own.

INVARIANT: the ruling, the share of the quotas and the intent are one synchronous step on the store's writer, so two
calls cannot share the last slot. Waiting for a human is a row, never a suspended coroutine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from remit.flow.carrying import Carrier
from remit.flow.citing import cited
from remit.flow.concluding import Concluding, is_conclusion
from remit.flow.drafts import Call, Draft, draft
from remit.flow.force import Force, Forces
from remit.flow.hints import Hints
from remit.flow.in_flight import InFlight, Stopped
from remit.flow.lifecycle import Stale
from remit.flow.points import Hook, nothing
from remit.flow.ports import Alerts, Clock, Ids, Store, Transaction
from remit.flow.reruling import Reruling
from remit.flow.rulings import Rulings, Spent
from remit.flow.stopping import Stops
from remit.gates import journal
from remit.gates.journal import Pseudonyms
from remit.model.errors import Fault, Refusal
from remit.model.words import (
    SECOND,
    Action,
    Approval,
    Claim,
    Clause,
    Decision,
    Effect,
    Event,
    Instant,
    Payload,
    Ruling,
    State,
    StopOrder,
)

OWN_READ_SECONDS = 60.0
STUCK_AFTER: Instant = 70 * SECOND

log = logging.getLogger("remit.flow")


class Moved(Exception):
    """What was in force changed between drafting and committing: draft again."""


class Unasked(Exception):
    """It may go on by itself after all, and its preconditions were not asked: ask them, then rule again."""


class Steward:
    """See the module. One per node; its methods run on the event loop, its steps on the store's writer."""

    def __init__(
        self,
        *,
        store: Store,
        forces: Forces,
        stops: Stops,
        in_flight: InFlight,
        carrier: Carrier,
        concluding: Concluding,
        rulings: Rulings,
        reruling: Reruling,
        clock: Clock,
        ids: Ids,
        alerts: Alerts,
        names: Pseudonyms,
        hints: Hints,
        fingerprint_key: bytes,
        point: Hook = nothing,
    ) -> None:
        self._store = store
        self._forces = forces
        self._stops = stops
        self._in_flight = in_flight
        self._carrier = carrier
        self._concluding = concluding
        self._rulings = rulings
        self._reruling = reruling
        self._clock = clock
        self._ids = ids
        self._alerts = alerts
        self._names = names
        self._hints = hints
        self._fingerprint_key = fingerprint_key
        self._point = point

    # --- propose: from the call to blocked, waiting, or on its way ---------------------------------------------

    async def propose(self, call: Call) -> tuple[Action, Draft]:
        """Take a call up to its ruling, and start it where the ruling is `auto`.

        Returns the action as it stands (an open twin's, if the same is already under way) and its draft. Raises
        `Fault` where the proposal could not be recorded, and `Spent` for a run that calls on beyond its budget: then
        nothing was started.
        """
        ask = False
        while True:
            proposed = draft(call, self._forces.current, self._ids, self._fingerprint_key)
            ask = ask or self._may_go_alone(proposed)
            if ask:
                proposed = proposed.refused_by(*await self._reruling.preconditions(proposed, self.read_for))
            self._point("proposing")
            try:
                action = await self._store.commit(partial(self._propose_step, proposed, ask))
                break
            except Moved:
                continue
            except Unasked:
                ask = True
        if action is None:
            raise Spent(call.run)
        if action.id == proposed.action_id:
            await self._after_proposal(action, proposed)
        return action, proposed

    def _propose_step(self, proposed: Draft, asked: bool, tx: Transaction) -> Action | None:
        if proposed.force is not self._forces.current:
            raise Moved
        twin = self._twin(tx, proposed)
        if twin is not None:
            return twin
        at = self._clock.now()
        run, standing = self._rulings.standing(tx, proposed.call, at)
        if run.calls > run.max_calls + 1:
            return None
        ruling = self._rulings.worth_asking(proposed, self._rulings.rule(tx, proposed, run, standing, at))
        by_human = (proposed.call.human,) if proposed.call.human else ()
        goes_on = ruling.decision is Decision.AUTO or (bool(by_human) and _one_is_enough(ruling))
        if goes_on and not asked and proposed.call.tool.manifest.preconditions:
            raise Unasked
        state = _opening(ruling, goes_on=goes_on)
        kept = proposed.payloads(state)
        for payload in kept:
            tx.put_payload(payload)
        payloads = journal.commits(*kept)
        reasons = journal.reasons(proposed.rationale, cited(tx, proposed.rationale), run.id, at, self._names)
        if state is State.EXECUTING:
            action = proposed.action(run, state, ruling, at, decided_at=at, intended_at=at)
            claims = self.claims(action)
            return tx.open(
                action,
                claims,
                journal.proposal(action, at, self._names, payloads, reasons),
                journal.intent(action, at, ruling, by_human, self._names),
                *proposed.call.records,
            )
        if state is State.WAITING:
            assert ruling.ask is not None
            until = at + ruling.ask.answer_within
            if not by_human:
                until = min(until, run.expires_at)
            action = proposed.action(run, state, ruling, at, expires_at=until)
            return tx.open(
                action, (), journal.proposal(action, at, self._names, payloads, reasons), *proposed.call.records
            )
        action = proposed.action(run, state, ruling, at, decided_at=at, ended_at=at)
        blocked = tx.open(action, (), journal.proposal(action, at, self._names, payloads, reasons))
        for record in self._rulings.refused(tx, action, "forbidden", at):
            tx.append(record)
        return blocked

    def _twin(self, tx: Transaction, proposed: Draft) -> Action | None:
        if proposed.effect is Effect.READ or proposed.problems or proposed.call.human:
            return None
        return tx.open_twin(proposed.fingerprint)

    async def _after_proposal(self, action: Action, proposed: Draft) -> None:
        match action.state:
            case State.EXECUTING:
                self._point("intended")
                await self._set_out(action, proposed)
            case State.WAITING:
                self._alerts.send({"code": "waiting", "action": action.id, "agent": action.agent})
            case State.BLOCKED:
                await self._refused(action, "forbidden")

    async def _refused(self, action: Action, code: str) -> None:
        """Tell of a refusal; where it was one too many, put the hold in force that its step has written."""
        self.tell(action, code)
        order = self._rulings.latch_hold(action.agent)
        if order is not None:
            self.tell(action, "repeated")
            await self.void(order)

    def _may_go_alone(self, proposed: Draft) -> bool:
        """Whether its preconditions are worth asking: nothing that is known now stops the action anyway."""
        if proposed.problems or not proposed.call.tool.manifest.preconditions or self._rulings.spent(proposed.call):
            return False
        return self._stops.check(proposed.subject()) is None and self._rulings.might_be_auto(proposed)

    # --- decide: a human's signed statement --------------------------------------------------------------------

    async def decide(self, approval: Approval, verify: Callable[[Action, Force], None]) -> Action:
        """Count one person's statement, and execute where it was the last one needed.

        `verify` raises a `Refusal` unless the statement is good for this action under this force; it runs inside the
        step. Raises `Refusal` for an action that is not waiting.
        """
        self._point("deciding")
        payload = journal.statement(self._ids.new("vot"), self._ids.salt(), approval.statement, approval.signature)
        action = await self._store.commit(partial(self._decide_step, approval, payload, verify))
        self._hints.changed(action.id)
        if action.state is State.APPROVED:
            self._point("approved")
            await self.execute(action.id)
        elif action.state is State.REJECTED:
            await self._refused(action, "rejected")
        return self._store.reads.action(action.id) or action

    def _decide_step(
        self, approval: Approval, payload: Payload, verify: Callable[[Action, Force], None], tx: Transaction
    ) -> Action:
        at = self._clock.now()
        action = tx.action(approval.action)
        if action is None:
            raise Refusal(f"there is no action `{approval.action}`", hint="`remit approvals` lists what waits")
        if action.state is not State.WAITING:
            raise Refusal(f"action `{action.id}` is `{action.state}`, not waiting", state=action.state)
        if action.expires_at is not None and at >= action.expires_at:
            raise Refusal(f"action `{action.id}` expired while it waited", state=State.EXPIRED)
        force = self._forces.current
        verify(action, force)
        person, payloads = self._names.person(approval.person), journal.commits(payload)
        vote = journal.of_action("vote", at, action, person=person, verb=approval.verb, payloads=payloads)
        tx.put_payload(payload)
        tx.put_approval(approval, vote)
        if approval.verb == "reject":
            records = self._rulings.refused(tx, action, "rejected", at)
            return tx.move(action.id, action.revision, Event.REJECT, *records, decided_at=at, ended_at=at)
        if not self._reruling.approved(action, tx.approvals(action.id), force):
            return action
        approved = journal.of_action("approved", at, action)
        return tx.move(action.id, action.revision, Event.APPROVE, approved, decided_at=at)

    # --- execute: from an approved row ---------------------------------------------------------------------------

    async def execute(self, action_id: str) -> None:
        """Carry out an approved action: validate, rule again, write the intent, set out. Safe to call twice."""
        action = self._store.reads.action(action_id)
        if action is None or action.state is not State.APPROVED:
            return
        if is_conclusion(action):
            await self._conclude(action)
            return
        while True:
            again = self._reruling.redraft(action, self._forces.current)
            unmet = () if isinstance(again, Clause) else await self._reruling.preconditions(again, self.read_for)
            self._point("executing")
            try:
                moved = await self._store.commit(partial(self._execute_step, action, again, unmet))
                break
            except Moved:
                continue
            except Stale:
                return
        self._hints.changed(action_id)
        if moved.state is State.EXECUTING and isinstance(again, Draft):
            self._point("set out")
            await self._set_out(moved, again)
        elif moved.state is State.BLOCKED:
            self.tell(moved, "refused")
        elif moved.state is State.WAITING:
            self._alerts.send({"code": "waiting", "action": moved.id, "agent": moved.agent})

    async def _conclude(self, action: Action) -> None:
        """Carry out an approved verdict: nothing leaves Remit, so intent, verdict and outcome are one commit."""
        moved = await self._concluding.carry_out(action)
        if moved is not None and moved.state is State.BLOCKED:
            self.tell(moved, "refused")
        elif moved is not None and moved.state is State.WAITING:
            self._alerts.send({"code": "waiting", "action": moved.id, "agent": moved.agent})

    def _execute_step(
        self, action: Action, again: Draft | Clause, unmet: tuple[Clause, ...], tx: Transaction
    ) -> Action:
        at = self._clock.now()
        if isinstance(again, Clause):
            ruling = Ruling(decision=Decision.FORBID, clauses=(again,), boundary=self._forces.current.boundary_digest)
            return self._refuse(tx, action, ruling, at)
        if again.force is not self._forces.current:
            raise Moved
        approvals = tx.approvals(action.id)
        verdict = self._reruling.verdict(tx, action, again, approvals, unmet, at)
        ruling = verdict.ruling
        match verdict.outcome:
            case Event.INTEND:
                tx.reserve(self.claims(action, at))
                people = tuple(approval.person for approval in approvals if approval.verb == "approve")
                intent = journal.intent(action, at, ruling, people, self._names)
                return tx.move(action.id, action.revision, Event.INTEND, intent, intended_at=at, ruling=ruling)
            case Event.EXPIRE:
                return self._expired(tx, action, at)
            case Event.ASK_AGAIN:
                ids = journal.listed(ruling.clauses)
                anew = journal.of_action("asked.again", at, action, clauses=ids, ruling=journal.ruled(ruling))
                return tx.move(action.id, action.revision, Event.ASK_AGAIN, anew, ruling=ruling)
        return self._refuse(tx, action, ruling, at)

    def _refuse(self, tx: Transaction, action: Action, ruling: Ruling, at: Instant) -> Action:
        refused = journal.of_action("refused", at, action, ruling=journal.ruled(ruling))
        told = journal.of_action("alert", at, action, code="refused")
        return tx.move(action.id, action.revision, Event.REFUSE, refused, told, ruling=ruling, ended_at=at)

    # --- withdraw, expire, void, recover -------------------------------------------------------------------------

    async def withdraw(self, action: Action, by: str = journal.AGENT) -> Action:
        """Take back a proposal that has not been executed. `by` is a person's pseudonym, or the agent. Raises `Refusal`
        where it is too late."""

        def step(tx: Transaction) -> Action:
            now = tx.action(action.id)
            if now is None or now.state not in (State.WAITING, State.APPROVED):
                raise Refusal(f"action `{action.id}` can no longer be withdrawn", state=now.state if now else "blocked")
            at = self._clock.now()
            record = journal.of_action("withdrawn", at, now, by=by)
            return tx.move(now.id, now.revision, Event.WITHDRAW, record, ended_at=at)

        moved = await self._store.commit(step)
        self._hints.changed(action.id)
        return moved

    async def expire(self) -> int:
        """Reject what nobody answered in time. Returns how many expired."""
        count = 0
        at = self._clock.now()
        for action in self._reruling.waiting():
            if action.expires_at is None or at < action.expires_at:
                continue
            try:
                moved = await self._store.commit(partial(self._expire_step, action))
            except Stale:
                continue
            self._hints.changed(action.id)
            self.tell(moved, "expired")
            count += 1
        return count

    def _expire_step(self, action: Action, tx: Transaction) -> Action:
        return self._expired(tx, action, self._clock.now())

    def _expired(self, tx: Transaction, action: Action, at: int) -> Action:
        expired = journal.of_action("expired", at, action)
        told = journal.of_action("alert", at, action, code="expired")
        return tx.move(action.id, action.revision, Event.EXPIRE, expired, told, ended_at=at)

    async def go_on(self) -> None:
        """Execute what was approved a while ago and has not set out: its intent could not be recorded then."""
        late = self._clock.now() - STUCK_AFTER
        for action in self._reruling.waiting():
            if action.state is State.APPROVED and (action.decided_at or 0) < late:
                await self.execute(action.id)

    async def void(self, order: StopOrder) -> tuple[str, ...]:
        """Void every waiting or approved action that a stop covers. Returns their ids."""
        voided = []
        for action in self._reruling.waiting():
            if not self._reruling.covered(order, action):
                continue

            def step(tx: Transaction, action: Action = action) -> Action:
                at = self._clock.now()
                record = journal.of_action("void", at, action, stop=order.id)
                return tx.move(action.id, action.revision, Event.VOID, record, ended_at=at, outcome="stopped")

            try:
                await self._store.commit(step)
            except Stale:
                continue
            except Fault:
                log.warning("could not record that %s is void; the latch refuses it all the same", action.id)
                continue
            voided.append(action.id)
            self._hints.changed(action.id)
        return tuple(voided)

    async def recover(self) -> tuple[str, ...]:
        """After a start: what was executing is now unknown, what a stop covers is void, what is approved goes on.

        Returns the ids of the actions that became unknown.
        """
        lost = []
        for action in self._reruling.executing():
            await self._store.commit(partial(self._lose_step, action))
            lost.append(action.id)
        for order in self._stops.current.orders:
            await self.void(order)
        await self.expire()
        for action in self._reruling.waiting():
            if action.state is State.APPROVED:
                await self.execute(action.id)
        return tuple(lost)

    def _lose_step(self, action: Action, tx: Transaction) -> Action:
        at = self._clock.now()
        why = "the gateway ended while it was on its way"
        record = journal.of_action("outcome", at, action, state=State.UNKNOWN, why="crash", warrant=action.warrant)
        told = journal.of_action("alert", at, action, code="unknown")
        return tx.move(action.id, action.revision, Event.LOSE, record, told, ended_at=at, outcome=why, handed_over=True)

    # --- shared ----------------------------------------------------------------------------------------------------

    async def read_for(self, call: Call) -> tuple[Action, bytes]:
        """One of Remit's own reads, down the same road, to its end. Returns the action and the raw result."""
        action, _ = await self.propose(call)
        while action.state is State.EXECUTING:
            finished = self._hints.finished(action.id)
            if finished is not None:
                return finished.action, finished.result
            if not await self._hints.change(action.id, OWN_READ_SECONDS):
                break
        return action, b""

    async def _set_out(self, action: Action, draft: Draft) -> None:
        carry = partial(
            self._carrier.carry,
            tool=draft.call.tool,
            arguments=draft.arguments.encode(),
            evidence_id=draft.evidence_id,
            witnessed=self._rulings.to_be_witnessed(draft, action.ruling),
        )
        try:
            self._in_flight.start(action, carry, past_stops=draft.call.past_stops)
        except Stopped as stopped:
            await self._carrier.not_started(action, stopped.order)

    def claims(self, action: Action, at: int | None = None) -> tuple[Claim, ...]:
        """The action's share of the quotas: one per target, or one without a target."""
        start = action.opened_at if at is None else at
        names = dict.fromkeys(action.targets) or ("",)
        return tuple(Claim(action.id, action.agent, action.category, name, start) for name in names)

    def tell(self, action: Action, code: str) -> None:
        """Send the alert that the journal already holds to whoever listens."""
        self._alerts.send(
            {
                "code": code,
                "action": action.id,
                "agent": action.agent,
                "run": action.run,
                "case": action.case,
                "category": action.category,
                "connector": action.connector,
                "clauses": journal.clause_ids(action.ruling.clauses),
            }
        )


def _opening(ruling: Ruling, *, goes_on: bool) -> State:
    """The state in which an action opens under its first ruling."""
    if goes_on:
        return State.EXECUTING
    return State.WAITING if ruling.decision is Decision.APPROVE else State.BLOCKED


def _one_is_enough(ruling: Ruling) -> bool:
    """Whether the one person who ordered the action is all that the boundary asks for."""
    return ruling.decision is Decision.APPROVE and ruling.ask is not None and ruling.ask.quorum <= 1
