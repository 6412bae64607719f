"""The home folder: where everything is, what may be read by whom, and its lock.

What lives here: paths, modes, atomic writes, the lock. What never may: the meaning of a file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import msgspec

from remit.adapters.disk import read
from remit.model.errors import Fault, Misuse

PRACTICE_STAMP = "PRACTICE"
MARKER = "STOP"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who this home is. `id` is random and in everything that is signed for it."""

    id: str
    created: int
    practice: bool = False


@dataclass(frozen=True)
class Home:
    """A home folder by its path; nothing is read until asked."""

    path: Path

    @property
    def settings(self) -> Path:
        """`remit.toml`, the node's settings."""
        return self.path / "remit.toml"

    @property
    def boundary(self) -> Path:
        """`boundary.toml`, the leader's file."""
        return self.path / "boundary.toml"

    @property
    def people(self) -> Path:
        """`people.toml`, the roster."""
        return self.path / "people.toml"

    @property
    def inventory(self) -> Path:
        """`inventory.csv`, the targets."""
        return self.path / "inventory.csv"

    @property
    def connectors(self) -> Path:
        """The folder of connector files."""
        return self.path / "connectors"

    @property
    def keys(self) -> Path:
        """The folder of the home's own keys, mode 0700."""
        return self.path / "keys"

    @property
    def log_key(self) -> Path:
        """The verifier keys of the log, as auditors are given them: two while the key is being replaced, else one."""
        return self.keys / "log.pub"

    @property
    def state(self) -> Path:
        """The folder of what Remit itself keeps, mode 0700."""
        return self.path / "state"

    @property
    def store(self) -> Path:
        """The database."""
        return self.state / "remit.db"

    @property
    def index(self) -> Path:
        """What finds records; it can be lost and built anew."""
        return self.state / "index.db"

    @property
    def latch(self) -> Path:
        """The latch file, outside the store."""
        return self.state / "latch"

    @property
    def marker(self) -> Path:
        """The `STOP` file: while it is there, everything is stopped."""
        return self.path / MARKER

    @property
    def run(self) -> Path:
        """The folder of sockets and the lock."""
        return self.path / "run"

    @property
    def control_socket(self) -> Path:
        """Where people's commands come in."""
        return self.run / "control.sock"

    @property
    def agents_socket(self) -> Path:
        """Where the stdio bridges of agents come in."""
        return self.run / "agents.sock"

    def signatures(self, file: Path) -> dict[str, bytes]:
        """The signature files beside a file, by the name between: `boundary.toml.NAME.sig`."""
        found = {}
        for path in sorted(file.parent.glob(f"{file.name}.*.sig")):
            found[path.name.removeprefix(f"{file.name}.").removesuffix(".sig")] = read(path)
        return found

    def identity(self) -> Identity:
        """Who this home is. Raises `Misuse` where the folder is no home."""
        path = self.state / "home.json"
        if not path.exists():
            raise Misuse(f"`{self.path}` is not a Remit home", hint=f"`remit init {self.path}` makes one")
        return msgspec.json.decode(read(path), type=Identity)

    def key(self, name: str) -> bytes:
        """One of the home's own keys. Raises `Fault` where it is missing or readable by others."""
        path = self.keys / name
        data = read(path)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise Fault(f"the key `{name}` can be read by others", hint=f"chmod 600 {path}")
        return data

    def readable_by_others(self) -> str:
        """Empty, or what about the home's modes lets another user read it."""
        mode = stat.S_IMODE(self.path.stat().st_mode)
        if mode & 0o077:
            return f"the home's mode is {mode:04o}; other users can look into it (chmod 700)"
        return ""


class Lock:
    """Who runs on this home. Held by one process at a time; the kernel lets go when it ends, however it ends."""

    def __init__(self, home: Home) -> None:
        self._path = home.run / "lock"
        self._descriptor: int | None = None

    def take(self, what: str) -> None:
        """Take it, or raise `Fault` naming who has it or what keeps the file from being opened."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise Fault(f"the home's lock `{self._path}` cannot be opened ({why})", hint="look at the disk") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
            os.close(descriptor)
            raise Fault(
                f"this home is in use by {holder}", hint="one gateway per home; `remit status` asks the one that runs"
            ) from None
        self._descriptor = descriptor
        with contextlib.suppress(OSError):  # a full disk: it is held all the same
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{what}, process {os.getpid()}\n".encode(), 0)

    def held(self) -> bool:
        """Whether another process has it, now."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def free(self) -> None:
        """Let go. Idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
