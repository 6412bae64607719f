"""The night: a gateway runs, agents ask, and a person decides at a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from remit.doors.cli.cards import card_of
from remit.model.errors import NotVerified
from remit_lab import faults
from tests.support.fixtures import Make
from tests.support.gateway import PATIENCE, Gateway, Refused, ask, ballot, eventually, remit
from tests.support.home import Practice, manifest

ACCOUNT = "h.berg"


@pytest.fixture
async def gateway(make: Make) -> AsyncIterator[Gateway]:
    async with Gateway.on(make("idp")) as running:
        yield running


async def answered(practice: Practice, *words: str) -> Any:
    """What a command answers, as JSON."""
    _, out, _ = await remit(practice, *words, "--json")
    return json.loads(out)


async def test_a_card_is_listed_shown_and_approved_and_the_action_is_done(gateway: Gateway) -> None:
    agent = await gateway.open(ACCOUNT)
    waiting = await gateway.waiting(agent, "idp__disable_account", account=ACCOUNT)
    code, out, _ = await remit(gateway.practice, "approvals")
    assert code == 0
    assert waiting.action in out
    assert "0 of 1" in out
    code, out, _ = await remit(gateway.practice, "approvals", waiting.action, "--more")
    for says in ("PRACTICE", "triage wants to disable an account", "Worst case", "Undo", "Exact arguments"):
        assert says in out
    code, out, err = await remit(gateway.practice, "approve", waiting.action, "--yes")
    assert code == 0
    assert "approved by on-call" in out
    assert out.rstrip().endswith("done")
    assert "Worst case" in err
    assert (await waiting.call).done
    assert [effect["tool"] for effect in gateway.practice.effects()] == ["disable_account"]


async def test_rejecting_takes_no_more_words_than_approving_and_nothing_happens(gateway: Gateway) -> None:
    agent = await gateway.open(ACCOUNT)
    waiting = await gateway.waiting(agent, "idp__disable_account", account=ACCOUNT)
    code, out, _ = await remit(gateway.practice, "reject", waiting.action, "--yes")
    assert code == 0
    assert "rejected by on-call" in out
    assert (await waiting.call).state == "rejected"
    assert gateway.practice.effects() == []
    code, _, err = await remit(gateway.practice, "approve", waiting.action, "--yes")
    assert code == 1
    assert "is `rejected`, so there is nothing to approve" in err


async def test_nothing_is_approved_where_nobody_can_be_asked(gateway: Gateway) -> None:
    agent = await gateway.open(ACCOUNT)
    waiting = await gateway.waiting(agent, "idp__disable_account", account=ACCOUNT)
    code, _, err = await remit(gateway.practice, "approve", waiting.action)
    assert code == 2
    assert "nobody can be asked here" in err
    assert [each["action"] for each in (await gateway.ask("status"))["waiting"]] == [waiting.action]
    await waiting.withdraw()
    code, _, err = await remit(gateway.practice, "approve", "--yes")
    assert code == 2
    assert "say which action" in err


@pytest.mark.promise("P4")
async def test_who_may_not_approve_is_told_why(gateway: Gateway) -> None:
    agent = await gateway.open(ACCOUNT)
    waiting = await gateway.waiting(agent, "idp__disable_account", account=ACCOUNT)
    code, _, err = await remit(gateway.practice, "approve", waiting.action, "--yes", "--person", "auditor")
    assert code == 1
    assert "none of the roles that decide on this" in err
    await waiting.withdraw()


@pytest.mark.promise("P4")
async def test_a_vote_on_another_card_than_is_shown_counts_for_nothing(gateway: Gateway) -> None:
    agent = await gateway.open(ACCOUNT)
    waiting = await gateway.waiting(agent, "idp__disable_account", account=ACCOUNT)
    card = await gateway.ask("card", action=waiting.action)
    for changes in ({"card_digest": "0" * 64}, {"digest": "0" * 64}, {"boundary_digest": "0" * 64}, {"home": "home_x"}):
        with pytest.raises(Refused):
            await gateway.ask("decide", **ballot(gateway.practice, card, "approve", "approver", **changes))
    assert (await gateway.ask("card", action=waiting.action))["said_yes"] == []
    await waiting.withdraw()


async def test_a_card_of_another_action_or_home_is_not_signed_at_the_terminal(gateway: Gateway) -> None:
    agent = await gateway.open(ACCOUNT)
    waiting = await gateway.waiting(agent, "idp__disable_account", account=ACCOUNT)
    answer = await gateway.ask("card", action=waiting.action)
    assert card_of(answer, gateway.practice.id).action == waiting.action
    with pytest.raises(NotVerified):
        card_of(answer, "home_elsewhere")
    with pytest.raises(NotVerified):
        card_of({**answer, "action": "act_other"}, gateway.practice.id)
    with pytest.raises(NotVerified):
        card_of({**answer, "card": {}}, gateway.practice.id)
    await waiting.withdraw()


async def test_a_card_can_be_shown_and_approved_without_a_gateway_and_is_carried_out(make: Make) -> None:
    practice = make("idp")
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open(ACCOUNT)
        waiting = await gateway.waiting(agent, "idp__disable_account", account=ACCOUNT)
        waiting.call.cancel()
        await asyncio.wait([waiting.call])
    listed = await answered_at(practice, "approvals")
    assert [each["action"] for each in listed["waiting"]] == [waiting.action]
    code, out, err = await at_home(practice, "approve", waiting.action, "--yes")
    assert (code, err.count("Worst case")) == (0, 1)
    assert out.rstrip().endswith("done")
    assert [effect["tool"] for effect in practice.effects()] == ["disable_account"]


async def at_home(practice: Practice, *words: str) -> tuple[int, str, str]:
    """The command line where the lab's relative paths start, as a gateway's own process has it."""
    command = (sys.executable, "-m", "remit.doors.cli.main", words[0], "--home", str(practice.home), *words[1:])
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=practice.root,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    return int(process.returncode or 0), out.decode(), err.decode()


async def answered_at(practice: Practice, *words: str) -> Any:
    _, out, _ = await at_home(practice, *words, "--json")
    return json.loads(out)


SECRET_REASON = manifest("idp", replace={'reason = "prose"': 'reason = "secret"'})


async def test_a_secret_argument_goes_upstream_and_is_shown_to_nobody(make: Make) -> None:
    async with Gateway.on(make("edr", files={"idp": SECRET_REASON})) as gateway:
        agent = await gateway.open(ACCOUNT)
        waiting = await gateway.waiting(agent, "idp__disable_account", account=ACCOUNT, reason="hunter2")
        shown = [
            await remit(gateway.practice, "approvals", waiting.action, "--more", *more) for more in ((), ("--json",))
        ]
        shown.append(await remit(gateway.practice, "approve", waiting.action, "--yes", "--more"))
        assert (await waiting.call).done
        shown += [await remit(gateway.practice, "explain", waiting.action, *more) for more in ((), ("--json",))]
        assert [code for code, _, _ in shown] == [0] * 5
        for _, out, err in shown:
            assert "⟦secret⟧" in out + err
            assert "hunter2" not in out + err
        assert "hunter2" in json.dumps(gateway.practice.effects())


async def test_an_action_is_undone_by_a_signed_order(gateway: Gateway) -> None:
    agent = await gateway.open(ACCOUNT)
    waiting = await gateway.waiting(agent, "idp__disable_account", account=ACCOUNT)
    await gateway.vote(waiting.action)
    await waiting.call
    code, out, _ = await remit(gateway.practice, "undo", waiting.action, "--reason", "wrong person")
    assert code == 0
    assert f"the undo of {waiting.action}" in out
    said = [each["stage"] for each in gateway.practice.records("statement") if each["command"] == "undo"]
    assert said == ["accepted", "carried-out"]
    assert "remit approve act_" in out or out.rstrip().endswith("done")


async def test_a_run_is_opened_listed_and_closed_and_its_token_goes_into_a_file(
    gateway: Gateway, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    words = ("run", "open", "--agent", "triage", "--case", "CASE-1", "--target", ACCOUNT, "--for", "10m")
    opened = await answered(gateway.practice, *words, "--token-file", str(file))
    assert opened["token"] == ""
    assert file.stat().st_mode & 0o077 == 0
    assert file.read_text().startswith("remit_")
    assert ACCOUNT in opened["targets"]
    listed = await answered(gateway.practice, "run", "list")
    assert [each["run"] for each in listed["runs"]] == [opened["run"]]
    code, _, _ = await remit(gateway.practice, "run", "close", opened["run"])
    assert code == 0
    assert (await answered(gateway.practice, "run", "list"))["runs"] == []
    assert (await answered(gateway.practice, "run", "list", "--all"))["runs"][0]["closed_by"] == "operator"


SHOW = "import os, json, sys; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('REMIT')}))"


async def test_exec_gives_the_command_a_token_and_closes_the_run_and_exits_with_its_code(gateway: Gateway) -> None:
    command = (sys.executable, "-c", f"{SHOW}; sys.exit(7)", "--flag")
    code, out, err = await at_home(gateway.practice, "run", "exec", "--agent", "triage", "--case", "C", "--", *command)
    assert code == 7, err
    environment = json.loads(out)
    assert environment["REMIT_TOKEN"].startswith("remit_")
    assert environment["REMIT_URL"] == gateway.url
    assert "REMIT_KEY" not in environment
    assert "closed run_" in err
    assert (await ask(gateway.practice, "run.list"))["runs"] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_exec_closes_the_run_when_it_is_told_to_end(gateway: Gateway, number: int) -> None:
    words = ["run", "exec", "--home", str(gateway.practice.home), "--agent", "triage", "--case", "C", "--"]
    command = [sys.executable, "-u", "-c", "print('up'); import time; time.sleep(60)"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "remit.doors.cli.main",
        *words,
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), PATIENCE) == b"up\n"
    os.kill(process.pid, number)
    assert await asyncio.wait_for(process.wait(), PATIENCE) == 128 + number
    assert (await ask(gateway.practice, "run.list"))["runs"] == []


async def test_exec_of_a_command_that_is_not_there_leaves_no_run_open(gateway: Gateway) -> None:
    code, _, err = await at_home(
        gateway.practice, "run", "exec", "--agent", "triage", "--case", "C", "--", "/nonexistent/agent"
    )
    assert code == 2
    assert "cannot be started" in err
    assert (await ask(gateway.practice, "run.list"))["runs"] == []


async def test_the_status_names_what_waits_and_the_next_step(gateway: Gateway) -> None:
    agent = await gateway.open(ACCOUNT)
    waiting = await gateway.waiting(agent, "idp__disable_account", account=ACCOUNT)
    code, out, _ = await remit(gateway.practice, "status")
    assert code == 0
    assert "1 action waits for a human" in out
    assert f"agents at {gateway.url}" in out
    assert f"next: remit approvals {waiting.action}" in out
    await waiting.withdraw()


async def test_settle_lists_nothing_where_every_outcome_is_known(gateway: Gateway) -> None:
    code, out, _ = await remit(gateway.practice, "settle")
    assert (code, out) == (0, "every outcome is known\n")
    code, _, err = await remit(gateway.practice, "settle", "act_none")
    assert code == 2
    assert "there is no action `act_none`" in err


async def test_what_a_stop_cut_is_listed_and_settled_by_hand_with_a_signature(gateway: Gateway) -> None:
    practice = gateway.practice
    faults.write(practice.lab, {"disable_account": faults.Fault(delay_ms=30_000, effect="before")})
    agent = await gateway.open(ACCOUNT)
    waiting = await gateway.waiting(agent, "idp__disable_account", account=ACCOUNT)
    vote = asyncio.create_task(gateway.vote(waiting.action))
    await eventually(practice.effects, "the connector had it")
    code, out, _ = await remit(practice, "stop")
    assert code == 0
    assert waiting.action in out
    await asyncio.wait([vote, waiting.call], timeout=PATIENCE)
    code, out, _ = await remit(practice, "settle")
    assert waiting.action in out
    assert "next: remit settle" in out
    code, _, err = await remit(practice, "settle", waiting.action, "--applied", "--person", "auditor")
    assert code == 1
    assert "needs one of" in err
    code, out, _ = await remit(practice, "settle", waiting.action, "--applied")
    assert code == 0
    assert "had its effect" in out
    assert (await gateway.ask("status"))["unsettled"] == []
    assert practice.records("settled")[0]["hand"] is True
