"""Programs that the demonstration starts end with it, as whole groups."""

import os
import sys
from pathlib import Path

import pytest

from remit.doors.demo.processes import Programs, ending
from remit.model.errors import Fault
from tests.doors.demo.support import running, wait_until

PARENT = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1], sys.argv[2]]).wait()"
CHILD = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"


def programs(folder: Path) -> Programs:
    return Programs(folder, os.environ)


def test_a_group_is_ended_whole_even_where_a_child_ignores_the_request(folder: Path) -> None:
    started = programs(folder)
    with ending(started):
        program = started.start("parent", [sys.executable, "-c", PARENT, CHILD, str(folder)])
        assert program.line(20.0) == "up"
        assert len(running(folder)) == 2
    assert wait_until(lambda: not running(folder), 5.0)


def test_programs_end_where_the_block_is_left_by_an_exception(folder: Path) -> None:
    started = programs(folder)
    with pytest.raises(ZeroDivisionError), ending(started):
        program = started.start("child", [sys.executable, "-c", CHILD, str(folder)])
        assert program.line(20.0) == "up"
        raise ZeroDivisionError
    assert wait_until(lambda: not running(folder), 5.0)


def test_a_program_that_does_not_start_is_reported_with_its_last_words(folder: Path) -> None:
    started = programs(folder)
    with ending(started), pytest.raises(Fault, match="no such luck"):
        started.ready(started.start("bad", [sys.executable, "-c", "raise SystemExit('no such luck')"]), "bad")


def test_a_command_that_takes_too_long_is_a_fault_and_is_ended(folder: Path) -> None:
    started = programs(folder)
    with ending(started), pytest.raises(Fault, match="took longer"):
        started.run([sys.executable, "-c", CHILD, str(folder)], seconds=0.5)
    assert wait_until(lambda: not running(folder), 5.0)


def test_the_answer_of_a_command_comes_back_whole(folder: Path) -> None:
    said = programs(folder).run([sys.executable, "-c", "import sys; print('a'); sys.exit(3)"])
    assert (said.code, said.out) == (3, "a\n")
