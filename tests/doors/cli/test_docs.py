"""The page on the command line says what the commands take: no more, and no less."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator

import pytest

from remit.doors.cli.main import COMMANDS, main, overview, parser_of
from tests.doors.cli.documentation import PAGE, page


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for name in COMMANDS:
        if name == "connect":
            continue
        parser = parser_of(name, importlib.import_module(f"remit.doors.cli.{name}"))
        yield name, parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from ((f"{name} {word}", inner) for word, inner in action.choices.items())


def test_the_page_is_what_the_parsers_say() -> None:
    assert PAGE.read_text() == page(), "write it anew: python -m tests.doors.cli.documentation"


def test_every_command_and_option_is_on_the_page_and_every_option_on_the_page_exists() -> None:
    text = PAGE.read_text()
    known = {"--socket"}
    for name, parser in parsers():
        assert f"`remit {name}`" in text
        for action in parser._actions:
            known |= set(action.option_strings)
            assert all(f"`{each}" in text for each in action.option_strings if each.startswith("--"))
    documented = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    assert documented - known == set()


def test_every_option_says_what_it_is_for() -> None:
    for name, parser in parsers():
        for action in parser._actions:
            assert action.help or isinstance(action, argparse._SubParsersAction), f"{name} {action.dest}"


@pytest.mark.parametrize("name", [*COMMANDS])
def test_every_command_is_in_the_overview_and_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"  {name} " in overview()
    try:
        code = main([name, "--help"])
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    assert code == 0
    assert f"remit {name}" in capsys.readouterr().out
