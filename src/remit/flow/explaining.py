"""What a state means, said to the agent in one sentence, and what would be needed.

What lives here: words for states. What never may: anything that depends on more than the action.
"""

from __future__ import annotations

from remit.model.words import Action, Decision, State

_SAYS: dict[State, str] = {
    State.WAITING: "a human must approve this; it has not been done",
    State.APPROVED: "approved, about to be executed",
    State.EXECUTING: "on its way; its outcome is not known yet",
    State.DONE: "done",
    State.FAILED: "it failed",
    State.CUT: "stopped before it was done",
    State.UNKNOWN: "what became of it is not known; it will not be repeated",
    State.BLOCKED: "refused",
    State.REJECTED: "a human rejected this",
    State.EXPIRED: "nobody answered in time, so it counts as rejected",
    State.WITHDRAWN: "withdrawn",
    State.VOID: "stopped: the proposal is void",
}

_HINTS: dict[State, str] = {
    State.WAITING: "wait with `remit__await_action`, or take it back with `remit__withdraw`; do not repeat the call",
    State.APPROVED: "wait with `remit__await_action`",
    State.EXECUTING: "wait with `remit__await_action`; do not repeat the call",
    State.FAILED: "read the connector's answer; proposing it anew is a new action",
    State.CUT: "stopped, do not retry; a human decides when work resumes",
    State.UNKNOWN: "do not repeat it; a human settles it with `remit settle`",
    State.REJECTED: "do not propose the same again without new evidence",
    State.EXPIRED: "tell the human that the case is about; propose it anew only if it still matters",
    State.VOID: "stopped, do not retry; after a resume, propose anew what still matters",
}

_CLAUSE_HINTS: dict[str, str] = {
    "stop": "stopped, do not retry; a human lifts it with `remit resume`",
    "mandate": "the case does not name this; whoever opened the run can open one that does",
    "category": "this agent is not granted that kind of action; `remit__my_remit` tells what is",
    "no-rule": "nothing in the boundary allows it; `remit__my_remit` tells what is allowed",
    "run": "the run is over; whoever opened it can open another",
    "budget": "the run has used up its calls; whoever opened it can open another",
    "log": "the record cannot be proven now, so nothing is done; a human mends the log, then propose it anew",
    "witness": "nobody outside confirms the record now; propose it anew once the log's witnesses answer again",
    "clock": "changes are on hold until a human has looked at this machine's clock and resumed",
}


def message_for(action: Action) -> str:
    """One lowercase sentence on where the action stands, with the clauses that decided."""
    says = _SAYS[action.state]
    if action.state in (State.BLOCKED, State.WAITING):
        reasons = "; ".join(clause.says for clause in action.ruling.clauses if clause.then is not Decision.AUTO)
        return f"{says}: {reasons}" if reasons else says
    if action.state in (State.FAILED, State.UNKNOWN, State.CUT, State.VOID) and action.outcome:
        return f"{says}: {action.outcome}"
    return says


def hint_for(action: Action) -> str:
    """What would be needed, or what to do next."""
    if action.state is State.BLOCKED:
        for clause in action.ruling.clauses:
            if clause.id in _CLAUSE_HINTS:
                return _CLAUSE_HINTS[clause.id]
        if any(clause.id.startswith("validation.") for clause in action.ruling.clauses):
            return "correct the call; `tools/list` has the tool's schema"
        ids = ", ".join(f"`{clause.id}`" for clause in action.ruling.clauses if clause.then is Decision.FORBID)
        return f"only a change of the signed boundary could allow it ({ids}); do not try another way"
    return _HINTS.get(action.state, "")
