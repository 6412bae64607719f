"""`remit.toml`: the node's own settings. Nothing in it widens what an agent may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from remit.adapters.home.folder import Home
from remit.adapters.log.submitting import expect_url
from remit.flow.ports import PAYLOAD_CLASSES
from remit.gates.log.notes import WITNESS, VerifierKey
from remit.model.errors import Misuse, RemitError
from remit.model.reading import Reader, read_toml
from remit.model.words import MINUTE, Instant

MOST_WITNESSES = 16

DEFAULT = """\
# The node's own settings. What agents may do is in boundary.toml.

[gateway]
listen = "127.0.0.1:8700"        # where agents reach Remit over HTTP, at /mcp; port 0 takes a free one
# hosts = ["remit.example.com"]  # names under which it may be reached, besides the loopback ones
# agents_socket = "run/agents.sock"   # where `remit connect` comes in; relative to the home

[log]
folder = "log"                   # the provable log's files; relative to the home. Whoever may audit may read it
# witnesses = [{ url = "https://witness.example", key = "witness.example+…" }]   # who cosigns it: `remit log witness`
# quorum = 1                     # how many of them are enough; without it, all
# signer = "/run/remit-log/signer.sock"   # a signer of its own, `remit log signer`; without it the gateway signs

[notify]
# webhook = "https://hooks.example.com/remit"   # alerts are posted here, signed (Standard Webhooks)
# secret = "file:keys/webhook"                  # or env:NAME, or command:...

[retention]                      # how long the bytes are kept; what the journal says of them stays for ever
# read_results = "30d"           # what connectors answered to reads; `change_results` to everything else
# proposals = "400d"             # arguments and reasons; `verdicts` are the agents' conclusions
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
    log_folder: Path
    log_signer: Path | None
    witnesses: tuple[tuple[str, VerifierKey], ...]
    quorum: int
    retention: Mapping[str, Instant]
    """How long payloads of each class are kept, in microseconds; a class that is not in it is kept for ever."""


def load_settings(home: Home) -> Settings:
    """The settings of a home; the defaults where there is no `remit.toml`. Raises `Unreadable`."""
    data = home.settings.read_bytes() if home.settings.exists() else b""
    root = read_toml(data, "remit.toml")
    gateway, notify, log = root.table("gateway"), root.table("notify"), root.table("log")
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
    signer = log.text("signer", default="")
    witnesses = _witnesses(log)
    kept = root.table("retention")
    spans = {each: kept.duration(each, default=None, minimum=24 * 60 * MINUTE) for each in PAYLOAD_CLASSES}
    retention = {each: span for each, span in spans.items() if span is not None}
    settings = Settings(
        host=host.strip("[]"),
        port=int(port or 0),
        hosts=gateway.texts("hosts", default=()),
        agents_socket=home.path / socket,
        webhook=webhook,
        webhook_secret=secret,
        log_folder=home.path / log.text("folder", default="log"),
        log_signer=home.path / signer if signer else None,
        witnesses=witnesses,
        quorum=_quorum(log, len(witnesses)),
        retention=retention,
    )
    root.finish()
    return settings


def _witnesses(log: Reader) -> tuple[tuple[str, VerifierKey], ...]:
    """URL and verifier key of each witness. One that cannot be used is noted as a problem and left out."""
    found: list[tuple[str, VerifierKey]] = []
    tables = log.tables("witnesses", label="url")
    if len(tables) > MOST_WITNESSES:
        log.problem("witnesses", f"at most {MOST_WITNESSES} of them", str(len(tables)))
    for each in tables:
        url, text = each.text("url"), each.text("key")
        if not url or not text:
            continue
        try:
            expect_url(url)
            key = VerifierKey.parse(text)
        except RemitError as error:
            each.problem("url" if type(error) is Misuse else "key", error.message)
            continue
        if key.algorithm != WITNESS:
            each.problem("key", "the key of a witness, as `remit log witness init` prints it")
        elif key.public in {other.public for _, other in found}:
            each.problem("key", "each witness once: two names of one key would count twice")
        else:
            found.append((url, key))
    return tuple(found)


def _quorum(log: Reader, witnesses: int) -> int:
    """How many cosignatures are enough: all, unless fewer are asked for; 0 where there is no witness."""
    if not witnesses and "quorum" in log:
        log.problem("quorum", "`witnesses` beside it")
    return log.integer("quorum", default=witnesses, minimum=min(1, witnesses), maximum=max(1, witnesses))
