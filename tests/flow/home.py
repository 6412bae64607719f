"""The files of a small home for the flow's tests: boundary, roster, inventory, connectors, and who signs them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from remit.flow.loading import Signed
from remit.model.canonical import sha256_hex
from remit.model.manifest import Manifest, load_manifest
from remit.model.signatures import Namespace, public_key, sign
from tests.flow.lab import definition

NOW = 1_800_000_000_000_000  # 2027-01-15T08:00:00Z

ROLES = {
    "lena": ("leader",),
    "lars": ("leader",),
    "olga": ("approver",),
    "ann": ("approver",),
    "bob": ("on-call", "approver"),
    "oz": ("orchestrator", "approver"),
    "cyd": ("approver",),
    "eve": ("auditor",),
}
KEYS = {name: Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b"\0")) for name in (*ROLES, "mallory")}

INVENTORY = """\
id,kind,privileged,owner,labels,aliases
WS-1,workstation,no,j.doe,floor,edr:host-0001;laptop-1
WS-2,workstation,no,j.doe,floor,
WS-3,workstation,no,,floor,
WS-4,workstation,no,,,
WS-5,workstation,no,,,
WS-6,workstation,no,,,
WS-P,workstation,yes,,,
SRV-1,server,no,,,
DC-1,domain-controller,yes,,,
j.doe,account,no,,,
adm,account,yes,,,
"""

BOUNDARY = """\
[boundary]
name = "flow"
version = {version}
not_before = {not_before}
not_after = {not_after}
detection_time = "15m"
timezone = "UTC"
signatures = {{ tighten = 1, widen = {widen} }}

[boundary.approvals]
quorum = 1
approvers = ["approver"]
answer_within = "30m"
owner_may_approve = false

[boundary.refusals]
hold_after = {hold_after}
within = "15m"

[boundary.resume]
another_person = {another_person}

[boundary.pins.connectors]
{pins}

[[category]]
name = "evidence.read"
does = "look things up"
effect = "read"
[[category]]
name = "host.isolate"
does = "cut a host off the network"
effect = "change"
{isolate}
[[category]]
name = "host.release"
does = "let a host back onto the network"
effect = "change"
[[category]]
name = "account.disable"
does = "disable an account"
effect = "change"
[[category]]
name = "host.script"
does = "run a program on a host"
effect = "destroy"

[[agent]]
name = "triage"
owner = "olga"
purpose = "first triage"
categories = {granted}
review_by = 2027-06-01
[[agent]]
name = "hunt"
owner = "ann"
purpose = "hunting"
categories = ["evidence.read", "host.isolate"]
review_by = 2027-06-01

[[rule]]
id = "READ-1"
then = "auto"
agents = ["*"]
categories = ["evidence.read"]
in_mandate = false
[[rule]]
id = "ISO-1"
then = "auto"
agents = ["*"]
categories = ["host.isolate"]
targets = {{ kind = ["workstation"], privileged = false }}
[[rule]]
id = "ISO-2"
then = "approve"
agents = ["triage"]
categories = ["host.isolate"]
targets = {{ kind = ["server"] }}
[[rule]]
id = "ISO-3"
then = "approve"
agents = ["triage"]
categories = ["host.isolate"]
targets = {{ kind = ["workstation"], privileged = true }}
quorum = 2
[[rule]]
id = "ASK-1"
then = "{ask}"
agents = ["triage"]
categories = ["account.disable", "host.release"]
[[rule]]
id = "SCRIPT-1"
then = "forbid"
agents = ["*"]
categories = ["host.script"]
{rules}

[[quota]]
id = "Q-ISO"
agents = ["*"]
categories = ["host.isolate"]
max_distinct_targets = {most_targets}
max_actions = {most_actions}
window = "15m"
then = "{exhausted}"

[[never]]
id = "N-DC"
where = {{ kind = ["domain-controller", "dns"] }}
categories = ["host.*"]
"""

VERDICT = """
[[tier]]
name = "critical"
where = { kind = ["server"] }
[[verdict]]
id = "V-1"
agents = ["triage"]
verdicts = ["benign"]
targets = { tier = ["critical"] }
then = "approve"
comment = "looked at twice"
"""
"""More `rules`: a person must agree before a case about a server is benign."""

EDR = """\
[connector]
name = "edr"
transport = "stdio"
command = ["edr"]
credential = { class = "warrant" }
[[tool]]
name = "host_status"
category = "evidence.read"
effect = "read"
target = { argument = "host", takes = "one", kinds = ["workstation", "server", "domain-controller"] }
trusted = ["owner"]
lookups = [{ field = "owner", kind = "account" }, { field = "note", kind = "workstation" }]
[[tool]]
name = "isolate_host"
category = "host.isolate"
effect = "change"
target = { argument = "host", takes = "one" }
reach = 1
undo = { tool = "release_host", arguments = { host = "$target" } }
status = { tool = "host_status", arguments = { host = "$target" }, field = "isolated", equals = true }
PRECONDITIONS
[[tool]]
name = "release_host"
category = "host.release"
effect = "change"
target = { argument = "host", takes = "one" }
reach = 1
[[tool]]
name = "isolate_hosts"
category = "host.isolate"
effect = "change"
target = { argument = "hosts", takes = "list" }
reach = 10
status = { tool = "host_status", arguments = { host = "$target" }, field = "isolated", equals = true }
[[tool]]
name = "isolate_group"
category = "host.isolate"
effect = "change"
target = { argument = "group", takes = "set" }
[[tool]]
name = "run_script"
category = "host.script"
effect = "destroy"
target = { argument = "host", takes = "one" }
reach = 1
"""
PRECONDITIONS = """preconditions = [ { tool = "host_status", arguments = { host = "$target" }, field = "online", \
equals = true, otherwise = "the host is offline" } ]
"""

IDP = """\
[connector]
name = "idp"
transport = "stdio"
command = ["idp"]
credential = { class = "warrant" }
[[tool]]
name = "account_status"
category = "evidence.read"
effect = "read"
target = { argument = "account", takes = "one", kinds = ["account"] }
[[tool]]
name = "disable_account"
category = "account.disable"
effect = "change"
target = { argument = "account", takes = "one" }
reach = 1
"""

SIEM = """\
[connector]
name = "siem"
transport = "stdio"
command = ["siem"]
credential = { class = "warrant" }
[[tool]]
name = "get_alert"
category = "evidence.read"
effect = "read"
target = { argument = "alert_id", takes = "one", kinds = ["case", "alert"] }
trusted = ["device", "account"]
lookups = [
  { field = "device", kind = "workstation" }, { field = "account", kind = "account" },
  { field = "title", kind = "workstation" },
]
[[tool]]
name = "search_events"
category = "evidence.read"
effect = "read"
target = { takes = "none" }
"""

DEFINITIONS = {
    "edr": [
        definition("host_status", host=None),
        definition("isolate_host", host=None, reason=None),
        definition("release_host", host=None),
        definition("isolate_hosts", hosts={"type": "array", "items": {"type": "string"}}),
        definition("isolate_group", group=None),
        definition("run_script", host=None, script=None),
    ],
    "idp": [definition("account_status", account=None), definition("disable_account", account=None)],
    "siem": [definition("get_alert", alert_id=None), definition("search_events", text=None)],
}

DEFAULTS = {
    "version": "1",
    "not_before": "2027-01-01T00:00:00Z",
    "not_after": "2027-05-01T00:00:00Z",
    "widen": "1",
    "hold_after": "3",
    "another_person": "false",
    "granted": '["evidence.read", "host.isolate", "host.release", "account.disable", "host.script"]',
    "ask": "approve",
    "isolate": "",
    "rules": "",
    "most_targets": "3",
    "most_actions": "20",
    "exhausted": "approve",
}


def roster_bytes(
    version: int = 1, *, roles: Mapping[str, Iterable[str]] = ROLES, without: Iterable[str] = (), extra: str = ""
) -> bytes:
    """`people.toml` with everybody of `roles`."""
    lines = ["[roster]", f"version = {version}"]
    for name, had in roles.items():
        if name in without:
            continue
        listed = ", ".join(f'"{role}"' for role in had)
        key = public_key(KEYS[name]).text
        lines += ["[[person]]", f'name = "{name}"', f'id = "{name}"', f"roles = [{listed}]", f'keys = ["{key}"]']
    return ("\n".join(lines) + "\n" + extra).encode()


def signed(data: bytes, namespace: Namespace, *names: str) -> Signed:
    """The bytes with the signatures of these people beside them."""
    return Signed(data, {name: sign(KEYS[name], data, namespace) for name in names})


@dataclass
class Files:
    """Fulfils `Sources`: the home's files, in memory, changed by the tests."""

    values: dict[str, str] = field(default_factory=dict)
    preconditions: bool = False
    people: Signed = field(default_factory=lambda: Signed(roster_bytes(), {}))
    targets: bytes = INVENTORY.encode()
    signers: tuple[str, ...] = ("lena",)
    locks: dict[str, str] = field(default_factory=dict)
    boundary_override: Signed | None = None
    connectors: dict[str, str] = field(default_factory=lambda: {"edr": EDR, "idp": IDP, "siem": SIEM})

    def roster(self) -> Signed:
        return self.people

    def boundary(self) -> Signed:
        return self.boundary_override or signed(self.boundary_bytes(), Namespace.BOUNDARY, *self.signers)

    def boundary_bytes(self) -> bytes:
        pins = "\n".join(f'{name} = "{each.digest}"' for name, each in sorted(self.manifests().items()))
        return BOUNDARY.format(**(DEFAULTS | {"pins": pins} | self.values)).encode()

    def change(self, **values: str) -> None:
        """Write another boundary, one version higher."""
        version = int(self.values.get("version", "1")) + 1
        self.values = {**self.values, "version": str(version), **values}

    def inventory(self) -> bytes:
        return self.targets

    def manifests(self) -> dict[str, Manifest]:
        wanted = PRECONDITIONS if self.preconditions else ""
        return {
            name: load_manifest(text.replace("PRECONDITIONS\n", wanted).encode(), name)
            for name, text in self.connectors.items()
        }

    def write_lock(self, connector: str, text: str) -> None:
        self.locks[connector] = text


def digest(data: bytes) -> str:
    """The hex SHA-256 of bytes."""
    return sha256_hex(data)
