"""The clock never goes back, keeps moving, and says when the machine's clock jumped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit.adapters.clock import SystemClock
from remit.model.words import MINUTE, SECOND

START = 1_800_000_000 * SECOND


class Machine:
    """A machine's two clocks, in nanoseconds, moved by hand."""

    def __init__(self) -> None:
        self.wall_time = START * 1000
        self.ticks = 5_000_000_000

    def clock(self, high_water: int = 0) -> SystemClock:
        return SystemClock(high_water, wall=lambda: self.wall_time, monotonic=lambda: self.ticks)

    def passes(self, microseconds: int, *, step: int = 0) -> None:
        """Time passes, and somebody sets the wall clock by `step`."""
        self.wall_time += (microseconds + step) * 1000
        self.ticks += microseconds * 1000


def test_it_is_the_wall_clock_in_microseconds_while_nothing_is_wrong() -> None:
    machine = Machine()
    clock = machine.clock()
    for _ in range(3):
        machine.passes(SECOND)
        assert clock.now() == machine.wall_time // 1000
    assert clock.jumped() == ""


@given(st.lists(st.tuples(st.integers(0, 10 * MINUTE), st.integers(-10 * MINUTE, 10 * MINUTE)), max_size=20))
def test_it_never_goes_back_and_never_stands_still(moves: list[tuple[int, int]]) -> None:
    machine = Machine()
    clock = machine.clock()
    before = clock.now()
    for passed, step in moves:
        machine.passes(passed, step=step)
        now = clock.now()
        assert now > before
        before = now


@pytest.mark.promise("P8")
@pytest.mark.parametrize(("step", "jumped"), [(2, False), (-2, False), (3, True), (-3, True), (3600, True)])
def test_a_jump_of_more_than_two_seconds_latches_until_somebody_forgives_it(step: int, jumped: bool) -> None:
    machine = Machine()
    clock = machine.clock()
    machine.passes(SECOND, step=step * SECOND)
    assert bool(clock.jumped()) is jumped
    machine.passes(SECOND, step=-step * SECOND)  # set back: that does not undo it
    assert bool(clock.jumped()) is jumped
    clock.forgive()
    machine.passes(SECOND)
    assert clock.jumped() == ""


@pytest.mark.promise("P8")
def test_small_steps_in_one_direction_add_up_to_a_jump() -> None:
    machine = Machine()
    clock = machine.clock()
    for _ in range(3):
        machine.passes(SECOND, step=-SECOND)
        clock.now()
    assert clock.jumped() != ""


@pytest.mark.promise("P8")
def test_a_wall_clock_behind_the_latest_record_is_a_jump_and_time_goes_on_from_there() -> None:
    machine = Machine()
    clock = machine.clock(START + 3600 * SECOND)
    assert "behind" in clock.jumped()
    assert clock.now() > START + 3600 * SECOND


@pytest.mark.promise("P4")
def test_time_still_passes_at_half_speed_while_the_wall_clock_is_behind_and_the_wall_clock_catches_up() -> None:
    machine = Machine()
    clock = machine.clock(START + 60 * SECOND)
    begin = clock.now()
    for _ in range(30):
        machine.passes(SECOND)
        clock.now()
    assert 14 * SECOND <= clock.now() - begin <= 16 * SECOND
    machine.passes(120 * SECOND)
    assert clock.now() == machine.wall_time // 1000
