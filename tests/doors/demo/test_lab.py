"""What the demonstration takes from a recording, and what it says of one that it can do nothing with."""

import os
from pathlib import Path

import pytest

from remit.doors.demo import lab
from remit.doors.demo.home import MARKER, fresh_folder
from remit.doors.demo.processes import Programs
from remit.doors.demo.telling import planted
from remit.model.errors import Misuse


def facts(folder: Path, *paths: Path) -> lab.Facts:
    return lab.read_facts(Programs(folder, os.environ), folder, lab.recordings([str(path) for path in paths]))


def recorded(shared: Path, name: str) -> Path:
    path = shared / "telemetry" / f"{name}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"the recording `{name}` is absent")
    return path


def test_the_packaged_incident_has_its_own_domain_controller(folder: Path) -> None:
    found = facts(folder)
    assert (found.controller, found.added_controller) == ("DC-01", False)
    assert (found.device, found.account, found.kind) == ("WS-014", "k.adeyemi", "workstation")
    assert "DC-01" in planted(found)


def test_a_recorded_domain_controller_is_the_one_that_the_planted_text_names(folder: Path, shared: Path) -> None:
    found = facts(folder, recorded(shared, "dcsync"))
    assert (found.controller, found.added_controller) == ("MORDORDC", False)
    assert "MORDORDC" in planted(found)


def test_a_recording_without_a_domain_controller_gets_one_in_estate_and_inventory(folder: Path, shared: Path) -> None:
    found = facts(folder, recorded(shared, "lsass_comsvcs"))
    assert found.added_controller
    assert found.hosts == 1
    assert [host["name"] for host in found.document["hosts"]] == ["WORKSTATION5", "DC-01"]
    assert "DC-01,domain-controller,yes,,,edr:" in found.inventory


def test_a_recording_without_hosts_is_refused_by_name(folder: Path, shared: Path) -> None:
    with pytest.raises(Misuse, match=r"`aws_s3_exfiltration\.jsonl\.gz` holds events of no host"):
        facts(folder, recorded(shared, "aws_s3_exfiltration"))


def test_a_recording_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(Misuse, match="there is no recording"):
        facts(folder, folder / "nothing.jsonl")


def test_a_file_that_is_no_recording_is_refused(folder: Path) -> None:
    path = folder / "notes.jsonl"
    path.write_bytes(b"\x00\xff this is not JSON\n")
    with pytest.raises(Misuse, match=r"`notes\.jsonl`"):
        facts(folder, path)


def test_a_folder_of_somebody_else_s_is_never_replaced(folder: Path) -> None:
    mine = folder / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(Misuse, match="was not made by `remit demo`"), fresh_folder(mine):
        pass
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_an_earlier_demonstration_s_folder_is_replaced(folder: Path) -> None:
    with fresh_folder(folder / ".demo") as first:
        (first / "old").write_text("old")
    with fresh_folder(folder / ".demo") as again:
        assert sorted(path.name for path in again.iterdir()) == [MARKER]


def test_a_folder_in_which_a_demonstration_is_going_on_is_left_alone(folder: Path) -> None:
    with fresh_folder(folder / ".demo"):
        with pytest.raises(Misuse, match="is going on"), fresh_folder(folder / ".demo"):
            pass
        assert (folder / ".demo" / MARKER).is_file()


def test_a_path_that_no_socket_can_have_is_refused_before_anything_is_made(folder: Path) -> None:
    with pytest.raises(Misuse, match="too long"), fresh_folder(folder / ("x" * 120)):
        pass
    assert not (folder / ("x" * 120)).exists()
