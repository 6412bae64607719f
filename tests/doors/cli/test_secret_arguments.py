"""Secret arguments on a gateway's home: the connector gets them, nobody is shown them, and when their action has ended
nothing below the home has them any more, sealed or not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import pytest

from remit.adapters.payloads.sealing import sealer
from remit.model.errors import RemitError
from tests.conformance.log import verifier
from tests.support.fixtures import Make
from tests.support.gateway import Agent, Gateway, eventually, give_up, remit
from tests.support.home import Practice, manifest

SECRET = "plantedsecret7791"
HOST, ACCOUNT = "WS-014", "k.adeyemi"
SECRETS = {'reason = "prose"': 'reason = "secret"'}


@pytest.fixture
def practice(make: Make) -> Practice:
    """A home whose operator says that the reasons given to the EDR and the directory are secret."""
    return make(files={name: manifest(name, replace=SECRETS) for name in ("edr", "idp")})


def holding(folder: Path, *words: bytes) -> set[str]:
    """The files below a folder that hold one of these words, write-ahead logs included."""
    found = set()
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # a directory, a socket, or a file that was renamed meanwhile
            data = path.read_bytes()
            found |= {path.name for word in words if word in data}
    return found


def readable(store: Path, keys: Path) -> dict[str, bytes]:
    """Every payload in a database that opens with some key of this folder, by its id."""
    opener, found = sealer(keys), {}
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE sql LIKE '%sealed%'").fetchall()
        asking = " UNION ALL ".join(f"SELECT id, kind, slot, sealed FROM {name}" for (name,) in tables)
        rows = connection.execute(asking).fetchall()
    for row in rows:
        with contextlib.suppress(RemitError):
            payload = opener.open(*row)
            if payload is not None:
                found[row[0]] = payload.data
    return found


def secret_in(payloads: dict[str, bytes]) -> set[str]:
    return {name for name, data in payloads.items() if SECRET.encode() in data}


def opens(practice: Practice) -> set[str]:
    """The payloads of the live home that can be opened and hold the secret."""
    return secret_in(readable(practice.home / "state" / "remit.db", practice.home / "keys"))


def doomed(practice: Practice) -> int:
    with contextlib.closing(sqlite3.connect(practice.home / "state" / "remit.db")) as connection:
        (count,) = connection.execute("SELECT count(*) FROM doomed_keys").fetchone()
        return int(count)


async def isolated(agent: Agent) -> str:
    """An isolation that was carried out with a secret argument, which the agent's reasons repeat."""
    answer = await agent.call("edr__isolate_host", host=HOST, reason=SECRET, rationale={"summary": f"see {SECRET}"})
    assert answer.done, answer.text
    return answer.action


async def said(practice: Practice, *words: str) -> Any:
    code, out, err = await remit(practice, *words, "--json")
    assert code == 0, err or out
    return json.loads(out)


def given(practice: Practice, tool: str) -> list[str]:
    """What the lab's connector was given as the reason."""
    return [each["arguments"]["reason"] for each in practice.effects() if each["tool"] == tool]


@pytest.mark.parametrize("serving", [True, False], ids=["while it serves", "once it has ended"])
async def test_when_the_action_has_ended_no_file_of_the_home_holds_the_value_and_no_blob_opens_to_it(
    practice: Practice, serving: bool
) -> None:
    async with Gateway.on(practice) as gateway:
        await isolated(await gateway.open(HOST))
        assert given(practice, "isolate_host") == [SECRET]
        if serving:
            await eventually(lambda: doomed(practice) == 0, "its key was destroyed")
            assert holding(practice.home, SECRET.encode()) == set()
            assert opens(practice) == set()
    assert doomed(practice) == 0
    assert holding(practice.home, SECRET.encode()) == set()
    assert opens(practice) == set()


async def test_copies_from_before_the_end_open_nothing_with_the_keys_that_are_left(
    practice: Practice, tmp_path: Path
) -> None:
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open(HOST)
        waiting = await gateway.waiting(agent, "idp__disable_account", account=ACCOUNT, reason=SECRET)
        secrets = f"{waiting.action}.secrets"
        copy = tmp_path / "copy"
        shutil.copytree(practice.home, copy, ignore=shutil.ignore_patterns("*.sock"))
        assert secret_in(readable(copy / "state" / "remit.db", copy / "keys")) == {secrets}
        assert holding(practice.home, SECRET.encode()) == set()
        shown = str([await gateway.ask("approvals"), await gateway.ask("card", action=waiting.action)])
        assert (SECRET in shown, "⟦secret⟧" in shown) == (False, True)
        await gateway.vote(waiting.action)
        assert (await waiting.call).done
        assert given(practice, "disable_account") == [SECRET]
        await eventually(lambda: doomed(practice) == 0, "its key was destroyed")
        keys = practice.home / "keys"
        assert secret_in(readable(copy / "state" / "remit.db", keys)) == set()
        shutil.copy(keys / "payload-keys", copy / "keys" / "payload-keys")
        opened = readable(copy / "state" / "remit.db", copy / "keys")
        assert secret_in(opened) == set()
        assert opened == {}, "the epoch was re-keyed, so its old slots open nothing at all"


async def test_a_gateway_that_is_started_anew_sends_what_waited_and_then_lets_go_of_it(practice: Practice) -> None:
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open(HOST)
        waiting = await gateway.waiting(agent, "idp__disable_account", account=ACCOUNT, reason=SECRET)
        await give_up(waiting.call)
    assert opens(practice) == {f"{waiting.action}.secrets"}
    async with Gateway.on(practice) as gateway:
        await gateway.vote(waiting.action)
        await eventually(lambda: given(practice, "disable_account") == [SECRET], "the connector had it")
        await eventually(lambda: not opens(practice) and doomed(practice) == 0, "its key was destroyed")


async def test_story_search_and_both_verifiers_say_that_it_ended_and_never_what_it_was(
    practice: Practice, tmp_path: Path
) -> None:
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open(HOST)
        waiting = await gateway.waiting(agent, "idp__disable_account", account=ACCOUNT, reason=SECRET)
        action = await isolated(agent)
        stories = [await remit(practice, "explain", each) for each in (action, waiting.action)]
        told = [" ".join(out.split()) for _, out, _ in stories]
        assert "arguments given: `reason`; their values ended with the action" in told[0]
        assert "arguments given: `reason`; their values are kept until the action has ended" in told[1]
        assert ([code for code, *_ in stories], SECRET in str(told)) == ([0, 0], False)
        assert (await said(practice, "find", "--words", "see"))["actions"]
        code, out, _ = await remit(practice, "find", "--words", SECRET, "--json")
        assert (code, json.loads(out)["actions"]) == (1, [])
        await verified(practice, tmp_path / "open", ended=1)
        await waiting.withdraw()
    await verified(practice, tmp_path / "ended", ended=2)
    assert SECRET not in (tmp_path / "open").read_text() + (tmp_path / "ended").read_text()
    assert not re.search(r'"id":"act_[^"]*\.secrets"', (tmp_path / "open").read_text())


async def test_a_bundle_has_the_proposal_and_neither_the_value_nor_its_payload_and_says_why(
    practice: Practice, tmp_path: Path
) -> None:
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open(HOST)
        waiting = await gateway.waiting(agent, "idp__disable_account", account=ACCOUNT, reason=SECRET)
        await bundled(practice, waiting.action, "secret", tmp_path / "open.zip")
        await bundled(practice, await isolated(agent), "ended", tmp_path / "ended.zip")
        await waiting.withdraw()


async def bundled(practice: Practice, action: str, why: str, file: Path) -> None:
    """Make a bundle of an action once the log has it, check it, and look for the value in all of its members."""
    while (await remit(practice, "log", "bundle", action, "-o", str(file)))[0] != 0:
        file.unlink(missing_ok=True)
        await asyncio.sleep(0.1)
    checked = await said(practice, "log", "verify", str(file), "--key", key(practice))
    assert dict(checked["left_out"])[f"{action}.secrets"] == why
    with zipfile.ZipFile(file) as bundle:
        members = {name: bundle.read(name) for name in bundle.namelist()}
    assert SECRET.encode() not in b"".join(members.values())
    disclosed = [json.loads(line)["id"] for line in members["payloads.jsonl"].splitlines()]
    assert f"{action}.proposal" in disclosed
    assert not [each for each in disclosed if each.endswith(".secrets")]


def key(practice: Practice) -> str:
    return (practice.home / "keys" / "log.pub").read_text().split()[0]


async def verified(practice: Practice, disclosed: Path, *, ended: int) -> None:
    """Both verifiers find nothing wrong, with the store's payloads and with those that are handed over."""
    answer = await said(practice, "log", "verify")
    assert (answer["verified"], answer["findings"]) == (True, [])
    assert (answer["payloads"]["ended"], answer["payloads"]["not_disclosed"]) == (ended, {})
    await said(practice, "log", "disclose", "-o", str(disclosed))
    answer = await said(practice, "log", "verify", "--payloads", str(disclosed))
    assert (answer["verified"], answer["payloads"]["ended"]) == (True, ended)
    report = verifier.verify(practice.home / "log", [key(practice)], payloads=disclosed)
    assert list(report.findings) == []


async def test_a_value_that_is_taken_away_while_its_action_is_open_is_named_by_the_verifier(practice: Practice) -> None:
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open(HOST)
        waiting = await gateway.waiting(agent, "idp__disable_account", account=ACCOUNT, reason=SECRET)
        await give_up(waiting.call)
    with contextlib.closing(sqlite3.connect(practice.home / "state" / "remit.db")) as connection:
        connection.execute("DELETE FROM payloads WHERE id = ?", (f"{waiting.action}.secrets",))
        connection.commit()
    code, out, _ = await remit(practice, "log", "verify", "--json")
    findings = json.loads(out)["findings"]
    assert (code, [each["word"] for each in findings]) == (1, ["payload-missing"])
    assert f"{waiting.action}.secrets" in findings[0]["says"]
