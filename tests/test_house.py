"""The habits of the house that no linter holds: sizes, what files may mention, what an import may cost."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
LONGEST_FUNCTION = 60
LONGEST_MODULE = 500
REASON = re.compile(r"^Long because: \S", re.MULTILINE)

CODE = ("src", "tests", "bench")
TEXT_SUFFIXES = frozenset(
    {
        ".py",
        ".toml",
        ".md",
        ".lock",
        ".in",
        ".sql",
        ".csv",
        ".json",
        ".jsonl",
        ".cfg",
        ".yml",
        ".yaml",
        ".sh",
        "",
    }
)
GENERATED = frozenset({"__pycache__", "node_modules", "build", "dist"})
LICENCE = "LICENSE"

# Split, so that this file does not find itself.
UNFINISHED = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")) + r")\b")
MACHINE_PATH = re.compile(r"(?<![\w.$}~/-])/(?:home|root|Users|work|opt|mnt|private)/[\w.-]+")
REGISTRY = re.compile(
    r"(?:[\w-]+\.)*(?:pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|crates\.io|proxy\.golang\.org|artifactory|jfrog)"
    r"|--(?:extra-)?index-url\b|--find-links\b",
)
# The options that keep addresses out of the locks name what they keep out.
REGISTRY_ALLOWED = re.compile(r"--no-emit-(?:index-url|find-links)")

HEAVY = (
    "mcp",
    "mcp_types",
    "fastmcp",
    "aiohttp",
    "httpx2",
    "uvicorn",
    "pydantic",
    "starlette",
)


LOGS = Path("tests/vectors/log")


def modules() -> Iterator[Path]:
    for folder in CODE:
        yield from sorted((REPOSITORY / folder).rglob("*.py"))


def files() -> Iterator[tuple[str, str]]:
    """Every text file of the repository, by its path in it."""
    for path in sorted(REPOSITORY.rglob("*")):
        place = path.relative_to(REPOSITORY)
        hidden = [part for part in place.parts if part.startswith(".") and part != ".ci"]
        ours = (
            not hidden and GENERATED.isdisjoint(place.parts) and not any(p.endswith(".egg-info") for p in place.parts)
        )
        if ours and path.is_file() and path.suffix in TEXT_SUFFIXES and place.as_posix() != LICENCE:
            data = path.read_bytes()
            if not (place.is_relative_to(LOGS) and "tile" in place.parts):  # entries and hashes, which are bytes
                yield place.as_posix(), data.decode("utf-8")


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{file}:{number}: {line.strip()[:100]}"
        for file, text in files()
        if file != "tests/test_house.py"
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(REGISTRY_ALLOWED.sub("", line))
    ]


def functions_longer_than(limit: int, source: str) -> list[tuple[str, int]]:
    """Name and length in lines, from `def` to the last line, of each function that is longer than `limit`."""
    return [
        (node.name, length)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > limit
    ]


def too_long_without_reason(source: str) -> bool:
    if source.count("\n") <= LONGEST_MODULE:
        return False
    return not REASON.search(ast.get_docstring(ast.parse(source)) or "")


def test_no_function_is_longer_than_a_screen() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}: {name} has {length} lines"
        for path in modules()
        for name, length in functions_longer_than(LONGEST_FUNCTION, path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_no_module_is_long_without_a_reason_at_its_top() -> None:
    found = [path for path in modules() if too_long_without_reason(path.read_text(encoding="utf-8"))]
    assert [path.relative_to(REPOSITORY).as_posix() for path in found] == []


def test_no_file_names_a_path_of_one_machine() -> None:
    assert lines_with(MACHINE_PATH) == []


def test_no_file_names_a_registry() -> None:
    assert lines_with(REGISTRY) == []


def test_no_file_holds_unfinished_work() -> None:
    assert lines_with(UNFINISHED) == []


def test_every_locked_package_has_hashes() -> None:
    for lock in sorted((REPOSITORY / "requirements").glob("*.lock")):
        pinned = re.findall(r"^([\w.-]+)==[^\n]*\\\n    --hash=sha256:[0-9a-f]{64}", lock.read_text("utf-8"), re.M)
        named = re.findall(r"^([\w.-]+)", lock.read_text("utf-8"), re.M)
        assert pinned, lock.name
        assert pinned == named, lock.name


def imported_by(module: str) -> set[str]:
    """The top-level packages in memory after a fresh interpreter imported `module`."""
    code = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False, cwd=REPOSITORY
    )
    assert answer.returncode == 0, answer.stderr
    return set(answer.stdout.split())


@pytest.mark.parametrize("module", ["remit.doors.cli.main", "remit.doors.cli.stop"])
def test_the_command_that_stops_everything_imports_nothing_heavy(module: str) -> None:
    assert sorted(imported_by(module).intersection(HEAVY)) == []


@pytest.mark.parametrize(
    ("line", "pattern", "found"),
    [
        ("see /ho" + "me/anna/remit", MACHINE_PATH, True),
        ("cd /wo" + "rk/main", MACHINE_PATH, True),
        ("url = http://host/home/x", MACHINE_PATH, False),
        ("$HOME/root/x and ~/opt/x", MACHINE_PATH, False),
        ("https://files.pythonhosted" + ".org/packages", REGISTRY, True),
        ("--find-links wheels", REGISTRY, True),
        ("# TO" + "DO later", UNFINISHED, True),
        ("mktemp remit.XX" + "XX", UNFINISHED, False),
    ],
)
def test_the_patterns_find_what_they_should(line: str, pattern: re.Pattern[str], found: bool) -> None:
    assert bool(pattern.search(line)) is found


def test_a_long_module_is_accepted_only_with_its_reason() -> None:
    body = "x = 1\n" * (LONGEST_MODULE + 1)
    assert too_long_without_reason(body)
    assert too_long_without_reason('"""A table."""\n' + body)
    assert not too_long_without_reason('"""A table.\n\nLong because: one table of one standard.\n"""\n' + body)
