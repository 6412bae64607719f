"""The log's side of its witnesses: what is published, who is away, and who contradicts the log."""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from remit.adapters.log import witnesses as module
from remit.adapters.log.folder import WITNESSED, LogFolder
from remit.adapters.log.keeper import Keeper
from remit.adapters.log.signing import LocalSigner, begin_epoch, next_key
from remit.adapters.log.witnesses import Witnesses, witnessed_size
from remit.adapters.log.writing import LogWriter
from remit.adapters.witness.server import WitnessServer
from remit.adapters.witness.state import Witness, make_witness
from remit.gates.log import checkpoints
from remit.gates.log.checkpoints import Opened
from remit.gates.log.notes import VerifierKey
from tests.adapters.log.conftest import ORIGIN, Bed, wait_until

NOW = 1_800_000_000


class Running:
    """A witness that can be ended and started again at the same address."""

    def __init__(self, root: Path, number: int, log: VerifierKey) -> None:
        self.folder = root / f"w{number}"
        self.key = make_witness(self.folder, f"w{number}.example", [log], bytes([number]) * 32)
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.witness = Witness(self.folder)
        self.server = WitnessServer(("127.0.0.1", self.port), self.witness, lambda: NOW)
        self.port = int(self.server.server_address[1])
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def end(self) -> None:
        if not self.thread.is_alive():
            return
        self.server.shutdown()
        for connection in list(self.server._deadlines):
            connection.shutdown(socket.SHUT_RDWR)
        self.server.server_close()
        self.thread.join(5)

    def size(self) -> int:
        return self.witness.size(ORIGIN)


class Watched:
    """A log with witnesses."""

    def __init__(self, bed: Bed, count: int, quorum: int) -> None:
        self.bed = bed
        self.running = [Running(bed.root, number, bed.key) for number in range(1, count + 1)]
        self.configured = [(each.url, each.key) for each in self.running]
        self.quorum = quorum
        self.begin()

    def begin(self) -> None:
        self.witnesses = Witnesses(self.configured, self.quorum)
        signer = LocalSigner(self.bed.keys)
        writer = LogWriter(
            self.bed.folder, self.bed.records, signer, lambda: tuple(self.bed.trusted), self.witnesses.publish
        )
        self.keeper = Keeper(writer, now=lambda: 1, witnesses=self.witnesses.contradicted)
        self.witnesses.start()
        self.keeper.start()

    def end(self) -> None:
        self.keeper.close()
        self.witnesses.close()
        for thread in self.witnesses._threads:
            thread.join(10)

    def end_all(self) -> None:
        """The log, and its witnesses."""
        self.end()
        for each in self.running:
            each.end()

    def grow(self, count: int = 1) -> int:
        self.bed.records.grow(count)
        self.keeper.wake()
        return len(self.bed.records.data)

    def grow_covered(self, count: int = 1) -> int:
        """Grow, and wait until the witnesses cover all of it."""
        size = self.grow(count)
        wait_until(lambda: self.covered() == size, "all of it is covered")
        return size

    def opened(self, name: str = "checkpoint") -> Opened:
        keys = [*self.bed.trusted, *(key for _, key in self.configured)]
        return checkpoints.opened((self.bed.folder / name).read_bytes(), keys)

    def cosigned(self) -> tuple[int, int]:
        found = self.opened()
        return found.checkpoint.size, len(found.cosigned)

    def covered(self) -> int:
        return self.witnesses.state.size

    def away(self) -> dict[str, str]:
        return {each.name: each.away for each in self.witnesses.state.witnesses if each.away}


@pytest.fixture
def watched(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, int], Watched]]:
    monkeypatch.setattr(module, "AWAY_SECONDS", 0.4)
    monkeypatch.setattr(module, "RETRY_SECONDS", (0.02, 0.1))
    monkeypatch.setattr(module, "ROUND_SECONDS", 0.3)
    made: list[Watched] = []

    def make(count: int, quorum: int) -> Watched:
        made.append(Watched(bed, count, quorum))
        return made[-1]

    yield make
    for each in made:
        each.end_all()


def test_the_newest_checkpoint_is_published_with_every_cosignature_that_it_has(
    watched: Callable[[int, int], Watched],
) -> None:
    log = watched(3, 2)
    for count in (1, 300, 7):
        size = log.grow(count)
        wait_until(lambda: log.cosigned() == (size, 3), "three cosignatures")  # noqa: B023
        assert log.bed.check() == size
        assert log.opened(WITNESSED).checkpoint.size == size
        assert {each.at for each in log.opened().cosigned} == {NOW}
        assert log.covered() == size and log.witnesses.away() == ""
    assert [each.size() for each in log.running] == [308] * 3


def test_a_busy_log_is_witnessed_all_the_while_by_a_quorum_on_one_checkpoint(
    watched: Callable[[int, int], Watched],
) -> None:
    log = watched(3, 3)
    seen = set()
    for _ in range(60):
        size = log.grow()
        wait_until(lambda: log.keeper.state.size == size, "signed")  # noqa: B023
        seen.add(log.covered())
    assert len(seen) > 5
    log.grow_covered()
    assert len(log.opened(WITNESSED).cosigned) == 3


def test_the_log_goes_on_without_its_witnesses_and_says_so_until_they_are_back(
    watched: Callable[[int, int], Watched],
) -> None:
    log = watched(2, 2)
    first = log.grow_covered(3)
    log.running[1].end()
    size = log.grow(4)
    wait_until(lambda: "w2.example" in log.away(), "the witness is away")
    wait_until(lambda: log.witnesses.away() != "", "the quorum is away")
    assert log.witnesses.away() == "1 of 2 witnesses answer, 2 are needed"
    wait_until(lambda: len(log.opened().cosigned) == 1, "the other one cosigned")
    assert log.opened().checkpoint.size == size and log.keeper.trouble() == ""
    assert log.opened(WITNESSED).checkpoint.size == first == log.covered()
    for _ in range(5):
        size = log.grow()
        wait_until(lambda: log.keeper.state.size == size, "signed")  # noqa: B023
    assert log.opened(WITNESSED).checkpoint.size == first
    log.running[1].start()
    wait_until(lambda: log.covered() == size, "covered again")
    assert log.witnesses.away() == "" and log.away() == {}
    assert len(log.opened(WITNESSED).cosigned) == 2


def test_one_away_is_no_matter_where_the_others_are_enough(watched: Callable[[int, int], Watched]) -> None:
    log = watched(3, 2)
    log.running[0].end()
    log.grow_covered(3)
    wait_until(lambda: list(log.away()) == ["w1.example"], "the third is known to be away")
    assert log.witnesses.away() == ""


def test_an_idle_log_waits_for_nobody(watched: Callable[[int, int], Watched], monkeypatch: pytest.MonkeyPatch) -> None:
    log = watched(1, 1)
    log.grow_covered(2)
    log.running[0].end()
    monkeypatch.setattr(module, "AWAY_SECONDS", -1.0)  # whoever is waited for at all is away
    assert (log.witnesses.away(), log.away()) == ("", {})
    log.grow()
    wait_until(lambda: log.witnesses.away() and log.away(), "away")


def test_a_restart_keeps_the_cosignatures_and_begins_where_the_witness_is(
    watched: Callable[[int, int], Watched],
) -> None:
    log = watched(2, 2)
    size = log.grow_covered(300)
    log.end_all()
    log.begin()
    assert len(log.opened().cosigned) == 2 and log.covered() == size
    assert log.witnesses.away() == ""
    for each in log.running:
        each.start()
    log.grow_covered(5)


def test_a_damaged_or_foreign_line_beside_the_checkpoint_is_not_kept(watched: Callable[[int, int], Watched]) -> None:
    log = watched(2, 2)
    log.grow_covered(3)
    log.end_all()
    path = log.bed.folder / "checkpoint"
    lines = path.read_bytes().splitlines(keepends=True)
    broken = bytearray(lines[-1])
    broken[-20] ^= 1
    path.write_bytes(b"".join([*lines[:-1], bytes(broken)]))
    (log.bed.folder / WITNESSED).write_bytes(path.read_bytes())
    log.begin()
    assert len(log.opened().cosigned) <= 1
    assert log.covered() == 0


def test_what_a_stranger_cosigned_covers_nothing(bed: Bed) -> None:
    writer = bed.writer()
    writer.open()
    key = make_witness(bed.root / "w", "w.example", [bed.key], b"w" * 32)
    assert witnessed_size(LogFolder(bed.folder), ORIGIN, [key], 1) == 0
    (bed.folder / WITNESSED).write_bytes((bed.folder / "checkpoint").read_bytes())
    assert witnessed_size(LogFolder(bed.folder), ORIGIN, [key], 1) == 0
    assert witnessed_size(LogFolder(bed.folder), ORIGIN, [], 0) == 0


def test_a_history_that_was_signed_anew_is_contradicted_and_everything_refused(
    watched: Callable[[int, int], Watched],
) -> None:
    log = watched(1, 1)
    size = log.grow_covered(10)
    log.end()
    # Whoever has the log's key writes another history, and forgets that the first was signed.
    shutil.rmtree(log.bed.folder)
    _forget(log.bed)
    log.bed.records.data.clear()
    log.bed.records.grow(20, mark="forged")
    log.begin()
    wait_until(lambda: "rewritten" in log.keeper.trouble(), "the witness contradicts")
    assert log.running[0].size() == size and log.covered() == 0
    assert len(log.opened().cosigned) == 0


@pytest.mark.parametrize("left", [10, 4])
def test_a_log_that_lost_records_is_contradicted(watched: Callable[[int, int], Watched], left: int) -> None:
    log = watched(1, 1)
    log.grow_covered(10)
    log.end()
    shutil.rmtree(log.bed.folder)
    _forget(log.bed)
    kept = log.bed.records.data[:4]
    log.bed.records.data.clear()
    log.bed.records.data += kept
    log.bed.records.grow(left - 4, mark="other")
    log.begin()
    wait_until(lambda: "gone" in log.keeper.trouble() or "rewritten" in log.keeper.trouble(), "contradicted")
    assert ("gone" in log.keeper.trouble()) is (left < 10)


def _forget(bed: Bed) -> None:
    """The signer's memory, put back to the empty log by somebody who has the key."""
    begin_epoch(bed.keys, LocalSigner(bed.keys)._keys()[0])


def test_another_log_of_the_home_begins_without_cosignatures(watched: Callable[[int, int], Watched]) -> None:
    log = watched(1, 1)
    size = log.grow_covered(10)
    log.end()
    key = next_key(log.bed.keys, b"n" * 32)
    begin_epoch(log.bed.keys, key)
    log.bed.trusted[:] = [key.verifier]
    log.begin()
    wait_until(lambda: log.keeper.state.size == size, "signed anew")
    wait_until(lambda: "does not know this log" in log.away().get("w1.example", ""), "the witness does not know it")
    assert log.covered() == 0 and log.keeper.trouble() == ""
    with (log.running[0].folder / "logs").open("a") as file:
        file.write(f"{key.verifier.text}\n")
    wait_until(lambda: log.covered() == size, "cosigned as well")


class _Liar(BaseHTTPRequestHandler):
    status, kind, body = 200, "text/plain", b""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.send_header("Content-Type", self.kind)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "text/plain", b""),
        (200, "text/plain", b"garbage\n"),
        (200, "text/plain", "— w1.example AAAAAAAA\n".encode()),
        (200, "text/plain", b"x" * 1_000_000),
        (409, "text/x.tlog.size", b"\xff\n"),
        (409, "text/x.tlog.size", b"1\n"),
        (409, "text/plain", b"3\n"),
        (403, "text/plain", b""),
        (500, "text/plain", b""),
        (302, "text/plain", b""),
    ],
)
def test_a_witness_that_answers_nonsense_counts_as_away_and_costs_the_log_nothing(
    watched: Callable[[int, int], Watched], status: int, kind: str, body: bytes
) -> None:
    log = watched(1, 1)
    log.running[0].end()
    handler = type("Handler", (_Liar,), {"status": status, "kind": kind, "body": body})
    liar = HTTPServer(("127.0.0.1", log.running[0].port), handler)
    thread = threading.Thread(target=liar.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        size = log.grow(3)
        wait_until(lambda: log.away() and log.witnesses.away(), "away")
        assert log.keeper.trouble() == "" and log.keeper.state.size == size
        assert len(log.opened().cosigned) == 0 and log.covered() == 0
    finally:
        liar.shutdown()
        liar.server_close()
        thread.join(5)


async def test_whoever_waits_for_a_record_is_told_once_it_is_covered_and_not_before(
    watched: Callable[[int, int], Watched],
) -> None:
    log = watched(1, 1)
    size = log.grow(3)
    assert await log.witnesses.cover(size - 1, 10.0)
    assert not await log.witnesses.cover(size, 0.1)
    log.running[0].end()
    log.grow()
    assert not await log.witnesses.cover(size, 0.2)
    log.running[0].start()
    assert await log.witnesses.cover(size, 10.0)
    assert not log.witnesses._waiters


async def test_a_checkpoint_that_ends_just_before_a_record_does_not_cover_it(
    watched: Callable[[int, int], Watched],
) -> None:
    log = watched(1, 1)
    size = log.grow(3)
    waiting = asyncio.ensure_future(log.witnesses.cover(size + 1, 10.0))
    await asyncio.sleep(0)
    log.grow()
    assert await log.witnesses.cover(size, 10.0)
    await asyncio.sleep(0)
    assert not waiting.done()
    log.grow()
    assert await waiting


async def test_without_a_witness_nothing_is_ever_covered(bed: Bed) -> None:
    alone = Witnesses([], 0)
    assert not await alone.cover(0, 5.0)
    assert alone.away() == "no witness is configured"
    assert alone.state.quorum == 0
