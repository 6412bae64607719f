"""Everything asked again at execution: is it still the same action, still approved, still allowed, still sensible?

What lives here: drafting an action anew from its payload, its preconditions, and the verdict on going on. What never
may: writing.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from remit.flow.drafts import Call, Draft, redraft
from remit.flow.force import Force, Tool
from remit.flow.in_flight import subject_of
from remit.flow.own import Read, supporting_call
from remit.flow.ports import Clock, Ids, Reads, Transaction
from remit.flow.query import Query
from remit.flow.rulings import Rulings
from remit.gates import approvals, secret_arguments, stop, validation
from remit.gates.stop import Latch
from remit.model.errors import Refusal
from remit.model.manifest import Support
from remit.model.words import (
    Action,
    Approval,
    Clause,
    Decision,
    Event,
    Instant,
    Payload,
    Proposal,
    Ruling,
    Run,
    Secrets,
    State,
    StopOrder,
)

_proposal = msgspec.json.Decoder(Proposal)
_secrets = msgspec.json.Decoder(Secrets)


class Verdict(Struct, frozen=True):
    """What becomes of an approved action, and the ruling that it rests on."""

    outcome: Event
    ruling: Ruling


class Reruling:
    """See the module."""

    def __init__(self, *, rulings: Rulings, clock: Clock, ids: Ids, reads: Reads) -> None:
        self._rulings = rulings
        self._clock = clock
        self._ids = ids
        self._reads = reads

    # --- looking ---------------------------------------------------------------------------------------------

    def waiting(self) -> list[Action]:
        """Every action that waits for a human or is approved and not yet executed, oldest first."""
        return self.in_states(State.WAITING, State.APPROVED)

    def executing(self) -> list[Action]:
        """Every action that the store says is on its way."""
        return self.in_states(State.EXECUTING)

    def covered(self, order: StopOrder, action: Action) -> bool:
        """Whether a stop is about this action."""
        return stop.refusing(Latch((order,)), subject_of(action, past_stops=bool(action.opened_by))) is not None

    def proposal(self, action: Action) -> Proposal:
        """What is kept of an action's proposal, without its secret arguments. Raises `KeyError` where it is gone."""
        return _proposal.decode(self._kept(action.proposal).data)

    def whole(self, action: Action) -> Proposal:
        """An open action's proposal with its secret arguments. Raises `KeyError` where either is gone."""
        proposal = self.proposal(action)
        if not action.secrets:
            return proposal
        return secret_arguments.together(proposal, _secrets.decode(self._kept(action.secrets).data))

    def _kept(self, payload_id: str) -> Payload:
        payload = self._reads.payload(payload_id)
        if payload is None:
            raise KeyError(payload_id)
        return payload

    # --- again -----------------------------------------------------------------------------------------------

    def redraft(self, action: Action, force: Force) -> Draft | Clause:
        """The action drafted anew from what was asked, under what is in force now; or the clause that forbids it.

        If its tool, its definition, or what its target's name means has changed, it is another action.
        """
        tool = force.upstream(action.connector, action.tool)
        run = self._reads.run(action.run)
        if tool is not None and tool.parked:
            return Clause("validation.definition", Decision.FORBID, f"the tool cannot be used now: {tool.parked}")
        try:
            validation.check_definition(action.definition, tool.definition.digest if tool else None)
        except Refusal as refusal:
            return refusal.clauses[0]
        if run is None or tool is None:
            return Clause("run", Decision.FORBID, "the run is not known any more")
        try:
            proposal = self.whole(action)
        except KeyError:
            return Clause("validation.arguments", Decision.FORBID, "what was proposed is no longer there")
        asked = msgspec.json.decode(proposal.asked)
        human = action.opened_by  # who ordered an undo; it passes a stop, and needs no open run
        past = bool(human)
        call = Call(run=run, tool=tool, arguments=asked, human=human, undoes=action.undoes, past_stops=past)
        again = redraft(call, force, action, proposal, self._ids.new("ev"))
        try:
            validation.check_targets(action.targets, again.target_ids)
            validation.check_statement(action.digest, again.digest, action.expires_at or 0, 0)
        except Refusal as refusal:
            return refusal.clauses[0]
        return again

    async def preconditions(self, draft: Draft, read: Read) -> tuple[Clause, ...]:
        """A clause for each declared precondition that does not hold for some target. Asks the connector."""
        unmet = []
        tool = draft.call.tool
        for support in tool.manifest.preconditions:
            asked = draft.force.upstream(tool.connector, support.tool)
            for target in draft.targets:
                name = draft.force.inventory.connector_id(target, tool.connector)
                clause = await self._precondition(draft, support, asked, name, read)
                if clause is not None:
                    unmet.append(clause)
        return tuple(unmet)

    async def _precondition(
        self, draft: Draft, support: Support, asked: Tool | None, name: str, read: Read
    ) -> Clause | None:
        if asked is None or asked.parked:
            says = f"the precondition `{support.tool}` cannot be asked"
            return Clause("validation.precondition", Decision.FORBID, says)
        call = supporting_call(support, asked, name, draft.call.run.case, self._clock.now())
        action, raw = await read(call)
        if action.state is not State.DONE:
            says = f"the precondition `{support.tool}` could not be checked ({action.state})"
            return Clause("validation.precondition", Decision.FORBID, says)
        return validation.unmet(support, raw)

    def approved(self, action: Action, given: Sequence[Approval], force: Force) -> bool:
        """Whether the good approvals among these satisfy what the action's ruling asks."""
        return self._enough(action, given, force, action.ruling)

    def _enough(self, action: Action, given: Sequence[Approval], force: Force, ruling: Ruling) -> bool:
        if ruling.ask is None:
            return True
        good = approvals.good(action, given, ruling.ask, self._context(action, force))
        return approvals.tally(good, ruling.ask)

    def _context(self, action: Action, force: Force) -> approvals.Context:
        run = self._reads.run(action.run)
        agent = force.boundary.agent(action.agent)
        return approvals.Context(
            home=force.home,
            boundary=force.boundary_digest,
            roster=force.roster,
            owner=agent.owner if agent else "",
            opener=run.opened_by if run else "",
            now=self._clock.now(),
        )

    def verdict(
        self,
        tx: Transaction,
        action: Action,
        again: Draft,
        given: Sequence[Approval],
        unmet: tuple[Clause, ...],
        at: Instant,
    ) -> Verdict:
        """Whether an approved action goes on, under everything that holds now."""
        if action.expires_at is not None and at >= action.expires_at:
            return Verdict(Event.EXPIRE, action.ruling)
        run = tx.run(action.run) or again.call.run
        held = () if again.call.human else ended(run, at)
        ruling = self._rulings.rule(tx, again.refused_by(*unmet), run, held, at)
        if ruling.decision is Decision.FORBID:
            return Verdict(Event.REFUSE, ruling)
        if ruling.decision is Decision.APPROVE and not self._enough(action, given, again.force, ruling):
            return Verdict(Event.ASK_AGAIN, ruling)
        return Verdict(Event.INTEND, ruling)

    def in_states(self, *states: State) -> list[Action]:
        found = self._reads.actions(Query(states=tuple(states), limit=100_000))
        return sorted(found, key=lambda action: (action.opened_at, action.id))


def ended(run: Run, at: Instant) -> tuple[Clause, ...]:
    """The clause that forbids anything more in a run that is over."""
    if run.closed_at is not None:
        return (Clause("run", Decision.FORBID, "the run is closed"),)
    if at >= run.expires_at:
        return (Clause("run", Decision.FORBID, "the run has expired"),)
    return ()
