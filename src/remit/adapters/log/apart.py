"""The signer as a process of its own, under another user: both ends of its unix socket.

What lives here: framing, who may ask, and carrying questions and answers. What never may: a decision to sign (that is
`signing`'s, on the signer's side, against the signer's own memory).

A message is its length in 4 bytes, big-endian, and JSON, at most 64 KiB. Whoever may ask can have extensions of the log
signed, and nothing else: so only the users that the operator names may, by what the kernel says of the other end.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import logging
import select
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from remit.adapters.log.signing import Diverged, LocalSigner, Overtaken
from remit.model.errors import Fault, RemitError

MOST = 64 * 1024
SECONDS = 1.5
_IDLE_SECONDS = 3600.0
_MOST_CONNECTIONS = 16
_MOST_HASHES = 128  # a proof between trees of up to 2**63 leaves has fewer
log = logging.getLogger("remit.log")


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`do` is `last`, or `sign` with the rest; `proof` as base64."""

    do: str
    old: int = 0
    proof: tuple[str, ...] = ()
    text: str = ""


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`note`, or why there is none: `error` is `diverged`, `overtaken` or `fault`."""

    note: str = ""
    error: str = ""
    says: str = ""


_questions = msgspec.json.Decoder(Question)
_answers = msgspec.json.Decoder(Answer)


class Garbled(Exception):
    """The other end does not speak this protocol, or is gone."""


class RemoteSigner:
    """A `Signer` on the other end of a socket. Any failure closes the connection; the next question makes a new one."""

    def __init__(self, path: Path, *, seconds: float = SECONDS) -> None:
        self._path = path
        self._seconds = seconds
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None  # guarded by _lock

    def last(self) -> bytes:
        """See `Signer`."""
        return self._ask(Question("last"))

    def sign(self, old: int, proof: Sequence[bytes], text: str) -> bytes:
        """See `Signer`. Safe to repeat where the answer was lost: the same checkpoint can be asked for again."""
        return self._ask(Question("sign", old, tuple(base64.b64encode(each).decode() for each in proof), text))

    def close(self) -> None:
        """See `Signer`."""
        with self._lock:
            self._hang_up()

    def _ask(self, question: Question) -> bytes:
        with self._lock:
            try:
                answer = self._exchange(msgspec.json.encode(question))
            except (OSError, Garbled, msgspec.DecodeError) as error:
                self._hang_up()
                raise Fault(
                    f"the log's signer at `{self._path}` does not answer ({str(error).lower()})",
                    hint="start it again: `remit log signer`",
                ) from None
        if answer.error:
            kind = {"diverged": Diverged, "overtaken": Overtaken}.get(answer.error, Fault)
            raise kind(answer.says)
        return answer.note.encode()

    def _exchange(self, data: bytes) -> Answer:
        if self._connection is not None and select.select([self._connection], [], [], 0)[0]:
            self._hang_up()  # nothing was asked, so what can be read is the end of a signer that was restarted
        if self._connection is None:
            self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._connection.settimeout(self._seconds)
            self._connection.connect(str(self._path))
        _send(self._connection, data)
        return _answers.decode(_receive(self._connection))

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class SignerServer:
    """Answers on the socket for a `LocalSigner`. Only processes of the users `allowed` (numbers) are answered."""

    def __init__(self, path: Path, signer: LocalSigner, allowed: frozenset[int]) -> None:
        """Raises `Fault` where the socket cannot be made, or a signer answers there already."""
        self._path = path
        self._signer = signer
        self._allowed = allowed
        self._slots = threading.Semaphore(_MOST_CONNECTIONS)
        self._listener = _listen(path)

    def serve(self) -> None:
        """Answer until `close`, each connection on a thread of its own."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if not self._slots.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._converse, args=(connection,), name="remit-signer", daemon=True).start()

    def close(self) -> None:
        """End `serve`, and remove the socket."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _converse(self, connection: socket.socket) -> None:
        with self._slot(), connection:
            user = _user_of(connection)
            if user not in self._allowed:
                log.warning("user %d asked the signer and may not", user)
                return
            connection.settimeout(_IDLE_SECONDS)
            try:
                while True:
                    answer = self._answer(_questions.decode(_receive(connection)))
                    _send(connection, msgspec.json.encode(answer))
            except (OSError, Garbled, msgspec.DecodeError) as error:
                log.debug("a connection to the signer ended: %s", error)

    @contextlib.contextmanager
    def _slot(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._slots.release()

    def _answer(self, question: Question) -> Answer:
        try:
            return Answer(note=self._do(question).decode())
        except Diverged as error:
            log.error("refused to sign: %s", error.message)
            return Answer(error="diverged", says=error.message)
        except Overtaken as error:
            return Answer(error="overtaken", says=error.message)
        except RemitError as error:
            return Answer(error="fault", says=error.message)

    def _do(self, question: Question) -> bytes:
        if question.do == "last":
            return self._signer.last()
        if question.do != "sign" or len(question.proof) > _MOST_HASHES:
            raise Garbled(f"there is no such question: {question.do[:20]!r}")
        try:
            proof = [base64.b64decode(each, validate=True) for each in question.proof]
        except (binascii.Error, ValueError):
            raise Garbled("a hash that is not base64") from None
        return self._signer.sign(question.old, proof, question.text)


def _listen(path: Path) -> socket.socket:
    """A listening socket that everybody can reach: who may ask is decided by the other end's user."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                if probe.connect_ex(str(path)) == 0:
                    raise Fault(f"a signer answers at `{path}` already", hint="one signer for one log")
            path.unlink()
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen(_MOST_CONNECTIONS)
    except OSError as error:
        listener.close()
        raise Fault(f"the socket `{path}` cannot be made ({(error.strerror or str(error)).lower()})") from None
    except BaseException:
        listener.close()
        raise
    return listener


def _user_of(connection: socket.socket) -> int:
    """The user of the process at the other end, as the kernel says (unix(7), SO_PEERCRED)."""
    size = struct.calcsize("3i")
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(user)


def _send(connection: socket.socket, data: bytes) -> None:
    if len(data) > MOST:
        raise Garbled(f"a message of {len(data)} bytes, expected at most {MOST}")
    connection.sendall(len(data).to_bytes(4, "big") + data)


def _receive(connection: socket.socket) -> bytes:
    length = int.from_bytes(_exactly(connection, 4), "big")
    if not 0 < length <= MOST:
        raise Garbled(f"a message of {length} bytes, expected 1 to {MOST}")
    return _exactly(connection, length)


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = connection.recv(size)
        if not part:
            raise Garbled("the other end is gone")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
