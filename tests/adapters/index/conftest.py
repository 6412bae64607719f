"""A past, and an index over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from remit.adapters.index.following import SearchIndex
from remit.flow.queries import Stories
from remit.flow.searching import Search
from tests.flow.past import NAMES, Past

KEY = b"k" * 32  # the key that `NAMES` has


@pytest.fixture
def past() -> Past:
    return Past()


@pytest.fixture
def index(past: Past, tmp_path: Path) -> Iterator[SearchIndex]:
    made = SearchIndex(tmp_path / "index.db", KEY, past.store.reads)
    yield made
    made.close()


@pytest.fixture
def stories(past: Past, index: SearchIndex) -> Stories:
    return Stories(past.store.reads, searching=Search(past.store.reads, index, NAMES))
