"""What the agent says while it works: one line per step, written at once so that somebody can follow it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

SHOWN_VALUE = 80
"""Characters of an argument's value that a plain line shows."""


class Transcript:
    """Writes steps as plain lines, or as JSON lines for a program."""

    def __init__(self, *, as_json: bool = False, out: TextIO | None = None) -> None:
        self._as_json = as_json
        self._out = out

    def say(self, step: str, says: str, **details: object) -> None:
        """Write one step: a word for its kind, a sentence, and details that only the JSON lines carry."""
        now = datetime.now(UTC)
        out = self._out or sys.stdout
        if self._as_json:
            line = {"time": now.isoformat(timespec="milliseconds"), "step": step, "says": says, **details}
            print(json.dumps(line, ensure_ascii=False, default=str), file=out, flush=True)
        else:
            print(f"{now:%H:%M:%S}  {step:<9} {_inert(says)}", file=out, flush=True)


def written(tool: str, arguments: Mapping[str, object]) -> str:
    """Return a call as one readable line, without the rationale."""
    shown = [f"{name}={_short(value)}" for name, value in arguments.items() if "rationale" not in name]
    return f"{tool}({', '.join(shown)})"


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_VALUE else f"{text[: SHOWN_VALUE - 1]}…"


def _inert(text: str) -> str:
    """Return the text on one line, with everything that could move a terminal's cursor made visible."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in " ".join(text.split()))
