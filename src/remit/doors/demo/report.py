"""`report.json`: what the demonstration showed, for programs. Paths are relative to the demonstration's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from remit.doors.demo.acts import side_by_side
from remit.doors.demo.home import AGENT
from remit.doors.demo.story import Story
from remit.model.errors import Fault

NAME = "report.json"
MOST_ACTIONS = "10000"


def report(story: Story, seconds: float) -> dict[str, Any]:
    """The report. `seconds` is how long the telling took, set-up aside."""
    facts = story.facts
    actions = story.found("--limit", MOST_ACTIONS)
    return {
        "version": 1,
        "seconds": round(seconds, 2),
        "acts": story.acts,
        "telemetry": [path.name for path in facts.recordings],
        "case": {"alert": facts.case, "title": facts.title, "device": facts.device, "account": facts.account},
        "controller": {"name": facts.controller, "added": facts.added_controller},
        "inject": story.inject,
        "agent": {"name": AGENT, "scripted": not story.options.agent, "told": story.noted.get("agent_told", [])},
        "boundary": {"digest": story.boundary, "file": "home/boundary.toml"},
        "actions": [_action(each) for each in actions],
        "decisions": story.decisions,
        "alerts": story.noted.get("alerts", []),
        "hold": story.noted.get("hold"),
        "stop": story.noted.get("stop"),
        "settled": story.noted.get("settled", []),
        "explained": story.noted.get("explained"),
        "log": story.noted.get("log"),
        "state": side_by_side(story),
        "paths": {"home": "home", "without": "lab/without", "with": "lab/with", "log": "gateway.log"},
    }


def write(story: Story, found: dict[str, Any]) -> Path:
    """Write the report and return its path. Raises `Fault` where the disk refuses."""
    path = story.folder / NAME
    try:
        path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")
    except OSError as error:
        raise Fault(f"`{path}` cannot be written: {(error.strerror or str(error)).lower()}") from None
    return path


def _action(found: dict[str, Any]) -> dict[str, Any]:
    ruling = found.get("ruling", {})
    return {
        "action": found["id"],
        "agent": found["agent"],
        "run": found["run"],
        "category": found["category"],
        "tool": f"{found['connector']}.{found['tool']}",
        "targets": found["targets"],
        "state": found["state"],
        "decision": ruling.get("decision"),
        "clauses": [each["id"] for each in ruling.get("clauses", ())],
        "outcome": found.get("outcome", ""),
    }
