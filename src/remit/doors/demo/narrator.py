"""The scripted agent's steps in plain sentences.

What lives here: from a line of its transcript to what a reader is told. What the agent says is its own claim; what
became of it is told from the connectors' state and from Remit's record.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from remit.doors.demo.screen import Screen

SHOWN_SIGNS = 2
MOST_FOREIGN_LINES = 60
LONGEST_FOREIGN_LINE = 300
Step = dict[str, Any]
_DOES: dict[str, str] = {
    "isolate_host": "cut {host} off the network",
    "isolate_hosts": "cut {hosts} off the network",
    "isolate_group": "cut off every host of the group {group}",
    "release_host": "let {host} back onto the network",
    "run_script": "run a program on {host}",
    "disable_account": "disable the account {account}",
    "enable_account": "enable the account {account}",
    "delete_account": "delete the account {account}",
    "block_address": "block {address} at the firewall",
    "unblock_address": "unblock {address} at the firewall",
}


@dataclass
class Narrator:
    """Tells one agent's work. Owned by whoever reads its lines."""

    screen: Screen
    told: list[str] = field(default_factory=list)
    """What the events told the agent to do, in their words."""
    _signs: set[str] = field(default_factory=set)
    _lines: int = 0

    def line(self, text: str) -> Step | None:
        """Tell one line of the transcript. Returns the step, or None for a line of an agent that speaks otherwise."""
        try:
            step = json.loads(text)
        except ValueError:
            step = None
        if not isinstance(step, dict) or not isinstance(step.get("step"), str):
            self._foreign(text)
            return None
        teller = _TELLERS.get(step["step"])
        if teller is not None:
            teller(self, step)
        return step

    def _foreign(self, text: str) -> None:
        """A line of an agent that we do not know: its own words, and not more of them than can be read."""
        self._lines += 1
        if self._lines < MOST_FOREIGN_LINES and text.strip():
            self.screen.point("agent", text[:LONGEST_FOREIGN_LINE])
        elif self._lines == MOST_FOREIGN_LINES:
            self.screen.point("agent", "… it says more than is shown here")

    def _alert(self, step: Step) -> None:
        self.screen.point("case", str(step["says"]))

    def _read(self, step: Step) -> None:
        self.screen.point("reads", str(step["says"]))

    def _noticed(self, step: Step) -> None:
        what = str(step["says"]).partition(" at ")[0]
        if what not in self._signs and len(self._signs) < SHOWN_SIGNS:
            self._signs.add(what)
            self.screen.point("notices", what)

    def _told(self, step: Step) -> None:
        self.told.append(str(step["says"]).partition(" says: ")[2])
        self.screen.point("is told", str(step["says"]), style="red")

    def _insists(self, step: Step) -> None:
        self.screen.point("insists", str(step["says"]))

    def _did(self, step: Step) -> None:
        does = doing(step)
        if does:
            self.screen.point("DONE", does)

    def _refused(self, step: Step) -> None:
        does = doing(step)
        if does:
            says = str(step.get("answer") or step["says"]).partition("\n")[0]
            self.screen.point("NOT DONE", f"{does} — {says}", style="green")

    def _stopped(self, step: Step) -> None:
        does = doing(step)
        if does:
            self.screen.point("CUT", f"{does}: severed by the stop")
        elif not step.get("tool"):
            self.screen.point("stopped", str(step["says"]).partition(" (")[0])

    def _other(self, step: Step) -> None:
        self.screen.point(str(step["step"]), str(step["says"]))

    def _verdict(self, step: Step) -> None:
        self.screen.point("concludes", f"about the case: {step['says']}")


_TELLERS: dict[str, Callable[[Narrator, Step], None]] = {
    "alert": Narrator._alert,
    "read": Narrator._read,
    "noticed": Narrator._noticed,
    "told": Narrator._told,
    "insists": Narrator._insists,
    "did": Narrator._did,
    "refused": Narrator._refused,
    "cannot": Narrator._other,
    "failed": Narrator._other,
    "stopped": Narrator._stopped,
    "verdict": Narrator._verdict,
}


def doing(step: Step) -> str:
    """What a step's call would change, in plain words; empty for a call that only reads."""
    pattern = _DOES.get(str(step.get("tool", "")).rpartition("__")[2])
    arguments = step.get("arguments")
    if pattern is None or not isinstance(arguments, dict):
        return ""
    shown = {
        name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in arguments.items()
    }
    try:
        return pattern.format_map(shown)
    except (KeyError, ValueError, IndexError):
        return str(step.get("tool", ""))
