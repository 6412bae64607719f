"""A witness over HTTP: the statuses of tlog-witness, and what nobody can do to it."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from http.client import HTTPConnection

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remit.adapters.witness import server as served
from remit.adapters.witness.server import WitnessServer
from remit.adapters.witness.state import Witness
from remit.gates.log.notes import LogKey
from remit.gates.log.submissions import MAX_SUBMISSION, Submission, cosignatures, parse
from remit.model.errors import NotVerified
from tests.adapters.witness.conftest import NOW, Client
from tests.support.logs import SignedLog


def test_each_refusal_has_the_status_of_the_specification(client: Client, witness: Witness, signed: SignedLog) -> None:
    status, _, body = client.add(signed.submission(0, 3))
    assert status == 200 and body.endswith(b"\n")
    text = signed.note(3).decode().rpartition("\n\n")[0] + "\n"
    assert cosignatures(body, text, witness.verifier)[1].at == NOW
    fork = SignedLog(entries=8, mark="b")
    assert client.add(fork.submission(3))[0] == 422
    assert client.add(fork.submission(3, 3))[::1][0] == 409
    assert client.add(signed.submission(1)) == (409, "text/x.tlog.size", b"3\n")
    assert client.add(SignedLog("remit/home_other", 3).submission(0))[0] == 404
    assert client.add(Submission(3, (), signed.note(5, LogKey.generate("remit/home_test", b"x" * 32))))[0] == 403
    assert client.add(Submission(4, (), signed.note(3)))[0] == 400
    assert client.ask(b"garbage")[0] == 400
    assert client.add(signed.submission(3))[0] == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_there_is_no_other_method(client: Client, method: str) -> None:
    assert client.ask(b"", method=method)[0] == 405
    assert client.ask(b"", method="BREW")[0] == 501


def test_there_is_no_other_path_and_no_body_without_a_length(client: Client, signed: SignedLog) -> None:
    body = signed.submission(0).encode()
    assert client.ask(body, path="/")[0] == 404
    assert client.ask(body, path="/add-checkpoint/../x")[0] == 404
    assert client.ask(b"", **{"Transfer-Encoding": "chunked"})[0] == 411
    assert client.ask(b"", **{"Content-Length": "-1"})[0] == 400
    assert client.ask(b"", **{"Content-Length": str(MAX_SUBMISSION + 1)})[0] == 413


def test_a_connection_serves_several_requests(server: WitnessServer, signed: SignedLog) -> None:
    host, port = server.server_address[:2]
    with closing(HTTPConnection(str(host), port, timeout=5)) as connection:
        connection.connect()
        socket_of = connection.sock
        for status in (200, 409):
            connection.request("POST", "/add-checkpoint", signed.submission(0).encode())
            with connection.getresponse() as response:
                response.read()
                assert response.status == status
            assert connection.sock is socket_of


def test_who_drips_a_request_is_cut_off_and_others_are_served_meanwhile(
    server: WitnessServer, client: Client, signed: SignedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "REQUEST_SECONDS", 0.3)
    with socket.create_connection(server.server_address[:2], 5) as slow:  # type: ignore[arg-type]
        slow.sendall(b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 100\r\n\r\n")
        assert client.add(signed.submission(0))[0] == 200
        slow.settimeout(0.05)
        until, over = time.monotonic() + 10, False
        while not over and time.monotonic() < until:
            try:
                slow.send(b"x")
                over = slow.recv(10) == b""
            except TimeoutError:
                continue
            except OSError:
                over = True
        assert over


def test_there_are_only_so_many_connections_and_room_again_when_they_end(
    server: WitnessServer, client: Client, signed: SignedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "MOST_CONNECTIONS", 2)
    held = [socket.create_connection(server.server_address[:2], 5) for _ in range(2)]  # type: ignore[arg-type]
    with socket.create_connection(server.server_address[:2], 5) as third:  # type: ignore[arg-type]
        third.settimeout(5)
        assert third.recv(1) == b""
    for each in held:
        each.close()
    until = time.monotonic() + 10
    while True:
        try:
            assert client.add(signed.submission(0))[0] == 200
            break
        except (ConnectionError, OSError):
            assert time.monotonic() < until


def test_a_witness_whose_folder_fails_cosigns_nothing(client: Client, witness: Witness, signed: SignedLog) -> None:
    client.add(signed.submission(0, 3))
    (file,) = (witness._folder / "seen").iterdir()
    file.write_bytes(b"damaged")
    status, _, body = client.add(signed.submission(3))
    assert (status, b"\xe2\x80\x94" in body) == (500, False)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300) | st.binary(max_size=200).map(lambda more: b"old 0\n\n" + more))
def test_garbage_is_refused_and_changes_nothing(client: Client, witness: Witness, data: bytes) -> None:
    assert client.ask(data)[0] in (400, 404)
    assert witness.size("remit/home_test") == 0


@given(
    old=st.integers(0, 2**63 - 1), proof=st.lists(st.binary(min_size=32, max_size=32), max_size=63), note=st.binary()
)
def test_a_submission_is_read_as_it_was_written(old: int, proof: list[bytes], note: bytes) -> None:
    submission = Submission(old, tuple(proof), note)
    assert parse(submission.encode()) == submission


@pytest.mark.parametrize(
    "body",
    [
        b"old 01\n\nx",
        b"old -1\n\nx",
        b"old +1\n\nx",
        b"old 1 \n\nx",
        b"Old 1\n\nx",
        b"old 1\nAAAA\n\nx",
        b"old 1\n" + b"A" * 42 + b"B=\n\nx",
        b"old 1\nx",
        b"old 1\n" + (b"A" * 43 + b"=\n") * 64 + b"\nx",
        b"old 1\r\n\r\nx",
    ],
)
def test_a_submission_has_one_spelling(body: bytes) -> None:
    with pytest.raises(NotVerified):
        parse(body)
