"""The ways to forge records while holding the log's key, each with the word by which a verifier must name it.

What lives here: attacks on approvals, on commands, on what leaders sign, on the life of actions, and on the records
themselves. Every entry is hashed and signed anew afterwards. What never may: attacks on files; those are in `tampers`.

Long because: it is one catalogue, and each attack is a few lines.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.support.scribe import Record
from tests.support.signers import HOUR, MALLORY, NEWCOMER, PEOPLE, Signer, boundary_file, roster_file, sha256
from tests.support.tampering import Case
from tests.support.tampers import edit, tamper
from tests.support.tile_log import NoteKey

SECOND = 1_000_000

APPROVED = ("proposal", "vote", "approved", "intent", "outcome")
BY_TWO = ("proposal", "vote", "vote", "approved", "intent", "outcome")
READ = ("proposal", "intent", "outcome")


def voter(case: Case, position: int) -> Signer:
    return PEOPLE[case.statement(position)["person"]]


def vote_of(case: Case, *life: str) -> int:
    return case.about(case.action(*(life or APPROVED)), "vote")


# --- approvals --------------------------------------------------------------------------------------------------------


@tamper("bad-approval", "somebody else signs in the voter's name")
def approval_forged(case: Case) -> None:
    case.sign(vote_of(case), MALLORY)


@tamper("bad-approval", "somebody who is on no roster approves")
def approval_by_a_stranger(case: Case) -> None:
    case.sign(vote_of(case), MALLORY, person="mallory")


@tamper("bad-approval", "a colleague signs in the voter's name")
def approval_by_a_colleague(case: Case) -> None:
    position = vote_of(case)
    colleague = next(each for each in ("olga", "ann", "bob") if each != voter(case, position).name)
    case.sign(position, PEOPLE[colleague])


@tamper("bad-approval", "a colleague's own approval stands under the voter's pseudonym")
def approval_under_another_pseudonym(case: Case) -> None:
    first, second = (case.about(case.action(*BY_TWO), "vote", at) for at in (0, 1))
    case.sign(second, voter(case, first), person=voter(case, first).name)


def approval_with(name: str, says: str, **changes: Any) -> None:
    def change(case: Case) -> None:
        position = vote_of(case)
        case.sign(position, voter(case, position), **changes)

    change.__name__ = name
    tamper("bad-approval", says)(change)


approval_with("approval_of_another_action", "the statement is about another action", action="act_aaaaaaaaaaaaaaaa")
approval_with("approval_of_another_digest", "the statement is about other arguments", digest="0" * 64)
approval_with("approval_of_another_home", "the statement is for another home", home="home_aaaaaaaaaaaaaaaa")
approval_with(
    "approval_under_another_boundary", "the statement names a boundary not in force", boundary_digest="1" * 64
)
approval_with("rejection_counted_as_approval", "the statement says no, the record says yes", verb="reject")


@tamper("bad-approval", "the statement had expired when it was counted")
def approval_expired(case: Case) -> None:
    position = vote_of(case)
    at = case.at(position)["at"]
    case.sign(position, voter(case, position), issued=at - 2 * HOUR, expires=at - HOUR)


@tamper("bad-approval", "the statement was issued after it was counted")
def approval_from_the_future(case: Case) -> None:
    position = vote_of(case)
    at = case.at(position)["at"]
    case.sign(position, voter(case, position), issued=at + HOUR, expires=at + 2 * HOUR)


@tamper("bad-approval", "the statement is valid for a year")
def approval_for_ever(case: Case) -> None:
    position = vote_of(case)
    case.sign(position, voter(case, position), expires=case.at(position)["at"] + 365 * 24 * HOUR)


@tamper("bad-approval", "the statement was signed as something else than an approval")
def approval_in_another_namespace(case: Case) -> None:
    position = vote_of(case)
    case.sign(position, voter(case, position), "control@remit")


@tamper("bad-approval", "the statement was changed after it was signed")
def approval_changed(case: Case) -> None:
    position = vote_of(case)
    paper, other = (json.loads(case.payload(at, "statement")) for at in (position, vote_of(case, *BY_TWO)))
    case.commit(position, "statement", json.dumps(paper | {"statement": other["statement"]}).encode())


@tamper("bad-approval", "the vote commits to no statement")
def approval_without_statement(case: Case) -> None:
    case.uncommit(vote_of(case), "statement")


@tamper("bad-approval", "the payload of a vote is no statement")
def approval_of_nonsense(case: Case) -> None:
    case.commit(vote_of(case), "statement", b"yes")


@tamper("approval-replayed", "a statement about one action is counted for another")
def approval_replayed(case: Case) -> None:
    one, other = vote_of(case), vote_of(case, *BY_TWO)
    early, late = min(one, other), max(one, other)
    case.commit(late, "statement", case.payload(early, "statement"))
    case.at(late)["person"] = case.at(early)["person"]


@tamper("not-approved", "one person approves twice where two are asked for")
def one_person_twice(case: Case) -> None:
    action = case.action(*BY_TWO)
    first, second = (case.about(action, "vote", at) for at in (0, 1))
    case.sign(second, voter(case, first), person=voter(case, first).name)
    case.at(second)["person"] = case.at(first)["person"]


@tamper("approval-replayed", "one statement is counted twice where two are asked for")
def one_statement_twice(case: Case) -> None:
    action = case.action(*BY_TWO)
    first, second = (case.about(action, "vote", at) for at in (0, 1))
    case.commit(second, "statement", case.payload(first, "statement"))
    case.at(second)["person"] = case.at(first)["person"]


@tamper("not-approved", "the only vote is gone")
def vote_removed(case: Case) -> None:
    case.remove(vote_of(case))


@tamper("not-approved", "one of two votes is gone")
def second_vote_removed(case: Case) -> None:
    case.remove(case.about(case.action(*BY_TWO), "vote", 1))


@tamper("not-approved", "the vote comes after the intent")
def vote_after_intent(case: Case) -> None:
    record = case.remove(vote_of(case))
    case.insert(case.about(record.fields["action"], "intent") + 1, record)


@tamper("no-proposal", "the intent comes without the record that it is approved")
def approved_removed(case: Case) -> None:
    case.remove(case.about(case.action(*APPROVED), "approved"))


@tamper("not-approved", "the intent's ruling asks for more people than voted")
def more_asked_than_voted(case: Case) -> None:
    case.at(case.about(case.action(*APPROVED), "intent"))["ruling"]["quorum"] = 2


@tamper("not-approved", "the intent names an approver who did not vote")
def approver_invented(case: Case) -> None:
    case.at(case.about(case.action(*APPROVED), "intent"))["approvers"].append("0" * 20)


@tamper("not-approved", "an action that needs approval begins executing at once")
def approval_skipped(case: Case) -> None:
    action = case.action(*READ)
    for kind in ("proposal", "intent"):
        case.at(case.about(action, kind))["ruling"] |= {"decision": "approve", "quorum": 1}


@tamper("bad-approval", "who opened the run approves in it")
def approval_by_the_opener(case: Case) -> None:
    position = vote_of(case)
    for record in case.records[:position]:
        if record.fields["kind"] == "run.opened":
            record.fields["by"] = case.at(position)["person"]


@tamper("bad-approval", "the owner of the agent approves")
def approval_by_the_owner(case: Case) -> None:
    position = vote_of(case)
    case.sign(position, PEOPLE["lars"], person="lars")
    _as(case, position, "lars")


@tamper("bad-approval", "somebody approves who has no role for it")
def approval_without_a_role(case: Case) -> None:
    position = vote_of(case)
    case.sign(position, PEOPLE["lena"], person="lena")
    _as(case, position, "lena")


def _as(case: Case, position: int, name: str) -> None:
    """Let the vote and the intent name somebody by the right pseudonym."""
    old, new = case.at(position)["person"], case.pseudonym(name)
    for record in case.records[position:]:
        if record.fields.get("action") == case.at(position)["action"]:
            record.fields |= {"person": new} if record.fields["kind"] == "vote" else {}
            if "approvers" in record.fields:
                record.fields["approvers"] = [new if each == old else each for each in record.fields["approvers"]]


# --- the life of an action --------------------------------------------------------------------------------------------


@tamper("no-proposal", "an action's proposal is gone")
def proposal_removed(case: Case) -> None:
    case.remove(case.about(case.action(*READ), "proposal"))


@tamper("no-proposal", "a waiting action's proposal is gone")
def waiting_proposal_removed(case: Case) -> None:
    case.remove(case.about(case.action(*APPROVED), "proposal"))


@tamper("action-twice", "an action is proposed twice")
def proposal_duplicated(case: Case) -> None:
    position = case.about(case.action(*READ), "outcome")
    case.insert(position + 1, case.copy_of(case.about(case.at(position)["action"], "proposal")))


@tamper("no-proposal", "an alert is about an action that was never proposed")
def alert_about_nothing(case: Case) -> None:
    case.at(case.find("alert"))["action"] = "act_aaaaaaaaaaaaaaaa"


@tamper("outcome-without-intent", "the intent of an action that was executed is gone")
def intent_removed(case: Case) -> None:
    case.remove(case.about(case.action(*READ), "intent"))


@tamper("outcome-without-intent", "an action ends twice")
def second_outcome(case: Case) -> None:
    position = case.about(case.action(*APPROVED), "outcome")
    case.insert(position + 1, case.copy_of(position))


@tamper("outcome-without-intent", "the outcome is that of another warrant")
def outcome_of_another_warrant(case: Case) -> None:
    case.at(case.about(case.action(*APPROVED), "outcome"))["warrant"] = "wrt_aaaaaaaaaaaaaaaa"


@tamper("no-proposal", "an action is executed twice for one approval")
def second_intent(case: Case) -> None:
    action = case.action(*APPROVED)
    position = case.about(action, "outcome")
    case.insert(position + 1, case.copy_of(case.about(action, "intent")))


def intent_after(last: str, says: str, *life: str) -> None:
    def change(case: Case) -> None:
        action = case.action(*life)
        position = case.about(action, last, -1)
        intent = case.copy_of(case.about(case.action(*READ), "intent"))
        intent.fields |= {"action": action, "digest": case.at(case.about(action, "proposal"))["digest"]}
        intent.fields["ruling"]["boundary"] = _boundary_at(case, position)
        case.insert(position + 1, intent)

    change.__name__ = f"intent_after_{'rejection' if last == 'vote' else 'blocked' if last == 'proposal' else last}"
    tamper("no-proposal", says)(change)


def _boundary_at(case: Case, position: int) -> str:
    loaded = [each.fields for each in case.records[:position] if each.fields["kind"] == "boundary.loaded"]
    return str(loaded[-1]["digest"])


intent_after("proposal", "a blocked action is executed", "proposal")
intent_after("vote", "a rejected action is executed", "proposal", "vote")
intent_after("expired", "an expired action is executed", "proposal", "expired")
intent_after("void", "a void action is executed", "proposal", "void")
intent_after("withdrawn", "a withdrawn action is executed", "proposal", "withdrawn")
intent_after("refused", "a refused action is executed", "proposal", "vote", "approved", "refused")


@tamper("no-proposal", "an action is settled whose outcome was known")
def settled_for_nothing(case: Case) -> None:
    settled = case.copy_of(case.find("settled"))
    position = case.about(case.action(*APPROVED), "outcome")
    settled.fields["action"] = case.at(position)["action"]
    case.insert(position + 1, settled)


@tamper("no-proposal", "an approval comes for an action that ended")
def vote_after_the_end(case: Case) -> None:
    position = case.about(case.action("proposal", "expired"), "expired")
    vote = case.copy_of(vote_of(case))
    vote.fields["action"] = case.at(position)["action"]
    case.insert(position + 1, vote)


def _intent(case: Case) -> dict[str, object]:
    return case.at(case.about(case.action(*APPROVED), "intent"))


@tamper("intent-without-ruling", "the ruling of the intent forbids it")
def intent_forbidden(case: Case) -> None:
    ruling = _intent(case)["ruling"]
    assert isinstance(ruling, dict)
    ruling["decision"] = "forbid"


@tamper("intent-without-ruling", "a ruling that forbade was turned into another for the intent")
def ruling_turned(case: Case) -> None:
    action = case.action(*READ)
    case.at(case.about(action, "proposal"))["ruling"]["decision"] = "forbid"


@tamper("intent-without-ruling", "the intent is about other arguments than were proposed")
def intent_of_another_digest(case: Case) -> None:
    _intent(case)["digest"] = "2" * 64


@tamper("intent-without-ruling", "the intent names a boundary that never was")
def intent_under_no_boundary(case: Case) -> None:
    ruling = _intent(case)["ruling"]
    assert isinstance(ruling, dict)
    ruling["boundary"] = "3" * 64


@tamper("intent-without-ruling", "the intent names a boundary that was replaced more than 5 s before")
def intent_under_an_old_boundary(case: Case) -> None:
    first = case.at(case.find("boundary.loaded"))["digest"]
    position = max(at for at, each in enumerate(case.records) if each.fields["kind"] == "boundary.loaded")
    later = [at for at, each in enumerate(case.records) if each.fields["kind"] == "intent" and at > position]
    assert case.at(position)["digest"] != first
    for record in case.records[later[-1] :]:
        record.fields["at"] += 6 * SECOND
    case.at(later[-1])["ruling"]["boundary"] = first


# --- boundaries and rosters -------------------------------------------------------------------------------------------


def _boundary(case: Case) -> int:
    """Where a boundary replaced another."""
    return next(
        at
        for at, each in enumerate(case.records)
        if each.fields["kind"] == "boundary.loaded" and each.fields["version"] == 2
    )


def signatures(file: bytes, namespace: str, *signers: Signer) -> bytes:
    return json.dumps([each.sign(file, namespace).decode() for each in signers]).encode()


@tamper("boundary-unsigned", "the boundary's file is another than leaders signed")
def boundary_altered(case: Case) -> None:
    position = _boundary(case)
    file = case.payload(position, "file").replace(b'then = "approve"', b'then = "auto"')
    case.commit(position, "file", file)
    case.at(position)["digest"] = sha256(file)


@tamper("boundary-unsigned", "the boundary's file is another than the record names")
def boundary_of_another_digest(case: Case) -> None:
    position = _boundary(case)
    file = boundary_file(2, quorum=3)
    case.commit(position, "file", file)
    case.commit(position, "signatures", signatures(file, "boundary@remit", PEOPLE["lena"], PEOPLE["lars"]))


@tamper("boundary-unsigned", "somebody who is no leader signed the boundary")
def boundary_signed_by_no_leader(case: Case) -> None:
    position = _boundary(case)
    made = signatures(case.payload(position, "file"), "boundary@remit", PEOPLE["olga"], PEOPLE["ann"])
    case.commit(position, "signatures", made)


@tamper("boundary-unsigned", "a stranger signed the boundary")
def boundary_signed_by_a_stranger(case: Case) -> None:
    position = _boundary(case)
    case.commit(position, "signatures", signatures(case.payload(position, "file"), "boundary@remit", MALLORY))


@tamper("boundary-unsigned", "the boundary was signed as a roster")
def boundary_in_another_namespace(case: Case) -> None:
    position = _boundary(case)
    made = signatures(case.payload(position, "file"), "roster@remit", PEOPLE["lena"], PEOPLE["lars"])
    case.commit(position, "signatures", made)


@tamper("boundary-unsigned", "nobody signed the boundary")
def boundary_signed_by_nobody(case: Case) -> None:
    case.commit(_boundary(case), "signatures", b"[]")


@tamper("boundary-unsigned", "one leader signed a first boundary that asks for two")
def boundary_signed_by_one_of_two(case: Case) -> None:
    position = case.find("boundary.loaded")
    made = signatures(case.payload(position, "file"), "boundary@remit", PEOPLE["lena"])
    case.commit(position, "signatures", made)


@tamper("boundary-unsigned", "one leader signed a first boundary twice")
def boundary_signed_twice_by_one(case: Case) -> None:
    position = case.find("boundary.loaded")
    made = signatures(case.payload(position, "file"), "boundary@remit", PEOPLE["lena"], PEOPLE["lena"])
    case.commit(position, "signatures", made)


@tamper("boundary-unsigned", "the record of the boundary commits to no signatures")
def boundary_without_signatures(case: Case) -> None:
    case.uncommit(_boundary(case), "signatures")


@tamper("boundary-unsigned", "the record of the boundary commits to nothing")
def boundary_without_file(case: Case) -> None:
    case.uncommit(_boundary(case), "file", "signatures")


@tamper("boundary-unsigned", "an older boundary comes back")
def boundary_of_an_older_version(case: Case) -> None:
    record = case.copy_of(case.find("boundary.loaded"))
    case.insert(_boundary(case) + 1, record)


@tamper("roster-unsigned", "nobody signed the roster")
def roster_signed_by_nobody(case: Case) -> None:
    case.commit(case.find("roster.loaded"), "signatures", b"[]")


@tamper("roster-unsigned", "a leader who is new on the roster signed it")
def roster_signed_by_a_newcomer(case: Case) -> None:
    position = case.find("roster.loaded")
    case.commit(position, "signatures", signatures(case.payload(position, "file"), "roster@remit", NEWCOMER))


@tamper("roster-unsigned", "an approver signed the roster")
def roster_signed_by_no_leader(case: Case) -> None:
    position = case.find("roster.loaded")
    case.commit(position, "signatures", signatures(case.payload(position, "file"), "roster@remit", PEOPLE["ann"]))


@tamper("roster-unsigned", "the record of the roster commits to no signatures")
def roster_without_signatures(case: Case) -> None:
    case.uncommit(case.find("roster.loaded"), "signatures")


@tamper("roster-unsigned", "the roster has somebody more than the leader signed")
def roster_altered(case: Case) -> None:
    position = case.find("roster.loaded")
    file = roster_file(case.at(0)["home"], 2, (*PEOPLE.values(), NEWCOMER, MALLORY))
    case.commit(position, "file", file)
    case.at(position)["digest"] = sha256(file)


def roster_of(name: str, says: str, version: int, home: Callable[[Case], str]) -> None:
    def change(case: Case) -> None:
        position = case.find("roster.loaded")
        file = roster_file(home(case), version, (*PEOPLE.values(), NEWCOMER))
        case.commit(position, "file", file)
        case.commit(position, "signatures", signatures(file, "roster@remit", PEOPLE["lena"]))
        case.at(position).update(digest=sha256(file), version=version)

    change.__name__ = name
    tamper("roster-unsigned", says)(change)


roster_of("roster_of_the_same_version", "the roster's version is not higher", 1, lambda case: str(case.at(0)["home"]))
roster_of("roster_of_another_home", "the roster is another home's", 2, lambda case: "home_aaaaaaaaaaaaaaaa")


# --- commands ---------------------------------------------------------------------------------------------------------


def _command(case: Case) -> int:
    return case.find("statement", command="run.open", stage="accepted")


@tamper("statement-replayed", "a command's nonce is accepted a second time")
def command_replayed(case: Case) -> None:
    position = _command(case)
    record = case.copy_of(position)
    record.fields["payloads"] = {f"again_{name}": each for name, each in record.fields["payloads"].items()}
    record.payloads = {f"again_{name}": each for name, each in record.payloads.items()}
    case.insert(position + 3, record)


@tamper("bad-statement", "somebody else signs a command in a person's name")
def command_forged(case: Case) -> None:
    case.sign(_command(case), MALLORY)


@tamper("bad-statement", "a command is for another home")
def command_for_another_home(case: Case) -> None:
    case.sign(_command(case), PEOPLE["oz"], home="home_aaaaaaaaaaaaaaaa")


@tamper("bad-statement", "somebody commands who has no role for it")
def command_without_a_role(case: Case) -> None:
    position = _command(case)
    case.sign(position, PEOPLE["oz"], command="reload")
    case.agree(case.at(position)["nonce"], command="reload")


@tamper("bad-statement", "a command had expired")
def command_expired(case: Case) -> None:
    at = case.at(_command(case))["at"]
    case.sign(_command(case), PEOPLE["oz"], issued=at - 2 * HOUR, expires=at - HOUR)


@tamper("bad-statement", "a command is signed as an approval")
def command_in_another_namespace(case: Case) -> None:
    case.sign(_command(case), PEOPLE["oz"], "approval@remit")


@tamper("bad-statement", "the record names another command than was signed")
def command_renamed(case: Case) -> None:
    case.agree(case.at(_command(case))["nonce"], command="resume")


@tamper("bad-statement", "an accepted command commits to no statement")
def command_without_statement(case: Case) -> None:
    case.uncommit(_command(case), "statement")


@tamper("bad-statement", "a command is carried out that was never accepted")
def command_never_accepted(case: Case) -> None:
    case.remove(_command(case))


# --- records that only a person's command brings about ----------------------------------------------------------------


def without_order(name: str, command: str, kind: str, **fields: Any) -> None:
    """Both records of a command are gone, and what it brought about is not."""

    def change(case: Case) -> None:
        nonce = max(
            at
            for at, each in enumerate(case.records[: case.find(kind, **fields)])
            if (each.fields["kind"], each.fields.get("command")) == ("statement", command)
        )
        gone = case.at(nonce)["nonce"]
        case.records = [each for each in case.records if each.fields.get("nonce") != gone]

    change.__name__ = name
    tamper("bad-statement", f"`{kind}`, and nobody ordered it")(change)


without_order("run_that_nobody_opened", "run.open", "run.opened")
without_order("resume_that_nobody_ordered", "resume", "resume")
without_order("settled_by_nobodys_word", "settle", "settled", hand=True)


@tamper("bad-statement", "a run is opened in the name of somebody who ordered nothing")
def run_opened_by_another(case: Case) -> None:
    case.at(case.find("run.opened"))["by"] = case.pseudonym("lena")


@tamper("bad-statement", "one command to open a run opens two")
def two_runs_of_one_order(case: Case) -> None:
    position = case.find("run.opened")
    record = case.copy_of(position)
    record.fields |= {"run": "run_aaaaaaaaaaaaaaaa"}
    case.insert(position + 1, record)


# --- undoing by a person's order --------------------------------------------------------------------------------------


def _order_to_undo(case: Case) -> int:
    return case.find("statement", command="undo", stage="accepted")


def _undoing(case: Case) -> int:
    """Where the proposal that undoes an action stands."""
    return next(at for at, each in enumerate(case.records) if each.fields.get("undoes"))


@tamper("not-approved", "an action is undone, and nobody ordered it")
def undo_that_nobody_ordered(case: Case) -> None:
    nonce = case.at(_order_to_undo(case))["nonce"]
    case.records = [each for each in case.records if each.fields.get("nonce") != nonce]


@tamper("not-approved", "an action is undone in the name of somebody who ordered nothing")
def undo_by_another(case: Case) -> None:
    undoing = case.at(_undoing(case))["action"]
    case.at(case.about(undoing, "intent"))["approvers"] = [case.pseudonym("ann")]


@tamper("not-approved", "the order to undo is about another action")
def undo_of_another_action(case: Case) -> None:
    parameters = {"action": case.action(*READ), "reason": "a false alarm"}
    case.sign(_order_to_undo(case), PEOPLE["olga"], parameters=parameters)


@tamper("not-approved", "the order to undo is older than a day")
def undo_a_day_later(case: Case) -> None:
    for record in case.records[_undoing(case) :]:
        record.fields["at"] += 25 * HOUR


@tamper("not-approved", "what is no undo passes as one that was ordered")
def change_on_an_order_to_undo(case: Case) -> None:
    case.at(_undoing(case))["undoes"] = ""


@tamper("not-approved", "one order to undo is good for two")
def undone_twice(case: Case) -> None:
    undoing = case.at(_undoing(case))["action"]
    last = case.about(undoing, "outcome")
    for kind in ("outcome", "intent", "proposal"):
        record = case.copy_of(case.about(undoing, kind))
        record.fields |= {"action": "act_aaaaaaaaaaaaaaaa"}
        record.fields.pop("payloads", None)
        record.payloads = {}
        case.insert(last + 1, record)


@tamper("bad-statement", "somebody orders an undo who has no role for it")
def undo_without_a_role(case: Case) -> None:
    case.sign(_order_to_undo(case), PEOPLE["oz"], person="oz")
    case.agree(case.at(_order_to_undo(case))["nonce"], person=case.pseudonym("oz"))


# --- verdicts that a person agrees to ---------------------------------------------------------------------------------


def _agreed(case: Case) -> int:
    return next(
        at for at, each in enumerate(case.records) if each.fields["kind"] == "verdict" and "action" in each.fields
    )


@tamper("no-proposal", "a verdict is on record before its action has an intent")
def verdict_before_its_intent(case: Case) -> None:
    position = _agreed(case)
    record = case.remove(position)
    case.insert(case.about(record.fields["action"], "vote"), record)


@tamper("no-proposal", "a verdict names an action that is none to conclude")
def verdict_of_another_action(case: Case) -> None:
    case.at(_agreed(case))["action"] = case.action(*READ)


@tamper("no-proposal", "one yes is good for two verdicts")
def verdict_twice(case: Case) -> None:
    position = _agreed(case)
    record = case.copy_of(position)
    record.fields.pop("payloads", None)
    record.payloads = {}
    case.insert(position + 1, record)


@tamper("outcome-without-intent", "a verdict that a person agreed to is not on record")
def verdict_suppressed(case: Case) -> None:
    case.remove(_agreed(case))


# --- how the home and its log began -----------------------------------------------------------------------------------


def _first_roster(case: Case, file: bytes) -> None:
    case.commit(0, "file", file)


@tamper("roster-unsigned", "the first roster's file is another than the record names")
def first_roster_replaced(case: Case) -> None:
    _first_roster(case, roster_file(case.at(0)["home"], 1, (*PEOPLE.values(), MALLORY)))


@tamper("boundary-unsigned", "the first roster has other leaders than those who signed the boundary")
def first_roster_of_other_leaders(case: Case) -> None:
    file = roster_file(case.at(0)["home"], 1, (*(each for each in PEOPLE.values() if each.name != "lena"), MALLORY))
    _first_roster(case, file)
    case.at(0)["roster"] = sha256(file)


@tamper("roster-unsigned", "the first roster is another home's")
def first_roster_of_another_home(case: Case) -> None:
    file = roster_file("home_aaaaaaaaaaaaaaaa", 1, tuple(PEOPLE.values()))
    _first_roster(case, file)
    case.at(0)["roster"] = sha256(file)


@tamper("roster-unsigned", "the first record commits to no roster")
def first_roster_without_file(case: Case) -> None:
    case.uncommit(0, "file")


def continued(case: Case, before: str, begun: str) -> int:
    """Put the record in that another log was begun, by a person's command. Returns its position."""
    position = case.find("run.opened")
    origin = f"remit/{case.at(0)['home']}"
    fields = {"v": 1, "kind": "log.continued", "by": case.pseudonym("oz"), "size": 90, "root": "0" * 64}
    case.insert(position, Record(fields | {"before": origin + before, "log": f"{origin}{begun}+00000000+AQ=="}))
    return position


@tamper("bad-start", "the first log of a home says that it follows another")
def first_log_continued(case: Case) -> None:
    continued(case, "", "/2")


def origin_of(case: Case, ending: str) -> None:
    case.origin += ending
    case.key = NoteKey.named(case.origin)


@tamper("bad-start", "a log follows another, and does not say so")
def log_continued_in_silence(case: Case) -> None:
    origin_of(case, "/2")


@tamper("bad-start", "the log is another than was begun last")
def log_of_another_number(case: Case) -> None:
    origin_of(case, "/3")
    continued(case, "", "/2")


@tamper("bad-start", "a log follows itself")
def log_that_follows_itself(case: Case) -> None:
    origin_of(case, "/2")
    continued(case, "/2", "/2")


@tamper("bad-statement", "another log was begun, and nobody ordered it")
def log_continued_by_nobody(case: Case) -> None:
    origin_of(case, "/2")
    continued(case, "", "/2")


@tamper("bad-signature", "of two lines of the log's keys one does not verify")
def rotation_with_a_bad_line(case: Case) -> None:
    other = NoteKey.named(case.origin, word="new")
    case.keys = [case.key, other]

    def change(data: bytes) -> bytes:
        text = data.decode().partition("\n\n")[0] + "\n"
        return data + other.line(text.replace("remit/", "other/")).encode()

    edit(case, "checkpoint", change)


# --- the records themselves -------------------------------------------------------------------------------------------


def spelled(name: str, says: str, change: Callable[[bytes], bytes], word: str = "bad-record") -> None:
    def apply(case: Case) -> None:
        position = case.find("alert")
        case.raw[position] = change(case.records[position].data)

    apply.__name__ = name
    tamper(word, says)(apply)


spelled("record_with_a_key_twice", "a key is there twice", lambda data: data.replace(b'"v":1', b'"v":1,"v":1'))
spelled("record_with_unsorted_keys", "the keys are not sorted", lambda data: b'{"v":1,' + data[1:-7] + b"}")
spelled("record_with_a_fraction", "a number is a fraction", lambda data: data.replace(b'"v":1', b'"v":1.0'))
spelled("record_with_an_exponent", "a number has an exponent", lambda data: data.replace(b'"v":1', b'"v":1e0'))
spelled("record_with_a_space", "a space is between tokens", lambda data: data.replace(b'"v":1', b'"v": 1'))
spelled("record_of_unknown_kind", "the kind is unknown", lambda data: data.replace(b'"alert"', b'"allert"'))
spelled("record_of_another_version", "the version is unknown", lambda data: data.replace(b'"v":1', b'"v":2'))
spelled("record_that_is_no_text", "the bytes are not UTF-8", lambda data: data.replace(b'"alert"', b'"al\xffrt"'))
spelled("record_that_is_a_list", "the entry is a list", lambda data: b"[" + data + b"]")
spelled("record_that_is_cut_off", "the entry ends within its text", lambda data: data[:-3])
spelled("record_without_time", "the time is missing", lambda data: data.replace(b'"at":', b'"au":'))


@tamper("bad-record", "a vote does not say who voted")
def vote_of_nobody(case: Case) -> None:
    del case.at(vote_of(case))["person"]


@tamper("bad-start", "the first record is gone")
def first_record_removed(case: Case) -> None:
    case.remove(0)


@tamper("bad-start", "the home is made a second time")
def home_created_twice(case: Case) -> None:
    case.insert(20, case.copy_of(0))


@tamper("bad-start", "the first record makes another home")
def another_home_created(case: Case) -> None:
    case.at(0)["home"] = "home_aaaaaaaaaaaaaaaa"


@tamper("bad-time", "time goes back by more than 5 s")
def time_goes_back(case: Case) -> None:
    position = case.find("proposal", -1)
    case.insert(position, Record({"v": 1, "kind": "clock.jump", "why": "none"}))
    case.at(position)["at"] -= 6 * SECOND
