"""A node's process that does a day's work and acknowledges each step on standard output: `python working.py HOME PART`.

Run under `shim.c`, so that its trace has every write, every sync and every acknowledgement in their order. Parts: `day`
(runs, reads, changes, a vote, a stop, an erasure, a replaced key), `anew` (a person begins another log).
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from remit.adapters.store import sqlite
from remit.adapters.store import statements as sql
from remit.doors.control.commands import Commands
from remit.flow.answers import Answer
from remit.model.words import Run
from remit.node import Node
from remit.offline import rotate_log_key
from tests.support.gateway import ballot, statement
from tests.support.home import Practice

READS = 40
WHY = {"rationale": {"summary": "what the events say"}}


class Work:
    """One node at work."""

    def __init__(self, practice: Practice, node: Node) -> None:
        self.practice = practice
        self.node = node
        self.commands = Commands(node, patience=10.0)

    def acknowledge(self, what: str, **more: Any) -> None:
        """Say that something is done. What readers see is durable, so how many records they see is said too."""
        line = {"what": what, "records": self.node.store.reads.counts()["records"], **more}
        os.write(1, json.dumps(line).encode() + b"\n")

    async def signed(self, command: str, person: str = "operator", **parameters: Any) -> dict[str, Any]:
        return await self.commands.dispatch(
            "signed", dict(statement(self.practice, command, person, parameters)), "somebody"
        )

    async def call(self, run: Run, name: str, arguments: dict[str, Any]) -> Answer:
        answer = await self.node.agents.call(run, name, arguments, hold=20.0)
        self.acknowledge("ended", action=answer.action, state=str(answer.state))
        return answer

    async def day(self) -> None:
        """Everything that writes."""
        opened = await self.signed("run.open", agent="triage", case="CASE-1", targets=["WS-014", "k.adeyemi"])
        self.acknowledge("opened", run=opened["run"])
        run = self.node.agents.authenticate(opened["token"])
        await asyncio.gather(*(self.call(run, "edr__list_hosts", {}) for _ in range(READS // 2)))
        isolated = await self.call(run, "edr__isolate_host", {"host": "WS-014", **WHY})
        await self.approved(run)
        await self.stopped()
        await self.erased(isolated.action)
        await self.replaced_key()
        for _ in range(READS // 2):
            await self.call(run, "edr__list_hosts", {})
        await self.signed("run.close", run=opened["run"])
        self.acknowledge("closed", run=opened["run"])

    async def approved(self, run: Run) -> None:
        """A change that a human approves."""
        call = asyncio.create_task(self.call(run, "idp__disable_account", {"account": "k.adeyemi", **WHY}))
        (waiting,) = await until(lambda: self.commands_status()["waiting"], "it waited")
        card = await self.commands.dispatch("card", {"action": waiting["action"]}, "somebody")
        vote = ballot(self.practice, card, "approve", "approver")
        await self.commands.dispatch("decide", dict(vote), "somebody")
        self.acknowledge("voted", action=waiting["action"])
        await call

    def commands_status(self) -> dict[str, Any]:
        waiting = [each for each in self.practice.actions("disable_account") if each["state"] == "awaiting_approval"]
        return {"waiting": [{"action": each["id"]} for each in waiting]}

    async def stopped(self) -> None:
        """A stop of another agent, and its end."""
        told = self.commands.stop({"scope": "agent", "name": "hunt"}, "somebody")
        self.acknowledge("stopped", stop=told["stop"])
        self.acknowledge("resuming", stop=told["stop"])
        await self.signed("resume", "on-call", stops=[told["stop"]], reason="it is over")

    async def erased(self, action: str) -> None:
        """The action's payloads are erased; what they were sealed as is said before."""
        found = self.node.store.reads.action(action)
        assert found is not None
        connection = sqlite3.connect(f"file:{self.node.home.store}?mode=ro", uri=True)
        sealed = []
        for payload in (f"{action}.proposal", found.result):
            tables = sql.payload_tables(payload)
            for name, kind, slot, data in connection.execute(sql.payload(tables), (payload,) * len(tables)):
                sealed.append([name, kind, slot, data.hex()])
        connection.close()
        assert len(sealed) == 2
        await self.signed("erase", "auditor", ids=[action], reason="asked to", basis="GDPR 17(1)(a)")
        self.acknowledge("erased", sealed=sealed)

    async def replaced_key(self) -> None:
        """The log's key is replaced, from the beginning to the end."""
        rotate_log_key(self.practice.home, begin=True, folder=None)
        self.acknowledge("replacing")
        await self.signed("run.open", agent="triage", case="CASE-2", targets=["WS-014"])
        await self.logged()
        rotate_log_key(self.practice.home, begin=False, folder=None)
        self.acknowledge("replaced")

    async def anew(self) -> None:
        """Another log is begun, because the store is not the one that was signed."""
        await until(lambda: self.node.log.diverged, "it was noticed")
        await self.signed("log.continue", "leader", reason="the disk was restored")
        self.acknowledge("continued")
        await self.logged()
        await self.signed("resume", "on-call", stops=["stp_log"], reason="the log goes on as another one")
        self.acknowledge("resumed")
        await self.signed("run.open", agent="triage", case="CASE-3", targets=["WS-014"])

    async def logged(self) -> None:
        """Wait until every record is under a checkpoint."""
        await until(lambda: self.node.log.state.size >= self.node.store.reads.counts()["records"], "it was logged")
        self.acknowledge("logged", size=self.node.log.state.size)


async def until(holds: Callable[[], Any], what: str) -> Any:
    """What `holds` returns once it is true, bounded."""
    async with asyncio.timeout(20.0):
        while not (found := holds()):
            await asyncio.sleep(0.005)
    return found


async def main(home: Path, part: str) -> None:
    sqlite._PAGES_BETWEEN_CHECKPOINTS = 300  # so that there are some
    node = await Node.start(home)
    work = Work(Practice(home.parent), node)
    work.acknowledge("started")
    try:
        await (work.day() if part == "day" else work.anew())
        await work.logged()
    finally:
        await node.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
