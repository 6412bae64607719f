"""What a SOC looks after, worked out from recorded events: hosts, accounts, who owns what, alerts, outside
addresses.

`python -m remit_lab.estate --telemetry FILE… --inventory OUT.csv` writes it as an inventory, `--json
OUT` as a file that the connectors read (`--estate`). Without `--telemetry` it is the incident that
comes with the package.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import ipaddress
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from remit_lab import files, telemetry
from remit_lab.detections import Alert, detect, host_addresses
from remit_lab.files import Json
from remit_lab.telemetry import Event, account_name, address

WRITTEN_BY_CONTROLLERS = frozenset((4662, 4741, 4742, 4743, 4768, 4769, 4771, 5136, 5137, 5829))
"""Security events that only a domain controller writes."""
CONTROLLER_NAME = re.compile(r"(^|[-_])(R?W?DC)[-_]?\d*$|DC\d*$")
SERVER_NAME = re.compile(r"^(SRV|SVR|FS|FILE|SQL|EXCH|MAIL|WEB|APP)|SERVER")
INTERACTIVE = frozenset(("2", "7", "10", "11"))
"""Logon types at the keyboard or over remote desktop."""
COLUMNS = ("id", "kind", "privileged", "owner", "labels", "aliases")


@dataclass(frozen=True, slots=True)
class Host:
    """A computer."""

    name: str
    device_id: str
    """The endpoint console's own id for it."""
    kind: str
    """workstation, server, dns or domain-controller."""
    owner: str
    """The account that works on it; empty for servers and where none was seen."""
    aliases: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Account:
    """An account of a person or a service."""

    name: str
    account_id: str
    """The identity provider's own id for it."""
    privileged: bool | None
    """None where the events do not tell."""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Estate:
    """Everything that there is to look after."""

    hosts: tuple[Host, ...]
    accounts: tuple[Account, ...]
    alerts: tuple[Alert, ...] = ()
    addresses: tuple[str, ...] = ()
    """Addresses outside the estate that it talked with."""


def derive(events: list[Event]) -> Estate:
    """Return the estate that the events show; empty events give an empty estate."""
    by_host: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.host:
            by_host[event.host].append(event)
    own = dict(host_addresses(events))
    hosts = tuple(_host(name, by_host[name], own) for name in sorted(by_host))
    return Estate(hosts, _accounts(events), tuple(detect(events)), _outside(events, own))


def from_options(options: argparse.Namespace) -> Estate:
    """Return the estate that a connector's command line names: `--estate`, the state folder's, or the
    telemetry's."""
    kept: Path = options.estate or options.state / "estate.json"
    document = files.load(kept)
    if document is not None:
        return from_json(document)
    if options.estate:
        raise FileNotFoundError(f"estate `{options.estate}` does not exist")
    return derive(telemetry.read(options.telemetry) if options.telemetry else telemetry.incident())


def to_json(estate: Estate) -> Json:
    """Return the estate as a JSON object that `from_json` reads."""
    return asdict(estate)


def from_json(document: Json) -> Estate:
    """Return the estate of a JSON object. Raises TypeError or KeyError when it is not one."""
    return Estate(
        tuple(Host(**_tuples(host)) for host in document["hosts"]),
        tuple(Account(**_tuples(account)) for account in document["accounts"]),
        tuple(Alert(**_tuples(alert)) for alert in document["alerts"]),
        tuple(document["addresses"]),
    )


def inventory(estate: Estate) -> str:
    """Return the estate as inventory.csv: id, kind, privileged (yes, no, empty), owner, labels, aliases."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    for host in estate.hosts:
        privileged = "yes" if host.kind in ("domain-controller", "dns") else "no"
        aliases = (*host.aliases, f"edr:{host.device_id}")
        table.writerow((host.name, host.kind, privileged, host.owner, "", ";".join(aliases)))
    for account in estate.accounts:
        known = {True: "yes", False: "no", None: ""}[account.privileged]
        labels = "service" if account.name.startswith("svc") else ""
        aliases = (*account.aliases, f"idp:{account.account_id}")
        table.writerow((account.name, "account", known, "", labels, ";".join(aliases)))
    for outside in estate.addresses:
        table.writerow((outside, "address", "no", "", "", ""))
    for alert in estate.alerts:
        table.writerow((alert.alert_id, "alert", "no", "", alert.severity, ""))
    return out.getvalue()


def _tuples(members: Json) -> Json:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in members.items()}


def _own_id(prefix: str, name: str) -> str:
    return prefix + hashlib.sha256(f"{prefix}{name}".encode()).hexdigest()[:10]


def _host(name: str, events: list[Event], own: dict[str, str]) -> Host:
    kind = _kind(name, events)
    written = {event.get(*telemetry.HOST_FIELDS).casefold() for event in events}
    aliases = sorted(alias for alias in written if "." in alias and telemetry.host_name(alias) == name)
    addresses = tuple(sorted(found for found, host in own.items() if host == name))
    owner = _owner(events) if kind == "workstation" else ""
    return Host(name, _own_id("dev-", name), kind, owner, tuple(aliases), addresses)


def _kind(name: str, events: list[Event]) -> str:
    controls = any(
        event.event_id in WRITTEN_BY_CONTROLLERS or event.get("ShareName").endswith("SYSVOL") for event in events
    )
    if controls or CONTROLLER_NAME.search(name):
        return "domain-controller"
    if "DNS" in name:
        return "dns"
    if SERVER_NAME.search(name) or any(event.get("SourceSystem") == "Linux" for event in events):
        return "server"
    return "workstation"


def _owner(events: list[Event]) -> str:
    """Return the account seen at the keyboard most, or else the one that starts most processes there."""
    seen: Counter[str] = Counter()
    for event in events:
        if event.event_id == 4624 and event.get("LogonType") in INTERACTIVE:
            seen[account_name(event.get("TargetUserName"))] += 100
        elif event.account:
            seen[event.account] += 1
    people = [(-count, name) for name, count in seen.items() if name and not name.startswith("svc")]
    return min(people)[1] if people else ""


def _accounts(events: list[Event]) -> tuple[Account, ...]:
    names = sorted({name for event in events for name in (*event.accounts, event.account) if name})
    domains: dict[str, set[str]] = defaultdict(set)
    privileged: dict[str, bool] = {}
    for event in events:
        for user, domain in (
            ("SubjectUserName", "SubjectDomainName"),
            ("TargetUserName", "TargetDomainName"),
        ):
            name, realm = account_name(event.get(user)), event.get(domain).casefold()
            if name and realm:
                domains[name].add(f"{name}@{realm}" if "." in realm else f"{realm}\\{name}")
        for name, answer in _privilege(event):
            privileged[name] = privileged.get(name, False) or answer
    return tuple(
        Account(name, _own_id("acc-", name), privileged.get(name), tuple(sorted(domains[name]))) for name in names
    )


def _privilege(event: Event) -> Iterable[tuple[str, bool]]:
    """Yield (account, privileged) where the event tells: special logons, the built-in administrator, plain
    logons."""
    if event.event_id == 4672:
        yield account_name(event.get("SubjectUserName")), True
    for user, sid in (("SubjectUserName", "SubjectUserSid"), ("TargetUserName", "TargetUserSid")):
        if event.get(sid).endswith("-500"):
            yield account_name(event.get(user)), True
    if event.event_id == 4624:
        yield account_name(event.get("TargetUserName")), False


def _outside(events: list[Event], own: dict[str, str]) -> tuple[str, ...]:
    found = set()
    for event in events:
        for field in ("SourceIp", "DestinationIp", "IpAddress", "sourceIPAddress"):
            found.add(address(event.get(field)))
    return tuple(sorted(one for one in found if one and one not in own and _reachable(one)))


def _reachable(written: str) -> bool:
    """Whether an address could be somebody: not loopback, multicast, link-local or unspecified."""
    one = ipaddress.ip_address(written)
    return not (one.is_loopback or one.is_multicast or one.is_link_local or one.is_unspecified)


def main(arguments: list[str] | None = None) -> int:
    """Write the estate as an inventory or as JSON; return 0, or 2 when nothing to write was asked for."""
    parser = argparse.ArgumentParser(prog="python -m remit_lab.estate", description=main.__doc__)
    parser.add_argument("--telemetry", type=Path, action="append", default=[], metavar="FILE")
    parser.add_argument("--inventory", type=Path, metavar="OUT.csv")
    parser.add_argument("--json", type=Path, metavar="OUT.json", help="for the connectors' --estate")
    options = parser.parse_args(arguments)
    estate = derive(telemetry.read(options.telemetry) if options.telemetry else telemetry.incident())
    if options.inventory:
        options.inventory.write_text(inventory(estate), encoding="utf-8")
    if options.json:
        files.replace(options.json, to_json(estate))
    if not options.inventory and not options.json:
        sys.stdout.write(inventory(estate))
    return 0


if __name__ == "__main__":
    sys.exit(main())
