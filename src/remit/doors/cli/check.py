"""`remit check`: what is wrong with a home, and what is not as safe as it could be."""

from __future__ import annotations

import argparse
import getpass
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from remit.doors.cli.answering import NoGateway, ask, home_path, show
from remit.doors.cli.boundary import accepted_roster, verified
from remit.doors.cli.calling import file_bytes, identity, is_practice, latch, now
from remit.doors.cli.files import connector_files
from remit.doors.cli.inventory import look
from remit.doors.cli.people import why_not
from remit.doors.cli.tables import count, several
from remit.gates.boundary.load import load
from remit.model.errors import RemitError
from remit.model.manifest import Manifest, load_manifest
from remit.model.people import Role, load_roster
from remit.model.words import CredentialClass

LONGEST_SOCKET_PATH = 107
SECRET_FILES = ("warrant.key", "names.key", "fingerprint.key")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `level`: `fine`, `note`, `warning`, or `wrong` (it would not work, or is open)."""

    level: str
    says: str
    hint: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing but the home."""
    parser.add_argument("--quiet", action="store_true", help="leave out what is fine")


def run(arguments: argparse.Namespace) -> int:
    """Print every finding. Exit code 1 where something is wrong."""
    home = home_path(arguments)
    identity(home)
    found = list(findings(home))
    shown = [each for each in found if not (arguments.quiet and each.level == "fine")]
    answer = {"findings": [{"level": each.level, "says": each.says, "hint": each.hint} for each in shown]}
    show(arguments, answer, told(shown))
    return 1 if any(each.level == "wrong" for each in found) else 0


def told(found: list[Finding]) -> str:
    """One line each, with its hint below."""
    lines = []
    for each in found:
        lines.append(f"{each.level.upper() if each.level in ('warning', 'wrong') else each.level:<8} {each.says}")
        if each.hint:
            lines.append(f"         hint: {each.hint}")
    wrong = sum(each.level == "wrong" for each in found)
    warnings = sum(each.level == "warning" for each in found)
    return "\n".join([*lines, "", f"{count(wrong, 'thing')} wrong, {count(warnings, 'warning')}"])


def findings(home: Path) -> Iterator[Finding]:
    """Everything that is looked at, in the order in which it would be mended."""
    yield from _place(home)
    yield from _modes(home)
    for look_at in (_people, _boundary, _witnesses, _inventory, _connectors, _stops, _tools):
        try:
            yield from look_at(home)
        except RemitError as error:
            yield Finding("wrong", error.message, error.hint)


def _place(home: Path) -> Iterator[Finding]:
    if is_practice(home):
        yield Finding(
            "warning", "this is a PRACTICE home: its signatures prove nothing", "`remit init` tells of real ones"
        )
    elif (home / "practice").exists():
        yield Finding("wrong", "a folder of practice keys lies in a home that is not for practice", "remove `practice`")
    if len(str(home / "run" / "control.sock").encode()) > LONGEST_SOCKET_PATH:
        yield Finding("wrong", f"the path of `{home}` is too long for its sockets", "move the home to a shorter path")
    owner = home.stat().st_uid
    if owner != os.getuid():
        yield Finding("warning", f"the home belongs to another user (uid {owner}), not to `{getpass.getuser()}`")
    same = "an agent that runs as it can read every key here and sign for itself"
    yield Finding("note", f"the home's user is `{_name(owner)}`: {same}", "run agents as another user")


def _name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _modes(home: Path) -> Iterator[Finding]:
    for path in (home, home / "keys", home / "state"):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            what = "the home" if path == home else f"`{path.name}`"
            yield Finding("wrong", f"other users can look into {what} (mode {mode:04o})", f"chmod 700 {path}")
        else:
            yield Finding("fine", f"only its own user can look into {path.name} (mode {mode:04o})")
    for path in [home / "keys" / name for name in SECRET_FILES] + sorted((home / "practice").glob("*.key")):
        if not path.is_file():
            yield Finding("wrong", f"the key `{path.name}` is missing", "restore it: it cannot be made anew")
        elif stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Finding("wrong", f"the key `{path.name}` can be read by others", f"chmod 600 {path}")


def _people(home: Path) -> Iterator[Finding]:
    roster = accepted_roster(home)
    data = file_bytes(home / "people.toml")
    problem, at = why_not(home, roster, data), now()
    if not problem and load_roster(data).digest != roster.digest:
        says = "a signed roster waits to be loaded; what is said of people here is of the one in force"
        yield Finding("note", says, "`remit boundary reload`, or start the gateway")
    for role in (Role.LEADER, Role.APPROVER, Role.ON_CALL):
        people = roster.having(role, now=at)
        if people:
            yield Finding("fine", f"{count(len(people), 'person', 'people')} with role `{role}`")
        else:
            level = "wrong" if role is Role.LEADER else "warning"
            yield Finding(
                level, f"nobody on the roster is `{role}`", "add them to people.toml, then `remit people sign`"
            )
    for person in roster.people:
        if not person.current(at):
            yield Finding("warning", f"the keys of `{person.id}` no longer count", "renew the roster, or take them off")
    if problem:
        yield Finding("wrong", f"people.toml would not be loaded: {problem}", "`remit people sign`, by a leader")


def _boundary(home: Path) -> Iterator[Finding]:
    answer = verified(home)
    if answer["loads"]:
        yield Finding("fine", "the boundary is signed and would come into force")
    else:
        yield Finding("wrong", f"the boundary would not come into force: {answer['why']}", answer["hint"])
    if answer["warning"]:
        yield Finding("warning", answer["warning"])
    boundary = load(file_bytes(home / "boundary.toml"))
    roster = accepted_roster(home)
    for agent in boundary.agents:
        if roster.person(agent.owner) is None:
            yield Finding("warning", f"agent `{agent.name}` is owned by `{agent.owner}`, who is not on the roster")
    needed = max((rule.ask.quorum for rule in boundary.rules), default=1)
    if needed > len(roster.having(*boundary.approvals.roles, now=now())):
        yield Finding("warning", f"a rule asks for {needed} people, and fewer have a role that may approve")


def _witnesses(home: Path) -> Iterator[Finding]:
    from remit.offline import log_witnesses

    wanted = [each.name for each in load(file_bytes(home / "boundary.toml")).categories if each.witnessed]
    witnesses = log_witnesses(home)
    hint = "`remit log witness init` on a machine of somebody else's, then `witnesses` in remit.toml"
    if wanted and not witnesses:
        says = f"the boundary wants {several(wanted)} witnessed, and no witness is configured: it never runs by itself"
        yield Finding("warning", says, hint)
    elif not witnesses:
        yield Finding("note", "no witness cosigns the log: whoever holds its key could rewrite it unnoticed", hint)
    for url, name in witnesses:
        if (urlsplit(url).hostname or "") in ("localhost", "::1") or (urlsplit(url).hostname or "").startswith("127."):
            yield Finding("note", f"witness `{name}` is on this machine: who takes the machine has both", hint)
        elif urlsplit(url).scheme == "http":
            yield Finding("note", f"witness `{name}` is reached without TLS: whoever is between can hold it off")


def _inventory(home: Path) -> Iterator[Finding]:
    answer = look(home)
    if answer["loosening"]:
        changes = count(len(answer["loosening"]), "change")
        yield Finding("warning", f"the inventory waits with {changes} that loosen something", "`remit inventory show`")
    elif not answer["targets"]:
        yield Finding(
            "warning", "the inventory is empty, so every target is unknown and needs a human", "fill inventory.csv"
        )
    else:
        yield Finding("fine", f"the inventory has {count(answer['targets'], 'target')}")


def _connectors(home: Path) -> Iterator[Finding]:
    if not connector_files(home):
        yield Finding("warning", "there is no connector", "`remit connectors import .mcp.json`")
    for path in connector_files(home):
        try:
            manifest = load_manifest(file_bytes(path), path.stem)
        except RemitError as error:
            yield Finding("wrong", error.message, error.hint)
            continue
        yield from _connector(home, manifest)


def _connector(home: Path, manifest: Manifest) -> Iterator[Finding]:
    boundary = load(file_bytes(home / "boundary.toml"))
    name = manifest.name
    pin = boundary.pins.get(name)
    if pin is None:
        yield Finding(
            "warning", f"the boundary does not pin `{name}`: its tools stay hidden", f"remit connectors pin {name}"
        )
    elif pin == manifest.digest:
        yield Finding("fine", f"`{name}` is the file that the boundary pins")
    unclassified = [tool.name for tool in manifest.tools.values() if not tool.classified]
    if unclassified:
        hint = f"say what they do in connectors/{name}.toml"
        yield Finding("note", f"{count(len(unclassified), 'tool')} of `{name}` not classified, so hidden", hint)
    if manifest.credential.kind is CredentialClass.STATIC:
        yield from _standing_secret(home, manifest)
    if not manifest.cuttable:
        yield Finding("note", f"a stop cannot sever `{name}` for certain: what it was sent may still land")


def _standing_secret(home: Path, manifest: Manifest) -> Iterator[Finding]:
    name, reference = manifest.name, manifest.credential.secret
    boundary = load(file_bytes(home / "boundary.toml"))
    changing = [tool.name for tool in manifest.tools.values() if tool.classified and tool.consequential]
    how = "with a standing secret" if reference else "with the rights of its own process"
    if changing and name not in {each.connector for each in boundary.static}:
        says = f"`{name}` changes things {how}, and the boundary has no exception for it: refused"
        yield Finding("warning", says, "have the leader sign a `[[static]]` entry with a rotation date, or read only")
    else:
        source = f" ({reference.partition(':')[0]})" if reference else ", without a secret"
        yield Finding("note", f"`{name}` acts {how}{source}")
    kind, _, rest = reference.partition(":")
    if kind == "env" and rest not in os.environ:
        yield Finding("note", f"`{name}` wants `{rest}` in the gateway's environment; it is not in this one's")
    path = home / Path(rest).expanduser() if kind == "file" else None
    if path is not None and not path.is_file():
        yield Finding("wrong", f"the secret file `{rest}` of `{name}` is missing")
    elif path is not None and stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield Finding("wrong", f"the secret file `{rest}` of `{name}` can be read by others", f"chmod 600 {path}")


def _stops(home: Path) -> Iterator[Finding]:
    held = latch(home)
    if held.blind:
        yield Finding("wrong", f"everything is refused: {held.blind}", "`remit resume --blind` mends it")
    for order in held.orders:
        yield Finding("note", f"stopped ({order.mode}, {order.scope}) by {order.by}", "`remit resume` when it is safe")


def _tools(home: Path) -> Iterator[Finding]:
    try:
        answer = ask(home, "status", {}, seconds=10.0)
    except NoGateway:
        yield Finding("note", "no gateway runs, so connectors and their tools were not looked at")
        return
    for each in answer["connectors"]:
        if each["state"] != "up":
            yield Finding("warning", f"connector `{each['connector']}` is {each['state']}: {each['reason']}")
    for each in answer["parked"]:
        yield Finding(
            "note", f"hidden from agents: {each}", "`remit connectors accept`, once it is classified and pinned"
        )
    if answer["store"]:
        yield Finding("wrong", f"the store cannot commit: {answer['store']}", "look at the disk")
