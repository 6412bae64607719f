"""`remit.toml`: the node's own settings. Nothing in it widens what an agent may do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from remit.adapters.home.folder import Home
from remit.model.reading import read_toml

DEFAULT = """\
# The node's own settings. What agents may do is in boundary.toml.

[gateway]
listen = "127.0.0.1:8700"        # where agents reach Remit over HTTP, at /mcp; port 0 takes a free one
# hosts = ["remit.example.com"]  # names under which it may be reached, besides the loopback ones
# agents_socket = "run/agents.sock"   # where `remit connect` comes in; relative to the home

[notify]
# webhook = "https://hooks.example.com/remit"   # alerts are posted here, signed (Standard Webhooks)
# secret = "file:keys/webhook"                  # or env:NAME, or command:...
"""


@dataclass(frozen=True)
class Settings:
    """Where the node listens and whom it tells."""

    host: str
    port: int
    hosts: tuple[str, ...]
    agents_socket: Path
    webhook: str
    webhook_secret: str


def load_settings(home: Home) -> Settings:
    """The settings of a home; the defaults where there is no `remit.toml`. Raises `Unreadable`."""
    data = home.settings.read_bytes() if home.settings.exists() else b""
    root = read_toml(data, "remit.toml")
    gateway, notify = root.table("gateway"), root.table("notify")
    listen = gateway.text(
        "listen", default="127.0.0.1:8700", pattern=r"[0-9A-Za-z.:\[\]-]+:[0-9]{1,5}", meaning="`ADDRESS:PORT`"
    )
    host, _, port = listen.rpartition(":")
    if int(port or 0) > 65535:
        gateway.problem("listen", "a port of at most 65535")
    socket = gateway.text("agents_socket", default="run/agents.sock")
    webhook = notify.text("webhook", default="")
    secret = notify.text("secret", default="", pattern=r"(env|file|command):.+", meaning="a reference")
    if bool(webhook) is not bool(secret):
        notify.problem("secret", "both `webhook` and `secret`, or neither")
    settings = Settings(
        host=host.strip("[]"),
        port=int(port or 0),
        hosts=gateway.texts("hosts", default=()),
        agents_socket=home.path / socket,
        webhook=webhook,
        webhook_secret=secret,
    )
    root.finish()
    return settings
