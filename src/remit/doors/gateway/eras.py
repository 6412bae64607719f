"""The two eras of MCP: the handshake (until 2025-11-25), and the envelope on every request (2026-07-28).

The body says which era a request is of; headers may only contradict it, and then the request is refused (MCP
2026-07-28, streamable HTTP: routing headers must equal what the body says).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from enum import Enum

from remit.doors.gateway.messages import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    UNSUPPORTED_VERSION,
    Message,
    ProtocolError,
)
from remit.model.display import shown
from remit.model.words import Json

HANDSHAKE_VERSIONS = ("2025-03-26", "2025-06-18", "2025-11-25")
MODERN_VERSIONS = ("2026-07-28",)

VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CLIENT_KEY = "io.modelcontextprotocol/clientInfo"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
SERVER_KEY = "io.modelcontextprotocol/serverInfo"

VERSION_HEADER = "mcp-protocol-version"
METHOD_HEADER = "mcp-method"
NAME_HEADER = "mcp-name"
SESSION_HEADER = "mcp-session-id"

_NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_IN_BASE64 = re.compile(r"=\?base64\?(.*)\?=")


class Era(Enum):
    """Which rules a request is read by."""

    HANDSHAKE = "handshake"
    MODERN = "modern"


def has_envelope(message: Message) -> bool:
    """Whether the request carries the 2026 envelope. Its version key alone says so: half an envelope is told what
    is missing instead of being read by the older rules."""
    return VERSION_KEY in message.meta


def negotiated(requested: Json) -> str:
    """The version that `initialize` answers with: the one asked for, or else the newest of the handshake era."""
    return requested if requested in HANDSHAKE_VERSIONS else HANDSHAKE_VERSIONS[-1]


def unsupported(requested: str, message: Message | None = None) -> ProtocolError:
    """The refusal of a protocol version (MCP 2026-07-28, error -32022), naming those that are served."""
    return ProtocolError(
        UNSUPPORTED_VERSION,
        f"the protocol version {shown(requested)} is not served",
        data={"supported": list(MODERN_VERSIONS), "requested": requested[:64]},
        request_id=message.id if message else None,
    )


def check_envelope(message: Message) -> None:
    """Raises `ProtocolError` unless `params._meta` is a whole 2026 envelope of a version that is served."""
    meta = message.meta
    if missing := [key for key in (VERSION_KEY, CAPABILITIES_KEY) if key not in meta]:
        raise ProtocolError(
            INVALID_PARAMS,
            f"`params._meta` lacks {' and '.join(f'`{key}`' for key in missing)}",
            hint="a request of 2026-07-28 carries its protocol version and the client's capabilities",
            request_id=message.id,
        )
    version, capabilities, client = meta[VERSION_KEY], meta[CAPABILITIES_KEY], meta.get(CLIENT_KEY)
    if not isinstance(version, str):
        raise _bad_meta(message, VERSION_KEY, "a text", version)
    if version not in MODERN_VERSIONS:
        raise unsupported(version, message)
    if not isinstance(capabilities, dict):
        raise _bad_meta(message, CAPABILITIES_KEY, "an object", capabilities)
    if client is not None and not isinstance(client, dict):
        raise _bad_meta(message, CLIENT_KEY, "an object", client)


def check_headers(message: Message, headers: Mapping[str, str]) -> None:
    """Raises `ProtocolError` (-32020) unless the routing headers say what the body says. They decide nothing."""
    _must_equal(message, VERSION_HEADER, headers.get(VERSION_HEADER), message.meta.get(VERSION_KEY))
    _must_equal(message, METHOD_HEADER, headers.get(METHOD_HEADER), message.method)
    named_by = _NAMED_BY.get(message.method)
    if named_by is not None and message.params.get(named_by) is not None:
        _must_equal(message, NAME_HEADER, _plain(headers.get(NAME_HEADER)), message.params[named_by])


def _must_equal(message: Message, header: str, found: str | None, expected: Json) -> None:
    if found is None or found != expected:
        raise ProtocolError(
            HEADER_MISMATCH,
            f"the header `{header}` is {'missing' if found is None else shown(found)}, the body says {shown(expected)}",
            request_id=message.id,
        )


def _plain(value: str | None) -> str | None:
    """A header value, out of its base64 wrapping where it has one; None where that is malformed."""
    wrapped = _IN_BASE64.fullmatch(value) if value is not None else None
    if wrapped is None:
        return value
    try:
        raw = base64.b64decode(wrapped[1], validate=True)
        return raw.decode("utf-8") if base64.b64encode(raw).decode() == wrapped[1] else None
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None


def _bad_meta(message: Message, key: str, expected: str, found: Json) -> ProtocolError:
    return ProtocolError(
        INVALID_PARAMS, f"expected {expected} as `params._meta[{key}]`, found {shown(found)}", request_id=message.id
    )
