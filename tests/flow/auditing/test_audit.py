"""What a pass over a log says: what it checked, what it did not, where the first bad record is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from remit.adapters.home.auditing import files_at
from remit.flow.auditing.audit import audit
from remit.flow.auditing.files import Trust
from remit.flow.auditing.findings import MOST_KEPT, Findings, Word
from remit.flow.auditing.ledger import MemoryLedger
from remit.flow.auditing.payloads import SECRETS, Nothing
from remit.flow.auditing.selecting import ROLES
from remit.gates.log.checkpoints import Checkpoint
from remit.gates.log.notes import VerifierKey
from remit.gates.log.tiles import Bundle, Tile
from tests.flow.auditing.conftest import Audit, checked, words
from tests.support.journals import Stories, journal
from tests.support.scribe import Action, Record
from tests.support.signers import PEOPLE, Signer
from tests.support.tile_log import WITNESS, NoteKey, Written, checkpoint_text, leaf, signed, tree, write_log

WITNESSED_BY = NoteKey.named("witness.example", WITNESS)
COSIGNED = 1_800_000_100


class Home(Stories):
    """A home whose story a test tells."""

    def __init__(self) -> None:
        super().__init__(0, 0)
        self.begin()

    @property
    def origin(self) -> str:
        return f"remit/{self.home}"

    def undo(self, of: str, approvers: tuple[Signer, ...]) -> Action:
        """An action that undoes another and sets out at once, on a person's order."""
        ruling = self.ruling("approve", 1)
        action = self.propose("change", "executing", ruling)
        self.out[-1].fields["undoes"] = of
        self.intent(action, ruling, approvers)
        return action


def order_to_undo(home: Home, action: str, carried_out: object = None) -> None:
    home.command("undo", {"action": action}, PEOPLE["olga"], lambda: None if carried_out is None else carried_out())  # type: ignore[operator]


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("older", [0, 1, 100, 255, 256, 257, 511, 512, 513, 600])
def test_a_log_goes_on_from_every_older_checkpoint_of_its_own(older: int, tmp_path: Path) -> None:
    made = journal(5, 600)
    records = list(made.records)
    written = write_log(tmp_path / "log", made.origin, records)
    root = tree([leaf(each.data) for each in records[:older]])
    assert checked(written, older=Checkpoint(made.origin, older, root)).findings == ()
    if older:
        other = tree([leaf(each.data + b" ") for each in records[:older]])
        assert words(checked(written, older=Checkpoint(made.origin, older, other))) == [("fork", None)]


@pytest.mark.parametrize("seen", [0, 1, 100, 255, 256, 257, 511, 512, 513, 600])
def test_the_root_that_witnesses_saw_is_made_anew_at_every_size(seen: int, tmp_path: Path) -> None:
    records = list((made := journal(5, 600)).records)
    written = write_log(tmp_path / "log", made.origin, records)
    older = Checkpoint(made.origin, 300, tree([leaf(each.data) for each in records[:300]]))
    key = VerifierKey.parse(WITNESSED_BY.text)
    witnessed(written, seen, records)
    report = checked(written, witnesses=(key,), quorum=1, older=older)
    assert report.findings == ()
    assert report.witnessed is not None and report.witnessed.checkpoint.size == seen
    assert (report.after_witnessed, report.witnessed.at) == (written.size - seen, COSIGNED * 1_000_000)
    if seen:
        records[seen - 1].fields["at"] += 1
        witnessed(written, seen, records)
        report = checked(written, witnesses=(key,), quorum=1, older=older)
        assert words(report) == [("fork", None)]
        assert (report.witnessed, report.after_witnessed) == (None, 0)


def witnessed(written: Written, size: int, records: list[Record]) -> None:
    """Puts the checkpoint over the first `size` of these records beside the newest, as a witness has cosigned it."""
    text = checkpoint_text(written.origin, size, tree([leaf(each.data) for each in records[:size]]))
    note = signed(text, [written.key], [WITNESSED_BY], COSIGNED)
    (written.folder / "checkpoint.witnessed").write_bytes(note)


def test_one_record_after_what_the_witnesses_saw_is_told_with_the_time(tmp_path: Path) -> None:
    records = list((made := journal(5, 100)).records)
    written = write_log(tmp_path / "log", made.origin, records)
    witnessed(written, written.size - 1, records)
    report = checked(written, witnesses=(VerifierKey.parse(WITNESSED_BY.text),), quorum=1)
    assert (
        "1 record came after what the witnesses saw last, at 2027-01-15T08:01:40.000000Z; for it, rewriting by whoever "
        "holds the log's key is not excluded"
    ) in report.unmade


def test_of_entries_that_do_not_lead_to_the_root_nothing_is_said_to_be_witnessed(tmp_path: Path) -> None:
    records = list((made := journal(5, 100)).records)
    written = write_log(tmp_path / "log", made.origin, records)
    witnessed(written, 50, records)
    bundle = next((written.folder / "tile/entries/000.p").iterdir())
    bundle.write_bytes(bundle.read_bytes().replace(b'"alert"', b'"alarm"'))
    report = checked(written, disclosed=False, witnesses=(VerifierKey.parse(WITNESSED_BY.text),), quorum=1)
    assert {word for word, _ in words(report)} >= {"tampered"}
    assert "fork" not in {word for word, _ in words(report)}
    assert report.witnessed is None
    assert any("what the witnesses saw last" in each and "do not lead to" in each for each in report.unmade)


class Growing:
    """A log that grows while it is read: after the newest checkpoint was read once, there is a newer one."""

    def __init__(self, before: Path, after: Path) -> None:
        self._logs = [files_at(str(before)), files_at(str(after))]

    def checkpoint(self) -> bytes:
        note = self._logs[0].checkpoint()
        del self._logs[:-1]
        return note

    def witnessed(self) -> bytes:
        return self._logs[-1].witnessed()

    def tile(self, tile: Tile) -> bytes | None:
        return self._logs[-1].tile(tile)

    def bundle(self, bundle: Bundle) -> bytes | None:
        return self._logs[-1].bundle(bundle)


def test_a_log_whose_witnesses_overtake_what_was_read_first_is_no_rollback(tmp_path: Path) -> None:
    records = list((made := journal(6, 300)).records)
    before = write_log(tmp_path / "before", made.origin, records[:130])
    after = write_log(tmp_path / "after", made.origin, records)
    witnessed(after, 200, records)
    believed = Trust(
        keys=(VerifierKey.parse(after.key.text),), witnesses=(VerifierKey.parse(WITNESSED_BY.text),), quorum=1
    )
    report = audit(Growing(before.folder, after.folder), believed, Nothing(), MemoryLedger())
    assert (report.findings, report.size, report.after_witnessed) == ((), after.size, after.size - 200)


def test_an_older_checkpoint_is_verified_in_a_folder_that_has_grown_since(tmp_path: Path) -> None:
    made = journal(6, 300)
    records = list(made.records)
    before = write_log(tmp_path / "before", made.origin, records[:130])
    after = write_log(tmp_path / "after", made.origin, records)
    shutil.copy(before.folder / "checkpoint", after.folder / "checkpoint")
    report = checked(after, disclosed=False)
    assert (report.findings, report.size, report.complete) == ((), 130, True)


def test_a_log_that_a_restored_home_began_anew_is_still_that_homes(tmp_path: Path) -> None:
    home, olga = Home(), PEOPLE["olga"]
    fields = {"before": home.origin, "log": f"{home.origin}/2+00000000+AQ==", "by": home.person(olga)}
    home.command("log.continue", {"reason": "restored"}, olga, lambda: home.add("log.continued", **fields))
    assert words(checked(write_log(tmp_path / "log", f"{home.origin}/2", home.out))) == []
    begun = next(at for at, each in enumerate(home.out) if each.fields["kind"] == "log.continued")
    assert words(checked(write_log(tmp_path / "first", home.origin, home.out))) == [("bad-start", begun)]


def test_the_first_bad_record_is_named_and_the_rest_is_still_checked(audited: Audit) -> None:
    made = journal(8, 200)
    records = list(made.records)
    at = [position for position, each in enumerate(records) if each.fields["kind"] == "outcome"]
    for position in (at[3], at[9]):
        records[position].fields["warrant"] = "wrt_aaaaaaaaaaaaaaaa"
    report = audited(made.origin, records)
    assert words(report) == [("outcome-without-intent", at[3]), ("outcome-without-intent", at[9])]
    assert report.first_bad == at[3]
    assert report.read == len(records)


def test_where_entries_are_missing_nothing_is_said_of_the_records_behind_them(tmp_path: Path) -> None:
    made = journal(9, 600)
    written = write_log(tmp_path / "log", made.origin, made.records)
    (written.folder / "tile/entries/001").unlink()
    report = checked(written)
    assert words(report) == [("truncated", 256)]
    assert any("from position 256 on" in each for each in report.unmade)


# --- what was not checked ---------------------------------------------------------------------------------------------


def test_without_payloads_signatures_are_said_to_be_unchecked_and_everything_else_holds(audited: Audit) -> None:
    made = journal(10, 200)
    report = audited(made.origin, made.records, disclosed=False)
    assert (report.findings, report.payloads, report.signatures) == ((), {}, {})
    for what in ("approvals", "commands", "rosters", "boundary"):
        assert any(what in each and "not disclosed" in each for each in report.unmade), what
    assert sum(report.withheld.values()) + report.ended == report.committed


def test_an_action_on_its_way_at_the_end_is_listed_and_is_no_finding(audited: Audit) -> None:
    home = Home()
    action = home.propose("read", "executing", home.ruling("auto"))
    home.intent(action, home.ruling("auto"))
    report = audited(home.origin, home.out)
    assert report.verified
    assert report.open_at_end == ((len(home.out) - 1, action.id),)


# --- an undo that a person ordered ------------------------------------------------------------------------------------


def test_a_persons_order_to_undo_is_the_one_approval_that_its_intent_needs(audited: Audit) -> None:
    home = Home()
    order_to_undo(home, "act_aaaaaaaaaaaaaaaa", lambda: home.undo("act_aaaaaaaaaaaaaaaa", (PEOPLE["olga"],)))
    assert audited(home.origin, home.out).findings == ()


def test_an_undo_that_nobody_ordered_is_not_approved(audited: Audit) -> None:
    home = Home()
    home.undo("act_aaaaaaaaaaaaaaaa", (PEOPLE["olga"],))
    assert words(audited(home.origin, home.out)) == [("not-approved", len(home.out) - 1)]


def test_one_order_to_undo_is_good_for_one_action(audited: Audit) -> None:
    home = Home()
    order_to_undo(home, "act_aaaaaaaaaaaaaaaa", lambda: home.undo("act_aaaaaaaaaaaaaaaa", (PEOPLE["olga"],)))
    home.undo("act_aaaaaaaaaaaaaaaa", (PEOPLE["olga"],))
    assert words(audited(home.origin, home.out)) == [("not-approved", len(home.out) - 1)]


def test_an_order_to_undo_one_action_undoes_no_other(audited: Audit) -> None:
    home = Home()
    order_to_undo(home, "act_aaaaaaaaaaaaaaaa")
    home.undo("act_bbbbbbbbbbbbbbbb", (PEOPLE["olga"],))
    assert words(audited(home.origin, home.out)) == [("not-approved", len(home.out) - 1)]


# --- who may ----------------------------------------------------------------------------------------------------------


def test_nobody_approves_in_a_run_that_they_opened_which_pseudonyms_alone_show(audited: Audit) -> None:
    home = Home()
    opened = next(each for each in home.out if each.fields["kind"] == "run.opened")
    opened.fields["by"] = home.person(PEOPLE["ann"])
    action = home.propose("change", "awaiting_approval", home.ruling("approve", 1))
    home.vote(action, PEOPLE["ann"])
    report = audited(home.origin, home.out, disclosed=False)
    ordered = ("bad-statement", home.out.index(opened))  # the run was opened by another person's command
    assert words(report) == [ordered, ("bad-approval", len(home.out) - 1)]


@pytest.mark.parametrize(
    ("signer", "says"), [("oz", "nobody of that person's roles"), ("lars", "nobody of that person's roles")]
)
def test_who_has_no_role_that_the_boundary_asks_does_not_approve(signer: str, says: str, audited: Audit) -> None:
    home = Home()
    action = home.propose("change", "awaiting_approval", home.ruling("approve", 1))
    home.vote(action, PEOPLE[signer])
    report = audited(home.origin, home.out)
    assert [each.word for each in report.findings if says in each.says] == [Word.BAD_APPROVAL]


def test_a_command_by_somebody_whose_roles_may_not_order_it_is_no_good_statement(audited: Audit) -> None:
    home = Home()
    home.command("erase", {"ids": []}, PEOPLE["oz"], lambda: None)
    report = audited(home.origin, home.out)
    assert {str(each.word) for each in report.findings} == {"bad-statement"}


# --- what may be gone -------------------------------------------------------------------------------------------------


def withheld(home: Home, role: str) -> Record:
    """Takes the last payload of this role out of what is disclosed."""
    record = next(each for each in reversed(home.out) if any(name.endswith(role) for name in each.payloads))
    record.payloads.clear()
    return record


def test_a_vote_cannot_be_erased_even_by_a_good_order(audited: Audit) -> None:
    home = Home()
    home.vote(home.propose("change", "awaiting_approval", home.ruling("approve", 1)), PEOPLE["ann"])
    ((name, commitment),) = withheld(home, ".statement").fields["payloads"].items()
    by = home.person(PEOPLE["lena"])
    home.command("erase", {}, PEOPLE["lena"], lambda: home.add("erased", {}, erased={name: commitment}, by=by))
    report = audited(home.origin, home.out)
    assert {str(each.word) for each in report.findings} == {"tombstone-forged", "payload-missing"}


@pytest.mark.parametrize("payload_class", ["statements", "", "files"])
def test_retention_never_excuses_a_missing_statement(payload_class: str, audited: Audit) -> None:
    home = Home()
    home.vote(home.propose("change", "awaiting_approval", home.ruling("approve", 1)), PEOPLE["ann"])
    withheld(home, ".statement")
    voted = len(home.out) - 1
    home.add("pruned", {}, **{"class": payload_class, "before": home.at + 1, "count": 1})
    assert words(audited(home.origin, home.out)) == [("payload-missing", voted)]


def test_one_tombstone_may_name_many_payloads(audited: Audit) -> None:
    home = Home()
    gone: dict[str, str] = {}
    for _ in range(3):
        action = home.propose("read", "executing", home.ruling("auto"))
        gone |= withheld(home, ".proposal").fields["payloads"]
        home.intent(action, home.ruling("auto"))
    by = home.person(PEOPLE["lena"])
    home.command("erase", {}, PEOPLE["lena"], lambda: home.add("erased", {}, erased=gone, by=by))
    report = audited(home.origin, home.out)
    assert (report.findings, report.erased) == ((), 3)


# --- findings ---------------------------------------------------------------------------------------------------------


def test_of_many_findings_the_earliest_are_kept_and_all_are_counted() -> None:
    findings = Findings()
    for position in reversed(range(3 * MOST_KEPT)):
        findings.add(Word.BAD_TIME, position, "late")
    findings.add(Word.FORK, None, "another history")
    kept = findings.all()
    assert [each.position for each in kept] == [None, *range(MOST_KEPT)]
    assert findings.counts() == {Word.FORK: 1, Word.BAD_TIME: 3 * MOST_KEPT}


# --- secret arguments, which end with their action --------------------------------------------------------------------

ENDINGS = ("done", "unknown", "failed at once", "rejected", "expired", "withdrawn", "void", "refused")


def waits(home: Home) -> Action:
    """An action that waits for a person, and whose secret arguments nobody can hand over."""
    return home.propose("change", "awaiting_approval", home.ruling("approve", 1), secret="ended")


def end(home: Home, action: Action, ending: str) -> None:
    if ending in ("expired", "withdrawn", "void"):
        home.add(ending, **home.about(action), by="agent")
        return
    home.vote(action, PEOPLE["ann"], "reject" if ending == "rejected" else "approve")
    if ending == "rejected":
        return
    home.add("approved", **home.about(action))
    if ending == "refused":
        home.add("refused", **home.about(action), ruling=home.ruling("forbid"))
        return
    home.intent(action, home.ruling("approve", 1), (PEOPLE["ann"],))
    home.outcome(action, "failed" if ending == "failed at once" else ending)


@pytest.mark.parametrize("ending", ENDINGS)
def test_secret_arguments_that_ended_with_their_action_are_not_missing_and_are_counted(
    ending: str, audited: Audit
) -> None:
    home = Home()
    end(home, waits(home), ending)
    report = audited(home.origin, home.out)
    assert (words(report), report.ended, report.withheld) == ([], 1, {})


def test_secret_arguments_that_are_gone_are_missing_as_long_as_their_action_is_open(audited: Audit) -> None:
    home = Home()
    action, other = waits(home), waits(home)
    first = next(at for at, each in enumerate(home.out) if each.fields.get("action") == action.id)
    end(home, other, "done")
    assert words(audited(home.origin, home.out)) == [("payload-missing", first)]
    home.vote(action, PEOPLE["ann"])
    home.add("approved", **home.about(action))
    assert words(audited(home.origin, home.out)) == [("payload-missing", first)]
    home.intent(action, home.ruling("approve", 1), (PEOPLE["ann"],))
    assert words(audited(home.origin, home.out)) == [("payload-missing", first)]


def test_a_record_after_the_end_excuses_no_secret_arguments_of_another_action(audited: Audit) -> None:
    home = Home()
    waits(home)
    end(home, home.propose("change", "awaiting_approval", home.ruling("approve", 1)), "done")
    assert [word for word, _ in words(audited(home.origin, home.out))] == ["payload-missing"]


def test_a_call_that_was_refused_at_once_has_no_secret_arguments_to_be_gone(audited: Audit) -> None:
    home = Home()
    home.propose("change", "blocked", home.ruling("forbid"), secret="ended")
    assert words(audited(home.origin, home.out)) == [("payload-missing", len(home.out) - 1)]


def test_secret_arguments_count_as_not_disclosed_only_while_their_action_is_open(
    tmp_path: Path,
) -> None:
    home = Home()
    waits(home)
    end(home, waits(home), "done")
    written = write_log(tmp_path / "log", home.origin, home.out)
    roles = [role for role in ROLES if role != SECRETS]
    assert roles == list(ROLES), "no file that we write promises them"
    first = json.dumps({"disclosure": 1, "roles": roles, "selected": False}) + "\n"
    written.payloads.write_text(first + written.payloads.read_text())
    report = checked(written)
    assert (words(report), report.ended, report.withheld) == ([], 1, {SECRETS: 1})
