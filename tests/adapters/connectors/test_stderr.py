"""How long what a connector's process wrote to stderr is kept."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import given, seed, settings
from hypothesis import strategies as st

from remit.adapters.connectors.stderr import let_go

HOUR = 3600
AGE = 24 * HOUR


@seed(20261122)
@settings(max_examples=200, deadline=None, database=None)
@given(st.lists(st.integers(1, 20 * AGE), max_size=40).map(sorted), st.integers(0, HOUR - 1))
def test_no_line_outlives_its_age_by_more_than_two_hours_and_none_goes_before_half_of_it(
    written: list[int], first: int
) -> None:
    left = list(written)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "edr.stderr"
        for now in range(first, 24 * AGE, HOUR):
            while left and left[0] <= now:
                write(file, left.pop(0))
            let_go(file, now, AGE)
            kept = lines(file)
            assert all(now - at < AGE + 2 * HOUR for at in kept)
            assert all(at in kept for at in written if at <= now and now - at < AGE / 2)
        assert lines(file) == []


def write(file: Path, at: int) -> None:
    """Append a line that says when it was written, at that time."""
    with file.open("a") as out:
        out.write(f"{at}\n")
    os.utime(file, (at, at))


def lines(file: Path) -> list[int]:
    """What is in both files."""
    files = (file, file.with_name("edr.stderr.1"))
    return [int(line) for each in files if each.exists() for line in each.read_text().split()]


def test_what_is_let_go_of_is_overwritten_where_it_lay(tmp_path: Path) -> None:
    file, older = tmp_path / "edr.stderr", tmp_path / "edr.stderr.1"
    write(older, 1)
    lies = tmp_path / "the same bytes"
    os.link(older, lies)
    let_go(file, AGE, AGE)
    assert not older.exists() and lies.read_bytes() == b""
