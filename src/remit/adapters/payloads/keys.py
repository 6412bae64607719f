"""The payloads' own keys: one for each payload, wrapped, in slots of files that live apart from the database.

What lives here: `epoch-NNNNNN` files of slots, taking fresh keys from them, finding and destroying keys. What never
may: a payload's bytes, the database.

A file is a header of 96 bytes and then slots of 32 bytes: each a key, encrypted with AES-256-CTR under the epoch's key
at the slot's own place in the key stream. A slot of zeros was destroyed. Chunks of slots are made ahead and are durable
before one of them is handed out, so taking a key writes nothing. There is nothing to authenticate here: a changed slot
is another key, which opens nothing, because payloads are sealed with an authenticated cipher.

INVARIANT: a slot is handed out once. What is on disk already when a process makes a chunk is never handed out by it.
INVARIANT: destroying a key re-keys its epoch: survivors are wrapped anew under a fresh epoch key and the old one is
destroyed, so that older copies of the file stay closed. The header names the epoch's key, so the file says which of
two is good, and every key that no file names is garbage after a crash.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import itertools
import logging
import os
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from remit.adapters.disk import sync_folder
from remit.adapters.payloads.keepers import KEY_BYTES, KeyKeeper, overwrite, replace
from remit.model.errors import Fault
from remit.model.words import SECOND, Instant

_LOG = logging.getLogger(__name__)

SLOT_BYTES = KEY_BYTES
EPOCH_SLOTS = 65_536
"""Slots of one epoch: its file has 2 MiB, which one erasure in it writes anew."""

EPOCH_AGE: Instant = 7 * 24 * 3600 * SECOND
FIRST_CHUNK = 64
"""Slots that a process makes at first: most commands without a gateway need one."""

CHUNK = 4096
"""The most that it makes at once. Half of them last longer than making more does, however fast they are taken."""

_SHIFT = 24
_HEADER = struct.Struct(">14s34sQ8x")  # and its HMAC under the epoch's key
_HEADER_BYTES = _HEADER.size + 32
_MAGIC = b"remit-epoch-1\n"
_ZEROS = bytes(SLOT_BYTES)
Points = Callable[[str], None]


class KeyGone(Exception):
    """The key was destroyed: what it sealed was erased or pruned."""


class _Wrapping:
    """One epoch's key at work: a key stream for wrapping, and the mark by which its header is known."""

    def __init__(self, key: bytes) -> None:
        self._stream = hmac.digest(key, b"remit/payload-keys/v1/stream", hashlib.sha256)
        self._mark = hmac.digest(key, b"remit/payload-keys/v1/header", hashlib.sha256)

    def turn(self, data: bytes, index: int) -> bytes:
        """Wrap keys, or unwrap slots, that begin at this place."""
        start = (index * (SLOT_BYTES // 16)).to_bytes(16, "big")
        return Cipher(algorithms.AES(self._stream), modes.CTR(start)).encryptor().update(data)

    def marked(self, fields: bytes) -> bytes:
        """A header with its mark."""
        return fields + hmac.digest(self._mark, fields, hashlib.sha256)


class _Chunk:
    """Keys that are on disk and were not handed out yet. Nothing is made of them until one is taken: whoever makes a
    chunk ahead has the interpreter for itself meanwhile, and a call would wait for it."""

    def __init__(self, first: int, keys: bytes) -> None:
        self.count = len(keys) // KEY_BYTES
        self._first = first
        self._keys = keys
        self._numbers = itertools.count()  # whoever gets a number owns that key: `next` is atomic

    def take(self) -> tuple[int, int, bytes] | None:
        """How many were taken before, a slot and its key; None where all were."""
        number = next(self._numbers)
        if number >= self.count:
            return None
        return number, self._first + number, self._keys[KEY_BYTES * number : KEY_BYTES * (number + 1)]


class _Header(NamedTuple):
    """What an epoch's file says of itself: the name of its key in the keeper, and when it began."""

    key_name: str
    began: Instant
    raw: bytes


def slot_number(epoch: int, index: int) -> int:
    """What a payload's row says of its key: the epoch, and the place in its file."""
    return epoch << _SHIFT | index


class Keyring:
    """See the module. Any thread may take, find and destroy; other processes may at the same time."""

    def __init__(
        self,
        folder: Path,
        keeper: KeyKeeper,
        *,
        now: Callable[[], Instant],
        epoch_slots: int = EPOCH_SLOTS,
        epoch_age: Instant = EPOCH_AGE,
        point: Points | None = None,
    ) -> None:
        self._folder = folder
        self._keeper = keeper
        self._now = now
        self._epoch_slots = epoch_slots
        self._epoch_age = epoch_age
        self._point: Points = point or (lambda _: None)
        self._chunk = _Chunk(0, b"")  # replaced under _lock
        self._ahead: _Chunk | None = None  # guarded by _lock
        self._size = FIRST_CHUNK  # of the next chunk; guarded by _lock
        self._lock = threading.Lock()
        self._wrappings: dict[str, _Wrapping] = {}  # by the name of the epoch's key; a cache
        self._closed = False

    # --- taking --------------------------------------------------------------------------------------------------

    def take(self) -> tuple[int, bytes]:
        """A slot and its key, both never used before. Raises `Fault` or `OSError` where no more can be made."""
        while True:
            chunk = self._chunk
            taken = chunk.take()
            if taken is None:
                with self._lock:
                    if self._chunk is chunk:
                        self._chunk = self._ahead or self._made()
                        self._ahead = None
                continue
            number, slot, key = taken
            if number == chunk.count // 2:
                threading.Thread(target=self._make_ahead, name="remit-payload-keys", daemon=True).start()
            return slot, key

    def _make_ahead(self) -> None:
        try:
            with self._lock:
                if not self._closed and self._ahead is None:
                    self._ahead = self._made()
        except (OSError, Fault) as error:
            _LOG.warning("keys for payloads could not be made ahead: %s", error)

    def _made(self) -> _Chunk:
        with self._alone():
            epoch, wrapping, start = self._current()
            count = min(self._size, self._epoch_slots - start)
            keys = os.urandom(KEY_BYTES * count)
            _write_at(self._path(epoch), wrapping.turn(keys, start), _offset(start))
        self._size = min(CHUNK, self._size * 4)
        return _Chunk(slot_number(epoch, start), keys)

    def _current(self) -> tuple[int, _Wrapping, int]:
        """The epoch that takes new slots, its key, and the first place that no process has written to."""
        numbers = self.epochs()
        if numbers:
            last = numbers[-1]
            header = self._header(last)
            # A torn chunk was never handed out; its last, half-written slot is passed over.
            used = -(-(self._path(last).stat().st_size - _HEADER_BYTES) // SLOT_BYTES)
            if used < self._epoch_slots and self._now() - header.began < self._epoch_age:
                return last, self._wrapping(header, last), used
        epoch = numbers[-1] + 1 if numbers else 1
        name, wrapping = self._new_key(epoch)
        replace(self._path(epoch), wrapping.marked(_fields(name, self._now())))
        return epoch, wrapping, 0

    # --- finding -------------------------------------------------------------------------------------------------

    def key(self, slot: int) -> bytes:
        """The key in a slot. Raises `KeyGone` where it was destroyed, `Fault` where it should be there and is not, or
        the keeper's key does not open it."""
        epoch, index = slot >> _SHIFT, slot & (1 << _SHIFT) - 1
        header, wrapped = self._slot(epoch, index)
        try:
            wrapping = self._wrapping(header, epoch)
        except _NoKey:  # the epoch may have been re-keyed between the two looks
            header, wrapped = self._slot(epoch, index)
            wrapping = self._wrapping(header, epoch)
        return wrapping.turn(wrapped, index)

    def _slot(self, epoch: int, index: int) -> tuple[_Header, bytes]:
        try:
            descriptor = os.open(self._path(epoch), os.O_RDONLY | os.O_CLOEXEC)
            try:
                header = _parsed(os.pread(descriptor, _HEADER_BYTES, 0), epoch)
                wrapped = os.pread(descriptor, SLOT_BYTES, _offset(index))
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            if any(epoch < later for later in self.epochs()):
                raise KeyGone from None  # an epoch of which nothing was left
            hint = "bring `keys/` back from where it was kept; without it no payload can be read"
            raise Fault(f"the keys of the payloads of epoch {epoch} are missing", hint=hint) from None
        except OSError as error:
            says = f"the keys of the payloads of epoch {epoch} cannot be read ({(error.strerror or '').lower()})"
            raise Fault(says, hint="look at the owner of `keys/payloads`") from None
        if len(wrapped) < SLOT_BYTES:
            raise Fault(f"the keys of the payloads of epoch {epoch} are older than the database", hint=_OLDER)
        if wrapped == _ZEROS:
            raise KeyGone
        return header, wrapped

    def _wrapping(self, header: _Header, epoch: int) -> _Wrapping:
        known = self._wrappings.get(header.key_name)
        if known is None:
            key = self._keeper.key(header.key_name)
            if key is None:
                raise _NoKey(f"the key of the payloads of epoch {epoch} is missing", hint=_OLDER)
            known = _Wrapping(key)
            if not hmac.compare_digest(known.marked(header.raw[: _HEADER.size]), header.raw):
                raise Fault(f"the key of the payloads of epoch {epoch} is the wrong one", hint=_OLDER)
            self._wrappings[header.key_name] = known
        return known

    # --- destroying ----------------------------------------------------------------------------------------------

    def destroy(self, slots: Iterable[int]) -> None:
        """Destroy the keys in these slots; returns once no file of keys opens them, and no older copy of one.

        May be repeated after a crash at any point. Raises `Fault` or `OSError`; then it must be.
        """
        by_epoch: dict[int, set[int]] = defaultdict(set)
        for slot in slots:
            by_epoch[slot >> _SHIFT].add(slot & (1 << _SHIFT) - 1)
        with self._lock:
            for epoch in sorted(by_epoch):
                with self._alone():
                    self._rekey(epoch, by_epoch[epoch])

    def _rekey(self, epoch: int, doomed: set[int]) -> None:
        path = self._path(epoch)
        if not path.exists():
            return
        old, slots = self._read(epoch)
        kept = [index for index in range(len(slots) // SLOT_BYTES) if _slot_of(slots, index) != _ZEROS]
        if doomed.isdisjoint(kept):
            return
        survivors = [index for index in kept if index not in doomed]
        if not survivors and epoch != self.epochs()[-1]:
            self._point("keys_before_the_file_goes")
            _remove(path)
        else:
            keys = self._wrapping(old, epoch).turn(slots, 0)
            name, wrapping = self._new_key(epoch)
            self._point("keys_new_key_made")
            wrapped = wrapping.turn(keys, 0)
            fresh = bytearray(len(slots))  # the length stays: what was handed out once is passed over for ever
            for index in survivors:
                fresh[SLOT_BYTES * index : SLOT_BYTES * (index + 1)] = _slot_of(wrapped, index)
            replace(path, wrapping.marked(_fields(name, old.began)) + fresh)
        self._point("keys_file_replaced")
        self._keeper.destroy([old.key_name])
        self._wrappings.pop(old.key_name, None)
        self._point("keys_old_key_destroyed")

    def tidy(self) -> None:
        """Finish what a crash left: remove half-made files and destroy keys that no file names. For the one process
        that has the home's lock."""
        if not self._folder.exists():
            return
        with self._lock, self._alone():
            for path in self._folder.glob(".epoch-*.new"):
                _remove(path)
            named = {self._header(epoch).key_name for epoch in self.epochs()}
            orphans = self._keeper.names() - named
            if orphans:
                self._keeper.destroy(orphans)

    def check(self) -> None:
        """Raises `Fault` unless the newest epoch's key is there: without it, what was sealed cannot be read."""
        numbers = self.epochs()
        if not numbers:
            hint = "bring `keys/` back from where it was kept; a copy of the database alone opens nothing"
            raise Fault(f"the keys of the payloads, in `{self._folder}`, are missing", hint=hint)
        self._wrapping(self._header(numbers[-1]), numbers[-1])

    def close(self) -> None:
        """Make no more keys ahead."""
        self._closed = True

    # --- files ---------------------------------------------------------------------------------------------------

    def epochs(self) -> list[int]:
        """The numbers of the epochs whose files are there, oldest first."""
        return sorted(int(path.name.removeprefix("epoch-")) for path in self._folder.glob("epoch-*"))

    def _path(self, epoch: int) -> Path:
        return self._folder / f"epoch-{epoch:06d}"

    def _header(self, epoch: int) -> _Header:
        with self._path(epoch).open("rb") as file:
            return _parsed(file.read(_HEADER_BYTES), epoch)

    def _read(self, epoch: int) -> tuple[_Header, bytes]:
        data = self._path(epoch).read_bytes()
        whole = len(data) - (len(data) - _HEADER_BYTES) % SLOT_BYTES
        return _parsed(data[:_HEADER_BYTES], epoch), data[_HEADER_BYTES:whole]

    def _new_key(self, epoch: int) -> tuple[str, _Wrapping]:
        name = f"{epoch:06d}-{os.urandom(8).hex()}"
        wrapping = self._wrappings[name] = _Wrapping(self._keeper.create(name))
        return name, wrapping

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder against other processes that make or destroy keys in it."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


class _NoKey(Fault):
    """The keeper has no key of that name (any more)."""


_OLDER = "the files in `keys/` must be those that the database was written with; bring the newest ones back"


def _offset(index: int) -> int:
    return _HEADER_BYTES + SLOT_BYTES * index


def _slot_of(slots: bytes, index: int) -> bytes:
    return slots[SLOT_BYTES * index : SLOT_BYTES * (index + 1)]


def _fields(name: str, began: Instant) -> bytes:
    return _HEADER.pack(_MAGIC, name.encode(), began)


def _parsed(header: bytes, epoch: int) -> _Header:
    if len(header) == _HEADER_BYTES:
        magic, name, began = _HEADER.unpack_from(header)
        if magic == _MAGIC:
            return _Header(name.rstrip(b"\0").decode("ascii", "replace"), began, header)
    raise Fault(f"`epoch-{epoch:06d}` in the folder of the payloads' keys is damaged", hint=_OLDER)


def _write_at(path: Path, data: bytes, start: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        written = 0
        while written < len(data):
            written += os.pwrite(descriptor, data[written:], start + written)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        path.unlink()
        sync_folder(path.parent)
        overwrite(descriptor)
    finally:
        os.close(descriptor)
