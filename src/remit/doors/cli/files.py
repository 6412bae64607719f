"""The home's files as people write them, read for looking at. What counts is what the gateway has on record."""

from __future__ import annotations

from pathlib import Path

from remit.doors.cli.calling import file_bytes
from remit.model.manifest import Manifest, load_manifest


def manifests(home: Path) -> dict[str, Manifest]:
    """Every connector file, by name. Raises `Unreadable` for the first that is none."""
    return {path.stem: load_manifest(file_bytes(path), path.stem) for path in connector_files(home)}


def connector_files(home: Path) -> list[Path]:
    """The connector files, by name."""
    return sorted((home / "connectors").glob("*.toml"))


def signatures(path: Path) -> dict[str, bytes]:
    """The signatures beside a file, by the name between: `boundary.toml.NAME.sig`."""
    found = sorted(path.parent.glob(f"{path.name}.*.sig"))
    return {each.name.removeprefix(f"{path.name}.").removesuffix(".sig"): file_bytes(each) for each in found}
