"""What a witness cosigns, and what it remembers."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from remit.adapters.witness import state
from remit.adapters.witness.state import Conflict, NotExtended, NotSigned, UnknownLog, Witness, make_witness
from remit.gates.log.checkpoints import Checkpoint
from remit.gates.log.notes import LogKey, Note, parse_note
from remit.gates.log.submissions import BadSubmission, Submission, cosignatures
from remit.model.errors import Fault, Misuse, RemitError
from tests.adapters.witness.conftest import NOW, SEED
from tests.support.logs import SignedLog

ORIGIN = "remit/home_test"


def test_a_first_checkpoint_and_what_extends_it_is_cosigned_with_the_time(witness: Witness, signed: SignedLog) -> None:
    for old, size in ((0, 1), (1, 3), (3, 3), (3, 5)):
        submission = signed.submission(old, size)
        line, found = cosignatures(
            witness.cosign(submission, NOW + size), parse_note(submission.note).text, witness.verifier
        )
        assert (found.at, line.name) == (NOW + size, "witness.example/1")
        assert witness.size(ORIGIN) == size


def test_a_fork_is_refused_forever_at_every_size(folder: Path, signed: SignedLog) -> None:
    Witness(folder).cosign(signed.submission(0), NOW)
    fork = SignedLog(entries=4).grow(20, "b")
    for witness in (Witness(folder), Witness(folder)):
        with pytest.raises(Conflict, match="another log of 5 entries"):
            witness.cosign(fork.submission(5, 5), NOW)
        for size in range(6, 25):
            with pytest.raises(NotExtended):
                witness.cosign(fork.submission(5, size), NOW)
        with pytest.raises(Conflict) as refused:
            witness.cosign(fork.submission(4, 24), NOW)
        assert refused.value.size == 5
        with pytest.raises(Conflict):
            witness.cosign(fork.submission(0, 24), NOW)
    assert Witness(folder).size(ORIGIN) == 5
    assert Witness(folder).cosign(signed.grow(3).submission(5), NOW)


def test_a_log_that_shrinks_is_refused(witness: Witness, signed: SignedLog) -> None:
    witness.cosign(signed.submission(0), NOW)
    with pytest.raises(Conflict) as refused:
        witness.cosign(signed.submission(3, 3), NOW)
    assert refused.value.size == 5
    with pytest.raises(BadSubmission):
        witness.cosign(Submission(5, (), signed.note(3)), NOW)


def test_only_the_logs_own_key_makes_a_checkpoint_count(witness: Witness, signed: SignedLog) -> None:
    other = LogKey.generate(ORIGIN, b"x" * 32)
    with pytest.raises(NotSigned):
        witness.cosign(Submission(0, (), signed.note(5, other)), NOW)
    damaged = signed.note().replace(b"\n5\n", b"\n4\n")
    with pytest.raises(NotSigned):
        witness.cosign(Submission(0, (), damaged), NOW)
    with pytest.raises(UnknownLog):
        witness.cosign(SignedLog("remit/home_other", 3).submission(0), NOW)
    assert witness.size(ORIGIN) == 0
    assert witness.cosign(Submission(0, (), signed.note(5, other, signed.key)), NOW)


def test_a_log_that_is_added_to_the_file_is_known_at_once(folder: Path, witness: Witness) -> None:
    other = SignedLog("remit/home_other", 3)
    with (folder / "logs").open("a") as file:
        file.write(f"# another one\n{other.verifier.text}\n")
    assert witness.cosign(other.submission(0), NOW)


def test_what_was_cosigned_is_durable_before_the_answer(
    witness: Witness, signed: SignedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state, "write", full)
    with pytest.raises(Fault, match="No space left"):
        witness.cosign(signed.submission(0), NOW)
    monkeypatch.undo()
    assert witness.size(ORIGIN) == 0
    assert witness.cosign(signed.submission(0), NOW)


def test_an_answer_that_was_lost_can_be_had_again(witness: Witness, signed: SignedLog) -> None:
    witness.cosign(signed.submission(0), NOW)
    assert witness.cosign(signed.submission(5), NOW + 1)


def test_two_on_one_folder_never_cosign_two_histories(folder: Path, signed: SignedLog) -> None:
    forks = [SignedLog(entries=3, mark=mark) for mark in "abcdefgh"]
    won: list[str] = []
    start = threading.Barrier(len(forks))

    def submit(fork: SignedLog) -> None:
        witness = Witness(folder)
        start.wait(5)
        try:
            witness.cosign(fork.submission(0), NOW)
        except Conflict:
            return
        won.append(parse_note(fork.note()).text)

    threads = [threading.Thread(target=submit, args=(fork,)) for fork in forks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(won) == 1


_RACE = """
import sys
from pathlib import Path
from remit.adapters.witness.state import Conflict, Witness
from remit.gates.log.submissions import parse
witness = Witness(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.buffer.readline()
try:
    witness.cosign(parse(Path(sys.argv[2]).read_bytes()), 1)
    print("cosigned")
except Conflict:
    print("refused")
"""


def test_two_processes_on_one_folder_never_cosign_two_histories(folder: Path, tmp_path: Path) -> None:
    running = []
    for mark in "abc":
        (tmp_path / mark).write_bytes(SignedLog(entries=3, mark=mark).submission(0).encode())
        words = [sys.executable, "-c", _RACE, str(folder), str(tmp_path / mark)]
        running.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for process in running:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = sorted(process.communicate(timeout=20)[0].strip() for process in running)
    assert said == ["cosigned", "refused", "refused"]


@pytest.mark.parametrize("damage", [b"", b"garbage", b"remit/home_test\n0\nAAAA\n"])
def test_a_damaged_memory_is_no_empty_one(folder: Path, signed: SignedLog, damage: bytes) -> None:
    Witness(folder).cosign(signed.submission(0), NOW)
    (file,) = (folder / "seen").iterdir()
    file.write_bytes(damage)
    with pytest.raises(Fault, match="damaged"):
        Witness(folder).cosign(SignedLog(entries=9, mark="b").submission(0), NOW)


def test_a_memory_that_somebody_else_wrote_is_damage(folder: Path, signed: SignedLog) -> None:
    Witness(folder).cosign(signed.submission(0), NOW)
    (file,) = (folder / "seen").iterdir()
    file.write_bytes(signed.note(1))
    with pytest.raises(Fault, match="damaged"):
        Witness(folder).size(ORIGIN)
    cosigned = Witness(folder)._key.cosign(Checkpoint("remit/home_x", 0, signed_empty()).encode(), NOW)
    file.write_bytes(Note(Checkpoint("remit/home_x", 0, signed_empty()).encode(), (cosigned,)).encode())
    with pytest.raises(Fault, match="of log"):
        Witness(folder).size(ORIGIN)


def signed_empty() -> bytes:
    from remit.gates.log.merkle import EMPTY_ROOT

    return EMPTY_ROOT


def test_the_key_and_its_folder_are_the_users_own(folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "witness.key").stat().st_mode) == 0o600
    (folder / "witness.key").chmod(0o640)
    with pytest.raises(Fault, match="read by others"):
        Witness(folder)


def test_a_witness_is_made_once_and_in_a_folder_of_its_own(folder: Path, signed: SignedLog) -> None:
    before = (folder / "witness.key").read_bytes()
    with pytest.raises(Misuse, match="not empty"):
        make_witness(folder, "witness.example/1", [signed.verifier], b"y" * 32)
    assert (folder / "witness.key").read_bytes() == before


@pytest.mark.parametrize("text", ["nonsense", "a+00000000+AQID", ""])
def test_a_file_of_logs_that_cannot_be_read_is_told_at_the_start(folder: Path, text: str) -> None:
    (folder / "logs").write_text(f"{text}\n")
    if not text:
        assert Witness(folder).logs() == ()
        return
    with pytest.raises(RemitError, match="`logs` is damaged"):
        Witness(folder)


def test_a_witness_key_is_no_logs_key(folder: Path) -> None:
    with pytest.raises(Misuse):
        make_witness(folder.parent / "other", "w2", [state.log_key(Witness(folder).verifier.text)], SEED)
