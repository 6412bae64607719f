"""A connector's state survives it, agrees between processes, and can be looked at from outside."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from remit_lab import edr, state
from remit_lab.state import Call, State
from tests.remit_lab.support import Json, known


def opened(directory: Path) -> State:
    kept = State(directory, "edr")
    kept.start(lambda: {"count": 0})
    return kept


def count(data: Json) -> int:
    data["count"] += 1
    return int(data["count"])


def test_a_restarted_connector_goes_on_from_where_it_was(tmp_path: Path) -> None:
    assert opened(tmp_path).change(Call("add", {}), count) == 1
    assert opened(tmp_path).change(Call("add", {}), count) == 2
    assert opened(tmp_path).read() == {"count": 2}


def test_several_holders_of_one_state_never_lose_an_effect(tmp_path: Path) -> None:
    def work() -> None:
        kept = opened(tmp_path)
        for _ in range(10):
            kept.change(Call("add", {}), count)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert opened(tmp_path).read() == {"count": 40}
    assert [entry["effect"] for entry in state.effects(tmp_path, "edr")] == list(range(1, 41))


def test_an_effect_that_raises_changes_and_records_nothing(tmp_path: Path) -> None:
    kept = opened(tmp_path)

    def fail(data: Json) -> None:
        data["count"] = 99
        raise RuntimeError

    with pytest.raises(RuntimeError):
        kept.change(Call("add", {}), fail)
    assert kept.read() == {"count": 0}
    assert kept.audit() == []


def test_an_effect_whose_audit_line_was_lost_in_a_crash_is_still_told_once(tmp_path: Path) -> None:
    opened(tmp_path).change(Call("add", {"n": 1}), count)
    audit = tmp_path / "edr.audit.jsonl"
    audit.write_text('{"half a li')
    assert [entry["arguments"] for entry in state.audit(tmp_path, "edr")] == [{"n": 1}]
    opened(tmp_path).change(Call("add", {"n": 2}), count)
    assert [entry["arguments"] for entry in state.audit(tmp_path, "edr")] == [{"n": 1}, {"n": 2}]


def test_reads_and_refusals_are_recorded_beside_effects(tmp_path: Path) -> None:
    kept = opened(tmp_path)
    kept.note(Call("status", {}, "wrt_1", "triage"), "read")
    kept.note(Call("add", {}), "refused", "missing: no warrant")
    read, refused = state.audit(tmp_path, "edr")
    assert (read["outcome"], read["warrant"], read["subject"]) == ("read", "wrt_1", "triage")
    assert (refused["outcome"], refused["warrant"], refused["reason"]) == (
        "refused",
        None,
        "missing: no warrant",
    )
    assert read["time"].endswith("Z")


def test_a_directory_is_shown_as_a_table_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    State(tmp_path, "edr").start(lambda: edr.initial(known()))
    assert state.main([str(tmp_path)]) == 0
    assert "edr        DC-01                        connected, domain-controller" in capsys.readouterr().out
    assert state.main([str(tmp_path), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"edr"}
    opened(tmp_path).note(Call("list_hosts", {}), "read")
    assert state.main([str(tmp_path), "--audit"]) == 0
    assert json.loads(capsys.readouterr().out)["connector"] == "edr"


def test_an_empty_directory_is_said_to_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert state.main([str(tmp_path)]) == 1
    assert "no connector has state" in capsys.readouterr().err
