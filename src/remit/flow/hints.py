"""Hints in memory for whoever waits: that an action changed, how it ended, how far it is.

What lives here: waking. What never may: anything that must not be lost. Whoever misses a hint finds the truth in the
store; a lost hint costs time, never an answer.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

from remit.model.words import Action, Evidence, Json

_KEPT = 2_048


class Finished(Struct, frozen=True):
    """How an action ended, as the task that carried it saw it. `note` says what could not be recorded, if anything."""

    action: Action
    result: bytes = b""
    evidence: Evidence | None = None
    note: str = ""


class Hints:
    """Owned by the event loop."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[bool]]] = {}
        self._progress: dict[str, list[Callable[[Json], None]]] = {}
        self._finished: OrderedDict[str, Finished] = OrderedDict()

    def changed(self, action_id: str) -> None:
        """Wake everybody who waits for this action."""
        for future in self._waiting.pop(action_id, ()):
            _settle(future, True)

    def finish(self, finished: Finished) -> None:
        """Keep how it ended for a while, and wake."""
        self._finished[finished.action.id] = finished
        while len(self._finished) > _KEPT:
            self._finished.popitem(last=False)
        self._progress.pop(finished.action.id, None)
        self.changed(finished.action.id)

    def finished(self, action_id: str) -> Finished | None:
        """How it ended, if that is still in memory."""
        return self._finished.get(action_id)

    def progress(self, action_id: str, value: Json) -> None:
        """Pass on how far a connector says that it is."""
        for listener in self._progress.get(action_id, ()):
            listener(value)

    def listen(self, action_id: str, listener: Callable[[Json], None]) -> Callable[[], None]:
        """Hear of progress until the returned function is called."""
        listeners = self._progress.setdefault(action_id, [])
        listeners.append(listener)

        def forget() -> None:
            if listener in listeners:
                listeners.remove(listener)
            if not listeners:
                self._progress.pop(action_id, None)

        return forget

    async def change(self, action_id: str, seconds: float) -> bool:
        """Wait for the next change. False if none came within `seconds`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        self._waiting.setdefault(action_id, set()).add(future)
        timer = loop.call_later(max(seconds, 0.0), _settle, future, False)
        try:
            return await future
        finally:
            timer.cancel()
            waiting = self._waiting.get(action_id)
            if waiting is not None:
                waiting.discard(future)
                if not waiting:
                    del self._waiting[action_id]


def _settle(future: asyncio.Future[bool], changed: bool) -> None:
    if not future.done():
        future.set_result(changed)
