"""Whether a connector's own trail and the log say the same, both ways.

What lives here: matching effects with the orders that the log has for them, and naming every difference. What never
may: reading either, or explaining a difference away: what cannot be matched is a finding.

An effect that the log has no order for was made past Remit. An outcome `done` without an effect is a claim that the
connector does not bear out. An effect after an outcome that says that there was none is a claim that it contradicts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct

from remit.model.audits import AuditMap, Effect, Trail
from remit.model.words import MINUTE, SECOND, Instant, State

SKEW: Final = 5 * SECOND
"""How far a connector's clock may differ from the gateway's."""
WARRANT_LIFE: Final = 2 * MINUTE
"""An effect later than this after the intent did not happen under its warrant, which was good for 60 s."""


class Found(StrEnum):
    """What a finding is. `ALARMING` are those that somebody must look at tonight."""

    NO_WARRANT = "no-warrant"
    WRONG_CALL = "wrong-call"
    TWICE = "twice"
    LATE = "late"
    UNEXPECTED = "unexpected-effect"
    MISSING = "missing-effect"
    UNSETTLED = "unsettled"
    UNREADABLE = "unreadable"


ALARMING: Final = frozenset({Found.NO_WARRANT, Found.WRONG_CALL, Found.TWICE, Found.LATE, Found.UNEXPECTED})

SAYS: Final[dict[Found, str]] = {
    Found.NO_WARRANT: "the connector did this, and the log has no order for it: somebody took another road",
    Found.WRONG_CALL: "the connector did something else than the log's order says",
    Found.TWICE: "the connector did this more than once under one order",
    Found.LATE: "the connector did this at a time when its order was not good",
    Found.UNEXPECTED: "the connector did this, and the log says that it did not happen",
    Found.MISSING: "the log says that this was done, and the connector's trail does not have it",
    Found.UNSETTLED: "the log does not know what became of this; the connector's trail says that it was done",
    Found.UNREADABLE: "this line of the trail cannot be read, so what happened there is not known",
}


class Order(Struct, frozen=True, kw_only=True):
    """An intent in the log, and what came of it. `targets` are in the normal form that `Effect.targets` are brought
    into; None where they are no longer kept. `state` is None while there is no outcome; `applied` is what settling
    said, None where nobody settled it."""

    action: str
    tool: str
    at: Instant
    warrant: str = ""
    targets: tuple[str, ...] | None = None
    state: State | None = None
    handed_over: bool = False
    ended_at: Instant | None = None
    applied: bool | None = None
    position: int = 0


class Finding(Struct, frozen=True, kw_only=True):
    """One difference. `line` is the trail's, `position` the log's; 0 and None where there is none."""

    what: Found
    says: str
    at: Instant
    line: int = 0
    tool: str = ""
    targets: tuple[str, ...] = ()
    action: str = ""
    position: int | None = None


class Reconciliation(Struct, frozen=True, kw_only=True):
    """What the comparison of a window came to; times in microseconds, `until` not included.

    `effects` are those in the window, `matched` those that an order explains. `before` and `after` count effects
    outside the window, which are no findings. `orders` are the consequential outcomes in the window."""

    since: Instant
    until: Instant
    lines: int
    effects: int
    matched: int
    before: int
    after: int
    orders: int
    findings: tuple[Finding, ...] = ()

    @property
    def alarming(self) -> tuple[Finding, ...]:
        """The findings that are an alert."""
        return tuple(each for each in self.findings if each.what in ALARMING)


def reconcile(
    trail: Trail, orders: Iterable[Order], audit: AuditMap, *, since: Instant, until: Instant
) -> Reconciliation:
    """Compare. `orders` are all that the log has for the connector, reads too, from well before `since` on.

    Orders claim effects wherever those stand in the trail; only then the window decides what is a finding.
    """
    matching = _Matching(list(orders), audit)
    for effect in trail.effects:
        matching.claim(effect)
    inside = [effect for effect in trail.effects if since <= effect.at < until]
    lines = {effect.line for effect in inside}
    findings = [each for each in matching.findings if each.line in lines]
    findings += _unreadable(trail, since)
    wanted = [order for order in matching.orders if since <= (order.ended_at or order.at) < until]
    findings += [each for order in wanted for each in _borne_out(order, matching.claimed[order.action])]
    return Reconciliation(
        since=since,
        until=until,
        lines=trail.lines,
        effects=len(inside),
        matched=sum(line in matching.explained for line in lines),
        before=sum(effect.at < since for effect in trail.effects),
        after=sum(effect.at >= until for effect in trail.effects),
        orders=len(wanted),
        findings=tuple(sorted(findings, key=lambda each: (each.at, each.line, each.action))),
    )


class _Matching:
    """Which order claims which effect. `explained` are the lines that an order fully explains."""

    def __init__(self, orders: list[Order], audit: AuditMap) -> None:
        self.orders = orders
        self.claimed: dict[str, list[Effect]] = defaultdict(list)
        self.explained: set[int] = set()
        self.findings: list[Finding] = []
        self._audit = audit
        self._by_name = {name: each for each in orders for name in (each.warrant, each.action) if name}
        self._by_tool: dict[str, list[Order]] = defaultdict(list)
        for each in orders:
            self._by_tool[each.tool].append(each)

    def claim(self, effect: Effect) -> None:
        """Find the order of one effect, and note what is wrong with the two of them."""
        order = self._named(effect) if self._audit.names_orders else self._likely(effect)
        if order is None:
            self._note(Found.NO_WARRANT, effect)
            return
        earlier = self.claimed[order.action]
        earlier.append(effect)
        wrong = self._wrong(effect, order, again=len(earlier) > 1)
        if wrong is None:
            self.explained.add(effect.line)
        else:
            self._note(wrong, effect, order)

    def _named(self, effect: Effect) -> Order | None:
        """INVARIANT: where a line names both, both must be of one order; naming neither is having none."""
        found = [self._by_name.get(name) for name in (effect.warrant, effect.action) if name]
        same = found and all(each is not None and each is found[0] for each in found)
        return found[0] if same else None

    def _likely(self, effect: Effect) -> Order | None:
        """The first order of the tool, on these targets, at that time, that has not claimed an effect yet."""
        fitting = [
            each
            for each in self._by_tool[effect.tool]
            if each.at - SKEW <= effect.at <= (each.ended_at or each.at) + self._audit.window
            and _same_targets(effect, each)
        ]
        free = [each for each in fitting if not self.claimed[each.action]]
        return next(iter(free or fitting), None)

    def _wrong(self, effect: Effect, order: Order, *, again: bool) -> Found | None:
        if effect.tool != order.tool or not _same_targets(effect, order):
            return Found.WRONG_CALL
        if again:
            return Found.TWICE
        if self._audit.names_orders and not order.at - SKEW <= effect.at <= _good_until(order):
            return Found.LATE
        if _denied(order):
            return Found.UNEXPECTED
        if order.state is State.UNKNOWN and order.applied is None:
            return Found.UNSETTLED
        return None

    def _note(self, what: Found, effect: Effect, order: Order | None = None) -> None:
        self.findings.append(
            Finding(
                what=what,
                says=SAYS[what],
                at=effect.at,
                line=effect.line,
                tool=effect.tool,
                targets=effect.targets,
                action=order.action if order else "",
                position=order.position if order else None,
            )
        )


def _good_until(order: Order) -> Instant:
    return max(order.ended_at or 0, order.at + WARRANT_LIFE) + SKEW


def _denied(order: Order) -> bool:
    """Whether the log says that nothing happened."""
    if order.applied is not None:
        return not order.applied
    return order.state is State.FAILED or (order.state in (State.CUT, State.DONE) and not order.handed_over)


def _same_targets(effect: Effect, order: Order) -> bool:
    if not effect.targets or order.targets is None:
        return True
    return set(effect.targets) <= set(order.targets)


def _borne_out(order: Order, effects: Sequence[Effect]) -> Iterable[Finding]:
    """That a claim of the log's has an effect to show for it."""
    claims = order.applied if order.applied is not None else order.state is State.DONE
    if claims and not effects:
        yield Finding(
            what=Found.MISSING,
            says=SAYS[Found.MISSING],
            at=order.ended_at or order.at,
            tool=order.tool,
            targets=order.targets or (),
            action=order.action,
            position=order.position,
        )


def _unreadable(trail: Trail, at: Instant) -> Iterable[Finding]:
    for line, why in trail.unreadable:
        yield Finding(what=Found.UNREADABLE, says=f"{SAYS[Found.UNREADABLE]}: {why}", at=at, line=line)
