"""One node on a practice home without connectors, and its commands as the control socket would bring them."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator

import pytest

from remit.doors.control.commands import Commands
from remit.node import Node
from tests.support.fixtures import short_folder
from tests.support.gateway import statement
from tests.support.home import Practice, build


class Desk:
    """People at the control door of one node."""

    def __init__(self, practice: Practice, node: Node) -> None:
        self.practice = practice
        self.node = node
        self.commands = Commands(node, patience=5.0)

    async def ask(self, method: str, **params: object) -> dict[str, object]:
        return await self.commands.dispatch(method, params, "somebody")

    async def signed(self, command: str, person: str = "operator", **parameters: object) -> dict[str, object]:
        return await self.ask("signed", **statement(self.practice, command, person, parameters))


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    root = short_folder()
    practice = build(root, {})
    node = await Node.start(practice.home)
    try:
        yield Desk(practice, node)
    finally:
        await node.close()
        shutil.rmtree(root, ignore_errors=True)
