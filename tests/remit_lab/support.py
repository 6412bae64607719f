"""What the tests of the practice SOC share: connectors in memory, and a mint of warrants that can mint bad
ones."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import mcp_types as types
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from mcp import Client
from mcp_types import RequestParamsMeta

from remit_lab import edr, estate, firewall, idp, siem, telemetry
from remit_lab.serving import Connector, Kind, open_connector
from remit_lab.state import State
from remit_lab.warrants import META_KEY, WarrantCheck, arguments_digest

Json = dict[str, Any]
NOW = 1_790_000_000.0
"""Seconds since the epoch, the tests' present."""


def known() -> estate.Estate:
    """The estate of the packaged incident."""
    return estate.derive(telemetry.incident())


def connector(kind: Kind, directory: Path) -> Connector:
    """A connector without a warrant check, on the packaged incident's estate."""
    return open_connector(kind, directory, known)


@asynccontextmanager
async def calling(kind: Kind, directory: Path) -> AsyncIterator[Client]:
    """An official client connected in memory to a connector without a warrant check."""
    async with Client(connector(kind, directory).server()) as client:
        yield client


def four(directory: Path, telemetry_files: list[Path] | None = None, inject: str | None = None) -> list[Connector]:
    """All four connectors on one directory, over the given telemetry or the packaged incident."""
    found, shown = siem.search(telemetry_files or [], inject)
    kinds = (siem.kind(found), edr.KIND, idp.KIND, firewall.KIND)
    return [open_connector(kind, directory, lambda: shown) for kind in kinds]


def said(result: types.CallToolResult) -> str:
    """The text of a result."""
    return "\n".join(block.text for block in result.content if isinstance(block, types.TextContent))


def meta(warrant: str) -> RequestParamsMeta:
    """The `_meta` that carries a warrant."""
    return cast(RequestParamsMeta, {META_KEY: warrant})


def data(result: types.CallToolResult) -> Json:
    """The structured content of a result that succeeded."""
    assert not result.is_error, said(result)
    content = result.structured_content
    assert isinstance(content, dict)
    return content


@dataclass
class Mint:
    """Mints warrants for one connector; every part of one can be replaced to make it bad."""

    name: str = "edr"

    def __post_init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.public = self.key.public_key().public_bytes_raw()
        self._minted = 0

    def check(self, directory: Path) -> WarrantCheck:
        """A check that trusts this mint."""
        return WarrantCheck(self.public, self.name, directory)

    def connector(self, directory: Path, now: float = NOW) -> Connector:
        """An endpoint console that trusts this mint, at a fixed time."""
        state = State(directory, self.name)
        state.start(lambda: edr.initial(known()))
        return Connector(edr.KIND, state, warrants=self.check(directory), clock=lambda: now)

    def warrant(
        self,
        tool: str,
        arguments: Json,
        *,
        claims: Json | None = None,
        detail: Json | None = None,
        header: Json | None = None,
        key: Ed25519PrivateKey | None = None,
    ) -> str:
        """A warrant for one call at NOW; `claims`, `detail` and `header` replace members of a good one."""
        self._minted += 1
        good_detail = {
            "type": "remit_action",
            "action": "act_0000000000000000",
            "digest": "00" * 32,
            "connector": self.name,
            "tool": tool,
            "targets": ["WS-014"],
            "arguments_sha256": arguments_digest(arguments),
        }
        good: Json = {
            "iss": "remit:home",
            "sub": "triage",
            "aud": self.name,
            "jti": f"wrt_{self._minted:016d}",
            "iat": int(NOW),
            "nbf": int(NOW),
            "exp": int(NOW) + 60,
            "authorization_details": [{**good_detail, **(detail or {})}],
        }
        kid = hashlib.sha256(self.public).hexdigest()[:16]
        head = {"alg": "Ed25519", "typ": "remit-warrant+jwt", "kid": kid, **(header or {})}
        signed = f"{encoded(head)}.{encoded({**good, **(claims or {})})}"
        return f"{signed}.{part((key or self.key).sign(signed.encode()))}"


def encoded(document: Json) -> str:
    """A JSON object as one part of a JWT."""
    return part(json.dumps(document).encode())


def part(raw: bytes) -> str:
    """Bytes as base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
