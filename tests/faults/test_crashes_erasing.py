"""`kill -9` at every point of an erasure, then a restart: it is whole, or it never was, and what is gone is gone from
every file."""

from __future__ import annotations

import contextlib
import json
import sqlite3

import pytest

from remit.adapters.index.bits import Terms
from tests.support.fixtures import Make
from tests.support.gateway import Gateway, eventually, statement
from tests.support.home import Practice

REASON = "plantedreason7782"

# point, which passing after the order was sent (accepting it is the first commit), whether it stands after the restart
POINTS = [
    ("before_begin", 2, False),
    ("after_step", 2, False),
    ("before_commit", 2, False),
    ("after_commit_before_ack", 2, True),
    ("purge_pages_given_back", 1, True),
    ("purge_log_emptied", 1, True),
    ("keys_new_key_made", 1, True),
    ("keys_file_replaced", 1, True),
    ("keys_old_key_destroyed", 1, True),
    ("purge_keys_destroyed", 1, True),
]


def sealed(practice: Practice, proposal: str) -> bytes:
    """The beginning of a proposal's sealed bytes; empty where the row is gone."""
    with contextlib.closing(sqlite3.connect(practice.home / "state" / "remit.db")) as connection:
        row = connection.execute("SELECT sealed FROM proposals WHERE id = ?", (proposal,)).fetchone()
    return bytes(row[0][:32]) if row else b""


def holding(practice: Practice, *words: bytes) -> set[str]:
    """The files of a home that hold one of these words."""
    found = set()
    for path in practice.home.rglob("*"):
        with contextlib.suppress(OSError):  # a directory, a socket, or a file that was renamed meanwhile
            data = path.read_bytes()
            found |= {path.name for word in words if word in data}
    return found


def token(practice: Practice) -> bytes:
    """The planted word as the index keeps it."""
    hashed = Terms((practice.home / "keys" / "names.key").read_bytes()).of(f"word={REASON}")
    return hashed.to_bytes(8, "big", signed=True)


def epoch_keys(practice: Practice) -> list[str]:
    kept: dict[str, str] = json.loads((practice.home / "keys" / "payload-keys").read_bytes())["keys"]
    return list(kept.values())


@pytest.mark.parametrize(("point", "passing", "stands"), POINTS, ids=[point for point, *_ in POINTS])
async def test_an_erasure_that_kill_9_broke_off_is_finished_at_the_next_start(
    make: Make, point: str, passing: int, stands: bool
) -> None:
    practice = make("edr")
    gateway = await Gateway.start(practice)
    try:
        agent = await gateway.open("WS-014")
        answer = await agent.call("edr__isolate_host", host="WS-014", rationale={"summary": REASON})
        assert answer.done, answer.text
        proposal = f"{answer.action}.proposal"
        await eventually(lambda: holding(practice, token(practice)), "the index had learned the word")
        before, keys = sealed(practice, proposal), epoch_keys(practice)
        assert holding(practice, before)
        gateway.arm(point, passing)
        parameters = {"ids": [answer.action], "reason": "they asked", "basis": "GDPR 17"}
        order = statement(practice, "erase", "auditor", parameters)
        with contextlib.suppress(ConnectionError, ValueError):
            await gateway.ask("signed", **order)
        await gateway.died()
    finally:
        gateway.disarm()
        await gateway.end()
    async with Gateway.on(practice):
        assert len(practice.records("erased")) == stands
        if not stands:
            assert sealed(practice, proposal) == before
            return
        assert sealed(practice, proposal) == b""
        assert holding(practice, before) == set()
        assert not set(epoch_keys(practice)) & set(keys)
        assert len(epoch_keys(practice)) == 1
        await eventually(lambda: not holding(practice, token(practice)), "the index had forgotten")
