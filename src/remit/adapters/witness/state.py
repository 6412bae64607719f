"""A witness's folder: its key, the logs that it knows, and for each the last checkpoint that it cosigned.

What lives here: deciding on a submission, and remembering it. What never may: HTTP, and trust in whoever submits: a
checkpoint counts because its log signed it and a proof shows that it extends the one in this memory.

    witness.key    the private key, 0600
    witness.pub    the verifier key, for whoever verifies
    logs           one verifier key of a log in each line; `#` begins a remark
    seen/          one file for each log: the last checkpoint that was cosigned

INVARIANT: no cosignature leaves before the checkpoint that it is under is durable in `seen`, and it is written only
over the one that was compared with, under a lock that all processes see. So of two histories of a log, only the one
that came first is ever cosigned.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from remit.adapters.disk import read, sync_folder, write
from remit.gates.log import checkpoints
from remit.gates.log.checkpoints import Checkpoint, Opened
from remit.gates.log.merkle import EMPTY_ROOT, NotProven, check_consistency
from remit.gates.log.notes import (
    LOG,
    BadNote,
    BadSignature,
    Note,
    SignatureLine,
    VerifierKey,
    WitnessKey,
    parse_note,
)
from remit.gates.log.submissions import BadSubmission, Submission
from remit.model.display import shown
from remit.model.errors import Fault, Misuse, NotVerified, RemitError
from remit.model.signatures import NotAKey

KEY, PUBLIC, LOGS, SEEN, LOCK = "witness.key", "witness.pub", "logs", "seen", "lock"


class UnknownLog(NotVerified):
    """The checkpoint is of a log that this witness does not know. Nothing was cosigned."""


class NotSigned(NotVerified):
    """No key that this witness knows of the log signed the checkpoint. Nothing was cosigned."""


class Conflict(NotVerified):
    """The log is at another size here, `size`, or has another root at that size. Nothing was cosigned."""

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.size = size


class NotExtended(NotVerified):
    """The proof does not show that the checkpoint extends the last one here. Nothing was cosigned."""


class Witness:
    """A witness on its folder. Safe to share between threads and processes."""

    def __init__(self, folder: Path) -> None:
        """Raises `Fault` where the folder holds no key, or its key or logs are damaged or open to others."""
        self._folder = folder
        self._lock = threading.Lock()
        self._key = _private(folder / KEY)
        self.logs()

    @property
    def verifier(self) -> VerifierKey:
        """The public half of the witness's key."""
        return self._key.verifier

    def logs(self) -> tuple[VerifierKey, ...]:
        """The keys of the logs that it knows, read anew each time. Raises `Fault`."""
        lines = read(self._folder / LOGS).decode("utf-8", "replace").splitlines()
        texts = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        try:
            keys = tuple(map(log_key, texts))
        except RemitError as error:
            raise Fault(f"the witness's file `{LOGS}` is damaged: {error.message}", hint=error.hint) from None
        return keys

    def size(self, origin: str) -> int:
        """The size of the last checkpoint of a log that it cosigned, 0 where there is none. Raises `Fault`."""
        with self._alone():
            return self._last(origin).size

    def cosign(self, submission: Submission, seconds: int) -> bytes:
        """The signature line over the submitted checkpoint, made at `seconds` since the epoch.

        Raises `BadSubmission` for one that is none, `UnknownLog`, `NotSigned`, `Conflict`, `NotExtended`: then nothing
        was cosigned or remembered. Raises `Fault` where the folder fails: then nothing was cosigned, and it may have
        been remembered, which does no harm: the same checkpoint can be asked for again.
        """
        found = self._opened(submission.note)
        new = found.checkpoint
        if submission.old > new.size:
            raise BadSubmission(f"the old size {submission.old:,} is more than the checkpoint's, {new.size:,}")
        with self._alone():
            last = self._last(new.origin)
            _expect_extension(last, submission, new)
            line = self._key.cosign(found.note.text, seconds)
            self._remember(new.origin, Note(found.note.text, (*_of_log(found), line)).encode())
        return line.encode().encode()

    def _opened(self, note: bytes) -> Opened:
        try:
            checkpoint = checkpoints.parse(parse_note(note).text)
        except BadNote as error:
            raise BadSubmission(f"the checkpoint cannot be read: {error.message}") from None
        keys = [key for key in self.logs() if key.name == checkpoint.origin]
        if not keys:
            raise UnknownLog(f"the log {shown(checkpoint.origin)} is not known here")
        try:
            return checkpoints.opened(note, keys)
        except BadSignature as error:
            raise NotSigned(error.message) from None

    # --- the memory -----------------------------------------------------------------------------------------------

    def _last(self, origin: str) -> Checkpoint:
        """The last checkpoint of a log that was cosigned. What lies there must bear this witness's own signature."""
        path = self._path(origin)
        if not path.exists():
            return Checkpoint(origin, 0, EMPTY_ROOT)
        note = parse_note(read(path))
        mine = [line for line in note.lines if line.key_id == self.verifier.key_id and line.name == self.verifier.name]
        if not mine:
            raise BadSignature("it does not bear this witness's signature")
        self.verifier.check(note.text, mine[0])
        last = checkpoints.parse(note.text)
        if last.origin != origin:
            raise BadNote(f"it is of log {shown(last.origin)}")
        return last

    def _remember(self, origin: str, note: bytes) -> None:
        folder = self._folder / SEEN
        if not folder.exists():
            folder.mkdir(mode=0o700)
            sync_folder(self._folder)
        write(self._path(origin), note)

    def _path(self, origin: str) -> Path:
        return self._folder / SEEN / hashlib.sha256(origin.encode()).hexdigest()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with self._lock:
            try:
                descriptor = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise Fault(f"the witness's lock cannot be opened ({error.strerror})") from None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            except OSError as error:
                raise Fault(f"the witness's folder failed ({error.strerror})") from None
            except (BadNote, BadSignature) as error:
                raise Fault(
                    f"what this witness remembers is damaged: {error.message}",
                    hint="nothing more of that log is cosigned; find out who changed the folder",
                ) from None
            finally:
                os.close(descriptor)


def make_witness(folder: Path, name: str, logs: Sequence[VerifierKey], seed: bytes) -> VerifierKey:
    """Make a witness's folder, with its key out of 32 random bytes and the logs that it knows. Returns its public key.

    Raises `Misuse` where the folder holds something already, `NotAKey` for a name that cannot be a key's, `Fault`.
    """
    key = WitnessKey.generate(name, seed)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise Misuse(f"the folder `{folder}` is not empty", hint="a witness has a folder of its own")
        folder.chmod(0o700)
        (folder / SEEN).mkdir(mode=0o700)
        write(folder / LOGS, "".join(f"{each.text}\n" for each in logs).encode())
        write(folder / PUBLIC, f"{key.verifier.text}\n".encode(), 0o644)
        write(folder / KEY, f"{key.text}\n".encode())
    except OSError as error:
        raise Fault(f"the folder `{folder}` cannot be made ({error.strerror})") from None
    return key.verifier


def log_key(text: str) -> VerifierKey:
    """The verifier key of a log. Raises `NotAKey`, and `Misuse` for a witness's."""
    try:
        key = VerifierKey.parse(text)
    except NotAKey as error:  # of what may be a private key by mistake, only the name is repeated
        name, hint = text.partition("+")[0], "`remit log key` shows a log's key, one line `NAME+KEYID+KEY`"
        raise NotAKey(f"{shown(name)} is no key: {error.message}", hint=hint) from None
    if key.algorithm != LOG:
        raise Misuse(f"{shown(key.name)} is not the key of a log", hint="`remit log key` shows a log's")
    return key


def _expect_extension(last: Checkpoint, submission: Submission, new: Checkpoint) -> None:
    if submission.old != last.size:
        raise Conflict(f"the old size is {submission.old:,}, expected {last.size:,}", last.size)
    if new.size == last.size and new.root != last.root:
        raise Conflict(f"another log of {last.size:,} entries was cosigned here", last.size)
    try:
        check_consistency(last.size, last.root, new.size, new.root, submission.proof)
    except NotProven as error:
        raise NotExtended(error.message) from None


def _of_log(found: Opened) -> tuple[SignatureLine, ...]:
    signed = {(each.key.name, each.key.key_id) for each in found.signed}
    return tuple(line for line in found.note.lines if (line.name, line.key_id) in signed)


def _private(path: Path) -> WitnessKey:
    text = read(path).decode("ascii", "replace")
    if stat.S_IMODE(path.stat().st_mode) & 0o077 or stat.S_IMODE(path.parent.stat().st_mode) & 0o077:
        raise Fault(f"the witness's key `{path.name}` can be read by others", hint=f"chmod 600 {path}, 700 its folder")
    try:
        return WitnessKey.parse(text)
    except RemitError as error:
        raise Fault(f"the witness's key `{path.name}` is damaged: {error.message}") from None
