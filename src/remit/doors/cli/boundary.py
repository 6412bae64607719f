"""`remit boundary`: read it as plain English, ask what it would say, sign it, check it, put it in force."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from remit.doors.cli import signing
from remit.doors.cli.answering import Answered, add_command, home_path, show
from remit.doors.cli.calling import file_bytes, identity, needs_gateway, now, reads, write_file
from remit.doors.cli.files import manifests, signatures
from remit.doors.cli.tables import several
from remit.doors.control.signed import ROLES
from remit.flow.loading import Accepted, Signed, check_boundary, check_pins, expiry_warning
from remit.flow.reloading import BOUNDARY, BOUNDARY_FILE, INVENTORY, ROSTER
from remit.gates.boundary import english
from remit.gates.boundary.evaluator import compile_boundary
from remit.gates.boundary.explain import Explanation, explain
from remit.gates.boundary.load import load
from remit.gates.boundary.page import ConnectorFacts, page
from remit.gates.boundary.verdicts import rule_verdict
from remit.gates.boundary.words import BUILT_IN, Boundary, Request
from remit.model.canonical import sha256_hex
from remit.model.errors import Misuse, NotVerified, RemitError
from remit.model.people import Role, Roster, load_roster, verify_signed
from remit.model.signatures import Namespace
from remit.model.targets import Inventory, load_inventory
from remit.model.words import VERDICTS, CredentialClass, Integrity, Label, Mandate, Used


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Five commands of their own."""
    commands = parser.add_subparsers(dest="what", required=True, metavar="show|explain|sign|verify|reload")
    showing = add_command(commands, "show", "the boundary as one page of plain English")
    showing.add_argument("--in-force", action="store_true", help="the one in force, instead of the file")
    explaining = add_command(commands, "explain", "what it would say to one action, and what would change that")
    explaining.add_argument("--agent", required=True, metavar="NAME", help="which agent")
    what = explaining.add_mutually_exclusive_group(required=True)
    what.add_argument("--category", metavar="NAME", help="which kind of action")
    what.add_argument("--verdict", choices=VERDICTS, help="or which verdict, on a case about the targets")
    explaining.add_argument("--target", action="append", default=[], metavar="NAME", help="on what (repeatable)")
    explaining.add_argument("--outside", action="store_true", help="the targets are not in the run's mandate")
    explaining.add_argument("--unwitnessed", action="store_true", help="the log's witnesses do not answer")
    explaining.add_argument("--in-force", action="store_true", help="under the one in force, instead of the file")
    sign = add_command(commands, "sign", "sign the file's exact bytes, beside it")
    signing.add_arguments(sign, asks="sign")
    add_command(commands, "verify", "who signed it, and whether it would come into force; exit code 1 if not")
    reload = add_command(commands, "reload", "put the home's files in force in the running gateway")
    signing.add_arguments(reload)


def run(arguments: argparse.Namespace) -> int:
    """Show, explain, sign, verify or reload."""
    home = home_path(arguments)
    identity(home)
    does = {"show": _show, "explain": _explain, "sign": _sign, "verify": _verify, "reload": _reload}
    return does[arguments.what](arguments, home)


def _show(arguments: argparse.Namespace, home: Path) -> int:
    data = _data(home, in_force=arguments.in_force)
    boundary = load(data)
    text = page_text(home, boundary, in_force=arguments.in_force)
    answer = {"name": boundary.name, "version": boundary.version, "digest": sha256_hex(data), "page": text}
    show(arguments, answer, text)
    return 0


def _data(home: Path, *, in_force: bool) -> bytes:
    if not in_force:
        return file_bytes(home / "boundary.toml")
    data = reads(home).fact(BOUNDARY_FILE)
    if data is None:
        raise Misuse("no boundary has been in force in this home yet", hint="sign one, then start `remit gateway`")
    return data


def page_text(home: Path, boundary: Boundary, *, in_force: bool = False) -> str:
    """The page, counted over the home's inventory, with the connectors' credential classes."""
    targets = _inventory(home, in_force=in_force).targets
    return str(page(boundary, targets, connector_facts(home, boundary), now()))


def connector_facts(home: Path, boundary: Boundary) -> Sequence[ConnectorFacts]:
    """What the page says of each connector that the boundary pins."""
    found = []
    for name, manifest in sorted(manifests(home).items()):
        if name not in boundary.pins:
            continue
        shown = [each for each in manifest.tools.values() if each.classified]
        wide = [each.name for each in shown if each.consequential and each.reach is None]
        found.append(
            ConnectorFacts(
                name=name,
                credential=manifest.credential.kind,
                cuttable=manifest.cuttable,
                unbounded_tools=tuple(sorted(wide)),
            )
        )
    return found


def _inventory(home: Path, *, in_force: bool) -> Inventory:
    kept = reads(home).fact(INVENTORY) if in_force else None
    return load_inventory(kept if kept is not None else file_bytes(home / "inventory.csv"))


def _explain(arguments: argparse.Namespace, home: Path) -> int:
    boundary = load(_data(home, in_force=arguments.in_force))
    inventory = _inventory(home, in_force=arguments.in_force)
    if arguments.verdict:
        return _explain_verdict(arguments, boundary, inventory)
    found = explained(boundary, inventory, arguments, now())
    answer = {
        "decision": found.decision,
        "clauses": [{"id": each.id, "says": each.says} for each in found.deciding],
        "considered": [msgspec.to_builtins(each) for each in found.considered],
        "changes": [msgspec.to_builtins(each) for each in found.changes],
    }
    does = next(each.does for each in boundary.categories if each.name == arguments.category)
    show(arguments, answer, told_explanation(arguments, found, does))
    return 0


def explained(boundary: Boundary, inventory: Inventory, arguments: argparse.Namespace, at: int) -> Explanation:
    """What the boundary would say now, with nothing used of any quota. Raises `Misuse` for unknown words."""
    category = boundary.category(arguments.category)
    if category is None:
        known = several([f"`{each.name}`" for each in boundary.categories], most=20)
        raise Misuse(f"the boundary has no category `{arguments.category}`, it has {known}")
    _expect_agent(boundary, arguments.agent)
    targets = tuple(inventory.resolve(name) for name in arguments.target)
    mandate = Mandate(() if arguments.outside else tuple(each.id for each in targets), (category.name,))
    evaluator = compile_boundary(boundary, "", inventory.targets)
    request = Request(
        agent=arguments.agent,
        category=category.name,
        effect=category.effect,
        connector="",
        tool="",
        at=at,
        credential=CredentialClass.WARRANT,
        targets=targets,
        mandate=mandate,
        label=Label(Integrity.THIRD_PARTY),
        unwitnessed=arguments.unwitnessed,
    )
    used = {window.quota: Used() for window in evaluator.windows(arguments.agent, category.name, at)}
    return explain(evaluator, request, used)


def _expect_agent(boundary: Boundary, name: str) -> None:
    if boundary.agent(name) is None:
        known = several([f"`{each.name}`" for each in boundary.agents], most=20)
        raise Misuse(f"the boundary has no agent `{name}`, it has {known}")


def _explain_verdict(arguments: argparse.Namespace, boundary: Boundary, inventory: Inventory) -> int:
    _expect_agent(boundary, arguments.agent)
    targets = [inventory.resolve(name) for name in arguments.target]
    ruling = rule_verdict(boundary, "", arguments.agent, arguments.verdict, targets)
    answer = {
        "decision": ruling.decision,
        "clauses": [{"id": each.id, "says": each.says} for each in ruling.clauses],
        "asks": msgspec.to_builtins(ruling.ask),
    }
    about = f"about {several(arguments.target, most=10)}" if arguments.target else "without targets"
    does = f"conclude that a case {about} is {arguments.verdict}"
    lines = [f"{arguments.agent} {SAYS[ruling.decision]} {does}"]
    lines += [f"  {each.id}: {each.says}" for each in ruling.clauses]
    lines += [f"  asks {english.ask(ruling.ask)}"] if ruling.ask else []
    show(arguments, answer, "\n".join(lines))
    return 0


SAYS = {"auto": "may, without asking,", "approve": "may, once a person says yes,", "forbid": "may not"}


def told_explanation(arguments: argparse.Namespace, found: Explanation, does: str) -> str:
    """The answer, the clauses that decided, and what would have to be different."""
    where = f" on {several(arguments.target, most=10)}" if arguments.target else ""
    lines = [f"{arguments.agent} {SAYS[found.decision]} {does}{where}"]
    lines += [f"  {each.id}: {each.says}" for each in found.deciding]
    if found.changes:
        lines.append("it would be otherwise")
        lines += [f"  {each.decision:<8} if {each.what}" for each in found.changes]
    lines.append("what was considered and does not apply")
    considered = [each for each in found.considered if not each.applies and each.id not in BUILT_IN]
    lines += [f"  {each.id}: {each.because}" for each in considered]
    return "\n".join(lines)


def _sign(arguments: argparse.Namespace, home: Path) -> int:
    path = home / "boundary.toml"
    data = file_bytes(path)
    boundary = load(data)
    signer = signing.signer(arguments, home, [Role.LEADER])
    _expect_leader(home, signer.person)
    text = page_text(home, boundary)
    if not arguments.yes:
        sys.stderr.write(text + "\n")
    question = f"sign `{boundary.name}` version {boundary.version} ({sha256_hex(data)[:12]}) as {signer.person}?"
    if not signing.confirmed(question, yes=arguments.yes):
        raise Answered(1, "nothing was signed")
    signature = signer.sign(data, Namespace.BOUNDARY)
    beside = path.with_name(f"{path.name}.{signer.person}.sig")
    write_file(beside, signature)
    answer = {"signature": str(beside), "person": signer.person, "digest": sha256_hex(data)}
    told = f"signed by {signer.person}: {beside}\nnext: remit boundary verify, then remit boundary reload"
    show(arguments, answer, told)
    return 0


def _expect_leader(home: Path, person_id: str) -> None:
    roster = accepted_roster(home)
    person = roster.person(person_id)
    if person is None or Role.LEADER not in person.roles:
        leaders = several([f"`{each.id}`" for each in roster.people if Role.LEADER in each.roles], most=10)
        raise Misuse(f"`{person_id}` is not a leader on this home's roster, {leaders} may sign", hint="ask one of them")


def accepted_roster(home: Path) -> Roster:
    """The roster that counts: the one on record, not the file."""
    kept = reads(home).fact(ROSTER)
    if kept is None:
        raise Misuse("this home has no first roster on record", hint=f"`remit init {home}` makes a home with one")
    return load_roster(kept)


def _verify(arguments: argparse.Namespace, home: Path) -> int:
    answer = verified(home)
    show(arguments, answer, told_verdict(answer))
    return 0 if answer["loads"] else 1


def verified(home: Path) -> dict[str, Any]:
    """Who signed the file, and whether it would come into force now; `why` says what keeps it from it."""
    data = file_bytes(home / "boundary.toml")
    at, roster, found = now(), accepted_roster(home), reads(home)
    beside = signatures(home / "boundary.toml")
    fact, file = found.fact(BOUNDARY), found.fact(BOUNDARY_FILE)
    before = msgspec.json.decode(fact, type=Accepted) if fact is not None else None
    signers = {name: _signer(roster, data, signature, at) for name, signature in beside.items()}
    answer: dict[str, Any] = {
        "digest": sha256_hex(data),
        "signatures": signers,
        "in_force": before is not None and before.digest == sha256_hex(data),
        "loads": False,
        "why": "",
        "hint": "",
        "warning": "",
    }
    try:
        loaded = check_boundary(Signed(data, beside), roster, before, load(file) if file is not None else None, at)
        check_pins(loaded.boundary, manifests(home))
    except RemitError as error:
        return answer | {"why": error.message, "hint": error.hint}
    return answer | {"loads": True, "warning": expiry_warning(loaded.boundary, at)}


def _signer(roster: Roster, data: bytes, signature: bytes, at: int) -> str:
    try:
        people = verify_signed(roster, data, [signature], Namespace.BOUNDARY, [Role.LEADER], now=at)
    except NotVerified as error:
        return f"NOT GOOD: {error.message}"
    return f"good, by {people[0].id}"


def told_verdict(answer: dict[str, Any]) -> str:
    """What `verify` found."""
    lines = [f"boundary.toml  sha256 {answer['digest']}"]
    lines += [f"  {name}: {says}" for name, says in answer["signatures"].items()]
    if not answer["signatures"]:
        lines.append("  nobody has signed it")
    if not answer["loads"]:
        lines.append(f"WOULD NOT COME INTO FORCE: {answer['why']}")
        return "\n".join([*lines, f"hint: {answer['hint']}"] if answer["hint"] else lines)
    lines.append(
        "it is in force" if answer["in_force"] else "it would come into force (at the next start, or by `reload`)"
    )
    return "\n".join([*lines, f"WARNING: {answer['warning']}"] if answer["warning"] else lines)


def _reload(arguments: argparse.Namespace, home: Path) -> int:
    needs_gateway(home, "hello")
    signer = signing.signer(arguments, home, ROLES["reload"])
    answer = signing.signed(signer, home, "reload", {})
    show(arguments, answer, told_report(answer))
    return 0


def told_report(answer: dict[str, Any]) -> str:
    """What is in force after a load."""
    signers = several(answer["signers"], "nobody", 10)
    lines = [f"in force: boundary {answer['boundary']} version {answer['version']}, signed by {signers}"]
    if answer["warning"]:
        lines.append(f"WARNING: {answer['warning']}")
    if answer["inventory_waits"]:
        lines.append("the inventory would loosen something and waits: remit inventory show")
        lines += [f"  {each}" for each in answer["inventory_waits"]]
    if answer["parked"]:
        lines.append("hidden from agents: remit connectors list")
        lines += [f"  {each}" for each in answer["parked"]]
    return "\n".join(lines)
