"""A witness in a folder, one log that it knows, and a server at a free port."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from remit.adapters.witness.server import WitnessServer
from remit.adapters.witness.state import Witness, make_witness
from remit.gates.log.submissions import Submission
from tests.support.logs import SignedLog

SEED = b"w" * 32
NOW = 1_800_000_000


@pytest.fixture
def signed() -> SignedLog:
    return SignedLog(entries=5)


@pytest.fixture
def folder(tmp_path: Path, signed: SignedLog) -> Path:
    make_witness(tmp_path / "w", "witness.example/1", [signed.verifier], SEED)
    return tmp_path / "w"


@pytest.fixture
def witness(folder: Path) -> Witness:
    return Witness(folder)


class Client:
    """Asks a witness over HTTP."""

    def __init__(self, url: str) -> None:
        self.address = url.removeprefix("http://")

    def ask(
        self, body: bytes, *, method: str = "POST", path: str = "/add-checkpoint", **headers: str
    ) -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection(self.address, timeout=10)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        found = answer.status, answer.headers.get("Content-Type", ""), answer.read()
        connection.close()
        return found

    def add(self, submission: Submission) -> tuple[int, str, bytes]:
        return self.ask(submission.encode())


@pytest.fixture
def server(witness: Witness) -> Iterator[WitnessServer]:
    made = WitnessServer(("127.0.0.1", 0), witness, lambda: NOW)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        made.server_close()
        thread.join(5)


@pytest.fixture
def client(server: WitnessServer) -> Client:
    return Client(server.url)
