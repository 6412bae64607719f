"""The worlds of the flow's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.flow.world import World, sqlite_world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A world in memory. Whatever a test does with it, the lab must have seen nothing without a durable intent."""
    made = await World.begin()
    yield made
    assert made.lab.violations == []


@pytest.fixture(params=["memory", "sqlite"])
async def any_world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """The same on both stores."""
    if request.param == "memory":
        made = await World.begin()
        yield made
        assert made.lab.violations == []
        return
    async with sqlite_world(tmp_path) as found:
        yield found
        assert found.lab.violations == []
