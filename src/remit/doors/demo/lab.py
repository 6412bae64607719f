"""The practice SOC as the demonstration sees it: what is in the recording, and what the connectors' state says.

The lab is another package that nothing of Remit's imports, so everything here goes through its programs and its files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remit.doors.demo.processes import Programs
from remit.model.errors import Misuse

CONNECTORS = ("siem", "edr", "idp", "firewall")
CONTROLLER = "domain-controller"
ADDED_CONTROLLER = {"name": "DC-01", "device_id": "dev-added-dc01", "kind": CONTROLLER, "owner": ""}
"""The domain controller that a practice network gets whose recording shows none."""
ANYTHING = "give recordings of Windows security events, or no `--telemetry` for the incident that comes with Remit"


@dataclass(frozen=True)
class Facts:
    """What the recording is about."""

    recordings: tuple[Path, ...]
    document: dict[str, Any]
    inventory: str
    case: str
    title: str
    severity: str
    device: str
    account: str
    controller: str
    added_controller: bool

    @property
    def kind(self) -> str:
        """What kind of host the alert's device is."""
        return next((each["kind"] for each in self.document["hosts"] if each["name"] == self.device), "host")

    @property
    def hosts(self) -> int:
        """How many hosts the recording itself shows."""
        return len(self.document["hosts"]) - self.added_controller


def lab(module: str, *words: str) -> list[str]:
    """A command of the practice lab."""
    return [sys.executable, "-m", f"remit_lab.{module}", *words]


def connector_words(facts: Facts, state: Path, name: str, inject: str) -> list[str]:
    """How one practice connector is started on a folder of state."""
    words = lab(name, "--state", str(state))
    if name == "siem":
        words += [word for path in facts.recordings for word in ("--telemetry", str(path))]
        words += ["--inject", inject]
    return words


def recordings(named: Sequence[str]) -> tuple[Path, ...]:
    """The files to tell the story of. Raises `Misuse` for one that is not there."""
    paths = tuple(Path(name).expanduser().resolve() for name in named)
    for name, path in zip(named, paths, strict=True):
        if not path.is_file():
            raise Misuse(f"there is no recording `{name}`", hint=ANYTHING)
    return paths


def read_facts(programs: Programs, folder: Path, paths: tuple[Path, ...]) -> Facts:
    """What is in the recordings. Raises `Misuse` where there is no host or no alert to tell a story of."""
    out, table = folder / "estate.json", folder / "inventory.csv"
    words = lab("estate", *(word for path in paths for word in ("--telemetry", str(path))))
    said = programs.run([*words, "--json", str(out), "--inventory", str(table)])
    shown = ", ".join(path.name for path in paths) or "the incident that comes with Remit"
    if said.code != 0 or not out.exists():
        last = said.err.strip().splitlines()[-1:] or ["it gave no reason"]
        raise Misuse(f"`{shown}` cannot be read as recorded events: {last[0][:200]}", hint=ANYTHING)
    document = json.loads(out.read_text("utf-8"))
    if not document["hosts"]:
        raise Misuse(f"`{shown}` holds events of no host, so there is nothing to isolate", hint=ANYTHING)
    alert = next((each for each in document["alerts"] if each["device"]), None)
    if alert is None:
        raise Misuse(f"nothing in `{shown}` raises an alert about a host, so there is no case to open", hint=ANYTHING)
    controller = next((each["name"] for each in document["hosts"] if each["kind"] == CONTROLLER), "")
    text = table.read_text("utf-8")
    if not controller:
        controller = _add_controller(document)
        text += f"{controller},{CONTROLLER},yes,,,edr:{ADDED_CONTROLLER['device_id']}\n"
    return Facts(
        recordings=paths,
        document=document,
        inventory=text,
        case=alert["alert_id"],
        title=alert["title"],
        severity=alert["severity"],
        device=alert["device"],
        account=alert["account"],
        controller=controller,
        added_controller=any(each["device_id"] == ADDED_CONTROLLER["device_id"] for each in document["hosts"]),
    )


def _add_controller(document: dict[str, Any]) -> str:
    """A network has one, even where the recording shows none: there has to be something that must never be touched."""
    taken = {each["name"] for each in document["hosts"]}
    host = dict(ADDED_CONTROLLER)
    if host["name"] in taken:
        host["name"] = "DC-PRACTICE"
    document["hosts"].append({**host, "aliases": [], "addresses": []})
    return host["name"]


def prepare(facts: Facts, state: Path) -> None:
    """A fresh folder of state: the connectors on it begin from the recorded estate."""
    state.mkdir(parents=True)
    (state / "estate.json").write_text(json.dumps(facts.document), "utf-8")


def slow_down(state: Path, tool: str, seconds: int) -> None:
    """Make one tool slow from its next call on; 0 makes it quick again."""
    faults = {tool: {"delay_ms": seconds * 1000}} if seconds else {}
    fresh = state / ".faults.json"
    fresh.write_text(json.dumps(faults), "utf-8")
    fresh.replace(state / "faults.json")


def conditions(state: Path) -> dict[tuple[str, str], str]:
    """(connector, thing) to its condition in plain words, read from the connectors' own files."""
    found: dict[tuple[str, str], str] = {}
    for name in CONNECTORS[1:]:
        path = state / f"{name}.json"
        data: Mapping[str, Any] = json.loads(path.read_text("utf-8"))["data"] if path.exists() else {}
        for host in data.get("hosts", {}).values():
            scripts = f", {len(host['scripts'])} script(s) run" if host["scripts"] else ""
            found[name, host["name"]] = ("CUT OFF" if host["isolated"] else "connected") + scripts
        for account in data.get("accounts", {}).values():
            gone = "DELETED" if account["deleted"] else "enabled" if account["enabled"] else "DISABLED"
            found[name, account["name"]] = gone
        for block in data.get("blocks", {}).values():
            found[name, block["address"]] = "BLOCKED"
    return found


def beginning(facts: Facts) -> dict[tuple[str, str], str]:
    """The same before anybody did anything."""
    hosts = {("edr", each["name"]): "connected" for each in facts.document["hosts"]}
    return hosts | {("idp", each["name"]): "enabled" for each in facts.document["accounts"]}
