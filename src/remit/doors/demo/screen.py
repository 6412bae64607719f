"""What the demonstration prints: headings, sentences, and the output of commands, at most 100 columns wide.

What lives here: layout. What never may: text from outside that could move the terminal's cursor.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence
from typing import TextIO

from remit.model.display import safe_line, safe_text

WIDTH = 100
_LONGEST = 4_000
_CODES = {"bold": "1", "red": "31", "green": "32", "dim": "2"}


class Screen:
    """Writes to a stream; colour only on a terminal, and never where NO_COLOR is set (no-color.org)."""

    def __init__(self, out: TextIO | None = None, *, colour: bool | None = None) -> None:
        self._out = out or sys.stdout
        wanted = self._out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._colour = wanted if colour is None else colour

    def heading(self, title: str, says: str) -> None:
        """The head of an act: a line across, what it is called, what it is about."""
        self.line()
        self.line("─" * WIDTH, style="dim")
        self.say(title, style="bold")
        self.say(says)
        self.line()

    def say(self, text: str, *, style: str = "") -> None:
        """One paragraph, wrapped."""
        for line in textwrap.wrap(inert(text), WIDTH, break_long_words=True, break_on_hyphens=False) or [""]:
            self.line(line, style=style)

    def point(self, mark: str, text: str, *, style: str = "") -> None:
        """One step of the story: a short word in the margin and a sentence beside it."""
        self._hang(f"  {mark:<9} ", inert(text), style)

    def command(self, words: Sequence[str]) -> None:
        """The command whose output follows, as a person would type it."""
        self._hang("  $ ", inert(" ".join(words)), "bold")

    def output(self, text: str, *, most: int = 40, mark: str = "  │ ") -> None:
        """What a command printed, marked line by line; of more than `most` lines it says how many are left out."""
        lines = text.rstrip("\n").split("\n") if text.strip() else []
        for line in lines[:most]:
            indent = mark + " " * min(len(line) - len(line.lstrip(" ")), 40)
            self._hang(indent, safe_text(line.strip()), "", again=f"{indent}  ")
        if len(lines) > most:
            self.line(f"{mark}… and {_plural(len(lines) - most, 'more line')}", style="dim")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str] = ()) -> None:
        """Columns as wide as they need to be; where they do not fit, the widest are cut visibly."""
        cells = [[inert(each) for each in row] for row in [head, *rows]]
        widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
        while sum(widths) + 2 * len(widths) > WIDTH:
            widths[widths.index(max(widths))] -= 1
        for index, row in enumerate(cells):
            shown = [
                cell if len(cell) <= width else cell[: width - 1] + "…" for cell, width in zip(row, widths, strict=True)
            ]
            text = "  ".join(cell.ljust(width) for cell, width in zip(shown, widths, strict=True)).rstrip()
            style = "bold" if index == 0 else styles[index - 1] if index <= len(styles) else ""
            self.line(f"  {text}", style=style)

    def line(self, text: str = "", *, style: str = "") -> None:
        """One line that is already safe and short enough."""
        if self._colour and style in _CODES:
            text = f"\x1b[{_CODES[style]}m{text}\x1b[0m"
        self._out.write(text + "\n")
        self._out.flush()

    def _hang(self, first: str, text: str, style: str, *, again: str = "") -> None:
        """Text that hangs behind its first line's margin."""
        margin = again or " " * len(first)
        for line in textwrap.wrap(
            text, WIDTH, initial_indent=first, subsequent_indent=margin, break_on_hyphens=False
        ) or [first]:
            self.line(line.rstrip(), style=style)


def _plural(number: int, one: str) -> str:
    return f"{number} {one}" if number == 1 else f"{number} {one}s"


def inert(text: str) -> str:
    """The text on one line, with everything that could act on a terminal made visible."""
    return safe_line(text, _LONGEST)
