"""The home folder: atomic writes, private keys, and one process at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from remit.adapters.disk import read, write
from remit.adapters.home.folder import Home, Lock
from remit.model.errors import Fault, Misuse

HOLDER = """
import sys
from pathlib import Path
from remit.adapters.home.folder import Home, Lock
lock = Lock(Home(Path(sys.argv[1])))
lock.take("a gateway")
print("taken", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    for name in ("run", "keys", "state"):
        (tmp_path / name).mkdir(mode=0o700)
    return Home(tmp_path)


def test_two_holders_cannot_have_one_home_and_the_second_is_told_who_has_it(home: Home) -> None:
    first, second = Lock(home), Lock(home)
    first.take("a gateway")
    with pytest.raises(Fault, match=r"a gateway, process \d+"):
        second.take("a command")
    first.free()
    first.free()
    second.take("a command")
    second.free()


def test_a_second_process_cannot_have_it_and_kill_9_frees_it(home: Home) -> None:
    command = [sys.executable, "-c", HOLDER, str(home.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"taken\n"
        lock = Lock(home)
        with pytest.raises(Fault, match=f"process {other.pid}"):
            lock.take("a gateway")
        other.kill()
        other.wait(10)
        lock.take("a gateway")
        lock.free()


def test_a_write_replaces_the_file_whole_and_leaves_nothing_beside_it(home: Home) -> None:
    path = home.path / "boundary.toml"
    write(path, b"old")
    write(path, b"new" * 1000, mode=0o644)
    assert read(path) == b"new" * 1000
    assert path.stat().st_mode & 0o777 == 0o644
    assert not list(home.path.glob(".*"))


def test_a_missing_file_and_a_folder_that_is_no_home_are_said_in_the_users_words(home: Home) -> None:
    with pytest.raises(Fault, match=r"`people\.toml` is missing"):
        read(home.people)
    with pytest.raises(Misuse, match="is not a Remit home"):
        home.identity()


@pytest.mark.promise("P9")
def test_a_key_that_others_can_read_is_not_used_and_the_message_does_not_hold_it(home: Home) -> None:
    write(home.keys / "names.key", b"secret-bytes")
    assert home.key("names.key") == b"secret-bytes"
    (home.keys / "names.key").chmod(0o640)
    with pytest.raises(Fault) as error:
        home.key("names.key")
    assert "secret-bytes" not in str(error.value)


def test_a_home_that_other_users_can_look_into_is_said_to_be(home: Home) -> None:
    home.path.chmod(0o755)
    assert "0755" in home.readable_by_others()
    home.path.chmod(0o700)
    assert home.readable_by_others() == ""


def test_signatures_are_found_by_the_name_between(home: Home) -> None:
    write(home.boundary, b"x")
    write(home.path / "boundary.toml.lena.sig", b"1")
    write(home.path / "boundary.toml.a.b.sig", b"2")
    write(home.path / "people.toml.lars.sig", b"3")
    assert home.signatures(home.boundary) == {"lena": b"1", "a.b": b"2"}
