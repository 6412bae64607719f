"""What one connector is told about its upstream: how to reach it, and every bound that holds it.

What lives here: values, already checked, with secrets already resolved. What never may: reading files or environment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from remit.model.errors import Misuse
from remit.model.words import Instant

MEBIBYTE = 1024 * 1024

Era = Literal["auto", "handshake", "stateless"]
"""How a conversation opens: `handshake` is MCP up to 2025-11-25, `stateless` is 2026-07-28; `auto` tries the
handshake first, and the other where the handshake is refused."""


@dataclass(frozen=True, kw_only=True)
class ConnectorSettings:
    """How to reach one upstream. Times in seconds, sizes in bytes. `repr()` shows no secret."""

    name: str
    transport: Literal["stdio", "http"]
    command: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict, repr=False)
    cwd: Path | None = None
    url: str = field(default="", repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    ca_file: Path | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Values that are struck out of what the process writes to stderr before it is kept."""
    era: Era = "auto"
    timeout: float = 30.0
    start_timeout: float = 20.0
    connect_timeout: float = 5.0
    max_request_bytes: int = MEBIBYTE
    max_result_bytes: int = 4 * MEBIBYTE
    max_in_flight: int = 32
    max_waiting: int = 256
    max_stderr_bytes: int = 64 * 1024
    stderr_file: Path | None = None
    max_tools: int = 2_000
    max_listing_bytes: int = 16 * MEBIBYTE

    def __post_init__(self) -> None:
        if self.transport == "stdio" and not self.command:
            raise Misuse(
                f"connector `{self.name}` has no `command`, expected the program that starts it",
                hint='write command = ["program", "argument"] in its file',
            )
        if self.transport == "http":
            address = urlsplit(self.url)
            if address.scheme not in ("http", "https") or not address.hostname:
                raise Misuse(
                    f"connector `{self.name}` has no usable `url`, expected http:// or https:// and a host",
                    hint='write url = "https://host/mcp" in its file',
                )
        for name, value in {**self.headers, **self.env}.items():
            if any(character in name + value for character in "\r\n\0"):
                raise Misuse(
                    f"connector `{self.name}`: the value of `{name.strip()}` holds a line break or a null byte",
                    hint="a file that holds a secret should hold one line",
                )

    @property
    def place(self) -> str:
        """Where it is, safe to show: the program, or scheme, host and port."""
        if self.transport == "stdio":
            return self.command[0]
        address = urlsplit(self.url)
        port = f":{address.port}" if address.port else ""
        return f"{address.scheme}://{address.hostname}{port}"


@dataclass(frozen=True, kw_only=True)
class ConnectorStatus:
    """How a connector is. `reason` is one lowercase sentence without secrets; instants in microseconds."""

    state: Literal["starting", "up", "down", "closed"]
    since: Instant
    reason: str = ""
    next_try: Instant | None = None
    protocol: str = ""
    server: str = ""
    restarts: int = 0
    containment: str = ""
