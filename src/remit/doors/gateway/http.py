"""MCP over streamable HTTP as an ASGI application, in both eras.

Each request is checked from the outside in: path, `Host` and `Origin`, size of the head, method, token, rate, media
types, size of the body, JSON, era. Nothing of a request is used before the check that guards it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from remit.doors.gateway.eras import (
    HANDSHAKE_VERSIONS,
    METHOD_HEADER,
    MODERN_VERSIONS,
    NAME_HEADER,
    SESSION_HEADER,
    VERSION_HEADER,
    Era,
    check_envelope,
    check_headers,
    has_envelope,
    unsupported,
)
from remit.doors.gateway.exchange import Caller, Exchange, Reply
from remit.doors.gateway.held import Held
from remit.doors.gateway.messages import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_REQUEST,
    Message,
    ProtocolError,
    read_message,
)
from remit.doors.gateway.progress import progress_token
from remit.doors.gateway.responses import Receive, Scope, Send, send_empty, send_reply
from remit.doors.gateway.settings import GatewaySettings
from remit.flow.answers import AgentSide
from remit.model.display import shown
from remit.model.words import Run

Headers = dict[str, str]

_ROUTING = frozenset({VERSION_HEADER, METHOD_HEADER, NAME_HEADER})
_ONCE = _ROUTING | {"host", "origin", "authorization", "content-type", "content-length", SESSION_HEADER}
_JSON_TYPES = ("application/json", "application/*", "*/*")
_STREAM_TYPES = ("text/event-stream", "text/*", "*/*")
_CLOSE = ((b"connection", b"close"),)
_ALLOW = ((b"allow", b"POST, DELETE"),)
_LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


class _ClientGone(Exception):
    """The client hung up before its request was whole."""


class HttpDoor:
    """The ASGI application. Serves `http` scopes only; answers every request itself and never raises on input."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._settings = exchange.settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            await self._serve(scope, receive, send)
        except ProtocolError as error:
            await send_reply(send, Reply(error.encoded(), error.status, headers=error.headers))
        except _ClientGone:
            pass
        except asyncio.CancelledError:  # the gateway is stopping; a stream that has begun just ends
            ending = ProtocolError(INTERNAL_ERROR, "the gateway is stopping", hint="ask again later", status=503)
            with contextlib.suppress(RuntimeError):
                await send_reply(send, Reply(ending.encoded(), ending.status))
        except Exception as error:
            failed = self._exchange.internal_error(error)
            await send_reply(send, Reply(failed.encoded(), failed.status))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        settings = self._settings
        if scope["path"] != settings.path:
            raise _refuse(404, f"nothing is served at {shown(scope['path'])}", f"the agents' door is `{settings.path}`")
        headers = _read_headers(scope["headers"], settings)
        _check_source(headers, scope, settings)
        method = scope["method"]
        if method not in ("POST", "DELETE"):
            raise _refuse(
                405,
                f"the method {shown(method)} is not served",
                "this server starts no stream of its own: send messages with POST",
                _ALLOW,
            )
        run = self._exchange.admit(_bearer(headers))
        if method == "DELETE":
            self._end_session(run, headers)
            await send_empty(send, 204)
            return
        streams = _check_media(headers)
        message = read_message(await self._body(headers, receive), settings)
        caller = self._caller(run, message, headers)
        if message.kind == "notification":
            self._exchange.notified(caller, message)
            await send_empty(send, 202)
        elif message.method == "tools/call":
            token = progress_token(message)
            held = Held(self._exchange, caller, message, token if streams else None)
            await held.serve(receive, send)
        else:
            await send_reply(send, await self._exchange.respond(caller, message))

    def _caller(self, run: Run, message: Message, headers: Headers) -> Caller:
        """Who calls, in which era. Raises `ProtocolError` where version, headers, envelope or session are wrong."""
        version = headers.get(VERSION_HEADER)
        if has_envelope(message) or version in MODERN_VERSIONS:
            if message.kind == "request":
                check_envelope(message)
                check_headers(message, headers)
            return Caller(run=run, era=Era.MODERN)
        if version is not None and version not in HANDSHAKE_VERSIONS:
            raise unsupported(version, message)
        if message.method == "initialize" and message.kind == "request":
            return Caller(run=run, era=Era.HANDSHAKE)
        return Caller(run=run, era=Era.HANDSHAKE, session=self._session(run, headers, message))

    def _session(self, run: Run, headers: Headers, message: Message | None) -> str:
        session = headers.get(SESSION_HEADER)
        request = message.id if message is not None else None
        if session is None:
            raise ProtocolError(
                INVALID_REQUEST,
                f"the header `{SESSION_HEADER}` is missing",
                hint="send `initialize` first, or the envelope of 2026-07-28 with every request",
                request_id=request,
                status=400,
            )
        if not self._exchange.sessions.good(run, session):
            raise ProtocolError(
                INVALID_REQUEST,
                "this session is not one of this run's, or has ended",
                hint="send `initialize` again",
                request_id=request,
                status=404,
            )
        return session

    def _end_session(self, run: Run, headers: Headers) -> None:
        self._exchange.end_session(run, self._session(run, headers, None))

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        """The whole body. Raises `ProtocolError` for one that is too large (before it is read, where it says so) or
        too slow, `_ClientGone` where it never ends."""
        most = self._settings.max_body
        declared = headers.get("content-length", "0")
        if not declared.isdecimal() or len(declared) > 18 or int(declared) > most:
            raise _refuse(413, f"expected at most {most} bytes, found {shown(declared)}", "", _CLOSE)
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._settings.body_timeout):
                while True:
                    event = await receive()
                    if event["type"] != "http.request":
                        raise _ClientGone
                    part = event.get("body", b"")
                    size += len(part)
                    if size > most:
                        raise _refuse(413, f"expected at most {most} bytes, found more", "", _CLOSE)
                    parts.append(part)
                    if not event.get("more_body", False):
                        return parts[0] if len(parts) == 1 else b"".join(parts)
        except TimeoutError:
            seconds = self._settings.body_timeout
            raise _refuse(408, f"the body did not arrive within {seconds:g} s", "", _CLOSE) from None


def build_app(agent_side: AgentSide, settings: GatewaySettings, *, exchange: Exchange | None = None) -> HttpDoor:
    """The ASGI application for agents at `settings.path`. Give the `exchange` of another door of the same gateway so
    that rates and slots are counted together."""
    return HttpDoor(exchange if exchange is not None else Exchange(agent_side, settings))


def _refuse(status: int, message: str, hint: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> ProtocolError:
    return ProtocolError(INVALID_REQUEST, message, hint=hint, status=status, headers=headers)


def _read_headers(raw: Iterable[tuple[bytes, bytes]], settings: GatewaySettings) -> Headers:
    """Header names (lower case) to values. Raises `ProtocolError` for too many or too long ones (431), and for a
    second copy of one that must be single, because two readers could each take another."""
    headers: Headers = {}
    size = 0
    for count, (raw_name, raw_value) in enumerate(raw, start=1):
        size += len(raw_name) + len(raw_value)
        if count > settings.max_headers or size > settings.max_head:
            raise _refuse(
                431, f"expected at most {settings.max_headers} headers of {settings.max_head} bytes", "", _CLOSE
            )
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name not in headers:
            headers[name] = value
        elif name in _ONCE:
            code = HEADER_MISMATCH if name in _ROUTING else INVALID_REQUEST
            raise ProtocolError(code, f"the header `{name}` appears more than once", status=400)
        else:
            headers[name] = f"{headers[name]}, {value}"
    return headers


def _check_source(headers: Headers, scope: Scope, settings: GatewaySettings) -> None:
    """Refuses what a page in a browser on this machine could send (DNS rebinding): a `Host` that is not ours (421), an
    `Origin` that is not ours (403)."""
    host = headers.get("host", "")
    own = _own_hosts(scope, settings)
    if host.lower() not in own:
        raise _refuse(421, f"the host {shown(host)} is not served here", "use the address that the gateway listens on")
    origin = headers.get("origin")
    if origin is None or origin in settings.extra_origins:
        return
    scheme, _, rest = origin.lower().partition("://")
    if scheme not in ("http", "https") or rest not in own:
        raise _refuse(403, f"the origin {shown(origin)} may not call this server", "an operator can allow it")


def _own_hosts(scope: Scope, settings: GatewaySettings) -> frozenset[str]:
    """What `Host` may say: the loopback names and the listening address with the port in use, and what was added."""
    port = (scope.get("server") or (None, settings.port))[1] or settings.port
    key = (port, settings.host, settings.extra_hosts)
    if key not in _hosts:
        names = _LOCAL_NAMES | {settings.host.lower()}
        bracketed = [f"[{name}]" if ":" in name else name for name in names]
        own = {f"{name}:{port}" for name in bracketed} | {host.lower() for host in settings.extra_hosts}
        _hosts[key] = frozenset(own | set(bracketed) if port == 80 else own)
    return _hosts[key]


_hosts: dict[tuple[int, str, tuple[str, ...]], frozenset[str]] = {}  # a cache: one entry per listening address


def _bearer(headers: Headers) -> str:
    """The bearer token (RFC 6750 section 2.1), or nothing where there is none; the exchange refuses nothing."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _check_media(headers: Headers) -> bool:
    """Whether the client takes an event stream too. Raises `ProtocolError`: 415 for a body that is not plain JSON,
    406 for a client that does not take JSON."""
    media, _, parameters = headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if media.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
        raise _refuse(415, f"expected `application/json`, found {shown(headers.get('content-type', ''))}", "")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise _refuse(415, f"expected no encoding, found {shown(headers['content-encoding'])}", "")
    accept = headers.get("accept", "*/*").lower()
    if accept == "application/json, text/event-stream":
        return True
    accepted = {part.partition(";")[0].strip() for part in accept.split(",") if _wanted(part)}
    if accepted.isdisjoint(_JSON_TYPES):
        raise _refuse(406, f"expected `application/json` in `accept`, found {shown(accept)}", "")
    return not accepted.isdisjoint(_STREAM_TYPES)


def _wanted(part: str) -> bool:
    return not part.partition(";")[2].replace(" ", "").rstrip("0").endswith(("q=", "q=0."))
