"""Drafting a connector's file out of its own tool list, and pinning the file in the boundary.

What lives here: adding what a file does not say yet, never changing what it says. What never may: a classification that
makes a tool look milder than it may be (see `remit.model.drafts`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from remit.doors.cli.answering import Answered
from remit.doors.cli.calling import call, file_bytes, reads, write_file
from remit.doors.cli.importing import NO_CREDENTIAL
from remit.doors.cli.tables import several
from remit.flow.loading import Accepted
from remit.flow.reloading import BOUNDARY
from remit.gates.boundary.load import load
from remit.model.definitions import read_definition
from remit.model.drafts import draft_tools
from remit.model.errors import Misuse, NotVerified, RemitError
from remit.model.manifest import Manifest, load_manifest
from remit.model.words import Definition

_PINS = re.compile(r"^\[boundary\.pins\.connectors\][^\n]*\n", re.MULTILINE)
_VERSION = re.compile(r"^version\s*=\s*([0-9]+)", re.MULTILINE)
_CREDENTIALS = {
    "stdio": "# It acts with the rights of its user: before it may change things, the boundary needs a `[[static]]`.\n"
    "# Write `warrant` only where its program checks the warrants of Remit.\n"
    'credential = { class = "static" }',
    "http": "# `warrant`: Remit sends a proof with each call; a connector that does not check it acts for anybody.\n"
    'credential = { class = "warrant" }',
}


def offered(home: Path, name: str) -> tuple[list[Definition], str]:
    """The definitions that a connector offers now; or none, and why they cannot be had."""
    path = home / "connectors" / f"{name}.toml"
    manifest = load_manifest(file_bytes(path), name)
    try:
        answer = call(home, "connectors")
    except NotVerified as error:
        # The boundary was edited and is not signed yet, as happens between two pins. A drafted file lacks nothing.
        return [], "" if manifest.tools else f"{error}; sign the boundary, then pin it again"
    except (RemitError, Answered) as error:
        return [], str(error)
    found = next((each for each in answer["connectors"] if each["connector"] == name), None)
    if found is None:
        return [], "the gateway has not loaded it yet; `remit boundary reload`, then pin it again"
    if not found["tools"]:
        return [], found["reason"] or f"it is {found['state']} and offers no tool"
    return [read_definition(tool["definition"]) for tool in found["tools"]], ""


def pin(home: Path, name: str, listing: tuple[Sequence[Definition], str]) -> dict[str, Any]:
    """Append drafts of the tools that the file does not mention, and return its pin as it now is."""
    definitions, problem = listing
    path = home / "connectors" / f"{name}.toml"
    text = file_bytes(path).decode("utf-8")
    manifest = load_manifest(text.encode(), name)
    missing = [each for each in definitions if each.name not in manifest.tools]
    if missing:
        text = with_drafts(text, name, missing)
        write_file(path, text.encode())
        manifest = load_manifest(text.encode(), name)
    return {
        "connector": name,
        "file": str(path),
        "pin": manifest.digest,
        "drafted": sorted(each.name for each in missing),
        "unclassified": sorted(each.name for each in manifest.tools.values() if not each.classified),
        "gone": _gone(manifest, definitions),
        "problem": problem,
    }


def _gone(manifest: Manifest, definitions: Sequence[Definition]) -> list[str]:
    names = {each.name for each in definitions}
    return sorted(name for name in manifest.tools if name not in names) if definitions else []


def with_drafts(text: str, name: str, missing: Sequence[Definition]) -> str:
    """The file with drafts of these tools at its end. Raises `Unreadable` where that would not load."""
    drafted = f"{text.rstrip()}\n\n{draft_tools(name, missing)}"
    none = f"credential = {NO_CREDENTIAL}"
    try:
        load_manifest(drafted.encode(), name)
    except RemitError:
        if none not in text:
            raise
        transport = load_manifest(text.encode(), name).transport
        drafted = drafted.replace(none, _CREDENTIALS[transport], 1)
        load_manifest(drafted.encode(), name)
    return drafted


def write_pin(home: Path, name: str, digest: str) -> dict[str, Any]:
    """Put the pin into `boundary.toml`, and raise its version where that one was in force already. It must be signed
    again. Raises `Misuse` where the file has no table of pins, `BoundaryNotValid` where it would not load."""
    path = home / "boundary.toml"
    text = file_bytes(path).decode("utf-8")
    line = f'{name} = "{digest}"\n'
    known = re.compile(rf'^{re.escape(name)}\s*=\s*"sha256:[0-9a-f]{{64}}"[^\n]*\n', re.MULTILINE)
    head = _PINS.search(text)
    if known.search(text):
        text = known.sub(line, text, count=1)
    elif head is not None:
        text = text[: head.end()] + line + text[head.end() :]
    else:
        hint = f"add `[boundary.pins.connectors]` and under it `{line.strip()}`"
        raise Misuse("`boundary.toml` has no table `[boundary.pins.connectors]`", hint=hint)
    fact = reads(home).fact(BOUNDARY)
    least = msgspec.json.decode(fact, type=Accepted).version + 1 if fact is not None else 1
    text = _VERSION.sub(lambda found: f"version = {max(int(found[1]), least)}", text, count=1)
    boundary = load(text.encode())
    write_file(path, text.encode())
    return {"file": str(path), "version": boundary.version}


def told(answer: dict[str, Any]) -> str:
    """What was drafted, what is still to be said, and the pin."""
    name = answer["connector"]
    lines = []
    if answer["problem"]:
        lines.append(f"WARNING: its tools could not be listed: {answer['problem']}")
    if answer["drafted"]:
        lines.append(f"drafted into {answer['file']}: {several(answer['drafted'], most=8)}")
    if answer["unclassified"]:
        lines.append(f"hidden until you say what they do: {several(answer['unclassified'], most=8)}")
        lines.append("edit the file, then pin it again: every change of it changes its pin")
    if answer["gone"]:
        lines.append(f"in the file, and no longer offered: {several(answer['gone'], most=8)}")
    lines += ["", "[boundary.pins.connectors]", f'{name} = "{answer["pin"]}"', ""]
    if "boundary" in answer:
        lines.append(f"written into {answer['boundary']['file']}, now version {answer['boundary']['version']}")
        lines.append(f"next: remit boundary sign, remit boundary reload, remit connectors accept {name}")
    else:
        lines.append(
            "next: put that into boundary.toml and raise its version (or `pin --write`), have it signed, reload,"
        )
        lines.append(f"      then: remit connectors accept {name}")
    return "\n".join(lines)
