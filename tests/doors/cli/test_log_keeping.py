"""`remit log status`, `key`, `signer` and `continue` on the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from remit.gates.log.notes import VerifierKey
from remit.node import Node
from tests.doors.cli.conftest import Line
from tests.support.home import Practice, run_apart


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


def test_the_signer_runs_as_a_process_of_its_own_and_a_node_signs_with_it(line: Line, practice: Practice) -> None:
    apart = practice.root / "apart"
    apart.mkdir(mode=0o700)
    for name in ("log.key", "log-signed"):
        (practice.home / "keys" / name).rename(apart / name)
    socket = practice.root / "s"
    with (practice.home / "remit.toml").open("a") as settings:
        settings.write(f'\n[log]\nsigner = "{socket}"\n')
    words = ["log", "signer", "--folder", str(apart), "--socket", str(socket), "--allow", str(os.geteuid())]
    process = subprocess.Popen([sys.executable, "-m", "remit.doors.cli.main", *words], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert b"ready" in process.stdout.readline()
        run_apart(started_and_ended(practice.home))
        before = line.json("log", "status")
        assert before["size"] > 0
        assert (practice.home / "log" / "checkpoint").read_bytes() == (apart / "log-signed").read_bytes()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        if process.stdout is not None:
            process.stdout.close()
    assert not Path(socket).exists()
    assert line("log", "status") == 3
    assert "does not answer" in line.err
