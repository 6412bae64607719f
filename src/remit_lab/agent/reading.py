"""What the agent makes of the events that it read: which accounts and hosts stand out, and whose address
is foreign.

Everything here comes from the events alone. What a domain controller or a server records about a remote
caller speaks against the account that called, not against the machine that wrote it down.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from remit_lab.files import Json

ENOUGH = 5
"""Points from which the agent acts on a host or an account."""
ABOUT_A_CALLER = frozenset((4624, 4625, 4648, 4662, 4697, 4742, 4768, 4769, 4771, 4776, 5140, 5145, 7045))
"""Events that tell what somebody did to the host from elsewhere."""
WINDOWS_PORTS = frozenset((53, 88, 135, 137, 138, 139, 389, 445, 464, 593, 636, 3268, 3269, 3389, 5985, 5986, 9389))
EPHEMERAL = 49_152
SYSTEM_PARENTS = frozenset(("explorer.exe", "services.exe", "svchost.exe", "userinit.exe", "systemd", "init"))
REPLICATES = re.compile(r"1131f6a[ad]-9c07-11d1-f79f-00c04fc2dcd2", re.IGNORECASE)
COMMANDS: tuple[tuple[str, int, re.Pattern[str]], ...] = (
    (
        "a command dumped the credential store",
        5,
        re.compile(r"comsvcs.*minidump|procdump.*lsass|sekurlsa", re.I),
    ),
    ("a credential theft tool ran", 5, re.compile(r"mimikatz|lsadump|rubeus|lazagne", re.I)),
    ("registry secrets were saved", 4, re.compile(r"\breg\W.*\bsave\b.*\\(sam|security)\b", re.I)),
    ("an encoded command ran", 3, re.compile(r"powershell.*\s-e\w*\s+[A-Za-z0-9+/=]{20,}", re.I)),
    ("a decoded command was piped to a shell", 4, re.compile(r"base64\W+-d.*\b(ba)?sh\b", re.I)),
    ("a lookup that loads code from elsewhere", 5, re.compile(r"\$\{\s*jndi:", re.I)),
)


@dataclass(frozen=True, slots=True)
class Sign:
    """One event that speaks against somebody, and why."""

    event: Json
    says: str
    points: int


@dataclass(slots=True)
class Reading:
    """What the events say, in points. Owned by one triage; grows only through `read`."""

    alert: Json
    events: dict[str, Json] = field(default_factory=dict)
    evidence: dict[str, str] = field(default_factory=dict)
    """Event id -> id of the evidence that showed it."""
    alert_evidence: str | None = None

    def read(self, events: Iterable[Json], evidence: str | None) -> int:
        """Take in a page of events; return how many of them are new."""
        new = 0
        for event in events:
            if event["id"] not in self.events:
                self.events[event["id"]] = event
                new += 1
            if evidence is not None:
                self.evidence.setdefault(event["id"], evidence)
        return new

    def signs(self) -> list[Sign]:
        """Return everything that speaks against somebody, heaviest first."""
        found = [sign for event in self.events.values() for sign in _signs(event)]
        return sorted(found, key=lambda sign: (-sign.points, sign.event["time"]))

    def hosts(self) -> list[tuple[str, int]]:
        """Return the hosts that stand out with their points, heaviest first; the alert's device counts
        extra."""
        points: Counter[str] = Counter()
        for sign in self.signs():
            if sign.event["event_id"] not in ABOUT_A_CALLER:
                points[sign.event["host"]] += sign.points
        points[self.alert.get("device", "")] += ENOUGH
        return _ranked(points)

    def accounts(self) -> list[tuple[str, int]]:
        """Return the accounts that stand out with their points, heaviest first."""
        points: Counter[str] = Counter()
        for sign in self.signs():
            points[sign.event["account"]] += sign.points
        points[self.alert.get("account", "")] += ENOUGH
        return _ranked(points)

    def foreign_address(self) -> tuple[str, list[Json]] | None:
        """Return the outside address that suspicious processes talked with most, and the events that show
        it."""
        own = {_canonical(_own_address(event)) for event in self.events.values()}
        suspicious = self._suspicious_processes()
        contacts: dict[str, list[Json]] = {}
        for event in self.events.values():
            fields = event["fields"]
            key = (event["host"], fields.get("ProcessGuid", "").casefold())
            if event["event_id"] != 3 or fields.get("Initiated", "").casefold() != "true" or key not in suspicious:
                continue
            there = _canonical(fields.get("DestinationIp", ""))
            if there and there not in own and _outward(there, fields.get("DestinationPort", "")):
                contacts.setdefault(there, []).append(event)
        if not contacts:
            return None
        return max(contacts.items(), key=lambda contact: (len(contact[1]), contact[0]))

    def _suspicious_processes(self) -> set[tuple[str, str]]:
        """Return the processes with signs against them, those they started, and the programs that started
        them."""
        parents: dict[tuple[str, str], tuple[str, str]] = {}
        ends: set[tuple[str, str]] = set()
        for event in self.events.values():
            fields = event["fields"]
            if event["event_id"] == 1 and "ProcessGuid" in fields:
                key = (event["host"], fields["ProcessGuid"].casefold())
                parents[key] = (event["host"], fields.get("ParentProcessGuid", "").casefold())
                if _file(fields.get("ParentImage", "")) in SYSTEM_PARENTS:
                    ends.add(key)
        chain: set[tuple[str, str]] = set()
        for sign in self.signs():
            fields = sign.event["fields"]
            guid = fields.get("ProcessGuid") or fields.get("SourceProcessGUID", "")
            key = (sign.event["host"], guid.casefold())
            while key[1] and key not in chain:
                chain.add(key)
                key = ("", "") if key in ends else parents.get(key, ("", ""))
        return chain | {child for child, parent in parents.items() if parent in chain}


def _signs(event: Json) -> Iterable[Sign]:
    fields: dict[str, str] = event["fields"]
    number = event["event_id"]
    if number in (1, 4688):
        command = "\n".join(fields.get(name, "") for name in ("CommandLine", "Image", "NewProcessName", "Product"))
        for says, points, pattern in COMMANDS:
            if pattern.search(command):
                yield Sign(event, says, points)
        if _file(fields.get("ParentImage", "")) in ("java", "java.exe") and _shell(fields.get("Image", "")):
            yield Sign(event, "a Java service started a shell", 5)
    for numbers, says, points, holds in RECORDS:
        if number in numbers and holds(event):
            yield Sign(event, says, points)


def _reads_lsass(event: Json) -> bool:
    fields = event["fields"]
    source = fields.get("SourceImage", "")
    by_trade = _file(source) in ("svchost.exe", "csrss.exe", "wininit.exe", "lsass.exe", "services.exe")
    guards = "defender" in source.casefold() or "msmpeng" in source.casefold()
    try:
        reads = int(fields.get("GrantedAccess", "0"), 16) & 0x10
    except ValueError:
        return False
    return _file(fields.get("TargetImage", "")) == "lsass.exe" and bool(reads) and not by_trade and not guards


def _replicates(event: Json) -> bool:
    return bool(event["account"]) and bool(REPLICATES.search(event["fields"].get("Properties", "")))


def _remote_service(event: Json) -> bool:
    return "psexesvc" in " ".join(event["fields"].values()).casefold()


def _always(event: Json) -> bool:
    return True


RECORDS: tuple[tuple[tuple[int, ...], str, int, Callable[[Json], bool]], ...] = (
    ((10,), "a process read the credential store's memory", 4, _reads_lsass),
    ((4662,), "a user asked the directory for everybody's secrets", 5, _replicates),
    ((4697, 7045), "a service for remote execution was installed", 3, _remote_service),
    ((1102, 104), "the audit log was cleared", 2, _always),
)


def _ranked(points: Counter[str]) -> list[tuple[str, int]]:
    return sorted(((name, count) for name, count in points.items() if name), key=lambda one: (-one[1], one[0]))


def _file(path: str) -> str:
    return re.split(r"[\\/]", path)[-1].casefold()


def _shell(path: str) -> bool:
    return _file(path) in ("sh", "bash", "dash", "zsh", "cmd.exe", "powershell.exe")


def _own_address(event: Json) -> str:
    fields: dict[str, str] = event["fields"]
    started = fields.get("Initiated", "").casefold() == "true"
    return fields.get("SourceIp" if started else "DestinationIp", "") if event["event_id"] == 3 else ""


def _canonical(written: str) -> str:
    try:
        return str(ipaddress.ip_address(written))
    except ValueError:
        return ""


def _outward(address: str, port: str) -> bool:
    """Whether a contact could be with somebody outside: not this host, and no port of Windows' own
    services."""
    there = ipaddress.ip_address(address)
    if there.is_loopback or there.is_multicast or there.is_link_local or there.is_unspecified:
        return False
    number = int(port) if port.isdigit() else 0
    return number not in WINDOWS_PORTS and number < EPHEMERAL
