"""Making a home: its folders, its keys, its identity and the files that people go on to change.

What lives here: writing files that were not there. What never may: changing a home that is there, the store's facts
(those are `remit.node.found_home`'s, which comes next).
"""

from __future__ import annotations

import base64
import datetime
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from remit.adapters.disk import write
from remit.adapters.home.folder import PRACTICE_STAMP, Home, Identity
from remit.adapters.home.latch_file import FileLatch
from remit.adapters.home.settings import DEFAULT
from remit.adapters.ids import RandomIds
from remit.adapters.log.signing import SEED_SIZE, found_log
from remit.gates.boundary.defaults import pins, render, template
from remit.model.canonical import sha256_hex
from remit.model.definitions import toml_text
from remit.model.errors import Fault, Misuse
from remit.model.signatures import Namespace, load_private_key, parse_public_key, public_key, sign
from remit.model.words import SECOND, Instant

VALID_DAYS = 90
REVIEW_DAYS = 60
INVENTORY = b"id,kind,privileged,owner,labels,aliases\n"

PRACTICE_PEOPLE: dict[str, tuple[str, ...]] = {
    "leader": ("leader",),
    "operator": ("operator", "orchestrator"),
    "approver": ("approver",),
    "on-call": ("on-call", "approver"),
    "auditor": ("auditor",),
}
"""The people of a practice home, named after what they do, and their roles."""

_STAMP = """\
This is a PRACTICE home. The private keys of everybody on its roster lie beside it, so no signature made here proves
anything, and an agent that runs as this user can sign whatever it likes. For a real home:

    remit init DIR --leader NAME --public-key FILE
"""

_OTHERS = """
# Add people, raise `version`, and have it signed by a leader: `remit people sign`, then `remit boundary reload`.
# [[person]]
# name = "…"
# email = "…"                     # what they are called in every record
# roles = ["approver", "on-call"]  # leader, approver, on-call, auditor, operator, orchestrator
# keys = ["ssh-ed25519 AAAA…"]     # the line of their .pub file
# user = "…"                       # who they are on this machine, where a stop needs no signature (optional)
"""


@dataclass(frozen=True)
class Made:
    """A home that was made, and what must become its first facts."""

    home: Home
    identity: Identity
    roster: bytes


def init_home(
    path: Path,
    *,
    now: Instant,
    leader: tuple[str, str] | None = None,
    agent: str = "triage",
    boundary: str = "shipped",
    connectors: Mapping[str, bytes] | None = None,
    inventory: bytes = INVENTORY,
) -> Made:
    """Make a home at `path`: a practice one, or with `leader` (id, public key line) a real one, unsigned.

    `boundary` names the template to begin from; it pins `connectors` (file name without `.toml` to its bytes). Raises
    `Misuse` where something is there already or the key is none, `Fault` where the disk refuses.
    """
    people = _practice_keys() if leader is None else {}
    listed = {name: public_key(key).text for name, key in people.items()}
    if leader is not None:
        listed = {leader[0]: parse_public_key(leader[1]).text}
    home = Home(path)
    identity = Identity(id=RandomIds().new("home"), created=now, practice=leader is None)
    roster = _roster(identity, listed, practice=leader is None)
    try:
        _folders(home)
        _own_keys(home)
        _log_key(home, identity)
        write(home.settings, DEFAULT.encode())
        write(home.people, roster)
        write(home.inventory, inventory)
        for name, data in (connectors or {}).items():
            write(home.connectors / f"{name}.toml", data)
        write(home.boundary, _boundary(boundary, agent, next(iter(listed)), now, connectors or {}))
        if leader is None:
            _practice(home, people)
            sign_in_practice(home, home.boundary, Namespace.BOUNDARY)
        FileLatch(home.latch).create()
        write(home.state / "home.json", msgspec.json.encode(identity))
    except OSError as error:
        raise Fault(f"the home `{path}` cannot be made: {(error.strerror or str(error)).lower()}") from None
    return Made(home, identity, roster)


def sign_in_practice(home: Home, file: Path, namespace: Namespace, person: str = "leader") -> Path:
    """Sign a file of a practice home as one of its people, and return the signature's path. Raises `Misuse` for a home
    that is not stamped as one."""
    key = home.path / "practice" / f"{person}.key"
    if not (home.path / PRACTICE_STAMP).exists() or not key.exists():
        raise Misuse(f"`{home.path}` is not a practice home with a `{person}`, so nobody can be signed for in it")
    signature = file.with_name(f"{file.name}.{person}.sig")
    write(signature, sign(load_private_key(key.read_bytes()), file.read_bytes(), namespace))
    return signature


def _folders(home: Home) -> None:
    if home.path.exists() and (not home.path.is_dir() or any(home.path.iterdir())):
        raise Misuse(f"`{home.path}` is there already and is not empty", hint="name a folder that is not there yet")
    home.path.mkdir(parents=True, mode=0o700, exist_ok=True)
    home.path.chmod(0o700)
    for folder in (home.connectors, home.keys, home.state):
        folder.mkdir(mode=0o700)
    home.run.mkdir(mode=0o700)


def _own_keys(home: Home) -> None:
    warrant = Ed25519PrivateKey.generate()
    write(home.keys / "warrant.key", warrant.private_bytes_raw())
    write(home.keys / "warrant.pub", base64.b64encode(warrant.public_key().public_bytes_raw()) + b"\n", 0o644)
    for name in ("names.key", "fingerprint.key"):
        write(home.keys / name, os.urandom(32))


def _log_key(home: Home, identity: Identity) -> None:
    """The log's key, made before there is a record, and its public half for auditors."""
    key = found_log(home.keys, f"remit/{identity.id}", os.urandom(SEED_SIZE))
    write(home.log_key, f"{key.text}\n".encode(), 0o644)


def _practice_keys() -> dict[str, Ed25519PrivateKey]:
    return {name: Ed25519PrivateKey.generate() for name in PRACTICE_PEOPLE}


def _practice(home: Home, people: Mapping[str, Ed25519PrivateKey]) -> None:
    folder = home.path / "practice"
    folder.mkdir(mode=0o700)
    for name, key in people.items():
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        write(folder / f"{name}.key", private)
        write(folder / f"{name}.key.pub", f"{public_key(key).text} {name}\n".encode())
    write(home.path / PRACTICE_STAMP, _STAMP.encode())


def _roster(identity: Identity, keys: Mapping[str, str], *, practice: bool) -> bytes:
    lines = [
        "# Who the people are. This first roster is fixed; every later one is signed by a leader of the one before."
    ]
    lines += ["[roster]", "version = 1", f"home = {toml_text(identity.id)}"]
    for name, key in keys.items():
        roles = PRACTICE_PEOPLE[name] if practice else ("leader",)
        quoted = ", ".join(map(toml_text, roles))
        lines += ["", "[[person]]", f"name = {toml_text(name)}", f"id = {toml_text(name)}"]
        lines += [f"roles = [{quoted}]", f"keys = [{toml_text(key)}]"]
    return ("\n".join(lines) + "\n" + _OTHERS).encode()


def _boundary(name: str, agent: str, owner: str, now: Instant, connectors: Mapping[str, bytes]) -> bytes:
    today = datetime.datetime.fromtimestamp(now // SECOND, tz=datetime.UTC).date()
    text = template(name)
    values = {
        "name": "first",
        "not_before": f"{today.isoformat()}T00:00:00Z",
        "not_after": f"{(today + datetime.timedelta(days=VALID_DAYS)).isoformat()}T00:00:00Z",
        "timezone": "UTC",
        "agent": agent,
        "owner": owner,
        "review_by": (today + datetime.timedelta(days=REVIEW_DAYS)).isoformat(),
        "pins": pins({each: f"sha256:{sha256_hex(data)}" for each, data in connectors.items()}),
    }
    return render(text, {key: value for key, value in values.items() if "{{" + key + "}}" in text})
