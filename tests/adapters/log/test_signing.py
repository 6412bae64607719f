"""The signer: what it signs, what it refuses, its memory, its keys, and the process of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from remit.adapters.log import signing
from remit.adapters.log.apart import MOST, RemoteSigner, SignerServer
from remit.adapters.log.signing import (
    Diverged,
    LocalSigner,
    Overtaken,
    Signer,
    begin_epoch,
    begin_rotation,
    end_rotation,
    next_key,
)
from remit.gates.log import checkpoints
from remit.gates.log.checkpoints import Checkpoint
from remit.gates.log.merkle import Frontier, consistency_proof, leaf_hash, root_of
from remit.model.errors import Fault, Misuse, RemitError
from tests.adapters.log.conftest import ORIGIN, Bed, wait_until
from tests.support.fixtures import short_folder


class Tree:
    """A small tree whose proofs are made the plain way."""

    def __init__(self, entries: list[bytes]) -> None:
        self._leaves = [leaf_hash(entry) for entry in entries]

    def _hashes(self, level: int, index: int) -> bytes:
        tree = Frontier()
        for leaf in self._leaves[index << level : (index + 1) << level]:
            tree.add(leaf)
        return tree.root()

    def text(self, size: int) -> str:
        return Checkpoint(ORIGIN, size, root_of(size, self._hashes)).encode()

    def proof(self, old: int, new: int) -> tuple[bytes, ...]:
        return consistency_proof(old, new, self._hashes)


ONE = Tree([b"%d" % number for number in range(40)])
OTHER = Tree([b"%d" % number for number in range(9)] + [b"other %d" % number for number in range(40)])


@pytest.fixture
def socket_path() -> Iterator[Path]:
    folder = short_folder()
    yield folder / "signer.sock"


@pytest.fixture(params=["here", "apart"])
def signer(request: pytest.FixtureRequest, bed: Bed, socket_path: Path) -> Iterator[Signer]:
    if request.param == "here":
        yield LocalSigner(bed.keys)
        return
    server = SignerServer(socket_path, LocalSigner(bed.keys), frozenset({os.geteuid()}))
    thread = threading.Thread(target=server.serve)
    thread.start()
    remote = RemoteSigner(socket_path)
    yield remote
    remote.close()
    server.close()
    thread.join(10)


def test_an_extension_is_signed_and_remembered(bed: Bed, signer: Signer) -> None:
    signer.sign(0, (), ONE.text(5))
    note = signer.sign(5, ONE.proof(5, 12), ONE.text(12))
    assert checkpoints.opened(note, bed.trusted).checkpoint.size == 12
    assert signer.last() == note == (bed.keys / "log-signed").read_bytes()


def test_the_last_checkpoint_may_be_asked_for_again(signer: Signer) -> None:
    first = signer.sign(0, (), ONE.text(12))
    assert signer.sign(0, (), ONE.text(12)) == first


@pytest.mark.parametrize(
    ("old", "tree", "proof", "size"),
    [
        (12, OTHER, OTHER.proof(12, 20), 20),  # another history with its own good proof
        (12, ONE, ONE.proof(11, 20), 20),  # a proof of something else
        (12, ONE, (), 20),  # no proof
        (12, OTHER, (), 12),  # the same size, another root
        (0, OTHER, (), 20),  # as if nothing had been signed
        (8, OTHER, OTHER.proof(8, 9), 9),  # smaller
        (12, ONE, (), 5),  # the same history, from a backup
    ],
)
def test_what_does_not_extend_what_was_signed_is_never_signed(
    bed: Bed, signer: Signer, old: int, tree: Tree, proof: tuple[bytes, ...], size: int
) -> None:
    before = signer.sign(0, (), ONE.text(12))
    with pytest.raises((Diverged, Overtaken)):
        signer.sign(old, proof, tree.text(size))
    assert (bed.keys / "log-signed").read_bytes() == before


def test_whoever_comes_second_learns_that_another_was_signed_meanwhile(signer: Signer) -> None:
    signer.sign(0, (), ONE.text(5))
    signer.sign(5, ONE.proof(5, 9), ONE.text(9))
    with pytest.raises(Overtaken, match="9 entries was signed meanwhile"):
        signer.sign(5, ONE.proof(5, 12), ONE.text(12))


def test_another_logs_checkpoint_is_not_signed(signer: Signer) -> None:
    with pytest.raises(RemitError):
        signer.sign(0, (), ONE.text(5).replace(ORIGIN, "remit/home_other"))


def test_no_signature_leaves_where_the_memory_cannot_be_written(
    bed: Bed, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(signing, "write", refuse)
    with pytest.raises(Fault, match="no space left"):
        signer.sign(0, (), ONE.text(5))


def _race(keys: Path, which: int, began: object, answers: object) -> None:
    tree = (ONE, OTHER)[which]
    signer = LocalSigner(keys)
    size = 9
    began.wait()  # type: ignore[attr-defined]
    try:
        for new in range(10, 40):
            signer.sign(size, tree.proof(size, new), tree.text(new))
            size = new
    except RemitError as error:
        answers.put((which, size, type(error).__name__))  # type: ignore[attr-defined]
        return
    answers.put((which, size, ""))  # type: ignore[attr-defined]


def test_of_two_processes_with_two_histories_one_is_signed_and_the_other_never(bed: Bed) -> None:
    LocalSigner(bed.keys).sign(0, (), ONE.text(9))
    context = multiprocessing.get_context("fork")
    began, answers = context.Event(), context.Queue()
    both = [context.Process(target=_race, args=(bed.keys, which, began, answers)) for which in (0, 1)]
    for process in both:
        process.start()
    began.set()
    found = sorted(answers.get(timeout=30) for _ in both)
    for process in both:
        process.join(30)
    refused = [each for each in found if each[2]]
    assert len(refused) == 1
    assert refused[0][1] == 9, "the one that lost had nothing of its own signed"


@pytest.mark.parametrize("damage", [b"", b"not a note", b"remit/home_test\n0\nAAAA\n\n"])
def test_a_damaged_memory_signs_nothing(bed: Bed, damage: bytes) -> None:
    (bed.keys / "log-signed").write_bytes(damage)
    with pytest.raises(Fault):
        LocalSigner(bed.keys).sign(0, (), ONE.text(5))


def test_a_memory_under_another_key_signs_nothing(bed: Bed, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    signing.found_log(tmp_path / "other", ORIGIN, os.urandom(32))
    (tmp_path / "other" / "log-signed").replace(bed.keys / "log-signed")
    with pytest.raises(Fault):
        LocalSigner(bed.keys).sign(0, (), ONE.text(5))


def test_a_key_that_others_can_read_signs_nothing(bed: Bed) -> None:
    assert (bed.keys / "log.key").stat().st_mode & 0o777 == 0o600
    (bed.keys / "log.key").chmod(0o640)
    with pytest.raises(Fault, match="can be read by others"):
        LocalSigner(bed.keys).sign(0, (), ONE.text(5))


# --- replacing the key, and another log ------------------------------------------------------------------------------


def test_while_a_key_is_replaced_both_sign_and_then_the_new_one_alone(bed: Bed) -> None:
    signer = LocalSigner(bed.keys)
    signer.sign(0, (), ONE.text(5))
    old, new = begin_rotation(bed.keys, os.urandom(32))
    both = checkpoints.opened(signer.sign(5, ONE.proof(5, 9), ONE.text(9)), [old, new])
    assert {each.key for each in both.signed} == {old, new}
    assert end_rotation(bed.keys) == (old, new)
    after = checkpoints.opened(signer.sign(9, ONE.proof(9, 12), ONE.text(12)), [new])
    assert [line.key_id for line in after.note.lines] == [new.key_id]
    assert sorted(path.name for path in bed.keys.iterdir()) == ["log-signed", "log-signed.lock", "log.key"]


def test_an_idle_log_gets_the_second_signature_when_its_checkpoint_is_asked_for_again(bed: Bed) -> None:
    signer = LocalSigner(bed.keys)
    signer.sign(0, (), ONE.text(5))
    old, new = begin_rotation(bed.keys, os.urandom(32))
    assert len(checkpoints.opened(signer.sign(5, (), ONE.text(5)), [old, new]).signed) == 2


def test_a_rotation_cannot_end_before_a_checkpoint_carries_both_signatures(bed: Bed) -> None:
    begin_rotation(bed.keys, os.urandom(32))
    with pytest.raises(Misuse, match="no checkpoint carries"):
        end_rotation(bed.keys)
    with pytest.raises(Misuse, match="already"):
        begin_rotation(bed.keys, os.urandom(32))


def test_a_next_log_begins_empty_under_a_key_and_an_origin_of_its_own(bed: Bed) -> None:
    signer = LocalSigner(bed.keys)
    before = signer.sign(0, (), ONE.text(5))
    key = next_key(bed.keys, os.urandom(32))
    begin_epoch(bed.keys, key)
    begun = checkpoints.opened(signer.last(), [key.verifier]).checkpoint
    assert (begun.origin, begun.size) == (f"{ORIGIN}/2", 0)
    assert (bed.keys / "log-signed").read_bytes() == before
    with pytest.raises(RemitError):
        signer.sign(5, ONE.proof(5, 9), ONE.text(9))
    begin_epoch(bed.keys, again := next_key(bed.keys, os.urandom(32)))
    assert again.name == f"{ORIGIN}/3"


# --- the process of its own ------------------------------------------------------------------------------------------


def test_a_log_is_kept_with_a_signer_apart_and_its_end_is_trouble_until_it_is_back(bed: Bed, socket_path: Path) -> None:
    allowed = frozenset({os.geteuid()})
    server = SignerServer(socket_path, LocalSigner(bed.keys), allowed)
    threading.Thread(target=server.serve, daemon=True).start()
    signer = RemoteSigner(socket_path)
    keeper = bed.keeper(signer=signer)
    bed.records.grow(300)
    keeper.wake()
    wait_until(lambda: keeper.state.size == 300, "the records did not come under a checkpoint")
    server.close()
    signer.close()
    bed.records.grow(10)
    keeper.wake()
    wait_until(lambda: "does not answer" in keeper.trouble(), "the signer's end was not noticed")
    server = SignerServer(socket_path, LocalSigner(bed.keys), allowed)
    threading.Thread(target=server.serve, daemon=True).start()
    wait_until(lambda: keeper.trouble() == "", "the trouble did not end")
    wait_until(lambda: keeper.state.size == 310, "the records did not come under a checkpoint")
    assert bed.check() == 310
    keeper.close()
    server.close()


def test_a_process_of_another_user_gets_no_answer(bed: Bed, socket_path: Path) -> None:
    server = SignerServer(socket_path, LocalSigner(bed.keys), frozenset({os.geteuid() + 1}))
    threading.Thread(target=server.serve, daemon=True).start()
    with pytest.raises(Fault, match="does not answer"):
        RemoteSigner(socket_path).last()
    server.close()


def test_a_second_signer_on_one_socket_is_refused(bed: Bed, socket_path: Path) -> None:
    server = SignerServer(socket_path, LocalSigner(bed.keys), frozenset())
    with pytest.raises(Fault, match="already"):
        SignerServer(socket_path, LocalSigner(bed.keys), frozenset())
    server.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x00\x00\x00",
        (MOST + 1).to_bytes(4, "big") + b"x" * 10,
        b"\x00\x00\x00\x02{}",
        b"\x00\x00\x00\x0d" + b'{"do":"give"}',
        b"\x00\x00\x00\x1c" + b'{"do":"last","more":"fields"}'[:28],
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_whoever_does_not_speak_the_protocol_is_hung_up_on(bed: Bed, socket_path: Path, sent: bytes) -> None:
    server = SignerServer(socket_path, LocalSigner(bed.keys), frozenset({os.geteuid()}))
    threading.Thread(target=server.serve, daemon=True).start()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(socket_path))
        connection.sendall(sent)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(100) == b""
    assert RemoteSigner(socket_path).last()
    server.close()
