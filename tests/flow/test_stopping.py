"""The latch in force: memory, file and marker, and how they are lifted."""

from __future__ import annotations

import pytest

from remit.flow.stop_desk import LATCHED_BY_FILE
from remit.flow.stopping import Stops
from remit.gates import stop
from remit.gates.stop import Latch, Subject
from remit.model.errors import Misuse, Refusal
from remit.model.words import Effect, Scope, ScopeKind, State, StopMode, StopOrder
from tests.flow.home import NOW, Files
from tests.flow.world import KeptLatch, World, memory

READ = Subject(agent="triage", effect=Effect.READ)
FULL = OSError(28, "No space left on device")


def order(stop_id: str = "stp_1", mode: StopMode = StopMode.CUT, scope: Scope | None = None) -> StopOrder:
    """An order by somebody."""
    return StopOrder(id=stop_id, mode=mode, scope=scope or Scope(), at=NOW, by="bob")


@pytest.mark.promise("P6")
def test_a_stop_latches_across_restarts() -> None:
    file = KeptLatch()
    assert Stops(file).place(order()) == ""
    assert Stops(file).check(READ) == order()


@pytest.mark.promise("P6")
def test_a_stop_holds_in_memory_although_its_file_cannot_be_written_and_says_so() -> None:
    file = KeptLatch()
    stops = Stops(file)
    file.failing = FULL
    assert "No space left" in stops.place(order())
    assert stops.check(READ) is not None


@pytest.mark.promise("P6")
def test_a_resume_that_cannot_be_made_durable_is_no_resume() -> None:
    file = KeptLatch()
    stops = Stops(file)
    stops.place(order())
    file.failing = FULL
    assert stops.lift(frozenset(["stp_1"])) != ""
    assert stops.check(READ) is not None
    file.failing = None
    assert stops.lift(frozenset(["stp_1"])) == ""
    assert stops.check(READ) is None


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    "data", [b"", b"\0", b"{", b'{"version":2,"orders":[]}', b'{"version":1,"orders":[]}', b"\xff\xfe"]
)
def test_a_latch_file_that_cannot_be_read_refuses_everything(data: bytes) -> None:
    file = KeptLatch()
    file.data = data
    stops = Stops(file)
    found = stops.check(READ)
    assert found is not None
    assert found.id == stop.BLIND_ID


@pytest.mark.promise("P6")
def test_a_stop_placed_on_a_latch_that_could_not_be_read_never_makes_it_readable_as_less() -> None:
    file = KeptLatch()
    file.data = b'{"version":1,"orders":[{"id":"stp_lost","mo'
    stops = Stops(file)
    stops.place(order(mode=StopMode.HOLD, scope=Scope(ScopeKind.AGENT, "hunt")))
    assert stops.check(READ) is not None
    again = Stops(file)
    assert again.check(READ) is not None
    assert again.lift(frozenset(each.id for each in again.current.orders)) == ""
    assert again.check(READ) is None


@pytest.mark.promise("P6")
def test_lifting_orders_never_opens_the_eyes_of_a_blind_latch() -> None:
    file = KeptLatch()
    file.data = b"torn"
    stops = Stops(file)
    stops.place(order())
    stops.lift(frozenset(["stp_1"]))
    assert stops.check(READ) is not None


def test_the_marker_refuses_everything_while_it_is_there_and_never_reaches_the_file() -> None:
    file = KeptLatch()
    stops = Stops(file)
    stops.see_marker(stop.marker_order(NOW))
    assert stops.check(READ) is not None
    stops.place(order())
    stops.lift(frozenset(["stp_1", stop.MARKER_ID]))
    assert stops.check(READ) is not None
    assert Stops(file).check(READ) is None
    stops.see_marker(None)
    assert stops.check(READ) is None


@pytest.mark.promise("P6")
def test_rereading_adds_what_another_process_latched_and_lifts_nothing() -> None:
    file = KeptLatch()
    stops = Stops(file)
    stops.place(order("stp_mine", scope=Scope(ScopeKind.AGENT, "hunt")))
    file.data = stop.encode(Latch((order("stp_theirs", scope=Scope(ScopeKind.AGENT, "triage")),)))
    stops.reread()
    assert {each.id for each in stops.current.orders} == {"stp_mine", "stp_theirs"}
    file.data = b"torn"
    stops.reread()
    assert stops.check(Subject(agent="somebody", effect=Effect.READ)) is not None


def test_the_strictest_order_is_the_one_that_is_named() -> None:
    stops = Stops(KeptLatch())
    stops.place(order("stp_hold", StopMode.HOLD))
    stops.place(order("stp_cut", StopMode.CUT))
    stops.place(order("stp_drain", StopMode.DRAIN))
    found = stops.check(Subject(agent="triage"))
    assert found is not None
    assert found.id == "stp_cut"


# --- the desk -----------------------------------------------------------------------------------------------------


@pytest.mark.promise("P6")
async def test_a_stop_with_the_store_and_the_disk_full_still_stops(world: World) -> None:
    run = await world.open("WS-1")
    world.lab.next("isolate_host", "hang")
    action = await world.propose(run, "edr__isolate_host", host="WS-1")
    await world.lab.handed("isolate_host")
    memory(world).sicken("the disk is full")
    world.latch.failing = FULL
    report = world.desk.stop(world.order())
    assert report.severed == (action.id,)
    assert "No space left" in report.problem
    memory(world).sicken("")
    assert (await world.do(run, "edr__host_status", host="WS-1")).state is State.BLOCKED
    assert (await world.done(action)).state is State.CUT


@pytest.mark.promise("P6")
async def test_after_a_restart_a_stop_still_holds_and_what_waited_is_void(world: World) -> None:
    run = await world.open("WS-1")
    action = await world.do(run, "idp__disable_account", account="j.doe")
    world.stops.place(world.order())
    await world.restart()
    assert world.action(action.id).state is State.VOID
    assert (await world.do(run, "edr__host_status", host="WS-1")).state is State.BLOCKED


@pytest.mark.promise("P6")
async def test_a_node_that_starts_blind_executes_nothing_that_was_approved(world: World) -> None:
    run = await world.open("WS-1")
    action = await world.do(run, "idp__disable_account", account="j.doe")
    world.store.dies_after = world.store.steps + 1
    with pytest.raises(BaseException):  # noqa: B017 - the process dies
        await world.decide(world.vote(action, "ann"))
    assert world.action(action.id).state is State.APPROVED
    world.latch.data = b"torn"
    await world.restart()
    assert world.action(action.id).state is not State.APPROVED
    assert world.lab.effects == []


async def test_a_resume_is_recorded_told_and_lifts_only_what_it_names(world: World) -> None:
    first, second = world.order(), world.order(StopMode.HOLD, ScopeKind.AGENT, "hunt")
    world.desk.stop(first)
    world.desk.stop(second)
    await world.resume("lena", first.id)
    assert world.orders() == (second,)
    assert [world.body(each)["stop"] for each in world.records("resume")] == [first.id]
    assert "resumed" in world.told.codes()
    with pytest.raises(Misuse):
        await world.resume("lena", first.id)


@pytest.mark.promise("P6")
async def test_a_resume_is_refused_while_the_marker_is_there_or_the_latch_is_blind(world: World) -> None:
    world.desk.see_marker(stop.marker_order(NOW))
    with pytest.raises(Refusal):
        await world.resume()
    world.desk.see_marker(None)
    world.latch.data = b"torn"
    world.stops.reread()
    with pytest.raises(Refusal):
        await world.resume()


async def test_what_the_marker_stopped_stays_stopped_when_it_goes_until_somebody_resumes(world: World) -> None:
    world.desk.see_marker(stop.marker_order(NOW))
    with pytest.raises(Refusal, match="while it is there it wins"):
        await world.resume("lena", LATCHED_BY_FILE)
    world.desk.see_marker(None)
    assert [each.id for each in world.orders()] == [LATCHED_BY_FILE]
    assert "was put into" in world.orders()[0].reason
    await world.resume("lena")
    assert world.orders() == ()


@pytest.mark.promise("P6")
async def test_mending_a_blind_latch_lifts_nothing_and_is_on_record(world: World) -> None:
    run = await world.open("WS-1")
    waiting = await world.do(run, "idp__disable_account", account="j.doe")
    known = world.order(StopMode.HOLD, ScopeKind.AGENT, "hunt")
    world.desk.stop(known)
    world.latch.data = b"torn"
    world.stops.reread()
    mended = stop.mended_order("stp_new", world.clock.now(), "lena", "the disk was replaced")
    assert "cannot be read" in await world.desk.mend(mended)
    assert world.orders() == stop.decode(world.latch.data).orders == (known, mended)
    assert (await world.do(run, "edr__host_status", host="WS-1")).state is State.BLOCKED
    assert world.action(waiting.id).state is State.VOID
    assert [world.body(each)["stop"] for each in world.records("latch.mended", "stop")][-2:] == ["stp_new", "stp_new"]
    assert "latch-mended" in world.told.codes()
    await world.resume("bob", known.id, "stp_new")
    assert (await world.do(run, "edr__host_status", host="WS-1")).state is State.DONE


@pytest.mark.promise("P6")
async def test_a_latch_that_can_be_read_or_a_disk_that_is_full_mends_nothing(world: World) -> None:
    mended = stop.mended_order("stp_new", NOW, "lena", "why")
    with pytest.raises(Refusal, match="nothing to mend"):
        await world.desk.mend(mended)
    world.latch.data = b"torn"
    world.stops.reread()
    world.latch.failing = FULL
    with pytest.raises(Refusal, match="No space left"):
        await world.desk.mend(mended)
    assert world.stops.current.blind
    assert world.latch.data == b"torn"


def test_mending_keeps_what_the_file_turns_out_to_hold() -> None:
    file = KeptLatch()
    file.data = b"torn"
    stops = Stops(file)
    file.data = stop.encode(Latch((order("stp_restored"),)))
    stops.mend(order("stp_new"))
    assert [each.id for each in stops.current.orders] == ["stp_restored", "stp_new"]


@pytest.mark.promise("P6")
async def test_a_resume_whose_record_cannot_be_written_lifts_nothing(world: World) -> None:
    world.desk.stop(world.order())
    memory(world).sicken("the disk is full")
    with pytest.raises(Exception, match="disk is full"):
        await world.resume()
    assert len(world.orders()) == 1


async def test_a_boundary_that_asks_for_another_person_does_not_let_who_stopped_resume() -> None:
    world = await World.begin(files=Files({"another_person": "true"}))
    world.desk.stop(world.order(by="bob"))
    with pytest.raises(Refusal):
        await world.resume("bob")
    await world.resume("lena")
    assert world.orders() == ()


async def test_an_automatic_hold_can_be_lifted_by_one_human_and_does_not_come_back(world: World) -> None:
    run = await world.open("WS-1")
    for _ in range(3):
        await world.do(run, "edr__isolate_host", host="DC-1")
    assert len(world.orders()) == 1
    await world.resume("bob")
    await world.restart()
    assert world.orders() == ()
    assert (await world.do(run, "edr__isolate_host", host="WS-1")).state is State.DONE


async def test_a_refusal_after_a_hold_was_lifted_holds_the_agent_again(world: World) -> None:
    run = await world.open("WS-1")
    for _ in range(3):
        await world.do(run, "edr__isolate_host", host="DC-1")
    await world.resume("bob")
    await world.do(run, "edr__isolate_host", host="DC-1")
    assert len(world.orders()) == 1


@pytest.mark.promise("P8")
async def test_lifting_a_stop_of_something_else_does_not_forgive_a_clock_jump(world: World) -> None:
    one = world.order(StopMode.CUT, ScopeKind.AGENT, "hunt")
    world.desk.stop(one)
    world.clock.jump = "the wall clock jumped"
    await world.resume("lena", one.id)
    assert world.clock.jumped() != ""
    clock = world.order(StopMode.HOLD, automatic=True)
    world.desk.stop(clock)
    await world.resume("lena", clock.id)
    assert world.clock.jumped() == ""
