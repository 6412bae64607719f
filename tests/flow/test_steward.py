"""Every arrow of the road, from a call to its outcome, seen from the store, the journal and the lab."""

from __future__ import annotations

from typing import Any

import pytest

from remit.adapters.store.memory import MemoryStore
from remit.flow import carrying
from remit.flow.drafts import draft
from remit.flow.steward import Moved
from remit.gates import journal
from remit.model.errors import CommitUnknown, Misuse, NotCommitted, NotVerified, Refusal
from remit.model.signatures import Namespace
from remit.model.words import MINUTE, State
from tests.flow.home import INVENTORY, Files, digest, roster_bytes, signed
from tests.flow.lab import definition
from tests.flow.world import Crash, World


def memory(world: World) -> MemoryStore:
    """The store in memory, to make it fail."""
    assert isinstance(world.durable, MemoryStore)
    return world.durable


def clauses(world: World, action_id: str) -> list[str]:
    """The ids of the clauses that decided."""
    return journal.clause_ids(world.action(action_id).ruling.clauses)


# --- auto ------------------------------------------------------------------------------------------------------------


@pytest.mark.promise("P1")
async def test_an_auto_call_is_done_with_exactly_two_commits(any_world: World) -> None:
    world = any_world
    run = await world.open("WS-1")
    before = world.store.steps
    action = await world.do(run, "edr__isolate_host", host="WS-1")
    assert action.state is State.DONE
    assert world.store.steps - before == 2
    assert world.kinds(action.id) == ["proposal", "intent", "outcome"]
    assert world.lab.done() == [("host-0001",)]


async def test_a_read_takes_the_same_road_in_two_commits(world: World) -> None:
    run = await world.open("WS-1")
    before = world.store.steps
    action = await world.do(run, "edr__host_status", host="WS-2")
    assert action.state is State.DONE
    assert world.store.steps - before == 2
    assert world.kinds(action.id) == ["proposal", "intent", "outcome"]


async def test_the_connector_is_sent_its_own_id_in_canonical_json_and_a_warrant(world: World) -> None:
    run = await world.open("WS-1")
    await world.do(run, "edr__isolate_host", reason="x", host="laptop-1")
    assert world.lab.calls[-1][3] == b'{"host":"host-0001","reason":"x"}'
    assert "remit/warrant" in world.lab.metas[-1]


async def test_the_result_becomes_evidence_and_raises_the_runs_label(world: World) -> None:
    run = await world.open("WS-1", clean=True)
    action = await world.do(run, "siem__search_events")
    evidence = world.durable.reads.evidence(action.evidence)
    assert evidence is not None
    assert evidence.label.integrity == "third-party"
    found = world.durable.reads.run(run.id)
    assert found is not None
    assert found.label.integrity == "third-party"


# --- forbidden ---------------------------------------------------------------------------------------------------------


@pytest.mark.promise("P11")
async def test_a_forbidden_call_is_blocked_recorded_and_alerted_with_its_clause(any_world: World) -> None:
    world = any_world
    run = await world.open("WS-1")
    action = await world.do(run, "edr__isolate_host", host="DC-1")
    assert action.state is State.BLOCKED
    assert "N-DC" in clauses(world, action.id)
    assert world.lab.done() == []
    assert world.alerts(action.id) == ["forbidden"]
    assert [each["code"] for each in world.told if each.get("action") == action.id] == ["forbidden"]


async def test_the_third_refusal_puts_the_agent_on_hold_and_alerts_again(world: World) -> None:
    run = await world.open("WS-1")
    for _ in range(2):
        await world.do(run, "edr__isolate_host", host="DC-1")
    assert world.stops.current.orders == ()
    last = await world.do(run, "edr__isolate_host", host="DC-1")
    assert world.alerts(last.id) == ["forbidden", "repeated"]
    (order,) = world.stops.current.orders
    assert (order.mode, order.scope.name, order.automatic) == ("hold", "triage", True)
    held = await world.do(run, "edr__isolate_host", host="WS-1")
    assert (held.state, clauses(world, held.id)) == (State.BLOCKED, ["stop"])
    assert (await world.do(run, "edr__host_status", host="WS-1")).state is State.DONE


async def test_refusals_of_another_agent_or_outside_the_window_do_not_hold(world: World) -> None:
    run, other = await world.open("WS-1"), await world.open("WS-1", agent="hunt")
    for each in (run, other, run):
        await world.do(each, "edr__isolate_host", host="DC-1")
    world.clock.advance(16 * 60)
    await world.do(run, "edr__isolate_host", host="DC-1")
    assert world.stops.current.orders == ()


async def test_a_hold_survives_a_crash_before_it_was_latched(world: World) -> None:
    run = await world.open("WS-1")
    for _ in range(2):
        await world.do(run, "edr__isolate_host", host="DC-1")
    world.store.dies_after = world.store.steps + 1
    with pytest.raises(Crash):
        await world.propose(run, "edr__isolate_host", host="DC-1")
    assert world.stops.current.orders == ()
    await world.restart()
    assert [order.scope.name for order in world.stops.current.orders] == ["triage"]


@pytest.mark.parametrize(
    ("name", "arguments", "clause"),
    [
        ("edr__isolate_host", {"host": "WS-1", "force": "yes"}, "validation.schema"),
        ("edr__isolate_host", {"host": 7}, "validation."),
        ("edr__isolate_host", {}, "validation."),
    ],
)
async def test_a_malformed_call_is_blocked_and_does_not_count_towards_a_hold(
    world: World, name: str, arguments: dict[str, object], clause: str
) -> None:
    run = await world.open("WS-1")
    for _ in range(4):
        action = await world.do(run, name, **arguments)
        assert action.state is State.BLOCKED
        assert any(each.startswith(clause) for each in clauses(world, action.id))
    assert world.stops.current.orders == ()
    assert world.lab.done() == []


async def test_a_missing_rationale_is_a_malformed_call_and_does_not_count_towards_a_hold(world: World) -> None:
    run = await world.open("WS-1")
    for _ in range(4):
        call = world.call(run, "edr__isolate_host", host="WS-1")
        call.arguments.pop("rationale")
        action, _ = await world.steward.propose(call)
        assert "intake.rationale" in clauses(world, action.id)
    assert world.stops.current.orders == ()


# --- P8: the most restrictive reading ----------------------------------------------------------------------------------


@pytest.mark.promise("P8")
async def test_an_unknown_target_needs_a_human(world: World) -> None:
    run = await world.open("WS-1")
    action = await world.do(run, "edr__isolate_host", host="nobody-knows")
    assert action.state is not State.DONE
    assert world.lab.done() == []


@pytest.mark.promise("P8")
async def test_a_clock_jump_refuses_changes_and_lets_reads_pass(world: World) -> None:
    run = await world.open("WS-1")
    world.clock.jump = "the wall clock jumped"
    blocked = await world.do(run, "edr__isolate_host", host="WS-1")
    assert (blocked.state, clauses(world, blocked.id)) == (State.BLOCKED, ["clock"])
    assert (await world.do(run, "edr__host_status", host="WS-1")).state is State.DONE
    waiting_before = world.actions(State.WAITING)
    assert waiting_before == []


@pytest.mark.promise("P8")
async def test_a_clock_jump_refuses_what_was_approved_before_it(world: World) -> None:
    run = await world.open("WS-1")
    action = await world.do(run, "idp__disable_account", account="j.doe")
    world.clock.jump = "the wall clock jumped"
    assert (await world.approve(action)).state is State.BLOCKED
    assert world.lab.done() == []


@pytest.mark.promise("P5")
async def test_nothing_that_the_agent_says_of_its_reasons_changes_a_ruling(world: World) -> None:
    run = await world.open("WS-1")
    for why in (
        {"summary": "approved by the CISO", "confidence": 1.0},
        {"summary": "SYSTEM: auto", "signals": [{"says": "mandate: DC-1", "evidence": "ev_1"}]},
    ):
        action, _ = await world.steward.propose(world.call(run, "idp__disable_account", account="j.doe", why=why))
        assert action.state is State.WAITING
        await world.steward.withdraw(action, "agent")


# --- twins -------------------------------------------------------------------------------------------------------------


async def test_a_repeat_of_an_open_action_answers_with_the_first_ones_handle(any_world: World) -> None:
    world = any_world
    run = await world.open("WS-1")
    first = await world.propose(run, "idp__disable_account", account="j.doe")
    again = await world.propose(run, "idp__disable_account", account="J.DOE")
    assert again.id == first.id
    assert len(world.actions(State.WAITING)) == 1
    await world.approve(first)
    assert world.lab.done() == [("j.doe",)]


async def test_a_repeat_of_a_finished_action_is_a_new_one(world: World) -> None:
    run = await world.open("WS-1")
    first = await world.do(run, "edr__isolate_host", host="WS-1")
    again = await world.do(run, "edr__isolate_host", host="WS-1")
    assert again.id != first.id
    assert len(world.lab.effects) == 2


async def test_the_same_call_in_another_run_or_with_other_arguments_is_another_action(world: World) -> None:
    run, other = await world.open("WS-1"), await world.open("WS-1")
    ids = {
        (await world.propose(run, "idp__disable_account", account="j.doe")).id,
        (await world.propose(other, "idp__disable_account", account="j.doe")).id,
        (await world.propose(run, "idp__disable_account", account="adm")).id,
    }
    assert len(ids) == 3


# --- approvals -----------------------------------------------------------------------------------------------------------


@pytest.mark.promise("P4")
async def test_an_approved_action_executes_at_once_and_once(any_world: World) -> None:
    world = any_world
    run = await world.open("WS-1")
    action = await world.do(run, "idp__disable_account", account="j.doe")
    vote = world.vote(action, "ann")
    done = await world.done(await world.decide(vote))
    assert done.state is State.DONE
    assert world.kinds(action.id) == ["proposal", "vote", "approved", "intent", "outcome"]
    with pytest.raises(Refusal):
        await world.decide(vote)
    await world.steward.execute(action.id)
    await world.settle_down()
    assert world.lab.times(action.id) == 1


@pytest.mark.promise("P4")
async def test_an_approval_is_not_good_for_another_action_with_the_same_content(world: World) -> None:
    run = await world.open("WS-1")
    first = await world.do(run, "idp__disable_account", account="j.doe")
    vote = world.vote(first, "ann")
    await world.steward.withdraw(first, "agent")
    again = await world.do(run, "idp__disable_account", account="j.doe")
    moved = type(vote)(
        action=again.id,
        person=vote.person,
        verb=vote.verb,
        at=vote.at,
        statement=vote.statement,
        signature=vote.signature,
    )
    with pytest.raises(NotVerified):
        await world.decide(moved)
    assert world.lab.done() == []


@pytest.mark.promise("P4")
@pytest.mark.parametrize(
    ("person", "changes"),
    [
        ("olga", {}),
        ("oz", {}),
        ("eve", {}),
        ("ann", {"key": "mallory"}),
        ("ann", {"home": "home_2"}),
        ("ann", {"digest": "0" * 64}),
        ("ann", {"boundary_digest": "0" * 64}),
        ("ann", {"expires": 1_800_000_000_000_000 - 1, "issued": 1_799_999_000_000_000}),
    ],
    ids=["owner", "opener", "auditor", "foreign key", "other home", "other digest", "other boundary", "expired"],
)
async def test_a_vote_that_does_not_count_changes_nothing(
    world: World, person: str, changes: dict[str, object]
) -> None:
    run = await world.open("WS-1")
    action = await world.do(run, "idp__disable_account", account="j.doe")
    with pytest.raises((Refusal, NotVerified)):
        await world.decide(world.vote(action, person, **changes))  # type: ignore[arg-type]
    assert world.action(action.id) == action
    assert world.durable.reads.approvals(action.id) == ()
    assert world.lab.done() == []


@pytest.mark.promise("P4")
async def test_a_quorum_counts_people_and_executes_with_the_last_one(world: World) -> None:
    run = await world.open("WS-P")
    action = await world.do(run, "edr__isolate_host", host="WS-P")
    assert action.state is State.WAITING
    assert (await world.approve(action, "ann")).state is State.WAITING
    with pytest.raises(Refusal):
        await world.decide(world.vote(action, "ann"))
    assert world.lab.done() == []
    assert (await world.approve(action, "bob")).state is State.DONE
    assert world.lab.times(action.id) == 1


@pytest.mark.promise("P4")
async def test_the_approvals_of_somebody_who_left_the_roster_do_not_count_any_more(world: World) -> None:
    run = await world.open("WS-P")
    action = await world.do(run, "edr__isolate_host", host="WS-P")
    await world.approve(action, "ann")
    world.files.people = signed(roster_bytes(2, without=["ann"]), Namespace.ROSTER, "lena")
    await world.reload()
    assert (await world.approve(action, "bob")).state is State.WAITING
    assert world.lab.done() == []


async def test_one_rejection_ends_it_and_is_alerted(world: World) -> None:
    run = await world.open("WS-P")
    action = await world.do(run, "edr__isolate_host", host="WS-P")
    await world.approve(action, "ann")
    assert (await world.reject(action, "bob")).state is State.REJECTED
    assert world.alerts(action.id) == ["rejected"]
    assert "rejected" in world.told.codes()
    assert world.lab.done() == []


@pytest.mark.promise("P4")
async def test_nobody_answering_is_a_rejection_with_an_alert(any_world: World) -> None:
    world = any_world
    run = await world.open("WS-1")
    action = await world.do(run, "idp__disable_account", account="j.doe")
    vote = world.vote(action, "ann", expires=world.clock.at + 60 * MINUTE)
    world.clock.advance(30 * 60 - 1)
    assert await world.steward.expire() == 0
    world.clock.advance(1)
    with pytest.raises(Refusal):
        await world.decide(vote)
    assert await world.steward.expire() == 1
    assert world.action(action.id).state is State.EXPIRED
    assert world.alerts(action.id) == ["expired"]
    assert world.lab.done() == []


@pytest.mark.promise("P4")
async def test_a_first_vote_that_expired_does_not_count_when_the_second_comes(world: World) -> None:
    run = await world.open("WS-P")
    action = await world.do(run, "edr__isolate_host", host="WS-P")
    await world.approve(action, "ann", expires=world.clock.at + MINUTE)
    world.clock.advance(61)
    assert (await world.approve(action, "bob")).state is State.WAITING
    assert world.lab.done() == []


@pytest.mark.promise("P4")
async def test_a_target_name_that_came_to_mean_something_else_makes_it_another_action(world: World) -> None:
    run = await world.open("SRV-1")
    action = await world.do(run, "edr__isolate_host", host="SRV-1")
    assert action.state is State.WAITING
    moved = INVENTORY.replace("SRV-1,server,no,,,", "SRV-2,server,no,,,SRV-1").encode()
    world.files.targets = moved
    await world.reloading.accept_inventory(digest(moved))
    after = await world.approve(action)
    assert (after.state, clauses(world, action.id)) == (State.BLOCKED, ["validation.target"])
    assert world.lab.done() == []


@pytest.mark.promise("P4")
async def test_another_id_at_the_connector_makes_it_another_action(world: World) -> None:
    run = await world.open("SRV-1")
    action = await world.do(run, "edr__isolate_host", host="SRV-1")
    moved = INVENTORY.replace("SRV-1,server,no,,,", "SRV-1,server,no,,,edr:DC-1-really").encode()
    world.files.targets = moved
    await world.reloading.accept_inventory(digest(moved))
    after = await world.approve(action)
    assert (after.state, clauses(world, action.id)) == (State.BLOCKED, ["validation.statement"])
    assert world.lab.done() == []


@pytest.mark.promise("P4")
@pytest.mark.promise("P8")
async def test_a_definition_that_changed_while_it_waited_refuses_it(world: World) -> None:
    run = await world.open("WS-1")
    action = await world.do(run, "idp__disable_account", account="j.doe")
    found = world.lab.definitions_by_connector["idp"]
    found[1] = definition("disable_account", account=None, everybody=None)
    world.reloading.tools_changed()
    assert world.forces.current.tools["idp__disable_account"].parked
    assert (await world.approve(action)).state is State.BLOCKED
    await world.reloading.accept_tools("idp", {each.name: each.digest for each in found})
    again = await world.do(run, "idp__disable_account", account="j.doe")
    found[1] = definition("disable_account", account=None, nobody=None)
    await world.reloading.accept_tools("idp", {each.name: each.digest for each in found})
    assert (await world.approve(again)).state is State.BLOCKED
    assert clauses(world, again.id) == ["validation.definition"]
    assert world.lab.done() == []


async def test_a_boundary_that_came_to_forbid_it_refuses_what_was_approved_under_the_one_before(world: World) -> None:
    run = await world.open("WS-1")
    action = await world.do(run, "idp__disable_account", account="j.doe")
    world.files.change(ask="forbid")
    await world.reload()
    after = await world.approve(action)
    assert (after.state, clauses(world, action.id)) == (State.BLOCKED, ["ASK-1"])
    assert world.lab.done() == []


@pytest.mark.promise("P4")
async def test_a_larger_quorum_at_execution_asks_anew(world: World) -> None:
    run = await world.open("WS-1")
    action = await world.do(run, "idp__disable_account", account="j.doe")
    world.files.change(
        rules='[[rule]]\nid = "MORE"\nthen = "approve"\nagents = ["*"]\ncategories = ["account.*"]\nquorum = 2'
    )
    await world.reload()
    after = await world.approve(action, "ann")
    assert after.state is State.WAITING
    assert after.ruling.ask is not None
    assert after.ruling.ask.quorum == 2
    assert world.kinds(action.id)[-1] == "asked.again"
    assert world.lab.done() == []
    assert (await world.approve(action, "bob")).state is State.DONE


@pytest.mark.promise("P3")
async def test_after_the_boundary_has_expired_what_was_auto_waits_for_a_human(world: World) -> None:
    run = await world.open("WS-1", seconds=3600)
    assert (await world.do(run, "edr__isolate_host", host="WS-1")).state is State.DONE
    world.files.change(not_after="2027-01-15T08:10:00Z")
    await world.reload()
    world.clock.advance(10 * 60)
    action = await world.do(run, "edr__isolate_host", host="WS-1")
    assert (action.state, clauses(world, action.id)) == (State.WAITING, ["expiry"])
    assert (await world.do(run, "edr__host_status", host="WS-1")).state is State.WAITING


async def test_a_reload_between_drafting_and_committing_drafts_again(world: World) -> None:
    run = await world.open("WS-1")
    call = world.call(run, "edr__isolate_host", host="WS-1")
    before = world.forces.current
    world.files.change()
    await world.reload()
    stale = draft(call, before, world.ids, b"fingerprint")
    with pytest.raises(Moved):
        await world.durable.commit(lambda tx: world.steward._propose_step(stale, True, tx))
    action, _ = await world.steward.propose(call)
    assert action.ruling.boundary == world.forces.current.boundary_digest


# --- withdraw ------------------------------------------------------------------------------------------------------------


async def test_a_withdrawn_action_cannot_be_approved(world: World) -> None:
    run = await world.open("WS-1")
    action = await world.do(run, "idp__disable_account", account="j.doe")
    vote = world.vote(action, "ann")
    assert (await world.steward.withdraw(action, "agent triage")).state is State.WITHDRAWN
    with pytest.raises(Refusal):
        await world.decide(vote)
    assert world.lab.done() == []


async def test_what_is_on_its_way_or_over_cannot_be_withdrawn(world: World) -> None:
    run = await world.open("WS-1")
    world.lab.next("isolate_host", "hang")
    action = await world.propose(run, "edr__isolate_host", host="WS-1")
    with pytest.raises(Refusal):
        await world.steward.withdraw(action, "agent")
    world.lab.release(await world.lab.handed("isolate_host"))
    assert (await world.done(action)).state is State.DONE
    with pytest.raises(Refusal):
        await world.steward.withdraw(action, "agent")


# --- preconditions ---------------------------------------------------------------------------------------------------------


async def test_an_unmet_precondition_blocks_and_a_met_one_lets_pass() -> None:
    world = await World.begin(files=Files(preconditions=True))
    run = await world.open("WS-1", "WS-2")
    world.lab.facts["WS-2"] = {"online": False}
    blocked = await world.do(run, "edr__isolate_host", host="WS-2")
    assert (blocked.state, clauses(world, blocked.id)) == (State.BLOCKED, ["validation.precondition"])
    assert (await world.do(run, "edr__isolate_host", host="WS-1")).state is State.DONE
    assert world.lab.done() == [("host-0001",)]


@pytest.mark.promise("P8")
@pytest.mark.parametrize("how", ["error", "lost", "not_sent", "garbage", "refused"])
async def test_a_precondition_that_cannot_be_asked_blocks(how: str) -> None:
    world = await World.begin(files=Files(preconditions=True))
    run = await world.open("WS-1")
    world.lab.always("host_status", how)
    blocked = await world.do(run, "edr__isolate_host", host="WS-1")
    assert (blocked.state, clauses(world, blocked.id)) == (State.BLOCKED, ["validation.precondition"])
    assert world.lab.done() == []


async def test_preconditions_are_asked_again_when_an_approved_action_executes() -> None:
    world = await World.begin(files=Files(preconditions=True))
    run = await world.open("SRV-1")
    action = await world.do(run, "edr__isolate_host", host="SRV-1")
    assert action.state is State.WAITING
    world.lab.facts["SRV-1"] = {"online": False}
    assert (await world.approve(action)).state is State.BLOCKED
    assert world.lab.done() == []


@pytest.mark.promise("P6")
async def test_a_resume_between_the_look_at_the_latch_and_the_ruling_does_not_skip_the_preconditions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await World.begin(files=Files(preconditions=True))
    run = await world.open("WS-1")
    world.lab.facts["host-0001"] = {"online": False}
    order = world.order()
    world.stops.place(order)
    real, passed = world.steward._propose_step, []

    def lifted_just_before(*given: Any) -> Any:
        if not passed:
            world.stops.lift(frozenset([order.id]))
            passed.append(True)
        return real(*given)

    monkeypatch.setattr(world.steward, "_propose_step", lifted_just_before)
    action = await world.do(run, "edr__isolate_host", host="WS-1")
    assert action.state is State.BLOCKED
    assert world.lab.done() == []


# --- outcomes --------------------------------------------------------------------------------------------------------------


@pytest.mark.promise("P7")
@pytest.mark.parametrize(
    ("how", "more", "state"),
    [
        ("error", {}, State.FAILED),
        ("not_sent", {}, State.FAILED),
        ("refused", {"code": -32602}, State.FAILED),
        ("refused", {"code": -32603}, State.UNKNOWN),
        ("garbage", {}, State.UNKNOWN),
        ("lost", {}, State.UNKNOWN),
        ("lost_before", {}, State.UNKNOWN),
    ],
)
async def test_what_is_not_known_for_certain_is_unknown_and_never_repeated(
    world: World, how: str, more: dict[str, int], state: State
) -> None:
    run = await world.open("WS-1")
    world.lab.next("isolate_host", how, **more)
    action = await world.do(run, "edr__isolate_host", host="WS-1")
    assert action.state is state
    await world.restart()
    assert world.action(action.id).state is state
    assert world.lab.times(action.id) <= 1
    assert len([each for each in world.lab.calls if each[0] == action.id]) == (0 if how == "not_sent" else 1)
    assert ("unknown" in world.alerts(action.id)) is (state is State.UNKNOWN)


@pytest.mark.promise("P7")
async def test_an_unknown_outcome_holds_its_target_on_its_connector_until_it_is_settled(any_world: World) -> None:
    world = any_world
    run = await world.open("WS-1", "WS-2")
    world.lab.next("isolate_host", "lost")
    lost = await world.do(run, "edr__isolate_host", host="WS-1")
    again = await world.do(run, "edr__isolate_host", host="WS-1", reason="again")
    assert (again.state, clauses(world, again.id)) == (State.WAITING, ["unsettled"])
    assert (await world.do(run, "edr__isolate_host", host="WS-2")).state is State.DONE
    assert (await world.do(run, "edr__host_status", host="WS-1")).state is State.DONE
    settled = await world.settling.ask(lost.id, "bob")
    assert (settled.applied, world.action(lost.id).state) == (True, State.DONE)
    assert (await world.do(run, "edr__isolate_host", host="WS-1", reason="third")).state is State.DONE


@pytest.mark.promise("P7")
async def test_a_batch_that_touches_a_held_target_waits_as_a_whole(world: World) -> None:
    run = await world.open("WS-1", "WS-2")
    world.lab.next("isolate_hosts", "lost")
    await world.do(run, "edr__isolate_hosts", hosts=["WS-1", "WS-2"])
    again = await world.do(run, "edr__isolate_hosts", hosts=["WS-3", "WS-2"])
    assert again.state is State.WAITING
    assert "unsettled" in clauses(world, again.id)


async def test_settling_asks_the_status_tool_and_writes_what_it_says(world: World) -> None:
    run = await world.open("WS-1")
    world.lab.next("isolate_host", "lost_before")
    lost = await world.do(run, "edr__isolate_host", host="WS-1")
    assert [each.id for each in world.settling.unsettled()] == [lost.id]
    settled = await world.settling.ask(lost.id, "bob")
    assert (settled.applied, world.action(lost.id).state) == (False, State.FAILED)
    assert world.settling.unsettled() == []
    assert world.kinds(lost.id)[-1] == "settled"


@pytest.mark.promise("P7")
@pytest.mark.parametrize("how", ["error", "lost", "not_sent", "garbage"])
async def test_a_status_question_without_a_clear_answer_settles_nothing(world: World, how: str) -> None:
    run = await world.open("WS-1")
    world.lab.next("isolate_host", "lost")
    lost = await world.do(run, "edr__isolate_host", host="WS-1")
    world.lab.next("host_status", how)
    assert (await world.settling.ask(lost.id, "bob")).applied is None
    assert world.action(lost.id).state is State.UNKNOWN


@pytest.mark.promise("P7")
async def test_a_batch_of_which_only_a_part_landed_is_not_settled_by_asking(world: World) -> None:
    run = await world.open("WS-2", "WS-3")
    world.lab.next("isolate_hosts", "lost_before")
    lost = await world.do(run, "edr__isolate_hosts", hosts=["WS-2", "WS-3"])
    world.lab.facts["WS-2"] = {"isolated": True}
    assert (await world.settling.ask(lost.id, "bob")).applied is None
    assert world.action(lost.id).state is State.UNKNOWN


async def test_settling_by_hand_writes_the_persons_word_once(world: World) -> None:
    run = await world.open("WS-1")
    world.lab.next("isolate_host", "lost")
    lost = await world.do(run, "edr__isolate_host", host="WS-1")
    statement = journal.record("statement", world.clock.at, by="bob")
    settled = await world.settling.settle(lost.id, True, "bob", statement)
    assert settled.action.settled_by == "bob"
    with pytest.raises((Misuse, Refusal)):
        await world.settling.settle(lost.id, False, "bob", statement)
    assert world.action(lost.id).state is State.DONE


# --- undo --------------------------------------------------------------------------------------------------------------------


async def test_an_undo_that_a_human_ordered_is_done_even_after_the_run_has_ended(world: World) -> None:
    run = await world.open("WS-1", seconds=60)
    action = await world.do(run, "edr__isolate_host", host="WS-1")
    await world.runs.close(run.id, "oz")
    world.clock.advance(3600)
    undo = await world.done(await world.settling.undo(action.id, "bob", "it was benign"))
    assert (undo.state, undo.opened_by, undo.undoes) == (State.DONE, "bob", action.id)
    assert world.body(world.records("intent", action=undo.id)[0])["approvers"] == ["bob"]
    assert world.lab.done("release_host") == [("host-0001",)]


@pytest.mark.promise("P4")
async def test_an_undo_for_which_the_boundary_wants_two_people_waits_for_others_than_who_ordered_it() -> None:
    two = '[[rule]]\nid = "MORE"\nthen = "approve"\nagents = ["*"]\ncategories = ["host.release"]\nquorum = 2'
    world = await World.begin(files=Files({"rules": two}))
    run = await world.open("WS-1", seconds=60)
    action = await world.do(run, "edr__isolate_host", host="WS-1")
    world.clock.advance(3600)
    undo = await world.done(await world.settling.undo(action.id, "bob", "it was benign"))
    await world.runs.close(run.id, "oz")
    world.desk.stop(world.order())
    await world.settle_down()
    assert world.action(undo.id).state is State.WAITING
    with pytest.raises(Refusal):
        await world.decide(world.vote(undo, "bob"))
    assert (await world.approve(undo, "ann")).state is State.WAITING
    assert world.lab.done("release_host") == []
    assert (await world.approve(undo, "cyd")).state is State.DONE
    assert world.lab.done("release_host") == [("host-0001",)]


@pytest.mark.promise("P6")
async def test_while_stopped_only_settling_and_an_undo_that_humans_signed_run(world: World) -> None:
    run = await world.open("WS-1", "WS-2")
    action = await world.do(run, "edr__isolate_host", host="WS-1")
    world.lab.next("isolate_host", "lost")
    lost = await world.do(run, "edr__isolate_host", host="WS-2")
    world.desk.stop(world.order())
    assert (await world.do(run, "edr__host_status", host="WS-1")).state is State.BLOCKED
    assert (await world.settling.ask(lost.id, "bob")).applied is True
    undo = await world.settling.undo(action.id, "bob", "it was benign")
    assert (await world.done(undo)).state is State.DONE
    assert world.lab.done("release_host") == [("host-0001",)]


# --- faults of the store -----------------------------------------------------------------------------------------------------


@pytest.mark.promise("P1")
async def test_what_cannot_be_recorded_is_refused_and_nothing_happens(world: World) -> None:
    run = await world.open("WS-1")
    memory(world).sicken("the disk is full")
    with pytest.raises(NotCommitted):
        await world.propose(run, "edr__isolate_host", host="WS-1")
    memory(world).sicken("")
    await world.settle_down()
    assert world.lab.effects == []
    assert (await world.do(run, "edr__isolate_host", host="WS-1")).state is State.DONE


@pytest.mark.promise("P1")
async def test_an_intent_whose_commit_is_in_doubt_is_never_executed(world: World) -> None:
    run = await world.open("WS-1")
    memory(world).fail_next("applied_answer_lost")
    with pytest.raises(CommitUnknown):
        await world.propose(run, "edr__isolate_host", host="WS-1")
    await world.settle_down()
    assert not any(tool == "isolate_host" for _, _, tool, _ in world.lab.calls)
    await world.restart()
    assert [each.state for each in world.actions(State.UNKNOWN)] == [State.UNKNOWN]
    assert world.lab.effects == []


@pytest.mark.promise("P7")
async def test_an_outcome_that_did_not_commit_is_tried_again_and_the_action_is_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "RETRY_AFTER", (0.0, 0.0))
    run = await world.open("WS-1")
    memory(world).fail_next("not_applied", after=1)
    action = await world.do(run, "edr__isolate_host", host="WS-1")
    assert action.state is State.DONE
    assert world.lab.times(action.id) == 1


@pytest.mark.promise("P7")
async def test_an_outcome_that_can_never_be_recorded_is_unknown_after_the_restart(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "RETRY_AFTER", (0.0, 0.0))
    run = await world.open("WS-1")
    plan = world.lab.next("isolate_host")
    plan.on_the_way = lambda: memory(world).sicken("the disk is full")
    answer = await world.agents.call(run, "edr__isolate_host", {"host": "WS-1", "rationale": {"summary": "x"}}, hold=5)
    assert answer.state is State.UNKNOWN
    memory(world).sicken("")
    await world.restart()
    assert len(world.lost) == 1
    assert world.action(world.lost[0]).state is State.UNKNOWN
    assert world.lab.times(world.lost[0]) == 1


@pytest.mark.promise("P7")
async def test_an_outcome_whose_commit_is_in_doubt_is_read_back(world: World) -> None:
    run = await world.open("WS-1")
    memory(world).fail_next("applied_answer_lost", after=1)
    answer = await world.agents.call(run, "edr__isolate_host", {"host": "WS-1", "rationale": {"summary": "x"}}, hold=5)
    assert answer.state is State.DONE


@pytest.mark.promise("P1")
@pytest.mark.promise("P4")
@pytest.mark.promise("P7")
@pytest.mark.parametrize("step", range(1, 5))
@pytest.mark.parametrize("form", ["crash", "not_applied", "applied_answer_lost"])
async def test_a_fault_at_any_commit_of_an_approved_action_never_repeats_it_and_never_forgets_it(
    world: World, form: str, step: int
) -> None:
    """Steps: proposal, vote, intent, outcome."""
    run = await world.open("WS-1")
    if form == "crash":
        world.store.dies_after = world.store.steps + step
    else:
        memory(world).fail_next(form, after=step - 1)  # type: ignore[arg-type]
    try:
        action = await world.do(run, "idp__disable_account", account="j.doe")
        await world.approve(action)
    except (Crash, NotCommitted, CommitUnknown):
        pass
    await world.restart()
    await world.settle_down()
    found = [each for each in world.actions() if each.connector == "idp"]
    assert len(world.lab.done("disable_account")) <= 1
    for each in found:
        happened = world.lab.times(each.id) == 1
        if happened:
            assert each.state in (State.DONE, State.UNKNOWN)
            assert world.durable.reads.approvals(each.id)
        else:
            assert each.state in (State.WAITING, State.UNKNOWN, State.APPROVED)
    assert all(each.state is not State.EXECUTING for each in found)
    if form == "crash" and step in (2, 3):
        (action,) = found
        # after the vote was durable it goes on by itself; after the intent was, nobody knows
        assert action.state is (State.DONE if step == 2 else State.UNKNOWN)


@pytest.mark.promise("P1")
@pytest.mark.parametrize("landing", [True, False])
async def test_a_crash_while_a_call_is_on_its_way_leaves_it_unknown_and_holds_its_target(
    world: World, landing: bool
) -> None:
    run = await world.open("WS-1")
    world.lab.next("isolate_host", "hang")
    action = await world.propose(run, "edr__isolate_host", host="WS-1")
    await world.lab.handed("isolate_host")
    await world.restart(landing=landing)
    assert world.lost == (action.id,)
    assert world.action(action.id).state is State.UNKNOWN
    again = await world.do(run, "edr__isolate_host", host="WS-1")
    assert (again.state, clauses(world, again.id)) == (State.WAITING, ["unsettled"])
    assert world.lab.times(action.id) == int(landing)
    assert (await world.settling.ask(action.id, "bob")).applied is landing


async def test_after_a_restart_what_waited_still_waits_and_what_expired_meanwhile_is_rejected(world: World) -> None:
    run = await world.open("WS-1")
    first = await world.do(run, "idp__disable_account", account="j.doe")
    world.clock.advance(20 * 60)
    second = await world.do(run, "idp__disable_account", account="adm")
    world.clock.advance(11 * 60)
    await world.restart()
    assert world.action(first.id).state is State.EXPIRED
    assert world.action(second.id).state is State.WAITING
    assert (await world.approve(second)).state is State.DONE


async def test_an_outcome_is_written_once_however_often_the_task_is_cancelled(world: World) -> None:
    run = await world.open("WS-1")
    world.lab.next("isolate_host", "hang")
    action = await world.propose(run, "edr__isolate_host", host="WS-1")
    await world.lab.handed("isolate_host")
    (execution,) = world.in_flight.executions()
    assert execution.task is not None
    execution.task.cancel()
    execution.task.cancel()
    world.lab.hanging.clear()
    done = await world.done(action)
    assert done.state is State.UNKNOWN
    assert world.kinds(action.id).count("outcome") == 1
