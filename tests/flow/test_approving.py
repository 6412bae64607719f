"""An approval is good for one action, once, until it expires, under what is in force when it executes."""

from __future__ import annotations

import pytest

from remit.flow.drafts import draft
from remit.flow.steward import Moved
from remit.model.errors import NotVerified, Refusal
from remit.model.signatures import Namespace
from remit.model.words import MINUTE, State
from tests.flow.home import INVENTORY, digest, roster_bytes, signed
from tests.flow.lab import definition
from tests.flow.world import World, clauses


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
