"""What a connector of the practice SOC did to the world, kept in files that can be looked at from outside.

A directory holds, per connector, `NAME.json` (the state now), `NAME.audit.jsonl` (every effect, read and
refused call, in order) and `NAME.lock`. `python -m remit_lab.state DIR` prints the state as a table, `--json`
as JSON.

INVARIANT: the state and the audit line of one effect cannot part. The state file carries the last
effect's line, so a process killed between the two writes leaves it to be appended by the next one, and
`audit` shows it meanwhile.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

from remit_lab import files
from remit_lab.files import Json

T = TypeVar("T")
Outcome = Literal["effect", "read", "refused"]


def instant() -> str:
    """Return the time now, UTC, as ISO 8601 with microseconds and Z."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Call:
    """One call as a connector's audit remembers it."""

    tool: str
    arguments: Json
    warrant: str | None = None
    """The warrant's `jti`, or None when the call carried none that could be read."""
    subject: str | None = None
    """The warrant's `sub`: for whom the call was made."""

    def entry(self, outcome: Outcome, **more: object) -> Json:
        """Return the audit line for this call with the time now."""
        return {
            "time": instant(),
            "outcome": outcome,
            "tool": self.tool,
            "arguments": self.arguments,
            "warrant": self.warrant,
            "subject": self.subject,
            **more,
        }


class State:
    """The durable state of one connector; any number of processes may hold one for the same files."""

    def __init__(self, directory: Path, connector: str) -> None:
        self.directory = directory
        self.connector = connector
        self._state = directory / f"{connector}.json"
        self._audit = directory / f"{connector}.audit.jsonl"
        self._lock = directory / f"{connector}.lock"
        self._recorded = 0
        """The newest effect that this process knows to be in the audit; saves reading it all at each
        change."""

    def start(self, initial: Callable[[], Json]) -> None:
        """Write the first state where there is none yet; an existing one stays as it is."""
        with files.locked(self._lock):
            if files.load(self._state) is None:
                files.replace(
                    self._state,
                    {"connector": self.connector, "effects": 0, "last": None, "data": initial()},
                )

    def read(self) -> Json:
        """Return the state now.

        Raises FileNotFoundError when the connector has never been started on this directory.
        """
        return _data(self._document())

    def change(self, call: Call, effect: Callable[[Json], T]) -> T:
        """Apply `effect` to the state and record it; both are on the disk when this returns.

        `effect` gets the state to change in place. When it raises, nothing is changed or recorded.
        """
        with files.locked(self._lock):
            document = self._document()
            self._catch_up(document)
            answer = effect(_data(document))
            number = int(document["effects"]) + 1
            entry = call.entry("effect", effect=number)
            document.update(effects=number, last=entry)
            files.replace(self._state, document)
            files.append(self._audit, json.dumps(entry, ensure_ascii=False), durable=True)
            self._recorded = number
            return answer

    def note(self, call: Call, outcome: Literal["read", "refused"], reason: str | None = None) -> None:
        """Record a call that changed nothing: a read, or one that was refused and why."""
        more = {} if reason is None else {"reason": reason}
        with files.locked(self._lock):
            files.append(self._audit, json.dumps(call.entry(outcome, **more), ensure_ascii=False), durable=False)

    def audit(self) -> list[Json]:
        """Return every recorded call, oldest first."""
        entries = files.lines(self._audit)
        document = files.load(self._state)
        if document is not None and (missing := _unrecorded(document, entries)):
            entries.append(missing)
        return entries

    def _catch_up(self, document: Json) -> None:
        if document["effects"] == self._recorded:
            return
        if missing := _unrecorded(document, files.lines(self._audit)):
            files.append(self._audit, json.dumps(missing, ensure_ascii=False), durable=True)

    def _document(self) -> Json:
        document = files.load(self._state)
        if document is None:
            raise FileNotFoundError(f"connector `{self.connector}` has no state in `{self.directory}`")
        return document


def _data(document: Json) -> Json:
    data = document["data"]
    if not isinstance(data, dict):
        raise ValueError("the state's `data` should be a JSON object")
    return data


def _unrecorded(document: Json, entries: list[Json]) -> Json | None:
    last = document.get("last")
    if not isinstance(last, dict):
        return None
    recorded = any(entry.get("effect") == last["effect"] for entry in reversed(entries))
    return None if recorded else last


def connectors(directory: Path) -> list[str]:
    """Return the names of the connectors that have state in `directory`, sorted."""
    return sorted(
        path.stem
        for path in directory.glob("*.json")
        if path.name != "faults.json" and isinstance((files.load(path) or {}).get("data"), dict)
    )


def look(directory: Path) -> dict[str, Json]:
    """Return the state of every connector in `directory`, by connector name. Takes no lock, changes
    nothing."""
    return {name: State(directory, name).read() for name in connectors(directory)}


def audit(directory: Path, connector: str) -> list[Json]:
    """Return what `connector` recorded in `directory`, oldest first (see `Call.entry` for the fields)."""
    return State(directory, connector).audit()


def effects(directory: Path, connector: str) -> list[Json]:
    """Return only the recorded calls that changed something, oldest first."""
    return [entry for entry in audit(directory, connector) if entry["outcome"] == "effect"]


def rows(state: dict[str, Json]) -> list[tuple[str, str, str]]:
    """Return (connector, thing, condition) for everything the connectors keep, as `look` returned it."""
    table: list[tuple[str, str, str]] = []
    for connector, data in state.items():
        for host in data.get("hosts", {}).values():
            table.append((connector, host["name"], _host_condition(host)))
        for account in data.get("accounts", {}).values():
            table.append((connector, account["name"], _account_condition(account)))
        for block in data.get("blocks", {}).values():
            until = f" until {block['until']}" if block.get("until") else ""
            table.append((connector, block["address"], f"blocked{until}"))
        for alert in data.get("alerts", []):
            table.append((connector, alert["alert_id"], f"{alert['severity']}: {alert['title']}"))
    return table


def _host_condition(host: Json) -> str:
    condition = "ISOLATED" if host["isolated"] else "connected"
    scripts = len(host["scripts"])
    return (
        f"{condition}, {host['kind']}"
        + ("" if host["online"] else ", offline")
        + (f", {scripts} script{'s' if scripts > 1 else ''} run" if scripts else "")
    )


def _account_condition(account: Json) -> str:
    condition = "DELETED" if account["deleted"] else "enabled" if account["enabled"] else "DISABLED"
    return condition + (", privileged" if account["privileged"] else "")


def main(arguments: list[str] | None = None) -> int:
    """Print the state in a directory; return 0, or 1 when no connector has state there."""
    parser = argparse.ArgumentParser(prog="python -m remit_lab.state", description=main.__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--json", action="store_true", help="the whole state as JSON")
    parser.add_argument("--audit", action="store_true", help="what each connector recorded, as JSON lines")
    options = parser.parse_args(arguments)
    state = look(options.directory)
    if not state:
        print(f"no connector has state in `{options.directory}`", file=sys.stderr)
        return 1
    if options.audit:
        for name in state:
            for entry in audit(options.directory, name):
                print(json.dumps({"connector": name, **entry}, ensure_ascii=False))
    elif options.json:
        print(json.dumps(state, indent=1, ensure_ascii=False))
    else:
        for connector, thing, condition in rows(state):
            print(f"{connector:<10} {thing:<28} {condition}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
