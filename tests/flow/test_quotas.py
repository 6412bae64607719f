"""Quotas count distinct targets and actions, over a sliding window, in the step that rules."""

from __future__ import annotations

import asyncio

import pytest

from remit.gates import journal
from remit.model.words import Action, State
from tests.flow.home import Files
from tests.flow.world import World

ALL = tuple(f"WS-{number}" for number in range(1, 7))


def spent(action: Action) -> bool:
    """Whether the quota decided."""
    return "Q-ISO" in journal.clause_ids(action.ruling.clauses)


@pytest.mark.promise("P10")
async def test_a_target_beyond_the_quota_waits_and_one_that_counts_already_does_not(any_world: World) -> None:
    world = any_world
    run = await world.open(*ALL)
    for name in ALL[:3]:
        assert (await world.do(run, "edr__isolate_host", host=name)).state is State.DONE
    assert (await world.do(run, "edr__isolate_host", host="laptop-1")).state is State.DONE
    beyond = await world.do(run, "edr__isolate_host", host=ALL[3])
    assert (beyond.state, spent(beyond)) == (State.WAITING, True)


@pytest.mark.promise("P10")
async def test_two_calls_at_once_cannot_share_the_last_slot(any_world: World) -> None:
    world = any_world
    run = await world.open(*ALL)
    proposals = [world.propose(run, "edr__isolate_host", host=name) for name in ALL]
    await asyncio.gather(*proposals)
    await world.settle_down()
    assert len(world.lab.effects) == 3
    assert len(world.actions(State.WAITING)) == 3


@pytest.mark.promise("P10")
async def test_the_window_slides_and_counts_from_the_end_of_the_action(world: World) -> None:
    run = await world.open(*ALL)
    world.lab.next("isolate_host", "hang")
    slow = await world.propose(run, "edr__isolate_host", host=ALL[0])
    hanging = await world.lab.handed("isolate_host")
    for name in ALL[1:3]:
        await world.do(run, "edr__isolate_host", host=name)
    world.clock.advance(14 * 60)
    world.lab.release(hanging)
    await world.done(slow)
    world.clock.advance(2 * 60)
    # the two quick ones have left the window, the slow one counts for another thirteen minutes
    assert (await world.do(run, "edr__isolate_host", host=ALL[3])).state is State.DONE
    assert (await world.do(run, "edr__isolate_host", host=ALL[4])).state is State.DONE
    assert spent(await world.do(run, "edr__isolate_host", host=ALL[5]))


@pytest.mark.promise("P10")
@pytest.mark.promise("P7")
async def test_an_unknown_outcome_keeps_its_share_until_it_is_settled_and_then_for_the_window(world: World) -> None:
    run = await world.open(*ALL, seconds=86_400)
    lost = []
    for name in ALL[:3]:
        world.lab.next("isolate_host", "lost")
        lost.append(await world.do(run, "edr__isolate_host", host=name))
    world.clock.advance(3600)
    assert spent(await world.do(run, "edr__isolate_host", host=ALL[3]))
    await world.settling.settle(lost[0].id, False, "bob")
    assert spent(await world.do(run, "edr__isolate_host", host=ALL[4]))
    world.clock.advance(15 * 60 + 1)
    assert (await world.do(run, "edr__isolate_host", host=ALL[5])).state is State.DONE


@pytest.mark.promise("P10")
async def test_every_member_of_a_batch_counts_and_a_batch_is_all_or_nothing(world: World) -> None:
    run = await world.open(*ALL)
    assert spent(await world.do(run, "edr__isolate_hosts", hosts=list(ALL[:4])))
    assert (await world.do(run, "edr__isolate_hosts", hosts=list(ALL[:3]))).state is State.DONE
    assert spent(await world.do(run, "edr__isolate_hosts", hosts=[ALL[0], ALL[3]]))
    assert len(world.lab.effects) == 1


@pytest.mark.promise("P10")
async def test_the_number_of_actions_is_capped_too(world: World) -> None:
    world.files.change(most_actions="2")
    await world.reload()
    run = await world.open(*ALL)
    states = [(await world.do(run, "edr__isolate_host", host="WS-1", reason=f"{n}")).state for n in range(3)]
    assert states == [State.DONE, State.DONE, State.WAITING]


@pytest.mark.promise("P10")
async def test_one_quota_is_one_counter_over_all_agents_and_runs(world: World) -> None:
    runs = [await world.open(*ALL), await world.open(*ALL, agent="hunt"), await world.open(*ALL)]
    for run, name in zip(runs, ALL, strict=False):
        assert (await world.do(run, "edr__isolate_host", host=name)).state is State.DONE
    assert spent(await world.do(runs[0], "edr__isolate_host", host=ALL[3]))


@pytest.mark.promise("P10")
async def test_approved_actions_count_and_what_only_waits_does_not(world: World) -> None:
    run = await world.open(*ALL, "SRV-1")
    waiting = await world.do(run, "edr__isolate_host", host="SRV-1")
    for name in ALL[:2]:
        assert (await world.do(run, "edr__isolate_host", host=name)).state is State.DONE
    assert (await world.approve(waiting)).state is State.DONE
    assert spent(await world.do(run, "edr__isolate_host", host=ALL[2]))


@pytest.mark.promise("P10")
async def test_a_quota_that_forbids_refuses_what_was_approved_before_it_ran_out() -> None:
    world = await World.begin(files=Files({"exhausted": "forbid"}))
    run = await world.open(*ALL, "SRV-1")
    waiting = await world.do(run, "edr__isolate_host", host="SRV-1")
    for name in ALL[:3]:
        assert (await world.do(run, "edr__isolate_host", host=name)).state is State.DONE
    after = await world.approve(waiting)
    assert (after.state, spent(after)) == (State.BLOCKED, True)
    assert len(world.lab.effects) == 3


@pytest.mark.promise("P10")
@pytest.mark.promise("P8")
async def test_a_set_that_cannot_be_counted_never_goes_by_itself(world: World) -> None:
    run = await world.open(*ALL)
    for group in ("*", "WS-*", "10.0.0.0/8", "nobody"):
        assert (await world.do(run, "edr__isolate_group", group=group)).state is not State.DONE
    assert world.lab.effects == []


@pytest.mark.promise("P10")
async def test_the_members_of_a_group_count_each(world: World) -> None:
    run = await world.open(*ALL)
    assert (await world.do(run, "edr__isolate_group", group="floor")).state is State.DONE
    assert spent(await world.do(run, "edr__isolate_host", host="WS-4"))


@pytest.mark.promise("P10")
async def test_a_restart_forgets_nothing_that_was_spent(world: World) -> None:
    run = await world.open(*ALL)
    for name in ALL[:2]:
        await world.do(run, "edr__isolate_host", host=name)
    world.lab.next("isolate_host", "hang")
    await world.propose(run, "edr__isolate_host", host=ALL[2])
    await world.lab.handed("isolate_host")
    await world.restart()
    assert spent(await world.do(run, "edr__isolate_host", host=ALL[3]))
    world.clock.advance(16 * 60)
    for name in ALL[3:5]:
        assert (await world.do(run, "edr__isolate_host", host=name, reason="x")).state is State.DONE
    assert spent(await world.do(run, "edr__isolate_host", host=ALL[5]))  # the unknown one still holds its slot
