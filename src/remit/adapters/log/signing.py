"""The log's signer: it signs only what extends what it signed last.

What lives here: the log's keys, and the last signed checkpoint, in a folder outside the store. What never may: trust in
who asks. The signer checks with a consistency proof, against the root in its own memory, that nothing that was signed
before is changed or missing. So neither a second process nor a store from a backup gets a fork signed.

INVARIANT: no signature leaves before the checkpoint that it is under is durable in `log-signed`. One at a time, under
a lock that all processes see.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from remit.adapters.disk import sync_folder, write
from remit.gates.log import checkpoints
from remit.gates.log.checkpoints import Checkpoint
from remit.gates.log.merkle import EMPTY_ROOT, NotProven, check_consistency
from remit.gates.log.notes import LogKey, Note, VerifierKey, parse_note
from remit.model.errors import Fault, Misuse, NotVerified, Refusal

KEY = "log.key"
NEXT_KEY = "log.key.next"
SIGNED = "log-signed"
LOCK = "log-signed.lock"
SEED_SIZE = 32


class Diverged(Refusal):
    """What is to be signed does not extend what was signed last: a fork, or less than was there. Nothing was signed."""


class Overtaken(Fault):
    """Somebody else had a checkpoint signed meanwhile. Nothing was signed; look at the last one and extend that."""


class Signer(Protocol):
    """Who signs. Methods raise `Fault` where the signer cannot be asked or its own files fail."""

    def last(self) -> bytes:
        """The last signed checkpoint, a note."""
        ...

    def sign(self, old: int, proof: Sequence[bytes], text: str) -> bytes:
        """The note of the checkpoint `text`, which the consistency `proof` shows to extend the last one, of `old`
        entries. The last checkpoint itself can be asked for again. Raises `Diverged` and `Overtaken`."""
        ...

    def close(self) -> None:
        """Let go of what is held open."""
        ...


class LocalSigner:
    """A `Signer` on a folder that holds the key and the memory. Safe to share between threads and processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._known: tuple[object, list[LogKey]] = (None, [])  # the keys, and their files' marks. Guarded by _lock
        self._mine = b""  # the memory as it was last written or verified here. Guarded by _lock

    def last(self) -> bytes:
        """See `Signer`."""
        with self._alone():
            keys = self._keys()
            data = self._remembered(keys[0])
            checkpoints.opened(data, _verifiers(keys))
            return data

    def sign(self, old: int, proof: Sequence[bytes], text: str) -> bytes:
        """See `Signer`. Raises `BadNote` for a text that is no checkpoint of this log."""
        with self._alone():
            keys = self._keys()
            data = self._remembered(keys[0])
            if data != self._mine:
                checkpoints.opened(data, _verifiers(keys))
            last = parse_note(data)
            before, new = checkpoints.parse(last.text), checkpoints.parse(text)
            if new != before:
                _expect_extension(before, old, new, proof)
            elif {(line.name, line.key_id) for line in last.lines} == {_called(key) for key in keys}:
                return data
            note = Note(text, tuple(key.sign(text) for key in keys)).encode()
            write(self._folder / signed_name(new.origin), note)
            self._mine = note
            return note

    def close(self) -> None:
        """See `Signer`."""

    def verifiers(self) -> tuple[VerifierKey, ...]:
        """The public halves of the keys that sign now. Raises `Fault`."""
        return _verifiers(self._keys())

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with self._lock:
            try:
                descriptor = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise _fault("the signer's lock cannot be opened", error) from None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            except OSError as error:
                raise _fault("the signer's folder failed", error) from None
            except NotVerified as error:
                raise _damaged(self._folder, error) from None
            finally:
                os.close(descriptor)

    def _remembered(self, key: LogKey) -> bytes:
        name = signed_name(key.name)
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            raise Fault(
                f"the last signed checkpoint, `{name}`, is missing in `{self._folder}`",
                hint="put it back; without it nobody can tell an extension from a fork, so nothing is signed",
            ) from None

    def _keys(self) -> list[LogKey]:
        """The keys that sign now. They are read again when one of their files is another one than before."""
        marks = tuple(_mark(self._folder / name) for name in (KEY, NEXT_KEY))
        if self._known[0] != marks or marks[0] is None:
            self._known, self._mine = (marks, self._read_keys()), b""
        return self._known[1]

    def _read_keys(self) -> list[LogKey]:
        keys = [_private(self._folder / KEY)]
        if (self._folder / NEXT_KEY).exists():
            keys.append(_private(self._folder / NEXT_KEY))
        if len({key.name for key in keys}) > 1:
            raise Fault(f"`{KEY}` and `{NEXT_KEY}` are of different logs", hint="remove the one that is not this log's")
        return keys


def found_log(folder: Path, origin: str, seed: bytes) -> VerifierKey:
    """Make a log's key and its memory, which begins with the empty log, signed. Returns the key's public half.

    `seed` is 32 random bytes. Raises `Misuse` where there is a key already, `OSError` where the disk refuses.
    """
    if (folder / KEY).exists() or (folder / SIGNED).exists():
        raise Misuse(f"there is a log's key in `{folder}` already")
    key = LogKey.generate(origin, seed)
    write(folder / signed_name(origin), _empty(key))
    write(folder / KEY, f"{key.text}\n".encode())
    return key.verifier


def next_key(folder: Path, seed: bytes) -> LogKey:
    """A key for the log that follows the one in this folder, whose origin ends in the next number. Writes nothing."""
    home, _, number = _private(folder / KEY).name.partition("/")[2].partition("/")
    return LogKey.generate(f"remit/{home}/{int(number or 1) + 1}", seed)


def begin_epoch(folder: Path, key: LogKey) -> None:
    """Let `key` sign a log of its own from now on, from the empty one. The memory of the log before stays, its key is
    destroyed: nothing is ever signed under that origin again. Raises `OSError`."""
    write(folder / signed_name(key.name), _empty(key))
    (folder / NEXT_KEY).unlink(missing_ok=True)
    write(folder / KEY, f"{key.text}\n".encode())  # from here on


def forget_older_logs(public: Path, keys: Sequence[VerifierKey]) -> None:
    """Let the file of verifier keys name those of the log that signs now (`keys`) alone, where it names them and older
    ones: a crash came between the new log's beginning and the end of the old one. Never adds one. Raises `OSError`."""
    known = public.read_text("ascii").split()
    origins = {key.name for key in keys}
    kept = [line for line in known if line.partition("+")[0] in origins]
    if kept and kept != known:
        write(public, "".join(f"{line}\n" for line in kept).encode(), 0o644)


def signed_name(origin: str) -> str:
    """The file in which the signer of a log remembers: `log-signed`, `log-signed-2` for a home's second log."""
    parts = origin.split("/")
    return SIGNED if len(parts) < 3 else f"{SIGNED}-{parts[-1]}"


def _empty(key: LogKey) -> bytes:
    text = Checkpoint(key.name, 0, EMPTY_ROOT).encode()
    return Note(text, (key.sign(text),)).encode()


def begin_rotation(folder: Path, seed: bytes) -> tuple[VerifierKey, VerifierKey]:
    """Let a second key sign beside the first from now on. Returns the old and the new one's public half.

    Raises `Misuse` while a rotation is under way, `Fault`.
    """
    if (folder / NEXT_KEY).exists():
        raise Misuse("the key is being replaced already", hint="`remit log key --rotate end` ends it")
    old = _private(folder / KEY)
    key = LogKey.generate(old.name, seed)
    write(folder / NEXT_KEY, f"{key.text}\n".encode())
    return old.verifier, key.verifier


def end_rotation(folder: Path) -> tuple[VerifierKey, VerifierKey]:
    """Let the second key sign alone, and destroy the first. Returns the old and the new one's public half.

    Raises `Misuse` where no rotation is under way, or no checkpoint carries both signatures yet: without one, nobody
    could tell that the new key is the successor of the old one.
    """
    if not (folder / NEXT_KEY).exists():
        raise Misuse("the key is not being replaced", hint="`remit log key --rotate begin` begins it")
    old, new = _private(folder / KEY).verifier, _private(folder / NEXT_KEY).verifier
    last = checkpoints.opened(LocalSigner(folder).last(), [old, new])
    if {each.key for each in last.signed} != {old, new}:
        raise Misuse(
            "no checkpoint carries the signatures of both keys yet",
            hint="with the gateway running, let it record something, then end the rotation",
        )
    (folder / NEXT_KEY).replace(folder / KEY)
    sync_folder(folder)
    return old, new


def _expect_extension(last: Checkpoint, old: int, new: Checkpoint, proof: Sequence[bytes]) -> None:
    if new.origin != last.origin:
        raise Misuse(f"the checkpoint is of log `{new.origin}`, expected `{last.origin}`")
    if new.size < last.size:
        raise Diverged(f"the log would shrink from {last.size:,} entries, which were signed, to {new.size:,}")
    if new.size == last.size:
        raise Diverged(f"another log of {new.size:,} entries was signed: the records differ")
    if old != last.size:
        raise Overtaken(f"a checkpoint of {last.size:,} entries was signed meanwhile, expected one of {old:,}")
    try:
        check_consistency(last.size, last.root, new.size, new.root, proof)
    except NotProven as error:
        raise Diverged(f"the log does not extend what was signed: {error.message}") from None


def _mark(path: Path) -> object:
    """What changes when a file is replaced, written or opened to others; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_mode


def _private(path: Path) -> LogKey:
    try:
        data = path.read_bytes()
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise _fault(f"the log's key `{path}` cannot be read", error) from None
    if mode & 0o077:
        raise Fault(f"the log's key `{path.name}` can be read by others", hint=f"chmod 600 {path}")
    return LogKey.parse(data.decode("ascii", "replace"))


def _verifiers(keys: Sequence[LogKey]) -> tuple[VerifierKey, ...]:
    return tuple(key.verifier for key in keys)


def _called(key: LogKey) -> tuple[str, bytes]:
    return key.name, key.verifier.key_id


def _fault(says: str, error: OSError) -> Fault:
    return Fault(f"{says} ({(error.strerror or str(error)).lower()})", hint="look at the disk and the folder's owner")


def _damaged(folder: Path, error: NotVerified) -> Fault:
    return Fault(f"the signer's files in `{folder}` do not fit together: {error.message}", hint=error.hint)
