"""What an operator may set about the agents' door. Defaults hold for one machine with a handful of agents."""

from __future__ import annotations

from msgspec import Struct


class GatewaySettings(Struct, frozen=True, kw_only=True):
    """Addresses, patience and limits. Times are seconds, sizes bytes; every limit but the connections' is per run.

    `extra_hosts` and `extra_origins` widen who may speak to the door from a browser or through a proxy: whoever
    controls a name in them can make a browser on this machine send requests (they still need a run token).
    """

    host: str = "127.0.0.1"
    port: int = 7333
    path: str = "/mcp"
    extra_hosts: tuple[str, ...] = ()
    extra_origins: tuple[str, ...] = ()
    socket_mode: int = 0o666

    hold: float = 50.0
    heartbeat: float = 5.0
    quiet: float = 0.05

    max_body: int = 1024 * 1024
    max_depth: int = 32
    max_nodes: int = 50_000
    max_result: int = 768 * 1024

    rate: float = 500.0
    burst: int = 1_000
    max_calls: int = 64

    head_timeout: float = 10.0
    body_timeout: float = 15.0
    write_timeout: float = 30.0
    keep_alive: float = 75.0
    max_head: int = 32 * 1024
    max_headers: int = 64
    max_connections: int = 512
    max_run_connections: int = 32
