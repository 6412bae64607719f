"""The node's settings: who cosigns the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from remit.adapters.home.folder import Home
from remit.adapters.home.settings import MOST_WITNESSES, Settings, load_settings
from remit.gates.log.notes import LogKey, WitnessKey
from remit.model.reading import Unreadable

KEYS = [WitnessKey.generate(f"w{number}.example", bytes([number]) * 32).verifier for number in range(20)]


def witness(number: int, url: str = "https://w.example/here", key: str = "") -> str:
    return f'{{ url = "{url}", key = "{key or KEYS[number].text}" }}'


def read(tmp_path: Path, *witnesses: str, more: str = "") -> Settings:
    (tmp_path / "remit.toml").write_text(f"[log]\nwitnesses = [{', '.join(witnesses)}]\n{more}\n")
    return load_settings(Home(tmp_path))


def test_without_settings_there_is_no_witness(tmp_path: Path) -> None:
    found = load_settings(Home(tmp_path))
    assert (found.witnesses, found.quorum) == ((), 0)


def test_all_witnesses_are_needed_unless_fewer_are_enough(tmp_path: Path) -> None:
    found = read(tmp_path, witness(1), witness(2, "http://127.0.0.1:8701"))
    assert found.witnesses == (("https://w.example/here", KEYS[1]), ("http://127.0.0.1:8701", KEYS[2]))
    assert found.quorum == 2
    assert read(tmp_path, witness(1), witness(2), more="quorum = 1").quorum == 1


@pytest.mark.parametrize(
    ("witnesses", "more", "place"),
    [
        ([witness(1, key="nonsense")], "", "key"),
        ([witness(1, key=LogKey.generate("remit/x", b"l" * 32).verifier.text)], "", "key"),
        ([witness(1, url="ftp://w.example")], "", "url"),
        ([witness(1, url="https://user@w.example")], "", "url"),
        ([witness(1, url="w.example:8701")], "", "url"),
        ([witness(1), witness(1)], "", "key"),
        ([witness(1), witness(1, key=WitnessKey.generate("alias", bytes([1]) * 32).verifier.text)], "", "key"),
        ([witness(1)], "quorum = 2", "quorum"),
        ([witness(1)], "quorum = 0", "quorum"),
        ([], "quorum = 1", "quorum"),
        ([witness(number) for number in range(MOST_WITNESSES + 1)], "", "witnesses"),
        (['{ url = "https://w.example" }'], "", "key"),
    ],
)
def test_a_witness_that_cannot_count_is_told_with_its_place(
    tmp_path: Path, witnesses: list[str], more: str, place: str
) -> None:
    with pytest.raises(Unreadable) as refused:
        read(tmp_path, *witnesses, more=more)
    assert any(problem.path.endswith(place) for problem in refused.value.problems), refused.value.shown()
