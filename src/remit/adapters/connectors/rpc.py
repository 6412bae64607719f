"""JSON-RPC 2.0 and MCP on the wire: bytes made and bytes read, without I/O.

Requests are made by concatenation, so that the arguments that were decided are sent byte for byte. Messages are read
once, with `result`, `params` and `error` left as the bytes that came.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from remit.flow.ports import NotSent, UpstreamRefused
from remit.model.words import Json

HANDSHAKE_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
STATELESS_VERSION = "2026-07-28"
CLIENT = {"name": "remit", "version": "0.1.0"}

METHOD_NOT_FOUND = -32601
UNSUPPORTED_VERSION = -32022
MAX_WORDS = 500
MOST_WORDS = 16 * MAX_WORDS
"""How much of an error is read: secrets are struck out of this, before it is cut to `MAX_WORDS`."""

_SAFE_HEADER = re.compile(r"[\x20-\x7e]*")
_SENTINEL = re.compile(r"=\?base64\?.*\?=")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class Unusable(Exception):
    """What came is not a JSON-RPC message. Says what was wrong, without quoting it."""


class Problem(msgspec.Struct):
    """The `error` member."""

    code: int = 0
    message: str = ""


class Message(msgspec.Struct):
    """One message as it came; absent members are unset."""

    id: int | str | float | msgspec.UnsetType | None = msgspec.UNSET
    method: str | msgspec.UnsetType = msgspec.UNSET
    params: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    def outcome(self) -> bytes:
        """The exact bytes of `result`. Raises `UpstreamRefused` for an error answer or for one that asks for input,
        and `Unusable` for both a result and an error, or neither."""
        if self.error is not msgspec.UNSET:
            if self.result is not msgspec.UNSET:
                raise Unusable("answered with both a result and an error")
            raise refusal(bytes(self.error))
        if self.result is msgspec.UNSET:
            raise Unusable("answered with neither a result nor an error")
        result = bytes(self.result)
        try:
            kind = _RESULT.decode(result).resultType
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unusable("answered with a result that is not a JSON object") from error
        if kind == "input_required":
            raise UpstreamRefused(0, "it asks for input before it goes on, which remit does not give")
        return result


class _Result(msgspec.Struct):
    resultType: str = "complete"


class Progress(msgspec.Struct):
    """The member of a progress notification that says whose progress it is."""

    progressToken: int | str | None = None


_MESSAGE = msgspec.json.Decoder(Message)
_PROBLEM = msgspec.json.Decoder(Problem)
_RESULT = msgspec.json.Decoder(_Result)
_PROGRESS = msgspec.json.Decoder(Progress)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
encode = msgspec.json.encode


def read(data: bytes) -> Message:
    """One message. Raises `Unusable` for anything that is not valid UTF-8, JSON and an object of the right shape."""
    try:
        data.decode("utf-8")
        return _MESSAGE.decode(data)
    except UnicodeDecodeError as error:
        raise Unusable("sent bytes that are not UTF-8") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unusable("sent something that is not a JSON-RPC message") from error


def refusal(error: bytes) -> UpstreamRefused:
    """The upstream's own words, bounded and untrusted."""
    try:
        problem = _PROBLEM.decode(error)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return UpstreamRefused(0, "it answered with an error that cannot be read")
    return UpstreamRefused(problem.code, problem.message[:MOST_WORDS])


def progress_token(params: bytes) -> int | str | None:
    """Whose progress a notification tells, None if it does not say."""
    try:
        return _PROGRESS.decode(params).progressToken
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def request(number: int, method: str, params: bytes) -> bytes:
    """A request as one line without its line break."""
    return b'{"jsonrpc":"2.0","id":%d,"method":%b,"params":%b}' % (number, encode(method), params)


def notification(method: str, params: Mapping[str, Json] | None = None) -> bytes:
    """A notification as one line without its line break."""
    return encode({"jsonrpc": "2.0", "method": method, **({"params": params} if params else {})})


def cancelled(number: int) -> bytes:
    """The notification that nobody waits for this request any more."""
    return notification("notifications/cancelled", {"requestId": number, "reason": "no longer waited for"})


def call_params(tool: str, arguments: bytes, meta: Mapping[str, Json]) -> bytes:
    """The params of `tools/call` with the arguments as they are.

    Raises `NotSent` unless `arguments` is one JSON object without a raw line break: what would end a line early, or
    the object itself, could smuggle a second member in.
    """
    if b"\n" in arguments or b"\r" in arguments:
        raise NotSent("the arguments hold a line break, expected one line of canonical JSON")
    try:
        arguments.decode("utf-8")
        _OBJECT.decode(arguments)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotSent("the arguments are not one JSON object") from error
    return b'{"name":%b,"arguments":%b,"_meta":%b}' % (encode(tool), arguments, encode(meta))


def answer_to_server(message: Message) -> bytes:
    """What a request of the server's gets: a ping its pong, everything else a clear no (MCP, basic/utilities/ping)."""
    head = b'{"jsonrpc":"2.0","id":%b,' % encode(message.id)
    if message.method == "ping":
        return head + b'"result":{}}'
    problem = {
        "code": METHOD_NOT_FOUND,
        "message": "remit takes no sampling, roots, elicitation or other requests",
    }
    return head + b'"error":%b}' % encode(problem)


def envelope() -> dict[str, Json]:
    """The `_meta` members that every request of MCP 2026-07-28 carries (basic, per-request protocol fields)."""
    return {
        "io.modelcontextprotocol/protocolVersion": STATELESS_VERSION,
        "io.modelcontextprotocol/clientInfo": CLIENT,
        "io.modelcontextprotocol/clientCapabilities": {},
    }


def header_value(value: str) -> str:
    """A value as a header of MCP 2026-07-28 carries it: as it is, or base64 in its sentinel."""
    if _SAFE_HEADER.fullmatch(value) and value == value.strip() and not _SENTINEL.fullmatch(value):
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


def mirrored(schema: Json, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Path and header of every argument that MCP 2026-07-28 wants mirrored (`x-mcp-header`), through `properties`
    alone and eight levels deep at most."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict) or len(path) >= 8:
        return
    for name, below in properties.items():
        if not isinstance(below, dict):
            continue
        header = below.get("x-mcp-header")
        if isinstance(header, str) and _TOKEN.fullmatch(header):
            yield (*path, name), f"Mcp-Param-{header}"
        yield from mirrored(below, (*path, name))


def mirrored_headers(wanted: tuple[tuple[tuple[str, ...], str], ...], arguments: bytes) -> dict[str, str]:
    """The `Mcp-Param-…` headers of one call; absent and null arguments have none."""
    decoded: Any = msgspec.json.decode(arguments) if wanted else {}
    headers = {}
    for path, header in wanted:
        value = decoded
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if isinstance(value, bool):
            headers[header] = "true" if value else "false"
        elif isinstance(value, str | int | float):
            headers[header] = header_value(str(value))
    return headers
