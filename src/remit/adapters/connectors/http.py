"""MCP over streamable HTTP (MCP, basic/transports), both eras: one POST, one answer, as JSON or as an event stream."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

import msgspec

from remit.adapters.connectors import rpc
from remit.adapters.connectors.exchange import Flight, Inbox, Lost, SessionEnded
from remit.adapters.connectors.settings import ConnectorSettings
from remit.adapters.connectors.sse import SseReader
from remit.adapters.connectors.wire import Response, TooLong, Unreachable, Wire, WireError
from remit.flow.ports import UpstreamRefused

KEEP_ALIVE = 4.0
STREAM_ALLOWANCE = 4
RESUMPTIONS = 5
LISTEN_PAUSE = 5.0
ASIDE_AT_ONCE = 8
MAY_HAVE_ACTED = (408, 499)
REDIRECTS_BEFORE_ACTING = (307, 308)


class HttpLink:
    """The pooled connections to one upstream. Everything is owned by the event loop."""

    def __init__(self, settings: ConnectorSettings, inbox: Inbox) -> None:
        self.containment = "remote: what it started cannot be killed from here"
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[str] = self._loop.create_future()
        self._settings = settings
        self._inbox = inbox
        self._headers = {
            **settings.headers,
            "Accept": "application/json, text/event-stream",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "User-Agent": f"{rpc.CLIENT['name']}/{rpc.CLIENT['version']}",
        }
        self._version = ""
        self._session = ""
        self._wire: Wire | None = None
        self._aside: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Make the pool. Raises `Lost` if the file with the certificate authority cannot be used."""
        try:
            trust = ssl.create_default_context(cafile=self._settings.ca_file)
        except OSError as error:
            raise Lost("cannot be reached: the file of its `ca_file` cannot be used") from error
        try:
            self._wire = Wire(
                self._settings.url,
                trust,
                connect_timeout=self._settings.connect_timeout,
                keep_alive=KEEP_ALIVE,
            )
        except ValueError as error:
            raise Lost("cannot be asked: its address is not valid") from error

    async def settle(self, version: str) -> None:
        """Use this version from now on; confirm the handshake and listen for changes."""
        self._version = version
        if version != rpc.STATELESS_VERSION:
            await self._post_aside(rpc.notification("notifications/initialized"))
            self._start_aside(self._listen("GET", {}, b""))
            return
        params = {"notifications": {"toolsListChanged": True}, "_meta": rpc.envelope()}
        body = rpc.request(0, "subscriptions/listen", rpc.encode(params))
        headers = {"Mcp-Method": "subscriptions/listen"}
        self._start_aside(self._listen("POST", headers, body))

    # one request

    async def exchange(self, flight: Flight) -> bytes:
        """Send one POST and read its answer."""
        self._inbox.expect(flight)
        try:
            async with self._request("POST", self._stamped(flight), flight.body, flight.hand_over) as response:
                return await self._answer(flight, response)
        except (WireError, OSError, ValueError) as error:
            if flight.veto is not None:
                raise flight.veto from error
            why = _words(error, flight.handed)
            if not flight.handed and not self.lost.done():
                self.lost.set_result(why)
            raise Lost(why) from error
        finally:
            self._inbox.forget(flight)

    def _request(
        self, verb: str, headers: dict[str, str], body: bytes, before: Callable[[], None] | None = None
    ) -> AbstractAsyncContextManager[Response]:
        assert self._wire is not None
        return self._wire.request(verb, headers, body, before=before)

    def _stamped(self, flight: Flight) -> dict[str, str]:
        headers = self._common()
        stateless = flight.headers.get("MCP-Protocol-Version") or self._version
        if stateless == rpc.STATELESS_VERSION:
            headers["Mcp-Method"] = flight.method
            if flight.name:
                headers["Mcp-Name"] = rpc.header_value(flight.name)
        headers.update(flight.headers)
        return headers

    def _common(self) -> dict[str, str]:
        headers = dict(self._headers)
        if self._version:
            headers["MCP-Protocol-Version"] = self._version
        if self._session:
            headers["Mcp-Session-Id"] = self._session
        return headers

    async def _answer(self, flight: Flight, response: Response) -> bytes:
        if response.status != 200:
            await self._not_ok(flight, response)
        if response.headers.get("content-encoding", "identity") != "identity":
            raise Lost("answered in a compressed form that was not asked for")
        if flight.method == "initialize":
            self._session = response.headers.get("mcp-session-id", "")[:1024]
        kind = response.content_type
        if kind == "application/json":
            return self._outcome(flight, rpc_read(await self._body(response)))
        if kind != "text/event-stream":
            raise Lost("answered with neither JSON nor an event stream")
        reader = SseReader()
        answer = await self._stream(flight, response, reader)
        for _ in range(RESUMPTIONS):
            if answer is not None or not reader.last_id:
                break
            # A server may end a stream and have us come back for the rest; that repeats nothing.
            await asyncio.sleep(reader.retry)
            headers = {**self._common(), "Last-Event-ID": reader.last_id}
            async with self._request("GET", headers, b"") as again:
                answer = await self._stream(flight, again, reader) if again.status == 200 else None
        if answer is None:
            raise Lost("ended its answer before it was whole")
        return answer

    async def _not_ok(self, flight: Flight, response: Response) -> None:
        """Raise what a status other than 200 means: who says that it did not act is believed, nobody else is."""
        status = response.status
        if status == 404 and self._session and flight.method != "initialize":
            raise SessionEnded
        if 300 <= status < 400:
            words = f"it answered with a redirect ({status}), which remit does not follow"
            if status in REDIRECTS_BEFORE_ACTING:
                raise UpstreamRefused(status, words)
            raise Lost(f"answered with a redirect ({status}), which remit does not follow")
        if not 400 <= status < 500 or status in MAY_HAVE_ACTED:
            raise Lost(f"answered with HTTP status {status}")
        if response.content_type == "application/json":
            message = rpc_read(await self._body(response))
            if message.error is not msgspec.UNSET:
                raise rpc.refusal(bytes(message.error))
        raise UpstreamRefused(status, f"it refused with HTTP status {status}")

    async def _body(self, response: Response) -> bytes:
        limit = self._settings.max_result_bytes
        try:
            return await response.read(limit)
        except TooLong:
            raise Lost(f"sent an answer longer than {limit} bytes, the most it may") from None

    async def _stream(self, flight: Flight, response: Response, reader: SseReader) -> bytes | None:
        """The answer among the events, None if the stream ends without it."""
        size, limit = 0, self._settings.max_result_bytes * STREAM_ALLOWANCE
        async for chunk in response.chunks():
            size += len(chunk)
            if size > limit:
                raise Lost(f"sent an event stream longer than {limit} bytes, the most it may")
            for data in reader.feed(chunk):
                message = rpc_read(data)
                if message.method is msgspec.UNSET:
                    if len(data) > self._settings.max_result_bytes:
                        raise Lost(f"sent an answer longer than {self._settings.max_result_bytes} bytes")
                    return self._outcome(flight, message)
                self._aside_message(message)
        return None

    def _outcome(self, flight: Flight, message: rpc.Message) -> bytes:
        if message.id != flight.number and message.error is msgspec.UNSET:
            raise Lost("answered another request than the one it was asked")
        try:
            return message.outcome()
        except rpc.Unusable as error:
            raise Lost(str(error)) from error

    # beside the requests

    def _aside_message(self, message: rpc.Message) -> None:
        reply = self._inbox.take(message)
        if reply is not None and len(self._aside) < ASIDE_AT_ONCE:
            self._start_aside(self._post_aside(reply))

    def _start_aside(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def _post_aside(self, body: bytes) -> None:
        """Send something whose answer does not matter. Never raises."""
        with suppress(WireError, OSError, TimeoutError):
            async with asyncio.timeout(self._settings.connect_timeout):
                async with self._request("POST", self._common(), body):
                    return

    async def _listen(self, verb: str, headers: dict[str, str], body: bytes) -> None:
        """Hear what the upstream says unasked, as long as it offers that. Never raises."""
        while True:
            with suppress(WireError, OSError, TimeoutError, Lost):
                async with self._request(verb, {**self._common(), **headers}, body) as response:
                    if response.status != 200 or response.content_type != "text/event-stream":
                        return
                    await self._hear(response)
            await asyncio.sleep(LISTEN_PAUSE)

    async def _hear(self, response: Response) -> None:
        reader, unread = SseReader(), 0
        async for chunk in response.chunks():
            unread += len(chunk)
            events = reader.feed(chunk)
            unread = 0 if events else unread
            if unread > self._settings.max_result_bytes:
                return
            for data in events:
                self._aside_message(rpc_read(data))

    # the end

    def abandon(self, flight: Flight) -> None:
        """Handshake era: `notifications/cancelled`. Later the closed stream is the word, and it is closed already."""
        if self._version != rpc.STATELESS_VERSION and len(self._aside) < ASIDE_AT_ONCE:
            self._start_aside(self._post_aside(rpc.cancelled(flight.number)))

    def kill(self, flights: list[Flight], why: str, seconds: float) -> bool:
        """Break off these calls, from any thread. Never certain: what runs elsewhere may go on."""

        def break_off() -> None:
            for flight in flights:
                flight.fail(why)

        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(break_off)
        return False

    async def close(self, grace: float) -> None:
        """End the session and the connections."""
        for task in list(self._aside):
            task.cancel()
        if self._session and self._wire is not None and not self.lost.done():
            with suppress(WireError, OSError, TimeoutError):
                async with asyncio.timeout(grace):
                    async with self._request("DELETE", self._common(), b""):
                        pass
        if not self.lost.done():
            self.lost.set_result("was closed")
        if self._wire is not None:
            await self._wire.close()


def rpc_read(data: bytes) -> rpc.Message:
    """One message, or `Lost` with what is wrong with it."""
    try:
        return rpc.read(data)
    except rpc.Unusable as error:
        raise Lost(str(error)) from error


def _words(error: BaseException, handed: bool) -> str:
    """What happened, without anything that the other side or a configuration put into the error."""
    if isinstance(error, Unreachable):
        return str(error)
    if isinstance(error, ValueError):
        return "cannot be asked: a header or its address is not valid"
    if isinstance(error, WireError) and handed:
        return str(error)
    return "broke the connection" if handed else "cannot be reached: no connection"
