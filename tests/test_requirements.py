"""The list of promises and the tests that show them agree, both ways. Tests are read here, not run."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.requirements import PROMISES, page

TESTS = Path(__file__).resolve().parent
REPOSITORY = TESTS.parent
EXCUSES = frozenset({"skip", "xfail"})

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def mark(node: ast.expr) -> tuple[str, list[str | None]] | None:
    """The name in `pytest.mark.NAME(…)` and its arguments, None for one that is not a literal text."""
    called = node.func if isinstance(node, ast.Call) else node
    if not (isinstance(called, ast.Attribute) and isinstance(called.value, ast.Attribute)):
        return None
    if called.value.attr != "mark":
        return None
    arguments = node.args if isinstance(node, ast.Call) else []
    return called.attr, [
        argument.value if isinstance(argument, ast.Constant) and isinstance(argument.value, str) else None
        for argument in arguments
    ]


def is_test(node: Definition) -> bool:
    return node.name.startswith("Test" if isinstance(node, ast.ClassDef) else "test_")


def marks_of(node: Definition | ast.Assign) -> list[ast.expr]:
    """The marks that apply to a test, or that `pytestmark = …` applies to a whole file or class."""
    if not isinstance(node, ast.Assign):
        return node.decorator_list if is_test(node) else []
    if not any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in node.targets):
        return []
    return node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]


def promises_in(source: str) -> tuple[set[str], list[str]]:
    """The promises that the tests of a file show, and what is wrong with its marks."""
    tree = ast.parse(source)
    shown: set[str] = set()
    wrong: list[str] = []
    read: set[int] = set()
    for node in ast.walk(tree):
        if not isinstance(node, Definition | ast.Assign):
            continue
        marks = [(id(expression), found) for expression in marks_of(node) if (found := mark(expression))]
        excused = any(name in EXCUSES for _, (name, _) in marks)
        for identity, (name, arguments) in marks:
            if name != "promise":
                continue
            read.add(identity)
            if not arguments or None in arguments:
                wrong.append(f'line {node.lineno}: a promise is named by texts, `promise("P4")`')
            if not excused:
                shown.update(argument for argument in arguments if argument)
    wrong.extend(f"line {stray.lineno}: a promise marks something that is not a test" for stray in strays(tree, read))
    return shown, wrong


def strays(tree: ast.Module, read: set[int]) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and id(node) not in read:
            found = mark(node)
            if found and found[0] == "promise":
                yield node


def survey() -> tuple[dict[str, set[str]], list[str]]:
    """Which files show which promise, and everything wrong with the marks of any file."""
    shown: dict[str, set[str]] = {}
    wrong: list[str] = []
    for path in sorted(TESTS.rglob("*.py")):
        file = path.relative_to(REPOSITORY).as_posix()
        promises, faults = promises_in(path.read_text(encoding="utf-8"))
        wrong.extend(f"{file}, {fault}" for fault in faults)
        for promise in promises:
            shown.setdefault(promise, set()).add(file)
    return shown, wrong


def test_every_promise_is_shown_by_a_test() -> None:
    shown, _ = survey()
    assert [promise.id for promise in PROMISES if promise.id not in shown] == []


def test_every_mark_names_a_promise_of_the_list() -> None:
    shown, wrong = survey()
    known = {promise.id for promise in PROMISES}
    assert {name: sorted(files) for name, files in shown.items() if name not in known} == {}
    assert wrong == []


def test_promises_are_numbered_without_gaps_and_each_says_where_it_is_stated() -> None:
    assert [promise.id for promise in PROMISES] == [f"P{number}" for number in range(1, len(PROMISES) + 1)]
    for promise in PROMISES:
        file, _, heading = promise.source.partition("#")
        stated = (REPOSITORY / file).read_text(encoding="utf-8")
        assert f"\n## {heading.upper()}\n" in stated


def test_the_page_of_promises_is_the_list() -> None:
    written = (REPOSITORY / "docs" / "PROMISES.md").read_text(encoding="utf-8")
    assert written == page(), "hint: python -m tests.requirements > docs/PROMISES.md"


MARKED = "import pytest\n@pytest.mark.promise({argument})\n{decorators}def {name}() -> None: ...\n"


@pytest.mark.parametrize(
    ("argument", "decorators", "name", "shown", "faults"),
    [
        ('"P1"', "", "test_it", {"P1"}, 0),
        ('"P1", "P2"', "", "test_it", {"P1", "P2"}, 0),
        ('"P1"', "@pytest.mark.skip\n", "test_it", set(), 0),
        ('"P1"', "@pytest.mark.xfail(reason='x')\n", "test_it", set(), 0),
        ('"P1"', "", "helper", set(), 1),
        ("NAME", "", "test_it", set(), 1),
        ("", "", "test_it", set(), 1),
    ],
)
def test_a_mark_counts_only_on_a_test_that_runs(
    argument: str, decorators: str, name: str, shown: set[str], faults: int
) -> None:
    found, wrong = promises_in(MARKED.format(argument=argument, decorators=decorators, name=name))
    assert found == shown
    assert len(wrong) == faults


def test_a_mark_for_a_whole_file_counts() -> None:
    source = 'import pytest\npytestmark = [pytest.mark.promise("P3"), pytest.mark.timeout(5)]\n'
    assert promises_in(source) == ({"P3"}, [])
