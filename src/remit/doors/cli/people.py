"""`remit people`: who is on the roster, and signing the next one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from remit.doors.cli import signing
from remit.doors.cli.answering import Answered, add_command, home_path, show
from remit.doors.cli.boundary import accepted_roster
from remit.doors.cli.calling import file_bytes, identity, now, write_file
from remit.doors.cli.files import signatures
from remit.doors.cli.tables import several, table
from remit.doors.control.times import iso
from remit.model.errors import Misuse, RemitError
from remit.model.people import Person, Role, Roster, load_roster, verify_successor
from remit.model.signatures import Namespace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Two commands of their own."""
    commands = parser.add_subparsers(dest="what", required=True, metavar="show|sign")
    add_command(commands, "show", "who is on the roster, and what `people.toml` would change")
    sign = add_command(commands, "sign", "sign `people.toml` as the next roster")
    signing.add_arguments(sign, asks="sign")


def run(arguments: argparse.Namespace) -> int:
    """Show or sign."""
    home = home_path(arguments)
    identity(home)
    return {"show": _show, "sign": _sign}[arguments.what](arguments, home)


def _show(arguments: argparse.Namespace, home: Path) -> int:
    roster = accepted_roster(home)
    data = file_bytes(home / "people.toml")
    proposed = load_roster(data)
    answer = {
        "version": roster.version,
        "people": [_person(each) for each in roster.people],
        "file": {
            "version": proposed.version,
            "same": proposed.digest == roster.digest,
            "changes": changes(roster, proposed),
            "why_not": why_not(home, roster, data),
        },
    }
    show(arguments, answer, told(answer))
    return 0


def _person(person: Person) -> dict[str, Any]:
    return {
        "id": person.id,
        "name": person.name,
        "roles": sorted(person.roles),
        "keys": [key.fingerprint for key in person.keys],
        "not_after": iso(person.not_after),
        "user": person.user,
    }


def changes(old: Roster, new: Roster) -> list[str]:
    """What the next roster changes, one sentence each, in the order of ids."""
    before = {each.id: each for each in old.people}
    after = {each.id: each for each in new.people}
    found = []
    for name in sorted(before.keys() | after.keys()):
        was, becomes = before.get(name), after.get(name)
        if was is None and becomes is not None:
            found.append(f"`{name}` is new: {_roles(becomes)}")
        elif becomes is None:
            found.append(f"`{name}` is gone")
        elif was is not None and was != becomes:
            if was.roles != becomes.roles:
                found.append(f"`{name}` had {_roles(was)} and gets {_roles(becomes)}")
            if set(was.keys) != set(becomes.keys):
                found.append(f"`{name}` gets other keys: {several([each.fingerprint for each in becomes.keys])}")
            if was.user != becomes.user:
                found.append(f"`{name}` is local user {f'`{becomes.user}`' if becomes.user else 'of no name'} here")
            if was.not_after != becomes.not_after:
                found.append(f"the keys of `{name}` count until {iso(becomes.not_after) or 'further notice'}")
    return found


def _roles(person: Person) -> str:
    return several([str(each) for each in sorted(person.roles)], "no role", 10)


def why_not(home: Path, roster: Roster, data: bytes) -> str:
    if roster.digest == load_roster(data).digest:
        return ""
    try:
        verify_successor(roster, data, signatures(home / "people.toml").values(), now=now())
    except RemitError as error:
        return error.message
    return ""


def told(answer: dict[str, Any]) -> str:
    """The roster as a table, and what the file would change."""
    rows = [
        (each["id"], each["name"], several(each["roles"], "-", 10), several(each["keys"]), each["not_after"] or "-")
        for each in answer["people"]
    ]
    text = f"roster version {answer['version']}, in force\n" + table(("ID", "NAME", "ROLES", "KEYS", "UNTIL"), rows)
    file = answer["file"]
    if file["same"]:
        return text
    lines = [f"people.toml is version {file['version']} and would change", *(f"  {each}" for each in file["changes"])]
    if file["why_not"]:
        lines.append(f"it would not be loaded: {file['why_not']}\nnext: remit people sign")
    else:
        lines.append("it is signed\nnext: remit boundary reload")
    return text + "\n" + "\n".join(lines)


def _sign(arguments: argparse.Namespace, home: Path) -> int:
    path = home / "people.toml"
    data = file_bytes(path)
    roster, proposed = accepted_roster(home), load_roster(data)
    if proposed.digest == roster.digest:
        raise Misuse("`people.toml` is the roster in force already", hint="change it and raise its `version` first")
    signer = signing.signer(arguments, home, [Role.LEADER])
    person = roster.person(signer.person)
    if person is None or Role.LEADER not in person.roles:
        raise Misuse(f"`{signer.person}` is not a leader on the roster in force", hint="`remit people show` lists them")
    lines = [f"people.toml version {proposed.version} changes", *(f"  {each}" for each in changes(roster, proposed))]
    sys.stderr.write("\n".join(lines) + "\n")
    if not signing.confirmed(f"sign it as {signer.person}?", yes=arguments.yes):
        raise Answered(1, "nothing was signed")
    beside = path.with_name(f"{path.name}.{signer.person}.sig")
    write_file(beside, signer.sign(data, Namespace.ROSTER))
    answer = {"signature": str(beside), "person": signer.person, "changes": changes(roster, proposed)}
    show(arguments, answer, f"signed by {signer.person}: {beside}\nnext: remit boundary reload")
    return 0
