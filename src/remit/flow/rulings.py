"""Asking the boundary inside a step, with everything else that may tighten the answer.

What lives here: gathering what a ruling needs from the transaction, and what follows from a refusal. What never may:
loosening what the boundary says.
"""

from __future__ import annotations

import msgspec

from remit.flow.drafts import Call, Draft
from remit.flow.force import Forces
from remit.flow.in_flight import InFlight
from remit.flow.lifecycle import unsettled
from remit.flow.ports import Clock, Log, Reads, Transaction, Witnesses
from remit.flow.query import Query
from remit.flow.stopping import Stops
from remit.gates import journal, stop
from remit.model.errors import Refusal
from remit.model.words import (
    SECOND,
    Action,
    Clause,
    Decision,
    Effect,
    Instant,
    Record,
    Ruling,
    Run,
    Scope,
    ScopeKind,
    State,
    StopMode,
    StopOrder,
    Used,
)

ORPHANED_AFTER = 5 * SECOND
MOST_WAITING = 50
"""Proposals of one run that may wait for humans at once: asks are scarce, and a flood of cards hides the one."""
NOT_THE_AGENTS_FAULT = ("stop", "run", "budget", "clock", "log", "witness")
MALFORMED = ("validation.", "intake.")
_order = msgspec.json.Decoder(StopOrder)


class Spent(Refusal):
    """The run calls on after its budget was used up and one refusal has said so: only counted, so that no agent fills
    the store."""

    def __init__(self, run: Run) -> None:
        clause = _used_up(run)
        super().__init__(clause.says, hint="a human or an orchestrator opens another run", clauses=[clause])


def hold_fact(agent: str) -> str:
    """The name of the fact that keeps an automatic hold across a crash."""
    return f"hold:{agent}"


class Rulings:
    """See the module. Methods that take a transaction run on the store's writer."""

    def __init__(
        self,
        *,
        forces: Forces,
        stops: Stops,
        in_flight: InFlight,
        clock: Clock,
        reads: Reads,
        log: Log,
        witnesses: Witnesses,
    ) -> None:
        self._forces = forces
        self._stops = stops
        self._in_flight = in_flight
        self._clock = clock
        self._reads = reads
        self._log = log
        self._witnesses = witnesses

    def standing(self, tx: Transaction, call: Call, at: Instant) -> tuple[Run, tuple[Clause, ...]]:
        """The run as it stands in the store, this call counted, and the clauses that its end or budget adds."""
        if call.own or call.human:
            return call.run, ()
        run = tx.count_call(call.run.id)
        if run is None:
            return call.run, (Clause("run", Decision.FORBID, "the run is not known any more"),)
        if run.closed_at is not None:
            return run, (Clause("run", Decision.FORBID, "the run is closed"),)
        if at >= run.expires_at:
            return run, (Clause("run", Decision.FORBID, "the run has expired"),)
        if run.calls > run.max_calls:
            return run, (_used_up(run),)
        return run, ()

    def spent(self, call: Call) -> bool:
        """Whether the run has no call left, as far as it is durable: then nothing is asked on its behalf any more."""
        run = None if call.own or call.human else self._reads.run(call.run.id)
        return run is not None and run.calls >= run.max_calls

    def worth_asking(self, draft: Draft, ruling: Ruling) -> Ruling:
        """The ruling, or a refusal where no human is to be asked: as much of this run waits for humans already as they
        can be asked at once, or it is a read of Remit's own, for which nobody would wait."""
        if ruling.decision is not Decision.APPROVE or draft.call.human:
            return ruling
        if draft.call.own:
            return Ruling(decision=Decision.FORBID, clauses=ruling.clauses, boundary=ruling.boundary)
        query = Query(run=draft.call.run.id, states=(State.WAITING,), limit=MOST_WAITING)
        if len(self._reads.actions(query)) < MOST_WAITING:
            return ruling
        says = f"{MOST_WAITING} proposals of this run wait for a human already"
        clause = Clause("budget", Decision.FORBID, says)
        return Ruling(decision=Decision.FORBID, clauses=(clause,), boundary=ruling.boundary)

    def rule(self, tx: Transaction, draft: Draft, run: Run, held: tuple[Clause, ...], at: Instant) -> Ruling:
        """The ruling, in the step that acts on it: boundary, quotas, stop, clock, unsettled outcomes, the run."""
        held += self._stop_clauses(draft) + self._log_clauses()
        if draft.effect is not Effect.READ:
            held += self._clock_clauses() + self._unsettled_clauses(tx, draft, at)
        evaluator = draft.force.evaluator
        used = tx.used(evaluator.windows(run.agent, draft.category, at))
        return evaluator.rule(draft.request(run, at, held, unwitnessed=self._unwitnessed(draft)), used)

    def to_be_witnessed(self, draft: Draft, ruling: Ruling) -> bool:
        """Whether the intent must be witnessed before anything is handed over. Where the ruling says `witness`, they
        were away, and a human let it go on without them."""
        return self._wants_witness(draft) and not any(clause.id == "witness" for clause in ruling.clauses)

    def might_be_auto(self, draft: Draft) -> bool:
        """Whether it would be `auto` if nothing stood in the quotas: worth asking the preconditions for."""
        at = self._clock.now()
        run = draft.call.run
        evaluator = draft.force.evaluator
        used = {window.quota: Used() for window in evaluator.windows(run.agent, draft.category, at)}
        return evaluator.rule(draft.request(run, at, ()), used).decision is Decision.AUTO

    def refused(self, tx: Transaction, action: Action, code: str, at: Instant) -> list[Record]:
        """The records that follow a refusal: the alert, and the hold where the agent has been refused too often.

        Nothing follows from a refusal that is not the agent's doing: a stop, an ended run, a malformed call.
        """
        if code == "forbidden" and not _forbidden_by_boundary(action.ruling):
            return []
        records = [journal.of_action("alert", at, action, code=code, clauses=journal.listed(action.ruling.clauses))]
        tx.note_refusal(action.agent, at)
        limit = self._forces.current.boundary.refusals
        if tx.refusals(action.agent, at - limit.within) < limit.hold_after or tx.fact(hold_fact(action.agent)):
            return records
        order = StopOrder(
            id=f"stp_{action.id.removeprefix('act_')}",
            mode=StopMode.HOLD,
            scope=Scope(ScopeKind.AGENT, action.agent),
            at=at,
            by="remit",
            reason=f"{limit.hold_after} refused attempts",
            automatic=True,
        )
        hold = journal.of_action("hold", at, action, stop=order.id, after=limit.hold_after)
        tx.set_fact(hold_fact(action.agent), msgspec.json.encode(order), hold)
        records.append(journal.of_action("alert", at, action, code="repeated", stop=order.id))
        return records

    def latch_hold(self, agent: str) -> StopOrder | None:
        """Put in force the hold that a step wrote for this agent, if it wrote one that is not latched yet."""
        kept = self._reads.fact(hold_fact(agent))
        if not kept:
            return None
        order = _order.decode(kept)
        if any(each.id == order.id for each in self._stops.current.orders):
            return None
        self._stops.place(order)
        return order

    def _stop_clauses(self, draft: Draft) -> tuple[Clause, ...]:
        order = self._stops.check(draft.subject())
        return (stop.clause(order),) if order else ()

    def _log_clauses(self) -> tuple[Clause, ...]:
        """What cannot be proven is not done, reads included."""
        why = self._log.trouble()
        return (Clause("log", Decision.FORBID, f"nothing is done that cannot be proven: {why}"),) if why else ()

    def _wants_witness(self, draft: Draft) -> bool:
        """Remit's own reads are left out: they check what a human approved while the witnesses are away, too."""
        category = draft.force.boundary.category(draft.category)
        return category is not None and category.witnessed and not draft.call.own

    def _unwitnessed(self, draft: Draft) -> bool:
        return self._wants_witness(draft) and bool(self._witnesses.away())

    def _clock_clauses(self) -> tuple[Clause, ...]:
        why = self._clock.jumped()
        return (Clause("clock", Decision.FORBID, f"changes are on hold: {why}"),) if why else ()

    def _unsettled_clauses(self, tx: Transaction, draft: Draft, at: Instant) -> tuple[Clause, ...]:
        found = []
        running = {execution.action.id for execution in self._in_flight.executions()}
        for other in tx.unsettled(draft.call.tool.connector, draft.target_ids):
            if other.id in (draft.action_id, draft.call.undoes):
                continue
            started = other.intended_at or other.opened_at
            orphaned = other.state is State.EXECUTING and other.id not in running and at - started > ORPHANED_AFTER
            if unsettled(other) or orphaned:
                says = f"what became of `{other.id}` on this target is not known; settle it first"
                found.append(Clause("unsettled", Decision.APPROVE, says))
        return tuple(found)


def _used_up(run: Run) -> Clause:
    return Clause("budget", Decision.FORBID, f"the run has used its {run.max_calls} calls")


def _forbidden_by_boundary(ruling: Ruling) -> bool:
    ids = [clause.id for clause in ruling.clauses if clause.then is Decision.FORBID]
    return bool(ids) and not any(each in NOT_THE_AGENTS_FAULT or each.startswith(MALFORMED) for each in ids)
