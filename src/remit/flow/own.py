"""Remit's own calls: preconditions, status questions and lookups, as agent `remit`, down the same road.

What lives here: making such a call. What never may: a way round the steward.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from remit.flow.drafts import Call
from remit.flow.force import Tool
from remit.model.manifest import Support
from remit.model.words import MINUTE, REMIT, Action, Instant, Json, Mandate, Run

Read = Callable[[Call], Awaitable[tuple[Action, bytes]]]
"""One of Remit's own reads, to its end: the action and the raw result."""

RUN_ID = "run_remit"


def own_run(case: str, at: Instant) -> Run:
    """The run under which Remit's own calls are recorded. It has no token and no mandate, and is in no store."""
    return Run(
        id=RUN_ID,
        agent=REMIT,
        case=case,
        opened_by=REMIT,
        opened_at=at,
        expires_at=at + 10 * MINUTE,
        mandate=Mandate((), ()),
        token_hash="",
    )


def own_call(tool: Tool, arguments: dict[str, Json], case: str, at: Instant, *, past_stops: bool = False) -> Call:
    """A read of Remit's own."""
    return Call(run=own_run(case, at), tool=tool, arguments=arguments, own=True, past_stops=past_stops)


def supporting_call(
    support: Support, tool: Tool, target: str, case: str, at: Instant, *, past_stops: bool = False
) -> Call:
    """The read that a manifest declares in support of another tool, about one target."""
    return own_call(tool, support.call(target), case, at, past_stops=past_stops)
