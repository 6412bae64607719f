"""A bundle that was tampered with is never taken for good, and what is wrong with it is named."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from remit import offline
from remit.flow.auditing.files import Trust
from remit.flow.bundling.checking import BundleReport, check_bundle
from remit.flow.bundling.making import make_bundle
from remit.flow.bundling.words import About, LogFiles
from remit.flow.bundling.zipping import pack, unpack
from remit.gates.log.checkpoints import Checkpoint
from remit.gates.log.notes import LogKey, Note, WitnessKey, parse_note
from remit.gates.log.tiles import Bundle, Tile
from tests.support.evidence import CASE, Told

Members = dict[str, bytes]
MEGABYTE = 1024 * 1024


def lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def joined(values: list[dict[str, Any]]) -> bytes:
    return b"".join(
        json.dumps(each, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n" for each in values
    )


def changed(told: Told, change: Callable[[Members], None], action: str = "") -> BundleReport:
    """What checking says of a bundle whose members somebody changed."""
    members = unpack(told.bundle(action or told.disabled))
    change(members)
    return check_bundle(pack(members), told.trust)


def words(report: BundleReport) -> set[tuple[str, str]]:
    assert not report.verified
    return {(each.word, each.member) for each in report.breaches}


# --- good ones ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["isolated", "disabled", "rejected", "forbidden"])
def test_a_bundle_of_any_ending_is_verified_and_small(told: Told, which: str) -> None:
    data = told.bundle(getattr(told, which))
    report = check_bundle(data, told.trust)
    assert report.breaches == ()
    assert report.entries > 3
    assert len(data) < MEGABYTE


def test_a_bundle_of_a_case_holds_every_action_of_it(told: Told) -> None:
    data = told.bundle(case=CASE)
    assert check_bundle(data, told.trust).breaches == ()
    page = unpack(data)["story.html"].decode()
    assert all(each in page for each in (told.isolated, told.disabled, told.rejected, told.forbidden))


def test_the_same_log_gives_the_same_bytes(told: Told) -> None:
    assert told.bundle(told.isolated) == told.bundle(told.isolated)


def test_signatures_of_approval_boundary_and_roster_are_checked(told: Told) -> None:
    report = check_bundle(told.bundle(told.disabled), told.trust)
    assert report.signatures["approvals"] == 1
    assert report.signatures["boundaries"] >= 1
    assert report.signatures["rosters"] >= 1


def test_without_a_witness_it_says_that_rewriting_is_not_excluded(told: Told) -> None:
    assert any("rewriting" in each for each in check_bundle(told.bundle(told.isolated), told.trust).unmade)


def test_without_a_key_it_says_that_the_bundle_was_held_against_its_own(told: Told) -> None:
    report = check_bundle(told.bundle(told.isolated), Trust(keys=()))
    assert report.verified
    assert any("you gave no key" in each for each in report.unmade)


def test_what_is_withheld_is_listed_and_not_in_the_file(told: Told) -> None:
    data = told.bundle(told.isolated, without=("proposal", "result"))
    report = check_bundle(data, told.trust)
    assert report.breaches == ()
    assert {why for _, why in report.left_out} == {"withheld"}
    assert b"WS-014" not in unpack(data)["payloads.jsonl"].replace(b"=", b"")
    held = b"".join(base64.b64decode(each["data"]) for each in lines(unpack(data)["payloads.jsonl"]))
    assert b"beacons" not in held
    assert "withheld by whoever made this file" in unpack(data)["story.html"].decode()


# --- tampered ones --------------------------------------------------------------------------------------------------


def page_softened(members: Members) -> None:
    members["story.html"] = members["story.html"].replace(b"said yes", b"said yeah", 1)


def page_with_a_script(members: Members) -> None:
    members["story.html"] = members["story.html"].replace(b"</main>", b"<script>alert(1)</script></main>")


def readme_changed(members: Members) -> None:
    members["README.txt"] += b"Call 555-0100 to have it verified.\n"


def reconciliation_claimed(members: Members) -> None:
    members["reconcile.json"] = b'{"idp":{"at":1,"findings":0}}\n'


def boundary_copy_changed(members: Members) -> None:
    members["boundary-1.toml"] = members["boundary-1.toml"].replace(b'"approve"', b'"auto"', 1)


def signature_copy_changed(members: Members) -> None:
    name = next(each for each in members if each.endswith(".sig"))
    members[name] = members[name].replace(b"A", b"B", 1)


def roster_copy_gone(members: Members) -> None:
    del members["people-1.toml"]


def stranger_added(members: Members) -> None:
    members["invoice.pdf"] = b"%PDF"


def connector_changed(members: Members) -> None:
    members["connector.idp.toml"] = members["connector.idp.toml"].replace(b"reach = 1", b"reach = 9", 1)


def _records(members: Members, change: Callable[[list[dict[str, Any]]], None]) -> None:
    found = lines(members["records.jsonl"])
    change(found)
    members["records.jsonl"] = joined(found)


def _entry(found: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(each for each in found if json.loads(base64.b64decode(each["entry"]))["kind"] == kind)


def record_changed(members: Members) -> None:
    def change(found: list[dict[str, Any]]) -> None:
        each = _entry(found, "outcome")
        each["entry"] = base64.b64encode(base64.b64decode(each["entry"]).replace(b'"done"', b'"cut!"')).decode()

    _records(members, change)


def record_moved(members: Members) -> None:
    def change(found: list[dict[str, Any]]) -> None:
        found[-2]["position"] += 1

    _records(members, change)


def proofs_swapped(members: Members) -> None:
    def change(found: list[dict[str, Any]]) -> None:
        found[1]["proof"], found[2]["proof"] = found[2]["proof"], found[1]["proof"]

    _records(members, change)


def proof_of_nothing(members: Members) -> None:
    def change(found: list[dict[str, Any]]) -> None:
        found[0]["proof"] = "c2sp.org/tlog-proof@v1\nindex 0\n\n"

    _records(members, change)


def intent_left_out(members: Members) -> None:
    _records(members, lambda found: found.remove(_entry(found, "intent")))


def vote_left_out(members: Members) -> None:
    _records(members, lambda found: found.remove(_entry(found, "vote")))


def _payloads(members: Members, role: str, change: Callable[[list[dict[str, Any]], dict[str, Any]], None]) -> None:
    found = lines(members["payloads.jsonl"])
    change(found, next(each for each in found if each["id"].endswith(f".{role}")))
    members["payloads.jsonl"] = joined(found)


def reasons_rewritten(members: Members) -> None:
    def change(_: list[dict[str, Any]], each: dict[str, Any]) -> None:
        each["data"] = base64.b64encode(base64.b64decode(each["data"]).replace(b"events", b"stars!")).decode()

    _payloads(members, "proposal", change)


def salt_changed(members: Members) -> None:
    _payloads(members, "statement", lambda _, each: each.update(salt="00" * 16))


def answer_dropped(members: Members) -> None:
    _payloads(members, "result", lambda found, each: found.remove(each))


def answer_dropped_and_said_to_be_erased(members: Members) -> None:
    found = lines(members["payloads.jsonl"])
    gone = next(each for each in found if each["id"].endswith(".result"))
    found.remove(gone)
    head = json.loads(members["bundle.json"])
    head["absent"].append({"id": gone["id"], "why": "erased"})
    members["payloads.jsonl"], members["bundle.json"] = joined(found), joined([head])


def boundary_dropped_and_said_to_be_withheld(members: Members) -> None:
    found = lines(members["payloads.jsonl"])
    gone = [each for each in found if each["id"].startswith("bnd_")]
    head = json.loads(members["bundle.json"])
    head["absent"] += [{"id": each["id"], "why": "withheld"} for each in gone]
    members["payloads.jsonl"] = joined([each for each in found if each not in gone])
    members["bundle.json"] = joined([head])


def payload_of_nobody_added(members: Members) -> None:
    found = lines(members["payloads.jsonl"])
    found.append({"entry": 0, "id": "ev_x.result", "salt": "00" * 16, "data": ""})
    members["payloads.jsonl"] = joined(found)


def about_another_action(members: Members) -> None:
    head = json.loads(members["bundle.json"])
    head["action"] = "act_0000000000000000"
    members["bundle.json"] = joined([head])


def checkpoint_larger(members: Members) -> None:
    origin, size, rest = members["checkpoint"].split(b"\n", 2)
    members["checkpoint"] = b"\n".join((origin, b"%d" % (int(size) + 1), rest))


def checkpoint_of_another_log(members: Members) -> None:
    members["checkpoint"] = members["checkpoint"].replace(b"remit/", b"other/")


def key_of_a_stranger(members: Members) -> None:
    origin = members["checkpoint"].split(b"\n", 1)[0].decode()
    members["keys.txt"] = f"{LogKey.generate(origin, b's' * 32).verifier.text}\n".encode()


def key_added(members: Members) -> None:
    origin = members["checkpoint"].split(b"\n", 1)[0].decode()
    members["keys.txt"] += f"{LogKey.generate(origin, b's' * 32).verifier.text}\n".encode()


MUTATIONS: list[tuple[Callable[[Members], None], str, str]] = [
    (page_softened, "retold", "story.html"),
    (page_with_a_script, "retold", "story.html"),
    (readme_changed, "retold", "README.txt"),
    (reconciliation_claimed, "retold", "reconcile.json"),
    (boundary_copy_changed, "retold", "boundary-1.toml"),
    (signature_copy_changed, "retold", "boundary-1.toml.1.sig"),
    (roster_copy_gone, "retold", "people-1.toml"),
    (stranger_added, "unlisted", "invoice.pdf"),
    (connector_changed, "unlisted", "connector.idp.toml"),
    (record_changed, "tampered", "records.jsonl"),
    (record_moved, "tampered", "records.jsonl"),
    (proofs_swapped, "tampered", "records.jsonl"),
    (proof_of_nothing, "tampered", "records.jsonl"),
    (intent_left_out, "outcome-without-intent", "records.jsonl"),
    (vote_left_out, "not-approved", "records.jsonl"),
    (reasons_rewritten, "payload-mismatch", "payloads.jsonl"),
    (salt_changed, "payload-mismatch", "payloads.jsonl"),
    (answer_dropped, "payload-missing", "payloads.jsonl"),
    (answer_dropped_and_said_to_be_erased, "payload-missing", "payloads.jsonl"),
    (boundary_dropped_and_said_to_be_withheld, "payload-missing", "payloads.jsonl"),
    (payload_of_nobody_added, "payload-mismatch", "payloads.jsonl"),
    (about_another_action, "retold", "records.jsonl"),
    (checkpoint_larger, "bad-signature", "checkpoint"),
    (checkpoint_of_another_log, "bad-note", "checkpoint"),
    (key_of_a_stranger, "bad-signature", "keys.txt"),
    (key_added, "bad-signature", "keys.txt"),
]


@pytest.mark.parametrize(("change", "word", "member"), MUTATIONS, ids=[each[0].__name__ for each in MUTATIONS])
def test_a_changed_member_is_caught_and_named(
    told: Told, change: Callable[[Members], None], word: str, member: str
) -> None:
    assert (word, member) in words(changed(told, change))


def test_every_byte_of_a_bundle_is_bound(told: Told) -> None:
    data = told.bundle(told.forbidden)
    step = max(len(data) // 400, 1)
    for at in range(0, len(data), step):
        broken = bytearray(data)
        broken[at] ^= 0x01
        assert not check_bundle(bytes(broken), told.trust).verified, f"byte {at} is not bound"


def test_a_bundle_of_another_home_does_not_fit_the_key(told: Told) -> None:
    other = LogKey.generate("remit/home_other", b"o" * 32).verifier
    assert ("bad-note", "checkpoint") in words(check_bundle(told.bundle(told.isolated), Trust(keys=(other,))))


def test_a_newer_checkpoint_over_older_proofs_is_caught(told: Told) -> None:
    older = unpack(told.bundle(told.isolated))
    key = LogKey.parse((told.home / "keys" / "log.key").read_text())
    origin, size, root = older["checkpoint"].decode().split("\n")[:3]
    text = f"{origin}\n{int(size) - 1}\n{root}\n"
    older["checkpoint"] = f"{text}\n{key.sign(text).encode()}".encode()
    assert ("tampered", "records.jsonl") in words(check_bundle(pack(older), told.trust))


def test_a_bundle_smaller_than_a_checkpoint_that_was_seen_is_a_rollback(told: Told) -> None:
    report = check_bundle(told.bundle(told.isolated), told.trust)
    seen = Checkpoint(report.origin, report.size + 1, b"r" * 32)
    found = check_bundle(told.bundle(told.isolated), Trust(keys=told.keys, older=seen))
    assert ("rollback", "checkpoint") in words(found)


# --- archives -------------------------------------------------------------------------------------------------------


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=method)
    return buffer.getvalue()


ARCHIVES: dict[str, bytes] = {
    "a name that leaves the folder": zipped(("../../etc/passwd", b"x")),
    "an absolute name": zipped(("/etc/passwd", b"x")),
    "a name for another system": zipped(("C:\\x", b"x")),
    "a folder": zipped(("a/b", b"x")),
    "a hidden name": zipped((".bashrc", b"x")),
    "a name with a line break": zipped(("a\nb", b"x")),
    "a compressed bomb": zipped(("records.jsonl", bytes(100 * MEGABYTE)), method=zipfile.ZIP_DEFLATED),
    "many members": zipped(*((f"m{number}", b"") for number in range(1000))),
    "no archive": b"PK\x03\x04 nothing",
    "nothing": b"",
    "an empty archive": zipped(),
}


@pytest.mark.parametrize("what", ARCHIVES)
def test_an_archive_that_no_bundle_is_refused(told: Told, what: str) -> None:
    assert {word for word, _ in words(check_bundle(ARCHIVES[what], told.trust))} == {"bad-bundle"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_named(told: Told) -> None:
    data = told.bundle(told.isolated)
    buffer = io.BytesIO(data)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(zipfile.ZipInfo("story.html"), b"another story")
    assert ("bad-bundle", "story.html") in words(check_bundle(buffer.getvalue(), told.trust))


@pytest.mark.parametrize("add", [lambda data: b"#!" + data, lambda data: data + b"!", lambda data: data[:-30]])
def test_bytes_before_or_behind_an_archive_are_refused(told: Told, add: Callable[[bytes], bytes]) -> None:
    assert {word for word, _ in words(check_bundle(add(told.bundle(told.isolated)), told.trust))} == {"bad-bundle"}


def test_a_member_that_claims_to_be_larger_than_the_file_is_refused(told: Told) -> None:
    data = bytearray(zipped(("story.html", b"x" * 100)))
    at = data.rindex(b"PK\x01\x02")
    for offset in (20, 24):  # both sizes in the central directory (APPNOTE, section 4.3.12)
        data[at + offset : at + offset + 4] = (0xF0000000).to_bytes(4, "little")
    assert {word for word, _ in words(check_bundle(bytes(data), told.trust))} == {"bad-bundle"}


# --- witnesses ------------------------------------------------------------------------------------------------------


class Witnessed:
    """A log whose checkpoint a witness has cosigned."""

    def __init__(self, files: LogFiles, witness: WitnessKey) -> None:
        self._files = files
        self._witness = witness

    def checkpoint(self) -> bytes:
        note = parse_note(self._files.checkpoint())
        line = self._witness.cosign(note.text, 1_800_000_000)
        return Note(note.text, (*note.lines, line)).encode()

    def witnessed(self) -> bytes:
        return b""

    def tile(self, tile: Tile) -> bytes | None:
        return self._files.tile(tile)

    def bundle(self, bundle: Bundle) -> bytes | None:
        return self._files.bundle(bundle)


def test_a_cosignature_is_told_on_the_page_and_counts_only_for_whoever_names_the_witness(told: Told) -> None:
    witness = WitnessKey.generate("witness.example/w1", b"w" * 32)
    files, keys = offline.log_of(told.home)
    reads = offline.open_reads(told.home)
    about = About(action=told.forbidden)
    trust = Trust(keys=keys, witnesses=(witness.verifier,), quorum=1)
    data = make_bundle(reads, Witnessed(files, witness), trust, about, {}, {})
    assert "countersigned by witness.example/w1" in unpack(data)["story.html"].decode()
    named = check_bundle(data, trust)
    assert named.breaches == ()
    assert [name for name, _ in named.cosigned] == ["witness.example/w1"]
    assert not any("rewriting" in each for each in named.unmade)
    stranger = check_bundle(data, Trust(keys=keys))
    assert stranger.breaches == ()
    assert any("you did not name them as witnesses" in each for each in stranger.unmade)
    assert any("rewriting" in each for each in stranger.unmade)
    bare = check_bundle(told.bundle(told.forbidden), trust)
    assert ("no-quorum", "checkpoint") in words(bare)
