"""What the acts share: where everything is, what was noted for the report, and showing commands."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from remit.doors.demo.control import look
from remit.doors.demo.home import ON_CALL, must, remit
from remit.doors.demo.lab import Facts
from remit.doors.demo.processes import Programs, Said
from remit.doors.demo.screen import Screen

NONE_FOUND = 1


@dataclass(frozen=True)
class Options:
    """What the viewer asked for."""

    interactive: bool = False
    inject: str = ""
    agent: str = ""
    """The command of another MCP client, for `/bin/sh -c`; empty for the scripted agent."""


@dataclass
class Story:
    """One telling. Owned by the thread that runs the demonstration."""

    screen: Screen
    programs: Programs
    folder: Path
    facts: Facts
    options: Options
    inject: str
    url: str = ""
    boundary: str = ""
    """Digest of the boundary's file."""
    decisions: list[dict[str, str]] = field(default_factory=list)
    noted: dict[str, Any] = field(default_factory=dict)
    acts: list[dict[str, Any]] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _log_read: int = 0

    @property
    def home(self) -> Path:
        """The practice home."""
        return self.folder / "home"

    @property
    def without(self) -> Path:
        """The connectors' state where the agent worked without Remit."""
        return self.folder / "lab" / "without"

    @property
    def governed(self) -> Path:
        """The connectors' state where it worked through Remit."""
        return self.folder / "lab" / "with"

    def act(self, title: str, says: str) -> None:
        """Close the act before and open the next one."""
        self.close_act()
        self.acts.append({"act": len(self.acts) + 1, "title": title, "seconds": 0.0})
        self.screen.heading(f"{len(self.acts)}. {title.upper()}", says)

    def close_act(self) -> None:
        """Note how long the act took that ends here."""
        now = time.monotonic()
        if self.acts:
            self.acts[-1]["seconds"] = round(now - self._began, 2)
        self._began = now

    def show(self, *words: str, most: int = 30, shown: tuple[str, ...] = ()) -> Said:
        """Run a command of Remit's, and show it with what it answered. Raises `Fault` where it failed."""
        said = must(self.programs.run(remit(*words)), f"`remit {' '.join(words[:2])}`")
        self.screen.command(["remit", *(shown or words)])
        self.screen.output(said.out, most=most)
        return said

    def quiet(self, *words: str) -> dict[str, Any]:
        """The JSON answer of a command of Remit's. Raises `Fault` where it failed."""
        return self.answer(self.begin(*words, "--json"), *words)

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command of Remit's whose JSON `answer` gets."""
        return self.programs.begin(remit(*words))

    def answer(self, process: subprocess.Popen[bytes], *words: str) -> dict[str, Any]:
        """The JSON answer of a command that `begin` started. Raises `Fault` where it failed."""
        said = must(self.programs.finish(process, remit(*words)), f"`remit {' '.join(words[:2])}`")
        answer: dict[str, Any] = json.loads(said.out)
        return answer

    def found(self, *words: str) -> list[dict[str, Any]]:
        """The actions that `remit find` finds, newest first. Raises `Fault` where it failed."""
        said = self.programs.run(remit("find", *words, "--json"))
        if said.code != NONE_FOUND:
            must(said, "`remit find`")
        actions: list[dict[str, Any]] = json.loads(said.out)["actions"]
        return actions

    def ask(self, method: str) -> dict[str, Any]:
        """What the control socket answers: as `remit … --json`, without starting a program for each look."""
        return look(self.home, method)

    def on_call(self, *words: str, most: int = 30) -> Said:
        """The same as `show`, signed by the practice on-call person."""
        return self.show(*words, "--person", ON_CALL, most=most, shown=tuple(map(_quoted, words)))

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that the gateway has sent since the last look: one structured line each in its own log."""
        found = []
        with (self.folder / "gateway.log").open("rb") as log:
            log.seek(self._log_read)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._log_read += len(line)
                _, mark, written = line.decode("utf-8", "replace").partition(" remit.alerts: ")
                if mark:
                    found.append(json.loads(written))
        self.noted.setdefault("alerts", []).extend(found)
        return found

    def asked(self, question: str, seconds: float) -> str | None:
        """What the viewer types, where there is one to ask; None where nobody answers in time."""
        self.screen.line(f"  ? {question}", style="bold")
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        return sys.stdin.readline().strip().casefold() if ready else None


def near(path: Path) -> str:
    """The path as somebody in the current folder would type it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _quoted(word: str) -> str:
    return f'"{word}"' if " " in word else word
