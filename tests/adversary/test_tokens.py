"""What a run token is good for, and what it is not: another run, a closed run, another run's actions."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from tests.support.fixtures import Make
from tests.support.gateway import Agent, Gateway, Refused, eventually

CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "remit__my_remit", "arguments": {}},
}


async def status_of(agent: Agent, token: str | None, method: str = "POST") -> int:
    """The HTTP status that a token gets."""
    headers = {"accept": "application/json, text/event-stream"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    async with httpx2.AsyncClient(timeout=10) as http:
        return (await http.request(method, agent.url, json=CALL, headers=headers)).status_code


@pytest.mark.promise("P5")
async def test_only_the_token_of_an_open_run_opens_the_door(make: Make) -> None:
    practice = make("edr")
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("WS-014")
        short = await gateway.open("WS-014", seconds=1)
        closed = await gateway.open("WS-014")
        await gateway.signed("run.close", run=closed.run)
        for token in (None, "remit_", agent.run, agent.token[:-1], agent.token + "A", agent.token.upper()):
            assert await status_of(agent, token) == 401, token
        assert await status_of(agent, closed.token) == 401
        until = asyncio.get_running_loop().time() + 10
        while await status_of(agent, short.token) != 401:
            assert asyncio.get_running_loop().time() < until
        assert (await agent.call("edr__list_hosts")).done
    async with Gateway.on(practice) as gateway:
        again = await gateway.again(agent)
        assert await status_of(again, closed.token) == 401
        assert await status_of(again, short.token) == 401
        assert (await again.call("edr__list_hosts")).done


@pytest.mark.promise("P5")
async def test_a_run_learns_nothing_of_another_runs_actions_and_cannot_move_them(make: Make) -> None:
    practice = make("idp")
    async with Gateway.on(practice) as gateway:
        victim = await gateway.open("k.adeyemi")
        thief = await gateway.open("k.adeyemi", case="CASE-2")
        held = await gateway.waiting(victim, "idp__disable_account", account="k.adeyemi")
        for guess in (held.action, "act_0000000000000000"):
            for tool in ("remit__await_action", "remit__withdraw"):
                answer = await thief.call(tool, action_id=guess)
                assert answer.error
                assert "has no action" in answer.text, answer.text
        assert practice.actions("disable_account")[0]["state"] == "awaiting_approval"
        await gateway.vote(held.action)
        assert (await held.call).done


@pytest.mark.promise("P5")
async def test_closing_a_run_takes_back_what_it_left_waiting(make: Make) -> None:
    practice = make("idp")
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("k.adeyemi")
        held = await gateway.waiting(agent, "idp__disable_account", account="k.adeyemi")
        vote = await gateway.vote_on(held.action)
        await gateway.signed("run.close", run=agent.run)
        assert (await held.call).state == "withdrawn"
        with pytest.raises(Refused, match="not waiting"):
            await gateway.ask("decide", **vote)
    assert not practice.effects()


@pytest.mark.promise("P5")
async def test_nothing_that_an_agent_is_offered_opens_approves_or_resumes(make: Make) -> None:
    practice = make("idp")
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("k.adeyemi")
        own = {tool.name for tool in await agent.tools() if tool.name.startswith("remit__")}
        assert own == {"remit__await_action", "remit__conclude", "remit__my_remit", "remit__withdraw"}
        held = await gateway.waiting(agent, "idp__disable_account", account="k.adeyemi")
        for name in ("remit__approve", "remit__decide", "remit__resume", "remit__run_open", "decide", "signed"):
            answer = await agent.call(name, action_id=held.action)
            assert answer.error
            assert "unknown-tool" in answer.clauses
        await eventually(lambda: len(practice.records("refusal")) >= 6, "each attempt was on record")
        await held.withdraw()
