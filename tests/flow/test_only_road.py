"""There is one way to a connector: an action that the steward proposed, with an intent, and an outcome."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import remit
from remit.model.words import State
from tests.flow.home import Files
from tests.flow.world import World

SOURCE = Path(remit.__file__).parent
CALLERS = {"flow/carrying.py"}
"""Who calls `Connectors.call`. Its adapter passes the call on to one of its own connectors."""


def _calls_a_connector(tree: ast.AST) -> bool:
    """Whether something in it is called by the name `call` and given `handed_over`, as only `Connectors.call` is."""
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and any(keyword.arg == "handed_over" for keyword in node.keywords)
        and node.func.attr == "call"
        for node in ast.walk(tree)
    )


def _names(tree: ast.AST, name: str) -> bool:
    return any(isinstance(node, ast.Attribute) and node.attr == name for node in ast.walk(tree))


def _modules() -> dict[str, ast.AST]:
    paths = {path.relative_to(SOURCE).as_posix(): path for path in SOURCE.rglob("*.py")}
    return {name: ast.parse(path.read_text()) for name, path in paths.items()}


@pytest.mark.promise("P2")
def test_only_the_carrier_calls_a_connector_and_only_the_steward_carries() -> None:
    modules = _modules()
    outside = {name: tree for name, tree in modules.items() if not name.startswith("adapters/connectors/")}
    assert {name for name, tree in outside.items() if _calls_a_connector(tree)} == CALLERS
    assert {name for name, tree in modules.items() if _names(tree, "carry")} == {"flow/steward.py"}


@pytest.mark.promise("P2")
@pytest.mark.promise("P1")
async def test_whatever_remit_asks_for_itself_is_an_action_with_an_intent_and_an_outcome() -> None:
    world = await World.begin(files=Files(preconditions=True))
    run = await world.open("WS-1", "SRV-1")  # lookups
    await world.do(run, "edr__isolate_host", host="WS-1")  # preconditions
    await world.approve(await world.do(run, "edr__isolate_host", host="SRV-1"))
    world.lab.next("isolate_host", "lost")
    lost = await world.do(run, "edr__isolate_host", host="WS-1", reason="again")
    await world.settling.ask(lost.id, "bob")  # the status tool
    await world.settling.undo(lost.id, "bob", "benign")
    await world.settle_down()
    assert len(world.lab.calls) >= 8
    assert world.lab.violations == []
    assert {action for action, *_ in world.lab.calls} == {each.id for each in world.actions(State.DONE, State.FAILED)}
    for action, *_ in world.lab.calls:
        assert world.kinds(action)[:1] == ["proposal"]
        assert {"intent", "outcome"} <= {*world.kinds(action)}
