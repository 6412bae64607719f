"""The files that people write, read as bytes from a home."""

from __future__ import annotations

from remit.adapters.disk import read, write
from remit.adapters.home.folder import Home
from remit.flow.loading import Signed
from remit.model.manifest import Manifest, load_manifest


class HomeSources:
    """Fulfils `remit.flow.reloading.Sources`."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def roster(self) -> Signed:
        """`people.toml` and the signatures beside it."""
        return Signed(read(self._home.people), self._home.signatures(self._home.people))

    def boundary(self) -> Signed:
        """`boundary.toml` and the signatures beside it."""
        return Signed(read(self._home.boundary), self._home.signatures(self._home.boundary))

    def inventory(self) -> bytes:
        """`inventory.csv`."""
        return read(self._home.inventory)

    def manifests(self) -> dict[str, Manifest]:
        """Every `connectors/NAME.toml`, by name. Raises `Unreadable` for the first that is none."""
        files = sorted(self._home.connectors.glob("*.toml"))
        return {path.stem: load_manifest(read(path), path.stem) for path in files}

    def write_lock(self, connector: str, text: str) -> None:
        """The visible copy of what was accepted; the store has the one that counts."""
        write(self._home.connectors / f"{connector}.lock", text.encode())
