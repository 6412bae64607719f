"""`kill -9` at every arrow of a change that a human approves, then a restart: the approval is used once or not at all.

The action is the disabling of an account, which always asks a human and has no precondition. The store's points are
passed once for each commit: the vote, the intent, the outcome.
"""

from __future__ import annotations

import pytest

from tests.faults.checks import every_effect_had_an_intent, intended_once
from tests.support.fixtures import Make
from tests.support.gateway import Agent, Gateway, Refused, eventually, give_up
from tests.support.home import Practice

WAITING, UNKNOWN, DONE = "awaiting_approval", "unknown", "done"

# point, which passing, what the store says right after the crash, whether the lab has the effect then
APPROVED = [
    ("deciding", 1, WAITING, False),
    ("before_begin", 1, WAITING, False),
    ("before_commit", 1, WAITING, False),
    ("after_commit_before_ack", 1, "approved", False),
    ("approved", 1, "approved", False),
    ("executing", 1, "approved", False),
    ("after_step", 2, "approved", False),
    ("before_commit", 2, "approved", False),
    ("after_commit_before_ack", 2, "executing", False),
    ("set out", 1, "executing", False),
    ("minted", 1, "executing", False),
    ("handing over", 1, "executing", False),
    ("answered", 1, "executing", True),
    ("before_commit", 3, "executing", True),
    ("after_commit_before_ack", 3, DONE, True),
    ("recorded", 1, DONE, True),
]
AFTER_RESTART = {WAITING: WAITING, "approved": DONE, "executing": UNKNOWN, DONE: DONE}


def disabled(practice: Practice) -> int:
    return sum(effect["tool"] == "disable_account" for effect in practice.effects())


async def approve_and_crash(practice: Practice, point: str, passing: int) -> tuple[Agent, str, dict[str, str]]:
    """Propose, and approve with a gateway that is killed at the point. Returns the agent, the action and the vote."""
    gateway = await Gateway.start(practice)
    try:
        agent = await gateway.open("k.adeyemi")
        held = await gateway.waiting(agent, "idp__disable_account", account="k.adeyemi")
        vote = await gateway.vote_on(held.action)
        gateway.arm(point, passing)
        with pytest.raises((OSError, ValueError)):
            await gateway.ask("decide", **vote)
        await gateway.died()
        await give_up(held.call)
    finally:
        gateway.disarm()
        await gateway.end()
    return agent, held.action, vote


@pytest.mark.promise("P1")
@pytest.mark.promise("P4")
@pytest.mark.promise("P7")
@pytest.mark.parametrize(("point", "passing", "state", "landed"), APPROVED, ids=[f"{p}-{n}" for p, n, *_ in APPROVED])
async def test_an_approval_is_used_at_most_once_whenever_the_gateway_ends(
    make: Make, point: str, passing: int, state: str, landed: bool
) -> None:
    practice = make("idp")
    agent, action, vote = await approve_and_crash(practice, point, passing)
    (kept,) = practice.actions("disable_account")
    assert kept["state"] == state
    assert disabled(practice) == int(landed)
    every_effect_had_an_intent(practice)

    async with Gateway.on(practice) as gateway:
        agent = await gateway.again(agent)
        expected = AFTER_RESTART[state]
        await eventually(lambda: practice.actions("disable_account")[0]["state"] == expected, f"it was {expected}")
        if expected == WAITING:
            assert (await gateway.ask("decide", **vote))["state"] == DONE
        elif expected == UNKNOWN:
            await it_is_shown_and_settled_as_it_is(gateway, agent, action, landed)
        await the_vote_counts_no_more(gateway, vote)
        assert disabled(practice) == int(landed or expected in (WAITING, DONE))
        assert intended_once(practice, action)
    every_effect_had_an_intent(practice)


async def it_is_shown_and_settled_as_it_is(gateway: Gateway, agent: Agent, action: str, landed: bool) -> None:
    assert [each["action"] for each in (await gateway.ask("status"))["unsettled"]] == [action]
    held = await gateway.waiting(agent, "idp__enable_account", account="k.adeyemi")
    assert "unsettled" in await held.withdraw()
    assert (await gateway.ask("settle.ask", action=action))["applied"] is landed


async def the_vote_counts_no_more(gateway: Gateway, vote: dict[str, str]) -> None:
    before = disabled(gateway.practice)
    with pytest.raises(Refused, match="not waiting"):
        await gateway.ask("decide", **vote)
    assert disabled(gateway.practice) == before
