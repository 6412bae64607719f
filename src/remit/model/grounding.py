"""What a citation is worth: whether the evidence that an agent cites is there, its own, and whose words it holds.

What lives here: the three marks, and which parts of a rationale are whose word. What never may: believing what the
agent says of its evidence, looking anything up.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from remit.model.words import Evidence, Instant, Integrity


class Mark(StrEnum):
    """What Remit observed of one signal that an agent weighed. None of them says that the signal is true."""

    GROUNDED = "grounded"
    UNGROUNDED = "ungrounded"
    THIRD_PARTY = "third-party"


class Word(StrEnum):
    """Whose word a part of a rationale is: the agent's claim, or Remit's own observation."""

    CLAIMED = "claimed"
    OBSERVED = "observed"


PROVENANCE: Final[dict[str, Word]] = {
    "summary": Word.CLAIMED,
    "signals.says": Word.CLAIMED,
    "signals.evidence": Word.CLAIMED,
    "signals.mark": Word.OBSERVED,
    "signals.label": Word.OBSERVED,
    "signals.digest": Word.OBSERVED,
    "signals.shown_at": Word.OBSERVED,
    "intel": Word.CLAIMED,
    "skill": Word.CLAIMED,
    "confidence": Word.CLAIMED,
    "alternatives": Word.CLAIMED,
    "verdict": Word.CLAIMED,
}
"""Whose word each field of a rationale, and of what is shown with it, is."""


def mark_of(found: Evidence | None, run: str, before: Instant) -> Mark:
    """The mark of a signal of `run`, proposed at `before`, from the evidence of the id that it cites.

    `UNGROUNDED` where there is none, where another run was shown it, or where it was shown only later; `THIRD_PARTY`
    where its label says that outsiders may have written it.
    """
    if found is None or found.run != run or found.at > before:
        return Mark.UNGROUNDED
    return Mark.THIRD_PARTY if found.label.integrity is Integrity.THIRD_PARTY else Mark.GROUNDED
