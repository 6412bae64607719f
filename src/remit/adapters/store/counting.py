"""What stands in each quota's window, kept in memory beside the table of claims, so that a ruling need not scan it.

What lives here: counts that the claims of committed and of running batches lead to. What never may: a count that the
table would not give. Whatever is out of the ordinary (a window that goes back, a claim of an action known already, a
batch that is rolled back, another process that wrote) throws counts away, and the next question asks the table.

Owned by the writer's thread.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

from remit.adapters.store import rules
from remit.adapters.store import statements as sql
from remit.model.words import Claim, Instant, Used, Window

MOST_WINDOWS = 1024

_Key = tuple[str, tuple[str, ...], tuple[str, ...]]


class Changes:
    """What one step did to the claims."""

    __slots__ = ("claimed", "ended", "unclear")

    def __init__(self) -> None:
        self.claimed: list[Claim] = []
        self.ended: list[tuple[str, Instant]] = []
        self.unclear = False  # something that only the table can say

    def __bool__(self) -> bool:
        return bool(self.claimed or self.ended or self.unclear)


class _Count:
    """One window. `shares` is what counts, by action: its targets, and when it ended (`sql.OPEN_END` while open)."""

    __slots__ = ("agents", "categories", "ended", "shares", "since", "targets")

    def __init__(self, window: Window) -> None:
        self.agents = window.agents
        self.categories = window.categories
        self.since = window.since
        self.shares: dict[str, tuple[tuple[str, ...], Instant]] = {}
        self.targets: dict[str, int] = {}  # how many shares have it
        self.ended: list[tuple[Instant, str]] = []  # a heap

    def covers(self, claim: Claim) -> bool:
        if self.agents and claim.agent not in self.agents:
            return False
        return any(rules.covers(pattern, claim.category) for pattern in self.categories)

    def add(self, action: str, targets: Iterable[str], ended: Instant = sql.OPEN_END) -> None:
        distinct = tuple(dict.fromkeys(targets))
        self.shares[action] = (distinct, ended)
        for target in distinct:
            self.targets[target] = self.targets.get(target, 0) + 1
        if ended != sql.OPEN_END:
            heapq.heappush(self.ended, (ended, action))

    def end(self, action: str, ended: Instant) -> None:
        share = self.shares.get(action)
        if share is not None and share[1] == sql.OPEN_END:
            self.shares[action] = (share[0], ended)
            heapq.heappush(self.ended, (ended, action))

    def used(self, since: Instant) -> Used:
        self.since = since
        while self.ended and self.ended[0][0] < since:
            targets, _ = self.shares.pop(heapq.heappop(self.ended)[1])
            for target in targets:
                left = self.targets[target] - 1
                if left:
                    self.targets[target] = left
                else:
                    del self.targets[target]
        return Used(frozenset(self.targets), len(self.shares))


class Counters:
    """The counts of all windows that were asked for."""

    def __init__(self) -> None:
        self._counts: dict[_Key, _Count] = {}
        self.categories: set[str] = set()  # those that the table of claimed categories has

    def used(self, window: Window) -> Used | None:
        """What stands in the window, or None where only the table can say."""
        count = self._counts.get(_key(window))
        return count.used(window.since) if count is not None and count.since <= window.since else None

    def learn(self, window: Window, rows: Sequence[tuple[str, str, Instant]]) -> None:
        """Take over what the table says of a window: target, action and end of each claim in it."""
        count = _Count(window)
        shares: dict[str, list[str]] = {}
        ends: dict[str, Instant] = {}
        for target, action, ended in rows:
            shares.setdefault(action, []).append(target)
            if ends.setdefault(action, ended) != ended:
                return  # a share of several ends is not kept here
        for action, targets in shares.items():
            count.add(action, targets, ends[action])
        if len(self._counts) >= MOST_WINDOWS:
            self.clear()
        self._counts[_key(window)] = count

    def apply(self, changes: Changes) -> None:
        """Follow what a step did, once it is part of its batch."""
        self.categories.update(claim.category for claim in changes.claimed)
        claimed: dict[str, list[Claim]] = {}
        for claim in changes.claimed:
            claimed.setdefault(claim.action, []).append(claim)
        if changes.unclear or any(action in claimed for action, _ in changes.ended):
            self.clear()
            return
        for key, count in list(self._counts.items()):
            for action, claims in claimed.items():
                covered = [claim.target for claim in claims if count.covers(claim)]
                if covered and action in count.shares:
                    del self._counts[key]
                    break
                if covered:
                    count.add(action, covered)
            for action, ended in changes.ended:
                count.end(action, ended)

    def clear(self) -> None:
        """Forget everything."""
        self._counts.clear()
        self.categories.clear()


def _key(window: Window) -> _Key:
    return window.quota, window.agents, window.categories
