"""`kill -9` around the end of an action with secret arguments, then a restart: they are gone as soon as it has ended,
from every file."""

from __future__ import annotations

import contextlib
import json
import sqlite3

import pytest

from tests.faults.checks import intended_once
from tests.support.fixtures import Make
from tests.support.gateway import Gateway, eventually, give_up
from tests.support.home import Practice, manifest

SECRET = "plantedsecret7792"
HOST, ACCOUNT = "WS-014", "k.adeyemi"
SECRETS = {'reason = "prose"': 'reason = "secret"'}

# Point, which passing after the vote was sent, and how often the connector has had the call after the restart. Three
# commits follow a vote: the vote itself, the intent, and the outcome, which removes the secret arguments.
POINTS = [
    ("before_commit", 1, 0),
    ("approved", 1, 1),
    ("before_commit", 2, 1),
    ("after_commit_before_ack", 2, 0),
    ("answered", 1, 1),
    ("before_commit", 3, 1),
    ("after_commit_before_ack", 3, 1),
    ("purge_pages_given_back", 1, 1),
    ("purge_log_emptied", 1, 1),
    ("keys_new_key_made", 1, 1),
    ("keys_file_replaced", 1, 1),
    ("keys_old_key_destroyed", 1, 1),
    ("purge_keys_destroyed", 1, 1),
]


def rows(practice: Practice, statement: str, *values: str) -> list[tuple[bytes]]:
    with contextlib.closing(sqlite3.connect(practice.home / "state" / "remit.db", timeout=5)) as connection:
        return connection.execute(statement, values).fetchall()


def sealed(practice: Practice, action: str) -> bytes:
    """The beginning of the sealed secret arguments; empty where the row is gone."""
    found = rows(practice, "SELECT sealed FROM payloads WHERE id = ?", f"{action}.secrets")
    return bytes(found[0][0][:32]) if found else b""


def holding(practice: Practice, word: bytes) -> set[str]:
    """The files of a home that hold this word."""
    found = set()
    for path in practice.home.rglob("*"):
        with contextlib.suppress(OSError):  # a directory, a socket, or a file that was renamed meanwhile
            found |= {path.name} if word in path.read_bytes() else set()
    return found


def epoch_keys(practice: Practice) -> set[str]:
    kept: dict[str, str] = json.loads((practice.home / "keys" / "payload-keys").read_bytes())["keys"]
    return set(kept.values())


def given(practice: Practice) -> list[str]:
    """The reasons that the directory was given."""
    return [each["arguments"]["reason"] for each in practice.effects() if each["tool"] == "disable_account"]


@pytest.mark.parametrize(
    ("point", "passing", "times"), POINTS, ids=[f"{point}-{number}" for point, number, _ in POINTS]
)
async def test_secret_arguments_are_gone_after_kill_9_as_soon_as_their_action_has_ended(
    make: Make, point: str, passing: int, times: int
) -> None:
    practice = make(files={"idp": manifest("idp", replace=SECRETS)})
    gateway = await Gateway.start(practice)
    try:
        agent = await gateway.open(HOST)
        waiting = await gateway.waiting(agent, "idp__disable_account", account=ACCOUNT, reason=SECRET)
        before, keys = sealed(practice, waiting.action), epoch_keys(practice)
        assert holding(practice, before)
        vote = await gateway.vote_on(waiting.action)
        gateway.arm(point, passing)
        with contextlib.suppress(ConnectionError, ValueError):
            await gateway.ask("decide", **vote)
        await gateway.died()
        await give_up(waiting.call)
    finally:
        gateway.disarm()
        await gateway.end()
    async with Gateway.on(practice) as gateway:
        if practice.records("vote") == []:
            assert sealed(practice, waiting.action) == before
            await gateway.vote(waiting.action)
            times = 1
        await eventually(lambda: sealed(practice, waiting.action) == b"", "its action had ended")
        await eventually(lambda: rows(practice, "SELECT slot FROM doomed_keys") == [], "its key was destroyed")
        assert holding(practice, before) == set()
        assert not epoch_keys(practice) & keys
        assert given(practice) == [SECRET] * times
        assert holding(practice, SECRET.encode()) == set()
        assert intended_once(practice, waiting.action)
