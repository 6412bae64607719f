from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.shimming import build_shim
from tests.support.fixtures import make as make
from tests.support.fixtures import templates as templates


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What stands between a process and its files (`shim.c`), built."""
    yield build_shim(tmp_path_factory.mktemp("shim"))
