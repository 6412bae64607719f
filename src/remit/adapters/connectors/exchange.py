"""One request on its way to an upstream, and what the links (stdio, HTTP) share.

The rule that decides what a failure means is here and nowhere else: before `hand_over` nothing has happened
(`NotSent`), after it any failure leaves the outcome unknown (`AnswerLost`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from remit.adapters.connectors import rpc
from remit.flow.ports import AnswerLost, NotSent
from remit.model.words import Json

UNSOLICITED_PER_SECOND = 5_000
PROGRESS_PER_SECOND = 50


class Lost(Exception):
    """The exchange or the whole link failed. `str()` completes the sentence "connector `x` …"."""


class SessionEnded(Exception):
    """The upstream does not know our session (any more): it did nothing with the request."""


@dataclass(eq=False)
class Flight:
    """One request. Owned by the event loop, except `handed`, which a stop's thread may read."""

    connector: str
    key: str
    number: int
    method: str
    handed_over: Callable[[], None] = lambda: None
    on_progress: Callable[[Json], None] | None = None
    name: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    answer: asyncio.Future[bytes] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    handed: bool = False
    veto: BaseException | None = None

    def hand_over(self) -> None:
        """Immediately before the first byte may leave. Raises what the caller's own last look raises."""
        if self.answer.done():
            raise asyncio.CancelledError
        try:
            self.handed_over()
        except BaseException as error:
            self.handed, self.veto = False, error
            raise
        self.handed = True

    def fail(self, why: str) -> None:
        """End it with what the failure means. `why` completes the sentence "connector `x` …"."""
        if not self.answer.done():
            words = f"connector `{self.connector}` {why}"
            self.answer.set_exception(AnswerLost(words) if self.handed else NotSent(words))


class Link(Protocol):
    """One live conversation with an upstream."""

    containment: str
    lost: asyncio.Future[str]

    async def open(self) -> None:
        """Reach it. Raises `Lost`."""
        ...

    async def exchange(self, flight: Flight) -> bytes:
        """Send one request and return the bytes of `result`. Raises `Lost`, `SessionEnded`, `UpstreamRefused`."""
        ...

    async def settle(self, version: str) -> None:
        """The conversation's protocol version is agreed: act on it from now on. Raises `Lost`."""
        ...

    def abandon(self, flight: Flight) -> None:
        """Tell the upstream, as far as it can be told, that nobody waits for this any more."""
        ...

    def kill(self, flights: list[Flight], why: str, seconds: float) -> bool:
        """Sever now, from any thread. True if what served these calls is dead for certain."""
        ...

    async def close(self, grace: float) -> None:
        """End the conversation, at the latest after `grace` seconds by force. Never raises."""
        ...


class Budget:
    """At most `limit` takings in any one second of `now`."""

    def __init__(self, limit: int, now: Callable[[], float]) -> None:
        self._limit = limit
        self._now = now
        self._second = 0
        self._left = limit

    def take(self) -> bool:
        """False once this second's share is used up."""
        second = int(self._now())
        if second != self._second:
            self._second, self._left = second, self._limit
        self._left -= 1
        return self._left >= 0


class Inbox:
    """Everything an upstream sends that is not the answer to a request of ours."""

    def __init__(self, now: Callable[[], float], tools_changed: Callable[[], None]) -> None:
        self._budget = Budget(UNSOLICITED_PER_SECOND, now)
        self._now = now
        self._tools_changed = tools_changed
        self._waiting: dict[int | str, tuple[Callable[[Json], None], Budget]] = {}

    def expect(self, flight: Flight) -> None:
        """Forward this flight's progress, at a bounded rate."""
        if flight.on_progress is not None:
            self._waiting[flight.number] = (flight.on_progress, Budget(PROGRESS_PER_SECOND, self._now))

    def forget(self, flight: Flight) -> None:
        """Forward no more of it."""
        self._waiting.pop(flight.number, None)

    def count(self) -> None:
        """Count one thing that nobody asked for. Raises `Lost` when it floods."""
        if not self._budget.take():
            raise Lost(f"sent more than {UNSOLICITED_PER_SECOND} messages that nobody asked for in a second")

    def take(self, message: rpc.Message) -> bytes | None:
        """Act on a notification; the reply for a request of the server's. Raises `Lost` when it floods."""
        self.count()
        if message.method is msgspec.UNSET:
            return None
        if message.id is not msgspec.UNSET:
            return rpc.answer_to_server(message)
        if message.method == "notifications/tools/list_changed":
            self._tools_changed()
        elif message.method == "notifications/progress" and message.params is not msgspec.UNSET:
            self._progress(bytes(message.params))
        return None

    def _progress(self, params: bytes) -> None:
        token = rpc.progress_token(params)
        forward, budget = self._waiting.get(token, (None, None)) if token is not None else (None, None)
        if forward is not None and budget is not None and budget.take():
            # What a listener does with it must never harm the link.
            with suppress(Exception):
                forward(msgspec.json.decode(params))
