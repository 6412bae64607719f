"""Reading a log from a folder or a web address, without trusting what is there.

What lives here: fetching files, with bounds on their sizes. What never may: belief in them: who reads checks hashes and
signatures. Where a partial file is gone, the full one that took its place is read (tlog-tiles, "Partial Tiles").
"""

from __future__ import annotations

import abc
import contextlib
import http.client
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from remit.adapters.log.folder import CHECKPOINT, WITNESSED
from remit.gates.log.tiles import MAX_ENTRY, WIDTH, Tile, decode_entries, entries_path
from remit.model.errors import Fault, Misuse

HASH = 32
_MOST_NOTE = 64 * 1024
_MOST_BUNDLE = WIDTH * (MAX_ENTRY + 2)
_SECONDS = 20.0


class Missing(Fault):
    """A file of the log is not there."""


class LogSource(Protocol):
    """Where a log is read. Methods raise `Missing` where the file is not there, and `Fault` where it cannot be read."""

    def checkpoint(self) -> bytes:
        """The newest signed checkpoint: a note's bytes."""
        ...

    def witnessed(self) -> bytes:
        """The newest checkpoint that as many witnesses cosigned as the log asks for: a note's bytes."""
        ...

    def tile(self, level: int, index: int, width: int = WIDTH) -> bytes:
        """The first `width` hashes of a tile, 32 bytes each; a shorter answer is what the file holds."""
        ...

    def entries(self, index: int, width: int = WIDTH) -> bytes:
        """The bundle that holds the entries `256 * index` and on, at least `width` of them if it is whole."""
        ...


class _Files(abc.ABC):
    """What folder and web address share: the names, and partial files that are gone."""

    def checkpoint(self) -> bytes:
        """See `LogSource`."""
        return self._fetch(CHECKPOINT, _MOST_NOTE)

    def witnessed(self) -> bytes:
        """See `LogSource`."""
        return self._fetch(WITNESSED, _MOST_NOTE)

    def tile(self, level: int, index: int, width: int = WIDTH) -> bytes:
        """See `LogSource`."""
        names = [Tile(level, index, width).path, Tile(level, index, WIDTH).path]
        return self._first(names, WIDTH * HASH)[: width * HASH]

    def entries(self, index: int, width: int = WIDTH) -> bytes:
        """See `LogSource`."""
        return self._first([entries_path(index, width), entries_path(index, WIDTH)], _MOST_BUNDLE)

    def _first(self, names: list[str], most: int) -> bytes:
        try:
            return self._fetch(names[0], most)
        except Missing:
            if names[0] == names[1]:
                raise
            with contextlib.suppress(Missing):
                return self._fetch(names[1], most)
            raise

    @abc.abstractmethod
    def _fetch(self, name: str, most: int) -> bytes:
        """The bytes of a file, `most` at most. Raises `Missing`, and `Fault` where nothing can be read at all."""


class FolderSource(_Files):
    """A log in a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _fetch(self, name: str, most: int) -> bytes:
        try:
            with (self._path / name).open("rb") as file:
                data = file.read(most + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise Missing(f"the log in `{self._path}` has no file `{name}`") from None
        except OSError as error:
            raise Fault(f"`{self._path / name}` cannot be read ({error.strerror})") from None
        return _bounded(data, most, name)


class WebSource(_Files):
    """A log below a URL. Its bytes prove themselves, so plain `http` is no worse than `https` for truth. Not safe to
    share between threads: it keeps one connection open."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise Misuse(f"`{url}` is not the address of a log", hint="expected `https://host/path` or a folder")
        self._url = url
        self._base = parts.path.rstrip("/")
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context()
            self._connection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=_SECONDS, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_SECONDS)

    def _fetch(self, name: str, most: int) -> bytes:
        try:
            status, data = self._get(name, most)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            status, data = self._again(name, most)  # a kept connection may have been closed meanwhile
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Fault(f"`{self._url}` cannot be read ({error})") from None
        if status in (404, 410):
            raise Missing(f"the log at `{self._url}` has no file `{name}`")
        if status != 200:
            raise Fault(f"`{self._url}/{name}` cannot be read (status {status})")
        return _bounded(data, most, name)

    def _again(self, name: str, most: int) -> tuple[int, bytes]:
        self._connection.close()
        try:
            return self._get(name, most)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Fault(f"`{self._url}` cannot be read ({error})") from None

    def _get(self, name: str, most: int) -> tuple[int, bytes]:
        self._connection.request("GET", f"{self._base}/{name}", headers={"Accept-Encoding": "identity"})
        answer = self._connection.getresponse()
        data = answer.read(most + 1)
        if not answer.isclosed():
            self._connection.close()  # more than anybody asked for is not read to its end
        return answer.status, data


def open_source(where: str) -> LogSource:
    """The log at a URL (`http://…`, `https://…`) or in a folder. Raises `Misuse` for an address that is none."""
    return WebSource(where) if "://" in where else FolderSource(Path(where).expanduser())


def entries(source: LogSource, size: int, start: int = 0) -> Iterator[bytes]:
    """The entries from `start` up to a tree's `size`, in order, one bundle in memory at a time.

    Raises what the source raises, `Missing` too for a bundle that holds fewer entries than the size needs, and
    `Misuse` of `decode_entries` for one that is none.
    """
    for index in range(start // WIDTH, -(-size // WIDTH)):
        wanted = min(WIDTH, size - index * WIDTH)
        found = decode_entries(source.entries(index, wanted))[:wanted]
        if len(found) < wanted:
            raise Missing(f"the bundle `{entries_path(index, wanted)}` holds {len(found)} entries, expected {wanted}")
        yield from found[max(0, start - index * WIDTH) :]


def _bounded(data: bytes, most: int, name: str) -> bytes:
    if len(data) > most:
        raise Fault(f"`{name}` is longer than such a file can be (more than {most:,} bytes)")
    return data
