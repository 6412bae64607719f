"""A folder with a path that is short enough for sockets."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="rd-"))
    yield made.resolve()
    shutil.rmtree(made, ignore_errors=True)
