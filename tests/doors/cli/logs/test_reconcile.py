"""`remit log reconcile` on the lab's own trails: another road is seen, and so is a claim without an effect."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remit import offline
from remit.adapters.home.folder import Home, Lock
from remit.gates.stop import LOG_ID, decode
from remit_lab.state import Call, State
from tests.doors.cli.conftest import Line
from tests.faults.verifying import verified_by_both
from tests.support.evidence import Told
from tests.support.fixtures import short_folder
from tests.support.home import Practice, targets

On = Callable[[Path], Line]
OTHER = next(each for each in targets("workstation") if each != "WS-014")


@pytest.fixture
def mine(told: Told, monkeypatch: pytest.MonkeyPatch) -> Iterator[Practice]:
    """A copy of the home, to plant things in. Its connectors keep their state in the folder they are started in."""
    folder = short_folder()
    monkeypatch.chdir(folder)
    yield told.practice.copy(folder)
    monkeypatch.undo()
    shutil.rmtree(folder, ignore_errors=True)


def trail(practice: Practice, connector: str = "edr") -> str:
    return str(practice.lab / f"{connector}.audit.jsonl")


def plant(practice: Practice, tool: str = "isolate_host", host: str = OTHER, warrant: str | None = None) -> None:
    """An effect behind Remit's back, as somebody with the connector's own password would have it."""
    State(practice.lab, "edr").change(Call(tool, {"host": host}, warrant), lambda data: data.setdefault("planted", 1))


def records(practice: Practice, kind: str) -> list[dict[str, object]]:
    return practice.records(kind)


@pytest.mark.parametrize("connector", ["edr", "idp"])
def test_an_honest_trail_agrees_and_that_is_kept(mine: Practice, line_on: On, connector: str) -> None:
    line = line_on(mine.home)
    assert line("log", "reconcile", connector, "--audit", trail(mine, connector)) == 0
    assert "both say the same" in line.out
    (record,) = records(mine, "reconciled")
    assert (record["connector"], record["effects"], record["matched"], record["findings"]) == (connector, 1, 1, {})
    assert len(record["payloads"]) == 1  # type: ignore[arg-type]


def test_an_effect_behind_remits_back_is_found_and_alerted(mine: Practice, line_on: On) -> None:
    plant(mine)
    line = line_on(mine.home)
    assert line("log", "reconcile", "edr", "--audit", trail(mine)) == 1
    assert "no-warrant" in line.out
    assert OTHER in line.out
    assert "SOMEBODY TOOK ANOTHER ROAD" in line.out
    assert [each["connector"] for each in records(mine, "alert") if each["code"] == "another-road"] == ["edr"]


def test_a_second_effect_under_a_used_warrant_is_found(mine: Practice, told: Told, line_on: On) -> None:
    warrant = next(each["warrant"] for each in mine.actions("isolate_host") if each["id"] == told.isolated)
    plant(mine, host="WS-014", warrant=warrant)
    found = line_on(mine.home).json("log", "reconcile", "edr", "--audit", trail(mine))
    assert set(found["findings"]) == {"twice"}
    plant(mine, host="DC-01", warrant=warrant)
    again = line_on(mine.home).json("log", "reconcile", "edr", "--audit", trail(mine))
    assert set(again["findings"]) == {"twice", "wrong-call"}


def test_an_effect_that_was_struck_out_of_the_trail_is_missed(mine: Practice, told: Told, line_on: On) -> None:
    Path(trail(mine)).write_text("")
    line = line_on(mine.home)
    found = line.json("log", "reconcile", "edr", "--audit", trail(mine))
    assert [(each["what"], each["action"]) for each in found["listed"]] == [("missing-effect", told.isolated)]
    assert not [each for each in records(mine, "alert") if each["code"] == "another-road"]


def test_a_mapping_of_its_own_reads_another_trail(mine: Practice, line_on: On, tmp_path: Path) -> None:
    entries = [json.loads(each) for each in Path(trail(mine)).read_text().splitlines()]
    effects = [each for each in entries if each["outcome"] == "effect"]
    other = tmp_path / "siem.jsonl"
    other.write_text(
        "".join(
            json.dumps({"when": each["time"], "op": {"name": each["tool"]}, "what": each["arguments"]["host"]}) + "\n"
            for each in effects
        )
    )
    mapping = tmp_path / "map.toml"
    mapping.write_text('[audit]\ntime = "when"\ntool = "op.name"\ntarget = "what"\n')
    line = line_on(mine.home)
    assert line("log", "reconcile", "edr", "--audit", str(other), "--map", str(mapping)) == 0, line.out


def test_status_says_when_each_connector_was_last_compared(mine: Practice, line_on: On) -> None:
    line = line_on(mine.home)
    line("status")
    assert "reconciled   edr never; idp never" in line.out
    plant(mine)
    line("log", "reconcile", "edr", "--audit", trail(mine))
    line("status")
    assert "1 DIFFERENCE" in line.out
    assert "idp never" in line.out


def test_what_a_comparison_found_stands_in_the_next_bundle(mine: Practice, told: Told, line_on: On) -> None:
    plant(mine)
    line = line_on(mine.home)
    line("log", "reconcile", "edr", "--audit", trail(mine))
    out = str(mine.root / "b.zip")
    assert line("log", "bundle", told.isolated, "-o", out) == 0, line.err
    key = offline.log_of(mine.home)[1][0].text
    assert line("log", "verify", out, "--key", key) == 0, line.out
    import zipfile

    with zipfile.ZipFile(out) as archive:
        assert json.loads(archive.read("reconcile.json"))["edr"]["findings"] == 1
        assert "1 thing did not agree" in archive.read("story.html").decode()


@pytest.mark.parametrize("connector", ["nobody", "../boundary", "siem"])
def test_a_connector_that_is_none_is_refused(mine: Practice, line_on: On, connector: str) -> None:
    line = line_on(mine.home)
    assert line("log", "reconcile", connector, "--audit", trail(mine)) == 2
    assert records(mine, "reconciled") == []


# --- without a gateway ------------------------------------------------------------------------------------------------


def test_without_a_gateway_no_connector_is_started_and_the_record_is_under_a_checkpoint(
    mine: Practice, line_on: On, tmp_path: Path
) -> None:
    for name in ("idp", "edr"):  # it could not be started, nor would the boundary's pin fit
        file = mine.home / "connectors" / f"{name}.toml"
        file.write_text(file.read_text().replace("remit_lab", "there_is_no_such_lab"))
    before = len(mine.records())
    plant(mine)
    line = line_on(mine.home)
    assert line("log", "reconcile", "edr", "--audit", trail(mine)) == 1
    assert [each["kind"] for each in mine.records()[before:]] == ["node.started", "reconciled", "alert", "node.stopped"]
    verified_by_both(mine, tmp_path)


def test_a_comparison_on_a_store_that_was_put_back_stops_everything(mine: Practice, line_on: On) -> None:
    state = mine.home / "state"
    stopped = [order.id for order in decode((state / "latch").read_bytes()).orders]
    backup = {path: path.read_bytes() for path in state.glob("remit.db*") if path.is_file()}
    line = line_on(mine.home)
    assert line("log", "reconcile", "edr", "--audit", trail(mine)) == 0
    for path in state.glob("remit.db*"):
        path.unlink()
    for path, data in backup.items():
        path.write_bytes(data)
    for _ in range(4):  # beyond what the first history had
        line("log", "reconcile", "edr", "--audit", trail(mine))
    assert [order.id for order in decode((state / "latch").read_bytes()).orders] == [*stopped, LOG_ID]


def test_a_home_that_somebody_else_has_is_not_written_to(mine: Practice, line_on: On) -> None:
    lock = Lock(Home(mine.home))
    lock.take("another command")
    try:
        line = line_on(mine.home)
        assert line("log", "reconcile", "edr", "--audit", trail(mine)) == 3
        assert "in use by another command" in line.err
    finally:
        lock.free()
    assert records(mine, "reconciled") == []
