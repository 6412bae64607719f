"""`remit log erase` and `remit log prune` on a gateway's home, with the gateway and without it: what goes and what is
refused, what the story, the searches and both verifiers say afterwards, and which files hold planted words."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from remit.adapters.index.bits import Terms
from tests.conformance.log import verifier
from tests.support.fixtures import Make
from tests.support.gateway import Agent, Gateway, Waiting, eventually, give_up, remit
from tests.support.home import Practice, manifest

ARGUMENT, REASON, RESULT = "plantedargument7781", "plantedreason7782", "plantedresult7783"
PLANTED = (ARGUMENT, REASON, RESULT)
HOST, OTHER = "WS-014", "WS-022"
BASIS = "GDPR 17(1)(a)"
WHY = ("--reason", "Ines asked for it", "--basis", BASIS)
CHATTY = f"tee /dev/stderr | {sys.executable} -u -m remit_lab.edr --state lab | sed -u s/workstation/{RESULT}/g"
"""The lab's EDR, which repeats on stderr all that it is told, and has a word of ours in its answers."""

TWO_DAYS = 2 * 24 * 3600


def chatty(practice: Practice) -> None:
    (practice.root / "chatty.sh").write_text(CHATTY)


@pytest.fixture
def practice(make: Make) -> Practice:
    """A home whose EDR talks, and which keeps proposals and what reads brought for a day."""
    made = make("idp", files={"edr": manifest("edr", command=["sh", "chatty.sh"])}, prepare=chatty)
    with (made.home / "remit.toml").open("a") as settings:
        settings.write('\n[retention]\nread_results = "1d"\nproposals = "1d"\n')
    return made


@contextlib.asynccontextmanager
async def perhaps(practice: Practice, *, serving: bool, **environment: str) -> AsyncIterator[None]:
    """The home with a gateway that serves, or without one."""
    if not serving:
        yield
        return
    async with Gateway.on(practice, **environment):
        yield


def holding(folder: Path, *words: str | bytes) -> set[str]:
    """The files below a folder that hold one of these words, write-ahead logs included. What a connector said is in one
    file or in the older one beside it, which goes by the first one's name here."""
    sought = [word.encode() if isinstance(word, str) else word for word in words]
    found = set()
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # a directory, a socket, or a file that was renamed meanwhile
            data = path.read_bytes()
            found |= {path.name.removesuffix(".1") for word in sought if word in data}
    return found


def token(practice: Practice, word: str) -> bytes:
    """A word as the index keeps it."""
    hashed = Terms((practice.home / "keys" / "names.key").read_bytes()).of(f"word={word}")
    return hashed.to_bytes(8, "big", signed=True)


def in_index(practice: Practice, *words: str) -> set[str]:
    return holding(practice.home / "state", *(token(practice, word) for word in words))


async def isolated(agent: Agent, host: str) -> str:
    """An action that was carried out, with planted words in everything that it is about."""
    answer = await agent.call("edr__isolate_host", host=host, reason=ARGUMENT, rationale={"summary": REASON})
    assert answer.done, answer.text
    assert RESULT in answer.text
    return answer.action


async def worked(practice: Practice) -> tuple[str, str]:
    """The ids of two actions of one agent, whose words the index has learned; the gateway has ended again."""
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open(HOST, OTHER)
        first = await isolated(agent, HOST)
        second = await isolated(agent, OTHER)
        await eventually(lambda: in_index(practice, REASON), "the index had learned the words")
    return first, second


async def said(practice: Practice, *words: str) -> Any:
    """What a command answers, as JSON."""
    code, out, err = await remit(practice, *words, "--json")
    assert code == 0, err or out
    return json.loads(out)


async def found(practice: Practice, word: str) -> set[str]:
    code, out, err = await remit(practice, "find", "--words", word, "--json")
    assert code in (0, 1), err
    return {each["id"] for each in json.loads(out)["actions"]}


async def verified(practice: Practice, disclosed: Path) -> None:
    """Both verifiers find nothing wrong, with the store's payloads and with everything that can be disclosed."""
    answer = await said(practice, "log", "verify")
    assert (answer["verified"], answer["findings"]) == (True, [])
    assert answer["payloads"]["not_disclosed"] == {}
    await said(practice, "log", "disclose", "-o", str(disclosed))
    assert (await said(practice, "log", "verify", "--payloads", str(disclosed)))["verified"]
    keys = (practice.home / "keys" / "log.pub").read_text().split()
    report = verifier.verify(practice.home / "log", keys, payloads=disclosed)
    assert list(report.findings) == []


# --- erasing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("serving", [True, False], ids=["with a gateway", "without one"])
async def test_an_erased_action_is_gone_everywhere_and_its_story_and_the_log_say_so(
    practice: Practice, tmp_path: Path, serving: bool
) -> None:
    action, other = await worked(practice)
    assert await found(practice, REASON) == {action, other}
    async with perhaps(practice, serving=serving):
        answer = await said(practice, "log", "erase", action, other, *WHY, "--person", "auditor")
        assert (answer["by"], answer["unfinished"], answer["keys"]) == ("auditor", "", 4)
        assert set(answer["actions"]) == {action, other}
        assert in_index(practice, *PLANTED) == set()
        assert await found(practice, REASON) == await found(practice, ARGUMENT) == set()
        code, story, _ = await remit(practice, "explain", action)
        assert code == 1, "something of the story is missing"
        assert f"erased by auditor under {BASIS}" in " ".join(story.split())
        assert "Ines asked for it" in " ".join(story.split())
        assert not any(word in story for word in PLANTED)
        assert action in {
            each["id"] for each in (await said(practice, "find", "--category", "host.isolate"))["actions"]
        }
    await verified(practice, tmp_path / "given")
    (record, _) = practice.records("erased")
    assert "Ines" not in json.dumps(practice.records())
    assert set(record["erased"]) == {each for each in answer["payloads"] if each in record["erased"]}
    assert not any(word in (tmp_path / "given").read_text() for word in PLANTED)


REFUSED = [
    (["ACTION", *WHY, "--person", "operator"], 1, "`operator` may not `erase`: that needs one of"),
    (["act_0000000000000000", *WHY], 2, "there is no `act_0000000000000000` to erase"),
    (["ACTION", "act_0000000000000000", *WHY], 2, "there is no `act_0000000000000000` to erase"),
    (["STATEMENT", *WHY], 1, "a person's signed statement proves who ordered what"),
    (["BOUNDARY", *WHY], 1, "a boundary and its signatures prove what was allowed"),
    (["ROSTER", *WHY], 1, "a roster and its signatures prove who was who"),
    (["ACTION", "--reason", "why"], 2, "--basis"),
    (["ACTION", "--basis", BASIS], 2, "--reason"),
    (["ACTION", "--reason", "", "--basis", BASIS], 2, "the command needs `reason`"),
    (["ACTION", "--reason", "why", "--basis", "because they\nasked"], 2, "expected a short citation"),
]


async def test_an_order_that_must_not_be_carried_out_is_refused_and_nothing_goes(practice: Practice) -> None:
    async with Gateway.on(practice) as gateway:
        action = await isolated(await gateway.open(HOST), HOST)
        payloads = [each for record in practice.records() for each in record.get("payloads", {})]
        names = {"ACTION": action, "STATEMENT": next(each for each in payloads if each.endswith(".statement"))}
        names |= {"BOUNDARY": next(each for each in payloads if each.startswith("bnd_"))}
        names |= {"ROSTER": next(each for each in payloads if each.startswith("ros_"))}
        for words, code, says in REFUSED:
            ended, _, err = await remit(practice, "log", "erase", *(names.get(word, word) for word in words))
            assert (ended, says in " ".join(err.split())) == (code, True), (words, err)
        assert practice.records("erased") == []
        assert holding(practice.home, ARGUMENT) == {"edr.stderr"}
        assert action in await found(practice, REASON)


async def test_an_open_action_and_an_open_run_are_kept_and_a_second_order_finds_nothing(practice: Practice) -> None:
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open(HOST)
        waiting: Waiting = await gateway.waiting(agent, "idp__disable_account", account="k.adeyemi")
        code, _, err = await remit(practice, "log", "erase", waiting.action, *WHY)
        assert (code, "needed until it has ended" in err) == (1, True), err
        code, _, err = await remit(practice, "log", "erase", agent.run, *WHY)
        assert (code, "is needed until" in err) == (1, True), err
        assert practice.records("erased") == []
        await waiting.withdraw()
        await give_up(waiting.call)
        await said(practice, "run", "close", agent.run)
        erased = await said(practice, "log", "erase", agent.run, *WHY)
        assert {f"{agent.run}.mandate", f"{waiting.action}.proposal"} <= set(erased["payloads"])
        code, _, err = await remit(practice, "log", "erase", waiting.action, *WHY)
        assert (code, "is left to erase" in err) == (1, True), err


# --- what is on disk -----------------------------------------------------------------------------------------------


async def test_no_file_of_the_home_holds_a_planted_word_but_what_connectors_said(practice: Practice) -> None:
    spoken = "edr.stderr"
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open(HOST, OTHER)
        call = asyncio.ensure_future(isolated(agent, HOST))
        while not call.done():
            assert holding(practice.home, *PLANTED) <= {spoken}
            await asyncio.sleep(0)
        action = await call
        await isolated(agent, OTHER)
        await eventually(lambda: in_index(practice, REASON), "the index had learned the words")
        assert holding(practice.home, *PLANTED) == {spoken}
        await remit(practice, "explain", action)
        await found(practice, REASON)
        await said(practice, "log", "erase", action, *WHY)
        assert holding(practice.home, *PLANTED) == set()
        await isolated(await gateway.again(agent), HOST)
    assert holding(practice.home, *PLANTED) == {spoken}


async def test_what_a_connector_said_is_emptied_where_it_runs_no_more(practice: Practice) -> None:
    action, _ = await worked(practice)
    for name in ("edr.stderr", "edr.stderr.1"):
        (practice.home / "state" / name).write_text(ARGUMENT)
    assert holding(practice.home, ARGUMENT) == {"edr.stderr"}
    await said(practice, "log", "erase", action, *WHY)
    assert holding(practice.home, ARGUMENT) == set()


# --- retention -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("serving", [True, False], ids=["with a gateway", "without one"])
async def test_what_is_over_is_pruned_at_once_and_the_index_and_the_verifiers_know(
    practice: Practice, tmp_path: Path, serving: bool
) -> None:
    action, _ = await worked(practice)
    kept = len(practice.records("proposal"))
    assert holding(practice.home, *PLANTED) == {"edr.stderr"}
    async with perhaps(practice, serving=serving, REMIT_TEST_AHEAD=str(TWO_DAYS)):
        if not serving:
            planned = await later(practice, "log", "prune", "--dry-run")
            assert {each["class"]: each["count"] for each in planned["pruned"]}["proposals"] == kept
            assert practice.records("pruned") == []
            assert in_index(practice, REASON)
        await later(practice, "log", "prune")
        assert holding(practice.home, *PLANTED) == set(), "nor does what a connector said stay"
        assert in_index(practice, *PLANTED) == set()
        assert await found(practice, REASON) == set()
        assert {record["class"] for record in practice.records("pruned")} == {"proposals", "read_results"}
        code, story, _ = await remit(practice, "explain", action)
        assert (code, REASON in story) == (1, False)
    await verified(practice, tmp_path / "given")


async def later(practice: Practice, *words: str) -> Any:
    """What a command answers two days from now, where it has to work without a gateway."""
    command = [sys.executable, "-c", LATER, *words, "--json", "--home", str(practice.home)]
    process = await asyncio.create_subprocess_exec(*command, cwd=practice.root, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, out
    return json.loads(out)


LATER = f"""
import sys, time
wall = time.time_ns
time.time_ns = lambda: wall() + {TWO_DAYS} * 10**9
from remit.doors.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
