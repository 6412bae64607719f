"""What a verifier is given of the world: a log's files, and of a home its own log, keys and payloads.

What lives here: putting readers into the shapes that `flow.auditing` asks for. What never may: a check.
"""

from __future__ import annotations

from pathlib import Path

from remit.adapters.home.folder import Home
from remit.adapters.home.settings import load_settings
from remit.adapters.log.reading import LogSource, Missing, open_source
from remit.gates.log.notes import VerifierKey
from remit.gates.log.tiles import Bundle, Tile
from remit.model.errors import Misuse


class SourceFiles:
    """`flow.auditing.files.LogFiles` over a folder or a web address: what is not there is None."""

    def __init__(self, source: LogSource) -> None:
        self._source = source

    def checkpoint(self) -> bytes:
        """See `LogFiles`."""
        try:
            return self._source.checkpoint()
        except Missing:
            return b""

    def witnessed(self) -> bytes:
        """See `LogFiles`."""
        try:
            return self._source.witnessed()
        except Missing:
            return b""

    def tile(self, tile: Tile) -> bytes | None:
        """See `LogFiles`."""
        try:
            return self._source.tile(tile.level, tile.index, tile.width)
        except Missing:
            return None

    def bundle(self, bundle: Bundle) -> bytes | None:
        """See `LogFiles`."""
        try:
            return self._source.entries(bundle.index, bundle.width)
        except Missing:
            return None


def files_at(where: str) -> SourceFiles:
    """The log in a folder or below a URL. Raises `Misuse` where there can be none."""
    if "://" not in where and not Path(where).expanduser().is_dir():
        raise Misuse(f"`{where}` is not there, expected a log's folder", hint="or a URL, like `https://host/log`")
    return SourceFiles(open_source(where))


def home_log(home: Home) -> tuple[SourceFiles, tuple[VerifierKey, ...]]:
    """A home's own log and the keys that its notes must fit. Raises `Misuse` where the home has no log yet."""
    from remit.adapters.log.writing import folder_of

    try:
        lines = home.log_key.read_text().split()
    except OSError as error:
        why = (error.strerror or "it failed").lower()
        raise Misuse(f"the key of the home's log, `{home.log_key}`, cannot be read: {why}") from None
    keys = tuple(VerifierKey.parse(line) for line in lines)
    folder = folder_of(load_settings(home).log_folder, keys[0].name)
    return files_at(str(folder)), keys
