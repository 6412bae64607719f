"""The journal as it grows, seen from outside, while an agent does its worst."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from tests.support.gateway import PATIENCE, Gateway
from tests.support.home import Practice

SERVED = {"REMIT_TEST_SERVED_LOOP": "yes"}
"""The gateway runs on the event loop that `remit gateway` takes: how connections end is that one's doing."""


class Watched:
    """The journal of one run."""

    def __init__(self, practice: Practice, run: str) -> None:
        self._practice = practice
        self._run = run
        self._seen = len(practice.records())

    def new(self) -> list[dict[str, Any]]:
        """The run's records since the last look; the client's own name aside, which is written when it can be."""
        found = self._practice.records()[self._seen :]
        self._seen += len(found)
        return self._own(found)

    async def ended(self, least: int = 0) -> Counter[str]:
        """Wait until at least so many actions were proposed and everything that was intended has its outcome. Returns
        how many records of each kind there are since the last look."""
        until = asyncio.get_running_loop().time() + PATIENCE
        while True:
            kinds = Counter(each["kind"] for each in self._own(self._practice.records()[self._seen :]))
            if kinds["proposal"] >= least and kinds["intent"] == kinds["outcome"]:
                self.new()
                return kinds
            assert asyncio.get_running_loop().time() < until, kinds
            await asyncio.sleep(0.02)

    def _own(self, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [each for each in found if each.get("run") == self._run and each["kind"] != "run.client"]


async def under_a_checkpoint(gateway: Gateway) -> None:
    """Wait until every record is under a signed checkpoint."""
    until = asyncio.get_running_loop().time() + PATIENCE
    while True:
        log = (await gateway.ask("status"))["log"]
        if log["size"] >= log["records"] and not log["trouble"]:
            return
        assert asyncio.get_running_loop().time() < until, log
        await asyncio.sleep(0.02)
