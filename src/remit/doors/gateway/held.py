"""A `tools/call` over HTTP while it is held: answered in JSON, or as a stream once a progress is due.

A call that ends quickly costs one task and one timer. Only when it outlasts `quiet` is the client watched; when it
hangs up the waiting ends, and nothing else does.
"""

from __future__ import annotations

import asyncio
from collections import deque

from remit.doors.gateway.exchange import Caller, Exchange, Reply
from remit.doors.gateway.messages import Message
from remit.doors.gateway.progress import Progress
from remit.doors.gateway.responses import Receive, Send, send_event, send_reply, start_stream

_MOST_UNSENT = 64


class Bell:
    """Wakes one waiter. A ring while nobody waits is kept."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._rung = False

    def ring(self, _: object = None) -> None:
        """Wake the waiter, or the next one."""
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, seconds: float) -> bool:
        """True once rung, False after `seconds`."""
        if not self._rung:
            self._waiter = self._loop.create_future()
            timer = self._loop.call_later(seconds, _finish, self._waiter)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        rung, self._rung = self._rung, False
        return rung


class Held:
    """One call and the client that waits for it. `token` is None where no progress may be sent."""

    def __init__(self, exchange: Exchange, caller: Caller, message: Message, token: str | int | None) -> None:
        self._exchange = exchange
        self._caller = caller
        self._message = message
        self._settings = exchange.settings
        self._bell = Bell()
        self._unsent: deque[bytes] = deque(maxlen=_MOST_UNSENT)
        self._progress = Progress(token, self._due) if token is not None else None
        self._streaming = False

    async def serve(self, receive: Receive, send: Send) -> None:
        """Wait for the answer and send it. Returns without sending where the client has gone."""
        task = asyncio.create_task(self._exchange.respond(self._caller, self._message, self._progress))
        task.add_done_callback(self._bell.ring)
        try:
            await self._bell.wait(self._settings.quiet)
            if task.done() and not self._unsent:
                await send_reply(send, task.result())
                return
            await self._keep_company(task, receive, send)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))

    def _due(self, notification: bytes) -> None:
        self._unsent.append(notification)
        self._bell.ring()

    async def _keep_company(self, task: asyncio.Task[Reply], receive: Receive, send: Send) -> None:
        gone = asyncio.create_task(_hung_up(receive))
        gone.add_done_callback(self._bell.ring)
        try:
            while not gone.done():
                await self._send_progress(send)
                if task.done():
                    await self._finish(task.result(), send)
                    return
                rung = await self._bell.wait(self._settings.heartbeat)
                if not rung and self._progress is not None:
                    self._progress.beat()
        finally:
            gone.cancel()

    async def _send_progress(self, send: Send) -> None:
        if self._unsent and not self._streaming:
            self._streaming = True
            await start_stream(send)
        while self._unsent:
            await send_event(send, self._unsent.popleft())

    async def _finish(self, reply: Reply, send: Send) -> None:
        if self._streaming:
            await send_event(send, reply.body, last=True)
        else:
            await send_reply(send, reply)


def _finish(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
