"""The log's witnesses: a thread for each that has the newest signed checkpoint cosigned, and who publishes checkpoints.

What lives here: submitting, believing only cosignatures that verify, publishing, and knowing who is away. What never
may: holding up the log. A witness that does not answer costs its own thread's time and nobody else's; only the newest
checkpoint is ever submitted, nothing queues.

    checkpoint             the newest signed checkpoint, with the cosignatures that it has so far
    checkpoint.witnessed   the newest one that enough witnesses cosigned

INVARIANT: a cosignature counts only after it was verified over the very text that is published, under the key in the
settings; a log of another origin begins with none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from remit.adapters.log.folder import CHECKPOINT, WITNESSED, LogFolder
from remit.adapters.log.submitting import Ahead, Away, Contradicted, Submitter
from remit.flow.ports import WitnessesState, WitnessState
from remit.gates.log import checkpoints
from remit.gates.log.checkpoints import Checkpoint
from remit.gates.log.notes import BadNote, Note, SignatureLine, VerifierKey, parse_note
from remit.gates.log.submissions import good_cosignatures, with_cosignatures
from remit.model.display import shown

AWAY_SECONDS = 4.0
"""A checkpoint that a witness has not cosigned for this long makes it one that is away."""
RETRY_SECONDS = (0.2, 10.0)  # the first and the longest wait between two attempts
ROUND_SECONDS = 2.0
_MOST_UNCOVERED = 4096
log = logging.getLogger("remit.log")


@dataclass(frozen=True)
class Published:
    """A signed checkpoint, and where its log lies."""

    folder: LogFolder
    note: Note
    checkpoint: Checkpoint


@dataclass
class _Seat:
    """What is known of one witness. Guarded by `Witnesses._changed`."""

    url: str
    key: VerifierKey
    line: SignatureLine | None = None  # under the checkpoint of the round
    size: int = 0  # of the last checkpoint that it cosigned, as far as is known
    waits: float = 0.0  # monotonic; since when a round waits for it, 0 where none does
    fails: str = ""  # why the last attempt did not succeed
    contradicts: str = ""  # how it contradicts this log

    def away(self) -> str:
        """Empty, or why it has not cosigned what has waited for too long."""
        late = self.waits and time.monotonic() - self.waits > AWAY_SECONDS
        return (self.fails or f"it has not answered for {AWAY_SECONDS:.0f} s") if late else ""


class Witnesses:
    """Fulfils `remit.flow.ports.Witnesses`. `publish` is the log writer's; the rest may be called from any thread.
    `start` once, `close` once.

    All witnesses are asked for the same checkpoint, that of the round, or several would hardly ever meet on one of a
    busy log. A round ends when enough have cosigned, or after `ROUND_SECONDS`; the next one takes the newest.
    """

    def __init__(self, witnesses: Sequence[tuple[str, VerifierKey]], quorum: int) -> None:
        """`witnesses` are URLs and verifier keys; `quorum` of them, at least 1, are enough."""
        self._quorum = quorum
        self._keys = [key for _, key in witnesses]
        self._changed = threading.Condition()  # guards everything below, the seats, and the two files
        self._seats = [_Seat(url, key) for url, key in witnesses]
        self._newest: Published | None = None
        self._round: Published | None = None
        self._began = 0.0  # monotonic; of the round
        self._covered = 0  # the size of the largest checkpoint of this log that a quorum cosigned
        self._uncovered: deque[tuple[int, float]] = deque()  # sizes published since, and when; the first ones of many
        self._since = 0.0  # monotonic; since when the first of them waits, 0 where there is none. Read without the lock
        self._waiting = threading.Lock()  # guards `_waiters`; never held while a file is written
        self._waiters: dict[asyncio.Future[None], tuple[int, asyncio.AbstractEventLoop]] = {}
        self._closing = False
        self._threads = [
            threading.Thread(target=self._attend, args=(seat,), name="remit-witness", daemon=True)
            for seat in self._seats
        ]

    def start(self) -> None:
        """Begin to submit what is published."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End. What was not cosigned by then is submitted after the next start."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    # --- what the flow and people see -----------------------------------------------------------------------------

    def away(self) -> str:
        """See `remit.flow.ports.Witnesses`."""
        if not self._seats:
            return "no witness is configured"
        since = self._since
        if not since or time.monotonic() - since <= AWAY_SECONDS:
            return ""
        here = sum(not seat.away() for seat in self._seats)
        return f"{here} of {len(self._seats)} witnesses answer, {self._quorum} are needed"

    async def cover(self, position: int, seconds: float) -> bool:
        """See `remit.flow.ports.Witnesses`."""
        if not self._seats:
            return False
        loop = asyncio.get_running_loop()
        with self._waiting:
            if self._covered > position:
                return True
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters[waiter] = (position, loop)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            return False
        finally:
            with self._waiting:
                self._waiters.pop(waiter, None)
        return True

    def contradicted(self) -> str:
        """Empty, or how a witness says that this log is not the one that it saw: a fork, or a rollback. Asked for each
        action, so it waits for nothing."""
        says = [f"witness {shown(each.key.name)}: {each.contradicts}" for each in self._seats if each.contradicts]
        return says[0] if says else ""

    @property
    def state(self) -> WitnessesState:
        """See `remit.flow.ports.Witnesses`."""
        with self._changed:
            each = tuple(
                WitnessState(name=seat.key.name, url=seat.url, size=seat.size, away=seat.contradicts or seat.away())
                for seat in self._seats
            )
            return WitnessesState(quorum=self._quorum if each else 0, size=self._covered, witnesses=each)

    # --- publishing -----------------------------------------------------------------------------------------------

    def publish(self, folder: LogFolder, data: bytes) -> None:
        """Put the note of a signed checkpoint in force: into the folder, with the cosignatures that it has, and out to
        the witnesses. Raises `OSError` where the folder fails; then it counts as not published."""
        note = parse_note(data)
        found = Published(folder, note, checkpoints.parse(note.text))
        with self._changed:
            if self._newest is None or self._newest.checkpoint.origin != found.checkpoint.origin:
                self._begin(found)
            fresh = self._newest is None or self._newest.checkpoint != found.checkpoint
            folder.write(CHECKPOINT, self._cosigned_note(found))
            self._newest = found
            if (
                fresh
                and self._seats
                and self._covered < found.checkpoint.size
                and len(self._uncovered) < _MOST_UNCOVERED
            ):
                self._uncovered.append((found.checkpoint.size, time.monotonic()))
            self._since = self._uncovered[0][1] if self._uncovered else 0.0
            if self._round is not None and self._covered < self._round.checkpoint.size and self._enough(self._lines()):
                self._write_round()
            self._advance()

    def _begin(self, found: Published) -> None:
        """The first checkpoint of a log here: what was cosigned of it before this process lies in its folder."""
        self._uncovered.clear()
        self._round = None
        for seat in self._seats:
            seat.size, seat.contradicts, seat.waits, seat.line = 0, "", 0.0, None
        before = witnessed_size(found.folder, found.checkpoint.origin, self._keys, self._quorum)
        self._covered = min(before, found.checkpoint.size)
        cosigned = good_cosignatures(_read(found.folder, CHECKPOINT), found.note.text, self._keys)
        self._open_round(found, cosigned)

    def _advance(self) -> None:
        """Begin the next round where it is time."""
        newest, now = self._newest, time.monotonic()
        if newest is None or self._round is None or newest.checkpoint == self._round.checkpoint:
            self._round = newest
        elif not self._round.checkpoint.size or self._enough(self._lines()) or now - self._began > ROUND_SECONDS:
            self._open_round(newest, {})
        self._changed.notify_all()

    def _open_round(self, found: Published, cosigned: Mapping[VerifierKey, SignatureLine]) -> None:
        now = time.monotonic()
        self._round, self._began = found, now
        for seat in self._seats:
            seat.line = cosigned.get(seat.key)
            if seat.line is None and found.checkpoint.size:
                seat.waits = seat.waits or now

    def _lines(self) -> int:
        return sum(seat.line is not None for seat in self._seats)

    def _enough(self, count: int) -> bool:
        return count >= max(1, self._quorum)

    def _cosigned_note(self, published: Published) -> bytes:
        """The note, with the lines that the round has brought where it is of the same checkpoint."""
        same = self._round is not None and self._round.note.text == published.note.text
        lines = [seat.line for seat in self._seats if seat.line is not None] if same else []
        return with_cosignatures(published.note, lines).encode()

    def _write_round(self) -> None:
        """Publish what the round has brought. Raises `OSError`."""
        assert self._round is not None and self._newest is not None
        data = self._cosigned_note(self._round)
        if self._enough(self._lines()):
            self._round.folder.write(WITNESSED, data)
            self._note_covered(self._round.checkpoint.size)
        if self._newest.note.text == self._round.note.text:
            self._newest.folder.write(CHECKPOINT, data)

    def _note_covered(self, size: int) -> None:
        self._covered = max(self._covered, size)
        while self._uncovered and self._uncovered[0][0] <= self._covered:
            self._uncovered.popleft()
        if not self._uncovered and self._newest is not None and self._newest.checkpoint.size > self._covered:
            self._uncovered.append((self._newest.checkpoint.size, time.monotonic()))
        self._since = self._uncovered[0][1] if self._uncovered else 0.0
        with self._waiting:
            for waiter, (position, loop) in list(self._waiters.items()):
                if position < self._covered:
                    del self._waiters[waiter]
                    with contextlib.suppress(RuntimeError):  # its loop has ended
                        loop.call_soon_threadsafe(_wake, waiter)

    # --- the threads ----------------------------------------------------------------------------------------------

    def _attend(self, seat: _Seat) -> None:
        submitter = Submitter(seat.url, seat.key)
        wait = RETRY_SECONDS[0]
        while (asked := self._next(seat)) is not None:
            if self._ask(submitter, seat, asked):
                wait = RETRY_SECONDS[0]
                continue
            with self._changed:
                self._changed.wait_for(lambda: self._closing, timeout=wait)
            wait = min(wait * 2, RETRY_SECONDS[1])
        submitter.close()

    def _next(self, seat: _Seat) -> Published | None:
        """The checkpoint of the round, as soon as there is one that this witness has not cosigned; None at the end."""
        with self._changed:
            while not self._closing:
                self._advance_late()
                if self._round is not None and self._round.checkpoint.size and seat.line is None:
                    return self._round
                self._changed.wait()
        return None

    def _advance_late(self) -> None:
        """A round that goes on for too long ends where there is a newer checkpoint: someone who was away asks anew."""
        newest, late = self._newest, time.monotonic() - self._began > ROUND_SECONDS
        if newest is not None and self._round is not None and late and newest.checkpoint != self._round.checkpoint:
            self._advance()

    def _ask(self, submitter: Submitter, seat: _Seat, asked: Published) -> bool:
        """Have one checkpoint cosigned by one witness. Returns whether it did."""
        try:
            line = submitter.submit(asked.folder, asked.note, asked.checkpoint, seat.size)
        except Away as error:
            self._failed(seat, str(error), "")
        except Ahead as error:
            with self._changed:  # what is signed here may have grown while it was asked
                newest = self._newest.checkpoint.size if self._newest is not None else 0
            self._failed(seat, str(error), str(error) if error.size > newest else "")
        except Contradicted as error:
            self._failed(seat, str(error), str(error))
        except Exception as error:
            log.exception("a checkpoint could not be submitted to %s", seat.key.name)
            self._failed(seat, f"it could not be asked ({type(error).__name__})", "")
        else:
            return self._cosigned(seat, asked, line)
        return False

    def _failed(self, seat: _Seat, says: str, contradicts: str) -> None:
        with self._changed:
            if contradicts and not seat.contradicts:
                log.error("witness %s contradicts this log: %s", seat.key.name, contradicts)
            elif says != seat.fails:
                log.warning("witness %s did not cosign: %s", seat.key.name, says)
            seat.fails = says
            seat.contradicts = contradicts or seat.contradicts

    def _cosigned(self, seat: _Seat, asked: Published, line: SignatureLine) -> bool:
        """Take in a verified line. Returns whether it is published, or of a round that is over."""
        with self._changed:
            seat.size, seat.fails, seat.contradicts = asked.checkpoint.size, "", ""
            if self._round is None or self._round.note.text != asked.note.text:
                seat.waits = self._began
                return True
            seat.line = line
            try:
                self._write_round()
            except OSError as error:
                seat.line, seat.fails = None, f"what it cosigned cannot be written here ({error.strerror})"
                return False
            seat.waits = 0.0
            self._advance()
            return True


def witnessed_size(folder: LogFolder, origin: str, keys: Sequence[VerifierKey], quorum: int) -> int:
    """The size of the newest checkpoint in a log's folder that `quorum` of the witnesses have cosigned; 0 without."""
    data = _read(folder, WITNESSED)
    try:
        note = parse_note(data)
        found = checkpoints.parse(note.text)
    except BadNote:
        return 0
    enough = len(good_cosignatures(data, note.text, keys)) >= max(1, quorum)
    return found.size if enough and found.origin == origin else 0


def _read(folder: LogFolder, name: str) -> bytes:
    try:
        return folder.read(name)
    except OSError:
        return b""


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
