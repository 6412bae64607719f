"""Verdicts: what an agent concludes is put on record, and where the boundary asks a person, only once one agrees."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from remit.flow.concluding import is_conclusion
from remit.flow.queries import Stories
from remit.gates.story import render_text
from remit.model.errors import Refusal
from remit.model.words import MINUTE, REMIT, Action, Json, Payload, Run, ScopeKind, State, StopMode
from tests.flow.home import VERDICT, Files
from tests.flow.world import World, memory

TWICE = VERDICT + "quorum = 2\n"


async def home(rules: str = VERDICT) -> World:
    return await World.begin(files=Files(values={"rules": rules}))


async def conclude(world: World, run: Run, verdict: str = "benign", **more: Json) -> Any:
    why = {"summary": "a scan", **more.pop("why", {})}
    return await world.agents.call(run, "remit__conclude", {"verdict": verdict, "rationale": why, **more}, hold=0)


async def waiting(world: World, *targets: str, **more: Json) -> tuple[Run, Action]:
    run = await world.open(*(targets or ("SRV-1",)))
    answer = await conclude(world, run, **more)
    assert answer.state is State.WAITING
    return run, world.action(answer.action)


def verdict(world: World, run: Run) -> str:
    found = world.durable.reads.run(run.id)
    assert found is not None
    assert len(world.records("verdict")) == (1 if found.verdict else 0)
    return found.verdict


def proposed(world: World, run: Run) -> int:
    return sum(each.run == run.id for each in world.records("proposal"))


@pytest.mark.parametrize(
    ("targets", "concluded", "waits"),
    [
        (("SRV-1",), "benign", True),
        (("WS-1", "SRV-1"), "benign", True),
        (("WS-1",), "benign", False),
        (("SRV-1",), "malicious", False),
        (("SRV-1",), "undetermined", False),
        ((), "benign", True),  # a case that names nothing may be about the worst thing there is
    ],
)
async def test_a_verdict_waits_for_a_person_exactly_where_the_boundary_says_so(
    targets: tuple[str, ...], concluded: str, waits: bool
) -> None:
    world = await home()
    run = await world.open(*targets)
    answer = await conclude(world, run, concluded)
    assert (answer.state is State.WAITING) is waits
    assert verdict(world, run) == ("" if waits else concluded)


async def test_without_a_word_in_the_boundary_every_verdict_is_put_on_record(world: World) -> None:
    run = await world.open("SRV-1")
    assert (await conclude(world, run)).state is State.DONE
    assert verdict(world, run) == "benign"


async def test_an_approved_verdict_is_on_record_with_intent_and_outcome_in_one_commit() -> None:
    world = await home()
    run, action = await waiting(world)
    assert (action.category, action.connector, action.targets) == ("verdict.benign", "remit", ("SRV-1",))
    done = await world.approve(action)
    assert (done.state, verdict(world, run)) == (State.DONE, "benign")
    assert world.kinds(action.id) == ["proposal", "vote", "approved", "intent", "verdict", "outcome"]
    body = world.body(world.records("verdict")[0])
    assert (body["verdict"], body["run"]) == ("benign", run.id)
    assert world.body(world.records("intent", action=action.id)[0])["approvers"] == [world.names.person("ann")]
    answer = await world.agents.wait(run, action.id, hold=0)
    assert answer.state is State.DONE


@pytest.mark.parametrize("end", ["reject", "expire", "close", "withdraw", "stop"])
async def test_a_verdict_that_nobody_agreed_to_is_never_the_runs(end: str) -> None:
    world = await home()
    run, action = await waiting(world)
    match end:
        case "reject":
            await world.reject(action)
        case "expire":
            world.clock.advance(31 * 60)
            assert await world.steward.expire() == 1
        case "close":
            await world.runs.close(run.id, "oz")
        case "withdraw":
            await world.agents.call(run, "remit__withdraw", {"action_id": action.id}, hold=0)
        case _:
            await world.steward.void(world.order(StopMode.CUT))
    assert world.action(action.id).state in (State.REJECTED, State.EXPIRED, State.WITHDRAWN, State.VOID)
    with pytest.raises(Refusal):
        await world.approve(action, "cyd")
    await world.steward.execute(action.id)
    assert verdict(world, run) == ""


async def test_as_many_people_must_agree_as_the_boundary_says_and_none_twice() -> None:
    world = await home(TWICE)
    run, action = await waiting(world)
    assert (await world.approve(action)).state is State.WAITING
    with pytest.raises(Refusal):
        await world.approve(action)
    assert verdict(world, run) == ""
    assert (await world.approve(action, "cyd")).state is State.DONE
    assert verdict(world, run) == "benign"


@pytest.mark.parametrize("person", ["oz", "olga", "eve"])
async def test_who_opened_the_run_owns_the_agent_or_has_no_role_cannot_agree(person: str) -> None:
    world = await home()
    run, action = await waiting(world)
    with pytest.raises(Refusal):
        await world.approve(action, person)
    assert verdict(world, run) == ""


async def test_the_same_verdict_again_waits_once_and_tells_nobody_twice() -> None:
    world = await home()
    run, action = await waiting(world)
    again = await conclude(world, run)
    assert (again.action, again.state) == (action.id, State.WAITING)
    assert world.told.codes().count("waiting") == 1
    other = await conclude(world, run, alternatives=["wait"])
    assert other.action != action.id


# --- everything is looked at again ---------------------------------------------------------------------------------


async def test_a_boundary_that_asks_more_people_meanwhile_asks_anew() -> None:
    world = await home()
    run, action = await waiting(world)
    world.at["approved"] = lambda: world.forces.swap(
        replace(
            world.forces.current,
            boundary=replace(
                world.forces.current.boundary,
                verdicts=tuple(
                    replace(each, ask=replace(each.ask, quorum=2)) for each in world.forces.current.boundary.verdicts
                ),
            ),
        )
    )
    assert (await world.approve(action)).state is State.WAITING
    assert verdict(world, run) == ""
    assert "asked.again" in world.kinds(action.id)


async def test_a_stop_between_the_yes_and_the_record_keeps_it_off_the_record() -> None:
    world = await home()
    run, action = await waiting(world)
    world.at["approved"] = lambda: world.stops.place(world.order(StopMode.CUT, ScopeKind.RUN, run.id))
    assert (await world.approve(action)).state in (State.BLOCKED, State.VOID)
    assert verdict(world, run) == ""


async def test_a_run_that_ended_between_the_yes_and_the_record_gets_no_verdict() -> None:
    world = await home()
    run, action = await waiting(world)
    world.at["approved"] = lambda: memory(world).tables.runs.update(
        {run.id: replace(memory(world).tables.runs[run.id], closed_at=world.clock.at)}
    )
    assert (await world.approve(action)).state is State.BLOCKED
    assert verdict(world, run) == ""


@pytest.mark.parametrize(
    ("was", "becomes"), [(b'\\"verdict\\":\\"benign\\"', b'\\"verdict\\":\\"malicious\\"'), (b"a scan", b"a toad")]
)
async def test_a_verdict_that_was_exchanged_while_it_waited_is_not_put_on_record(was: bytes, becomes: bytes) -> None:
    world = await home()
    run, action = await waiting(world)

    def swap() -> None:
        kept = memory(world).tables.payloads
        payload = kept[action.proposal]
        head, marker, tail = payload.data.partition(b'"asked"')
        asked, end, rest = tail.partition(b'"salt"')
        assert was in asked
        data = head + marker + asked.replace(was, becomes) + end + rest
        kept[action.proposal] = Payload(id=payload.id, kind=payload.kind, salt=payload.salt, data=data)

    world.at["approved"] = swap
    assert (await world.approve(action)).state is State.BLOCKED
    assert verdict(world, run) == ""


async def test_an_approved_verdict_survives_a_crash_and_is_put_on_record_at_the_next_start() -> None:
    world = await home()
    run, action = await waiting(world)
    world.store.dies_after = world.store.steps + 1
    with pytest.raises(BaseException):  # noqa: B017 - the process dies
        await world.approve(action)
    await world.restart()
    assert (world.action(action.id).state, verdict(world, run)) == (State.DONE, "benign")


async def test_a_stopped_run_cannot_ask_people_about_a_verdict_and_its_attempt_is_on_record() -> None:
    world = await home()
    run = await world.open("SRV-1")
    world.stops.place(world.order(StopMode.CUT))
    answer = await conclude(world, run)
    assert answer.state == "stopped"
    assert verdict(world, run) == ""
    assert world.kinds(answer.action) == ["proposal"]
    assert world.action(answer.action).state is State.BLOCKED


async def test_no_more_verdicts_of_a_run_wait_than_humans_can_be_asked() -> None:
    world = await home()
    run = await world.open("SRV-1")
    answers = [await conclude(world, run, alternatives=[str(each)]) for each in range(52)]
    assert [each.state for each in answers] == [State.WAITING] * 50 + [State.BLOCKED] * 2
    assert proposed(world, run) == 52
    assert [clause.id for clause in answers[-1].clauses] == ["budget"]


@pytest.mark.promise("P12")
async def test_a_run_that_has_used_its_calls_concludes_once_and_fills_nothing() -> None:
    world = await home()
    run = await world.open("SRV-1", max_calls=1)
    assert (await world.agents.call(run, "siem__search_events", {"text": "a"}, hold=5)).state is State.DONE
    world.stops.place(world.order(StopMode.CUT))
    answers = [await conclude(world, run, alternatives=[str(each)]) for each in range(5)]
    assert answers[0].state == "stopped" and world.kinds(answers[0].action) == ["proposal"]
    assert all("used its calls" in each.message for each in answers[1:])
    assert sum(each.connector == REMIT for each in world.actions()) == 1


@pytest.mark.promise("P12")
@pytest.mark.parametrize(("targets", "told"), [(("SRV-1",), "waiting"), (("WS-1",), "")])
async def test_an_agent_that_goes_away_while_its_verdict_is_written_keeps_neither_record_nor_people_waiting(
    targets: tuple[str, ...], told: str
) -> None:
    world = await home()
    run = await world.open(*targets)
    asked = asyncio.create_task(conclude(world, run))
    await asyncio.sleep(0)  # it has begun, and that is all
    asked.cancel()
    await asyncio.wait([asked])
    for _ in range(20):
        await asyncio.sleep(0)
    assert asked.cancelled()
    assert world.told.codes() == ([told] if told else [])
    assert proposed(world, run) == (1 if told else 0) and verdict(world, run) == ("" if told else "benign")


async def test_a_verdict_citing_more_than_may_be_cited_is_refused(world: World) -> None:
    run = await world.open("SRV-1")
    answer = await conclude(world, run, "malicious", evidence=[f"ev_{each}" for each in range(201)])
    assert answer.state is State.BLOCKED and verdict(world, run) == ""


async def test_the_story_of_a_verdict_that_waited_is_whole() -> None:
    world = await home()
    _, action = await waiting(world, why={"signals": [{"says": "seen before", "evidence": "ev_invented"}]})
    await world.approve(action)
    story = Stories(world.durable.reads).story(action.id)
    assert is_conclusion(action) and story.gaps == ()
    text = render_text(story)
    assert "verdict.benign" in text and "ann approved after" in text and "UNGROUNDED" in text
    assert "signed by lena" in text and "a later verdict takes its place" in text
    assert action.expires_at == action.opened_at + 30 * MINUTE
