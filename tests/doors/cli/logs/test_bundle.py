"""`remit log bundle`, and `remit log verify` of what it wrote."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

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


def test_what_cannot_be_bundled_is_said(told: Told, line_on: On, tmp_path: Path) -> None:
    line = line_on(told.home)
    assert line("log", "bundle", "act_none", "-o", str(tmp_path / "x.zip")) == 2
    assert "there is no action `act_none`" in line.err
    assert line("log", "bundle", "--case", "none", "-o", str(tmp_path / "x.zip")) == 2
    assert line("log", "bundle", told.isolated, "--without", "file", "-o", str(tmp_path / "x.zip")) == 2
    assert line("log", "bundle") == 2
    assert not (tmp_path / "x.zip").exists()
