"""One witness as the log talks to it: `POST URL/add-checkpoint` (c2sp.org/tlog-witness), and what its answer means.

What lives here: the request, the proof, and telling a witness that is away from one that contradicts the log. What
never may: belief in an answer that does not verify, and waiting for anything but this one witness.
"""

from __future__ import annotations

import http.client
import ssl
from urllib.parse import urlsplit

from remit.adapters.log.folder import LogFolder
from remit.adapters.log.reading import FolderSource
from remit.gates.log.checkpoints import Checkpoint
from remit.gates.log.merkle import Hashes, NotProven, check_consistency, consistency_proof, root_of
from remit.gates.log.notes import Note, SignatureLine, VerifierKey
from remit.gates.log.submissions import SIZE_TYPE, Submission, cosignatures, parse_size
from remit.gates.log.tiles import TileHashes
from remit.model.errors import Fault, Misuse, NotVerified

SECONDS = 3.0
_MOST_ANSWER = 64 * 1024


class Away(Exception):
    """The witness did not cosign this time, and may be asked again; the message says why."""


class Ahead(Exception):
    """The witness has cosigned a larger log, of `size` entries."""

    def __init__(self, size: int) -> None:
        super().__init__(f"it has seen {size:,} entries, more than are signed here: records are gone")
        self.size = size


class Contradicted(Exception):
    """The witness has cosigned another history of this log."""


class Submitter:
    """Talks to one witness. Owned by one thread; keeps one connection open."""

    def __init__(self, url: str, key: VerifierKey) -> None:
        """Raises `Misuse` for a URL that is none."""
        parts = urlsplit(expect_url(url))
        self._key = key
        self._path = f"{parts.path.rstrip('/')}/add-checkpoint"
        assert parts.hostname is not None
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context()
            self._connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=SECONDS, context=context)
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=SECONDS)

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def submit(self, folder: LogFolder, note: Note, checkpoint: Checkpoint, old: int) -> SignatureLine:
        """The witness's verified line under `note`, the checkpoint of a log in `folder`. `old` is the size that it
        probably knows; where it says another one, it is asked once more.

        Raises `Away`, `Ahead`, `Contradicted`.
        """
        try:
            source = FolderSource(folder.path)
            hashes = TileHashes(checkpoint.size, lambda tile: source.tile(tile.level, tile.index, tile.width))
            for _ in range(2):
                proof = consistency_proof(old, checkpoint.size, hashes)
                status, kind, answer = self._ask(Submission(old, proof, note.encode()))
                if status == 200:
                    return cosignatures(answer, note.text, self._key)[0]
                if status == 422:
                    _expect_own_proof(old, checkpoint, hashes)
                    raise Contradicted(f"what it cosigned at {old:,} entries is not in this log: it has been rewritten")
                if status != 409 or kind != SIZE_TYPE:
                    raise Away(_SAYS.get(status, f"it answered with status {status}"))
                old = _other_size(parse_size(answer), old, checkpoint)
        except NotVerified as error:
            raise Away(f"its answer does not verify: {error.message}") from None
        except (Fault, OSError) as error:
            raise Away(f"the log's files cannot be read now ({error})") from None
        raise Away("it cannot say which checkpoint it cosigned last")

    def _ask(self, submission: Submission) -> tuple[int, str, bytes]:
        """Status, content type and body. A kept connection may have been closed meanwhile, so that is tried again."""
        kept = self._connection.sock is not None
        try:
            return self._post(submission.encode())
        except (http.client.HTTPException, ConnectionError, OSError) as error:
            self._connection.close()
            if not kept:
                raise Away(f"it does not answer ({_reason(error)})") from None
        try:
            return self._post(submission.encode())
        except (http.client.HTTPException, OSError) as error:
            self._connection.close()
            raise Away(f"it does not answer ({_reason(error)})") from None

    def _post(self, body: bytes) -> tuple[int, str, bytes]:
        headers = {"Content-Type": "application/octet-stream", "Accept-Encoding": "identity"}
        self._connection.request("POST", self._path, body, headers)
        answer = self._connection.getresponse()
        data = answer.read(_MOST_ANSWER + 1)
        if not answer.isclosed():
            self._connection.close()
        if len(data) > _MOST_ANSWER:
            raise Away("it answered with more than an answer can be")
        return answer.status, answer.headers.get_content_type(), data


_SAYS = {
    403: "it does not know the key that signs this log now (status 403)",
    404: "it does not know this log (status 404)",
    409: "it says that it is elsewhere, and not where (status 409)",
}


def expect_url(url: str) -> str:
    """The URL itself. Raises `Misuse` for one that cannot be a witness's."""
    try:
        parts = urlsplit(url)
        fit = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        fit = False
    if not fit or parts.query or parts.fragment or parts.username is not None:
        raise Misuse(f"`{url}` is not the address of a witness", hint="expected a URL like `https://witness.example`")
    return url


def _other_size(told: int, old: int, checkpoint: Checkpoint) -> int:
    """The size to prove from instead of `old`, as the witness told it."""
    if told > checkpoint.size:
        raise Ahead(told)
    if told == old == checkpoint.size:
        raise Contradicted(f"it has cosigned another log of {old:,} entries: this one has been rewritten")
    return told


def _expect_own_proof(old: int, checkpoint: Checkpoint, hashes: Hashes) -> None:
    """That what was sent was right: damaged files of this log's own are no contradiction. Raises `Away`."""
    try:
        proof = consistency_proof(old, checkpoint.size, hashes)
        check_consistency(old, root_of(old, hashes), checkpoint.size, checkpoint.root, proof)
    except NotProven:
        raise Away("the log's own files do not lead to its checkpoint") from None


def _reason(error: Exception) -> str:
    strerror = getattr(error, "strerror", None)
    return str(strerror or error or type(error).__name__).lower()[:200]
