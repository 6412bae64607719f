"""A home with a past, made once by a real gateway: what its bundles are made of."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from remit import offline
from remit.doors.cli.explain import manifests_in
from remit.flow.auditing.files import Trust
from remit.flow.bundling.making import fetching, make_bundle
from remit.flow.bundling.words import About
from remit.flow.query import Query
from remit.gates.log.checkpoints import Checkpoint, parse
from remit.gates.log.merkle import root_of
from remit.gates.log.notes import LogKey, Note, VerifierKey, WitnessKey, parse_note
from remit.gates.log.tiles import TileHashes
from tests.support.fixtures import Templates, short_folder, templates
from tests.support.gateway import Agent, Gateway
from tests.support.home import LAB, Practice, manifest, run_apart

__all__ = ["CASE", "Told", "templates", "told"]

HOSTILE = (
    "it beacons <script>alert(1)</script> <img src=http://evil.example/x> \x1b[31m[safe](http://evil.example) "
    "\u202egnp.exe </blockquote></main>\u2028=HYPERLINK(1)"
)
CASE = "CASE-7"
COSIGNED = 1_800_000_000


@dataclass
class Told:
    """The home and the ids of its actions."""

    practice: Practice
    isolated: str = ""
    disabled: str = ""
    rejected: str = ""
    forbidden: str = ""

    @property
    def home(self) -> Path:
        return self.practice.home

    @cached_property
    def keys(self) -> tuple[VerifierKey, ...]:
        return offline.log_of(self.home)[1]

    @property
    def trust(self) -> Trust:
        return Trust(keys=self.keys)

    def copied(self, folder: Path) -> Told:
        """The same home in another folder, to be changed."""
        return replace(self, practice=self.practice.copy(folder))

    def bundle(self, action: str = "", case: str = "", *, trust: Trust | None = None, **more: Any) -> bytes:
        """The bytes of a bundle about an action or a case. `trust` names witnesses."""
        files, _ = offline.log_of(self.home)
        connectors = {path.stem: path.read_bytes() for path in (self.home / "connectors").glob("*.toml")}
        about = About(action=action, case=case)
        reads = offline.open_reads(self.home)
        return make_bundle(reads, files, trust or self.trust, about, connectors, manifests_in(self.home), **more)

    @property
    def size(self) -> int:
        """How many entries the log has."""
        return parse(parse_note(offline.log_of(self.home)[0].checkpoint()).text).size

    def last_of(self, action: str) -> int:
        """The position of the last record about an action."""
        return max(each.position for each in offline.open_reads(self.home).records(action=action))

    def fall_behind(self, size: int, *witnesses: WitnessKey, seconds: int = COSIGNED) -> None:
        """Has witnesses cosign the checkpoint over the first `size` entries, and nothing after that."""
        files, _ = offline.log_of(self.home)
        root = root_of(size, TileHashes(self.size, fetching(files)))
        key = LogKey.parse((self.home / "keys" / "log.key").read_text())
        text = Checkpoint(key.name, size, root).encode()
        lines = (key.sign(text), *(each.cosign(text, seconds) for each in witnesses))
        (self.home / "log" / "checkpoint.witnessed").write_bytes(Note(text, lines).encode())

    def actions(self) -> int:
        """How many actions the store has."""
        return len(offline.open_reads(self.home).actions(Query(limit=10_000)))


@pytest.fixture(scope="session")
def told(templates: Templates) -> Iterator[Told]:
    """A case in which the agent read, isolated by itself, asked for a yes twice, and was forbidden once."""
    template = templates.get({name: manifest(name) for name in LAB}, {})
    folder = short_folder()
    found = Told(template.copy(folder))
    run_apart(_happen(found))
    yield found
    shutil.rmtree(folder, ignore_errors=True)


async def _happen(told: Told) -> None:
    async with Gateway.on(told.practice) as gateway:
        agent = await gateway.open("WS-014", "k.adeyemi", case=CASE)
        read = await agent.call("edr__host_status", host="WS-014")
        evidence = (read.result.meta or {})["remit/evidence"]["id"]
        reasons = {
            "summary": HOSTILE,
            "signals": [{"says": "the sensor says so", "evidence": evidence}, {"says": HOSTILE, "evidence": "ev_none"}],
            "confidence": 0.9,
            "alternatives": ["wait"],
        }
        isolated = await agent.call("edr__isolate_host", host="WS-014", rationale=reasons)
        assert isolated.done, isolated.text
        told.isolated = isolated.action
        told.disabled = await _asked(gateway, agent, "approve")
        told.rejected = await _asked(gateway, agent, "reject")
        forbidden = await agent.change("edr__isolate_host", host="DC-01")
        assert forbidden.state == "blocked", forbidden.text
        told.forbidden = forbidden.action


async def _asked(gateway: Gateway, agent: Agent, verb: str) -> str:
    tool = "idp__disable_account" if verb == "approve" else "idp__enable_account"
    waiting = await gateway.waiting(agent, tool, account="k.adeyemi")
    await gateway.vote(waiting.action, verb)
    await waiting.call
    return waiting.action
