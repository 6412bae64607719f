"""`remit log bundle`, and `remit log verify` of what it wrote."""

from __future__ import annotations

import stat
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from remit import offline
from remit.adapters.clock import SystemClock
from remit.gates.log.notes import WitnessKey
from tests.doors.cli.conftest import Line
from tests.support.evidence import CASE, Told

On = Callable[[Path], Line]


def test_a_bundle_is_written_for_its_owner_alone_and_verified_offline(told: Told, line_on: On, tmp_path: Path) -> None:
    line = line_on(told.home)
    path = tmp_path / "a.zip"
    written = line.json("log", "bundle", told.disabled, "-o", str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert written["bytes"] == path.stat().st_size < 1024 * 1024
    assert written["key"] == told.keys[0].text
    elsewhere = line_on(tmp_path / "no-home")
    assert elsewhere("log", "verify", str(path), "--key", written["key"]) == 0, elsewhere.out
    assert elsewhere.out.startswith("VERIFIED")
    assert "rewriting by whoever" in elsewhere.out


def test_a_case_is_bundled_and_a_changed_one_is_not_verified(told: Told, line_on: On, tmp_path: Path) -> None:
    line = line_on(told.home)
    path = tmp_path / "c.zip"
    assert line("log", "bundle", "--case", CASE, "-o", str(path)) == 0, line.err
    data = path.read_bytes()
    assert b"said yes" in data
    path.write_bytes(data.replace(b"said yes", b"said yep"))
    assert line("log", "verify", str(path), "--key", told.keys[0].text) == 1
    assert "NOT VERIFIED" in line.out


def test_any_unzip_opens_it_and_the_page_is_in_it(told: Told, line_on: On, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    line_on(told.home)("log", "bundle", told.isolated, "-o", str(path))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {"story.html", "README.txt", "records.jsonl", "checkpoint"} <= set(archive.namelist())


TWO_DAYS = 2 * 24 * 3600 * 10**9
WITNESS = WitnessKey.generate("witness.example/1", b"w" * 32)


@pytest.fixture
def watched(told: Told, short_path: Path) -> Told:
    """A copy of the home whose settings name a witness, which does not answer."""
    home = told.copied(short_path)
    witness = f'{{ url = "http://127.0.0.1:1", key = "{WITNESS.verifier.text}" }}'
    with (home.home / "remit.toml").open("a") as settings:
        settings.write(f"\n[log]\nwitnesses = [{witness}]\n")
    return home


def test_while_the_witnesses_are_behind_a_bundle_is_proved_against_what_they_saw_last(
    watched: Told, line_on: On, tmp_path: Path
) -> None:
    line, path = line_on(watched.home), str(tmp_path / "a.zip")
    check = ("log", "verify", path, "--key", watched.keys[0].text, "--witness", WITNESS.verifier.text)
    assert line("log", "bundle", watched.isolated, "-o", path) == 0, line.err
    assert "too few witnesses have seen all of it yet" in line.out
    assert line(*check) == 1
    assert "no-quorum" in line.out
    watched.fall_behind(watched.last_of(watched.isolated) + 1, WITNESS)
    assert line.json("log", "bundle", watched.isolated, "-o", path)["witnessed"] is True
    assert line(*check) == 0, line.out
    assert "witnessed   by witness.example/1" in line.out and "rewriting" not in line.out


def test_a_case_is_told_to_the_end_of_its_runs_and_an_action_to_its_own(
    watched: Told, line_on: On, tmp_path: Path
) -> None:
    line, path = line_on(watched.home), str(tmp_path / "a.zip")
    watched.fall_behind(watched.size, WITNESS)
    assert line.json("log", "bundle", "--case", CASE, "-o", path)["witnessed"] is True
    action = offline.open_reads(watched.home).action(watched.isolated)
    assert action is not None and line("run", "close", action.run) == 0, line.err
    assert line.json("log", "bundle", "--case", CASE, "-o", path)["witnessed"] is False
    assert line.json("log", "bundle", action.id, "-o", path)["witnessed"] is True


@pytest.mark.parametrize("how", ["erased", "pruned"])
def test_what_is_gone_since_the_witnesses_saw_it_is_shown_with_the_record_that_says_why(
    how: str, watched: Told, line_on: On, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, path = line_on(watched.home), str(tmp_path / "a.zip")
    watched.fall_behind(watched.last_of(watched.isolated) + 1, WITNESS)
    assert line.json("log", "bundle", watched.isolated, "-o", path)["witnessed"] is True
    if how == "erased":
        why = ("--reason", "they asked", "--basis", "GDPR 17(1)(a)")
        assert line("log", "erase", watched.isolated, *why) == 0, line.err
    else:
        with (watched.home / "remit.toml").open("a") as settings:
            settings.write('\n[retention]\nproposals = "1d"\n')
        later = time.time_ns() + TWO_DAYS
        defaults = SystemClock.__init__.__kwdefaults__ or {}
        monkeypatch.setitem(defaults, "wall", lambda: later)
        assert line("log", "prune") == 0, line.err
    assert line.json("log", "bundle", watched.isolated, "-o", path)["witnessed"] is False
    assert line("log", "verify", path, "--key", watched.keys[0].text) == 0, line.out
    assert f".proposal: {how}" in line.out


def test_what_cannot_be_bundled_is_said(told: Told, line_on: On, tmp_path: Path) -> None:
    line = line_on(told.home)
    assert line("log", "bundle", "act_none", "-o", str(tmp_path / "x.zip")) == 2
    assert "there is no action `act_none`" in line.err
    assert line("log", "bundle", "--case", "none", "-o", str(tmp_path / "x.zip")) == 2
    assert line("log", "bundle", told.isolated, "--without", "file", "-o", str(tmp_path / "x.zip")) == 2
    assert line("log", "bundle") == 2
    assert not (tmp_path / "x.zip").exists()
