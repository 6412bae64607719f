"""What an agent sees: tools, answers, waiting, and Remit's own four tools."""

from __future__ import annotations

import asyncio
import json

import pytest

from remit.flow.answers import Answer
from remit.model.words import Run, State
from tests.flow.lab import definition
from tests.flow.world import WHY, World, memory


async def ask(world: World, run: Run, name: str, *, hold: float = 5, **arguments: object) -> Answer:
    """One call by the agent, with a rationale where one is needed."""
    tool = world.forces.current.tools.get(name)
    if tool is not None and tool.manifest.consequential:
        arguments.setdefault("rationale", WHY)
    return await world.agents.call(run, name, arguments, hold=hold)


async def test_an_agent_is_shown_what_it_may_at_least_propose_in_order_and_nothing_else(world: World) -> None:
    run = await world.open("WS-1")
    names = [tool.name for tool in world.agents.tools(run)]
    assert names == [
        "edr__host_status",
        "edr__isolate_group",
        "edr__isolate_host",
        "edr__isolate_hosts",
        "edr__release_host",
        "idp__account_status",
        "idp__disable_account",
        "siem__get_alert",
        "siem__search_events",
        "remit__await_action",
        "remit__conclude",
        "remit__my_remit",
        "remit__withdraw",
    ]
    narrow = await world.open("WS-1", categories=("evidence.read",))
    assert not any("isolate" in tool.name for tool in world.agents.tools(narrow))


async def test_a_tool_that_was_parked_disappears_at_once(world: World) -> None:
    run = await world.open("WS-1")
    world.lab.definitions_by_connector["idp"][1] = definition("disable_account", account=None, more=None)
    world.reloading.tools_changed()
    assert "idp__disable_account" not in [tool.name for tool in world.agents.tools(run)]
    answer = await ask(world, run, "idp__disable_account", account="j.doe")
    assert (answer.state, answer.clauses[0].id) == (State.BLOCKED, "unknown-tool")


async def test_consequential_tools_ask_for_a_rationale_and_reads_do_not(world: World) -> None:
    run = await world.open("WS-1")
    shown = {tool.name: tool for tool in world.agents.tools(run)}
    assert "rationale" in shown["edr__isolate_host"].definition["inputSchema"]["required"]
    assert "rationale" not in shown["edr__host_status"].definition["inputSchema"].get("required", [])


async def test_a_call_is_answered_with_the_connectors_bytes_and_evidence(world: World) -> None:
    run = await world.open("WS-1")
    answer = await ask(world, run, "edr__isolate_host", host="WS-1")
    assert answer.state is State.DONE
    assert json.loads(answer.result)["structuredContent"] == {"done": True}
    assert answer.evidence is not None
    assert answer.evidence.label.source == "edr"
    later = await world.agents.wait(run, answer.action, hold=0)
    assert (later.state, later.result) == (State.DONE, answer.result)
    await world.restart()
    after = await world.agents.wait(run, answer.action, hold=0)
    assert (after.state, after.result) == (State.DONE, answer.result)


@pytest.mark.promise("P11")
async def test_every_refusal_names_its_clause_and_what_would_be_needed(world: World) -> None:
    run = await world.open("WS-1", max_calls=5)
    answers = [
        await ask(world, run, "edr__isolate_host", host="DC-1"),
        await ask(world, run, "edr__isolate_host", host=5),
        await ask(world, run, "edr__run_script", host="WS-1", script="x"),
        await ask(world, run, "edr__nothing"),
        await ask(world, run, "remit__await_action", action_id="act_nothing"),
        await ask(world, run, "remit__withdraw", action_id="act_nothing"),
        await ask(world, run, "remit__conclude", verdict="guilty", rationale=WHY),
        await ask(world, run, "remit__my_remit", more=1),
    ]
    world.desk.stop(world.order())
    answers.append(await ask(world, run, "edr__host_status", host="WS-1"))
    await world.resume()
    world.clock.jump = "it jumped"
    answers.append(await ask(world, run, "edr__isolate_host", host="WS-1"))
    for answer in answers:
        assert answer.state not in (State.DONE, State.WAITING)
        assert answer.message
        assert answer.hint
        assert answer.message[0].islower() or answer.message[0] == "`"
    assert [each.clauses[0].id for each in answers[:2]] == ["N-DC", "validation.schema"]
    assert answers[8].state == "stopped"
    assert "do not retry" in answers[8].hint


async def test_a_call_that_waits_for_a_human_is_held_and_then_answered_with_its_handle(world: World) -> None:
    run = await world.open("WS-1")
    answer = await ask(world, run, "idp__disable_account", hold=0, account="j.doe")
    assert answer.state is State.WAITING
    assert answer.open
    assert answer.expires_at is not None
    held = asyncio.ensure_future(world.agents.wait(run, answer.action, hold=30))
    await asyncio.sleep(0)
    await world.approve(world.action(answer.action))
    assert (await asyncio.wait_for(held, 5)).state is State.DONE


@pytest.mark.parametrize("how", ["reject", "withdraw", "expire", "stop", "close"])
async def test_whoever_waits_is_woken_however_it_ends(world: World, how: str) -> None:
    run = await world.open("WS-1")
    held = asyncio.ensure_future(ask(world, run, "idp__disable_account", hold=30, account="j.doe"))
    async with asyncio.timeout(5):
        while not world.actions(State.WAITING):
            await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    (action,) = world.actions(State.WAITING)
    if how == "reject":
        await world.reject(action)
    elif how == "withdraw":
        await world.steward.withdraw(action, "agent")
    elif how == "expire":
        world.clock.advance(1800)
        await world.steward.expire()
    elif how == "close":
        await world.runs.close(run.id, "oz")
    else:
        world.desk.stop(world.order())
    answer = await asyncio.wait_for(held, 5)
    wanted = {"reject": "rejected", "withdraw": "withdrawn", "expire": "expired", "close": "withdrawn"}
    assert answer.state == wanted.get(how, "stopped")


@pytest.mark.promise("P4")
async def test_a_client_that_goes_away_ends_neither_the_wait_for_a_human_nor_a_started_change(world: World) -> None:
    run = await world.open("WS-1")
    world.lab.next("isolate_host", "hang")
    call = asyncio.ensure_future(ask(world, run, "edr__isolate_host", hold=30, host="WS-1"))
    hanging = await world.lab.handed("isolate_host")
    waits = asyncio.ensure_future(ask(world, run, "idp__disable_account", hold=30, account="j.doe"))
    async with asyncio.timeout(5):
        while not world.actions(State.WAITING):
            await asyncio.sleep(0)
    for each in (call, waits):
        each.cancel()
    await asyncio.gather(call, waits, return_exceptions=True)
    world.lab.release(hanging)
    await world.settle_down()
    assert world.action(hanging.action).state is State.DONE
    (action,) = world.actions(State.WAITING)
    assert (await world.approve(action)).state is State.DONE


@pytest.mark.promise("P5")
async def test_another_runs_action_is_as_unknown_as_none(world: World) -> None:
    run, other = await world.open("WS-1"), await world.open("WS-1")
    action = await world.do(run, "idp__disable_account", account="j.doe")
    for name in ("remit__await_action", "remit__withdraw"):
        seen = await ask(world, other, name, action_id=action.id)
        nothing = await ask(world, other, name, action_id="act_0000000000009999")
        assert seen.message.replace(action.id, "X") == nothing.message.replace("act_0000000000009999", "X")
    assert world.action(action.id).state is State.WAITING


@pytest.mark.promise("P1")
async def test_while_nothing_can_be_recorded_every_call_is_refused_with_the_reason(world: World) -> None:
    run = await world.open("WS-1")
    memory(world).sicken("the disk is full")
    answer = await ask(world, run, "edr__host_status", host="WS-1")
    assert (answer.state, answer.clauses[0].id) == (State.BLOCKED, "journal")
    assert "disk is full" in answer.message


async def test_my_remit_tells_what_is_left_of_the_run(world: World) -> None:
    run = await world.open("WS-1", max_calls=10, seconds=100)
    await ask(world, run, "edr__host_status", host="WS-1")
    world.clock.advance(40)
    told = (await ask(world, run, "remit__my_remit")).structured
    assert told is not None
    assert (told["calls_left"], told["seconds_left"]) == (9, 60)
    assert told["targets_of_this_case"] == ["WS-1"]
    assert told["may_do_alone_at_best"] == ["evidence.read", "host.isolate"]
    assert "host.script" not in told["needs_a_human"]


async def test_a_verdict_is_recorded_once_with_the_evidence_that_the_run_was_shown(world: World) -> None:
    run, other = await world.open("WS-1"), await world.open("WS-1")
    mine = await ask(world, run, "edr__host_status", host="WS-1")
    theirs = await ask(world, other, "edr__host_status", host="WS-1")
    assert mine.evidence is not None
    assert theirs.evidence is not None
    answer = await ask(
        world,
        run,
        "remit__conclude",
        verdict="malicious",
        rationale=WHY,
        evidence=[mine.evidence.id, theirs.evidence.id, "ev_made_up"],
    )
    assert answer.state is State.DONE
    body = world.body(world.records("verdict")[0])
    assert (body["verdict"], body["evidence"], body["not_shown"]) == ("malicious", [mine.evidence.id], 2)
    closed = await world.runs.close(run.id, "oz")
    assert closed.verdict == "malicious"
    late = await ask(world, run, "remit__conclude", verdict="benign", rationale=WHY)
    assert late.state not in (State.DONE,)


async def test_the_clients_name_is_kept_without_anything_that_could_deceive(world: World) -> None:
    run = await world.open("WS-1")
    world.agents.note_client(run, "client\x1b[31m 1.0\nforged")
    found = world.durable.reads.run(run.id)
    assert found is not None
    assert "\x1b" not in found.client
    assert "\n" not in found.client
    before = len(world.records("run.client"))
    world.agents.note_client(run, "client\x1b[31m 1.0\nforged")
    assert len(world.records("run.client")) == before
