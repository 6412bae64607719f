"""A change whose connector fails under way, in both forms: it did not happen, or it happened and nobody heard of it."""

from __future__ import annotations

import pytest

from remit_lab import faults
from remit_lab.faults import Fault
from tests.faults.checks import every_effect_had_an_intent
from tests.support.fixtures import Make
from tests.support.gateway import Agent, Gateway, eventually, give_up
from tests.support.home import Practice, manifest

TOOL = "isolate_host"
SOON = {"edr": manifest("edr", replace={'timeout = "30s"': 'timeout = "2s"'})}

# what the connector does wrong, how the action ends, whether the lab has the effect
WRONG = {
    "dies before": (Fault(fail="exit_before_effect", times=1), "unknown", False),
    "dies after": (Fault(fail="exit_after_effect", times=1), "unknown", True),
    "never answers": (Fault(fail="drop_answer", times=1), "unknown", True),
    "says that it failed": (Fault(fail="error", times=1), "failed", False),
}


def isolations(practice: Practice) -> int:
    return sum(effect["tool"] == TOOL for effect in practice.effects())


@pytest.mark.promise("P1")
@pytest.mark.promise("P7")
async def test_an_answer_that_does_not_come_is_unknown_holds_its_target_and_is_settled_by_asking(make: Make) -> None:
    practice = make("edr", files=SOON, boundary={"hold_after = 2": "hold_after = 30"})
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("WS-014", "WS-022", max_calls=200)
        for what, (fault, state, landed) in WRONG.items():
            before = isolations(practice)
            answer = await isolate_with(gateway, agent, fault)
            assert answer == state, what
            assert isolations(practice) - before == int(landed), what
            if state == "unknown":
                await settled_by_asking(gateway, agent, landed)
            assert isolations(practice) - before == int(landed), f"{what}: it was repeated"
            await gateway_released(gateway, agent, landed)
        every_effect_had_an_intent(practice)


async def isolate_with(gateway: Gateway, agent: Agent, fault: Fault) -> str:
    """Isolate WS-014 while the connector does this wrong; the state that it ends in."""
    faults.write(gateway.practice.lab, {TOOL: fault})
    answer = await agent.change("edr__isolate_host", host="WS-014")
    assert answer.error
    faults.write(gateway.practice.lab, {})
    return str(gateway.practice.actions(TOOL)[-1]["state"])


async def settled_by_asking(gateway: Gateway, agent: Agent, landed: bool) -> None:
    await up_again(gateway)
    held = await gateway.waiting(agent, "edr__release_host", host="WS-014")
    assert "unsettled" in await held.withdraw()
    (open_one,) = (await gateway.ask("status"))["unsettled"]
    assert (await gateway.ask("settle.ask", action=open_one["action"]))["applied"] is landed
    assert not (await gateway.ask("status"))["unsettled"]


async def up_again(gateway: Gateway) -> None:
    """A connector that died is started again."""
    for _ in range(400):
        states = [each["state"] for each in (await gateway.ask("status"))["connectors"]]
        if states == ["up"]:
            return
        await eventually(lambda: True, "a moment passed")
    raise AssertionError("the connector never came up again")


async def gateway_released(gateway: Gateway, agent: Agent, isolated: bool) -> None:
    """Undo it, by a human, so that the next one starts from the same place."""
    if isolated:
        held = await gateway.waiting(agent, "edr__release_host", host="WS-014")
        assert (await gateway.vote(held.action))["state"] == "done"
        await held.call


@pytest.mark.promise("P7")
@pytest.mark.parametrize("landed", [False, True], ids=["before the effect", "after the effect"])
async def test_a_gateway_killed_in_the_middle_of_a_slow_change_takes_its_connector_with_it(
    make: Make, landed: bool
) -> None:
    practice = make("edr")
    faults.write(practice.lab, {TOOL: Fault(delay_ms=60_000, effect="before" if landed else "after")})
    gateway = await Gateway.start(practice)
    agent = await gateway.open("WS-014")
    call = agent.start("edr__isolate_host", host="WS-014", rationale={"summary": "slow"})
    burned = practice.lab / "edr.burned.jsonl"
    warrant = await eventually(lambda: practice.records("intent")[-1:], "it was intended")
    await eventually(lambda: (_intended(practice) or "-") in burned.read_text(), "the connector had it")
    if landed:
        await eventually(lambda: isolations(practice), "it had its effect")
    gateway.process.kill()
    await gateway.died()
    await give_up(call)
    assert warrant
    assert isolations(practice) == int(landed)

    faults.write(practice.lab, {})
    async with Gateway.on(practice) as gateway:
        (action,) = (await gateway.ask("status"))["unsettled"]
        assert action["state"] == "unknown"
        settled = await gateway.signed("settle", "approver", action=action["action"], applied=landed)
        assert settled["state"] == ("done" if landed else "failed")
        assert not (await gateway.ask("status"))["unsettled"]
    assert isolations(practice) == int(landed)


def _intended(practice: Practice) -> str:
    """The warrant of the isolation, once it is intended."""
    actions = practice.actions(TOOL)
    return str(actions[-1]["warrant"]) if actions else ""
