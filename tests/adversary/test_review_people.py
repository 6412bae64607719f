"""Ways round the signatures of a widening, and round a stop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec import ValidationError, convert
from msgspec.structs import replace

from remit.adapters.home.folder import Home
from remit.adapters.home.latch_file import FileLatch
from remit.adapters.home.watching import MarkerWatch
from remit.flow.runs import Order
from remit.flow.stopping import Stops
from remit.gates.boundary.changes import widens
from remit.gates.boundary.evaluator import compile_boundary
from remit.gates.boundary.load import load
from remit.gates.boundary.words import Boundary, Request
from remit.gates.stop import order_of
from remit.model.words import Decision, Effect, Label, Mandate, ScopeKind, State, StopMode, StopOrder, Target
from tests.flow.home import NOW, Files
from tests.flow.world import World

STRICT = """
[[rule]]
id = "STRICT"
then = "auto"
agents = ["triage"]
categories = ["host.release"]
targets = {{ kind = ["workstation"] }}
{more}
[[rule]]
id = "LOOSE"
then = "auto"
agents = ["triage"]
categories = ["host.release"]
in_mandate = false
"""
ASKED = """
[[rule]]
id = "G"
then = "approve"
agents = ["triage"]
categories = ["host.isolate"]
"""


def ruled(boundary: Boundary, mandate: tuple[str, ...]) -> Decision:
    request = Request(
        agent="triage",
        category="host.release",
        effect=Effect.CHANGE,
        connector="edr",
        tool="release_host",
        at=NOW,
        targets=(Target(id="WS-1", kind="workstation", privileged=False),),
        mandate=Mandate(mandate, ("host.release",)),
        label=Label(),
    )
    return compile_boundary(boundary, "digest").rule(request, {}).decision


@pytest.mark.promise("P3")
@pytest.mark.parametrize(
    ("more", "mandate"),
    [('label = { integrity = "operator" }', ("WS-1",)), ("in_mandate = true", ())],
    ids=["label", "mandate"],
)
def test_dropping_a_rule_that_held_another_back_widens(more: str, mandate: tuple[str, ...]) -> None:
    whole = load(Files(values={"rules": STRICT.format(more=more)}).boundary_bytes())
    old = replace(whole, rules=tuple(rule for rule in whole.rules if rule.id != "ASK-1"))
    new = replace(old, version=2, rules=tuple(rule for rule in old.rules if rule.id != "STRICT"))
    assert (ruled(old, mandate), ruled(new, mandate)) == (Decision.APPROVE, Decision.AUTO)
    assert widens(old, new)


@pytest.mark.promise("P3")
@pytest.mark.parametrize(
    ("before", "after", "wider"),
    [
        ("", "witnessed = true", False),
        ("witnessed = true", 'witnessed = true\nunwitnessed = "forbid"', False),
        ("witnessed = true", "", True),
        ('witnessed = true\nunwitnessed = "forbid"', "witnessed = true", True),
        ('witnessed = true\nunwitnessed = "forbid"', "", True),
        ("", 'undo = "host.release"', True),
    ],
)
def test_only_asking_for_more_witnessing_tightens(before: str, after: str, wider: bool) -> None:
    old, new = (load(Files(values={"isolate": each}).boundary_bytes()) for each in (before, after))
    assert widens(old, new) is wider


def test_dropping_a_rule_that_held_nothing_back_only_tightens() -> None:
    old = load(Files().boundary_bytes())
    new = replace(old, version=2, rules=tuple(rule for rule in old.rules if rule.id != "ISO-1"))
    assert not widens(old, new)


@pytest.mark.promise("P5")
def test_a_signed_order_with_a_limit_that_is_not_known_opens_no_run() -> None:
    with pytest.raises(ValidationError):
        convert({"agent": "triage", "case": "c", "most_targets": 1}, Order)


@pytest.mark.promise("P6")
async def test_a_stop_whose_reason_is_not_utf8_cuts_and_is_durable(world: World) -> None:
    run = await world.open("WS-1")
    world.lab.next("isolate_host", "hang")
    action = await world.propose(run, "edr__isolate_host", host="WS-1")
    await world.lab.handed("isolate_host")
    report = world.desk.stop(order_of({"reason": "B\udcfcro"}, "n\udcf6", "stp_1", NOW))
    assert (report.severed, report.problem) == ((action.id,), "")
    assert [order.id for order in world.latch.read().orders] == ["stp_1"]
    assert (await world.done(action)).state is State.CUT


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    "params",
    [{"scope": ["agent"], "name": "a"}, {"mode": {}}, {"scope": "run", "name": "x" * 70_000}, {"name": "\ud800"}],
)
def test_a_stop_that_is_not_clear_stops_everything(params: dict[str, object]) -> None:
    order = order_of(dict(params), "bob", "stp_1", NOW)
    assert (order.mode, order.scope.kind) == (StopMode.CUT, ScopeKind.EVERYTHING)


@pytest.mark.promise("P6")
async def test_a_stop_of_one_target_covers_changes_that_may_touch_any() -> None:
    files = Files(values={"rules": ASKED})
    world = await World.begin(files=files)
    run = await world.open("j.doe")
    world.desk.stop(world.order(StopMode.CUT, ScopeKind.TARGET, "j.doe"))
    action = await world.propose(run, "edr__isolate_group", group="10.0.0.0/8")
    assert "stop" in [clause.id for clause in action.ruling.clauses]
    read = await world.do(run, "siem__search_events", text="a")
    assert read.state is State.DONE


def made(folder: Path) -> FileLatch:
    latch = FileLatch(folder / "latch")
    latch.create()
    return latch


@pytest.mark.promise("P6")
def test_a_stop_that_another_process_latched_is_not_overwritten_by_the_next(tmp_path: Path) -> None:
    latch = made(tmp_path)
    gateway, command = Stops(latch), Stops(latch)
    command.place(order_of({}, "bob", "stp_command", NOW))
    gateway.place(order_of({"scope": "agent", "name": "a"}, "bob", "stp_gateway", NOW))
    assert [order.id for order in latch.read().orders] == ["stp_gateway", "stp_command"]
    assert [order.id for order in gateway.current.orders] == ["stp_gateway", "stp_command"]
    gateway.lift(frozenset({"stp_gateway"}))
    assert [order.id for order in latch.read().orders] == ["stp_command"]


@pytest.mark.promise("P6")
async def test_a_stop_that_was_latched_while_the_gateway_started_is_in_force_when_it_runs(tmp_path: Path) -> None:
    latch = made(tmp_path)
    starting = Stops(latch)
    told: list[StopOrder] = []
    Stops(latch).place(order_of({}, "bob", "stp_command", NOW))
    watch = MarkerWatch(
        Home(tmp_path).marker,
        lambda present: None,
        interval=0.001,
        latch=tmp_path / "latch",
        latched=lambda: told.extend(starting.reread()),
    )
    watch.start()
    try:
        assert [order.id for order in told] == ["stp_command"]
        Stops(latch).place(order_of({}, "bob", "stp_later", NOW))
        async with asyncio.timeout(5):
            while len(told) < 2:
                await asyncio.sleep(0.001)
        assert [order.id for order in starting.current.orders] == ["stp_command", "stp_later"]
    finally:
        watch.close()


@pytest.mark.promise("P6")
async def test_a_desk_that_hears_of_another_process_stop_cuts_what_is_in_flight(world: World) -> None:
    run = await world.open("WS-1")
    world.lab.next("isolate_host", "hang")
    action = await world.propose(run, "edr__isolate_host", host="WS-1")
    await world.lab.handed("isolate_host")
    Stops(world.latch).place(order_of({}, "bob", "stp_command", NOW))
    (report,) = world.desk.reread()
    assert report.severed == (action.id,)
    assert world.desk.reread() == ()
