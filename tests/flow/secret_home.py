"""A home whose operator says that the reason of an isolation is secret, and isolations with such a reason."""

from __future__ import annotations

from typing import Any

from remit.model.words import Action, Payload, Run, State
from tests.flow.home import EDR, IDP, SIEM, Files
from tests.flow.world import World

SECRET = "Planted-Secret-7790"
WHY = {"summary": f"it says {SECRET} in the ticket", "signals": [{"says": f"seen: {SECRET}"}]}
ROLES = 'name = "isolate_host"\nroles = { host = "target", reason = "secret" }'


def home() -> Files:
    """The files of that home."""
    text = EDR.replace('name = "isolate_host"', ROLES)
    return Files(connectors={"edr": text, "idp": IDP, "siem": SIEM})


async def isolate(world: World, run: Run, host: str = "WS-1", secret: Any = SECRET) -> Action:
    """Propose an isolation with a secret reason; how it stands once nothing of it is on its way."""
    return await world.done(await asked(world, run, host, secret))


async def asked(world: World, run: Run, host: str = "WS-1", secret: Any = SECRET) -> Action:
    """The same, without waiting for anything. The agent's reasons repeat the value."""
    why = WHY if secret == SECRET else {"summary": f"in the ticket: {secret}"}
    found, _ = await world.steward.propose(world.call(run, "edr__isolate_host", why=why, host=host, reason=secret))
    return found


async def waiting(world: World, host: str = "SRV-1") -> Action:
    """An isolation that waits for a person."""
    action = await isolate(world, await world.open(host), host)
    assert action.state is State.WAITING
    return action


def kept(world: World, action: Action, role: str) -> Payload | None:
    return world.durable.reads.payload(f"{action.id}.{role}")
