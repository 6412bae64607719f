"""What every store holds a step to, as pure functions: both stores of this package ask here before they write.

What lives here: the checks that `remit.flow.ports.Transaction` promises. What never may: a database, a clock.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from remit.flow import lifecycle
from remit.flow.query import INDEXED, Query
from remit.model.words import (
    CONFIDENTIALITY_RANK,
    INTEGRITY_RANK,
    MINUTE,
    SECOND,
    Action,
    Claim,
    Clause,
    Effect,
    Event,
    Evidence,
    Instant,
    Label,
    Record,
    Run,
    State,
)

CHANGEABLE = frozenset(
    {
        "ruling",
        "expires_at",
        "decided_at",
        "intended_at",
        "handed_over",
        "ended_at",
        "warrant",
        "credential",
        "evidence",
        "result",
        "outcome",
        "settled_by",
    }
)
"""Fields that an event may bring. The others make the action what it is: changed, it would be another action."""

EVERY_TARGET = "*"
"""Stands for the targets of an action that nobody can list."""

REFUSALS_KEPT: Instant = 31 * 24 * 60 * MINUTE
"""How long a refusal is remembered after the newest one."""

NONCES_KEPT: Instant = 60 * MINUTE
"""How long a nonce is remembered after it expired, by the journal's own time."""


def need_records(records: Sequence[Record]) -> None:
    """Raises `ValueError` when a change of state comes without a record."""
    if not records:
        raise ValueError("a change of state needs at least one record in the same transaction")


def need_plain(answer: object) -> None:
    """Raises `TypeError` when a step returned something to wait for: a step is synchronous."""
    if hasattr(type(answer), "__await__"):
        if inspect.iscoroutine(answer):
            answer.close()
        raise TypeError("a step is synchronous: it must not be a coroutine")


def need_stored(query: Query) -> None:
    """Raises `ValueError` where a query asks for what only the index can find: its answer would be a wrong one here."""
    for name in INDEXED:
        if getattr(query, name):
            raise ValueError(f"the store cannot find actions by `{name}`, only the index can")


def settled(action: Action) -> bool:
    """True once the action can have no further effect: its share of the quotas may end."""
    return action.state not in lifecycle.OPEN and not lifecycle.unsettled(action)


def holding(action: Action) -> bool:
    """True while the action keeps its targets from others: consequential, and executing or unsettled."""
    if action.effect is Effect.READ:
        return False
    return action.state is State.EXECUTING or lifecycle.unsettled(action)


def held_targets(action: Action) -> tuple[str, ...]:
    """The targets that a holding action keeps; one that is unbounded may touch any, so it keeps every one."""
    return action.targets if action.bounded else (*action.targets, EVERY_TARGET)


def opened(action: Action, claims: Sequence[Claim], records: Sequence[Record]) -> Action:
    """The action as it is first written. Raises as `Transaction.open` says."""
    need_records(records)
    if action.state not in lifecycle.OPENINGS:
        raise lifecycle.NoSuchTransition(f"an action cannot open as `{action.state}`")
    if claims and action.state is not State.EXECUTING:
        raise ValueError(f"an action that opens as `{action.state}` takes no share of the quotas yet")
    if drops_secrets(action):
        raise ValueError(f"an action that opens as `{action.state}` keeps no secret arguments")
    if any(claim.action != action.id for claim in claims):
        raise ValueError(f"expected claims of `{action.id}` only")
    return action if action.revision == 1 else replace(action, revision=1)


def moved(
    action: Action | None,
    action_id: str,
    expected: int,
    event: Event,
    records: Sequence[Record],
    changes: Mapping[str, Any],
) -> Action:
    """The action after `event`. Raises as `Transaction.move` says."""
    current = _changing(action, action_id, expected, records, changes)
    after = replace(current, state=lifecycle.after(current.state, event), revision=expected + 1, **changes)
    return replace(after, fingerprint="") if drops_secrets(after) else after


def drops_secrets(action: Action) -> bool:
    """True once secret arguments are of no more use: the action was called, or never will be. What settles it later
    needs its targets alone. Its fingerprint goes with them, lest a short one be guessed by it."""
    return bool(action.secrets) and action.state not in lifecycle.OPEN


def noted(
    action: Action | None, action_id: str, expected: int, records: Sequence[Record], changes: Mapping[str, Any]
) -> Action:
    """The action with other fields changed, in the same state. Raises as `Transaction.note` says."""
    current = _changing(action, action_id, expected, records, changes)
    return replace(current, revision=expected + 1, **changes)


def told_apart(action: Action) -> tuple[Action, dict[str, str]]:
    """The action as a row may hold it, and apart from it what its clauses say that can repeat an argument: by the
    clause's place, empty for nearly every action."""
    clauses = action.ruling.clauses
    says = {str(each): clause.says for each, clause in enumerate(clauses) if _repeats(clause) and clause.says != GONE}
    if not says:
        return action, says
    quiet = tuple(replace(clause, says="") if _repeats(clause) else clause for clause in clauses)
    return replace(action, ruling=replace(action.ruling, clauses=quiet)), says


def is_apart(action: Action) -> bool:
    """Whether something that the action's clauses say is kept apart from its row."""
    return any(_repeats(clause) and not clause.says for clause in action.ruling.clauses)


def told_together(action: Action, says: Mapping[str, str] | None) -> Action:
    """The action with what its clauses say; `GONE` where that was erased."""
    clauses = tuple(
        replace(clause, says=(says or {}).get(str(each), GONE)) if _repeats(clause) and not clause.says else clause
        for each, clause in enumerate(action.ruling.clauses)
    )
    return replace(action, ruling=replace(action.ruling, clauses=clauses))


def _repeats(clause: Clause) -> bool:
    return clause.id.startswith(("validation.", "intake."))


GONE = "what it said is no longer kept"


def scrubbed(action: Action | None, action_id: str, names: Mapping[str, str]) -> Action:
    """The action with stand-ins for its targets' names. Raises as `Transaction.scrub` says."""
    if action is None or not settled(action):
        raise ValueError(f"action `{action_id}` can still have an effect, so its targets' names stay")
    clauses = tuple(replace(each, says=_without(each.says, names)) for each in action.ruling.clauses)
    return replace(
        action,
        targets=tuple(names.get(each, each) for each in action.targets),
        fingerprint="",
        ruling=replace(action.ruling, clauses=clauses),
        outcome=_without(action.outcome, names),
    )


def scrubbed_run(run: Run | None, run_id: str, names: Mapping[str, str]) -> Run:
    """The run with stand-ins for the names in its mandate. Raises as `Transaction.scrub_run` says."""
    if run is None or run.closed_at is None:
        raise ValueError(f"run `{run_id}` is not closed, so its mandate stays")
    targets = tuple(names.get(each, each) for each in run.mandate.targets)
    return replace(run, mandate=replace(run.mandate, targets=targets), client="", declared={})


def _without(text: str, names: Mapping[str, str]) -> str:
    for name in sorted(names, key=len, reverse=True):
        text = re.sub(re.escape(name), names[name], text, flags=re.IGNORECASE)  # a stand-in is plain hexadecimal
    return text


def position_at(at: Instant, positions: int, time_at: Callable[[int], Instant]) -> int:
    """The first of so many positions whose record was written at that time or later; times are nearly in order."""
    low, high = 0, positions
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if time_at(middle) < at else (low, middle)
    return low


BACK: Instant = 5 * SECOND
"""How far a record's time may lie behind that of the one before it."""


def _changing(
    action: Action | None, action_id: str, expected: int, records: Sequence[Record], changes: Mapping[str, Any]
) -> Action:
    need_records(records)
    if action is None:
        raise lifecycle.Stale(f"there is no action `{action_id}`")
    if action.revision != expected:
        raise lifecycle.Stale(f"action `{action_id}` is at revision {action.revision}, expected {expected}")
    if not changes.keys() <= CHANGEABLE:
        fixed = ", ".join(f"`{name}`" for name in sorted(changes.keys() - CHANGEABLE))
        raise ValueError(f"no event changes {fixed} of an action")
    # INVARIANT: what was handed over stays so, else an unknown effect could be forgotten.
    if action.handed_over and not changes.get("handed_over", True):
        raise ValueError(f"action `{action_id}` was handed over, which nothing takes back")
    return action


def end_of_claims(changes: Mapping[str, Any]) -> Instant:
    """When the claims of an action that is settled now end: the `ended_at` that this very move brings.

    An earlier `ended_at` (of a cut, say) would let the quota go before the action's last possible effect.
    """
    ended = changes.get("ended_at")
    if ended is None:
        raise ValueError("the action holds a share of a quota: say `ended_at` when it settles")
    return int(ended)


def reservable(action: Action | None, action_id: str) -> None:
    """Raises `ValueError` unless the action is about to execute or executing."""
    if action is None:
        raise ValueError(f"there is no action `{action_id}` to reserve for")
    if action.state not in (State.APPROVED, State.EXECUTING):
        raise ValueError(f"an action that is `{action.state}` takes no share of the quotas")


def replaceable(before: Run | None, run: Run) -> None:
    """Raises `ValueError` if replacing the run would lower its label or forget calls."""
    if before is None:
        return
    if run.calls < before.calls:
        raise ValueError(f"run `{run.id}` counts {before.calls} calls, not {run.calls}: a count never goes back")
    if not rises(before.label, run.label):
        raise ValueError(f"the label of run `{run.id}` would fall: a label only rises")


def rises(before: Label, after: Label) -> bool:
    """True if `after` is at least as restrictive as `before`."""
    return (
        INTEGRITY_RANK[after.integrity] >= INTEGRITY_RANK[before.integrity]
        and CONFIDENTIALITY_RANK[after.confidentiality] >= CONFIDENTIALITY_RANK[before.confidentiality]
    )


def raised(label: Label, evidence: Evidence) -> Label:
    """The label of a run after it was shown the evidence."""
    return label.join(evidence.label)


def covers(pattern: str, category: str) -> bool:
    """True if a category as a quota writes it, perhaps ending in `*`, covers this one."""
    return category.startswith(pattern[:-1]) if pattern.endswith("*") else category == pattern
