"""What is printed: at most 100 columns, no colour where none belongs, and nothing that acts on a terminal."""

import io
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit.doors.demo.screen import WIDTH, Screen

ESCAPE = "\x1b"


def written(tell: Callable[[Screen], None], *, colour: bool | None = None) -> str:
    out = io.StringIO()
    tell(Screen(out, colour=colour))
    return out.getvalue()


@given(st.text(max_size=400))
def test_no_line_is_ever_wider_than_the_page(text: str) -> None:
    def tell(screen: Screen) -> None:
        screen.heading(text, text)
        screen.say(text)
        screen.point("reads", text)
        screen.output(text)
        screen.command(["remit", text])
        screen.table(("A", "B"), [(text[:60], text)])

    lines = written(tell).split("\n")
    assert all(len(line) <= WIDTH for line in lines)


@given(st.text(alphabet=st.characters(min_codepoint=0, max_codepoint=0x2FF), max_size=200))
def test_text_from_outside_never_reaches_the_terminal_as_control_characters(text: str) -> None:
    def tell(screen: Screen) -> None:
        screen.say(text)
        screen.point("x", text)
        screen.output(text)

    assert all(char == "\n" or unicodedata.category(char) not in ("Cc", "Cf") for char in written(tell))


def test_output_that_is_not_a_terminal_has_no_colour() -> None:
    assert ESCAPE not in written(lambda screen: screen.heading("a title", "what it is about"))


def test_no_color_is_respected_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def shown() -> str:
        out = Terminal()
        Screen(out).line("title", style="bold")
        return out.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert ESCAPE in shown()
    monkeypatch.setenv("NO_COLOR", "1")
    assert ESCAPE not in shown()


def test_output_that_is_cut_says_how_much_is_left_out() -> None:
    shown = written(lambda screen: screen.output("one\ntwo\nthree\nfour", most=2))
    assert "two" in shown
    assert "three" not in shown
    assert "2 more lines" in shown


def test_columns_inside_a_command_s_output_stay_where_they_are() -> None:
    assert "  │ Undo        none\n" in written(lambda screen: screen.output("Undo        none"))
