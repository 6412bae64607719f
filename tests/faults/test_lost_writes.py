"""What a loss of power leaves: writes that were never synced are lost, torn or kept, and nothing that was acknowledged
is missing, nothing that was signed is ahead of it, nothing that was erased comes back.

A node works under `shim.c`, which records its writes; the record is replayed up to a moment and the disk of that moment
is rebuilt (`disk.py`), then opened as the next start would. A missing sync in the code is a sync that the replay does
not hear, so each kind is taken away in turn, and must be missed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from remit.adapters.home.auditing import files_at
from remit.adapters.home.folder import Home
from remit.adapters.home.latch_file import FileLatch
from remit.adapters.log.disclosing import StorePayloads
from remit.adapters.log.signing import LocalSigner, forget_older_logs
from remit.adapters.log.writing import LogWriter
from remit.adapters.payloads.keepers import KEY_BYTES
from remit.adapters.payloads.keys import _HEADER_BYTES, _SHIFT, _Wrapping
from remit.adapters.payloads.sealing import sealer
from remit.adapters.store.reads import SqliteReads
from remit.adapters.store.sqlite import open_store
from remit.flow.auditing.audit import audit
from remit.flow.auditing.files import Trust
from remit.flow.auditing.ledger import MemoryLedger
from remit.gates.log.checkpoints import Checkpoint, parse
from remit.gates.log.merkle import Frontier, leaf_hash
from remit.gates.log.notes import VerifierKey, parse_note
from remit.model.errors import RemitError
from tests.faults.disk import Disk, Event, Keep, bytes_in, events
from tests.faults.test_log import lose_the_last_record
from tests.support.fixtures import Templates, short_folder
from tests.support.home import Practice, manifest

HERE = Path(__file__).parent
SECONDS = 100
MODES: tuple[tuple[Keep, Keep], ...] = (
    ("synced", "synced"),
    ("all", "synced"),
    ("some", "some"),
    ("all", "some"),
    ("synced", "all"),
    ("all", "all"),
)
"""What is kept of a folder's names, and of a file's bytes."""


@dataclass
class Recording:
    """What a node did to its home, and where it was to end."""

    practice: Practice
    base: Path
    events: list[Event]
    records: list[bytes]
    again: bool = False
    """Whether a second log is begun, over a store that was not what the first one had signed."""
    roots: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        tree = Frontier()
        self.roots.append(tree.root())
        for record in self.records:
            tree.add(leaf_hash(record))
            self.roots.append(tree.root())

    @property
    def acknowledged(self) -> list[int]:
        """The positions right after an acknowledgement."""
        return [at + 1 for at, event in enumerate(self.events) if event.type == "A"]

    @property
    def turning_points(self) -> list[int]:
        """Those after something else than a call."""
        return [at for at in self.acknowledged if self.before(at)[-1]["what"] != "ended"]

    def before(self, cut: int) -> list[dict[str, Any]]:
        """What was acknowledged before this position."""
        return [json.loads(event.data) for event in self.events[:cut] if event.type == "A"]

    def published(self, cut: int) -> list[Checkpoint]:
        """Every checkpoint that a reader of the log's folder could have seen before this position."""
        found, written = [], {}
        for event in self.events[:cut]:
            if event.type == "C" and event.paths[0].endswith("/.checkpoint.new"):
                written[event.paths[0]] = event.number
            elif event.type == "W" and event.number in written.values():
                found.append(parse(parse_note(event.data).text))
        return found


def recorded(practice: Practice, shim: Path, part: str, scratch: Path) -> Recording:
    """Let a node work on this home under the shim."""
    base, trace = scratch / f"{part}.base", scratch / f"{part}.trace"
    shutil.copytree(practice.home, base, ignore=shutil.ignore_patterns("*.sock", "*-shm"))
    words = {"REMIT_SHIM_ROOT": str(practice.home), "REMIT_SHIM_TRACE": str(trace), "LD_PRELOAD": str(shim)}
    path = os.pathsep.join([str(HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, str(HERE / "working.py"), str(practice.home), part],
        cwd=practice.root,
        env={**os.environ, **words, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Recording(practice, base, events(trace), stored(Home(practice.home)), again=part == "anew")


def stored(home: Home) -> list[bytes]:
    reads = SqliteReads(home.store, sealer(home.keys))
    try:
        return [record.data for record in reads.records_from(0, 1_000_000)]
    finally:
        reads.close()


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one: the disk here is made of bytes, the real one only costs time."""
    memory = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(prefix="remit-", dir=memory if os.access(memory, os.W_OK) else None))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def day(templates: Templates, shim: Path, scratch: Path) -> Iterator[Recording]:
    """A day's work."""
    root = short_folder()
    practice = templates.get({name: manifest(name) for name in ("edr", "idp")}, {}).copy(root)
    yield recorded(practice, shim, "day", scratch)
    shutil.rmtree(root, ignore_errors=True)


# --- what must hold after every crash ---------------------------------------------------------------------------------


@dataclass
class Crash:
    """A home as a crash at `cut` left it."""

    recording: Recording
    cut: int
    home: Home

    def check(self) -> None:
        """Everything. Raises `AssertionError` or `RemitError`."""
        said = self.recording.before(self.cut)
        self.what_was_erased_stays_closed(said)
        self.what_was_stopped_is_stopped(said)
        kept = self.recovered(said)
        if self.recording.again and not self.began_anew(said):
            return
        self.nothing_signed_is_ahead(kept)
        self.the_log_goes_on(kept)

    def began_anew(self, said: list[dict[str, Any]]) -> bool:
        """Whether another log was begun. Until that was acknowledged, it may be that a person must say so again."""
        origin = parse(parse_note(LocalSigner(self.home.keys).last()).text).origin
        assert origin.endswith("/2") or "continued" not in {each["what"] for each in said}
        return origin.endswith("/2")

    def recovered(self, said: list[dict[str, Any]]) -> list[bytes]:
        """The store opens, and holds a beginning of the records with everything that was acknowledged."""
        store = open_store(self.home.store, sealer=sealer(self.home.keys))
        try:
            kept = [record.data for record in store.reads.records_from(0, 1_000_000)]
            assert kept == self.recording.records[: len(kept)], "other records than were written"
            assert len(kept) >= max((each["records"] for each in said), default=0), "acknowledged records are missing"
            for each in said:
                if each["what"] == "ended":
                    action = store.reads.action(each["action"])
                    assert action is not None, "an acknowledged action is missing"
                    assert action.state == each["state"]
                if each["what"] == "erased":
                    for name, *_ in each["sealed"]:
                        assert store.reads.payload(name) is None, "an erased payload is back"
                        assert store.reads.tombstone(name) is not None
        finally:
            store.close()
        return kept

    def nothing_signed_is_ahead(self, kept: list[bytes]) -> None:
        """Neither the signer's memory nor any checkpoint that somebody saw is ahead of the records, or a fork."""
        signed = parse(parse_note(LocalSigner(self.home.keys).last()).text)
        seen = [each for each in self.recording.published(self.cut) if each.origin == signed.origin]
        for checkpoint in (signed, *seen):
            assert checkpoint.size <= len(kept), "a checkpoint is ahead of the records"
            assert checkpoint.root == self.recording.roots[checkpoint.size], "a fork was signed"
        assert max((each.size for each in seen), default=0) <= signed.size, "the signer forgot what it had signed"

    def the_log_goes_on(self, kept: list[bytes]) -> None:
        """The next start brings every record under a checkpoint, and the log verifies with its payloads."""
        reads = SqliteReads(self.home.store, sealer(self.home.keys))
        try:
            signer = LocalSigner(self.home.keys)
            forget_older_logs(self.home.log_key, signer.verifiers())
            keys = tuple(VerifierKey.parse(line) for line in self.home.log_key.read_text().split())
            writer = LogWriter(self.home.path / "log", reads, signer, lambda: keys)
            writer.open()
            while writer.append():
                pass
            report = audit(files_at(str(writer.folder.path)), Trust(keys=keys), StorePayloads(reads), MemoryLedger())
            assert (report.findings, report.size) == ((), len(kept))
        finally:
            reads.close()

    def what_was_erased_stays_closed(self, said: list[dict[str, Any]]) -> None:
        """No key in any file opens what was erased, even for somebody who kept the sealed bytes."""
        files = sorted((self.home.keys / "payloads").glob("*epoch-*"))
        keys = [_Wrapping(key) for path in self.home.keys.glob("*payload-keys*") for key in _keys(path)]
        for name, kind, slot, sealed in (each for ack in said if ack["what"] == "erased" for each in ack["sealed"]):
            at = slot & (1 << _SHIFT) - 1
            for file in files:
                wrapped = file.read_bytes()[_HEADER_BYTES + KEY_BYTES * at :][:KEY_BYTES]
                for key in keys if len(wrapped) == KEY_BYTES else ():
                    with pytest.raises(InvalidTag):
                        bound = f"remit/payload/v1\n{name}\n{kind}".encode()
                        AESGCM(key.turn(wrapped, at)).decrypt(bytes(12), bytes.fromhex(sealed), bound)

    def what_was_stopped_is_stopped(self, said: list[dict[str, Any]]) -> None:
        latch = FileLatch(self.home.latch).read()
        lifted = {each["stop"] for each in said if each["what"] == "resuming"}
        placed = {each["stop"] for each in said if each["what"] == "stopped"}
        assert latch.blind or placed - lifted <= {order.id for order in latch.orders}, "a stop was lifted"


def _keys(path: Path) -> list[bytes]:
    with contextlib.suppress(ValueError):
        return [bytes.fromhex(key) for key in json.loads(path.read_bytes())["keys"].values()]
    return []


def crashes(
    recording: Recording, cuts: list[int], seed: int, deaf: str = ""
) -> Iterator[tuple[int, tuple[Keep, Keep], Callable[[Path], Crash]]]:
    """For each of these moments (some come more than once) a crash in one of the modes, to be written somewhere."""
    disk, at = Disk(recording.base), 0
    for number, cut in enumerate(sorted(cuts)):
        for event in recording.events[at:cut]:
            disk.take(event, deaf)
        at = cut
        mode = MODES[number % len(MODES)]
        chance = random.Random(f"{seed} {number}")

        def write(into: Path, cut: int = cut, mode: tuple[Keep, Keep] = mode, chance: random.Random = chance) -> Crash:
            disk.crash(into, *mode, chance)
            return Crash(recording, cut, Home(into))

        yield cut, mode, write


def survives(recording: Recording, cuts: list[int], seed: int, scratch: Path) -> None:
    """Nothing is lost, whichever of these moments is the last."""
    for cut, mode, write in crashes(recording, cuts, seed):
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            crash = write(Path(folder) / "home")
            try:
                crash.check()
            except (AssertionError, RemitError) as error:
                done = [each["what"] for each in recording.before(cut)]
                raise AssertionError(f"cut at event {cut}, mode {mode}, seed {seed}, after {done[-3:]}") from error


@pytest.fixture(scope="module")
def again(templates: Templates, shim: Path, scratch: Path) -> Iterator[Recording]:
    """A store that lost what was signed, and a person who goes on with another log."""
    root = short_folder()
    practice = templates.get({}, {}).copy(root)
    lose_the_last_record(practice)
    yield recorded(practice, shim, "anew", scratch)
    shutil.rmtree(root, ignore_errors=True)


def moments(recording: Recording, count: int, seed: int) -> list[int]:
    """So many moments: all right after an acknowledgement, many right before and after a sync, and any others."""
    beside = [at for at, event in enumerate(recording.events) if event.type in "SDN"]
    chance = random.Random(seed)
    rest = [*beside, *(at + 1 for at in beside), *(chance.randint(0, len(recording.events)) for _ in range(count))]
    return recording.acknowledged + chance.sample(rest, count - len(recording.acknowledged))


def test_the_record_of_a_days_work_is_whole(day: Recording, scratch: Path) -> None:
    disk = Disk(day.base)
    for event in day.events:
        disk.take(event)
    disk.crash(scratch / "whole", "all", "all", random.Random(0))
    found, real = bytes_in(scratch / "whole"), bytes_in(day.practice.home)
    assert found.keys() == real.keys()
    assert [path for path in real if found[path] != real[path]] == []
    whats = [each["what"] for each in day.before(len(day.events))]
    assert {"opened", "ended", "voted", "stopped", "erased", "replacing", "replaced", "logged", "closed"} <= set(whats)


@pytest.mark.promise("P1")
def test_a_loss_of_power_at_any_moment_of_a_days_work_loses_nothing_that_was_acknowledged(
    day: Recording, scratch: Path
) -> None:
    survives(day, moments(day, 200, 1), 1, scratch)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(2, 10))
def test_no_loss_of_power_loses_anything_in_thousands_of_them(day: Recording, scratch: Path, seed: int) -> None:
    survives(day, moments(day, 600, seed), seed, scratch)


@pytest.mark.promise("P1")
def test_a_loss_of_power_while_another_log_is_begun_leaves_one_that_goes_on(again: Recording, scratch: Path) -> None:
    first = next(at for at, event in enumerate(again.events) if event.type == "A")
    survives(again, [*range(first, len(again.events)), *range(first, len(again.events))], 3, scratch)


SYNCS = {
    "the write-ahead log": r"state/remit\.db-wal",
    "the database": r"state/remit\.db",
    "the slots of keys": r"keys/payloads/epoch-\d+",
    "an epoch's new file": r"keys/payloads/\.epoch-\d+\.new",
    "the epochs' folder": r"keys/payloads",
    "the epochs' keys": r"keys/\.payload-keys\.new",
    "the signer's memory": r"keys/\.log-signed\.new",
    "the log's keys": r"keys/\.log\.key(\.next)?\.new",
    "the keys' folder": r"keys",
    "the latch": r"state/latch",
}
"""Every file and folder whose syncs the code asks for, as a pattern of paths."""


@pytest.mark.parametrize("what", SYNCS)
def test_a_sync_that_the_code_would_not_ask_for_is_missed(day: Recording, scratch: Path, what: str) -> None:
    for _, _, write in crashes(day, day.turning_points * 4, 2, SYNCS[what]):
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            try:
                write(Path(folder) / "home").check()
            except (AssertionError, RemitError, KeyError, pytest.fail.Exception):
                return
    pytest.fail(f"no crash shows that {what} is synced")
