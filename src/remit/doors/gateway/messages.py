"""JSON-RPC 2.0 messages as MCP narrows them: bytes to a checked message, and a result or an error to bytes.

What is refused here never reaches the node. Batches are refused in every era: only 2025-03-26 knew them.
"""

from __future__ import annotations

import json
from typing import Literal

import msgspec
from msgspec import Struct

from remit.doors.gateway.settings import GatewaySettings
from remit.model.canonical import BadJson, decode_strict
from remit.model.display import safe_value, shown
from remit.model.words import Json

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
HEADER_MISMATCH = -32020
UNSUPPORTED_VERSION = -32022
REQUEST_CANCELLED = -32800
# Ours, from the band that MCP leaves to implementations (-32000 to -32019).
UNAUTHORIZED = -32003
TOO_FAST = -32005
TOO_MANY = -32006

HTTP_STATUS = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    INVALID_PARAMS: 400,
    HEADER_MISMATCH: 400,
    UNSUPPORTED_VERSION: 400,
    METHOD_NOT_FOUND: 404,
    UNAUTHORIZED: 401,
    TOO_FAST: 429,
    TOO_MANY: 429,
    INTERNAL_ERROR: 500,
}
"""HTTP status of an error in the 2026 era. The handshake era answers a dispatched request's errors with 200."""

MAX_ID = 256
MAX_METHOD = 128

RequestId = str | int | None

_encode = msgspec.json.Encoder().encode


class ProtocolError(Exception):
    """A message that gets a JSON-RPC error instead of an answer.

    `message` is one lowercase sentence and safe to show. `status` is the HTTP status, by default the code's own.
    """

    def __init__(
        self,
        code: int,
        message: str,
        *,
        hint: str = "",
        data: dict[str, Json] | None = None,
        status: int = 0,
        request_id: RequestId = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = ({"hint": hint} if hint else {}) | (data or {})
        self.status = status or HTTP_STATUS[code]
        self.transport = bool(status)
        self.id = request_id
        self.headers = headers

    def encoded(self, request_id: RequestId = None) -> bytes:
        """The JSON-RPC error as bytes, for `request_id` or the id that the error carries."""
        error: dict[str, Json] = {"code": self.code, "message": self.message}
        if self.data:
            error["data"] = self.data
        chosen = request_id if request_id is not None else self.id
        return encode({"jsonrpc": "2.0", "id": chosen, "error": error})


class Message(Struct, frozen=True):
    """One checked request, or a notification where `kind` says so. `params` is empty where there were none."""

    kind: Literal["request", "notification"]
    method: str
    params: dict[str, Json]
    id: RequestId = None

    @property
    def meta(self) -> dict[str, Json]:
        """`params._meta`, or an empty object where there is none; its type was checked when it was read."""
        meta: dict[str, Json] = self.params.get("_meta") or {}
        return meta


def read_message(body: bytes, settings: GatewaySettings) -> Message:
    """The message in `body`. Raises `ProtocolError`: what is not JSON with one reading (RFC 8259, RFC 7493), too
    large or too deep; a batch, a posted response, a bad id, or members of the wrong type."""
    try:
        value = decode_strict(
            body, max_bytes=settings.max_body, max_depth=settings.max_depth, max_nodes=settings.max_nodes
        )
    except BadJson as error:
        raise ProtocolError(PARSE_ERROR, f"the body is refused: {error.message}") from None
    if isinstance(value, list):
        raise ProtocolError(
            INVALID_REQUEST, "expected one message, found a batch", hint="send each message on its own", status=400
        )
    if not isinstance(value, dict):
        raise ProtocolError(INVALID_REQUEST, f"expected a message object, found {shown(value)}", status=400)
    return _checked(value)


def _checked(value: dict[str, Json]) -> Message:
    request_id = _request_id(value)
    if value.get("jsonrpc") != "2.0":
        raise _bad("`jsonrpc`", "`2.0`", value.get("jsonrpc"), request_id)
    method = value.get("method")
    if not isinstance(method, str) or not 0 < len(method) <= MAX_METHOD:
        if "result" in value or "error" in value:
            raise ProtocolError(
                INVALID_REQUEST,
                "found a response, but this server sends no requests",
                request_id=request_id,
                status=400,
            )
        raise _bad("`method`", f"a text of 1 to {MAX_METHOD} characters", method, request_id)
    params = value.get("params")
    if params is None:
        params = {}
    if not isinstance(params, dict):
        raise _bad("`params`", "an object", params, request_id)
    meta = params.get("_meta")
    if meta is not None and not isinstance(meta, dict):
        raise _bad("`params._meta`", "an object", meta, request_id)
    return Message("request" if "id" in value else "notification", method, params, request_id)


def _request_id(value: dict[str, Json]) -> RequestId:
    request_id = value.get("id")
    if "id" not in value:
        return None
    if isinstance(request_id, int) and not isinstance(request_id, bool):
        return request_id
    if isinstance(request_id, str) and len(request_id) <= MAX_ID:
        return request_id
    raise _bad("`id`", f"a whole number, or a text of at most {MAX_ID} characters", request_id, None)


def _bad(where: str, expected: str, found: Json, request_id: RequestId) -> ProtocolError:
    return ProtocolError(
        INVALID_REQUEST, f"{where}: expected {expected}, found {shown(found)}", request_id=request_id, status=400
    )


def bad_params(message: Message, where: str, expected: str, found: Json) -> ProtocolError:
    """The error for a parameter of the wrong shape, naming it, what was expected and what was found."""
    return ProtocolError(
        INVALID_PARAMS,
        f"`{message.method}`: expected {expected} as `{where}`, found {shown(found)}",
        request_id=message.id,
    )


def encode(value: Json) -> bytes:
    """`value` as compact JSON in UTF-8, whatever its numbers."""
    try:
        return _encode(value)
    except (OverflowError, msgspec.MsgspecError, UnicodeEncodeError):
        # Whole numbers beyond 64 bits, which connectors may send; lone surrogates are escaped, never raw.
        return json.dumps(safe_value(value), separators=(",", ":"), ensure_ascii=True).encode("ascii")


def encode_result(request_id: RequestId, result: dict[str, Json]) -> bytes:
    """The JSON-RPC response as bytes."""
    return encode({"jsonrpc": "2.0", "id": request_id, "result": result})


def encode_notification(method: str, params: dict[str, Json]) -> bytes:
    """The JSON-RPC notification as bytes."""
    return encode({"jsonrpc": "2.0", "method": method, "params": params})
