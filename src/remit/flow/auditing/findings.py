"""What a verifier finds: the words of docs/LOG-FORMAT.md, each with its meaning, and what was counted.

What lives here: the words and the collection of findings. What never may: checks. INVARIANT: memory does not grow with
the number of findings; of each word the earliest are kept, and all are counted.
"""

from __future__ import annotations

import heapq
from enum import StrEnum

from msgspec import Struct

MOST_KEPT = 100
"""How many findings of each word are kept, earliest position first. The rest is counted."""


class Word(StrEnum):
    """What is wrong. The values are the words of docs/LOG-FORMAT.md, section 5."""

    BAD_NOTE = "bad-note"
    BAD_SIGNATURE = "bad-signature"
    NO_QUORUM = "no-quorum"
    TAMPERED = "tampered"
    TRUNCATED = "truncated"
    ROLLBACK = "rollback"
    FORK = "fork"
    STALE = "stale"
    BAD_RECORD = "bad-record"
    BAD_START = "bad-start"
    BAD_TIME = "bad-time"
    PAYLOAD_MISMATCH = "payload-mismatch"
    PAYLOAD_MISSING = "payload-missing"
    TOMBSTONE_FORGED = "tombstone-forged"
    ROSTER_UNSIGNED = "roster-unsigned"
    BOUNDARY_UNSIGNED = "boundary-unsigned"
    ACTION_TWICE = "action-twice"
    NO_PROPOSAL = "no-proposal"
    INTENT_WITHOUT_RULING = "intent-without-ruling"
    NOT_APPROVED = "not-approved"
    BAD_APPROVAL = "bad-approval"
    APPROVAL_REPLAYED = "approval-replayed"
    STATEMENT_REPLAYED = "statement-replayed"
    BAD_STATEMENT = "bad-statement"
    OUTCOME_WITHOUT_INTENT = "outcome-without-intent"


class Meaning(Struct, frozen=True):
    """What a word means to a person, and what to do about it."""

    says: str
    hint: str


_TALK = "keep a copy of what you have, and ask whoever runs the home how this came about"
HOLDER = "only whoever holds the log's key can have signed this; keep a copy, and look at the records around it"

MEANINGS: dict[Word, Meaning] = {
    Word.BAD_NOTE: Meaning(
        "the checkpoint is not a signed note of this log",
        "check that the folder or URL is the right one, and the key is this log's",
    ),
    Word.BAD_SIGNATURE: Meaning(
        "the checkpoint is not signed by the log's key", "compare the key with the one that you were given in person"
    ),
    Word.NO_QUORUM: Meaning(
        "fewer witnesses have cosigned than were asked for",
        "ask for the log with its `checkpoint.witnessed`, the last one that enough of them have cosigned",
    ),
    Word.TAMPERED: Meaning("the entries are not those that were signed", _TALK),
    Word.TRUNCATED: Meaning(
        "a part of the log that was signed is not there", "fetch the log once more; if it stays so, it was cut short"
    ),
    Word.ROLLBACK: Meaning(
        "the log is shorter than it has been before: a backup was restored, or records were taken away", _TALK
    ),
    Word.FORK: Meaning("the log is another one than was seen before: its history was rewritten", _TALK),
    Word.STALE: Meaning(
        "nothing newer was signed, or seen by its witnesses, for longer than was allowed",
        "somebody may hold back newer records, or keep the witnesses from seeing what is shown: ask for newer ones",
    ),
    Word.BAD_RECORD: Meaning("an entry is not a record", HOLDER),
    Word.BAD_START: Meaning("the log does not begin with the making of its home, or begins again", HOLDER),
    Word.BAD_TIME: Meaning("time goes back from one record to the next", HOLDER),
    Word.PAYLOAD_MISMATCH: Meaning(
        "something was handed over that is not what was recorded", "ask for the payloads once more, and whose they are"
    ),
    Word.PAYLOAD_MISSING: Meaning(
        "something that was recorded is gone, and no record says that it was erased", "ask for it, and why it is gone"
    ),
    Word.TOMBSTONE_FORGED: Meaning("an erasure is recorded that nobody ordered, or of what never was", HOLDER),
    Word.ROSTER_UNSIGNED: Meaning("people came onto the roster without a leader's signature", HOLDER),
    Word.BOUNDARY_UNSIGNED: Meaning("a boundary came into force without the signatures that it needs", HOLDER),
    Word.ACTION_TWICE: Meaning("one action was proposed twice", HOLDER),
    Word.NO_PROPOSAL: Meaning("something is said about an action that cannot follow what was said before", HOLDER),
    Word.INTENT_WITHOUT_RULING: Meaning("an action was set in motion that the boundary did not let go on", HOLDER),
    Word.NOT_APPROVED: Meaning("an action was set in motion with fewer people's yes than it needed", HOLDER),
    Word.BAD_APPROVAL: Meaning("a person's yes or no is not theirs, or is about something else", HOLDER),
    Word.APPROVAL_REPLAYED: Meaning("one signed yes or no was counted twice", HOLDER),
    Word.STATEMENT_REPLAYED: Meaning("one signed command was accepted twice", HOLDER),
    Word.BAD_STATEMENT: Meaning("a command was accepted that the person did not sign, or not so", HOLDER),
    Word.OUTCOME_WITHOUT_INTENT: Meaning("an action ended that was never set in motion, or ended twice", HOLDER),
}


class Finding(Struct, frozen=True):
    """One breach. `position` is that of the first record concerned, or None where it is about the log as a whole;
    `says` is what was found, in one lowercase sentence that holds nothing from a payload but ids."""

    word: Word
    position: int | None
    says: str

    @property
    def meaning(self) -> Meaning:
        """What the word means to a person."""
        return MEANINGS[self.word]


class Findings:
    """Collects findings, of each word the earliest `MOST_KEPT`, in bounded memory."""

    def __init__(self) -> None:
        self._kept: dict[Word, list[tuple[int, int, Finding]]] = {}  # heaps: the latest position comes first
        self._counts: dict[Word, int] = {}

    def add(self, word: Word, position: int | None, says: str) -> None:
        """Note one breach."""
        count = self._counts[word] = self._counts.get(word, 0) + 1
        item = (-_order(position), -count, Finding(word, position, says))
        heap = self._kept.setdefault(word, [])
        if len(heap) < MOST_KEPT:
            heapq.heappush(heap, item)
        else:
            heapq.heappushpop(heap, item)

    def more(self, word: Word, count: int) -> None:
        """Count breaches that are not kept one by one."""
        if count:
            self._counts[word] = self._counts.get(word, 0) + count

    def all(self) -> tuple[Finding, ...]:
        """What was kept: first what is about the whole log, then by position, in the order in which it was found."""
        items = [item for heap in self._kept.values() for item in heap]
        return tuple(item[2] for item in sorted(items, key=lambda item: (-item[0], -item[1])))

    def counts(self) -> dict[Word, int]:
        """How many there are of each word that was found, in the order of `Word`."""
        return {word: self._counts[word] for word in Word if word in self._counts}

    def __bool__(self) -> bool:
        return bool(self._counts)


def _order(position: int | None) -> int:
    return -1 if position is None else position
