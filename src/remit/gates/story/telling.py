"""From facts to a story: what each of them means, in a sentence where a sentence is needed.

What lives here: judging what was kept (is the evidence grounded, how long did they take, what is missing). What never
may: looking anything up, believing what the agent says.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from remit.gates.story.entries import named, said
from remit.gates.story.words import (
    BoundaryFacts,
    CallFacts,
    Cited,
    Entry,
    Facts,
    Result,
    RunFacts,
    Seen,
    Story,
    Undo,
    Vote,
    VoteFacts,
)
from remit.model.display import without_values
from remit.model.grounding import PROVENANCE, Mark, mark_of
from remit.model.words import REMIT, Action, Clause, Decision, Effect, Instant, Integrity, Run, Signal, State

_BECAME: dict[State, str] = {
    State.WAITING: "it waits for a human",
    State.APPROVED: "it is approved and about to be executed",
    State.EXECUTING: "it is on its way; no outcome is recorded yet",
    State.DONE: "done",
    State.FAILED: "failed",
    State.CUT: "cut by a stop",
    State.UNKNOWN: "unknown: what became of it is not settled",
    State.BLOCKED: "refused; nothing was executed",
    State.REJECTED: "a human rejected it; nothing was executed",
    State.EXPIRED: "nobody answered in time, which counts as a rejection; nothing was executed",
    State.WITHDRAWN: "withdrawn; nothing was executed",
    State.VOID: "voided by a stop; nothing was executed",
}


def tell(facts: Facts) -> Story:
    """The story of one action."""
    action = facts.action
    entries = tuple(said(entry, facts.names) for entry in sorted(facts.entries, key=lambda entry: entry.position))
    proposed = next((entry for entry in entries if entry.kind == "proposal"), None)
    executed = any(entry.kind == "intent" for entry in entries)
    votes = tuple(_vote(each, action, entries) for each in facts.votes)
    proposal = facts.proposal
    rationale = proposal.rationale if proposal else None
    seen = {each.evidence.id: each for each in facts.seen}
    signals = rationale.signals if rationale else ()
    return Story(
        id=action.id,
        state=action.state,
        agent=action.agent,
        ordered_by=action.opened_by,
        case=action.case,
        run=run_facts(facts.run) if facts.run else _unknown_run(action),
        connector=action.connector,
        tool=action.tool,
        category=action.category,
        effect=action.effect,
        definition=action.definition,
        digest=action.digest,
        targets=action.targets,
        bounded=action.bounded,
        arguments=without_values(proposal.arguments, {*proposal.secrets, *facts.secrets}) if proposal else "",
        decision=action.ruling.decision,
        clauses=_deciding_first(action),
        proposed_as=proposed.says if proposed else "",
        boundary=facts.boundary or BoundaryFacts(digest=action.ruling.boundary),
        rationale=rationale,
        cited=tuple(
            _cited(number, each, seen.get(each.evidence), action, proposed) for number, each in enumerate(signals)
        ),
        provenance=PROVENANCE,
        approval=_approval(action, votes, proposed),
        quorum=action.ruling.ask.quorum if action.ruling.ask else 0,
        votes=votes,
        checks=_checks(facts, entries, executed=executed),
        executed=executed,
        warrant=action.warrant if executed else "",
        credential=action.credential,
        cuttable=facts.call.cuttable if facts.call else None,
        proposed_at=action.opened_at,
        decided_at=action.decided_at,
        intended_at=action.intended_at,
        ended_at=action.ended_at,
        result=_result(facts.result),
        became=_became(action),
        settled_by=action.settled_by,
        stopping=facts.stopping,
        undo=undo_of(action, facts.call, facts.undone_by),
        undoes=action.undoes,
        undone_by=facts.undone_by,
        entries=entries,
        gaps=tuple(_gaps(facts, entries, proposed, executed=executed)),
        secret_arguments=facts.secret_arguments.names if facts.secret_arguments else (),
        secrets=_secrets(facts),
    )


def _secrets(facts: Facts) -> str:
    """What became of the values of secret arguments; empty where none were given."""
    secret = facts.secret_arguments
    if secret is None:
        return ""
    if not secret.kept:
        return "their values were never kept: the call was refused"
    if facts.action.state not in (State.WAITING, State.APPROVED, State.EXECUTING):
        return "their values ended with the action"
    return "their values are no longer there" if secret.lost else "their values are kept until the action has ended"


def run_facts(run: Run) -> RunFacts:
    """A run as it may be shown."""
    return RunFacts(
        id=run.id,
        agent=run.agent,
        case=run.case,
        opened_by=run.opened_by,
        opened_at=run.opened_at,
        expires_at=run.expires_at,
        closed_at=run.closed_at,
        closed_by=run.closed_by,
        targets=run.mandate.targets,
        categories=run.mandate.categories,
        label=run.label,
        calls=run.calls,
        max_calls=run.max_calls,
        verdict=run.verdict,
        client=run.client,
        declared=run.declared,
    )


def _unknown_run(action: Action) -> RunFacts:
    opener = REMIT if action.agent == REMIT else ""
    return RunFacts(id=action.run, agent=action.agent, case=action.case, opened_by=opener)


def _deciding_first(action: Action) -> tuple[Clause, ...]:
    decision = action.ruling.decision
    return tuple(sorted(action.ruling.clauses, key=lambda clause: clause.then is not decision))


def _vote(facts: VoteFacts, action: Action, entries: Iterable[Entry]) -> Vote:
    given = facts.approval
    asked = [entry.at for entry in entries if entry.kind in ("proposal", "asked.again") and entry.at <= given.at]
    return Vote(
        person=given.person,
        verb=given.verb,
        at=given.at,
        waited=given.at - max(asked, default=action.opened_at),
        verified=not facts.why_not,
        why_not=facts.why_not,
    )


def _cited(number: int, signal: Signal, seen: Seen | None, action: Action, proposed: Entry | None) -> Cited:
    found = seen.evidence if seen is not None else None
    cited = Cited(
        evidence=signal.evidence,
        says=signal.says,
        mark=_recorded(proposed, number) or mark_of(found, action.run, action.opened_at),
        grounded=False,
    )
    if seen is None or found is None or found.run != action.run:
        nothing = "there is no such evidence" if signal.evidence else "it cites no evidence"
        return replace(cited, why_not=nothing if found is None else "this run was never shown it")
    why_not = ""
    if not _shown_before(seen, action, proposed):
        why_not = "it was shown only after the proposal"
    elif seen.intact is False:
        why_not = "the kept bytes are not the ones that were shown"
    elif seen.intact is None:
        why_not = "its bytes are no longer kept"
    return replace(
        cited,
        grounded=not why_not,
        why_not=why_not,
        third_party=found.label.integrity is Integrity.THIRD_PARTY,
        label=found.label,
        digest=found.digest,
        shown_at=found.at,
    )


def _recorded(proposed: Entry | None, number: int) -> Mark | None:
    """The mark of a signal in the record of the proposal."""
    reasons = proposed.fields.get("reasons") if proposed is not None else None
    signals = reasons.get("signals") if isinstance(reasons, dict) else None
    said = signals[number] if isinstance(signals, list) and number < len(signals) else None
    mark = said.get("mark") if isinstance(said, dict) else None
    return Mark(mark) if mark in list(Mark) else None


def _unlike(facts: Facts, proposed: Entry | None) -> list[str]:
    """The cited evidence of which the store says something else than the record did."""
    rationale = facts.proposal.rationale if facts.proposal else None
    found = {each.evidence.id: each.evidence for each in facts.seen}
    return [
        signal.evidence or "nothing"
        for number, signal in enumerate(rationale.signals if rationale else ())
        if (mark := _recorded(proposed, number)) is not None
        and mark is not mark_of(found.get(signal.evidence), facts.action.run, facts.action.opened_at)
    ]


def _shown_before(seen: Seen, action: Action, proposed: Entry | None) -> bool:
    if seen.position is not None and proposed is not None:
        return seen.position < proposed.position
    return seen.evidence.at <= action.opened_at


def _approval(action: Action, votes: tuple[Vote, ...], proposed: Entry | None) -> str:
    """What people had to do with it, in a sentence; who answered what is in the votes."""
    asked = bool(proposed and proposed.fields.get("state") == State.WAITING) or bool(votes)
    ask = action.ruling.ask
    if not asked:
        forbidden = action.ruling.decision is Decision.FORBID
        return "nobody was asked: " + ("it was forbidden" if forbidden else "the boundary lets the agent do it alone")
    people = [vote for vote in votes if vote.verb == "approve"]
    wanted = f"{max(ask.quorum, 1)} of: {' or '.join(ask.roles)}" if ask else "a human"
    match action.state:
        case State.EXPIRED:
            return f"asked {wanted}; not answered in time by enough people"
        case State.WAITING:
            return f"asks {wanted}; {len(people)} said yes so far"
        case State.REJECTED:
            return f"asked {wanted}; rejected"
        case State.VOID | State.WITHDRAWN if not action.decided_at:
            return f"asked {wanted}; ended before enough people had answered"
    return f"asked {wanted}; {len(people)} said yes"


def _checks(facts: Facts, entries: Iterable[Entry], *, executed: bool) -> tuple[str, ...]:
    action, checks = facts.action, []
    intent = next((entry for entry in entries if entry.kind == "intent"), None)
    if executed and intent is not None:
        same = intent.fields.get("digest") == action.digest and intent.fields.get("definition") == action.definition
        checks.append(
            "arguments, targets, tool definition and boundary held when the intent was written"
            if same
            else "the intent names another digest or definition than the action"
        )
    failed = [clause.says for clause in action.ruling.clauses if clause.id.startswith("validation.")]
    checks += [f"not met: {each}" for each in failed]
    for read in facts.own_reads:
        checks.append(f"Remit asked `{read.tool}` itself: {read.state} ({read.action})")
    return tuple(checks) or ("none on record: it was not executed",)


def _result(seen: Seen | None) -> Result | None:
    if seen is None:
        return None
    found = seen.evidence
    return Result(
        evidence=found.id,
        label=found.label,
        digest=found.digest,
        intact=seen.intact,
        excerpt=seen.excerpt,
        at=found.at,
    )


def _became(action: Action) -> str:
    says = _BECAME[action.state]
    return f"{says}: {action.outcome}" if action.outcome else says


def undo_of(action: Action, call: CallFacts | None, undone_by: tuple[str, ...]) -> Undo:
    """How to take it back."""
    if action.effect is Effect.READ:
        return Undo("", "nothing to undo: it only read")
    if action.connector == REMIT:
        return Undo("", "a later verdict takes its place")
    landed = action.state in (State.DONE, State.UNKNOWN, State.EXECUTING) or (
        action.state is State.CUT and action.handed_over
    )
    if not landed:
        failed = action.state is State.FAILED and action.handed_over and not action.settled_by
        return Undo("", "it failed; look at the connector for what it left behind" if failed else "nothing to undo")
    if undone_by:
        return Undo("", f"undone by {', '.join(undone_by)}")
    if call is None:
        return Undo(f"remit undo {action.id}", "works if its connector declares an undo; its file cannot be read here")
    if not call.undo or len(action.targets) != 1:
        return Undo("", f"not through Remit: undo it in the console of `{action.connector}`")
    return Undo(f"remit undo {action.id}", f"calls `{call.undo}`, signed by a human")


def _gaps(facts: Facts, entries: tuple[Entry, ...], proposed: Entry | None, *, executed: bool) -> Iterable[str]:
    """What is missing or does not hold, a sentence each."""
    action = facts.action
    if proposed is None:
        yield "there is no record of the proposal"
    elif proposed.fields.get("digest") != action.digest:
        yield "the record of the proposal names another digest"
    if facts.proposal is None:
        erased = _erased(facts, action.proposal)
        yield f"the arguments and reasons {f'were {erased}' if erased else 'are no longer kept'}"
    elif facts.proposal_matches is False:
        yield "the kept arguments and reasons are not those that the record commits to"
    if facts.secret_arguments is not None and facts.secret_arguments.lost:
        yield "the values of its secret arguments are gone, although it has not ended"
    if facts.run is None and action.agent != REMIT:
        yield "the run is not known"
    if facts.boundary is None or facts.boundary.loaded_at is None:
        yield "there is no record of how the boundary came into force"
    elif not facts.boundary.signers:
        yield "the record of the boundary names nobody who signed it"
    if facts.result is not None and facts.result.intact is not True:
        erased = _erased(facts, action.result) if facts.result.intact is None else ""
        yield f"what came back {f'was {erased}' if erased else 'is no longer kept as it was'}"
    ends = ("outcome", "settled")
    if executed and action.ended_at is not None and not any(entry.kind in ends for entry in entries):
        yield "there is no record of the outcome"
    recorded = sum(entry.kind == "vote" for entry in entries)
    if recorded != len(facts.votes):
        yield f"{recorded} votes are on record and {len(facts.votes)} are kept"
    unlike = _unlike(facts, proposed)
    if unlike:
        yield f"what the record says of the cited evidence no longer holds: {', '.join(unlike)}"
    broken = [entry.position for entry in entries if not entry.intact]
    if broken:
        yield f"records do not have their hash: {', '.join(f'#{each}' for each in broken)}"


def _erased(facts: Facts, payload_id: str) -> str:
    """By whom, under which law and why the payload was erased; empty where it was not."""
    for fields in (named(entry.fields, facts.names) for entry in facts.entries if entry.kind == "erased"):
        gone, reason = fields.get("erased"), fields.get("reason")
        if isinstance(gone, dict) and payload_id in gone:
            because = f", because: {reason}" if reason else ""
            return f"erased by {fields.get('by')} under {fields.get('basis')}{because}"
    return ""


def elapsed(microseconds: Instant) -> str:
    """A length of time as people say it: `850 ms`, `12 s`, `3 min 12 s`, `2 h 5 min`, `3 d 4 h`."""
    if microseconds < 1_000_000:
        return f"{max(microseconds, 0) // 1000} ms"
    seconds = microseconds // 1_000_000
    for size, unit, smaller, name in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            rest = seconds % size // smaller
            return f"{seconds // size} {unit}" + (f" {rest} {name}" if rest else "")
    return f"{seconds} s"
