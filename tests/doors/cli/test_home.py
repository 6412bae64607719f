"""Making a home, looking at it, and keeping its signed files, all without a gateway."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from remit.model.signatures import public_key
from tests.doors.cli.conftest import Line
from tests.support.home import Practice

LineOn = Callable[[Path], Line]


def write_key(path: Path, passphrase: bytes = b"") -> str:
    """A new private key in a file; returns the line of its public half."""
    key = Ed25519PrivateKey.generate()
    cipher = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    data = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, cipher)
    path.write_bytes(data)
    path.chmod(0o600)
    path.with_name(f"{path.name}.pub").write_text(f"{public_key(key).text} lea@example.com\n")
    return public_key(key).text


def test_init_makes_a_practice_home_that_says_so_and_that_nobody_else_can_look_into(
    short_path: Path, line_on: LineOn
) -> None:
    line = line_on(short_path / "home")
    assert line("init") == 0
    assert "THIS IS A PRACTICE HOME" in line.out
    assert (line.home / "PRACTICE").exists()
    assert stat.S_IMODE(line.home.stat().st_mode) == 0o700
    for path in [*(line.home / "keys").glob("*.key"), *(line.home / "practice").glob("*.key")]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert line("boundary", "verify") == 0
    assert "good, by leader" in line.out


def test_init_with_a_leader_makes_a_real_home_whose_boundary_waits_for_a_signature(
    short_path: Path, line_on: LineOn
) -> None:
    write_key(short_path / "lea")
    line = line_on(short_path / "home")
    assert line("init", "--leader", "lea@example.com", "--public-key", str(short_path / "lea.pub")) == 0
    assert not (line.home / "PRACTICE").exists()
    assert not (line.home / "practice").exists()
    assert line("boundary", "verify") == 1
    assert "nobody has signed it" in line.out
    assert line("boundary", "sign", "--yes", "--key", str(short_path / "lea")) == 0
    assert (line.home / "boundary.toml.lea@example.com.sig").exists()
    assert line("boundary", "verify") == 0
    assert line("check") == 0


@pytest.mark.parametrize("words", [("--leader", "lea"), ("--public-key", "lea.pub")])
def test_init_wants_leader_and_key_together(words: tuple[str, str], short_path: Path, line_on: LineOn) -> None:
    line = line_on(short_path / "home")
    assert line("init", *words) == 2
    assert "belong together" in line.err
    assert not line.home.exists()


def test_init_changes_no_folder_that_is_there(line: Line) -> None:
    before = (line.home / "people.toml").read_bytes()
    assert line("init") == 2
    assert "is there already" in line.err
    assert (line.home / "people.toml").read_bytes() == before


def test_the_status_without_a_gateway_tells_what_the_home_tells(line: Line) -> None:
    assert line("status") == 0
    assert "PRACTICE" in line.out
    assert "DOES NOT RUN" in line.out
    assert "next: remit check, then remit gateway" in line.out


def test_the_status_of_a_stopped_home_says_so_first(line: Line) -> None:
    assert line("stop", "--reason", "odd lookups") == 0
    assert "no gateway runs" in line.out
    assert line("status") == 0
    assert "*** STOPPED (cut, everything)" in line.out
    assert "odd lookups" in line.out
    assert "next: remit resume stp_" in line.out


def test_a_stop_without_a_gateway_is_resumed_by_a_person_with_a_reason(line: Line) -> None:
    line("stop")
    assert line("resume") == 2
    assert "--reason" in line.err
    assert line("resume", "--reason", "looked at it", "--person", "auditor") == 1
    assert "needs one of" in line.err
    assert line("resume", "--reason", "looked at it") == 0
    assert "RESUMED by on-call" in line.out
    assert line("resume", "--reason", "again") == 1
    assert "nothing is stopped" in line.err


def test_several_stops_are_lifted_by_name_or_all_at_once(line: Line) -> None:
    first = line.json("stop", "--agent", "triage")["stop"]
    line("stop", "--connector", "edr")
    assert line("resume", "--reason", "fine") == 2
    assert first in line.err
    assert line.json("resume", first, "--reason", "fine")["lifted"][0]["stop"] == first
    assert line.json("resume", "--all", "--reason", "fine")["left"] == []


def test_remit_alone_names_the_next_step_where_there_is_no_home(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from remit.doors.cli.main import main

    assert main([]) == 0
    assert f"next: remit init {tmp_path / '.remit'}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("approvals",),
        ("check",),
        ("boundary", "show"),
        ("people", "show"),
        ("inventory", "show"),
        ("connectors", "list"),
        ("run", "list"),
        ("settle",),
        ("approve", "act_x"),
        ("resume", "--reason", "x"),
    ],
)
def test_every_command_says_that_a_folder_is_no_home(words: tuple[str, ...], short_path: Path, line_on: LineOn) -> None:
    line = line_on(short_path)
    assert line(*words) == 2
    assert "is not a Remit home" in line.err
    assert "hint: `remit init" in line.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("aprove",), "did you mean `remit approve`?"),
        (("run", "open"), "hint: `remit run open --help`"),
        (("run",), "hint: `remit run --help`"),
        (("boundary", "widen"), "hint: `remit boundary --help`"),
        (("settle", "act_x", "--applied", "--not-applied"), "hint: `remit settle --help`"),
        (("undo", "act_x"), "hint: `remit undo --help`"),
        (("help", "nothing"), "there is no help on `nothing`"),
        (("run", "open", "--agent", "triage", "--case", "C", "--for", "soon"), "`soon` is not a time"),
        (("run", "open", "--agent", "triage", "--case", "C", "--declare", "model"), "NAME=VALUE"),
        (("run", "open", "--agent", "triage", "--case", "C", "--max-calls", "0"), "at least 1"),
    ],
)
def test_wrong_use_is_exit_code_2_with_a_hint(words: tuple[str, ...], says: str, line: Line) -> None:
    assert line(*words) == 2
    assert says in line.err


def test_what_needs_a_gateway_says_how_to_start_it(line: Line) -> None:
    assert line("run", "exec", "--agent", "triage", "--case", "C", "--", "true") == 3
    assert f"start it with `remit gateway --home {line.home}`" in line.err
    assert line("boundary", "reload") == 3


def test_an_error_is_json_where_json_was_asked_for(line: Line) -> None:
    answer = line.json("resume", "--reason", "x")
    assert answer["error"]["exit"] == 1
    assert answer["error"]["hint"]


def test_help_on_call_has_the_six_commands_of_the_night(line: Line) -> None:
    assert line("help", "on-call") == 0
    for name in ("status", "approvals", "approve", "stop", "settle", "resume"):
        assert f"  remit {name}" in line.out


# --- the boundary -----------------------------------------------------------------------------------------


def test_the_boundary_is_shown_as_plain_english(line: Line) -> None:
    assert line("boundary", "show") == 0
    assert "WHAT OUR SECURITY AGENTS MAY DO" in line.out
    assert line("boundary", "show", "--in-force") == 2
    assert "no boundary has been in force" in line.err


def test_explain_says_which_clause_decides_and_what_would_change_it(line: Line) -> None:
    words = ("boundary", "explain", "--agent", "triage", "--category", "host.isolate", "--target", "WS-014")
    assert line(*words) == 0
    assert "triage may, without asking, cut a host off the network on WS-014" in line.out
    assert line.json(*words, "--outside")["decision"] == "approve"
    assert line("boundary", "explain", "--agent", "nobody", "--category", "host.isolate") == 2
    assert line("boundary", "explain", "--agent", "nobody", "--verdict", "benign") == 2
    assert line("boundary", "explain", "--agent", "triage", "--verdict", "benign", "--target", "WS-014") == 0
    assert "triage may, without asking, conclude that a case about WS-014 is benign" in line.out
    assert line("boundary", "explain", "--agent", "triage", "--category", "host.explode") == 2


@pytest.mark.promise("P3")
def test_a_boundary_changed_after_it_was_signed_does_not_verify_until_a_leader_signs_it_again(line: Line) -> None:
    path = line.home / "boundary.toml"
    path.write_text(path.read_text().replace("hold_after = 2", "hold_after = 3"))
    assert line("boundary", "verify") == 1
    assert "NOT GOOD" in line.out
    assert line("boundary", "sign", "--yes", "--person", "approver") == 2
    assert "is not a leader" in line.err
    assert line("boundary", "sign", "--yes") == 0
    assert line("boundary", "verify") == 0


def test_a_boundary_that_cannot_be_read_is_not_signed(line: Line) -> None:
    path = line.home / "boundary.toml"
    path.write_text(path.read_text().replace("[boundary]", "[boundary]\nnaem = 1", 1))
    before = (line.home / "boundary.toml.leader.sig").read_bytes()
    assert line("boundary", "sign", "--yes") == 2
    assert "naem" in line.err
    assert (line.home / "boundary.toml.leader.sig").read_bytes() == before


def test_nothing_is_signed_where_nobody_can_be_asked(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: PTH123, SIM115
    assert line("boundary", "sign") == 2
    assert "nobody can be asked here" in line.err


# --- people and inventory -----------------------------------------------------------------------------------------


def add_person(home: Path, key: str, version: int = 2) -> None:
    path = home / "people.toml"
    text = path.read_text().replace("version = 1", f"version = {version}")
    more = f'\n[[person]]\nname = "Nora"\nemail = "nora@example.com"\nroles = ["on-call"]\nkeys = ["{key}"]\n'
    path.write_text(text + more)


def test_a_new_person_is_shown_as_a_change_and_counts_once_a_leader_signed(line: Line, short_path: Path) -> None:
    add_person(line.home, write_key(short_path / "nora"))
    shown = line.json("people", "show")
    assert shown["file"]["changes"] == ["`nora@example.com` is new: on-call"]
    assert "expected 1 valid signature" in shown["file"]["why_not"]
    assert line("check") == 1
    assert line("people", "sign", "--yes", "--person", "operator") == 2
    assert line("people", "sign", "--yes") == 0
    assert line.json("people", "show")["file"]["why_not"] == ""
    line("check")
    assert "a signed roster waits to be loaded" in line.out
    line("stop")
    assert line("resume", "--reason", "fine", "--key", str(short_path / "nora")) == 0
    assert "RESUMED by nora@example.com" in line.out


def test_a_change_of_who_somebody_is_on_this_machine_is_shown_before_it_is_signed(line: Line) -> None:
    path = line.home / "people.toml"
    text = path.read_text().replace("version = 1", "version = 2")
    path.write_text(text.replace('id = "leader"', 'id = "leader"\nuser = "lena"'))
    assert line.json("people", "show")["file"]["changes"] == ["`leader` is local user `lena` here"]


def test_the_roster_in_force_is_not_signed_again(line: Line) -> None:
    assert line("people", "sign", "--yes") == 2
    assert "in force already" in line.err


def test_an_inventory_that_loosens_waits_until_it_is_accepted(line: Line) -> None:
    line("stop")
    assert line("resume", "--reason", "first start") == 0  # puts the files in force
    path = line.home / "inventory.csv"
    path.write_text(path.read_text() + "WS-099,workstation,no,,,\n")
    answer = line.json("inventory", "show")
    assert answer["loosening"] == ["`WS-099` is new: so far its names are unknown, which is the most restrictive"]
    assert line("inventory", "accept", "--yes", "--person", "approver") == 1
    assert line("inventory", "accept", "--yes") == 0
    assert "accepted by operator" in line.out
    answer = line.json("inventory", "show")
    assert answer["digest"] == answer["in_force"]


# --- keys -----------------------------------------------------------------------------------------


def test_a_key_that_nobody_on_the_roster_has_signs_nothing(line: Line, short_path: Path) -> None:
    write_key(short_path / "stranger")
    line("stop")
    assert line("resume", "--reason", "fine", "--key", str(short_path / "stranger")) == 2
    assert "belongs to nobody on this home's roster" in line.err


def test_a_key_is_not_used_in_somebody_elses_name(line: Line) -> None:
    line("stop")
    key = str(line.home / "practice" / "on-call.key")
    assert line("resume", "--reason", "fine", "--key", key, "--person", "leader") == 2
    assert "is `on-call`'s, not `leader`'s" in line.err


def test_a_missing_key_is_named(line: Line, short_path: Path) -> None:
    line("stop")
    assert line("resume", "--reason", "fine", "--key", str(short_path / "none")) == 2
    assert f"`{short_path / 'none'}` cannot be read" in line.err


def test_a_key_with_a_passphrase_is_not_asked_for_where_nobody_can_answer(line: Line, short_path: Path) -> None:
    write_key(short_path / "locked", b"correct horse")
    line("stop")
    assert line("resume", "--reason", "fine", "--key", str(short_path / "locked")) == 2
    assert "passphrase" in line.err


def test_a_key_with_a_passphrase_signs_once_it_is_given(
    short_path: Path, line_on: LineOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_key(short_path / "lea", b"correct horse")
    line = line_on(short_path / "home")
    line("init", "--leader", "lea@example.com", "--public-key", str(short_path / "lea.pub"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: "correct horse")
    monkeypatch.setenv("REMIT_KEY", str(short_path / "lea"))
    assert line("boundary", "sign", "--yes") == 0
    assert "correct horse" not in line.out + line.err
    assert line("boundary", "verify") == 0


def test_ssh_keygen_signs_in_place_of_remit(practice: Practice, line: Line) -> None:
    line("stop")
    key = str(practice.home / "practice" / "on-call.key")
    assert line("resume", "--reason", "fine", "--key", key, "--ssh-keygen") == 0
    assert "RESUMED by on-call" in line.out


# --- check -----------------------------------------------------------------------------------------


def test_check_finds_nothing_wrong_with_a_fresh_home_and_says_that_it_is_for_practice(line: Line) -> None:
    assert line("check") == 0
    assert "PRACTICE home" in line.out
    assert "0 things wrong" in line.out


@pytest.mark.parametrize("name", [".", "keys", "state"])
def test_check_finds_a_folder_that_others_can_look_into(name: str, line: Line) -> None:
    (line.home / name).chmod(0o755)
    assert line("check", "--quiet") == 1
    assert "other users can look into" in line.out
    assert "chmod 700" in line.out


def test_check_finds_keys_that_are_open_or_missing(line: Line) -> None:
    (line.home / "keys" / "names.key").chmod(0o644)
    (line.home / "keys" / "fingerprint.key").unlink()
    assert line("check", "--quiet") == 1
    assert "`names.key` can be read by others" in line.out
    assert "`fingerprint.key` is missing" in line.out


def test_a_blind_latch_is_mended_by_a_signed_command_and_everything_stays_stopped(line: Line) -> None:
    (line.home / "state" / "latch").unlink()
    line("status")
    assert "next: remit resume --blind --reason WHY" in line.out
    line("check", "--quiet")
    assert "`remit resume --blind`" in line.out
    assert line("resume", "--all", "--reason", "x") == 1
    assert "everything is refused: the latch file cannot be read" in line.err
    assert "nothing is stopped" not in line.err
    assert line("resume", "--blind", "--all", "--reason", "x") == 2
    assert line("resume", "--blind", "--reason", "the disk was replaced", "--person", "auditor") == 1
    assert line("resume", "--blind", "--reason", "the disk was replaced") == 0
    assert "MENDED by on-call" in line.out
    line("status")
    assert "*** STOPPED (cut, everything) by on-call" in line.out
    assert "the latch was mended by on-call: the disk was replaced" in line.out
    assert line("resume", "--blind", "--reason", "again") == 1
    assert line("resume", "--reason", "nothing else was stopped") == 0
    assert "nothing is stopped any more" in line.out


def test_while_the_stop_file_is_there_a_resume_says_to_remove_it(line: Line) -> None:
    (line.home / "STOP").touch()
    line("status")
    assert "remove the file STOP from the home, then remit resume --reason WHY" in line.out
    assert line("resume", "--reason", "fine") == 1
    assert "remove it, then resume" in line.err


def test_a_decision_without_a_question_needs_the_action_and_the_help_says_so(line: Line) -> None:
    assert line("approve", "--yes") == 2
    assert "say which action" in line.err
    line("approve", "--help")
    assert "needed with --yes" in " ".join(line.out.split())


def test_a_connector_without_a_secret_is_said_to_act_with_its_own_rights(line: Line) -> None:
    head = '[connector]\nname = "old"\ntransport = "stdio"\ncommand = ["true"]\ncredential = { class = "static" }\n'
    path = line.home / "connectors" / "old.toml"
    path.write_text(head + '[[tool]]\nname = "look"\ncategory = "evidence.read"\neffect = "read"\n')
    line("check")
    assert "`old` acts with the rights of its own process, without a secret" in line.out
    path.write_text(head + '[[tool]]\nname = "cut"\ncategory = "host.isolate"\neffect = "change"\n')
    line("check")
    assert "`old` changes things with the rights of its own process, and the boundary has no exception" in line.out
    assert "()" not in line.out


def test_tools_that_are_hidden_are_not_on_the_page(line: Line) -> None:
    tools = '[[tool]]\nname = "wipe"\n[[tool]]\nname = "cut"\ncategory = "host.isolate"\neffect = "change"\n'
    head = '[connector]\nname = "old"\ntransport = "stdio"\ncommand = ["true"]\ncredential = { class = "warrant" }\n'
    (line.home / "connectors" / "old.toml").write_text(head + tools)
    line("connectors", "pin", "old", "--write")
    line("boundary", "show")
    assert "old has tools that can touch any number of things: cut." in " ".join(line.out.split())


def test_check_finds_a_broken_connector_file_a_blind_latch_and_a_standing_secret(line: Line) -> None:
    (line.home / "connectors" / "bad.toml").write_text("[connector]\nname = 1\n")
    secret = 'credential = { class = "static", into = "env:T", secret = "file:keys/t" }'
    tool = '[[tool]]\nname = "cut"\ncategory = "host.isolate"\neffect = "change"\n'
    head = f'[connector]\nname = "old"\ntransport = "stdio"\ncommand = ["true"]\n{secret}\n{tool}'
    (line.home / "connectors" / "old.toml").write_text(head)
    (line.home / "state" / "latch").write_bytes(b"torn")
    assert line("check", "--quiet") == 1
    for says in (
        "connectors/bad.toml",
        "everything is refused",
        "with a standing secret",
        "`keys/t` of `old` is missing",
    ):
        assert says in line.out
