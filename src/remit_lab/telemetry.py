"""Reads recorded events of several shapes into one: Windows Security and Sysmon, Sysmon over syslog,
CloudTrail.

An event keeps its own fields; what every event has in common (when, on which host, by whom) is worked
out from the names that the various collectors use. Nothing here judges an event.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import ipaddress
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from remit_lab.files import Json

HOST_FIELDS = ("Hostname", "Computer", "HostName", "computer_name", "ComputerName", "hostname", "host")
TIME_FIELDS = ("@timestamp", "TimeCreated", "EventTime", "TimeGenerated", "eventTime", "UtcTime", "timestamp")
ACTOR_FIELDS = ("SubjectUserName", "User", "SourceUser", "userName")
ACCOUNT_FIELDS = (*ACTOR_FIELDS, "TargetUserName")
CONTAINERS = ("winlog", "event_data", "EventData", "Event", "System", "userIdentity")
NOISE = frozenset(("Message", "SyslogMessage", "tags", "@version", "Keywords", "Version", "port", "CallTrace"))
BUILT_IN = frozenset(
    (
        "system",
        "local service",
        "network service",
        "anonymous logon",
        "localsystem",
        "root",
        "nobody",
        "-",
        "",
    )
)
BUILT_IN_PATTERN = re.compile(r"^(dwm|umfd)-\d+$")
SYSMON_DATA = re.compile(r'<Data Name="(\w+)">([^<]*)</Data>')
SYSMON_ID = re.compile(r"<EventID>(\d+)</EventID>")
SUBJECT_IN_MESSAGE = re.compile(r"Subject:.*?Account Name:[ \t]*([^\r\n]+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Event:
    """One recorded event."""

    id: str
    time: str
    """ISO 8601, as the collector wrote it; empty where the record has no time."""
    host: str
    """Short upper-case name of the host whose sensor wrote it; empty where there is none."""
    event_id: int | None
    """The Windows or Sysmon event number."""
    account: str
    """Who acted, lower case, without domain; empty for machines and built-in accounts."""
    accounts: frozenset[str]
    """Every account that the event names."""
    fields: dict[str, str]
    message: str

    def get(self, *names: str) -> str:
        """Return the first of the named fields that says something, or an empty text."""
        for name in names:
            value = self.fields.get(name, "")
            if value not in ("", "-"):
                return value
        return ""

    def text(self) -> str:
        """Return everything that the event says, for searching."""
        return "\n".join((*self.fields.values(), self.message))


def read(paths: Iterable[Path]) -> list[Event]:
    """Return the events of JSON-lines files (plain or gzip), oldest first; lines that are no object are
    left out.

    Raises OSError when a file cannot be read.
    """
    return parse(line for path in paths for line in _lines(path))


def incident() -> list[Event]:
    """Return the events of the small incident that comes with the practice SOC."""
    return parse((resources.files("remit_lab") / "data" / "incident.jsonl").read_text("utf-8").splitlines())


def parse(lines: Iterable[str]) -> list[Event]:
    """Return the events in `lines`, oldest first; those without a time come first, in the order given."""
    events = []
    seen: dict[str, int] = {}
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(record, dict):
            continue
        identity = "evt-" + hashlib.sha256(line.strip().encode()).hexdigest()[:10]
        repeats = seen[identity] = seen.get(identity, 0) + 1
        events.append(event(identity if repeats == 1 else f"{identity}-{repeats}", record))
    return sorted(events, key=lambda known: known.time)


def event(identity: str, record: Json) -> Event:
    """Return one record as an event called `identity`."""
    fields = dict(_flat(record))
    message = fields.get("Message", "")
    syslog = fields.get("SyslogMessage", "")
    if syslog:
        inner = html.unescape(syslog)
        fields |= {name: html.unescape(value) for name, value in SYSMON_DATA.findall(inner)}
        if number := SYSMON_ID.search(inner):
            fields["EventID"] = number[1]
        else:
            message = message or syslog
    number_text = fields.get("EventID", fields.get("event_id", fields.get("EventId", "")))
    return Event(
        id=identity,
        time=_time(fields),
        host=_host(fields),
        event_id=int(number_text) if number_text.isdigit() else None,
        account=_actor(fields, message),
        accounts=frozenset(name for field in ACCOUNT_FIELDS if (name := account_name(fields.get(field, "")))),
        fields={name: value for name, value in fields.items() if name not in NOISE},
        message=message,
    )


def account_name(written: str) -> str:
    """Return an account's name without domain, lower case; empty for machine and built-in accounts."""
    name = written.rpartition("\\")[2].partition("@")[0].strip().casefold()
    if name in BUILT_IN or name.endswith("$") or BUILT_IN_PATTERN.match(name) or "," in name:
        return ""
    return name


def host_name(written: str) -> str:
    """Return a host's short name, upper case; an IP address stays whole."""
    try:
        return str(ipaddress.ip_address(written))
    except ValueError:
        return written.strip().partition(".")[0].upper()


def address(written: str) -> str:
    """Return an address in its one canonical spelling, IPv4 where it is IPv4 in IPv6; empty where it is
    none."""
    try:
        found = ipaddress.ip_address(written.strip())
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(found)


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as handle:
        packed = handle.read(2) == b"\x1f\x8b"
    if packed:
        with gzip.open(path, "rt", encoding="utf-8", errors="replace") as text:
            yield from text
    else:
        with path.open(encoding="utf-8", errors="replace") as text:
            yield from text


def _flat(record: Json, depth: int = 0) -> Iterator[tuple[str, str]]:
    for name, value in record.items():
        if isinstance(value, dict):
            if name in CONTAINERS and depth < 4:
                yield from _flat(value, depth + 1)
            elif name == "host" and isinstance(value.get("name"), str):
                yield name, value["name"]
            else:
                yield name, json.dumps(value, ensure_ascii=False)
        elif value is not None:
            yield name, _written(value)


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _time(fields: dict[str, str]) -> str:
    written = next((fields[name] for name in TIME_FIELDS if fields.get(name)), "")
    if not written:
        return ""
    written = written.replace(" ", "T", 1)
    return written if written.endswith("Z") or "+" in written else written + "Z"


def _host(fields: dict[str, str]) -> str:
    return next((host_name(fields[name]) for name in HOST_FIELDS if fields.get(name)), "")


def _actor(fields: dict[str, str], message: str) -> str:
    for field in ACTOR_FIELDS:
        if name := account_name(fields.get(field, "")):
            return name
    if fields.get("SubjectUserName", "-") in ("", "-") and (name := account_name(fields.get("TargetUserName", ""))):
        return name
    subject = SUBJECT_IN_MESSAGE.search(message)
    return account_name(subject[1]) if subject else ""
