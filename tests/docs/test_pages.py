"""The pages say what is true: links lead somewhere, examples load, every module, setting and command is there."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remit.adapters.home.folder import Home
from remit.adapters.home.settings import load_settings
from remit.doors.cli.main import COMMANDS
from remit.gates.boundary.load import load
from remit.gates.boundary.words import BUILT_IN
from remit.model.manifest import load_manifest
from remit.model.reading import Reader

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")])
PACKAGE = ROOT / "src" / "remit"
LANGUAGES: dict[str, Callable[[str], object]] = {"python": ast.parse, "json": json.loads, "toml": tomllib.loads}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Language and code of each fenced block."""
    yield from re.findall(r"^```([a-z]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as renderers of Markdown make them."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_link_is_dead(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text(encoding="utf-8"))):
        if "://" in link:
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_of_code_can_be_read(page: Path) -> None:
    for language, code in blocks(page.read_text(encoding="utf-8")):
        if language in LANGUAGES:
            LANGUAGES[language](code)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    named = re.findall(r"`((?:tests|bench|docs|src)/[\w./-]+)`", page.read_text(encoding="utf-8"))
    named += [f"src/remit/{path}" for path in _modules_named(page.read_text(encoding="utf-8"))]
    assert [path for path in named if not (ROOT / path).exists()] == []


def _modules_named(text: str) -> list[str]:
    return re.findall(r"`((?:model|gates|flow|adapters|doors)/[\w/]+(?:\.py|/)?|node\.py|offline\.py)`", text)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(r"`remit ([a-z]+)", page.read_text(encoding="utf-8"))
    for _, code in blocks(page.read_text(encoding="utf-8")):
        named += re.findall(r"^\s*(?:\$ )?remit ([a-z]+)", code, re.MULTILINE)
    assert [command for command in named if command not in COMMANDS] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_is_about_remit_alone(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"/work/|/root/|\bTODO\b|\bFIXME\b|\bissue #?\d|\bphase \d", text) == []


def test_every_module_has_a_line_in_the_architecture() -> None:
    named = set(_modules_named(read("docs/ARCHITECTURE.md")))
    modules = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    missing = [
        str(module)
        for module in sorted(modules)
        if str(module) not in named and not any(f"{folder}/" in named for folder in module.parents)
    ]
    assert missing == []


def test_the_boundary_of_the_reference_loads_and_every_key_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    page = read("docs/BOUNDARY.md")
    (example,) = (code for language, code in blocks(page) if language == "toml")
    asked = _keys_asked(monkeypatch)
    load(example.encode())
    assert asked - _words_of(page) - {"edr"} == set()


def test_every_built_in_clause_is_in_the_reference() -> None:
    assert set(BUILT_IN) - _words_of(read("docs/BOUNDARY.md")) == set()


def test_the_connectors_of_the_reference_load_and_every_key_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    page = read("docs/CONNECTORS.md")
    examples = [code for language, code in blocks(page) if language == "toml" and "[connector]" in code]
    asked = _keys_asked(monkeypatch)
    for example in examples:
        load_manifest(example.encode(), tomllib.loads(example)["connector"]["name"])
    assert asked - _words_of(page) - {"EDR_LOG", "host", "reason"} == set()


def test_every_setting_of_the_node_is_in_the_architecture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = _keys_asked(monkeypatch)
    load_settings(Home(tmp_path))
    assert asked - _words_of(read("docs/ARCHITECTURE.md")) == set()


def _words_of(page: str) -> set[str]:
    """The words that the page has between backticks, outside its examples."""
    return set(re.findall(r"[\w.-]+", " ".join(re.findall(r"`[^`]+`", prose(page)))))


def _keys_asked(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Fills with every key that a loader asks a file for, from now on."""
    asked: set[str] = set()
    original = Reader._take

    def noted(self: Reader, name: str, default: object, expected: str) -> object:
        asked.add(name)
        return original(self, name, default, expected)

    monkeypatch.setattr(Reader, "_take", noted)
    return asked


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "adr").glob("[0-9]*.md")), ids=name_of)
def test_a_decision_keeps_to_its_form(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {page.name[:4]}: ")
    assert re.search(r"^Date: \d{4}-\d\d-\d\d\. Status: (accepted|replaced by \d{4})\.$", text, re.MULTILINE)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Rejected", "Consequence"]
    assert len(text.splitlines()) <= 45
