"""Signed commands: who may, for which home, when, and only once."""

from __future__ import annotations

import json

import pytest

from remit.doors.control.signed import ROLES
from remit.gates.stop import Latch
from remit.model.errors import Misuse, NotVerified, Refusal
from remit.model.people import Role
from remit.model.signatures import Namespace, SignatureError, sign
from remit.model.statements import StatementRefused
from remit.model.words import MINUTE, ScopeKind, StopMode
from remit.offline import now
from tests.doors.control.conftest import Desk
from tests.support.gateway import sealed, statement

OPEN = {"agent": "triage", "case": "CASE-1"}


async def test_a_run_is_opened_by_a_signed_statement_and_the_token_is_in_no_list(desk: Desk) -> None:
    opened = await desk.signed("run.open", **OPEN)
    assert str(opened["token"]).startswith("remit_")
    listed = json.dumps(await desk.ask("run.list", all=True))
    assert str(opened["run"]) in listed
    assert str(opened["token"]) not in listed
    assert desk.node.runs.authenticate(str(opened["token"])).opened_by == "operator"


@pytest.mark.promise("P4")
async def test_a_statement_counts_once_and_its_replay_opens_nothing(desk: Desk) -> None:
    sent = statement(desk.practice, "run.open", "operator", OPEN)
    await desk.ask("signed", **sent)
    with pytest.raises(Refusal, match="used before") as refused:
        await desk.ask("signed", **sent)
    assert [clause.id for clause in refused.value.clauses] == ["control.replay"]
    assert len(desk.node.store.reads.runs()) == 1


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"home": "home_elsewhere"}, "home"),
        ({"issued": now() - 10 * MINUTE, "expires": now() - 5 * MINUTE}, "expired"),
        ({"issued": now() + 10 * MINUTE, "expires": now() + 20 * MINUTE}, "early"),
        ({"expires": now() + 100 * 24 * 60 * MINUTE}, "span"),
    ],
)
async def test_a_statement_for_another_home_or_time_is_refused(
    desk: Desk, changes: dict[str, object], why: str
) -> None:
    with pytest.raises(StatementRefused) as refused:
        await desk.ask("signed", **statement(desk.practice, "run.open", "operator", OPEN, **changes))
    assert refused.value.why == why
    assert desk.node.store.reads.runs() == []


async def test_nobody_signs_in_the_name_of_somebody_else(desk: Desk) -> None:
    mine = desk.practice.key("operator")
    with pytest.raises(StatementRefused) as refused:
        await desk.ask("signed", **statement(desk.practice, "run.open", "leader", OPEN, key=mine))
    assert refused.value.why == "person"


async def test_a_signature_over_other_bytes_or_by_a_stranger_is_refused(desk: Desk) -> None:
    sent = statement(desk.practice, "run.open", "operator", OPEN)
    other = statement(desk.practice, "run.open", "operator", OPEN)
    with pytest.raises(SignatureError):
        await desk.ask("signed", statement=sent["statement"], signature=other["signature"])
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    strangers = statement(desk.practice, "run.open", "operator", OPEN, key=Ed25519PrivateKey.generate())
    with pytest.raises(SignatureError, match="not one of"):
        await desk.ask("signed", **strangers)


async def test_a_signature_made_for_approvals_commands_nothing(desk: Desk) -> None:
    import base64

    data = base64.b64decode(statement(desk.practice, "run.open", "operator", OPEN)["statement"])
    made = sign(desk.practice.key("operator"), data, Namespace.APPROVAL)
    with pytest.raises(SignatureError, match="approval@remit"):
        await desk.ask("signed", **sealed(data, made))


@pytest.mark.parametrize("command", sorted(ROLES))
async def test_nobody_without_the_role_may_command_and_the_refusal_names_the_roles(desk: Desk, command: str) -> None:
    person = "operator" if Role.AUDITOR in ROLES[command] else "auditor"
    with pytest.raises(Refusal, match="needs one of") as refused:
        await desk.signed(command, person=person)
    assert all(f"`{role}`" in refused.value.message for role in ROLES[command])
    assert "control.role" in [clause.id for clause in refused.value.clauses]
    assert not desk.practice.records("statement")


def test_the_auditor_may_only_order_an_erasure_and_every_command_can_be_signed_by_somebody() -> None:
    assert all(ROLES.values())
    assert [command for command, roles in ROLES.items() if Role.AUDITOR in roles] == ["erase"]


async def test_an_accepted_statement_is_on_record_even_where_the_command_then_fails(desk: Desk) -> None:
    with pytest.raises(Misuse, match="knows no agent"):
        await desk.signed("run.open", agent="nobody", case="CASE-1")
    records = desk.practice.records("statement")
    assert [(each["command"], each["person"], each["stage"]) for each in records] == [
        ("run.open", desk.node.names.person("operator"), "accepted")
    ]


async def test_what_a_statement_did_is_on_record_with_it(desk: Desk) -> None:
    await desk.signed("run.open", **OPEN)
    records = desk.practice.records("statement", "run.opened")
    assert [each.get("stage", each["kind"]) for each in records] == ["accepted", "run.opened", "carried-out"]
    assert records[0]["payloads"] == records[2]["payloads"] != {}


async def test_an_unknown_command_or_method_is_said_to_be_unknown(desk: Desk) -> None:
    with pytest.raises(Misuse, match="no signed command"):
        await desk.signed("boundary.widen")
    with pytest.raises(Misuse, match="there is no command"):
        await desk.ask("run.open", **OPEN)


@pytest.mark.parametrize("params", [{}, {"statement": "?", "signature": "?"}, {"statement": "", "signature": ""}])
async def test_a_command_without_statement_or_signature_is_refused(desk: Desk, params: dict[str, str]) -> None:
    with pytest.raises(Misuse):
        await desk.ask("signed", **params)


async def test_a_stop_needs_no_signature_and_a_resume_does(desk: Desk) -> None:
    told = desk.commands.stop({}, "somebody")
    assert (told["mode"], told["scope"], told["gateway"]) == ("cut", "everything", True)
    assert [order.by for order in desk.node.stops.current.orders] == ["somebody"]
    with pytest.raises(Misuse):
        await desk.ask("resume", stops=[], reason="fine")
    lifted = await desk.signed("resume", person="on-call", stops=[told["stop"]], reason="fine again")
    assert lifted["left"] == []
    assert desk.node.stops.current == Latch()


@pytest.mark.parametrize("params", [{"mode": "gently"}, {"scope": "agent"}, {"scope": "planet", "name": "x"}])
async def test_a_stop_that_is_unclear_cuts_at_least_what_was_asked(desk: Desk, params: dict[str, str]) -> None:
    desk.commands.stop(params, "somebody")
    (order,) = desk.node.stops.current.orders
    assert order.mode is StopMode.CUT
    assert order.scope.kind is ScopeKind.EVERYTHING


async def test_a_stop_of_a_target_by_its_alias_stops_the_target(desk: Desk) -> None:
    told = desk.commands.stop({"scope": "target", "name": "ws-014.corp.example"}, "somebody")
    assert told["name"] == "WS-014"
    assert told["note"] == ""


async def test_a_stop_of_something_unknown_holds_and_says_that_it_is_unknown(desk: Desk) -> None:
    told = desk.commands.stop({"scope": "agent", "name": "traige"}, "somebody")
    assert "no agent `traige`" in told["note"]
    assert desk.node.stops.current.orders[0].scope.name == "traige"


async def test_resuming_what_is_not_stopped_is_refused(desk: Desk) -> None:
    with pytest.raises(Misuse, match="no stop `stp_x`"):
        await desk.signed("resume", person="on-call", stops=["stp_x"], reason="fine")
    with pytest.raises(Misuse, match="`stops`"):
        await desk.signed("resume", person="on-call", stops=[1], reason="fine")
    with pytest.raises(Misuse, match="`reason`"):
        await desk.signed("resume", person="on-call", stops=[])


@pytest.mark.promise("P6")
async def test_a_blind_latch_is_mended_by_a_signed_command_and_then_resumed_by_another(desk: Desk) -> None:
    with pytest.raises(Refusal, match="nothing to mend"):
        await desk.signed("latch.mend", person="on-call", reason="why")
    (desk.practice.home / "state" / "latch").unlink()
    desk.node.stops.reread()
    with pytest.raises(Misuse, match="`reason`"):
        await desk.signed("latch.mend", person="on-call")
    with pytest.raises(Refusal, match="cannot be lifted"):
        await desk.signed("resume", person="on-call", stops=[], reason="fine")
    mended = await desk.signed("latch.mend", person="on-call", reason="the disk was replaced")
    assert mended["left"] == [mended["stop"]]
    (order,) = desk.node.stops.current.orders
    assert (order.mode, str(order.scope), order.by) == ("cut", "everything", "on-call")
    assert order.reason == "the latch was mended by on-call: the disk was replaced"
    kinds = desk.practice.records("statement", "latch.mended", "stop")
    assert [each.get("stage", each["kind"]) for each in kinds][-3:] == ["latch.mended", "stop", "carried-out"]
    lifted = await desk.signed("resume", person="on-call", stops=[], reason="nothing else was stopped")
    assert lifted["left"] == []


async def test_a_closed_run_carries_the_statement_that_closed_it(desk: Desk) -> None:
    opened = await desk.signed("run.open", **OPEN)
    await desk.signed("run.close", run=opened["run"])
    records = [each for each in desk.practice.records("statement", "run.closed") if each.get("command") != "run.open"]
    assert [each.get("stage", each["kind"]) for each in records] == ["accepted", "run.closed", "carried-out"]


async def test_a_closed_run_is_dead_at_once(desk: Desk) -> None:
    opened = await desk.signed("run.open", **OPEN)
    closed = await desk.signed("run.close", run=opened["run"])
    assert closed["state"] == "closed"
    with pytest.raises(Refusal):
        desk.node.runs.authenticate(str(opened["token"]))
    assert (await desk.ask("run.list"))["runs"] == []


@pytest.mark.parametrize(
    ("command", "parameters"),
    [
        ("settle", {"action": "act_none", "applied": True}),
        ("settle", {"action": "act_none", "applied": "yes"}),
        ("undo", {"action": "act_none", "reason": "wrong host"}),
        ("run.close", {"run": "run_none"}),
        ("tools.accept", {"connector": "edr", "tools": {"isolate_host": "0" * 64}}),
        ("inventory.accept", {"digest": "0" * 64}),
        ("run.open", {"agent": "triage", "case": "CASE-1", "seconds": "long"}),
    ],
)
async def test_a_command_about_what_is_not_there_says_so(
    desk: Desk, command: str, parameters: dict[str, object]
) -> None:
    person = "on-call" if command in ("settle", "undo") else "operator"
    with pytest.raises(Misuse):
        await desk.signed(command, person=person, **parameters)


async def test_a_reload_reports_what_is_in_force_and_a_changed_boundary_is_not_loaded_unsigned(desk: Desk) -> None:
    report = await desk.signed("reload")
    assert (report["version"], report["signers"]) == (1, ("leader",))
    path = desk.practice.home / "boundary.toml"
    path.write_text(path.read_text().replace("hold_after = 2", "hold_after = 9"))
    with pytest.raises(NotVerified):
        await desk.signed("reload")
    assert (await desk.ask("boundary"))["digest"] == report["digest"]


async def test_the_clock_is_forgiven_by_a_signed_command_alone(desk: Desk) -> None:
    answer = await desk.signed("clock", person="on-call")
    assert answer == {"was": "", "by": "on-call", "lifted": []}
    assert "clock" in [each["command"] for each in desk.practice.records("statement")]


async def test_the_status_tells_what_is_in_force_and_what_is_stopped(desk: Desk) -> None:
    desk.commands.stop({"mode": "hold", "reason": "drill"}, "somebody")
    status = await desk.ask("status")
    assert status["gateway"] is True
    assert status["practice"] is True
    assert status["boundary"]["signers"] == ["leader"]  # type: ignore[index]
    assert status["stops"][0]["reason"] == "drill"  # type: ignore[index]
    assert status["waiting"] == status["unsettled"] == status["connectors"] == []
    json.dumps(status)
