"""Secrets are planted wherever they could leak, and found nowhere (P9)."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from remit.model.errors import RemitError
from remit.node import Node
from tests.adversary.rude import manifest
from tests.support.fixtures import Make
from tests.support.gateway import Agent, Gateway, remit
from tests.support.home import Practice

# No real credentials: texts that nothing else could hold.
IN_ENVIRONMENT = "planted-in-the-environment-7Qm2xW9"
IN_FILE = 'planted-in-a-file-"quoted"-Zk4tR8v'
RUDE = {
    "byenv": manifest("byenv", '{ class = "static", into = "env:RUDE_TOKEN", secret = "env:PLANTED" }'),
    "byfile": manifest("byfile", '{ class = "static", into = "env:RUDE_TOKEN", secret = "file:keys/planted" }'),
    "warranted": manifest("warranted", '{ class = "warrant" }'),
}


def forms(secret: bytes) -> list[bytes]:
    """A secret as it would be found: as it is, in JSON, in base64 at every alignment."""
    found = [secret, json.dumps(secret.decode("latin-1"))[1:-1].encode(), secret.hex().encode()]
    for shift in range(3):
        coded = base64.b64encode(b"x" * shift + secret)
        found.append(coded[4 if shift else 0 : -4])
    return found


def holding(data: bytes, secret: bytes) -> bool:
    return any(form in data for form in forms(secret))


def home_files(practice: Practice) -> list[Path]:
    """Everything that a gateway writes: its home but the keys, and its log."""
    kept = (practice.home / "keys", practice.home / "practice")
    files = [path for path in practice.home.rglob("*") if path.is_file()]
    return [path for path in files if not set(kept) & set(path.parents)] + [practice.log]


def plant(practice: Practice) -> None:
    secret = practice.home / "keys" / "planted"
    secret.write_text(IN_FILE)
    secret.chmod(0o600)


async def provoke(agent: Agent, connector: str) -> list[str]:
    """Make a connector tell its secret in every way there is. Returns all that the agent saw."""
    seen = [tool.model_dump_json() for tool in await agent.tools()]
    told: list[str] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append(str(message))

    for tool in ("tell", "fail", "refuse", "babble", "die"):
        seen.append((await agent.call(f"{connector}__{tool}", text="go on")).result.model_dump_json())
    async with agent.connected() as client:
        result = await client.call_tool(f"{connector}__progress", {}, progress_callback=on_progress)
    return [*seen, result.model_dump_json(), *told]


@pytest.mark.promise("P9")
async def test_a_planted_secret_is_found_nowhere_but_where_it_was_planted(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED", IN_ENVIRONMENT)
    practice = make(files=RUDE, without_lab=True, prepare=plant)
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open()
        seen: list[str] = []
        for connector in RUDE:
            seen += await provoke(agent, connector)
        for method in ("status", "connectors", "run.list", "approvals"):
            seen.append(json.dumps(await gateway.ask(method)))
        for words in (("status",), ("connectors", "list", "--json"), ("find", "--json"), ("run", "list", "--json")):
            code, out, err = await remit(practice, *words)
            assert code in (0, 1), err
            seen += [out, err]
        action = practice.actions("tell")[0]["id"]
        seen += (await remit(practice, "explain", action))[1:]
    shown = "\n".join(seen).encode()
    secrets = {
        "of the environment": IN_ENVIRONMENT.encode(),
        "of the file": IN_FILE.encode(),
        "the run's token": agent.token.encode(),
        "the warrant key": (practice.home / "keys" / "warrant.key").read_bytes(),
    }
    for name, secret in secrets.items():
        assert not holding(shown, secret), f"the secret {name} was shown"
        found = [path.name for path in home_files(practice) if holding(path.read_bytes(), secret)]
        assert not found, f"the secret {name} is in {found}"
    assert "⟦secret⟧" in shown.decode(), "the connector never told its secret, so nothing was tested"


@pytest.mark.promise("P9")
async def test_an_agent_never_sees_the_warrant_of_its_own_call(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", IN_ENVIRONMENT)
    practice = make(files=RUDE, without_lab=True, prepare=plant)
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open()
        seen = await provoke(agent, "warranted")
    assert any("the warrant is" in each for each in seen)
    assert not [each for each in seen if "the warrant is eyJ" in each]
    for path in home_files(practice):
        assert b"the warrant is eyJ" not in path.read_bytes(), path.name


@pytest.mark.promise("P9")
async def test_a_secret_that_cannot_be_had_is_refused_without_being_quoted(make: Make) -> None:
    practice = make(files={"byfile": RUDE["byfile"]}, without_lab=True, prepare=plant)
    (practice.home / "keys" / "planted").write_text(f"{IN_FILE}\nand a second line")
    async with Gateway.on(practice) as gateway:
        (status,) = (await gateway.ask("status"))["connectors"]
        assert status["state"] == "down"
        assert "several lines" in status["reason"]
    for path in home_files(practice):
        assert not holding(path.read_bytes(), IN_FILE.encode()), path.name


@pytest.mark.promise("P9")
async def test_no_error_of_a_node_holds_a_key(make: Make) -> None:
    practice = make("edr")
    key = practice.home / "keys" / "warrant.key"
    raw = key.read_bytes()
    key.chmod(0o644)
    with pytest.raises(RemitError) as refused:
        await Node.start(practice.home)
    assert not holding(str(refused.value).encode() + refused.value.hint.encode(), raw)
