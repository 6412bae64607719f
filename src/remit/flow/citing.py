"""Looking up what an agent cites, inside the step that records it.

What lives here: the evidence behind a rationale's ids. What never may: judging it (that is `model.grounding`'s).
"""

from __future__ import annotations

from collections.abc import Iterable

from remit.flow.ports import Transaction
from remit.model.words import Evidence, Rationale


def cited(tx: Transaction, rationale: Rationale | None, also: Iterable[str] = ()) -> dict[str, Evidence | None]:
    """The evidence of each id that the rationale's signals cite, and of those in `also`; None where there is none.

    What is found is already durable, or comes earlier in the journal: so it was there before the step's own records.
    """
    signals = rationale.signals if rationale is not None else ()
    ids = dict.fromkeys([*(each.evidence for each in signals), *also])
    return {each: tx.evidence(each) for each in ids if each}
