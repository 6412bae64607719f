"""Retention: payloads of a class are pruned once they are older than the home's settings say. Entries never are.

What lives here: pruning in bounded batches, each with its record, and finding out why a payload is gone. What never
may: removing a record; pruning what an action that can still have an effect needs.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from remit.flow.erasing import Erasing
from remit.flow.ports import PAYLOAD_CLASSES, Clock, Leavings, Reads, Store, Transaction
from remit.gates import journal
from remit.model.words import SECOND, Effect, Instant, Json

BATCH = 500
"""Payloads that one step removes: some 20 ms of the writer's time."""

HOURLY: Instant = 3600 * SECOND
_MOST_PRUNINGS = 100_000
_REPEATED = frozenset({"proposals", "read_results", "change_results"})


class Due(Struct, frozen=True):
    """What is over in one class: payloads put `before`, and how many of them there are."""

    payload_class: str
    before: Instant
    count: int


class Retention:
    """See the module. `keep` says for how many microseconds each class is kept; a class without a figure is kept."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        erasing: Erasing,
        keep: Mapping[str, Instant],
        leavings: Leavings | None = None,
    ) -> None:
        unknown = keep.keys() - set(PAYLOAD_CLASSES)
        if unknown:
            raise ValueError(f"there are no such classes of payloads: {', '.join(sorted(unknown))}")
        self._store = store
        self._clock = clock
        self._erasing = erasing
        self._keep = dict(keep)
        self._leavings = leavings
        self._next: Instant = 0
        self._round: dict[str, Instant] = {}  # what is still to do of the round that is under way
        self._removed = False  # whether the round has removed anything

    def due(self) -> tuple[Due, ...]:
        """What `prune` would remove now, a class each; classes that are kept for ever are not in it."""
        now = self._clock.now()
        found = ((each, now - self._keep[each]) for each in PAYLOAD_CLASSES if each in self._keep)
        return tuple(Due(each, before, self._store.reads.prunable(each, before)) for each, before in found)

    async def prune(self) -> dict[str, int]:
        """Remove what is over, class by class, and its keys. Returns how many payloads of each class went."""
        pruned = {}
        for payload_class, age in self._keep.items():
            before, count = self._clock.now() - age, 0
            while (removed := await self._batch(payload_class, before)) == BATCH:
                count += removed
            pruned[payload_class] = count + removed
        await self._let_go()
        if any(pruned.values()) or self._erasing.unfinished:
            await self._erasing.finish()
            await self._erasing.catch_up()
        return pruned

    async def tick(self) -> None:
        """Go on pruning by at most one batch; an hour after a round began, the next one begins."""
        if not self._round and self._clock.now() >= self._next:
            self._next = self._clock.now() + HOURLY
            self._round = dict(self._keep)
            await self._let_go()
        if not self._round:
            return
        payload_class, age = next(iter(self._round.items()))
        count = await self._batch(payload_class, self._clock.now() - age)
        self._removed = self._removed or count > 0
        if count < BATCH:
            del self._round[payload_class]
        if self._removed and not self._round:
            self._removed = False
            await self._erasing.finish()

    async def _let_go(self) -> None:
        """What connectors wrote to stderr may repeat arguments and results: it is kept no longer than any of those."""
        ages = [age for payload_class, age in self._keep.items() if payload_class in _REPEATED]
        if self._leavings is not None and ages:
            await self._leavings.let_go(min(ages))

    async def _batch(self, payload_class: str, before: Instant) -> int:
        def step(tx: Transaction) -> int:
            count = tx.prune(payload_class, before, BATCH)
            if count:
                fields: dict[str, Json] = {"class": payload_class, "before": before, "count": count}
                tx.append(journal.record("pruned", self._clock.now(), **fields))
            return count

        return await self._store.commit(step)


def pruned(reads: Reads, payload_id: str) -> bool:
    """Whether a payload that is gone, and was not erased, was pruned: a record says so of its class and time."""
    payload_class, at = _class_and_time(reads, payload_id)
    if not payload_class:
        return False
    records = (msgspec.json.decode(each.data) for each in reads.records(kinds=("pruned",), limit=_MOST_PRUNINGS))
    return any(each.get("class") == payload_class and each.get("before", 0) > at for each in records)


def _class_and_time(reads: Reads, payload_id: str) -> tuple[str, Instant]:
    owner, _, role = payload_id.rpartition(".")
    evidence = reads.evidence(owner) if role == "result" else None
    action = reads.action(evidence.action if evidence else owner)
    if action is None:
        return "", 0
    if role == "proposal":
        return "proposals", action.opened_at
    read = action.effect is Effect.READ
    return "read_results" if read else "change_results", action.ended_at or 0
