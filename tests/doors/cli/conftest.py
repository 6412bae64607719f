"""Homes to run commands on, and the command line as a function."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from remit.doors.cli.main import main
from tests.support.fixtures import make, short_folder, templates
from tests.support.home import Practice, build

__all__ = ["make", "templates"]


class Line:
    """The command line on one home: the exit code of the last command, and what it printed."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self._capsys = capsys
        self.out = ""
        self.err = ""

    def __call__(self, *words: str) -> int:
        try:
            code = main([words[0], "--home", str(self.home), *words[1:]])
        except SystemExit as ended:
            code = int(ended.code or 0)
        self.out, self.err = self._capsys.readouterr()
        return code

    def json(self, *words: str) -> Any:
        """The answer as JSON."""
        self(*words, "--json")
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A person without a home, a key or a run of their own."""
    for name in ("REMIT_HOME", "REMIT_KEY", "REMIT_TOKEN", "REMIT_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path fits into a unix socket's address."""
    folder = short_folder()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def practice(short_path: Path) -> Practice:
    """A practice home without connectors."""
    return build(short_path, {})


@pytest.fixture
def line(practice: Practice, capsys: pytest.CaptureFixture[str]) -> Line:
    return Line(practice.home, capsys)


@pytest.fixture
def line_on(capsys: pytest.CaptureFixture[str]) -> Callable[[Path], Line]:
    """Makes the command line on another home."""
    return lambda home: Line(home, capsys)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address below which a web server gives out the test's folder."""
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(10)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""
