# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-any-generics
"""Secret references: found, or refused with a reason that never holds the value."""

import sys

import pytest

from remit.adapters.credentials.secrets import resolve
from remit.model.errors import Misuse


def test_each_kind_of_reference_gives_the_secret_without_its_line_break(tmp_path):
    file = tmp_path / "token"
    file.write_text("hush\n")
    file.chmod(0o600)
    for reference in ("env:TOKEN", "file:token", f"file:{file}", f"command:{sys.executable} -c 'print(\"hush\")'"):
        assert resolve(reference, environment={"TOKEN": "hush"}, base=tmp_path) == "hush"


@pytest.mark.parametrize(
    "reference", ["hush", "env:", "vault:hush", "env:ABSENT", "file:absent", "command:absent-hush"]
)
def test_a_reference_that_leads_nowhere_is_refused(reference, tmp_path):
    with pytest.raises(Misuse):
        resolve(reference, environment={}, base=tmp_path)


def test_a_file_that_others_may_read_is_refused(tmp_path):
    file = tmp_path / "token"
    file.write_text("hush")
    file.chmod(0o640)
    with pytest.raises(Misuse, match="0640") as caught:
        resolve("file:token", environment={}, base=tmp_path)
    assert "hush" not in caught.value.shown()


@pytest.mark.parametrize("text", ["print('hush' * 50000)", "print('hush\\nhush')", "raise SystemExit('hush')", ""])
def test_a_command_that_misbehaves_is_refused_without_its_output(text, tmp_path):
    with pytest.raises(Misuse) as caught:
        resolve(f'command:{sys.executable} -c "{text}"', environment={}, base=tmp_path)
    assert "hush" not in caught.value.shown()


def test_a_command_that_hangs_is_killed(tmp_path):
    with pytest.raises(Misuse, match=r"within 0\.2 s"):
        resolve("command:sleep 60", environment={"PATH": "/bin:/usr/bin"}, base=tmp_path, seconds=0.2)
