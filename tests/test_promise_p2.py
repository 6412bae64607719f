"""The only way to a connector is the steward's: read from the source, so that a shortcut fails before it runs.

And what is on record stays on record: no statement of the store changes or removes one, and the database refuses it.
"""

from __future__ import annotations

import ast
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

import remit
from remit.adapters.store import statements
from remit.adapters.store.sqlite import open_store

SOURCE = Path(remit.__file__).resolve().parent
CARRYING = "flow/carrying.py"

# Calls named `call` whose receiver is no connector: an agent's own door, and the layers below `Carrier` themselves.
KNOWN = {
    ("flow/carrying.py", "self._connectors"),  # the one way out
    ("adapters/connectors/running.py", "known"),  # the way out, one layer down
    ("flow/agent_side.py", "self._own"),  # Remit's own four tools
    ("doors/gateway/exchange.py", "self._agent_side"),  # the agents' door into the flow
    ("flow/settling.py", "support"),  # the arguments of a supporting call, a value
    ("flow/own.py", "support"),
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield path.relative_to(SOURCE).as_posix(), ast.parse(path.read_text())


def receivers(tree: ast.Module, method: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method:
            yield ast.unparse(node.func.value)


@pytest.mark.promise("P2")
def test_only_the_steward_s_carrier_calls_a_connector() -> None:
    unknown = {
        (name, receiver)
        for name, tree in sources()
        for receiver in receivers(tree, "call")
        if (name, receiver) not in KNOWN
    }
    assert not unknown, "these call something: is it a connector, past the steward?"
    carried = [name for name, tree in sources() for found in receivers(tree, "call") if "_connectors" in found]
    assert carried == [CARRYING]


@pytest.mark.promise("P2")
def test_only_the_node_and_the_carrier_hold_the_connectors() -> None:
    """Whoever has the port `Connectors` could call; besides the carrier, only severing has it."""
    holders = {
        name
        for name, tree in sources()
        if name.startswith(("flow/", "doors/"))
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "remit.flow.ports"
        for alias in node.names
        if alias.name == "Connectors"
    }
    assert holders == {CARRYING, "flow/in_flight.py"}
    in_flight = ast.parse((SOURCE / "flow/in_flight.py").read_text())
    used = {
        node.attr
        for node in ast.walk(in_flight)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self._connectors"
    }
    assert used == {"sever"}


@pytest.mark.promise("P2")
def test_nothing_but_the_connector_layer_speaks_the_protocol_upstream() -> None:
    """`tools/call` is written by the layer that talks to connectors, and read by the doors that agents come in by."""
    for name, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and node.value == "tools/call":
                assert name.startswith(("adapters/connectors/", "doors/gateway/")), name
    for name, tree in sources():
        if name.startswith("doors/gateway/"):
            imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
            assert not any(module.startswith("remit.adapters") for module in imported), name


@pytest.mark.promise("P2")
def test_a_carried_action_is_started_only_where_its_intent_was_written() -> None:
    starters = {
        name
        for name, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "carry"
    }
    assert starters == {"flow/steward.py"}


@pytest.mark.promise("P12")
def test_no_statement_of_the_store_changes_or_removes_a_record() -> None:
    texts = [value for value in vars(statements).values() if isinstance(value, str)]
    for path in (SOURCE / "adapters" / "store").glob("*.py"):
        constants = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
        texts += [value for value in constants if isinstance(value, str)]
    forbidden = re.compile(r"\b(update|delete\s+from|replace\s+into|drop\s+table)\s+records\b", re.IGNORECASE)
    assert not [text for text in texts if forbidden.search(text)]


@pytest.mark.promise("P12")
def test_the_database_itself_refuses_to_change_or_remove_a_record(tmp_path: Path) -> None:
    path = tmp_path / "remit.db"
    open_store(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(statements.append(1), (0, "test", 1, "", "", "", b"{}", b"x" * 32))
        for attempt in ("UPDATE records SET data = x'00'", "DELETE FROM records"):
            with pytest.raises(sqlite3.Error):
                connection.execute(attempt)
        assert connection.execute("SELECT data FROM records").fetchall() == [(b"{}",)]
    finally:
        connection.close()
