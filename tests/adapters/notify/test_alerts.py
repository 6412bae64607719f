"""Alerts are logged, posted with a signature that others can check, and never hold anything up."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from remit.adapters.notify.alerts import QUEUE, Announcer, Webhook, signature
from remit.model.errors import Misuse

OK = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
REFUSED = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
ELSEWHERE = b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Receiver:
    """A receiver that answers as it is told, and keeps what it was sent."""

    def __init__(self, *answers: bytes) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/hook"
        self._answers = itertools.chain(answers, itertools.repeat(OK))
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                lines.readline()
                headers = {}
                while line := lines.readline().strip():
                    name, _, value = line.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = lines.read(int(headers.get("content-length", "0")))
                connection.sendall(next(self._answers))
            with self._changed:
                self.posts.append((headers, body))
                self._changed.notify_all()

    def wait(self, count: int) -> list[tuple[dict[str, str], bytes]]:
        """Wait for so many posts."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.posts) >= count, 10)
            return list(self.posts)

    def close(self) -> None:
        self._listener.close()


@contextmanager
def announcing(*answers: bytes, secret: bytes = b"hush") -> Iterator[tuple[Announcer, Receiver]]:
    """An announcer that posts to a receiver, and does not pause between its tries."""
    receiver = Receiver(*answers)
    numbers = itertools.count(1)
    announcer = Announcer(
        new_id=lambda: f"alr_{next(numbers)}",
        seconds=lambda: 1_800_000_000,
        webhook=Webhook(receiver.url, secret),
        pause=lambda _: None,
    )
    try:
        yield announcer, receiver
    finally:
        announcer.close()
        receiver.close()


def codes(posts: list[tuple[dict[str, str], bytes]]) -> list[Any]:
    """The codes of what was posted."""
    return [json.loads(body)["code"] for _, body in posts]


def test_a_post_is_signed_over_id_time_and_body_as_the_standard_says() -> None:
    with announcing() as (announcer, receiver):
        announcer.send({"code": "forbidden", "action": "act_1"})
        ((headers, body),) = receiver.wait(1)
    assert json.loads(body) == {
        "code": "forbidden",
        "action": "act_1",
        "id": "alr_1",
        "at": 1_800_000_000,
        "lost_before": 0,
    }
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(b"hush", signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_a_secret_in_the_standards_own_form_signs_with_the_bytes_that_it_encodes() -> None:
    key = bytes(range(24))
    with announcing(secret=b"whsec_" + base64.b64encode(key)) as (announcer, receiver):
        announcer.send({"code": "x"})
        ((headers, body),) = receiver.wait(1)
    stamp = int(headers["webhook-timestamp"])
    assert headers["webhook-signature"] == signature(key, headers["webhook-id"], stamp, body)


@pytest.mark.parametrize("answer", [REFUSED, ELSEWHERE, b"", b"garbage\r\n\r\n", b"HTTP/1.1 99999 x\r\n\r\n"])
def test_an_alert_that_was_not_taken_is_posted_again_under_the_same_id(answer: bytes) -> None:
    with announcing(answer, answer) as (announcer, receiver):
        announcer.send({"code": "forbidden"})
        posts = receiver.wait(3)
    assert {headers["webhook-id"] for headers, _ in posts} == {"alr_1"}
    assert announcer.lost == 0


@pytest.mark.parametrize("answer", [REFUSED, b"garbage\r\n\r\n"])
def test_an_alert_that_is_never_taken_is_counted_and_said_with_the_next_one(answer: bytes) -> None:
    with announcing(answer, answer, answer) as (announcer, receiver):
        announcer.send({"code": "lost"})
        announcer.send({"code": "next"})
        posts = receiver.wait(4)
    assert codes(posts) == ["lost", "lost", "lost", "next"]
    assert json.loads(posts[3][1])["lost_before"] == 1


def test_a_receiver_that_hangs_holds_nobody_up_and_the_overflow_is_counted() -> None:
    held = threading.Event()

    class Stuck(Webhook):
        def post(self, body: bytes, alert_id: str, seconds: int) -> None:
            held.wait(10)

    announcer = Announcer(new_id=lambda: "alr", seconds=lambda: 0, webhook=Stuck("https://127.0.0.1/", b"x"))
    for number in range(QUEUE + 50):
        announcer.send({"code": str(number)})
    assert announcer.lost >= 49
    held.set()
    announcer.close()


def test_without_a_webhook_it_is_one_structured_log_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="remit.alerts"):
        Announcer(new_id=lambda: "alr_1", seconds=lambda: 5).send({"code": "forbidden", "clauses": ["N-1"]})
    assert json.loads(caplog.records[0].getMessage()) == {
        "id": "alr_1",
        "at": 5,
        "code": "forbidden",
        "clauses": ["N-1"],
    }


@pytest.mark.parametrize("url", ["http://hooks.example.com/", "file:///etc/passwd", "ftp://127.0.0.1/", "hooks"])
def test_anything_but_https_is_refused_except_http_on_loopback(url: str) -> None:
    with pytest.raises(Misuse):
        Webhook(url, b"x")


@pytest.mark.promise("P9")
def test_the_secret_is_in_no_message_and_no_post(caplog: pytest.LogCaptureFixture) -> None:
    with announcing(REFUSED, REFUSED, REFUSED, secret=b"very-secret-key") as (announcer, receiver):
        announcer.send({"code": "x"})
        posts = receiver.wait(3)
        announcer.close()
    assert b"very-secret-key" not in b"".join(body for _, body in posts)
    assert "very-secret-key" not in caplog.text
