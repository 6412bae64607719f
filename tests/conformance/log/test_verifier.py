"""The second verifier stands by itself: it imports nothing of remit, passes correct logs, and names every attack in the
vectors. Passing needs the page docs/LOG-FORMAT.md alone."""

from __future__ import annotations

import ast
import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.log import verifier
from tests.support import log_vectors
from tests.support.journals import journal
from tests.support.log_vectors import VECTORS
from tests.support.tile_log import WITNESS, NoteKey, split_bundle, write_log

SIGNATURES = VECTORS.parents[1] / "signatures"
KEYS = json.loads((VECTORS / "keys.json").read_text())
ATTACKS = {attack["name"]: attack for attack in json.loads((VECTORS / "attacks.json").read_text())}
NOT_EXCLUDED = "rewriting by whoever holds the log's key is not excluded"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The verifier as a program of its own, where no other module can be imported."""
    command = [sys.executable, "-I", verifier.__file__, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_verifier_imports_the_standard_library_and_cryptography_only() -> None:
    tree = ast.parse(Path(verifier.__file__).read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    roots = {name.partition(".")[0] for name in names} - {"__future__"}
    assert roots <= sys.stdlib_module_names | {"cryptography"}
    assert not {"importlib", "subprocess", "runpy", "ctypes"} & roots


def test_the_correct_vector_passes_as_a_program_with_no_finding() -> None:
    keys = [
        "--key",
        KEYS["log"][0],
        "--quorum",
        "2",
        *(word for key in KEYS["witnesses"] for word in ("--witness", key)),
    ]
    done = run(str(VECTORS / "log"), *keys, "--payloads", str(VECTORS / "payloads"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(" 0 findings\n")


def test_a_program_exits_with_1_and_says_the_word_and_the_position(tmp_path: Path) -> None:
    attacked(ATTACKS["entry_flipped"], tmp_path)
    done = run(str(tmp_path / "log"), "--key", KEYS["log"][0])
    assert done.returncode == 1
    assert any(
        line.startswith("tampered ") and line.split()[1].rstrip(":").isdigit() for line in done.stdout.splitlines()
    )


def attacked(attack: dict[str, Any], folder: Path) -> None:
    entries = [
        entry
        for path in sorted((VECTORS / "log" / "tile" / "entries").rglob("*"))
        if path.is_file()
        for entry in split_bundle(path.read_bytes())
    ]
    lines = (VECTORS / "payloads").read_text(encoding="utf-8").splitlines(keepends=True)
    log_vectors.apply(attack, entries, lines, folder)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_in_the_vectors_is_named(name: str, tmp_path: Path) -> None:
    attack = ATTACKS[name]
    attacked(attack, tmp_path)
    options = attack["options"]
    report = verifier.verify(
        tmp_path / "log",
        options["keys"],
        witnesses=KEYS["witnesses"] if options["quorum"] else [],
        quorum=options["quorum"],
        older=options["older"].encode() if options["older"] else None,
        max_age=options["max_age"] or None,
        payloads=tmp_path / "payloads",
        now=options["now"],
    )
    if attack["word"]:
        assert attack["word"] in report.words
    else:
        assert report.words == set()
        assert any(NOT_EXCLUDED in note for note in report.notes)


def test_the_vectors_are_those_that_the_generator_writes() -> None:
    found = {str(path.relative_to(VECTORS)): path.read_bytes() for path in VECTORS.rglob("*") if path.is_file()}
    made = log_vectors.files()
    assert sorted(found) == sorted(made), "run `python -m tests.support.log_vectors`"
    assert [name for name in made if made[name] != found[name]] == [], "run `python -m tests.support.log_vectors`"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("length", [100, 700])
def test_a_correct_journal_has_no_finding_with_its_payloads_and_without(seed: int, length: int, tmp_path: Path) -> None:
    made = journal(seed, length)
    written = write_log(tmp_path / "log", made.origin, made.records)
    for payloads in (written.payloads, None):
        report = verifier.verify(written.folder, [written.key.text], payloads=payloads)
        assert (report.findings, report.size) == ([], written.size)


def test_without_payloads_the_verifier_says_what_it_did_not_check(tmp_path: Path) -> None:
    made = journal()
    written = write_log(tmp_path / "log", made.origin, made.records)
    notes = "\n".join(verifier.verify(written.folder, [written.key.text]).notes)
    for what in ("votes", "commands", "rosters", "signatures of a boundary"):
        assert f" {what}" in notes
    assert NOT_EXCLUDED in notes


def test_an_intent_without_its_outcome_at_the_end_is_noted_and_is_no_finding(tmp_path: Path) -> None:
    made = journal()
    records = list(made.records)
    last = max(at for at, record in enumerate(records) if record.fields["kind"] == "intent")
    kept = [each for each in records[: last + 1] if each.fields["kind"] != "pruned"]
    written = write_log(tmp_path / "log", made.origin, kept)
    report = verifier.verify(written.folder, [written.key.text])
    assert report.findings == []
    assert any(note.startswith(f"open-at-end {len(kept) - 1}:") for note in report.notes)


def test_a_rotated_key_is_good_with_either_line(tmp_path: Path) -> None:
    made = journal()
    keys = [NoteKey.named(made.origin), NoteKey.named(made.origin, word="new")]
    witness = NoteKey.named("witness.example", WITNESS)
    written = write_log(tmp_path / "log", made.origin, made.records, keys=keys, witnesses=[witness], seconds=1)
    for known in (keys[:1], keys[1:], keys):
        assert verifier.verify(written.folder, [key.text for key in known]).findings == []


def test_partial_files_may_be_gone_where_the_log_has_grown(tmp_path: Path) -> None:
    made = journal(length=300)
    records = list(made.records)
    early = write_log(tmp_path / "early", made.origin, records[:120])
    late = write_log(tmp_path / "late", made.origin, records)
    (late.folder / "checkpoint").write_bytes((early.folder / "checkpoint").read_bytes())
    report = verifier.verify(late.folder, [late.key.text])
    assert (report.findings, report.size) == ([], 120)


def test_the_verifier_remembers_in_its_file_what_it_no_longer_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier.Memory, "LAST", 3)
    memory = verifier.Memory()
    for number in range(50):
        assert memory.add("action", f"act_{number}")
        assert not any(memory.add("action", f"act_{known}") for known in range(number + 1))
        assert not memory.knows("nonce", f"act_{number}")
        assert memory.knows("action", f"act_{number // 2}")


@pytest.mark.parametrize("path", sorted(SIGNATURES.glob("*.json")), ids=lambda path: path.stem)
def test_ssh_signatures_give_the_results_that_the_vectors_name(path: Path) -> None:
    vector = json.loads(path.read_text())
    keys = [line.split()[1] for line in vector["keys"]]
    try:
        key = verifier.ssh_signer(vector["signature"].encode(), vector["message"].encode(), vector["namespace"])
        found = base64.b64encode(key).decode() in keys
    except verifier.Bad:
        found = False
    assert found == (vector["signer"] is not None)
