"""The estate is what the events show: hosts and their kinds, owners, accounts, alerts, outside addresses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from remit_lab import estate, files, telemetry
from remit_lab.serving import parser
from tests.remit_lab.support import known


def test_hosts_of_the_incident_have_their_kind_and_owner() -> None:
    assert {host.name: (host.kind, host.owner) for host in known().hosts} == {
        "DC-01": ("domain-controller", ""),
        "SRV-FILE-01": ("server", ""),
        "WS-014": ("workstation", "k.adeyemi"),
        "WS-022": ("workstation", "l.novak"),
    }


@pytest.mark.parametrize("name", ["dcsync", "zerologon"])
def test_the_recorded_domain_controller_is_recognised_as_one(name: str, shared: Path) -> None:
    shown = estate.derive(telemetry.read([shared / "telemetry" / f"{name}.jsonl.gz"]))
    kinds = {host.name: host.kind for host in shown.hosts}
    assert kinds == {
        "MORDORDC": "domain-controller",
        "WORKSTATION5": "workstation",
        "WORKSTATION6": "workstation",
    }
    assert {host.name: host.owner for host in shown.hosts}["WORKSTATION5"] == "pgustavo"


def test_a_cloud_trail_has_accounts_and_no_hosts(shared: Path) -> None:
    shown = estate.derive(telemetry.read([shared / "telemetry" / "aws_s3_exfiltration.jsonl.gz"]))
    assert shown.hosts == ()
    assert [account.name for account in shown.accounts] == ["pedro"]


def test_no_events_make_an_empty_estate() -> None:
    assert estate.derive([]) == estate.Estate((), ())


def test_privilege_is_yes_no_or_unknown_as_the_events_tell() -> None:
    told = {account.name: account.privileged for account in known().accounts}
    assert (told["j.ortega"], told["k.adeyemi"], told["h.berg"]) == (True, False, None)


def test_the_inventory_has_each_target_once_with_its_connectors_own_id(tmp_path: Path) -> None:
    out = tmp_path / "inventory.csv"
    assert estate.main(["--inventory", str(out)]) == 0
    with out.open(newline="") as handle:
        rows = {row["id"]: row for row in csv.DictReader(handle)}
    host = next(host for host in known().hosts if host.name == "WS-014")
    assert tuple(rows["WS-014"]) == estate.COLUMNS
    assert rows["WS-014"]["owner"] == "k.adeyemi"
    assert rows["WS-014"]["aliases"].split(";") == ["ws-014.corp.example", f"edr:{host.device_id}"]
    assert (rows["DC-01"]["kind"], rows["DC-01"]["privileged"]) == ("domain-controller", "yes")
    assert rows["h.berg"]["privileged"] == ""
    assert rows["svc-backup"]["labels"] == "service"
    assert rows["203.0.113.66"]["kind"] == "address"
    assert {row["kind"] for name, row in rows.items() if name.startswith("alr_")} == {"alert"}
    assert out.read_text().count("\n") == len(rows) + 1


def test_an_estate_written_as_json_is_read_back_the_same(tmp_path: Path) -> None:
    out = tmp_path / "estate.json"
    assert estate.main(["--json", str(out)]) == 0
    assert estate.from_json(json.loads(out.read_text())) == known()


def test_addresses_of_the_estates_own_hosts_are_not_outside() -> None:
    own = {address for host in known().hosts for address in host.addresses}
    assert own
    assert own.isdisjoint(known().addresses)


def test_a_connector_starts_from_the_estate_in_its_state_folder(tmp_path: Path) -> None:
    only = estate.Estate((estate.Host("LAB-1", "dev-1", "workstation", ""),), ())
    files.replace(tmp_path / "estate.json", estate.to_json(only))
    options = parser("edr").parse_args(["--state", str(tmp_path)])
    assert estate.from_options(options) == only
    missing = parser("edr").parse_args(["--state", str(tmp_path), "--estate", str(tmp_path / "none.json")])
    with pytest.raises(FileNotFoundError, match="does not exist"):
        estate.from_options(missing)
