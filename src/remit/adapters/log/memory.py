"""A log that is kept nowhere, and its witnesses: the doubles for tests of the flow. They are never in trouble but where
a test says so."""

from __future__ import annotations

import asyncio

from remit.flow.ports import LogState, WitnessesState


class MemoryLog:
    """Fulfils `remit.flow.ports.Log`. `says` is the trouble."""

    def __init__(self) -> None:
        self.says = ""

    def trouble(self) -> str:
        """See `Log`."""
        return self.says

    @property
    def state(self) -> LogState:
        """See `Log`."""
        return LogState()


class MemoryWitnesses:
    """Fulfils `remit.flow.ports.Witnesses`. `says` is why they are away; `asked` are the positions that somebody waited
    for; `answer` is what they are told, and None lets them wait until they are cancelled or `answered` is set."""

    def __init__(self) -> None:
        self.says = ""
        self.answer: bool | None = True
        self.answered = asyncio.Event()
        self.asked: list[int] = []

    def away(self) -> str:
        """See `Witnesses`."""
        return self.says

    async def cover(self, position: int, seconds: float) -> bool:
        """See `Witnesses`. The time is not waited for: a test says when it is over."""
        self.asked.append(position)
        if self.answer is None:
            await self.answered.wait()
        return bool(self.answer)

    @property
    def state(self) -> WitnessesState:
        """See `Witnesses`."""
        return WitnessesState()
