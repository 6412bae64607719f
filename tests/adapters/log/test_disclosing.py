"""Disclosure files: what several entries commit to may be given for the first of them alone."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from remit import offline
from remit.adapters.log.disclosing import MOST_COMMANDS, DisclosureFile
from remit.flow.auditing.audit import audit
from remit.flow.auditing.files import Trust
from remit.flow.auditing.ledger import MemoryLedger
from remit.flow.auditing.selecting import Selection
from remit.node import Node
from tests.conformance.log import verifier
from tests.doors.control.conftest import Desk
from tests.support.fixtures import Make


def written(path: Path, *lines: tuple[str, int]) -> DisclosureFile:
    """A file of payloads, each an id and the entry that it is given for."""
    said = [
        {"id": name, "salt": "00" * 16, "data": base64.b64encode(name.encode()).decode(), "entry": entry}
        for name, entry in lines
    ]
    path.write_text("".join(json.dumps(each) + "\n" for each in said))
    return DisclosureFile(path)


@pytest.mark.parametrize("name", ["bnd_1.file", "bnd_1_2.signatures"])
def test_a_file_is_remembered_however_many_statements_come_after_it(tmp_path: Path, name: str) -> None:
    votes = [(f"vot_{each}.statement", each) for each in range(1, 3 * MOST_COMMANDS)]
    commands = [(f"sta_{each}.statement", each) for each, _ in enumerate(votes, start=len(votes) + 1)]
    given = written(tmp_path / "payloads", (name, 0), *votes, *commands)
    for each, entry in [(name, 0), *votes, *commands]:
        assert given.payload(each, entry) is not None
    again = given.payload(name, 10**6)
    assert again is not None and again.data == name.encode()
    assert given.unused() == ()


def test_a_command_is_remembered_until_it_is_carried_out_whatever_is_carried_out_meanwhile(tmp_path: Path) -> None:
    slow, quick = "sta_slow.statement", [f"sta_{each}.statement" for each in range(3 * MOST_COMMANDS)]
    given = written(tmp_path / "payloads", (slow, 0), *((each, 2 * at + 1) for at, each in enumerate(quick)))
    assert given.payload(slow, 0) is not None
    for at, each in enumerate(quick):
        assert given.payload(each, 2 * at + 1) is not None
        assert given.payload(each, 2 * at + 2) is not None
    assert given.payload(slow, 10**6) is not None


async def test_a_home_of_many_commands_is_verified_with_each_payload_given_once(make: Make, tmp_path: Path) -> None:
    practice = make(without_lab=True)
    for _ in range(2):  # the second start loads the same boundary again
        node = await Node.start(practice.home)
        desk = Desk(practice, node)
        for number in range(70):
            await desk.signed("run.open", agent="triage", case=f"CASE-{number}")
        await node.close()
    whole, once = tmp_path / "whole", tmp_path / "once"
    with whole.open("wb") as target:
        offline.disclose(practice.home, Selection(), target)
    lines = [line for line in whole.read_text().splitlines() if '"disclosure"' not in line]
    first = {json.loads(line)["id"]: line for line in reversed(lines)}
    kept = [line for line in lines if first[json.loads(line)["id"]] is line]
    assert len(lines) - len(kept) > 140
    once.write_text("".join(f"{line}\n" for line in kept))
    files, keys = offline.log_of(practice.home)
    report = audit(files, Trust(keys=keys), DisclosureFile(once), MemoryLedger())
    assert (report.findings, report.withheld) == ((), {})
    other = verifier.verify(practice.home / "log", [key.text for key in keys], payloads=once)
    assert other.findings == []
