"""The stop: which latched order, if any, refuses a piece of work.

What lives here: reading the latch as a pure value. What never may: placing it, cutting, files (`remit.flow.stopping`).

Rules (all of them; there is no other way past a latch):
- `cut` and `drain` refuse everything new in their scope, reads included; `hold` refuses what is not a read.
- A latch that could not be read refuses everything (`blind`): a node that cannot confirm that it is not stopped is.
- While stopped, only settling and a human-signed undo pass.
"""

from __future__ import annotations

import hashlib

import msgspec

from remit.model.words import Clause, Decision, Effect, Instant, Json, Scope, ScopeKind, StopMode, StopOrder

BLIND_ID = "stp_blind"
MARKER_ID = "stp_file"
LOG_ID = "stp_log"
LONGEST_NAME = 512  # a longer one would fill the latch file, and no stop after it would be durable
MODE_RANK = {StopMode.HOLD: 0, StopMode.DRAIN: 1, StopMode.CUT: 2}


class Latch(msgspec.Struct, frozen=True):
    """Every order in force. `blind` says why the latch cannot be trusted, where it cannot."""

    orders: tuple[StopOrder, ...] = ()
    blind: str = ""

    def with_order(self, order: StopOrder) -> Latch:
        """The latch with this order added; an order of the same id is replaced."""
        return Latch((*(o for o in self.orders if o.id != order.id), order), self.blind)

    def without(self, ids: frozenset[str]) -> Latch:
        """The latch without the orders of these ids."""
        return Latch(tuple(o for o in self.orders if o.id not in ids), self.blind)


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """The piece of work that asks to pass. `past_stops` is for settling and human-signed undo alone; `bounded` is False
    where it may touch more than `targets`."""

    agent: str
    run: str = ""
    connector: str = ""
    category: str = ""
    targets: tuple[str, ...] = ()
    bounded: bool = True
    effect: Effect = Effect.DESTROY
    past_stops: bool = False


def covers(scope: Scope, subject: Subject) -> bool:
    """True if the scope is about this piece of work, or may be. A category scope may end in `*`."""
    match scope.kind:
        case ScopeKind.EVERYTHING:
            return True
        case ScopeKind.AGENT:
            return subject.agent == scope.name
        case ScopeKind.RUN:
            return subject.run == scope.name
        case ScopeKind.CONNECTOR:
            return subject.connector == scope.name
        case ScopeKind.CATEGORY:
            return subject.category == scope.name or (
                scope.name.endswith("*") and subject.category.startswith(scope.name[:-1])
            )
        case ScopeKind.TARGET:
            return scope.name in subject.targets or (not subject.bounded and subject.effect is not Effect.READ)
    return True


def refusing(latch: Latch, subject: Subject) -> StopOrder | None:
    """The strictest order that refuses this piece of work, or None where it may pass."""
    if not latch.orders and not latch.blind:
        return None
    if subject.past_stops:
        return None
    if latch.blind:
        return blind_order(latch.blind)
    found: StopOrder | None = None
    for order in latch.orders:
        if order.mode is StopMode.HOLD and subject.effect is Effect.READ:
            continue
        if covers(order.scope, subject) and (found is None or MODE_RANK[order.mode] > MODE_RANK[found.mode]):
            found = order
    return found


def blind_order(why: str, at: Instant = 0) -> StopOrder:
    """The order that stands in for a latch that cannot be read."""
    return StopOrder(id=BLIND_ID, mode=StopMode.CUT, scope=Scope(), at=at, by="remit", reason=why, automatic=True)


def marker_order(at: Instant) -> StopOrder:
    """The order that the `STOP` file in the home folder stands for; it lasts as long as the file, and what it latches
    lasts on."""
    return StopOrder(
        id=MARKER_ID, mode=StopMode.CUT, scope=Scope(), at=at, by="STOP file", reason="the file `STOP` is in the home"
    )


def log_order(at: Instant, why: str) -> StopOrder:
    """The hold on everything that comes where the store and what the log has signed are two histories."""
    return StopOrder(id=LOG_ID, mode=StopMode.HOLD, scope=Scope(), at=at, by="remit", reason=why[:500], automatic=True)


def mended_order(stop_id: str, at: Instant, person: str, reason: str) -> StopOrder:
    """The order that a mended latch begins with: nobody knows what the lost one held, so everything is stopped."""
    says = f"the latch was mended by {person}: {reason}"[:500]
    return StopOrder(id=stop_id, mode=StopMode.CUT, scope=Scope(), at=at, by=person, reason=says)


def clause(order: StopOrder) -> Clause:
    """The clause that a refusal names."""
    why = f": {order.reason}" if order.reason else ""
    return Clause("stop", Decision.FORBID, f"stopped ({order.mode}, {order.scope}) by {order.by}{why}")


def order_of(params: dict[str, Json], user: str, stop_id: str, at: int) -> StopOrder:
    """The order that a stop command's parameters make. Anything unclear stops everything."""
    mode, kind, name, reason = (
        _writable(params.get(field, otherwise))
        for field, otherwise in (("mode", "cut"), ("scope", "everything"), ("name", ""), ("reason", ""))
    )
    named = name == params.get("name", "") and len(name) <= LONGEST_NAME and bool(name) is (kind != "everything")
    known = kind in set(ScopeKind) and named
    return StopOrder(
        id=stop_id,
        mode=StopMode(mode) if mode in set(StopMode) else StopMode.CUT,
        scope=Scope(ScopeKind(kind), name) if known else Scope(),
        at=at,
        by=_writable(user),
        reason=reason[:500],
    )


def _writable(value: Json) -> str:
    """The value as text that has UTF-8: what a terminal of another encoding gave must not keep a stop from the disk."""
    return str(value).encode("utf-8", "replace").decode()


def encode(latch: Latch) -> bytes:
    """The latch file's bytes: JSON, one line, padded by the writer. The hash is over the bytes of the orders."""
    orders = msgspec.json.encode(latch.orders)
    return msgspec.json.encode(_File(version=2, sha256=hashlib.sha256(orders).hexdigest(), orders=msgspec.Raw(orders)))


def decode(data: bytes) -> Latch:
    """The latch from its file's bytes. Bytes that are not a latch give a blind one: never an empty one.

    INVARIANT: a mixture of two latches, which is what a torn write leaves, is blind. Without the hash, a mixture could
    be good JSON that lacks an order of both.
    """
    try:
        kept = msgspec.json.decode(data.rstrip(b"\0 \n"), type=_File)
        orders = msgspec.json.decode(kept.orders, type=tuple[StopOrder, ...])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Latch(blind=f"the latch file cannot be read ({error})")
    if kept.version != 2:
        return Latch(blind=f"the latch file has version {kept.version}, this remit reads version 2")
    if hashlib.sha256(kept.orders).hexdigest() != kept.sha256:
        return Latch(blind="the latch file is torn: its orders are not those that its hash was made of")
    return Latch(orders)


class _File(msgspec.Struct):
    version: int
    orders: msgspec.Raw
    sha256: str = ""
