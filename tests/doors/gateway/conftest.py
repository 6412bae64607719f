from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.doors.gateway.double import Doors, open_doors


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path fits into a unix socket's address."""
    with tempfile.TemporaryDirectory(prefix="remit-") as folder:
        yield Path(folder)


@pytest.fixture
async def doors(short_path: Path) -> AsyncIterator[Doors]:
    async with open_doors(short_path) as opened:
        yield opened
