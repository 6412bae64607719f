"""People with Ed25519 SSH keys, the files that they sign, and payloads: what a journal is about.

What lives here: keys made from names, SSHSIG signatures, rosters and boundaries as files. What never may: remit's own
code for any of it; see `journals`.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

START = 1_800_000_000_000_000  # 2027-01-15T08:00:00Z
MINUTE = 60 * 1_000_000
HOUR = 60 * MINUTE

Fields = dict[str, Any]
compact = msgspec.json.Encoder(order="sorted").encode


def sha256(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def encode(record: Fields) -> bytes:
    """The exact bytes of an entry: keys sorted, no space between tokens."""
    return compact(record)


@dataclass(frozen=True)
class Payload:
    """Bytes that an entry commits to."""

    salt: bytes
    data: bytes

    @property
    def commitment(self) -> str:
        return sha256(self.salt + self.data)


@dataclass(frozen=True)
class Signer:
    """Somebody with an Ed25519 SSH key. Made from the name alone, so that every journal has the same people."""

    name: str
    roles: tuple[str, ...]
    key: Ed25519PrivateKey
    blob: bytes

    @classmethod
    def named(cls, name: str, *roles: str) -> Signer:
        key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"person " + name.encode()).digest())
        raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return cls(name, roles, key, ssh_string(b"ssh-ed25519") + ssh_string(raw))

    @property
    def line(self) -> str:
        return f"ssh-ed25519 {base64.b64encode(self.blob).decode()} {self.name}"

    def sign(self, message: bytes, namespace: str) -> bytes:
        """An armoured SSHSIG (OpenSSH's PROTOCOL.sshsig) over the message, hashed with SHA-512."""
        space = ssh_string(namespace.encode())
        digest = ssh_string(hashlib.sha512(message).digest())
        signed = b"SSHSIG" + space + ssh_string(b"") + ssh_string(b"sha512") + digest
        inner = ssh_string(b"ssh-ed25519") + ssh_string(self.key.sign(signed))
        blob = b"SSHSIG\0\0\0\1" + ssh_string(self.blob) + space + ssh_string(b"")
        text = base64.b64encode(blob + ssh_string(b"sha512") + ssh_string(inner)).decode()
        lines = "\n".join(text[at : at + 70] for at in range(0, len(text), 70))
        return f"-----BEGIN SSH SIGNATURE-----\n{lines}\n-----END SSH SIGNATURE-----\n".encode()


def ssh_string(data: bytes) -> bytes:
    """RFC 4251, section 5."""
    return len(data).to_bytes(4, "big") + data


PEOPLE: dict[str, Signer] = {
    each.name: each
    for each in (
        Signer.named("lena", "leader"),
        Signer.named("lars", "leader"),
        Signer.named("olga", "approver", "operator"),
        Signer.named("ann", "approver"),
        Signer.named("bob", "on-call", "approver"),
        Signer.named("oz", "orchestrator"),
    )
}
NEWCOMER = Signer.named("cyd", "approver", "leader")
"""Comes onto the roster with its second version."""
MALLORY = Signer.named("mallory", "leader", "approver")
"""On no roster."""


def roster_file(home: str, version: int, people: tuple[Signer, ...]) -> bytes:
    """The bytes of a `people.toml`."""
    lines = ["[roster]", f"version = {version}", f'home = "{home}"']
    for each in people:
        roles = ", ".join(f'"{role}"' for role in each.roles)
        lines += ["", "[[person]]", f'name = "{each.name}"', f'id = "{each.name}"']
        lines += [f"roles = [{roles}]", f'keys = ["{each.line}"]']
    return ("\n".join(lines) + "\n").encode()


_BOUNDARY = """\
[boundary]
name = "soc-triage"
version = {version}
not_before = 2026-11-22T00:00:00Z
not_after = 2036-11-22T00:00:00Z
detection_time = "15m"
timezone = "UTC"
signatures = {{ tighten = 1, widen = 2 }}

[boundary.approvals]
quorum = {quorum}
approvers = ["approver"]
answer_within = "30m"

[[category]]
name = "evidence.read"
does = "look things up"
effect = "read"
[[category]]
name = "host.isolate"
does = "cut a host off the network"
effect = "change"

[[agent]]
name = "triage"
owner = "lars"
purpose = "first triage"
categories = ["evidence.read", "host.isolate"]
review_by = 2035-06-01

[[rule]]
id = "READ-1"
then = "auto"
agents = ["triage"]
categories = ["evidence.read"]
in_mandate = false
[[rule]]
id = "ISO-1"
then = "approve"
agents = ["triage"]
categories = ["host.isolate"]
targets = {{ kind = ["workstation"] }}
"""


def boundary_file(version: int, quorum: int = 1) -> bytes:
    """The bytes of a `boundary.toml`."""
    return _BOUNDARY.format(version=version, quorum=quorum).encode()
