"""Signing on the command line: which key, whose it is, and the statements that it signs.

What lives here: finding a key and making signatures. What never may: a key or a passphrase in an argument, a message or
a file. A key file is read here; a key in an agent or on hardware signs through `ssh-keygen`.
"""

from __future__ import annotations

import argparse
import base64
import getpass
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remit.doors.cli.calling import call, identity, is_practice, now
from remit.model.errors import Misuse, RemitError
from remit.model.people import Person, Role, Roster, load_roster
from remit.model.signatures import NotAKey, PublicKey, load_private_key, parse_public_key, public_key, sign
from remit.model.statements import LONGEST_VALIDITY, ApprovalStatement, ControlStatement, Verb
from remit.model.words import MINUTE, Instant

VALID_FOR = 2 * MINUTE


@dataclass(frozen=True)
class Signer:
    """Somebody who signs: their id on the roster, and how."""

    person: str
    sign: Callable[[bytes, str], bytes]
    key: PublicKey | None = None


def add_arguments(parser: argparse.ArgumentParser, *, asks: str = "") -> None:
    """How every command that signs is told with what, and one that `asks` before it does that, not to ask."""
    if asks:
        parser.add_argument("--yes", action="store_true", help=f"{asks} without being asked once more")
    group = parser.add_argument_group("signing")
    group.add_argument("--key", metavar="FILE", help="your private key (default: $REMIT_KEY, else ~/.ssh/id_ed25519)")
    group.add_argument("--person", metavar="ID", help="who you are on the roster (default: whose key it is)")
    group.add_argument(
        "--ssh-keygen", action="store_true", help="sign through ssh-keygen: keys in an agent or on hardware"
    )


def signer(arguments: argparse.Namespace, home: Path, roles: Sequence[Role]) -> Signer:
    """Who signs. In a practice home without a key named: the first of its people with one of `roles`.

    Raises `Misuse` or `NotAKey` saying which key or person is missing.
    """
    roster = _roster(home)
    path = _named_key(arguments) or _practice_key(arguments, home, roster, roles)
    path = path or Path.home() / ".ssh" / "id_ed25519"
    if arguments.ssh_keygen:
        return _through_ssh_keygen(arguments, path, roster)
    key = _read_key(path)
    public = public_key(key)
    return Signer(_person(arguments, roster, public), lambda data, namespace: sign(key, data, namespace), public)


def signed(
    signer_of: Signer, home: Path, command: str, parameters: dict[str, Any], *, ask: Any = None
) -> dict[str, Any]:
    """Sign one command and send it. `ask` is how it is sent; by default to the gateway, else to a node of its own."""
    at = now()
    statement = ControlStatement(
        home=identity(home)["id"],
        person=signer_of.person,
        issued=at,
        expires=at + VALID_FOR,
        command=command,
        parameters=parameters,
        nonce=secrets.token_hex(16),
    )
    data = statement.encode()
    params = _signed_params(data, signer_of.sign(data, ControlStatement.namespace))
    answer: dict[str, Any] = (ask or call)(home, "signed", params)
    return answer


def vote(
    signer_of: Signer,
    home: Path,
    verb: Verb,
    *,
    action: str,
    digest: str,
    card_digest: str,
    boundary_digest: str,
    until: Instant | None,
) -> dict[str, Any]:
    """Sign a yes or no to exactly one card, and send it. It holds as long as the action waits (`until`), so that it
    still counts when the last of several people says yes."""
    at = now()
    statement = ApprovalStatement(
        home=identity(home)["id"],
        person=signer_of.person,
        issued=at,
        expires=max(min(until or 0, at + LONGEST_VALIDITY), at + VALID_FOR),
        verb=verb,
        action=action,
        digest=digest,
        card_digest=card_digest,
        boundary_digest=boundary_digest,
    )
    data = statement.encode()
    return call(home, "decide", _signed_params(data, signer_of.sign(data, ApprovalStatement.namespace)))


def confirmed(question: str, *, yes: bool) -> bool:
    """Ask on the terminal; nothing but a clear yes is one. Raises `Misuse` where nobody can be asked."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise Misuse("nobody can be asked here, because this is not a terminal", hint="look first, then give `--yes`")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().casefold() in ("y", "yes")


def _signed_params(data: bytes, signature: bytes) -> dict[str, Any]:
    return {"statement": base64.b64encode(data).decode(), "signature": base64.b64encode(signature).decode()}


def _roster(home: Path) -> Roster | None:
    """The roster as the home's file has it: only to find out who a key belongs to. The gateway uses its own."""
    try:
        return load_roster((home / "people.toml").read_bytes())
    except (OSError, RemitError):
        return None


def _named_key(arguments: argparse.Namespace) -> Path | None:
    named = arguments.key or os.environ.get("REMIT_KEY")
    return Path(named).expanduser() if named else None


def _practice_key(
    arguments: argparse.Namespace, home: Path, roster: Roster | None, roles: Sequence[Role]
) -> Path | None:
    if not is_practice(home) or roster is None:
        return None
    people = [person.id for role in roles for person in roster.people if role in person.roles]
    for name in [arguments.person] if arguments.person else people:
        path = home / "practice" / f"{name}.key"
        if path.is_file():
            return path
    return None


def _person(arguments: argparse.Namespace, roster: Roster | None, key: PublicKey | None) -> str:
    owner: Person | None = roster.owner(key) if roster is not None and key is not None else None
    if arguments.person:
        if owner is not None and owner.id.casefold() != arguments.person.casefold():
            raise Misuse(f"the key is `{owner.id}`'s, not `{arguments.person}`'s", hint="name the right key or person")
        return owner.id if owner is not None else str(arguments.person)
    if owner is None:
        known = f"the key `{key}`" if key is not None else "the key"
        hint = "name your key with `--key`; `remit people show` lists whose keys count"
        raise Misuse(f"{known} belongs to nobody on this home's roster", hint=hint)
    return owner.id


def _read_key(path: Path) -> Any:
    try:
        data = path.read_bytes()
    except OSError as error:
        why = (error.strerror or "it failed").lower()
        hint = "name your key with `--key` or $REMIT_KEY; `--ssh-keygen` signs with one in an agent or on hardware"
        raise Misuse(f"the key `{path}` cannot be read: {why}", hint=hint) from None
    try:
        return load_private_key(data)
    except NotAKey as error:
        if "passphrase" not in error.message or not sys.stdin.isatty():
            raise
    return load_private_key(data, getpass.getpass(f"passphrase of {path}: ").encode())


def _through_ssh_keygen(arguments: argparse.Namespace, path: Path, roster: Roster | None) -> Signer:
    from remit.node import sign_with_ssh_keygen

    half = path if path.suffix == ".pub" else path.with_name(f"{path.name}.pub")
    public = parse_public_key(half.read_text()) if half.is_file() else None
    person = _person(arguments, roster, public)
    return Signer(person, lambda data, namespace: sign_with_ssh_keygen(path, data, namespace), public)
