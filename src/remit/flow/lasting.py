"""Work that a request begins and that comes to its end whatever becomes of the request.

What lives here: keeping such work apart from whoever waits for it. What never may: the work itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Lasting:
    """Owned by the event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()  # the loop itself holds tasks only weakly

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of the work. Cancelling this ends the waiting, never the work."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)
