"""A handful of honest detections: each says what an event shows, and nothing that the events do not say.

An alert's device is the host whose own sensor recorded the activity or, where a domain controller
recorded a logon, the host that owns the address the logon came from. Neither is taken from anything an
attacker can write.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from remit_lab.telemetry import Event, account_name, address, host_name

SEVERITIES = ("critical", "high", "medium", "low")
CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
REPLICATION_RIGHTS = (
    "1131f6aa-9c07-11d1-f79f-00c04fc2dcd2",
    "1131f6ad-9c07-11d1-f79f-00c04fc2dcd2",
    "89e95b76-444d-4c62-991a-0facbeda640c",
)
"""Control access rights DS-Replication-Get-Changes, -All and -In-Filtered-Set ([MS-ADTS] 5.1.3.2.1)."""
VM_READ = 0x10
READS_LSASS_BY_TRADE = frozenset(
    [
        "csrss.exe",
        "lsass.exe",
        "lsm.exe",
        "msmpeng.exe",
        "mssense.exe",
        "services.exe",
        "smss.exe",
        "svchost.exe",
        "wininit.exe",
        "winlogon.exe",
        "wmiprvse.exe",
        "taskmgr.exe",
        "werfault.exe",
    ]
)
SHELLS = frozenset(["bash", "sh", "dash", "zsh", "cmd.exe", "powershell.exe", "pwsh.exe"])
DUMP = re.compile(r"comsvcs(\.dll)?\W.*(minidump|#\+?24)|procdump\S*\s.*lsass|sekurlsa::", re.IGNORECASE)
REGISTRY_SECRETS = re.compile(r"\breg(\.exe)?\W+(save|export)\s+\"?(hklm|hkey_local_machine)\\(sam|security)\b", re.I)
KNOWN_TOOL = re.compile(r"mimikatz|gentilkiwi|rubeus|lazagne|lsadump::", re.IGNORECASE)
ENCODED = re.compile(r"powershell(\.exe)?\"?\s.*-e(nc|ncodedcommand)?\s+[A-Za-z0-9+/=]{20,}", re.IGNORECASE)
JNDI = re.compile(r"\$\{\s*(jndi|\$\{(lower|upper|::-))", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Alert:
    """What a detection found, once per device."""

    alert_id: str
    title: str
    severity: str
    """One of SEVERITIES."""
    device: str
    """The host's name; empty where the events name none."""
    account: str
    """The account that acted; empty where the events name none."""
    technique: str
    """MITRE ATT&CK technique."""
    first_seen: str
    event_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One event that a detection points at."""

    event: Event
    device: str
    account: str


@dataclass(frozen=True, slots=True)
class Detection:
    """A detection: what it is called, how bad that is, and how it finds it."""

    title: str
    severity: str
    technique: str
    find: Callable[[Record], Iterator[Finding]]


class Record:
    """Everything recorded, with what relates one event to another."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self.owner_of_address = dict(host_addresses(events))
        self._user_of_process: dict[tuple[str, str], str] = {}
        self._source_of_logon: dict[tuple[str, str], str] = {}
        for event in events:
            guid = event.get("ProcessGuid")
            if event.event_id == 1 and guid and event.account:
                self._user_of_process[(event.host, guid.casefold())] = event.account
            if event.event_id == 4624:
                source = address(event.get("IpAddress"))
                self._source_of_logon[(event.host, event.get("TargetLogonId"))] = source

    def user_of_process(self, event: Event, field: str) -> str:
        """Return the account that the process named by `field` runs as, or an empty text."""
        return self._user_of_process.get((event.host, event.get(field).casefold()), "")

    def source_of_logon(self, event: Event) -> str:
        """Return the host from which the event's logon session came, or the event's own host."""
        source = self._source_of_logon.get((event.host, event.get("SubjectLogonId")), "")
        return self.owner_of_address.get(source, event.host)


def host_addresses(events: Iterable[Event]) -> Iterator[tuple[str, str]]:
    """Yield (address, host) for every address that a host's own sensor, or its own logon, shows to be its."""
    for event in events:
        written, host = "", event.host
        if event.event_id == 3 and event.get("Initiated").casefold() in ("true", "false"):
            started = event.get("Initiated").casefold() == "true"
            written = event.get("SourceIp" if started else "DestinationIp")
        elif event.event_id == 4624 and event.get("TargetUserName").endswith("$"):
            written, host = event.get("IpAddress"), host_name(event.get("TargetUserName").rstrip("$"))
        elif event.get("HostIP"):
            written = event.get("HostIP")
        found = address(written)
        if found and host and found not in ("::1", "127.0.0.1", "::", "0.0.0.0"):  # noqa: S104 - compared only
            yield found, host


def detect(events: list[Event]) -> list[Alert]:
    """Return the alerts that the events justify, worst first, then oldest first; one per detection and
    device."""
    record = Record(events)
    alerts = []
    for detection in DETECTIONS:
        by_device: dict[str, list[Finding]] = {}
        for finding in detection.find(record):
            by_device.setdefault(finding.device, []).append(finding)
        alerts += [_alert(detection, device, findings) for device, findings in by_device.items()]
    return sorted(alerts, key=lambda alert: (SEVERITIES.index(alert.severity), alert.first_seen, alert.title))


def _alert(detection: Detection, device: str, findings: list[Finding]) -> Alert:
    identity = hashlib.sha256(f"{detection.title}\n{device}\n{findings[0].event.id}".encode()).digest()
    return Alert(
        alert_id="alr_" + "".join(CROCKFORD[byte % 32] for byte in identity[:16]),
        title=detection.title,
        severity=detection.severity,
        device=device,
        account=next((finding.account for finding in findings if finding.account), ""),
        technique=detection.technique,
        first_seen=findings[0].event.time,
        event_ids=tuple(dict.fromkeys(finding.event.id for finding in findings[:50])),
    )


def _command(event: Event) -> str:
    return event.get("CommandLine", "ProcessCommandLine") if event.event_id in (1, 4688) else ""


def _file(path: str) -> str:
    return re.split(r"[\\/]", path)[-1].casefold()


def _by_command(pattern: re.Pattern[str]) -> Callable[[Record], Iterator[Finding]]:
    def find(record: Record) -> Iterator[Finding]:
        for event in record.events:
            if pattern.search(_command(event)):
                yield Finding(event, event.host, event.account)

    return find


def _log_cleared(record: Record) -> Iterator[Finding]:
    for event in record.events:
        if event.event_id == 1102 or (event.event_id == 104 and event.get("Channel") == "System"):
            yield Finding(event, event.host, event.account)


def _lsass_read(record: Record) -> Iterator[Finding]:
    for event in record.events:
        if event.event_id != 10 or _file(event.get("TargetImage")) != "lsass.exe":
            continue
        reads = _hexadecimal(event.get("GrantedAccess")) & VM_READ
        if reads and _file(event.get("SourceImage")) not in READS_LSASS_BY_TRADE:
            user = record.user_of_process(event, "SourceProcessGUID") or event.account
            yield Finding(event, event.host, user)


def _hexadecimal(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0


def _replication(record: Record) -> Iterator[Finding]:
    for event in record.events:
        asked = event.get("Properties").casefold()
        if event.event_id == 4662 and event.account and any(right in asked for right in REPLICATION_RIGHTS):
            yield Finding(event, record.source_of_logon(event), event.account)


def _machine_account_reset(record: Record) -> Iterator[Finding]:
    """A computer account changed without a logon, or Netlogon refusing the machine's old password
    afterwards."""
    for index, event in enumerate(record.events):
        anonymous = event.get("SubjectUserName").casefold() == "anonymous logon"
        changed = event.event_id == 4742 and anonymous and event.get("TargetUserName").endswith("$")
        if changed or (event.event_id in (5805, 5723) and event.get("Channel") == "System"):
            caller = _latest_caller(record, index)
            if caller is None:
                yield Finding(event, event.host, account_name(event.get("TargetUserName")))
            else:
                yield Finding(event, caller.host, caller.account)
                yield Finding(caller, caller.host, caller.account)


def _latest_caller(record: Record, index: int) -> Event | None:
    """Return the latest connection to the event's host before it that a user's process on another host
    opened."""
    target = record.events[index].host
    for event in reversed(record.events[:index]):
        opened = event.event_id == 3 and event.get("Initiated").casefold() == "true"
        if opened and event.account and event.host != target:
            owner = record.owner_of_address.get(address(event.get("DestinationIp")))
            if owner == target:
                return event
    return None


def _remote_service(record: Record) -> Iterator[Finding]:
    for event in record.events:
        path = event.get("ServiceFileName", "ImagePath")
        if event.event_id in (7045, 4697) and "psexesvc" in f"{path} {event.get('ServiceName')}".casefold():
            yield Finding(event, event.host, event.account)


def _known_tool(record: Record) -> Iterator[Finding]:
    for event in record.events:
        if event.event_id in (1, 4688):
            shown = (event.get(name) for name in ("Image", "NewProcessName", "Product", "OriginalFileName"))
            if KNOWN_TOOL.search("\n".join((*shown, _command(event)))):
                yield Finding(event, event.host, event.account)


def _java_shell(record: Record) -> Iterator[Finding]:
    for event in record.events:
        parent = _file(event.get("ParentImage", "ParentProcessName"))
        child = _file(event.get("Image", "NewProcessName"))
        spawned = event.event_id in (1, 4688) and parent in ("java", "java.exe") and child in SHELLS
        if spawned or JNDI.search(event.text()):
            yield Finding(event, event.host, event.account)


DETECTIONS = (
    Detection("Credential theft tool run", "critical", "T1003", _known_tool),
    Detection("Memory of the credential store dumped", "critical", "T1003.001", _by_command(DUMP)),
    Detection("Directory replication asked for by a user", "critical", "T1003.006", _replication),
    Detection("Domain controller account changed anonymously", "critical", "T1210", _machine_account_reset),
    Detection("Java service started a shell", "critical", "T1190", _java_shell),
    Detection("Registry secrets saved to a file", "high", "T1003.004", _by_command(REGISTRY_SECRETS)),
    Detection("Memory of the credential store read", "high", "T1003.001", _lsass_read),
    Detection("Service for remote execution installed", "medium", "T1569.002", _remote_service),
    Detection("Encoded command run", "medium", "T1059.001", _by_command(ENCODED)),
    Detection("Audit log cleared", "medium", "T1070.001", _log_cleared),
)
