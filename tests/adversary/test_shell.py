"""An agent with a shell, as a user of its own, tries everything that it could think of against a running gateway."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.fixtures import Make
from tests.support.gateway import Gateway, ballot, statement
from tests.support.home import Practice

SCRIPT = Path(__file__).with_name("shell.py")

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can start a process as another user; run this test as root"
)


def nobody() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        pytest.skip("this machine has no user `nobody`")


async def attack(practice: Practice, gateway: Gateway, token: str, **known: object) -> dict[str, str]:
    """Run the attacker as `nobody`. Returns what each attempt came to: empty, or what it got hold of."""
    user = nobody()
    python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
    practice.root.chmod(0o755)
    process = await asyncio.create_subprocess_exec(
        python,
        "-I",
        "-S",
        "-",
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "REMIT_TOKEN": token},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    facts = {"home": str(practice.home), "pid": gateway.process.pid, "url": gateway.url, **known}
    program = SCRIPT.read_text() + f"\nmain({json.dumps(json.dumps(facts))})\n"
    try:
        out, err = await asyncio.wait_for(process.communicate(program.encode()), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    found: dict[str, str] = json.loads(out)
    return found


@pytest.mark.promise("P5")
@pytest.mark.promise("P9")
async def test_a_shell_of_another_user_opens_approves_resumes_reads_and_stops_nothing(make: Make) -> None:
    practice = make("idp")
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("k.adeyemi")
        held = await gateway.waiting(agent, "idp__disable_account", account="k.adeyemi")
        card = await gateway.ask("card", action=held.action)
        captured = {
            "decide": ballot(practice, card, "approve", "approver"),
            "signed": statement(practice, "run.open", "operator", {"agent": "triage", "case": "X"}),
        }
        before = await gateway.ask("status")
        found = await attack(practice, gateway, agent.token, captured=captured, action=held.action)
        assert len(found) > 20, "the attacker did not try"
        got = {what: came for what, came in found.items() if came}
        assert not got
        after = await gateway.ask("status")
        assert [run["run"] for run in after["runs"]] == [run["run"] for run in before["runs"]]
        assert after["stops"] == before["stops"] == []
        assert [each["action"] for each in after["waiting"]] == [held.action]
        assert gateway.process.returncode is None
        await held.withdraw()
    assert not practice.effects()
    assert not (practice.home / "STOP").exists()
