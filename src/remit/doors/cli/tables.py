"""Plain tables for terminals: readable without colour, safe to show, easy to cut and grep."""

from __future__ import annotations

from collections.abc import Sequence

from remit.model.display import safe_line

LONGEST_CELL = 60


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as they need to be, ending in a line feed; empty where there are no rows."""
    if not rows:
        return ""
    cells = [[safe_line(str(cell), LONGEST_CELL) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [list(head), *cells]) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [list(head), *cells]
    ]
    return "\n".join(lines) + "\n"


def several(names: Sequence[str], nothing: str = "-", most: int = 3) -> str:
    """A few names on one line, and how many more."""
    if not names:
        return nothing
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def count(number: int, one: str, many: str = "") -> str:
    """`1 action`, `2 actions`."""
    return f"{number} {one if number == 1 else many or one + 's'}"
