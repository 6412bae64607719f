"""Settling what is not known: by asking the connector, or by a human's word; and undoing by a human's order.

What lives here: the way out of `unknown` and `cut`. What never may: repeating an action, guessing.
"""

from __future__ import annotations

from msgspec import Struct

from remit.flow.drafts import Call
from remit.flow.force import Force, Forces, Tool
from remit.flow.hints import Hints
from remit.flow.lifecycle import unsettled
from remit.flow.own import supporting_call
from remit.flow.ports import Clock, Reads, Store, Transaction
from remit.flow.reruling import Reruling
from remit.flow.steward import Steward
from remit.gates import intake, journal, validation
from remit.gates.journal import Pseudonyms
from remit.model.errors import Misuse, Refusal
from remit.model.words import Action, Event, Record, State, Target


class Settled(Struct, frozen=True):
    """What a settlement found: `applied`, `not applied`, or why it could not be told."""

    action: Action
    applied: bool | None
    says: str


class Settling:
    """See the module."""

    def __init__(
        self,
        *,
        store: Store,
        forces: Forces,
        steward: Steward,
        reruling: Reruling,
        clock: Clock,
        hints: Hints,
        names: Pseudonyms,
    ) -> None:
        self._store = store
        self._reads: Reads = store.reads
        self._forces = forces
        self._steward = steward
        self._reruling = reruling
        self._clock = clock
        self._hints = hints
        self._names = names

    async def ask(self, action_id: str, person: str) -> Settled:
        """Settle through the manifest's status tool: one governed read for each target. Raises `Misuse` where there is
        no such tool, or nothing to settle. An answer that cannot be read settles nothing."""
        action = self._unsettled(action_id)
        force = self._forces.current
        tool = force.upstream(action.connector, action.tool)
        support = tool.manifest.status if tool else None
        asked = force.upstream(action.connector, support.tool) if support else None
        if tool is None or support is None or asked is None or asked.parked:
            hint = f"look at the connector yourself, then `remit settle {action_id} --applied` or `--not-applied`"
            raise Misuse(f"connector `{action.connector}` declares no status tool for `{action.tool}`", hint=hint)
        answers = set()
        for target_id in action.targets or ("",):
            name = upstream_name(force, target_id, action.connector)
            call = supporting_call(support, asked, name, action.case, self._clock.now(), past_stops=True)
            read, raw = await self._steward.read_for(call)
            if read.state is not State.DONE:
                return Settled(action, None, f"`{support.tool}` could not be asked ({read.state})")
            answers.add(validation.holds(support, raw))
        if answers == {True}:
            return await self._settle(action_id, True, person, f"{support.tool}, asked by {person}")
        if answers == {False}:
            return await self._settle(action_id, False, person, f"{support.tool}, asked by {person}")
        return Settled(action, None, f"`{support.tool}` gave no clear answer; look at the connector yourself")

    async def settle(self, action_id: str, applied: bool, person: str, *records: Record) -> Settled:
        """Write down what became of it. `records` are the human's statement, where it was settled by hand."""
        return await self._settle(action_id, applied, person, person, *records)

    async def _settle(self, action_id: str, applied: bool, person: str, by: str, *records: Record) -> Settled:
        self._unsettled(action_id)
        who = self._names.person(person)

        def step(tx: Transaction) -> Action:
            action = tx.action(action_id)
            if action is None or not unsettled(action):
                raise Refusal(f"action `{action_id}` is settled already", state=action.state if action else "blocked")
            at = self._clock.now()
            event = Event.SETTLE_APPLIED if applied else Event.SETTLE_NOT_APPLIED
            outcome = f"{'applied' if applied else 'not applied'}, settled by {by}"
            settled = journal.of_action("settled", at, action, applied=applied, hand=bool(records), by=who)
            return tx.move(
                action.id, action.revision, event, settled, *records, ended_at=at, outcome=outcome, settled_by=by
            )

        moved = await self._store.commit(step)
        self._hints.changed(action_id)
        return Settled(moved, applied, moved.outcome)

    async def undo(self, action_id: str, person: str, reason: str, *records: Record) -> Action:
        """Carry out the declared undo of an action, by a human's signed order. It takes the road like any other;
        `records` (the statement's) are committed with its proposal."""
        action = self._reads.action(action_id)
        if action is None:
            raise Misuse(f"there is no action `{action_id}`", hint="`remit find` lists actions")
        if action.state not in (State.DONE, State.UNKNOWN, State.CUT):
            raise Misuse(f"action `{action_id}` is `{action.state}`, so there is nothing to undo")
        force = self._forces.current
        tool = force.upstream(action.connector, action.tool)
        support = tool.manifest.undo if tool else None
        undoing: Tool | None = force.upstream(action.connector, support.tool) if support else None
        if support is None or undoing is None or undoing.parked or len(action.targets) != 1:
            raise Misuse(
                f"connector `{action.connector}` declares no undo for `{action.tool}`",
                hint="undo it in the connector's own console",
            )
        name = upstream_name(force, action.targets[0], action.connector)
        run = self._reads.run(action.run)
        if run is None:
            raise Misuse(f"the run of action `{action_id}` is gone, so it cannot be undone through Remit")
        why = intake.rationale_property(undoing.definition.input_schema)
        arguments = support.call(name) | {why: {"summary": f"undo of {action_id}: {reason}"}}
        call = Call(
            run=run,
            tool=undoing,
            arguments=arguments,
            human=person,
            undoes=action_id,
            past_stops=True,
            records=records,
        )
        moved, _ = await self._steward.propose(call)
        return moved

    def unsettled(self) -> list[Action]:
        """Everything that waits to be settled, oldest first."""
        return [action for action in self._reruling.in_states(State.UNKNOWN, State.CUT) if unsettled(action)]

    def _unsettled(self, action_id: str) -> Action:
        action = self._reads.action(action_id)
        if action is None:
            raise Misuse(f"there is no action `{action_id}`", hint="`remit status` lists what waits to be settled")
        if not unsettled(action):
            raise Misuse(f"action `{action_id}` is `{action.state}`, so there is nothing to settle")
        return action


def upstream_name(force: Force, target_id: str, connector: str) -> str:
    """What a connector calls a target of an action, known or not."""
    target = force.inventory.by_id.get(target_id) or Target(id=target_id, known=False)
    return force.inventory.connector_id(target, connector)
