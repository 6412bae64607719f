"""`remit log verify` and `remit log disclose`: a home's own log, a published one, and what people hand over."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doors.cli.conftest import Line
from tests.support.journals import journal
from tests.support.tile_log import WITNESS, NoteKey, Written, write_log

COSIGNED = 1_800_000_100


@pytest.fixture
def working(line: Line) -> Iterator[Line]:
    """A home in which something has happened."""
    assert line("run", "open", "--agent", "triage", "--case", "C-1", "--declare", "model=shy-one") == 0
    yield line


@pytest.fixture
def published(tmp_path: Path) -> Written:
    """A log that somebody published, cosigned by one witness."""
    made = journal(1, 200)
    witness = NoteKey.named("witness.example", WITNESS)
    return write_log(tmp_path / "published", made.origin, made.records, witnesses=[witness], seconds=COSIGNED)


WITNESS_KEY = NoteKey.named("witness.example", WITNESS).text


def test_a_homes_own_log_is_verified_with_its_own_key_and_payloads(working: Line) -> None:
    assert working("log", "verify") == 0
    assert working.out.startswith("VERIFIED: ")
    answer = working.json("log", "verify")
    assert (answer["verified"], answer["findings"], answer["read"]) == (True, [], answer["size"])
    assert answer["signatures"] == {"boundaries": 1, "commands": 2, "rosters": 1}
    assert answer["payloads"]["not_disclosed"] == {}


def test_without_a_witness_it_says_that_rewriting_is_not_excluded(working: Line) -> None:
    working("log", "verify")
    assert "rewriting by whoever holds the log's key is not excluded" in working.out


def test_a_changed_entry_is_named_and_the_exit_code_is_one(working: Line) -> None:
    bundle = max((working.home / "log/tile/entries/000.p").iterdir(), key=lambda path: int(path.name))
    data = bundle.read_bytes()
    bundle.write_bytes(data.replace(b'"kind":"run.opened"', b'"kind":"run.closed"'))
    assert working("log", "verify") == 1
    assert working.out.startswith("NOT VERIFIED: ")
    answer = working.json("log", "verify")
    position = data[: data.index(b'"kind":"run.opened"')].count(b'"v":1')
    assert {"tampered", "bad-statement"} & set(answer["counts"]) == {"tampered"}
    assert f"tampered  {position}: entry and hash do not agree" in told(working)
    assert "can have signed this" not in told(working)


def told(line: Line) -> str:
    """What the home's own verification prints."""
    line("log", "verify")
    return line.out


def test_a_payload_that_was_exchanged_in_the_store_is_a_finding(working: Line, tmp_path: Path) -> None:
    file = tmp_path / "given"
    assert working("log", "disclose", "-o", str(file)) == 0
    lines = [json.loads(each) for each in file.read_text().splitlines()]
    mandate = next(each for each in lines[1:] if each["id"].endswith(".mandate"))
    mandate["data"] = "e30="
    file.write_text("".join(json.dumps(each) + "\n" for each in lines))
    assert working("log", "verify", "--payloads", str(file)) == 1
    answer = working.json("log", "verify", "--payloads", str(file))
    assert answer["counts"] == {"payload-mismatch": 1}


def test_what_is_disclosed_verifies_and_nobody_else_may_read_it(working: Line, tmp_path: Path) -> None:
    file = tmp_path / "given"
    assert working("log", "disclose", "-o", str(file)) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "hand it over with care" in working.err
    folder, key = str(working.home / "log"), str(working.home / "keys/log.pub")
    answer = working.json("log", "verify", folder, "--key", key, "--payloads", str(file))
    assert (answer["verified"], answer["payloads"]["not_disclosed"]) == (True, {})


def test_a_role_that_people_leave_out_is_not_in_the_file_and_not_reported_missing(
    working: Line, tmp_path: Path
) -> None:
    file = tmp_path / "given"
    assert working("log", "disclose", "-o", str(file), "--without", "mandate") == 0
    assert ".mandate" not in file.read_text()
    answer = working.json("log", "verify", "--payloads", str(file))
    assert (answer["verified"], answer["payloads"]["not_disclosed"]) == (True, {"mandate": 1})


def test_of_one_case_only_its_payloads_are_disclosed_and_what_signatures_need(working: Line, tmp_path: Path) -> None:
    assert working("run", "open", "--agent", "triage", "--case", "C-2") == 0
    file = tmp_path / "given"
    assert working("log", "disclose", "-o", str(file), "--case", "C-2") == 0
    ids = [json.loads(each)["id"] for each in file.read_text().splitlines()[1:]]
    assert sum(each.endswith(".mandate") for each in ids) == 1
    assert any(each.endswith(".signatures") for each in ids)
    assert working.json("log", "verify", "--payloads", str(file))["signatures"]["boundaries"] > 0


def test_a_file_that_is_there_is_not_overwritten(working: Line, tmp_path: Path) -> None:
    file = tmp_path / "given"
    file.write_text("mine")
    assert working("log", "disclose", "-o", str(file)) == 2
    assert file.read_text() == "mine"


def test_an_unknown_role_is_wrong_use_and_leaves_no_file(working: Line, tmp_path: Path) -> None:
    assert working("log", "disclose", "-o", str(tmp_path / "given"), "--without", "results") == 2
    assert "did you mean `result`?" in working.err
    assert not (tmp_path / "given").exists()


def test_a_published_log_is_verified_with_keys_that_were_given(line: Line, published: Written) -> None:
    words = ["log", "verify", str(published.folder), "--key", published.key.text, "--witness", WITNESS_KEY]
    words += ["--payloads", str(published.payloads)]
    assert line(*words) == 0, line.out
    assert "witnessed   by witness.example at 2027-01-15T08:01:40" in line.out
    assert "rewriting" not in line.out


def test_a_published_log_is_verified_below_a_url(line: Line, published: Written, web: str) -> None:
    assert line("log", "verify", f"{web}/published", "--key", published.key.text) == 0
    shutil.rmtree(published.folder / "tile/0")
    assert line("log", "verify", f"{web}/published", "--key", published.key.text) == 1
    assert "truncated" in line.out


@pytest.mark.parametrize("where", ["FOLDER", "URL"])
def test_what_the_witnesses_saw_last_is_enough_and_what_came_after_is_counted(
    where: str, line: Line, published: Written, web: str, tmp_path: Path
) -> None:
    records = list((made := journal(1, 200)).records)
    witness = NoteKey.named("witness.example", WITNESS)
    before = write_log(tmp_path / "before", made.origin, records[:-3], witnesses=[witness], seconds=COSIGNED)
    shutil.copy(before.folder / "checkpoint", published.folder / "checkpoint.witnessed")
    write_log(published.folder, made.origin, records)  # which no witness has cosigned
    log = str(published.folder) if where == "FOLDER" else f"{web}/published"
    words = ["log", "verify", log, "--key", published.key.text, "--witness", WITNESS_KEY]
    assert line(*words) == 0, line.out
    first = f"the first {before.size} records, by witness.example at 2027-01-15T08:01:40.000000Z"
    assert f"witnessed   {first}" in line.out
    assert "3 records came after what the witnesses saw last, at 2027-01-15T08:01:40.000000Z; for those," in line.out
    answer = line.json(*words)
    by = [{"witness": "witness.example", "at": "2027-01-15T08:01:40.000000Z"}]
    seen = {"size": before.size, "root": before.root.hex(), "at": by[0]["at"], "by": by, "records_after": 3}
    assert (answer["witnessed"], answer["cosigned"]) == (seen, [])
    assert any("3 records came after what the witnesses saw last" in each for each in answer["not_checked"])
    (published.folder / "checkpoint.witnessed").unlink()
    assert line(*words) == 1
    assert "no-quorum" in line.out and "there is no `checkpoint.witnessed`" in line.out


def test_a_checkpoint_that_was_kept_uncovers_a_shorter_history(line: Line, published: Written, tmp_path: Path) -> None:
    made = journal(1, 200)
    records = list(made.records)
    shorter = write_log(tmp_path / "shorter", made.origin, records[:-3])
    kept = str(published.folder / "checkpoint")
    assert line("log", "verify", str(shorter.folder), "--key", published.key.text, "--older", kept) == 1
    assert "rollback  the log: the log has" in line.out


def test_an_old_checkpoint_is_stale_once_an_age_is_asked_for(line: Line, tmp_path: Path) -> None:
    made = journal(1, 200)
    records = list(made.records)
    for record in records:
        record.fields["at"] -= 1_000_000_000_000_000
    old = write_log(tmp_path / "old", made.origin, records)
    words = ["log", "verify", str(old.folder), "--key", old.key.text]
    assert line(*words) == 0
    assert line(*words, "--max-age", "1h") == 1
    assert "stale" in line.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["FOLDER"], "no `--key` was given"),
        (["FOLDER/checkpoint"], "no `--key` was given"),
        (["FOLDER", "--key", "nowhere"], "`nowhere` cannot be read"),
        (["FOLDER", "--key", "PRIVATE+a+b"], "`PRIVATE` is no key"),
        (["FOLDER", "--key", "KEY", "--quorum", "1"], "expected 0 to the number of witnesses (0)"),
        (["FOLDER", "--key", "KEY", "--max-age", "soon"], "expected a duration"),
        (["FOLDER", "--key", "KEY", "--witness", "KEY"], "was given a log's key"),
        (["FOLDER/nowhere", "--key", "KEY"], "is not there"),
        (["FOLDER", "--key", "KEY", "--payloads", "FOLDER/checkpoint"], "no disclosed payload"),
        (["FOLDER", "--key", "KEY", "--older", "FOLDER/tile/0/000.p/1"], "cannot be read"),
    ],
)
def test_wrong_use_is_said_in_one_sentence(words: list[str], says: str, line: Line, published: Written) -> None:
    given = [each.replace("FOLDER", str(published.folder)).replace("KEY", published.key.text) for each in words]
    assert line("log", "verify", *given) == 2
    assert says in line.err
