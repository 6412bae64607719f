"""Alerts to the outside: a structured log line each, and a signed webhook where one is configured.

What lives here: telling. What never may: holding anything up. The journal already has every alert; what is lost here is
counted and said with the next one.

The webhook follows the Standard Webhooks specification 1.0: headers `webhook-id`, `webhook-timestamp` (seconds) and
`webhook-signature` (`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import logging
import os
import queue
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from remit.adapters.credentials.secrets import resolve
from remit.model.errors import Misuse
from remit.model.words import Json

log = logging.getLogger("remit.alerts")
QUEUE = 1_000
TIMEOUT = 5.0
RETRY_AFTER = (0.5, 2.0)
_END = None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry an alert to a place that nobody configured."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


class Webhook:
    """Where alerts are posted, and the secret that signs them: as it is, or `whsec_` and its base64, as the standard
    writes secrets. Raises `Misuse` for anything but https (http on loopback), and for base64 that is none."""

    def __init__(self, url: str, secret: bytes) -> None:
        parts = urllib.parse.urlsplit(url)
        local = parts.hostname in ("127.0.0.1", "localhost", "::1")
        if parts.scheme != "https" and not (parts.scheme == "http" and local):
            raise Misuse(f"the webhook `{parts.scheme}://{parts.hostname}` must be https", hint="http only on loopback")
        self.url = url
        self._secret = _key(secret)
        self._opener = urllib.request.build_opener(_NoRedirects)

    def post(self, body: bytes, alert_id: str, seconds: int) -> None:
        """Post once. Raises `OSError` where it was not accepted."""
        request = urllib.request.Request(self.url, data=body, method="POST")  # noqa: S310 - the scheme was checked
        request.add_header("content-type", "application/json")
        request.add_header("webhook-id", alert_id)
        request.add_header("webhook-timestamp", str(seconds))
        request.add_header("webhook-signature", signature(self._secret, alert_id, seconds, body))
        with self._opener.open(request, timeout=TIMEOUT) as answer:
            answer.read(1)


def webhook_of(url: str, secret: str, *, base: Path) -> Webhook | None:
    """The webhook that the settings name, its secret by reference; None without a URL. Raises as `Webhook` and
    `resolve` do."""
    return Webhook(url, resolve(secret, environment=dict(os.environ), base=base).encode()) if url else None


def _key(secret: bytes) -> bytes:
    if not secret.startswith(b"whsec_"):
        return secret
    try:
        return base64.b64decode(secret.removeprefix(b"whsec_"), validate=True)
    except ValueError:
        raise Misuse("the webhook's secret begins with `whsec_` and is not base64", hint="copy it again") from None


def signature(secret: bytes, alert_id: str, seconds: int, body: bytes) -> str:
    """The value of `webhook-signature`."""
    signed = f"{alert_id}.{seconds}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


class Announcer:
    """Fulfils `remit.flow.ports.Alerts`. `send` may be called from any thread; one thread of its own posts."""

    def __init__(
        self,
        *,
        new_id: Callable[[], str],
        seconds: Callable[[], int],
        webhook: Webhook | None = None,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._new_id = new_id
        self._seconds = seconds
        self._webhook = webhook
        self._queue: queue.Queue[dict[str, Json] | None] = queue.Queue(QUEUE)
        self._closing = threading.Event()
        self._pause = pause or self._closing.wait
        self.lost = 0  # owned by whoever finds the queue full or a post refused; only ever rises
        self._thread = threading.Thread(target=self._work, name="remit-alerts", daemon=True)
        if webhook is not None:
            self._thread.start()

    def send(self, alert: dict[str, Json]) -> None:
        """See `Alerts`."""
        told = {"id": self._new_id(), "at": self._seconds(), **alert}
        log.warning("%s", json.dumps(told, sort_keys=True))
        if self._webhook is None:
            return
        try:
            self._queue.put_nowait(told)
        except queue.Full:
            self.lost += 1

    def close(self, seconds: float = 2.0) -> None:
        """Post what is queued, for at most so long."""
        if self._webhook is None or not self._thread.is_alive():
            return
        try:
            self._queue.put_nowait(_END)
        except queue.Full:
            self._closing.set()
        self._thread.join(seconds)
        self._closing.set()

    def _work(self) -> None:
        while not self._closing.is_set():
            alert = self._queue.get()
            if alert is _END:
                return
            self._post(alert)

    def _post(self, alert: dict[str, Json]) -> None:
        assert self._webhook is not None
        body = json.dumps({**alert, "lost_before": self.lost}, sort_keys=True).encode()
        for delay in (*RETRY_AFTER, None):
            try:
                self._webhook.post(body, alert["id"], alert["at"])
                return
            except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
                if delay is None:
                    self.lost += 1
                    log.error("the webhook took no alert: %s", getattr(error, "reason", error))
                else:
                    self._pause(delay)
