"""A verdict that a person must agree to, at the control door: its card, the votes, and what the log then proves."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest

from remit.doors.cli.main import main
from remit.model.words import Json, Run, State
from remit.node import Node
from tests.doors.control.conftest import Desk
from tests.support.fixtures import short_folder
from tests.support.gateway import ballot
from tests.support.home import build

VERDICT = """
[[verdict]]
id = "V-1"
agents = ["*"]
verdicts = ["benign"]
targets = { kind = ["domain-controller"] }
then = "approve"

[[never]]"""


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A home whose boundary asks a person before a case about a domain controller is benign."""
    root = short_folder()
    practice = build(root, {}, boundary={'\n[[never]]\nid = "N-DC"': f'{VERDICT}\nid = "N-DC"'})
    node = await Node.start(practice.home)
    try:
        yield Desk(practice, node)
    finally:
        await node.close()
        shutil.rmtree(root, ignore_errors=True)


async def concluded(desk: Desk) -> tuple[Run, str]:
    """A run, and the action that its verdict waits as."""
    controller = next(
        each.id for each in desk.node.forces.current.inventory.targets if each.kind == "domain-controller"
    )
    opened = await desk.signed("run.open", agent="triage", case="CASE-1", targets=[controller])
    run = desk.node.agents.authenticate(str(opened["token"]))
    said: dict[str, Json] = {"verdict": "benign", "rationale": {"summary": "a scan"}}
    answer = await desk.node.agents.call(run, "remit__conclude", said, hold=0)
    assert answer.state is State.WAITING
    return run, answer.action


async def test_the_card_says_what_is_concluded_and_what_is_at_stake(desk: Desk) -> None:
    _, action = await concluded(desk)
    listed: Any = await desk.ask("approvals")
    (waiting,) = listed["waiting"]
    card = waiting["card"]
    assert (card["does"], card["category"]) == ("conclude that its case is benign", "verdict.benign")
    assert "whoever relies on it stops looking" in card["worst_case"]
    assert [each["id"] for each in card["clauses"]] == ["V-1"]
    assert json.loads(card["arguments"])["verdict"] == "benign" and card["action"] == action


async def test_a_signed_yes_puts_it_on_record_and_the_log_verifies(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    run, action = await concluded(desk)
    card = await desk.ask("card", action=action)
    done = await desk.ask("decide", **ballot(desk.practice, card, "approve", "approver"))
    assert done["state"] == State.DONE
    assert desk.node.store.reads.run(run.id).verdict == "benign"  # type: ignore[union-attr]
    await desk.node.close()
    assert main(["log", "verify", "--home", str(desk.practice.home)]) == 0, capsys.readouterr().out


async def test_a_signed_no_keeps_it_off_the_record(desk: Desk) -> None:
    run, action = await concluded(desk)
    card = await desk.ask("card", action=action)
    done = await desk.ask("decide", **ballot(desk.practice, card, "reject", "approver"))
    assert done["state"] == State.REJECTED
    assert desk.node.store.reads.run(run.id).verdict == ""  # type: ignore[union-attr]
    assert not desk.practice.records("verdict")
