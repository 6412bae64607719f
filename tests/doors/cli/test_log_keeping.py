"""`remit log status`, `key`, `signer` and `continue` on the command line."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from remit.adapters.log.apart import RemoteSigner
from remit.doors.cli.main import main
from remit.gates.log.notes import VerifierKey
from remit.model.errors import Fault
from remit.node import Node
from tests.doors.cli.conftest import Line
from tests.support.home import Practice, run_apart

SIGNER, STRANGER = 65_533, 65_532  # users of no name, who own nothing


def test_status_says_how_far_the_log_is_without_a_gateway(line: Line, practice: Practice) -> None:
    assert line("log", "status") == 0
    assert f"remit/{practice.id}" in line.out
    assert "no gateway runs" in line.out


def test_key_shows_the_verifier_key_that_the_first_record_names(line: Line, practice: Practice) -> None:
    (key,) = line.json("log", "key")["keys"]
    assert key == practice.records("home.created")[0]["log"]
    assert VerifierKey.parse(key).name == f"remit/{practice.id}"


def test_a_rotation_adds_a_key_and_does_not_end_before_both_have_signed(line: Line, practice: Practice) -> None:
    begun = line.json("log", "key", "--rotate", "begin")
    assert line.json("log", "key")["keys"] == [begun["old"], begun["new"]]
    assert line("log", "key", "--rotate", "begin") == 2
    assert line("log", "key", "--rotate", "end") == 2
    assert "no checkpoint carries the signatures of both keys" in line.err
    assert "PRIVATE" not in line.out + line.err


def test_another_log_is_not_begun_while_the_log_goes_on(line: Line, practice: Practice) -> None:
    key = str(practice.home / "practice" / "leader.key")
    assert line("log", "continue", "--reason", "because", "--key", key) == 1
    assert "the log goes on" in line.err


async def started_and_ended(home: Path) -> None:
    """A gateway's life: its start and its end are records."""
    node = await Node.start(home)
    assert node.log.trouble() == ""
    await node.close()


@contextmanager
def signer_of_this_user(apart: Path, socket: Path) -> Iterator[None]:
    """`remit log signer`, as the user of the tests."""
    words = ["log", "signer", "--folder", str(apart), "--socket", str(socket), "--allow", str(os.geteuid())]
    process = subprocess.Popen([sys.executable, "-m", "remit.doors.cli.main", *words], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert b"ready" in process.stdout.readline()
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def signer_of_another_user(apart: Path, socket: Path) -> Iterator[None]:
    """The same as a user who can read nothing of the gateway's, and whose folder is closed to others."""
    if os.geteuid() != 0:
        pytest.skip("only root can start a process as another user")
    for path in (apart.parent, apart, *apart.iterdir()):
        os.chown(path, SIGNER, SIGNER)
    words = ["log", "signer", "--folder", str(apart), "--socket", str(socket), "--allow", "root"]
    with run_as(SIGNER, partial(main, words)) as process:
        assert eventually(socket.exists)
        yield
        assert process.pid is not None
        os.kill(process.pid, signal.SIGTERM)
        process.join(15)
        assert process.exitcode == 0


@contextmanager
def run_as(user: int, work: Callable[[], int]) -> Iterator[BaseProcess]:
    """A process forked from this one, with its modules, as another user: the interpreter itself may be closed to it."""

    def begin() -> None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
        sys.exit(work())

    process = multiprocessing.get_context("fork").Process(target=begin)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join(15)


def eventually(what: Callable[[], bool], seconds: float = 15.0) -> bool:
    until = time.monotonic() + seconds
    while not what() and time.monotonic() < until:
        time.sleep(0.02)
    return what()


def refused(socket: Path) -> int:
    """0 where the signer does not answer this process."""
    try:
        RemoteSigner(socket).last()
    except Fault:
        return 0
    return 1


@pytest.mark.parametrize("signer", [signer_of_this_user, signer_of_another_user])
def test_the_signer_runs_as_a_process_of_its_own_and_a_node_signs_with_it(
    line: Line, practice: Practice, signer: Callable[[Path, Path], AbstractContextManager[None]]
) -> None:
    with tempfile.TemporaryDirectory(prefix="rt", dir="/tmp") as name:  # its path is short enough for a socket
        folder = Path(name).resolve()
        folder.chmod(0o755)
        apart, socket = folder / "apart", folder / "s"
        apart.mkdir(mode=0o700)
        for name in ("log.key", "log-signed"):
            shutil.move(practice.home / "keys" / name, apart / name)
        with (practice.home / "remit.toml").open("a") as settings:
            settings.write(f'\n[log]\nsigner = "{socket}"\n')
        with signer(apart, socket):
            run_apart(started_and_ended(practice.home))
            assert line.json("log", "status")["size"] > 0
            assert (practice.home / "log" / "checkpoint").read_bytes() == (apart / "log-signed").read_bytes()
            if os.geteuid() == 0:
                with run_as(STRANGER, partial(refused, socket)) as stranger:
                    stranger.join(15)
                    assert stranger.exitcode == 0
        assert not socket.exists()
    assert line("log", "status") == 3
    assert "does not answer" in line.err
