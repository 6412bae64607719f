"""The page on the journal says what the journal holds."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from remit.gates.journal import KINDS

REPOSITORY = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| `([a-z.]+)` \| (.+?) \|(.*)\|$", re.MULTILINE)
EVERYWHERE = {"action", "run", "agent", "payloads"}
MAKERS = {"record", "of_action", "alert"}


def rows() -> dict[str, tuple[str, set[str]]]:
    page = (REPOSITORY / "docs" / "JOURNAL.md").read_text(encoding="utf-8")
    return {kind: (meaning, set(re.findall(r"`([a-z_]+)`", fields))) for kind, meaning, fields in ROW.findall(page)}


def written() -> Iterator[tuple[str, str]]:
    """Kind and field of every record that the source makes with the kind spelt out."""
    for path in (REPOSITORY / "src" / "remit").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and (kind := kind_of(node)) in KINDS:
                yield from ((kind, keyword.arg) for keyword in node.keywords if keyword.arg)


def kind_of(call: ast.Call) -> str:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name not in MAKERS or not call.args:
        return ""
    if name == "alert":
        return "alert"
    return call.args[0].value if isinstance(call.args[0], ast.Constant) else ""  # type: ignore[return-value]


def test_the_page_lists_every_kind_of_record_with_its_meaning_and_no_other() -> None:
    assert {kind: meaning for kind, (meaning, _) in rows().items()} == KINDS


def test_every_field_that_is_written_is_on_the_page() -> None:
    listed = {kind: fields for kind, (_, fields) in rows().items()}
    missing = sorted({(kind, field) for kind, field in written() if field not in listed[kind] | EVERYWHERE})
    assert missing == []
