"""Fixtures that the tests of the real process share. A `conftest.py` imports them by name."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.gateway import Gateway
from tests.support.home import LAB, Practice, build, manifest, run_apart

Make = Callable[..., Practice]
Prepare = Callable[[Practice], None]


def short_folder() -> Path:
    """A new folder with a path short enough for sockets."""
    return Path(tempfile.mkdtemp(prefix="rt", dir="/tmp" if Path("/tmp").is_dir() else None)).resolve()


class Templates:
    """Homes whose tools are accepted, by what they were made with."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._made: dict[str, Practice] = {}

    def get(
        self, connectors: Mapping[str, bytes], boundary: Mapping[str, str], prepare: Prepare | None = None
    ) -> Practice:
        """The template for these files; made, prepared and accepted at the first time."""
        key = repr((sorted(connectors.items()), sorted(boundary.items()), prepare))
        if key not in self._made:
            practice = build(Path(tempfile.mkdtemp(dir=self._root)), connectors, boundary=boundary)
            if prepare is not None:
                prepare(practice)
            run_apart(_accepted(practice))
            self._made[key] = practice
        return self._made[key]


async def _accepted(practice: Practice) -> None:
    async with Gateway.on(practice) as gateway:
        await gateway.accept_tools()


@pytest.fixture(scope="session")
def templates() -> Iterator[Templates]:
    """The homes of this session."""
    root = short_folder()
    yield Templates(root)
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def make(templates: Templates) -> Iterator[Make]:
    """Makes a fresh home: `make("edr", files={…}, boundary={…})`, with the lab's connectors of these names (all that
    most tests need, where none is named) and connector files of the test's own."""
    folders: list[Path] = []

    def fresh(
        *names: str,
        files: Mapping[str, bytes] | None = None,
        boundary: Mapping[str, str] | None = None,
        prepare: Prepare | None = None,
        without_lab: bool = False,
    ) -> Practice:
        lab = () if without_lab else names or LAB
        connectors = {name: manifest(name) for name in lab} | dict(files or {})
        template = templates.get(connectors, boundary or {}, prepare)
        folders.append(short_folder())
        return template.copy(folders[-1])

    yield fresh
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
