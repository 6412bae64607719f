"""`remit connectors`: list them, import them, draft and pin their files, accept their tools."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from pathlib import Path
from typing import Any

from remit.doors.cli import pinning, signing
from remit.doors.cli.answering import Answered, add_command, home_path, show
from remit.doors.cli.calling import call, file_bytes, identity, write_file
from remit.doors.cli.importing import Imported, imported, read_servers
from remit.doors.cli.tables import several, table
from remit.doors.control.signed import ROLES
from remit.model.display import safe_line, safe_text
from remit.model.errors import Misuse, Refusal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Four commands of their own."""
    commands = parser.add_subparsers(dest="what", required=True, metavar="list|import|pin|accept")
    listing = add_command(commands, "list", "every connector, how it is, and which of its tools are hidden, and why")
    listing.add_argument("connector", nargs="?", metavar="NAME", help="only this one, with all its tools")
    importing = add_command(commands, "import", "make connector files out of an `.mcp.json`")
    importing.add_argument("file", nargs="?", default=".mcp.json", metavar="FILE", help="default: .mcp.json")
    importing.add_argument("--only", action="append", default=[], metavar="NAME", help="only this server (repeatable)")
    importing.add_argument(
        "--replace", action="store_true", help="also where a connector of that name is there already"
    )
    pin = add_command(commands, "pin", "draft what its file does not say of its tools, and print the file's pin")
    pin.add_argument("connector", metavar="NAME", help="which connector")
    pin.add_argument(
        "--write", action="store_true", help="put the pin into boundary.toml, too (it must be signed again)"
    )
    accept = add_command(commands, "accept", "accept a connector's tools as it defines them now, after a look")
    accept.add_argument("connector", metavar="NAME", help="which connector")
    accept.add_argument("--tool", action="append", default=[], metavar="NAME", help="only this tool (repeatable)")
    signing.add_arguments(accept, asks="accept")


def run(arguments: argparse.Namespace) -> int:
    """List, import, pin or accept."""
    home = home_path(arguments)
    identity(home)
    return {"list": _list, "import": _import, "pin": _pin, "accept": _accept}[arguments.what](arguments, home)


# --- list ------------------------------------------------------------------------------------------------


def _list(arguments: argparse.Namespace, home: Path) -> int:
    answer = call(home, "connectors")
    found = answer["connectors"]
    if arguments.connector:
        found = [_one(answer, arguments.connector)]
    show(arguments, {"connectors": found}, listed(found, in_full=bool(arguments.connector)))
    return 0


def _one(answer: dict[str, Any], name: str) -> dict[str, Any]:
    for each in answer["connectors"]:
        if each["connector"] == name:
            return dict(each)
    known = several([f"`{each['connector']}`" for each in answer["connectors"]], "none", 20)
    hint = f"put `connectors/{name}.toml` there, then `remit boundary reload`"
    raise Misuse(f"no connector `{name}` is loaded, loaded are: {known}", hint=hint)


def listed(found: list[dict[str, Any]], *, in_full: bool) -> str:
    """The connectors as a table, and the tools that are hidden (or all of them)."""
    if not found:
        return "there is no connector yet\nnext: remit connectors import .mcp.json"
    rows = [
        (
            each["connector"],
            each["state"],
            each["transport"],
            each["credential"],
            "yes" if each["pinned"] == each["digest"] else "NO",
            sum(not tool["parked"] for tool in each["tools"]),
            sum(bool(tool["parked"]) for tool in each["tools"]),
        )
        for each in found
    ]
    lines = [table(("CONNECTOR", "STATE", "OVER", "CREDENTIAL", "PINNED", "TOOLS", "HIDDEN"), rows).rstrip()]
    for each in found:
        if each["state"] != "up":
            lines.append(f"{each['connector']} is {each['state']}: {safe_line(each['reason'], 300)}")
            lines += [f"  | {line}" for line in safe_text(each["stderr"]).splitlines()[-5:]]
        tools = [tool for tool in each["tools"] if tool["parked"] or in_full]
        if tools:
            lines += [
                "",
                table(("TOOL", "CATEGORY", "EFFECT", "HIDDEN BECAUSE"), [_tool(tool) for tool in tools]).rstrip(),
            ]
    return "\n".join(lines)


def _tool(tool: dict[str, Any]) -> tuple[str, str, str, str]:
    return tool["shown_as"], tool["category"] or "-", tool["effect"] or "-", tool["parked"] or "-"


# --- import ----------------------------------------------------------------------------------------------


def _import(arguments: argparse.Namespace, home: Path) -> int:
    servers = read_servers(file_bytes(Path(arguments.file).expanduser()))
    missing = [name for name in arguments.only if name not in servers]
    if missing:
        raise Misuse(f"`{arguments.file}` has no server `{missing[0]}`, it has {several(list(servers), 'none', 20)}")
    results = [
        imported(name, server) for name, server in servers.items() if not arguments.only or name in arguments.only
    ]
    for each in results:
        path = home / "connectors" / f"{each.name}.toml"
        if each.text and path.exists() and not arguments.replace:
            each.text, each.problem = "", f"`{path}` is there already; `--replace` writes it anew"
        if each.text:
            write_file(path, each.text.encode())
    answer = {
        "imported": [{"connector": each.name, "notes": each.notes} for each in results if each.text],
        "left_out": [
            {"server": each.asked, "why": each.problem, "notes": each.notes} for each in results if not each.text
        ],
    }
    show(arguments, answer, told_import(results))
    return 0 if all(each.text for each in results) else 1


def told_import(results: list[Imported]) -> str:
    """What became a connector file, what did not, and what to see to."""
    lines = []
    for each in results:
        lines.append(f"imported {each.name}" if each.text else f"LEFT OUT {each.asked}: {each.problem}")
        lines += [f"  note: {note}" for note in each.notes]
    done = [each.name for each in results if each.text]
    if done:
        lines.append(f"next: remit connectors pin {done[0]}  (where a gateway runs: `remit boundary reload` first)")
    return "\n".join(lines)


# --- pin -------------------------------------------------------------------------------------------------


def _pin(arguments: argparse.Namespace, home: Path) -> int:
    name = arguments.connector
    answer = pinning.pin(home, name, pinning.offered(home, name))
    if arguments.write:
        answer["boundary"] = pinning.write_pin(home, name, answer["pin"])
    show(arguments, answer, pinning.told(answer))
    return 0


# --- accept ----------------------------------------------------------------------------------------------


def _accept(arguments: argparse.Namespace, home: Path) -> int:
    name = arguments.connector
    connector = _one(call(home, "connectors"), name)
    chosen = _chosen(connector, arguments.tool)
    if not chosen:
        unclassified = [tool["tool"] for tool in connector["tools"] if not tool["classified"]]
        hint = f"say in `connectors/{name}.toml` what these do: {several(unclassified)}" if unclassified else ""
        raise Refusal(f"connector `{name}` has nothing to accept", hint=hint)
    signer = signing.signer(arguments, home, ROLES["tools.accept"])
    sys.stderr.write("\n".join(line for tool in chosen for line in difference(tool)) + "\n")
    if not signing.confirmed(f"accept {len(chosen)} of {name}'s tools as {signer.person}?", yes=arguments.yes):
        raise Answered(1, "nothing was accepted")
    kept = {tool["tool"]: tool["accepted"] for tool in connector["tools"] if tool["accepted"] == tool["offered"]}
    tools = kept | {tool["tool"]: tool["offered"] for tool in chosen}
    answer = signing.signed(signer, home, "tools.accept", {"connector": name, "tools": tools})
    parked = [each for each in answer["parked"] if each.startswith(f"{name}__")]
    told = f"accepted by {signer.person}: {several(sorted(tool['tool'] for tool in chosen), most=20)}"
    show(arguments, answer, f"{told}\nstill hidden: {several(parked, 'none', 20)}")
    return 0


def _chosen(connector: dict[str, Any], only: list[str]) -> list[dict[str, Any]]:
    known = {tool["tool"] for tool in connector["tools"]}
    missing = [name for name in only if name not in known]
    if missing:
        raise Misuse(
            f"connector `{connector['connector']}` offers no tool `{missing[0]}`",
            hint="`remit connectors list` shows them",
        )
    return [
        tool
        for tool in connector["tools"]
        if tool["classified"] and tool["accepted"] != tool["offered"] and (not only or tool["tool"] in only)
    ]


def difference(tool: dict[str, Any]) -> list[str]:
    """What somebody who accepts a tool must see: all of a new definition, or how it differs from the accepted one.
    The words are the connector's own, made safe to show."""
    new = _pretty(tool["definition"])
    head = f"{tool['tool']}  ({tool['category']}, {tool['effect']})"
    if not tool["accepted"]:
        return ["", f"NEW      {head}", *(f"  | {line}" for line in new)]
    if tool["accepted_definition"] is None:
        return [
            "",
            f"CHANGED  {head}; what was accepted is not on record, so all of it",
            *(f"  | {each}" for each in new),
        ]
    changed = difflib.unified_diff(
        _pretty(tool["accepted_definition"]), new, "accepted", "offered now", lineterm="", n=2
    )
    return ["", f"CHANGED  {head}", *(f"  | {line}" for line in changed)]


def _pretty(definition: Any) -> list[str]:
    return safe_text(json.dumps(definition, indent=2, ensure_ascii=False, sort_keys=True)).splitlines()
