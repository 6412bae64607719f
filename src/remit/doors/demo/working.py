"""The agent at work under Remit: its process, its lines, what waits for a person, and the alerts, in one loop."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from remit.doors.demo.deciding import OnCall
from remit.doors.demo.home import AGENT, remit
from remit.doors.demo.lab import lab
from remit.doors.demo.narrator import Narrator
from remit.doors.demo.processes import Program
from remit.doors.demo.story import Story
from remit.model.errors import Fault

LOOK_SECONDS = 0.1
LONGEST_SECONDS = 120.0
LONGEST_OTHER_SECONDS = 900.0
_PATIENCE = "600"


@dataclass
class Work:
    """One run of the agent. `before_*` are called once, right before the first of its kind is told."""

    story: Story
    narrator: Narrator
    on_call: OnCall
    before_waiting: Callable[[], None] = lambda: None
    before_attack: Callable[[], None] = lambda: None
    until: Callable[[], bool] = lambda: False
    """Asked in every turn: whether to leave the agent at work and go on with the story."""
    alerts: list[dict[str, Any]] = field(default_factory=list)
    _untold: list[dict[str, Any]] = field(default_factory=list)
    _called: set[str] = field(default_factory=set)

    def start(self) -> Program:
        """Open a run on the case and start the agent in it, as an orchestrator would."""
        story = self.story
        words = ["/bin/sh", "-c", story.options.agent] if story.options.agent else scripted(story)
        self._agent = story.programs.start("agent", remit(*self.order(), "--", *words))
        return self._agent

    def order(self) -> list[str]:
        """The words that open the run."""
        return ["run", "exec", "--agent", AGENT, "--case", self.story.facts.case]

    def follow(self) -> bool:
        """Tell the work until the agent ends (True) or `until` says so (False). Raises `Fault` where neither comes."""
        most = LONGEST_OTHER_SECONDS if self.story.options.agent or self.story.options.interactive else LONGEST_SECONDS
        end = time.monotonic() + most
        while time.monotonic() < end:
            if (text := self._agent.line(LOOK_SECONDS)) is not None:
                self._line(text)
                continue
            self._look()
            if self._agent.ended:
                self._look()
                return True
            if self.until():
                return False
        raise Fault(f"the agent was still at work after {most:.0f} s", hint="agent.log has what it said")

    def _line(self, text: str) -> None:
        if '"step": "told"' in text:
            self._tell_alerts("rejected", "expired")
            self._once("attack", self.before_attack)
        self.narrator.line(text)

    def _look(self) -> None:
        """What waits for a person comes first; the agent has more to say then, which comes before any alert."""
        waiting = self.on_call.look()
        for each in waiting:
            self._once("waiting", self.before_waiting)
            self.on_call.decide(each)
        if not waiting:
            self._tell_alerts()

    def _tell_alerts(self, *codes: str) -> None:
        """Tell the alerts that are new; with `codes` only those, and the others when everything is told."""
        self._untold += self.story.alerts()
        now = [each for each in self._untold if not codes or each.get("code") in codes]
        self._untold = [each for each in self._untold if each not in now]
        for alert in now:
            self.alerts.append(alert)
            if alert.get("code") == "forbidden":
                self._once("attack", self.before_attack)
            if (says := alert_says(alert)) is not None:
                self.story.screen.point("ALERT", says, style="red")

    def _once(self, name: str, call: Callable[[], None]) -> None:
        if name not in self._called:
            self._called.add(name)
            call()


def alert_says(alert: dict[str, Any]) -> str | None:
    """An alert as one sentence; None for what the story tells otherwise (a card that waits)."""
    agent, category = alert.get("agent", "an agent"), alert.get("category", "an action")
    clauses = ", ".join(alert.get("clauses", ()))
    sentences = {
        "forbidden": f"{agent} tried {category}, which the page forbids ({clauses}); {alert.get('action', '')}",
        "rejected": f"a person rejected {category} by {agent}",
        "expired": f"nobody answered in time: {category} by {agent} is rejected",
        "repeated": f"{agent} was refused too often: it is HELD until a person lifts that",
    }
    return sentences.get(str(alert.get("code")))


def scripted(story: Story) -> list[str]:
    """The scripted agent, connected to the gateway."""
    return lab("agent", "--remit", story.url, "--case", story.facts.case, "--patience", _PATIENCE, "--jsonl")


def environment(home: os.PathLike[str]) -> dict[str, str]:
    """What our programs get: the viewer's environment without anybody's keys and tokens, and the practice home."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("REMIT_")}
    return own | {"REMIT_HOME": os.fspath(home), "PYTHONUNBUFFERED": "1", "COLUMNS": "94", "NO_COLOR": "1"}
