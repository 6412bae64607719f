"""Every difference between a connector's own trail and the log is a finding, and what agrees is none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit.gates.reconciling import ALARMING, Found, Order, Reconciliation, reconcile
from remit.model.audits import AuditMap, Effect, Trail
from remit.model.words import MINUTE, SECOND, State

START = 1_800_000_000 * SECOND
NAMED = AuditMap(time="time", tool="tool", warrant="warrant", targets=("target",))
BARE = AuditMap(time="time", tool="tool", targets=("target",))


def order(number: int = 1, **changes: Any) -> Order:
    fields: dict[str, Any] = {
        "action": f"act_{number}",
        "tool": "isolate",
        "at": START + number * MINUTE,
        "warrant": f"wrt_{number}",
        "targets": ("WS-1",),
        "state": State.DONE,
        "handed_over": True,
        "ended_at": START + number * MINUTE + SECOND,
    }
    return Order(**(fields | changes))


def effect(number: int = 1, line: int = 1, **changes: Any) -> Effect:
    fields: dict[str, Any] = {
        "line": line,
        "at": START + number * MINUTE + SECOND // 2,
        "tool": "isolate",
        "warrant": f"wrt_{number}",
        "targets": ("WS-1",),
    }
    return Effect(**(fields | changes))


def compared(
    effects: list[Effect],
    orders: list[Order],
    audit: AuditMap = NAMED,
    unreadable: tuple[tuple[int, str], ...] = (),
    **window: int,
) -> Reconciliation:
    trail = Trail(effects=tuple(effects), lines=len(effects), unreadable=unreadable)
    times = {"since": START, "until": START + 60 * MINUTE} | window
    return reconcile(trail, orders, audit, **times)


def found(result: Reconciliation) -> list[Found]:
    return [each.what for each in result.findings]


def test_an_effect_under_its_order_is_no_finding() -> None:
    result = compared([effect()], [order()])
    assert (found(result), result.effects, result.matched, result.orders) == ([], 1, 1, 1)


@pytest.mark.parametrize("warrant", ["", "wrt_of_nobody"])
def test_an_effect_without_an_order_is_another_road(warrant: str) -> None:
    result = compared([effect(warrant=warrant)], [])
    assert found(result) == [Found.NO_WARRANT]
    assert result.alarming


def test_an_effect_that_borrows_no_name_does_not_pass_for_an_order_of_the_same_kind() -> None:
    result = compared([effect(line=1), effect(line=2, warrant="")], [order()])
    assert [(each.what, each.line) for each in result.findings] == [(Found.NO_WARRANT, 2)]


@pytest.mark.parametrize("changes", [{"tool": "run_script"}, {"targets": ("DC-1",)}, {"targets": ("WS-1", "DC-1")}])
def test_an_order_used_for_something_else_is_found(changes: dict[str, Any]) -> None:
    assert found(compared([effect(**changes)], [order()])) == [Found.WRONG_CALL]


def test_an_order_used_twice_is_found_at_the_second_line() -> None:
    result = compared([effect(line=1), effect(line=2)], [order()])
    assert [(each.what, each.line) for each in result.findings] == [(Found.TWICE, 2)]


def test_an_order_used_when_its_warrant_was_over_is_found() -> None:
    assert found(compared([effect(at=START + 30 * MINUTE)], [order()])) == [Found.LATE]
    assert found(compared([effect(at=START)], [order()])) == [Found.LATE]


@pytest.mark.parametrize(
    "changes",
    [
        {"state": State.FAILED},
        {"state": State.CUT, "handed_over": False},
        {"state": State.UNKNOWN, "applied": False},
    ],
)
def test_an_effect_that_the_log_denies_is_found(changes: dict[str, Any]) -> None:
    assert found(compared([effect()], [order(**changes)])) == [Found.UNEXPECTED]


def test_an_effect_of_which_the_log_does_not_know_the_outcome_is_told() -> None:
    result = compared([effect()], [order(state=State.UNKNOWN)])
    assert found(result) == [Found.UNSETTLED]
    assert not result.alarming


@pytest.mark.parametrize("changes", [{}, {"state": State.UNKNOWN, "applied": True}])
def test_a_done_without_an_effect_is_found(changes: dict[str, Any]) -> None:
    result = compared([], [order(**changes)])
    assert [(each.what, each.action) for each in result.findings] == [(Found.MISSING, "act_1")]


@pytest.mark.parametrize(
    "changes", [{"state": State.FAILED}, {"state": None, "ended_at": None}, {"state": State.UNKNOWN}]
)
def test_what_was_not_said_to_be_done_needs_no_effect(changes: dict[str, Any]) -> None:
    assert found(compared([], [order(**changes)])) == []


def test_effects_outside_the_window_are_counted_apart_and_still_bear_out_orders() -> None:
    result = compared([effect(1, 1), effect(9, 2, warrant="")], [order(1)], until=START + MINUTE + SECOND)
    assert (found(result), result.effects, result.after) == ([], 1, 1)


def test_an_order_at_the_edge_is_borne_out_by_an_effect_beyond_it() -> None:
    early = compared([effect(at=START + MINUTE)], [order()], since=START + MINUTE + SECOND)
    assert found(early) == []


def test_a_line_that_cannot_be_read_is_a_finding() -> None:
    assert found(compared([], [], unreadable=((3, "it is not JSON"),))) == [Found.UNREADABLE]


def test_where_lines_name_no_order_tool_target_and_time_must_fit() -> None:
    bare = effect(warrant="")
    assert found(compared([bare], [order()], BARE)) == []
    for changes in ({"tool": "release"}, {"targets": ("WS-2",)}, {"at": START + 30 * MINUTE}):
        effects = [effect(warrant="", **changes)]
        assert Found.NO_WARRANT in found(compared(effects, [order()], BARE))


def test_two_like_effects_take_two_orders_and_a_third_is_one_too_many() -> None:
    orders = [order(1), order(2, at=START + MINUTE + SECOND, ended_at=START + MINUTE + 2 * SECOND)]
    effects = [effect(1, line, warrant="", at=START + MINUTE + line * SECOND) for line in (1, 2, 3)]
    assert found(compared(effects[:2], orders, BARE)) == []
    assert found(compared(effects, orders, BARE)) == [Found.TWICE]


@given(st.lists(st.integers(1, 4), max_size=8), st.sets(st.integers(1, 4)))
def test_every_effect_is_matched_or_found_and_every_claim_is_borne_out_or_found(
    effects: list[int], orders: set[int]
) -> None:
    lines = [effect(number, line) for line, number in enumerate(effects, 1)]
    result = compared(lines, [order(number) for number in orders])
    assert result.matched + sum(each.what in ALARMING for each in result.findings) == len(effects)
    missing = {each.action for each in result.findings if each.what is Found.MISSING}
    assert missing == {f"act_{number}" for number in orders - set(effects)}
