"""The state table of an action: every transition that exists, and nothing else.

What lives here: the table and its reading. What never may: reasons for taking a transition (that is the steward's).

    (opened as) ─► blocked                      forbidden or not valid
                ─► awaiting_approval            a human is asked
                ─► executing                    auto: proposal and intent in one commit

`done`, `failed`, `blocked`, `rejected`, `expired`, `withdrawn` and `void` are final. `unknown`, and `cut` after the
hand-over, are *unsettled*: the action may have had its effect. They hold their target until somebody settles them.
"""

from __future__ import annotations

from remit.model.words import Action, Effect, Event, State

OPENINGS: frozenset[State] = frozenset({State.BLOCKED, State.WAITING, State.EXECUTING})

# INVARIANT: no transition leads out of a final state, and none into `executing` but INTEND.
TABLE: dict[tuple[State, Event], State] = {
    (State.WAITING, Event.APPROVE): State.APPROVED,
    (State.WAITING, Event.REJECT): State.REJECTED,
    (State.WAITING, Event.EXPIRE): State.EXPIRED,
    (State.WAITING, Event.WITHDRAW): State.WITHDRAWN,
    (State.WAITING, Event.VOID): State.VOID,
    (State.APPROVED, Event.INTEND): State.EXECUTING,
    (State.APPROVED, Event.REFUSE): State.BLOCKED,
    (State.APPROVED, Event.ASK_AGAIN): State.WAITING,
    (State.APPROVED, Event.EXPIRE): State.EXPIRED,
    (State.APPROVED, Event.WITHDRAW): State.WITHDRAWN,
    (State.APPROVED, Event.VOID): State.VOID,
    (State.EXECUTING, Event.SUCCEED): State.DONE,
    (State.EXECUTING, Event.FAIL): State.FAILED,
    (State.EXECUTING, Event.CUT): State.CUT,
    (State.EXECUTING, Event.LOSE): State.UNKNOWN,
    (State.UNKNOWN, Event.SETTLE_APPLIED): State.DONE,
    (State.UNKNOWN, Event.SETTLE_NOT_APPLIED): State.FAILED,
    (State.CUT, Event.SETTLE_APPLIED): State.DONE,
    (State.CUT, Event.SETTLE_NOT_APPLIED): State.FAILED,
}

FINAL: frozenset[State] = frozenset(State) - {state for state, _ in TABLE}
OPEN: frozenset[State] = frozenset({State.WAITING, State.APPROVED, State.EXECUTING})


class NoSuchTransition(Exception):
    """Our own bug, or an attempt to write what the table does not have. Nothing was written."""


class Stale(Exception):
    """The action moved since it was read: somebody else decided first. Nothing was written."""


def after(state: State, event: Event) -> State:
    """The state that `event` leads to; raises `NoSuchTransition` where the table has none."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise NoSuchTransition(f"an action that is `{state}` cannot `{event}`") from None


def unsettled(action: Action) -> bool:
    """True while the action may have had an effect that nobody knows of: it holds its targets. A read has none."""
    if action.effect is Effect.READ:
        return False
    return action.state is State.UNKNOWN or (action.state is State.CUT and action.handed_over)
