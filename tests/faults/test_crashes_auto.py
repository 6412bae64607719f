"""`kill -9` at every arrow of an automatic change, then a restart: what may have happened is shown, and never repeated.

The action is an isolation of WS-014, whose precondition is one read of Remit's own, so that read passes every point
first. The store's points are passed once for each commit: the read's two, then the proposal with its intent, then the
outcome.
"""

from __future__ import annotations

import pytest

from tests.faults.checks import every_effect_had_an_intent, intended_once
from tests.support.fixtures import Make
from tests.support.gateway import Agent, Gateway, Refused, give_up
from tests.support.home import Practice

NOTHING, UNKNOWN, DONE = "nothing", "unknown", "done"
ONE_TARGET = {"max_distinct_targets = 5": "max_distinct_targets = 1"}

# point, which passing, what the store says after the restart, whether the lab has the effect
AUTOMATIC = [
    ("proposing", 2, NOTHING, False),
    ("before_begin", 3, NOTHING, False),
    ("after_step", 3, NOTHING, False),
    ("before_commit", 3, NOTHING, False),
    ("after_commit_before_ack", 3, UNKNOWN, False),
    ("intended", 2, UNKNOWN, False),
    ("minted", 2, UNKNOWN, False),
    ("handing over", 2, UNKNOWN, False),
    ("answered", 2, UNKNOWN, True),
    ("before_commit", 4, UNKNOWN, True),
    ("after_commit_before_ack", 4, DONE, True),
    ("recorded", 2, DONE, True),
]


async def isolate_and_crash(practice: Practice, point: str, passing: int) -> Agent:
    """Isolate WS-014 with a gateway that is killed at the point; returns the agent once everything of it is gone."""
    gateway = await Gateway.start(practice)
    try:
        agent = await gateway.open("WS-014", "WS-022")
        await agent.tools()
        gateway.arm(point, passing)
        call = agent.start("edr__isolate_host", host="WS-014", rationale={"summary": "credential theft"})
        await gateway.died()
        await give_up(call)
    finally:
        gateway.disarm()
        await gateway.end()
    return agent


def isolated(practice: Practice) -> list[str]:
    return [effect["arguments"]["host"] for effect in practice.effects() if effect["tool"] == "isolate_host"]


@pytest.mark.promise("P1")
@pytest.mark.promise("P7")
@pytest.mark.promise("P10")
@pytest.mark.parametrize(("point", "passing", "state", "landed"), AUTOMATIC, ids=[f"{p}-{n}" for p, n, *_ in AUTOMATIC])
async def test_an_automatic_change_ended_at_any_point_is_never_repeated_and_keeps_what_it_took(
    make: Make, point: str, passing: int, state: str, landed: bool
) -> None:
    practice = make("edr", boundary=ONE_TARGET)
    agent = await isolate_and_crash(practice, point, passing)
    every_effect_had_an_intent(practice)
    assert len(isolated(practice)) == int(landed)

    async with Gateway.on(practice) as gateway:
        agent = await gateway.again(agent)
        action = next(iter(practice.actions("isolate_host")), None)
        assert (action["state"] if action else NOTHING) == state
        unsettled = [each["action"] for each in (await gateway.ask("status"))["unsettled"]]
        assert len(isolated(practice)) == int(landed), "the restart repeated it"
        if action is None:
            assert not unsettled
            await the_next_one_takes_the_quota(gateway, agent)
        else:
            assert intended_once(practice, action["id"])
            assert (action["id"] in unsettled) is (state == UNKNOWN)
            await the_quota_stays_spent(gateway, agent)
            if state == UNKNOWN:
                await it_holds_its_target_until_it_is_settled(gateway, agent, action["id"], landed)
            assert len(isolated(practice)) == int(landed)
    every_effect_had_an_intent(practice)


async def the_next_one_takes_the_quota(gateway: Gateway, agent: Agent) -> None:
    answer = await agent.change("edr__isolate_host", host="WS-014")
    assert answer.done, answer.text
    assert len(isolated(gateway.practice)) == 1
    await the_quota_stays_spent(gateway, agent)


async def the_quota_stays_spent(gateway: Gateway, agent: Agent) -> None:
    second = await gateway.waiting(agent, "edr__isolate_host", host="WS-022")
    assert "Q-ISO" in await second.withdraw()


async def it_holds_its_target_until_it_is_settled(gateway: Gateway, agent: Agent, action: str, landed: bool) -> None:
    held = await gateway.waiting(agent, "edr__release_host", host="WS-014")
    assert "unsettled" in await held.withdraw()
    settled = await gateway.ask("settle.ask", action=action)
    assert settled["applied"] is landed
    assert settled["state"] == ("done" if landed else "failed")
    assert not (await gateway.ask("status"))["unsettled"]
    free = await gateway.waiting(agent, "edr__release_host", host="WS-014")
    assert "unsettled" not in await free.withdraw()
    with pytest.raises(Refused, match="nothing to settle"):
        await gateway.ask("settle.ask", action=action)
