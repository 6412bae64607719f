"""What comes into force, and everything that does not: whole, signed, in order, and on record first."""

from __future__ import annotations

import asyncio

import pytest

from remit.flow.loading import Signed, expiry_warning
from remit.flow.reloading import INVENTORY
from remit.model.errors import Misuse, NotCommitted, NotVerified, RemitError
from remit.model.reading import Unreadable
from remit.model.signatures import Namespace
from remit.model.words import State
from tests.flow.home import INVENTORY as TARGETS
from tests.flow.home import NOW, Files, digest, roster_bytes, signed
from tests.flow.lab import definition
from tests.flow.world import World, memory

DAY = 24 * 60 * 60 * 1_000_000


async def refused(world: World, kind: type[RemitError] = NotVerified, *, record: str = "boundary.refused") -> str:
    """Reload, which must be refused whole: what is in force, and the connectors, stay as they were."""
    before, applied, facts = world.forces.current, len(world.lab.applied), memory(world).tables.facts.copy()
    with pytest.raises(kind) as error:
        await world.reload()
    assert world.forces.current is before
    assert len(world.lab.applied) == applied
    assert memory(world).tables.facts == facts
    assert world.records()[-1].kind == record
    assert world.told[-1]["code"] == "not-loaded"
    return error.value.message


# --- P3: what is not properly signed is not loaded ----------------------------------------------------------------


@pytest.mark.promise("P3")
@pytest.mark.parametrize("signers", [(), ("ann",), ("oz", "eve"), ("mallory",)])
async def test_a_boundary_that_no_leader_signed_is_refused_at_reload_and_at_start(
    world: World, signers: tuple[str, ...]
) -> None:
    world.files.change(most_targets="100")
    world.files.signers = signers
    await refused(world)
    with pytest.raises(NotVerified):
        await world.restart()


@pytest.mark.promise("P3")
async def test_a_boundary_with_one_byte_changed_after_signing_is_refused(world: World) -> None:
    world.files.change(most_targets="1")
    good = world.files.boundary()
    world.files.boundary_override = Signed(good.data.replace(b"max_actions = 20", b"max_actions = 21"), good.signatures)
    await refused(world)
    world.files.boundary_override = signed(good.data, Namespace.ROSTER, "lena")
    await refused(world)
    world.files.boundary_override = good
    await world.reload()


@pytest.mark.promise("P3")
async def test_a_lower_or_equal_version_with_other_bytes_is_refused_and_the_same_bytes_load_again(world: World) -> None:
    world.files.change()
    await world.reload()
    await world.reload()
    world.files.values["version"] = "1"
    assert "version" in await refused(world)
    world.files.values = {"version": "2", "most_targets": "1"}
    assert "version" in await refused(world)
    with pytest.raises(NotVerified):
        await world.restart()


@pytest.mark.promise("P3")
async def test_a_boundary_that_is_not_yet_valid_is_refused(world: World) -> None:
    world.files.change(not_before="2027-02-01T00:00:00Z")
    assert "not valid yet" in await refused(world)


@pytest.mark.promise("P3")
async def test_a_widening_needs_as_many_leaders_as_the_old_and_the_new_file_say() -> None:
    world = await World.begin(files=Files({"widen": "2"}, signers=("lena", "lars")))
    world.files.signers = ("lena",)
    world.files.change(most_targets="4")
    await refused(world)
    world.files.change(widen="1")
    await refused(world)  # the new file may not say that fewer are enough
    world.files.signers = ("lena", "lars")
    await world.reload()


@pytest.mark.promise("P3")
async def test_a_certain_tightening_needs_only_as_many_as_a_tightening_does() -> None:
    world = await World.begin(files=Files({"widen": "2"}, signers=("lena", "lars")))
    world.files.signers = ("lena",)
    world.files.change(not_after="2027-02-01T00:00:00Z")
    await world.reload()
    assert world.forces.current.boundary.version == 2


@pytest.mark.promise("P3")
async def test_two_signatures_of_one_leader_count_once() -> None:
    world = await World.begin(files=Files({"widen": "2"}, signers=("lena", "lars")))
    world.files.change(most_targets="4")
    data = world.files.boundary_bytes()
    twice = signed(data, Namespace.BOUNDARY, "lena").signatures["lena"]
    world.files.boundary_override = Signed(data, {"lena": twice, "lars": twice})
    await refused(world)


@pytest.mark.promise("P3")
@pytest.mark.promise("P8")
async def test_a_connector_file_that_is_not_the_pinned_one_is_refused(world: World) -> None:
    pinned = world.files.boundary()
    world.files.boundary_override = pinned
    kept = world.files.connectors["edr"]
    world.files.connectors["edr"] = kept.replace('effect = "destroy"', 'effect = "read"')
    assert "pins" in await refused(world)
    del world.files.connectors["edr"]
    assert "pins" in await refused(world)
    world.files.connectors["edr"] = kept
    await world.reload()


@pytest.mark.promise("P3")
async def test_a_file_that_cannot_be_read_is_refused(world: World) -> None:
    for data in (b"", b"\xff", b"[boundary]\nname = 1", world.files.boundary_bytes() + b"\n[boundary]\n"):
        world.files.boundary_override = signed(data, Namespace.BOUNDARY, "lena")
        await refused(world, Unreadable)


# --- the roster ---------------------------------------------------------------------------------------------------


@pytest.mark.promise("P3")
async def test_a_roster_that_is_not_signed_under_the_one_before_is_refused(world: World) -> None:
    other = roster_bytes(2, without=["eve"])
    unsigned = Signed(other, {})
    by_nobody, wrong_kind = signed(other, Namespace.ROSTER, "ann"), signed(other, Namespace.BOUNDARY, "lena")
    for offered in (
        unsigned,
        by_nobody,
        wrong_kind,
        signed(roster_bytes(1, without=["eve"]), Namespace.ROSTER, "lena"),
    ):
        world.files.people = offered
        await refused(world, record="roster.refused")
    world.files.people = signed(other, Namespace.ROSTER, "lena")
    await world.reload()
    assert world.forces.current.roster.person("eve") is None
    assert world.body(world.records("roster.loaded")[-1])["signers"] == [world.names.person("lena")]


@pytest.mark.promise("P3")
async def test_who_left_the_roster_cannot_sign_the_next_one_nor_a_boundary(world: World) -> None:
    world.files.people = signed(roster_bytes(2, without=["lars"]), Namespace.ROSTER, "lars")
    await world.reload()
    world.files.people = signed(roster_bytes(3), Namespace.ROSTER, "lars")
    await refused(world, record="roster.refused")
    world.files.people = Signed(roster_bytes(2, without=["lars"]), {})
    world.files.signers = ("lars",)
    world.files.change()
    await refused(world)


@pytest.mark.promise("P3")
async def test_the_roster_on_record_counts_although_the_file_was_put_back(world: World) -> None:
    world.files.people = signed(roster_bytes(2, without=["ann"]), Namespace.ROSTER, "lena")
    await world.reload()
    world.files.people = Signed(roster_bytes(1), {})
    await refused(world, record="roster.refused")


# --- atomic -------------------------------------------------------------------------------------------------------


@pytest.mark.promise("P1")
async def test_a_load_whose_record_cannot_be_written_changes_nothing(world: World) -> None:
    before, applied = world.forces.current, len(world.lab.applied)
    world.files.change(most_targets="1")
    memory(world).fail_next("not_applied")
    with pytest.raises(NotCommitted):
        await world.reload()
    assert world.forces.current is before
    assert len(world.lab.applied) == applied
    await world.reload()
    assert world.forces.current.boundary.version == 2


async def test_a_reload_while_calls_run_ends_none_of_them(world: World) -> None:
    run = await world.open("WS-1")
    world.lab.next("isolate_host", "hang")
    action = await world.propose(run, "edr__isolate_host", host="WS-1")
    hanging = await world.lab.handed("isolate_host")
    world.files.change(most_targets="1")
    await asyncio.gather(world.reload(), world.propose(run, "siem__search_events"))
    world.lab.release(hanging)
    assert (await world.done(action)).state is State.DONE


async def test_every_load_is_on_record_with_its_digest_version_and_signers(world: World) -> None:
    loaded = world.body(world.records("boundary.loaded")[-1])
    assert loaded["digest"] == world.forces.current.boundary_digest == digest(world.files.boundary_bytes())
    assert (loaded["version"], loaded["signers"], loaded["expired"]) == (1, [world.names.person("lena")], False)


# --- expiry -------------------------------------------------------------------------------------------------------


@pytest.mark.promise("P3")
@pytest.mark.parametrize(
    ("days", "says"),
    [(31, ""), (30, "inside 30 days"), (14.5, "inside 30"), (14, "inside 14"), (3, "inside 3"), (0.5, "within a day")],
)
async def test_status_warns_thirty_fourteen_and_three_days_ahead(world: World, days: float, says: str) -> None:
    boundary = world.forces.current.boundary
    warning = expiry_warning(boundary, boundary.not_after - int(days * DAY))
    assert (says in warning) if says else warning == ""


@pytest.mark.promise("P3")
async def test_an_expired_boundary_loads_loudly(world: World) -> None:
    world.clock.at = world.forces.current.boundary.not_after
    await world.restart()
    assert "EXPIRED" in world.reloading.report(world.forces.current).warning
    assert world.body(world.records("boundary.loaded")[-1])["expired"] is True


# --- the inventory ------------------------------------------------------------------------------------------------


@pytest.mark.promise("P5")
@pytest.mark.parametrize(
    ("before", "after", "target"),
    [
        ("WS-P,workstation,yes", "WS-P,workstation,no", "WS-P"),
        ("SRV-1,server,no", "SRV-1,workstation,no", "SRV-1"),
        ("DC-1,domain-controller,yes", "DC-1,workstation,no", "DC-1"),
        ("adm,account,yes", "adm,account,", "adm"),
        ("WS-6,workstation,no,,,", "WS-6,workstation,no,,,\nWS-7,workstation,no,,,", "WS-7"),
    ],
)
async def test_an_inventory_that_loosens_waits_for_acceptance(
    world: World, before: str, after: str, target: str
) -> None:
    changed = TARGETS.replace(before, after).encode()
    assert changed != TARGETS.encode()
    standing = world.forces.current.inventory.by_id.get(target)
    world.files.targets = changed
    await world.reload()
    if target == "adm":  # what is not known is read as the worst: that tightens
        return
    assert world.forces.current.inventory.by_id.get(target) == standing
    assert any(target in each for each in world.reloading.report(world.forces.current).inventory_waits)
    assert world.records("inventory.waiting")
    await world.restart()
    assert world.forces.current.inventory.by_id.get(target) == standing
    with pytest.raises(Misuse):
        await world.reloading.accept_inventory(digest(TARGETS.encode()))
    await world.reloading.accept_inventory(digest(changed))
    assert world.forces.current.inventory.by_id.get(target) != standing
    assert world.reloading.report(world.forces.current).inventory_waits == ()


@pytest.mark.promise("P8")
async def test_what_tightens_applies_at_once_although_something_else_in_the_file_waits(world: World) -> None:
    run = await world.open("WS-1", "WS-2")
    changed = TARGETS.replace("WS-2,workstation,no", "WS-2,workstation,yes").replace("WS-P,workstation,yes", "WS-P,,no")
    world.files.targets = changed.encode()
    await world.reload()
    inventory = world.forces.current.inventory
    assert inventory.by_id["WS-2"].privileged is True
    assert inventory.by_id["WS-P"].privileged is True
    assert (await world.do(run, "edr__isolate_host", host="WS-2")).state is State.WAITING


async def test_an_accepted_inventory_survives_a_restart(world: World) -> None:
    changed = TARGETS.replace("WS-P,workstation,yes", "WS-P,workstation,no").encode()
    world.files.targets = changed
    await world.reloading.accept_inventory(digest(changed))
    await world.restart()
    assert world.durable.reads.fact(INVENTORY) == changed
    assert world.forces.current.inventory.by_id["WS-P"].privileged is False


async def test_an_inventory_that_cannot_be_read_is_refused_whole(world: World) -> None:
    world.files.targets = TARGETS.replace("WS-2,", "WS-1,").encode()
    await refused(world, Unreadable)


# --- tools --------------------------------------------------------------------------------------------------------


@pytest.mark.promise("P8")
async def test_a_tool_that_is_new_changed_or_unclassified_is_parked_until_somebody_accepts_it(world: World) -> None:
    found = world.lab.definitions_by_connector["edr"]
    found.append(definition("wipe_host", host=None))
    found[1] = definition("isolate_host", host=None, reason=None, forever=None)
    world.reloading.tools_changed()
    tools = world.forces.current.tools
    assert "classified" in tools["edr__wipe_host"].parked
    assert "changed" in tools["edr__isolate_host"].parked
    with pytest.raises(Misuse):
        await world.reloading.accept_tools("edr", {"isolate_host": "0" * 64})
    await world.reloading.accept_tools("edr", {each.name: each.digest for each in found})
    tools = world.forces.current.tools
    assert tools["edr__isolate_host"].parked == ""
    assert "classified" in tools["edr__wipe_host"].parked  # accepting a definition classifies nothing
    assert world.records("tools.accepted")
    await world.restart()
    assert world.forces.current.tools["edr__isolate_host"].parked == ""


@pytest.mark.promise("P8")
async def test_tools_of_a_connector_that_the_boundary_does_not_pin_are_parked(world: World) -> None:
    world.files.boundary_override = world.files.boundary()
    world.files.connectors["spare"] = world.files.connectors["idp"].replace('"idp"', '"spare"')
    world.lab.definitions_by_connector["spare"] = [definition("disable_account", account=None)]
    await world.reload()
    assert "pin" in world.forces.current.tools["spare__disable_account"].parked


@pytest.mark.promise("P8")
async def test_two_connectors_that_offer_the_same_name_park_it(world: World) -> None:
    world.files.connectors["spare"] = world.files.connectors["idp"].replace(
        'name = "idp"', 'name = "spare"\nprefix = "idp"', 1
    )
    world.lab.definitions_by_connector["spare"] = [definition("disable_account", account=None)]
    world.files.change()
    await world.reload()
    assert "both offer" in world.forces.current.tools["idp__disable_account"].parked


@pytest.mark.promise("P8")
async def test_a_schema_that_cannot_be_compiled_parks_its_tool(world: World) -> None:
    found = world.lab.definitions_by_connector["idp"]
    found[1] = definition("disable_account", account={"type": "nonsense"})
    await world.reloading.accept_tools("idp", {each.name: each.digest for each in found})
    assert world.forces.current.tools["idp__disable_account"].parked != ""


def test_the_moment_of_these_tests_is_inside_the_boundary() -> None:
    assert NOW == 1_800_000_000_000_000
