"""The `STOP` file is seen on a thread of its own, whatever happens to who is told."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from remit.adapters.home.watching import MarkerWatch, is_there


class Seen:
    """What was told, and a way to wait for it."""

    def __init__(self, failing: int = 0) -> None:
        self.told: list[bool] = []
        self.failing = failing
        self._changed = threading.Condition()

    def __call__(self, present: bool) -> None:
        with self._changed:
            if self.failing:
                self.failing -= 1
                raise RuntimeError("not now")
            self.told.append(present)
            self._changed.notify_all()

    def wait(self, *wanted: bool) -> None:
        """Wait until exactly this was told."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.told == list(wanted), 5)


@pytest.mark.promise("P6")
def test_a_file_that_comes_and_goes_is_told_each_time_once(tmp_path: Path) -> None:
    marker, seen = tmp_path / "STOP", Seen()
    watch = MarkerWatch(marker, seen, interval=0.001)
    watch.start()
    try:
        marker.touch()
        seen.wait(True)
        marker.unlink()
        seen.wait(True, False)
    finally:
        watch.close()
        watch.close()


@pytest.mark.promise("P6")
def test_a_file_that_is_there_at_the_start_is_told_before_start_returns(tmp_path: Path) -> None:
    (tmp_path / "STOP").touch()
    seen = Seen()
    watch = MarkerWatch(tmp_path / "STOP", seen)
    watch.start()
    watch.close()
    assert seen.told == [True]


@pytest.mark.promise("P6")
def test_whoever_fails_to_take_the_news_is_told_again(tmp_path: Path) -> None:
    seen = Seen(failing=3)
    watch = MarkerWatch(tmp_path / "STOP", seen, interval=0.001)
    watch.start()
    try:
        (tmp_path / "STOP").touch()
        seen.wait(True)
        (tmp_path / "STOP").unlink()
        seen.wait(True, False)
    finally:
        watch.close()


@pytest.mark.promise("P6")
def test_what_cannot_be_told_not_to_be_there_is_there(tmp_path: Path) -> None:
    assert not is_there(tmp_path / "STOP")
    (tmp_path / "STOP").symlink_to(tmp_path / "nowhere")
    assert is_there(tmp_path / "STOP")
    assert is_there(tmp_path / "gone" / "STOP")
    (tmp_path / "file").touch()
    assert is_there(tmp_path / "file" / "STOP")
