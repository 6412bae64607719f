"""Both stores, for tests of the behaviour that they share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from remit.adapters.store.memory import MemoryStore
from remit.adapters.store.sqlite import open_store
from remit.flow.ports import Store


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else open_store(tmp_path / "remit.db")
    yield made
    made.close()
