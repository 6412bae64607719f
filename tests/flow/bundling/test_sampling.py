"""The population of a period is every action and refusal of it, proved against the tree, and inert in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit import offline
from remit.flow.bundling.sampling import COLUMNS, Population, drawn, inert, population, written
from remit.flow.bundling.words import LogFiles
from remit.gates.log.tiles import Bundle, Tile
from remit.model.errors import Fault, NotVerified
from tests.support.evidence import Told

ALL = 2**53


class Changed:
    """A log whose files somebody changes on the way."""

    def __init__(self, files: LogFiles, bundle: Callable[[bytes], bytes | None]) -> None:
        self._files = files
        self._change = bundle

    def checkpoint(self) -> bytes:
        return self._files.checkpoint()

    def witnessed(self) -> bytes:
        return self._files.witnessed()

    def tile(self, tile: Tile) -> bytes | None:
        return self._files.tile(tile)

    def bundle(self, bundle: Bundle) -> bytes | None:
        return self._change(self._files.bundle(bundle) or b"")


def everything(told: Told, since: int = 0, until: int = ALL) -> Population:
    files, keys = offline.log_of(told.home)
    return population(files, keys, since, until)


def test_every_action_has_one_row_and_the_count_names_the_tree(told: Told) -> None:
    found = everything(told)
    assert found.actions == told.actions()
    assert (found.first, found.entries) == (0, found.size)
    assert found.last == found.size - 1
    rows = {row["id"]: row for row in found.rows}
    assert rows[told.isolated]["state"] == "done"
    assert (rows[told.disabled]["approvals"], rows[told.disabled]["executed"]) == ("1", "yes")
    assert (rows[told.rejected]["rejections"], rows[told.rejected]["state"]) == ("1", "rejected")
    assert rows[told.forbidden]["ruling"] == "forbid"


def test_a_period_holds_what_was_asked_in_it_and_no_more(told: Told) -> None:
    rows = everything(told).rows
    times = [_micros(row["time"]) for row in rows]
    middle = times[len(times) // 2]
    early, late = everything(told, until=middle), everything(told, since=middle)
    assert len(early.rows) + len(late.rows) == len(rows)
    assert all(_micros(row["time"]) < middle for row in early.rows)
    assert all(_micros(row["time"]) >= middle for row in late.rows)


def _micros(text: str) -> int:
    import datetime

    moment = datetime.datetime.fromisoformat(text)
    return (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b'"blocked"', b'"allowed"'),
        lambda data: data[: len(data) // 2],
        lambda data: None,
        lambda data: b"",
    ],
)
def test_entries_that_do_not_lead_to_the_root_give_no_rows(told: Told, change: Callable[[bytes], bytes | None]) -> None:
    files, keys = offline.log_of(told.home)
    with pytest.raises((NotVerified, Fault)):
        population(Changed(files, change), keys, 0, ALL)


def test_a_sample_can_be_drawn_again_and_depends_on_the_seed(told: Told) -> None:
    rows = everything(told).rows
    one = drawn(rows, 3, "agreed")
    assert len(one) == 3
    assert one == drawn(tuple(reversed(rows)), 3, "agreed")
    assert any(one != drawn(rows, 3, str(seed)) for seed in range(20))
    assert drawn(rows, 10_000, "agreed") == rows


@given(st.text(max_size=60))
def test_no_cell_is_a_formula(text: str) -> None:
    cell = inert(text)
    assert not cell.lstrip().startswith(("=", "+", "-", "@"))
    row = dict.fromkeys(COLUMNS, text)
    parsed = list(csv.reader(io.StringIO(written([row]), newline="")))
    assert len(parsed) == 2
    assert all(not each.lstrip().startswith(("=", "+", "-", "@")) for each in parsed[1])


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", " =1", "\t=1", "\u00a0=1"])
def test_what_a_spreadsheet_would_calculate_stands_behind_an_apostrophe(text: str) -> None:
    assert inert(text).startswith("'")
