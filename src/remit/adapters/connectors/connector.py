"""One configured connector: kept alive, asked within bounds, severed at a word.

What lives here: starting and restarting, the opening of a conversation in either era, the limits on calls in flight,
and severing. What never may: a decision about an action, or a second sending of a call whose outcome is not known.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import count

import msgspec

from remit.adapters.connectors import rpc
from remit.adapters.connectors.exchange import Flight, Inbox, Link, Lost, SessionEnded
from remit.adapters.connectors.http import HttpLink
from remit.adapters.connectors.settings import ConnectorSettings, ConnectorStatus
from remit.adapters.connectors.stderr import StderrKeeper
from remit.adapters.connectors.stdio import StdioLink
from remit.flow.ports import AnswerLost, NotSent, UpstreamRefused
from remit.model.words import SECOND, Instant, Json

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0
STABLE_AFTER = 30.0
MAX_PAGES = 200
SEVER_WITHIN = 0.2
CLOSE_WITHIN = 1.0
INTERNAL = ""


class Connector:
    """One upstream. Owned by the event loop; only `sever` may be called from another thread.

    `now` is wall-clock microseconds for the status; `jitter` gives a number in [0, 1) for the pause before a restart.
    """

    def __init__(self, settings: ConnectorSettings, *, now: Callable[[], Instant], jitter: Callable[[], float]) -> None:
        self.settings = settings
        self.status = ConnectorStatus(state="starting", since=now())
        self._now = now
        self._jitter = jitter
        self._numbers = count(1)
        self._link: Link | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._in_flight = 0
        self._turns: deque[asyncio.Future[None]] = deque()
        self._flights: dict[str, Flight] = {}
        self._severed = False
        self._listeners: list[Callable[[], None]] = []
        self._mirrored: dict[str, tuple[tuple[tuple[str, ...], str], ...]] = {}
        secrets = (*settings.secrets, *settings.headers.values())
        self._stderr = StderrKeeper(settings.max_stderr_bytes, settings.stderr_file, secrets)

    # life

    async def start(self) -> None:
        """Start it, and return once the first attempt has come to something. Never raises for a dead connector."""
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._keep())
        while self.status.state == "starting":
            await self._changed.wait()

    async def close(self, grace: float = 2.0) -> None:
        """End it; what is in flight gets `grace` seconds less than nothing: it fails as lost. Never raises."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        link, self._link = self._link, None
        if link is not None:
            await link.close(grace)
        self._fail_all("was closed")
        self._set(ConnectorStatus(state="closed", since=self._now()))

    def stderr_tail(self) -> str:
        """The last of what its process wrote to stderr."""
        return self._stderr.tail()

    def forget_stderr(self) -> None:
        """Forget what its process wrote to stderr so far, as far as it is in memory."""
        self._stderr.forget()

    def on_tools_changed(self, callback: Callable[[], None]) -> None:
        """Call this whenever the upstream says that its tools changed, and after every restart."""
        self._listeners.append(callback)

    async def _keep(self) -> None:
        loop, failures = asyncio.get_running_loop(), 0
        while True:
            began = loop.time()
            why = await self._live()
            failures = 0 if self._severed or loop.time() - began > STABLE_AFTER else failures + 1
            self._severed = False
            pause = min(FIRST_PAUSE * 2 ** max(failures - 1, 0), LONGEST_PAUSE) * (0.5 + self._jitter() / 2)
            self._set(
                replace(
                    self.status,
                    state="down",
                    since=self._now(),
                    reason=f"connector `{self.settings.name}` {why}",
                    next_try=self._now() + int(pause * SECOND),
                )
            )
            await asyncio.sleep(pause)
            again = replace(self.status, state="starting", since=self._now(), restarts=self.status.restarts + 1)
            self._set(again)

    async def _live(self) -> str:
        """Open one link and wait for its end; why it ended."""
        link = self._new_link()
        self._link = link
        try:
            async with asyncio.timeout(self.settings.start_timeout):
                await link.open()
                await self._converse(link)
            for listener in self._listeners:
                listener()
            return await asyncio.shield(link.lost)
        except TimeoutError:
            return f"did not open the conversation within {self.settings.start_timeout:g} s"
        except UpstreamRefused as error:
            return f"refused the conversation: {error.message}"
        except (Lost, NotSent, AnswerLost) as error:
            return str(error).removeprefix(f"connector `{self.settings.name}` ")
        except SessionEnded:
            return "does not know the session that it opened"
        finally:
            self._link = None
            await link.close(CLOSE_WITHIN if not link.lost.done() else 0.0)

    def _new_link(self) -> Link:
        inbox = Inbox(asyncio.get_running_loop().time, self._tools_changed)
        if self.settings.transport == "stdio":
            return StdioLink(self.settings, inbox, self._stderr)
        return HttpLink(self.settings, inbox)

    def _tools_changed(self) -> None:
        for listener in self._listeners:
            asyncio.get_running_loop().call_soon(listener)

    def _set(self, status: ConnectorStatus) -> None:
        self.status = status
        self._changed.set()
        self._changed = asyncio.Event()

    # opening a conversation

    async def _converse(self, link: Link) -> None:
        """Agree on an era and a version, and say that the connector is up."""
        era = self.settings.era
        try:
            opened = await (self._discover(link) if era == "stateless" else self._initialize(link))
        except UpstreamRefused as refused:
            if era != "auto":
                raise
            try:
                opened = await self._discover(link)
            except (UpstreamRefused, Lost):
                raise refused from None
        version, server = opened
        await link.settle(version)
        self._set(
            replace(
                self.status,
                state="up",
                since=self._now(),
                reason="",
                next_try=None,
                protocol=version,
                server=server,
                containment=link.containment,
            )
        )

    async def _initialize(self, link: Link) -> tuple[str, str]:
        params = {"protocolVersion": rpc.HANDSHAKE_VERSIONS[0], "capabilities": {}, "clientInfo": rpc.CLIENT}
        result = await self._ask(link, "initialize", params)
        version = result.get("protocolVersion")
        if version not in rpc.HANDSHAKE_VERSIONS:
            raise Lost("speaks a protocol version that remit does not")
        return version, _server(result.get("serverInfo"))

    async def _discover(self, link: Link) -> tuple[str, str]:
        params = {"_meta": rpc.envelope()}
        result = await self._ask(link, "server/discover", params, version=rpc.STATELESS_VERSION)
        supported = result.get("supportedVersions")
        if not isinstance(supported, list) or rpc.STATELESS_VERSION not in supported:
            raise Lost("speaks a protocol version that remit does not")
        meta = result.get("_meta")
        info = meta.get("io.modelcontextprotocol/serverInfo") if isinstance(meta, dict) else None
        return rpc.STATELESS_VERSION, _server(info)

    async def _ask(self, link: Link, method: str, params: Json, *, version: str = "") -> dict[str, Json]:
        flight = Flight(self.settings.name, INTERNAL, next(self._numbers), method)
        flight.headers = {"MCP-Protocol-Version": version} if version else {}
        flight.body = rpc.request(flight.number, method, rpc.encode(params))
        try:
            result: Json = msgspec.json.decode(await link.exchange(flight))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Lost("answered with something that is not JSON") from error
        finally:
            flight.answer.cancel()
        return result if isinstance(result, dict) else {}

    # what may be asked of it

    async def list_tools(self) -> list[dict[str, Json]]:
        """Every tool definition, as the upstream words it, all pages.

        Raises `NotSent`, `AnswerLost` or `UpstreamRefused`; also `AnswerLost` for a list that is longer than allowed,
        goes in circles, or names one tool twice.
        """
        name = self.settings.name
        try:
            async with asyncio.timeout(self.settings.timeout):
                tools = await self._all_pages(await self._ready())
        except TimeoutError as error:
            raise AnswerLost(f"connector `{name}` did not list its tools within {self.settings.timeout:g} s") from error
        except (Lost, SessionEnded) as error:
            raise AnswerLost(f"connector `{name}` {error or 'ended the session'}") from error
        self._mirrored = {tool["name"]: tuple(rpc.mirrored(tool.get("inputSchema"))) for tool in tools}
        return tools

    async def _all_pages(self, link: Link) -> list[dict[str, Json]]:
        tools: list[dict[str, Json]] = []
        names: set[str] = set()
        cursors: set[str] = set()
        size, params = 0, self._params({})
        for _ in range(MAX_PAGES):
            page = await self._ask(link, "tools/list", params)
            listed, cursor = page.get("tools"), page.get("nextCursor")
            if not isinstance(listed, list):
                raise Lost("answered with something that is not a list of tools")
            for tool in listed:
                if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
                    raise Lost("listed a tool without a name")
                if tool["name"] in names:
                    raise Lost("listed two tools of the same name")
                names.add(tool["name"])
                size += len(rpc.encode(tool))
                tools.append(tool)
            if len(tools) > self.settings.max_tools or size > self.settings.max_listing_bytes:
                raise Lost(f"listed more than {self.settings.max_tools} tools, or too much text about them")
            if cursor is None:
                return tools
            if not isinstance(cursor, str) or cursor in cursors:
                raise Lost("lists its tools in a circle")
            cursors.add(cursor)
            params = self._params({"cursor": cursor})
        raise Lost(f"lists its tools on more than {MAX_PAGES} pages")

    def _params(self, params: dict[str, Json]) -> dict[str, Json]:
        if self.status.protocol == rpc.STATELESS_VERSION:
            params["_meta"] = rpc.envelope()
        return params

    async def call(
        self,
        tool: str,
        arguments: bytes,
        meta: Mapping[str, Json],
        *,
        action: str,
        handed_over: Callable[[], None],
        on_progress: Callable[[Json], None] | None = None,
    ) -> bytes:
        """Call a tool and return the exact bytes of the `result` member; `arguments` is sent byte for byte.

        `handed_over` is called synchronously, immediately before the first byte may leave; what it raises is raised
        here and nothing is sent. It is called once more, just so, before the one repetition that exists: an HTTP
        upstream said that it does not know our session, so it certainly did nothing. Raises `NotSent`, `AnswerLost`
        or `UpstreamRefused`. Ends after the connector's `timeout` at the latest. Cancelling ends the waiting only.
        """
        loop = asyncio.get_running_loop()
        flight = Flight(self.settings.name, action, next(self._numbers), "tools/call", handed_over, on_progress, tool)
        self._flights[action] = flight
        timer = loop.call_later(self.settings.timeout, self._too_late, flight)
        carrier = loop.create_task(self._carry(flight, tool, arguments, meta))
        try:
            return await flight.answer
        finally:
            timer.cancel()
            if self._flights.get(action) is flight:
                del self._flights[action]
            if not carrier.done():
                carrier.cancel()
                link = self._link
                if flight.answer.cancelled() and flight.handed and link is not None:
                    link.abandon(flight)

    def _too_late(self, flight: Flight) -> None:
        link = self._link
        handed, seconds = flight.handed, f"{self.settings.timeout:g} s"
        flight.fail(f"did not answer within {seconds}" if handed else f"did not take the call within {seconds}")
        if handed and link is not None:
            link.abandon(flight)

    async def _carry(self, flight: Flight, tool: str, arguments: bytes, meta: Mapping[str, Json]) -> None:
        """Bring one call to its end: whatever happens, `flight.answer` is done afterwards or the call was cancelled."""
        try:
            await self._turn()
            try:
                answer = await self._deliver(flight, tool, arguments, meta)
            finally:
                self._give_turn()
            if not flight.answer.done():
                flight.answer.set_result(answer)
        except (Lost, SessionEnded) as error:
            flight.fail(str(error) or "ended the session again")
        except asyncio.CancelledError:
            if flight.veto is None:
                raise
            _end(flight, flight.veto)
        except BaseException as error:
            _end(flight, error)

    async def _deliver(self, flight: Flight, tool: str, arguments: bytes, meta: Mapping[str, Json]) -> bytes:
        link = await self._ready()
        self._word(flight, tool, arguments, meta)
        try:
            return await link.exchange(flight)
        except SessionEnded:
            # MCP, basic/transports, session management: 404 means that the request was not looked at.
            flight.handed = False
            if not link.lost.done():
                link.lost.set_result("ended the session")
            self._severed = True
        while self._link is link or self.status.state == "down":
            await self._changed.wait()
        link = await self._ready()
        self._word(flight, tool, arguments, meta)
        return await link.exchange(flight)

    def _word(self, flight: Flight, tool: str, arguments: bytes, meta: Mapping[str, Json]) -> None:
        whole = dict(meta)
        if self.status.protocol == rpc.STATELESS_VERSION:
            whole.update(rpc.envelope())
            flight.headers = rpc.mirrored_headers(self._mirrored.get(tool, ()), arguments)
        if flight.on_progress is not None:
            whole["progressToken"] = flight.number
        flight.body = rpc.request(flight.number, "tools/call", rpc.call_params(tool, arguments, whole))
        if len(flight.body) > self.settings.max_request_bytes:
            limit = self.settings.max_request_bytes
            raise NotSent(f"the call is {len(flight.body)} bytes long, expected at most {limit}")

    async def _ready(self) -> Link:
        while self.status.state == "starting":
            await self._changed.wait()
        if self.status.state != "up" or self._link is None:
            raise NotSent(self.status.reason or f"connector `{self.settings.name}` is {self.status.state}")
        return self._link

    # fairness

    async def _turn(self) -> None:
        if self._in_flight < self.settings.max_in_flight:
            self._in_flight += 1
            return
        if len(self._turns) >= self.settings.max_waiting:
            name, waiting = self.settings.name, self.settings.max_waiting
            raise NotSent(f"connector `{name}` is busy: {self._in_flight} calls in flight and {waiting} waiting")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_turn()
            elif turn in self._turns:
                self._turns.remove(turn)
            raise

    def _give_turn(self) -> None:
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._in_flight -= 1

    # severing

    def sever(self, actions: Iterable[str]) -> tuple[bool, tuple[str, ...]]:
        """Cut these actions' calls now, from any thread, within 0.2 s.

        Returns whether what served them is dead for certain (a process and everything below it: yes; something
        remote: never), and the ids of other actions that were in flight in the same process.
        """
        link, flights = self._link, list(self._flights.values())
        wanted = set(actions)
        mine = [flight for flight in flights if flight.key in wanted]
        if link is None:
            return self.settings.transport == "stdio", ()
        others = tuple(f.key for f in flights if f.handed and f.key not in wanted)
        self._severed = True
        certain = link.kill(mine, "was severed by a stop", SEVER_WITHIN)
        return certain, others if self.settings.transport == "stdio" else ()

    def _fail_all(self, why: str) -> None:
        for flight in list(self._flights.values()):
            flight.fail(why)


def _end(flight: Flight, error: BaseException) -> None:
    if not flight.answer.done():
        flight.answer.set_exception(error)


def _server(info: Json) -> str:
    """The upstream's own name and version, bounded and untrusted."""
    if not isinstance(info, dict):
        return ""
    return f"{info.get('name', '')!s} {info.get('version', '')!s}"[:200]
