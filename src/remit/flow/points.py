"""The arrows of the road, by name: where a test may end the process.

What lives here: the names. In a running node the hook does nothing.
"""

from __future__ import annotations

from collections.abc import Callable

Hook = Callable[[str], None]

POINTS: dict[str, str] = {
    "proposing": "a call was drafted; nothing is recorded",
    "intended": "the intent of an `auto` action is durable; nothing has started",
    "deciding": "a human's statement came in; nothing is recorded",
    "approved": "the last approval is durable; execution has not begun",
    "executing": "an approved action was asked again; its intent is not recorded",
    "set out": "the intent of an approved action is durable; nothing has started",
    "witnessing": "the intent is durable and no witness has cosigned it yet; nothing was handed over",
    "minted": "the warrant exists; nothing was handed over",
    "handing over": "the next thing is the first byte to the connector",
    "answered": "the connector has answered; the outcome is not recorded",
    "recorded": "the outcome is durable; nobody was told",
}


def nothing(point: str) -> None:
    """The hook of a running node."""
