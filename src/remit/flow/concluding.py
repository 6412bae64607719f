"""An agent's verdict on its case: put on record, or an action that waits where the boundary wants a person to agree.

What lives here: the way of a verdict from the call to its record. What never may: believing it. It is the agent's
claim, whoever agreed to it.

INVARIANT: where the boundary asks a person, the run has the verdict only from the commit in which its intent, under
enough approvals, and its outcome are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from remit.flow.citing import cited
from remit.flow.force import Force, Forces
from remit.flow.hints import Hints
from remit.flow.in_flight import subject_of
from remit.flow.lifecycle import Stale
from remit.flow.ports import Clock, Ids, Store, Transaction
from remit.flow.query import Query
from remit.flow.reruling import Reruling, ended
from remit.flow.rulings import MOST_WAITING
from remit.flow.stopping import Stops
from remit.gates import intake, journal, stop
from remit.gates.boundary.verdicts import rule_verdict
from remit.gates.journal import Pseudonyms
from remit.model.canonical import encode, sha256_hex
from remit.model.errors import Refusal
from remit.model.words import (
    REMIT,
    Action,
    Approval,
    Clause,
    Decision,
    Effect,
    Event,
    Instant,
    Payload,
    Proposal,
    Rationale,
    Record,
    Ruling,
    Run,
    State,
    Target,
)

TOOL: Final = "conclude"
CATEGORY: Final = "verdict."
_DEFINITION: Final = sha256_hex(b"remit__conclude")  # Remit's own tool: no connector can change what it does


class Conclusion(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an agent concludes. Its own claim, kept as such."""

    verdict: str
    rationale: Rationale
    evidence: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=200)] = ()
    alternatives: Annotated[tuple[Annotated[str, Meta(max_length=2000)], ...], Meta(max_length=20)] = ()

    def arguments(self) -> str:
        """What a person agrees to, in canonical JSON: all of it but the reasons."""
        said = {"verdict": self.verdict, "evidence": self.evidence, "alternatives": self.alternatives}
        return encode(msgspec.to_builtins(said)).decode()


def is_conclusion(action: Action) -> bool:
    """Whether the action is a verdict. No connector may be called `remit`."""
    return action.connector == REMIT and action.tool == TOOL


def verdict_of(action: Action) -> str:
    """What the agent concludes."""
    return action.category.removeprefix(CATEGORY)


class Concluding:
    """See the module. Owned by the event loop; its steps run on the store's writer."""

    def __init__(
        self,
        *,
        store: Store,
        forces: Forces,
        stops: Stops,
        reruling: Reruling,
        clock: Clock,
        ids: Ids,
        names: Pseudonyms,
        hints: Hints,
        fingerprint_key: bytes,
    ) -> None:
        self._store = store
        self._forces = forces
        self._stops = stops
        self._reruling = reruling
        self._clock = clock
        self._ids = ids
        self._names = names
        self._hints = hints
        self._key = fingerprint_key

    # --- from the call to its record, or to waiting ------------------------------------------------------------------

    async def conclude(self, run: Run, conclusion: Conclusion) -> tuple[Run | Action, bool]:
        """The run with its verdict, or the action that waits for a person (an open twin's, if the same waits already)
        or is blocked, and whether that is new.

        Raises `Refusal` for a run that is over, or has used its calls and concluded.
        """
        kept = self._payload(conclusion)
        salt, action_id, warrant = self._ids.salt().hex(), self._ids.new("act"), self._ids.new("wrt")
        proposal = Proposal(
            arguments=conclusion.arguments(),
            targets=run.mandate.targets,
            asked=encode(msgspec.to_builtins(conclusion)).decode(),
            salt=salt,
            rationale=conclusion.rationale,
        )
        asked = Payload(
            id=f"{action_id}.proposal", kind="proposal", salt=self._ids.salt(), data=msgspec.json.encode(proposal)
        )

        def step(tx: Transaction) -> Run | Action:
            at = self._clock.now()
            now = self._standing(tx, run, at)
            ruling = self._ruling(now, conclusion.verdict, self._forces.current)
            if ruling.decision is Decision.AUTO:
                return self._write(tx, now, conclusion, kept, at)
            action = self._action(now, conclusion.verdict, proposal, asked, ruling, at)
            action = replace(action, id=action_id, warrant=warrant)
            action = replace(action, digest=intake.digest_of(action, proposal))
            return tx.open_twin(action.fingerprint) or self._open(tx, action, now, conclusion, asked, at)

        found = await self._store.commit(step)
        if isinstance(found, Action):
            self._hints.changed(found.id)
            return found, found.id == action_id
        return found, True

    def _standing(self, tx: Transaction, run: Run, at: Instant) -> Run:
        now = tx.count_call(run.id) or run
        if now.closed_at is not None or at >= now.expires_at:
            raise Refusal("the run is over, so it cannot conclude any more", state="run")
        if now.calls > now.max_calls and now.verdict:
            raise _used_up()
        return now

    def _ruling(self, run: Run, verdict: str, force: Force) -> Ruling:
        known = force.inventory.by_id
        targets = [known.get(each) or Target(id=each, known=False) for each in run.mandate.targets]
        return rule_verdict(force.boundary, force.boundary_digest, run.agent, verdict, targets)

    def _action(
        self, run: Run, verdict: str, proposal: Proposal, asked: Payload, ruling: Ruling, at: Instant
    ) -> Action:
        return Action(
            id="",
            revision=1,
            state=State.WAITING if ruling.ask is not None else State.BLOCKED,
            agent=run.agent,
            run=run.id,
            case=run.case,
            connector=REMIT,
            tool=TOOL,
            category=f"{CATEGORY}{verdict}",
            effect=Effect.CHANGE,
            definition=_DEFINITION,
            targets=run.mandate.targets,
            bounded=True,
            digest="",
            fingerprint=intake.fingerprint(
                self._key,
                agent=run.agent,
                run=run.id,
                connector=REMIT,
                tool=TOOL,
                definition=_DEFINITION,
                targets=run.mandate.targets,
                arguments=proposal.arguments,
            ),
            proposal=asked.id,
            ruling=ruling,
            opened_at=at,
            expires_at=min(at + ruling.ask.answer_within, run.expires_at) if ruling.ask else None,
            ended_at=None if ruling.ask else at,
        )

    def _open(
        self, tx: Transaction, action: Action, run: Run, conclusion: Conclusion, asked: Payload, at: Instant
    ) -> Action:
        reads = self._store.reads
        if run.calls > run.max_calls and reads.actions(Query(run=run.id, connector=REMIT, limit=1)):
            raise _used_up()
        clause = self._kept_from_people(action)
        if clause is not None:
            ruling = Ruling(decision=Decision.FORBID, clauses=(clause,), boundary=action.ruling.boundary)
            action = replace(action, state=State.BLOCKED, ruling=ruling, expires_at=None, ended_at=at)
        rationale = conclusion.rationale
        reasons = journal.reasons(rationale, cited(tx, rationale), action.run, at, self._names)
        tx.put_payload(asked)
        records = [journal.proposal(action, at, self._names, journal.commits(asked), reasons)]
        if action.state is State.BLOCKED and clause is None:
            records.append(journal.of_action("alert", at, action, code="forbidden"))
        return tx.open(action, (), *records)

    def _kept_from_people(self, action: Action) -> Clause | None:
        """What keeps people from being asked about it now: a stop, or as much of its run that waits already as may."""
        order = self._stops.check(subject_of(action))
        if order is not None:
            return stop.clause(order)
        query = Query(run=action.run, states=(State.WAITING,), limit=MOST_WAITING)
        if len(self._store.reads.actions(query)) < MOST_WAITING:
            return None
        return Clause("budget", Decision.FORBID, f"{MOST_WAITING} proposals of this run wait for a human already")

    # --- from a person's yes to its record ---------------------------------------------------------------------------

    async def carry_out(self, action: Action) -> Action | None:
        """Put an approved verdict on record, if everything still holds now. Returns the action as it stands then, or
        None where somebody else moved it first."""
        proposal = self._reruling.proposal(action)
        conclusion = msgspec.json.decode(proposal.asked, type=Conclusion)
        kept = self._payload(conclusion)
        try:
            moved = await self._store.commit(partial(self._carry_out, action, proposal, conclusion, kept))
        except Stale:
            return None
        self._hints.changed(action.id)
        return moved

    def _carry_out(
        self, action: Action, proposal: Proposal, conclusion: Conclusion, kept: Payload, tx: Transaction
    ) -> Action:
        at, force = self._clock.now(), self._forces.current
        if action.expires_at is not None and at >= action.expires_at:
            told = (journal.of_action("expired", at, action), journal.of_action("alert", at, action, code="expired"))
            return tx.move(action.id, action.revision, Event.EXPIRE, *told, ended_at=at)
        run = tx.run(action.run)
        held = self._held(action, proposal, conclusion, run, at)
        if run is None or held:
            ruling = Ruling(decision=Decision.FORBID, clauses=held, boundary=force.boundary_digest)
            return _refuse(tx, action, ruling, at)
        ruling = self._ruling(run, conclusion.verdict, force)
        if ruling.decision is Decision.FORBID:
            return _refuse(tx, action, ruling, at)
        given = tx.approvals(action.id)
        if not self._reruling.approved(replace(action, ruling=ruling), given, force):
            clauses = journal.listed(ruling.clauses)
            anew = journal.of_action("asked.again", at, action, clauses=clauses, ruling=journal.ruled(ruling))
            return tx.move(action.id, action.revision, Event.ASK_AGAIN, anew, ruling=ruling)
        return self._done(tx, action, ruling, given, (run, conclusion, kept), at)

    def _held(
        self, action: Action, proposal: Proposal, conclusion: Conclusion, run: Run | None, at: Instant
    ) -> tuple[Clause, ...]:
        """What forbids it now, whatever the boundary says."""
        if run is None:
            return (Clause("run", Decision.FORBID, "the run is not known any more"),)
        same = (
            conclusion.arguments() == proposal.arguments
            and conclusion.rationale == proposal.rationale
            and conclusion.verdict == verdict_of(action)
            and intake.digest_of(action, proposal) == action.digest
        )
        if not same:
            return (Clause("validation.digest", Decision.FORBID, "what is kept is not what was approved"),)
        order = self._stops.check(subject_of(action))
        return ended(run, at) + ((stop.clause(order),) if order is not None else ())

    def _done(
        self,
        tx: Transaction,
        action: Action,
        ruling: Ruling,
        given: Sequence[Approval],
        what: tuple[Run, Conclusion, Payload],
        at: Instant,
    ) -> Action:
        people = [each.person for each in given if each.verb == "approve"]
        intent = journal.intent(action, at, ruling, people, self._names)
        moved = tx.move(action.id, action.revision, Event.INTEND, intent, intended_at=at, ruling=ruling)
        run, conclusion, kept = what
        self._write(tx, run, conclusion, kept, at, action=action.id)
        outcome = journal.of_action("outcome", at, action, state=State.DONE, warrant=action.warrant, handed_over=True)
        says = "the verdict is on record"
        return tx.move(moved.id, moved.revision, Event.SUCCEED, outcome, ended_at=at, handed_over=True, outcome=says)

    # --- shared ------------------------------------------------------------------------------------------------------

    def _payload(self, conclusion: Conclusion) -> Payload:
        data = msgspec.json.encode(conclusion)
        return Payload(id=f"{self._ids.new('vrd')}.verdict", kind="verdict", salt=self._ids.salt(), data=data)

    def _write(
        self, tx: Transaction, run: Run, conclusion: Conclusion, kept: Payload, at: Instant, *, action: str = ""
    ) -> Run:
        rationale = conclusion.rationale
        found = cited(tx, rationale, conclusion.evidence)
        known = [each.id for each in found.values() if each is not None and each.run == run.id]
        verdict: Record = journal.record(
            "verdict",
            at,
            action=action,
            run=run.id,
            agent=run.agent,
            case=run.case,
            verdict=conclusion.verdict,
            evidence=known,
            not_shown=len(found) - len(known),
            reasons=journal.reasons(rationale, found, run.id, at, self._names),
            payloads=journal.commits(kept),
        )
        tx.put_payload(kept)
        concluded = replace(run, verdict=conclusion.verdict)
        tx.put_run(concluded, verdict)
        return concluded


def _used_up() -> Refusal:
    return Refusal("the run has used its calls, and has concluded", hint="its last verdict stands")


def _refuse(tx: Transaction, action: Action, ruling: Ruling, at: Instant) -> Action:
    refused = journal.of_action("refused", at, action, ruling=journal.ruled(ruling))
    told = journal.of_action("alert", at, action, code="refused")
    return tx.move(action.id, action.revision, Event.REFUSE, refused, told, ruling=ruling, ended_at=at)
