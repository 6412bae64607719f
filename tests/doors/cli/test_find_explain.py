"""`remit find` and `remit explain`, as the person at the terminal sees them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from remit.doors.cli import find
from remit.doors.cli.main import main
from remit.flow.searching import Search
from remit.gates import journal
from remit.model.words import MINUTE, Action, Decision, Proposal, Rationale, Signal, Source
from tests.flow.past import EDR, NAMES, START, Past

DAY = 24 * 60 * MINUTE


@pytest.fixture
def past(monkeypatch: pytest.MonkeyPatch) -> Past:
    """A home's past; it is 10:00 on the same day in Berlin, where the boundary lives."""
    made = Past()
    monkeypatch.setattr("remit.offline.open_reads", lambda home: made.store.reads)
    monkeypatch.setattr(find, "_now", lambda: START + 7 * 60 * MINUTE)
    return made


class Terminal:
    """Runs commands in a home and keeps what they printed."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._home = home
        self._capsys = capsys
        self.errors = ""

    def run(self, *words: str) -> tuple[int, str]:
        code = main([words[0], "--home", str(self._home), *words[1:]])
        said = self._capsys.readouterr()
        self.errors = said.err
        return code, said.out

    def json(self, *words: str) -> tuple[int, Any]:
        code, said = self.run(*words, "--json")
        return code, json.loads(said)


@pytest.fixture
def terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    (tmp_path / "connectors").mkdir()
    (tmp_path / "connectors" / "edr.toml").write_bytes(EDR)
    (tmp_path / "connectors" / "broken.toml").write_bytes(b"[[[")
    return Terminal(tmp_path, capsys)


def test_an_action_is_found_by_target_and_time_as_people_say_them(past: Past, terminal: Terminal) -> None:
    action = past.end(past.propose())
    code, said = terminal.run("find", "--target", "ws-7.corp.example", "--at", "today 03:00")
    assert code == 0
    lines = said.splitlines()
    header = "times in Europe/Berlin; from 2026-11-22 02:30:00 to 2026-11-22 03:30:00; target WS-7"
    assert lines[0].startswith(header)
    assert lines[1].split() == ["time", "id", "agent", "what", "state", "by", "target"]
    assert lines[2].split() == ["2026-11-22", "03:00:20", action.id, "triage", "host.isolate", "done", "ISO-1", "WS-7"]
    assert len(lines) == 4


@pytest.mark.parametrize(
    "words",
    [
        ["--at", "yesterday"],
        ["--since", "today 04:00"],
        ["--until", "yesterday"],
        ["--target", "DC01"],
        ["--agent", "other"],
        ["--run", "run_2"],
        ["--case", "alert-8"],
        ["--category", "host.delete"],
        ["--connector", "idp"],
        ["--state", "done"],
        ["--clause", "N-1"],
        ["--verdict", "benign"],
        ["--skill", "another skill"],
        ["--intel", "another feed"],
        ["--evidence", "ev_none"],
        ["--signal", "absent"],
        ["--words", "beacons absent"],
    ],
)
def test_each_option_narrows_and_nothing_found_is_exit_code_one(
    past: Past, terminal: Terminal, words: list[str]
) -> None:
    past.propose(Decision.APPROVE)
    assert terminal.run("find")[0] == 0
    code, said = terminal.run("find", *words)
    assert (code, said.splitlines()[-1]) == (1, "nothing matches")


def test_states_may_be_given_more_than_once_and_as_people_say_them(past: Past, terminal: Terminal) -> None:
    waiting, done = past.propose(Decision.APPROVE), past.end(past.propose())
    past.propose(Decision.FORBID)
    _, said = terminal.json("find", "--state", "waiting", "--state", "DONE")
    assert [each["id"] for each in said["actions"]] == [done.id, waiting.id]


def test_find_as_json_has_times_in_iso_and_what_was_searched(past: Past, terminal: Terminal) -> None:
    past.propose()
    position = past.refusal()
    code, said = terminal.json("find", "--since", "today 03:00", "--limit", "1")
    assert code == 0
    assert said["since"] == "2026-11-22T02:00:00.000000Z"
    assert said["actions"][0]["opened_at"] == "2026-11-22T02:00:20.000000Z"
    assert said["refusals"][0]["entry"]["position"] == position
    assert said["more"] is False
    assert "fingerprint" not in said["actions"][0]


def test_a_refusal_without_an_action_is_listed_and_explained_by_its_position(past: Past, terminal: Terminal) -> None:
    position = past.refusal()
    _, said = terminal.run("find", "--agent", "triage")
    assert f"#{position}" in said
    assert "unknown-tool" in said
    code, told = terminal.run("explain", f"#{position}")
    assert code == 0
    assert "refused before it was an action: unknown-tool (parked)" in told


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["--at", "soonish"], "`soonish` is not a time that can be read", "`today 03:00`"),
        (["--at", "today", "--since", "today"], "`--at` names a window by itself", "leave out"),
        (["--since", "today", "--until", "yesterday"], "`--until` is before `--since`", "earlier"),
        (["--state", "dome"], "there is no state `dome`", "did you mean `done`?"),
        (["--limit", "0"], "`--limit` is `0`, expected 1 to 100000", ""),
    ],
)
def test_wrong_use_is_one_sentence_and_a_hint(
    past: Past, terminal: Terminal, words: list[str], message: str, hint: str
) -> None:
    code, said = terminal.run("find", *words)
    assert (code, said) == (2, "")
    assert terminal.errors.startswith(message)
    assert hint in terminal.errors


def test_a_hostile_name_stays_in_its_cell(past: Past, terminal: Terminal) -> None:
    past.propose(Decision.APPROVE, targets=("unknown:\x1b[2Jx\nact_forged",), case="c")
    _, said = terminal.run("find")
    assert "\x1b" not in said
    assert len(said.splitlines()) == 4


def test_explain_tells_the_story_on_one_screen(past: Past, terminal: Terminal) -> None:
    action = past.end(past.propose(cites=(past.read(),)), raw=b'{"structuredContent":{"isolated":true}}')
    code, said = terminal.run("explain", action.id)
    assert code == 0
    assert len(said.splitlines()) <= 40
    assert f"`remit undo {action.id}`: calls `release_host`" in said
    assert "times in Europe/Berlin" in said
    assert "soc-triage version 7, signed by ann" in said
    _, told = terminal.json("explain", action.id)
    assert (told["id"], told["cuttable"], told["boundary"]["signers"]) == (action.id, False, ["ann"])


def test_explain_tells_a_runs_timeline(past: Past, terminal: Terminal) -> None:
    past.propose(Decision.FORBID, targets=("DC01",))
    code, said = terminal.run("explain", "run_1")
    assert code == 0
    assert "blocked: edr.isolate_host on DC01, ruled forbid by N-1" in said


def test_a_story_with_gaps_is_exit_code_one(past: Past, terminal: Terminal) -> None:
    action = past.end(past.propose())
    kept = past.store.tables.payloads[action.proposal]
    past.store.tables.payloads[action.proposal] = replace(kept, salt=b"another salt")
    code, said = terminal.run("explain", action.id)
    assert code == 1
    assert "GAP the kept arguments and reasons are not those that the record commits to" in " ".join(said.split())


def test_what_is_not_there_is_exit_code_two(past: Past, terminal: Terminal) -> None:
    assert terminal.run("explain", "act_nowhere") == (2, "")
    assert terminal.errors == "there is no action `act_nowhere`\nhint: `remit find` lists actions with their ids\n"


# --- reasons --------------------------------------------------------------------------------------------------------


def reasoned(past: Past, summary: str, feed: str, skill: str, says: str) -> Action:
    """An action whose reasons name a feed and a skill."""
    action = past.propose(summary=summary)
    kept = past.store.tables.payloads[action.proposal]
    proposal = msgspec.json.decode(kept.data, type=Proposal)
    rationale = Rationale(
        summary=summary, signals=(Signal(says, "ev_1"),), intel=(Source(feed, "3"),), skill=Source(skill, "2")
    )
    data = msgspec.json.encode(replace(proposal, rationale=rationale))
    past.store.tables.payloads[action.proposal] = replace(kept, data=data)
    return action


@pytest.mark.parametrize(
    "words",
    [
        ["--skill", "Host Triage"],
        ["--skill", "host triage@2"],
        ["--intel", "urlhaus"],
        ["--intel", "URLhaus@3"],
        ["--evidence", "ev_1"],
        ["--signal", "failed logons"],
        ["--signal", "LOGONS"],
        ["--words", "quietly urlhaus"],
        ["--words", "ws-7 waiting"],
    ],
)
def test_an_action_is_found_by_each_of_its_reasons(past: Past, terminal: Terminal, words: list[str]) -> None:
    past.propose(summary="another story")
    action = reasoned(past, "waiting quietly", "URLhaus", "Host triage", "40 failed logons in a minute")
    past.propose(summary="a third one")
    code, said = terminal.json("find", *words)
    assert code == 0
    assert [each["id"] for each in said["actions"]] == [action.id]


def test_an_old_version_of_a_feed_is_not_the_one_that_was_relied_on(past: Past, terminal: Terminal) -> None:
    reasoned(past, "waiting", "URLhaus", "Host triage", "logons")
    assert terminal.run("find", "--intel", "urlhaus@2")[0] == 1


def test_actions_are_found_by_the_verdict_of_their_run_and_the_verdict_is_listed(
    past: Past, terminal: Terminal
) -> None:
    action = past.end(past.propose())
    concluded = journal.record(
        "verdict", past.now, run="run_1", agent="triage", case="alert-7", verdict="benign", evidence=[], not_shown=0
    )
    past.commit(lambda tx: tx.append(concluded))
    code, said = terminal.json("find", "--verdict", "Benign")
    assert (code, [each["id"] for each in said["actions"]], len(said["verdicts"])) == (0, [action.id], 1)
    assert "verdict" in terminal.run("find", "--verdict", "benign")[1]
    assert terminal.run("find", "--verdict", "malicious")[0] == 1


def test_a_verdict_that_there_is_not_and_words_without_a_word_are_wrong_use(past: Past, terminal: Terminal) -> None:
    for words in (["--verdict", "guilty"], ["--words", "…"], ["--signal", "!!"]):
        code, _ = terminal.run("find", f"{words[0]}={words[1]}")
        assert code == 2, words
        assert "hint:" in terminal.errors


def test_a_search_that_read_many_records_one_by_one_says_so(
    past: Past, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    past.propose()
    assert "one by one" not in terminal.run("find")[1]
    monkeypatch.setattr("remit.flow.queries.WORTH_SAYING", 3)
    said = terminal.run("find")[1].splitlines()
    assert said[1].startswith("there is no index: ")
    assert said[1].endswith("were read one by one; `remit log reindex` builds the index anew")
    assert terminal.json("find")[1]["why_not_indexed"] == "there is no index"


def test_an_approver_is_found_where_the_homes_key_can_be_read(
    past: Past, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    approved = past.vote(past.propose(Decision.APPROVE), "bob")
    past.propose()
    assert terminal.run("find", "--approver", "bob")[0] == 2
    assert "key for names" in terminal.errors
    monkeypatch.setattr("remit.offline.open_search", lambda home, reads: Search(reads, None, NAMES))
    _, said = terminal.json("find", "--approver", "Bob")
    assert [each["id"] for each in said["actions"]] == [approved.id]
