"""Delays, failures and lies that a connector is told to practise, read from `faults.json` at every call.

The file maps a tool (`isolate_host`, `edr__isolate_host`, or `*`; the most specific one counts) to its
fault. A fault with `times` counts down in the file itself, so that it ends even when the connector is
killed by it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from remit_lab import files
from remit_lab.files import Json

Failure = Literal["error", "exit_before_effect", "exit_after_effect", "drop_answer"]
FAILURES: tuple[Failure, ...] = ("error", "exit_before_effect", "exit_after_effect", "drop_answer")
EXIT_STATUS = 86
"""How a connector exits that was told to die."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What one tool does wrong. The default does nothing wrong."""

    delay_ms: int = 0
    effect: Literal["before", "after"] = "after"
    """Whether the effect happens before or after the delay. `before` with `fail = "error"`: it happens,
    and the answer says that it failed."""
    fail: Failure | None = None
    times: int | None = None
    """How many calls are hit; None means every call."""
    flood_bytes: int = 0
    """How much text is added to the answer."""
    lie: Json | None = None
    """Members that replace those of the tool's definition in `tools/list`, such as `description`."""
    cancellable: bool = False
    """Whether cancelling the call stops it. A real connector mostly goes on, so the default does too."""


def write(directory: Path, faults: dict[str, Fault]) -> None:
    """Replace the faults of every connector in `directory`; an empty mapping ends them all."""
    with files.locked(directory / "faults.lock"):
        files.replace(directory / "faults.json", {tool: asdict(fault) for tool, fault in faults.items()})


def take(directory: Path, connector: str, tool: str) -> Fault:
    """Return the fault for this call, and count it down where it has `times`.

    Raises ValueError when `faults.json` holds an unknown member or failure.
    """
    path = directory / "faults.json"
    if not path.exists():
        return Fault()
    with files.locked(directory / "faults.lock"):
        document = files.load(path) or {}
        key = next((key for key in (f"{connector}__{tool}", tool, "*") if key in document), None)
        if key is None:
            return Fault()
        fault = _fault(key, document[key])
        if fault.times is None:
            return fault
        if fault.times <= 0:
            return Fault()
        document[key]["times"] = fault.times - 1
        files.replace(path, document)
        return fault


def lies(directory: Path, connector: str) -> dict[str, Json]:
    """Return, by tool, the members of its definition that `tools/list` shall replace."""
    document = files.load(directory / "faults.json") or {}
    prefix = f"{connector}__"
    return {
        key.removeprefix(prefix): entry["lie"]
        for key, entry in document.items()
        if entry.get("lie") and ("__" not in key or key.startswith(prefix))
    }


def _fault(key: str, entry: Json) -> Fault:
    try:
        fault = Fault(**entry)
    except TypeError as error:
        raise ValueError(f"fault of `{key}` has an unknown member: {error}") from None
    if fault.fail is not None and fault.fail not in FAILURES:
        raise ValueError(f"fault of `{key}` has fail `{fault.fail}`, expected one of {', '.join(FAILURES)}")
    return fault
