"""Secret arguments: sent as they were decided, kept apart while the action is open, and gone when it has ended."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from remit.adapters.log.disclosing import StorePayloads
from remit.adapters.store.sqlite import SqliteStore
from remit.flow.bundling.choosing import choose
from remit.flow.bundling.words import About
from remit.flow.queries import Stories
from remit.gates import journal, search
from remit.gates.story import Story, render_text
from remit.model.errors import Refusal
from remit.model.words import Action, State
from tests.flow.home import DEFINITIONS
from tests.flow.lab import definition
from tests.flow.secret_home import SECRET, WHY, asked, home, isolate, kept, waiting
from tests.flow.world import Crash, World, clauses, sqlite_world


@pytest.fixture(params=["memory", "sqlite"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """A world with that home, on each store."""
    if request.param == "memory":
        made = await World.begin(files=home())
        yield made
        assert made.lab.violations == []
        return
    async with sqlite_world(tmp_path, home()) as found:
        yield found
        assert found.lab.violations == []


def sent(world: World) -> list[Any]:
    """What the connector was given in calls of the tool."""
    return [json.loads(arguments) for _, _, tool, arguments in world.lab.calls if tool == "isolate_host"]


def everything(world: World) -> str:
    """All that a home has of an action but the payload of its secrets: rows, records, every other payload."""
    reads = world.durable.reads
    found = [str(world.actions()), str([each.data for each in reads.records(limit=10_000)])]
    for record in reads.records(limit=10_000):
        for name in world.body(record).get("payloads", {}):
            payload = None if name.endswith(".secrets") else reads.payload(name)
            found.append(str(payload.data) if payload else "")
    for action in world.actions():
        says = reads.payload(f"{action.id}.says")
        found.append(str(says.data) if says else "")
    return "\n".join(found)


# --- while the action is open --------------------------------------------------------------------------------------


async def test_the_value_goes_upstream_and_is_nowhere_but_in_a_payload_of_its_own(world: World) -> None:
    action = await waiting(world)
    proposal, secrets = kept(world, action, "proposal"), kept(world, action, "secrets")
    assert proposal is not None
    assert secrets is not None
    said = json.loads(proposal.data)
    assert json.loads(said["arguments"]) == {"host": "SRV-1", "reason": "⟦secret⟧"}
    assert (json.loads(said["asked"])["reason"], said["salt"], said["secrets"]) == ("⟦secret⟧", "", ["reason"])
    hidden = json.loads(secrets.data)
    assert (hidden["arguments"], hidden["asked"]) == ({"reason": SECRET}, {"reason": SECRET})
    assert SECRET not in everything(world)
    (record,) = world.records("proposal", action=action.id)
    assert world.body(record)["payloads"] == journal.commits(proposal, secrets)
    assert (await world.approve(action)).state is State.DONE
    assert sent(world) == [{"host": "SRV-1", "reason": SECRET}]
    assert SECRET not in everything(world)


async def test_after_restarts_and_half_an_hour_later_exactly_what_was_approved_is_sent(world: World) -> None:
    action = await waiting(world)
    await world.restart()
    world.clock.advance(29 * 60)
    approval = world.vote(action, "ann")
    await world.restart()
    done = await world.done(await world.decide(approval))
    assert done.state is State.DONE
    assert sent(world) == [{"host": "SRV-1", "reason": SECRET}]
    assert kept(world, action, "secrets") is None


async def test_what_was_approved_when_the_gateway_died_goes_on_with_its_secret_arguments(world: World) -> None:
    action = await waiting(world)
    world.store.dies_after = world.store.steps + 1  # the vote is durable, and nothing after it
    with pytest.raises(Crash):
        await world.decide(world.vote(action, "ann"))
    assert world.action(action.id).state is State.APPROVED
    assert kept(world, action, "secrets") is not None
    await world.restart()
    assert (await world.done(action)).state is State.DONE
    assert sent(world) == [{"host": "SRV-1", "reason": SECRET}]
    assert kept(world, action, "secrets") is None


async def test_a_repeat_with_the_same_value_is_the_same_action_and_with_another_it_is_not(world: World) -> None:
    run = await world.open("SRV-1")
    first = await isolate(world, run, "SRV-1")
    assert (await isolate(world, run, "SRV-1")).id == first.id
    await world.restart()
    assert (await isolate(world, run, "SRV-1")).id == first.id
    other = await isolate(world, run, "SRV-1", f"{SECRET}!")
    assert other.id != first.id
    await world.steward.withdraw(first)
    assert (await isolate(world, run, "SRV-1")).id != first.id


async def test_an_action_that_is_asked_anew_keeps_its_secret_arguments(world: World) -> None:
    action = await waiting(world)
    more = '[[rule]]\nid = "MORE"\nthen = "approve"\nagents = ["*"]\ncategories = ["host.*"]\nquorum = 2'
    world.files.change(rules=more)
    await world.reload()
    assert (await world.approve(action, "ann")).state is State.WAITING
    assert "asked.again" in world.kinds(action.id)
    assert kept(world, action, "secrets") is not None
    assert (await world.approve(action, "bob")).state is State.DONE
    assert sent(world) == [{"host": "SRV-1", "reason": SECRET}]


async def test_a_value_of_any_kind_is_sent_as_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [each for each in DEFINITIONS["edr"] if each.name != "isolate_host"]
    loose = definition("isolate_host", host=None, reason={"description": "whatever"})
    monkeypatch.setitem(DEFINITIONS, "edr", [*others, loose])
    world = await World.begin(files=home())
    value = {"pass": [SECRET, 1.5, -0.0, None, True, {"ключ": "\u2028😀"}], "mark": "⟦secret⟧"}
    action = await isolate(world, await world.open("SRV-1"), "SRV-1", value)
    assert SECRET not in everything(world)
    assert (await world.approve(action)).state is State.DONE
    assert sent(world) == [{"host": "SRV-1", "reason": value}]


async def test_secret_arguments_that_were_lost_while_it_waited_refuse_it_and_its_story_says_so(world: World) -> None:
    action = await waiting(world)
    lose(world, f"{action.id}.secrets")
    story = told(world, action)
    assert "the values of its secret arguments are gone, although it has not ended" in story.gaps
    assert story.secrets == "their values are no longer there"
    after = await world.approve(action)
    assert (after.state, clauses(world, action.id)) == (State.BLOCKED, ["validation.arguments"])
    assert sent(world) == []


def lose(world: World, payload_id: str) -> None:
    """Take a payload away behind the store's back."""
    if isinstance(world.durable, SqliteStore):
        connection = sqlite3.connect(world.durable._reads._path)
        connection.execute("DELETE FROM payloads WHERE id = ?", (payload_id,))
        connection.commit()
        connection.close()
    else:
        del world.durable.tables.payloads[payload_id]


# --- how it ends ---------------------------------------------------------------------------------------------------


async def done(world: World) -> Action:
    return await isolate(world, await world.open("WS-1"))


def ending(how: str) -> Callable[[World], Awaitable[Action]]:
    async def ends(world: World) -> Action:
        world.lab.next("isolate_host", how)
        return await done(world)

    return ends


async def rejected(world: World) -> Action:
    return await world.reject(await waiting(world))


async def expired(world: World) -> Action:
    action = await waiting(world)
    world.clock.advance(31 * 60)
    assert await world.steward.expire() == 1
    return action


async def withdrawn(world: World) -> Action:
    action = await waiting(world)
    return await world.steward.withdraw(action)


async def run_closed(world: World) -> Action:
    action = await waiting(world)
    await world.runs.close(action.run, "oz")
    return action


async def void(world: World) -> Action:
    action = await waiting(world)
    await world.steward.void(world.order())
    return action


async def refused(world: World) -> Action:
    action = await waiting(world)
    never = '[[never]]\nid = "N-SRV"\nwhere = { kind = ["server"] }\ncategories = ["host.*"]'
    world.files.change(rules=never)
    await world.reload()
    return await world.approve(action)


async def cut(world: World) -> Action:
    world.lab.next("isolate_host", "hang")
    action = await asked(world, await world.open("WS-1"))
    await world.lab.handed("isolate_host")
    world.desk.stop(world.order())
    return await world.done(action)


async def crashed(world: World) -> Action:
    world.lab.next("isolate_host", "hang")
    action = await asked(world, await world.open("WS-1"))
    await world.lab.handed("isolate_host")
    await world.restart()
    return action


ENDS = [
    (done, State.DONE),
    (ending("error"), State.FAILED),
    (ending("not_sent"), State.FAILED),
    (ending("lost"), State.UNKNOWN),
    (ending("garbage"), State.UNKNOWN),
    (rejected, State.REJECTED),
    (expired, State.EXPIRED),
    (withdrawn, State.WITHDRAWN),
    (run_closed, State.WITHDRAWN),
    (void, State.VOID),
    (refused, State.BLOCKED),
    (cut, State.CUT),
    (crashed, State.UNKNOWN),
]


@pytest.mark.parametrize(("ends", "state"), ENDS, ids=[f"{each.__name__}-{state}" for each, state in ENDS])
async def test_however_an_action_ends_its_secret_arguments_end_with_it(
    world: World, ends: Callable[[World], Awaitable[Action]], state: State
) -> None:
    action = world.action((await ends(world)).id)
    assert action.state is state
    assert kept(world, action, "secrets") is None
    assert kept(world, action, "proposal") is not None
    assert action.fingerprint == ""
    assert SECRET not in everything(world)
    story = told(world, action)
    assert (story.secret_arguments, story.secrets) == (("reason",), "their values ended with the action")
    assert [each for each in story.gaps if "boundary" not in each] == []
    assert "Secret      arguments given: `reason`; their values ended with the action" in render_text(story, 200)
    assert StorePayloads(world.durable.reads).promised(f"{action.id}.secrets") is False


def told(world: World, action: Action) -> Story:
    found = Stories(world.durable.reads).explain(action.id)
    assert isinstance(found, Story)
    return found


async def test_what_is_not_known_is_settled_and_undone_without_its_secret_arguments(world: World) -> None:
    world.lab.next("isolate_host", "lost")
    action = await isolate(world, await world.open("WS-1"))
    assert (action.state, kept(world, action, "secrets")) == (State.UNKNOWN, None)
    settled = await world.settling.ask(action.id, "bob")
    assert (settled.applied, world.action(action.id).state) == (True, State.DONE)
    undo = await world.done(await world.settling.undo(action.id, "bob", "a false alarm"))
    assert (undo.state, undo.undoes) == (State.DONE, action.id)


async def test_a_call_that_is_refused_at_once_keeps_no_value_and_commits_to_none(world: World) -> None:
    action = await isolate(world, await world.open("DC-1"), "DC-1")
    assert (action.state, action.secrets, action.fingerprint) == (State.BLOCKED, "", "")
    assert kept(world, action, "secrets") is None
    (record,) = world.records("proposal", action=action.id)
    assert list(world.body(record)["payloads"]) == [action.proposal]
    assert SECRET not in everything(world)
    story = told(world, action)
    assert story.secrets == "their values were never kept: the call was refused"
    assert story.secret_arguments == ("reason",)


@pytest.mark.parametrize("wrong", [{"host": ["WS-1"]}, {"reason": [SECRET]}, {"Reason": SECRET}, {"extra": 1}])
async def test_a_malformed_call_keeps_no_secret_value_either(world: World, wrong: dict[str, Any]) -> None:
    run = await world.open("WS-1")
    call = world.call(run, "edr__isolate_host", why=WHY, **({"host": "WS-1", "reason": SECRET} | wrong))
    action, _ = await world.steward.propose(call)
    assert action.state is State.BLOCKED
    assert SECRET not in everything(world)


# --- what else could hold a value ----------------------------------------------------------------------------------


async def test_reasons_that_repeat_a_secret_argument_are_kept_without_it_and_no_index_learns_it(world: World) -> None:
    action = await done(world)
    proposal = kept(world, action, "proposal")
    assert proposal is not None
    summary = json.loads(proposal.data)["rationale"]["summary"]
    assert summary == "it says ⟦secret⟧ in the ticket"
    terms = search.of_payload(proposal.id, proposal.data)
    assert search.term("word", "ticket") in terms
    assert not any("planted" in each or "7790" in each for each in terms)


async def test_a_short_secret_argument_does_not_shred_the_reasons(world: World) -> None:
    action = await isolate(world, await world.open("SRV-1"), "SRV-1", "the")
    proposal = kept(world, action, "proposal")
    assert proposal is not None
    assert json.loads(proposal.data)["rationale"]["summary"] == "in the ticket: the"


async def test_a_bundle_holds_the_proposal_without_secret_arguments_and_says_why_they_are_not_there(
    world: World,
) -> None:
    open_one, ended = await waiting(world), await done(world)
    manifests = world.files.manifests()
    size = len(world.durable.reads.records(limit=10_000))
    for action, why in ((open_one, "secret"), (ended, "ended")):
        chosen = choose(world.durable.reads, About(action=action.id), manifests, size)
        assert f"{action.id}.proposal" in {each.payload.id for each in chosen.payloads}
        assert {each.id: each.why for each in chosen.absent}[f"{action.id}.secrets"] == why
        assert not any(each.payload.id.endswith(".secrets") for each in chosen.payloads)
        assert not any(SECRET.encode() in each.payload.data for each in chosen.payloads)


async def test_a_bundle_of_a_log_that_does_not_hold_the_end_yet_says_nothing_of_an_end(world: World) -> None:
    action = await done(world)
    (outcome,) = world.records("outcome", action=action.id)
    chosen = choose(world.durable.reads, About(action=action.id), world.files.manifests(), outcome.position)
    assert {each.id: each.why for each in chosen.absent}[f"{action.id}.secrets"] == "secret"


async def test_the_store_owes_secret_arguments_to_a_verifier_only_while_their_action_is_open(world: World) -> None:
    action = await waiting(world)
    given = StorePayloads(world.durable.reads)
    assert given.payload(f"{action.id}.secrets", 0) is not None
    lose(world, f"{action.id}.secrets")
    assert given.payload(f"{action.id}.secrets", 0) is None
    assert given.promised(f"{action.id}.secrets") is True
    await world.steward.withdraw(action)
    assert given.promised(f"{action.id}.secrets") is False
    assert given.promised(f"{action.id}.proposal") is True


async def test_nobody_erases_secret_arguments_by_order(world: World) -> None:
    action = await done(world)
    with pytest.raises(Refusal, match="go by themselves when their action ends"):
        await world.erasing.erase([f"{action.id}.secrets"], "lena", "why", "GDPR 17")
    assert (await world.erasing.erase([action.id], "lena", "why", "GDPR 17")).payloads == (
        f"{action.id}.proposal",
        action.result,
    )
