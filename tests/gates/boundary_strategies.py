"""Random boundaries and requests that hit every kind of clause often, out of few names, so that they meet."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from random import Random
from typing import TypeVar

from hypothesis import strategies as st

from remit.gates.boundary.words import (
    Agent,
    Boundary,
    Category,
    Hours,
    LabelLimit,
    Never,
    Quota,
    Request,
    Rule,
    Selector,
    StaticException,
    Tier,
    VerdictRule,
)
from remit.model.reading import instant
from remit.model.words import (
    MINUTE,
    REMIT,
    VERDICTS,
    Ask,
    Clause,
    Confidentiality,
    CredentialClass,
    Decision,
    Effect,
    Integrity,
    Label,
    Mandate,
    Target,
    Used,
)

REQUESTS_PER_BOUNDARY = 40

EFFECTS = {
    "evidence.read": Effect.READ,
    "case.read": Effect.READ,
    "host.isolate": Effect.CHANGE,
    "host.release": Effect.CHANGE,
    "host.script": Effect.DESTROY,
    "account.disable": Effect.CHANGE,
    "account.delete": Effect.DESTROY,
    "mail.send": Effect.SEND,
}
CATEGORIES = tuple(EFFECTS)
AGENTS = ("triage", "hunter", "sweeper")
CONNECTORS = ("edr", "idp")
TOOLS = ("isolate_host", "get", "delete")
ROLES = ("approver", "leader", "on-call")
NAMES = ("ws-*", "DNS-*", "mordordc", "dc1.corp.example", "10.0.0.0/8", "svc-backup", "*")
TARGETS = (
    Target(id="WS-1", kind="workstation", privileged=False, owner="ann@example.com", aliases=("ws-1.corp.example",)),
    Target(id="ws-2", kind="workstation", privileged=True, owner="Bob@example.com", labels=("Crown",)),
    Target(id="ws-3", kind="workstation", owner="ann@example.com"),
    Target(id="ws-4", privileged=False),
    Target(id="MORDORDC.shire.example", kind="domain-controller", privileged=True, aliases=("10.9.8.7", "edr:ws-77")),
    Target(id="dc1", kind="domain-controller", privileged=True, labels=("crown", "eu")),
    Target(id="dns-1", kind="dns", privileged=False, labels=("eu",)),
    Target(id="resolver", kind="dns", aliases=("dns-2.corp.example", "idp:DNS-2")),
    Target(id="mordordc.pippin", kind="account", privileged=False),
    Target(id="svc-backup", kind="account", privileged=True, aliases=("idp:4711",), owner="bob@example.com"),
    Target(id="203.0.113.9", kind="address"),
    Target(id="10.1.0.0/16", kind="address", privileged=False),
    Target(id="unknown:ws-9", known=False),
    Target(id="unknown:mordordc", kind="workstation", privileged=False, known=False),
)

BEGIN = instant(datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC))
END = instant(datetime.datetime(2026, 12, 1, tzinfo=datetime.UTC))
ZONES = ("Europe/Berlin", "UTC", "Australia/Lord_Howe", "America/New_York", "Asia/Kolkata", "America/Santiago")
EDGES = tuple(
    instant(datetime.datetime.fromisoformat(text))
    for text in (
        "2026-03-29T01:00:00+00:00",  # Berlin skips 02:00 to 03:00
        "2026-10-25T01:00:00+00:00",  # Berlin repeats 02:00 to 03:00
        "2026-09-06T04:00:00+00:00",  # Santiago skips midnight
        "2026-04-05T04:00:00+00:00",  # Santiago repeats the hour before midnight
        "2026-04-04T15:00:00+00:00",  # Lord Howe goes back by half an hour
        "2026-06-30T22:00:00+00:00",  # midnight in Berlin
        "2026-07-01T00:00:00+00:00",
        "2026-07-01T08:00:00+00:00",
    )
)
DAYS = (datetime.date(2026, 6, 30), datetime.date(2026, 9, 5), datetime.date(2026, 4, 4), datetime.date(2027, 1, 1))


T = TypeVar("T")


class Dice:
    """The choices of one example."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def chance(self, percent: int) -> bool:
        """True in so many of a hundred cases."""
        return self.random.randrange(100) < percent

    def one(self, values: Sequence[T]) -> T:
        """One of the values."""
        return values[self.random.randrange(len(values))]

    def some(self, values: Sequence[T], most: int = 3) -> tuple[T, ...]:
        """One or more of the values, different ones."""
        count = 1 + self.random.randrange(min(most, len(values)))
        start = self.random.randrange(len(values))
        return tuple(values[(start + step) % len(values)] for step in range(count))


def _categories(dice: Dice) -> tuple[str, ...]:
    if dice.chance(30):
        return (dice.one(("*", "host.*", "account.*")),)
    return dice.some(CATEGORIES)


def _agents(dice: Dice) -> tuple[str, ...]:
    return ("*",) if dice.chance(60) else dice.some(AGENTS, 2)


def _selector(dice: Dice, tiers: tuple[str, ...] = (), density: int = 25) -> Selector:
    return Selector(
        tier=dice.some(tiers, 2) if tiers and dice.chance(70) else (),
        kind=dice.some(("workstation", "dns", "domain-controller", "account")) if dice.chance(density) else (),
        privileged=dice.chance(30) if dice.chance(density) else None,
        owner=("ANN@example.com",) if dice.chance(density // 3) else (),
        labels=dice.some(("crown", "EU"), 2) if dice.chance(density // 2) else (),
        names=dice.some(NAMES, 2) if dice.chance(density) else (),
    )


def _ask(dice: Dice) -> Ask:
    return Ask(
        quorum=1 + dice.random.randrange(3),
        roles=("approver", dice.one(ROLES)) if dice.chance(85) else (dice.one(ROLES),),
        answer_within=dice.one((5, 30, 60)) * MINUTE,
        owner_may_approve=dice.chance(50),
    )


def _rule(dice: Dice, number: int, tiers: tuple[str, ...]) -> Rule:
    then = dice.one((Decision.AUTO, Decision.AUTO, Decision.AUTO, Decision.AUTO, Decision.APPROVE, Decision.FORBID))
    broad = then is Decision.AUTO and dice.chance(35)
    narrow = then is Decision.FORBID
    return Rule(
        id=f"R-{number}",
        then=then,
        agents=("*",) if broad else _agents(dice),
        categories=dice.one((("*",), CATEGORIES)) if broad else _categories(dice),
        targets=None if broad or (not narrow and dice.chance(40)) else _selector(dice, tiers, 50 if narrow else 12),
        connectors=dice.some(CONNECTORS, 1) if dice.chance(15) else (),
        tools=dice.some(TOOLS, 2) if dice.chance(15) else (),
        in_mandate=dice.chance(60),
        hours=Hours(*dice.one(((0, 720), (1320, 360), (120, 180), (0, 1440), (480, 1080))))
        if dice.chance(20)
        else None,
        label=LabelLimit(integrity=dice.one(tuple(Integrity)), confidentiality=dice.one(tuple(Confidentiality)))
        if dice.chance(15)
        else None,
        ask=_ask(dice),
    )


def _quota(dice: Dice, number: int) -> Quota:
    targets = dice.one((1, 3, 5)) if dice.chance(70) else None
    return Quota(
        id=f"Q-{number}",
        agents=_agents(dice),
        categories=_categories(dice),
        window=15 * MINUTE,
        then=dice.one((Decision.APPROVE, Decision.FORBID)),
        max_distinct_targets=targets,
        max_actions=dice.one((2, 20)) if targets is None or dice.chance(30) else None,
        per_agent=dice.chance(50),
    )


def _never(dice: Dice, number: int, tiers: tuple[str, ...]) -> Never:
    return Never(
        id=f"N-{number}",
        categories=_categories(dice),
        targets=None if dice.chance(10) else _selector(dice, tiers, 60),
        agents=_agents(dice),
        reads=dice.chance(20),
    )


def _verdict(dice: Dice, number: int, tiers: tuple[str, ...]) -> VerdictRule:
    return VerdictRule(
        id=f"V-{number}",
        agents=_agents(dice),
        verdicts=dice.some(VERDICTS),
        targets=None if dice.chance(10) else _selector(dice, tiers, 60),
        ask=_ask(dice),
    )


def _boundary(dice: Dice) -> Boundary:
    tiers = ("critical", "ordinary", "other")[: dice.one((0, 2, 3))]
    return Boundary(
        name="random",
        version=1,
        not_before=BEGIN,
        not_after=END,
        detection_time=15 * MINUTE,
        timezone=dice.one(ZONES),
        approvals=_ask(dice),
        categories=tuple(
            Category(
                name=name,
                does="do it",
                effect=effect,
                witnessed=dice.chance(25),
                unwitnessed=dice.one((Decision.APPROVE, Decision.FORBID)),
            )
            for name, effect in EFFECTS.items()
        ),
        agents=tuple(
            Agent(
                name=name,
                owner="lead@example.com",
                purpose="test",
                categories=CATEGORIES if dice.chance(60) else dice.some(CATEGORIES, 6),
                review_by=dice.one(DAYS) if dice.chance(30) else DAYS[-1],
            )
            for name in AGENTS[:2]
        ),
        tiers=tuple(Tier(name=name, where=_selector(dice, density=40)) for name in tiers),
        rules=tuple(_rule(dice, number, tiers) for number in range(dice.random.randrange(9))),
        quotas=tuple(_quota(dice, number) for number in range(dice.random.randrange(3))),
        nevers=tuple(_never(dice, number, tiers) for number in range(dice.random.randrange(3))),
        verdicts=tuple(_verdict(dice, number, tiers) for number in range(dice.random.randrange(4))),
        static=(StaticException(connector="edr", rotate_by=dice.one(DAYS), reason="test"),) if dice.chance(50) else (),
    )


def _at(dice: Dice) -> int:
    if dice.chance(70):
        return BEGIN + dice.random.randrange((END - BEGIN) // MINUTE) * MINUTE
    return dice.one((*EDGES, BEGIN, END)) + dice.one((-1, 0, 1, -60 * MINUTE, 60 * MINUTE))


def _targets(dice: Dice) -> tuple[Target, ...]:
    if dice.chance(10):
        return ()
    return dice.some(TARGETS, 4) if dice.chance(25) else (dice.one(TARGETS),)


def _mandate(dice: Dice, targets: tuple[Target, ...], category: str) -> Mandate | None:
    if dice.chance(3):
        return None
    named = tuple(target.id for target in targets) if dice.chance(70) else ("ws-2", "dc1")
    categories = (category, "case.read") if dice.chance(50) else ("*",) if dice.chance(92) else ("mail.send",)
    return Mandate(named, categories)


def _held(dice: Dice) -> tuple[Clause, ...]:
    if dice.chance(95):
        return ()
    return (Clause("unsettled", dice.one(tuple(Decision)), "held"),)


def _request(dice: Dice) -> Request:
    category = dice.one(CATEGORIES) if dice.chance(98) else "host.unheard-of"
    effect = EFFECTS.get(category, Effect.CHANGE) if dice.chance(92) else dice.one(tuple(Effect))
    targets = _targets(dice)
    own = dice.chance(6)
    return Request(
        agent=REMIT if own else dice.one(AGENTS[:2]) if dice.chance(96) else AGENTS[2],
        category=category,
        effect=Effect.READ if own and dice.chance(85) else effect,
        connector=dice.one(CONNECTORS),
        tool=dice.one(TOOLS),
        at=_at(dice),
        credential=CredentialClass.WARRANT if dice.chance(90) else dice.one(tuple(CredentialClass)),
        targets=targets,
        bounded=dice.chance(95),
        mandate=_mandate(dice, targets, category),
        label=Label(
            Integrity.THIRD_PARTY if dice.chance(60) else dice.one(tuple(Integrity)),
            Confidentiality.INTERNAL if dice.chance(60) else dice.one(tuple(Confidentiality)),
        ),
        own=dice.chance(90) if own else dice.chance(2),
        unclassified=dice.chance(2),
        unwitnessed=dice.chance(10),
        held=_held(dice),
    )


def _used(dice: Dice, boundary: Boundary) -> dict[str, Used]:
    used = {}
    for quota in boundary.quotas:
        if dice.chance(94):
            count = dice.random.randrange(3) if dice.chance(80) else dice.random.randrange(8)
            ids = frozenset(target.id for target in dice.some(TARGETS, 8)[:count])
            used[quota.id] = Used(ids, max(len(ids), dice.one((0, 1, 2, 19, 20)) if dice.chance(20) else 0))
    return used


Case = tuple[Boundary, list[tuple[Request, dict[str, Used]]]]


@st.composite
def cases(draw: st.DrawFn, requests: int = REQUESTS_PER_BOUNDARY) -> Case:
    """A boundary, and so many requests with what stands in its windows."""
    dice = Dice(draw(st.randoms(use_true_random=True)))
    boundary = _boundary(dice)
    return boundary, [(_request(dice), _used(dice, boundary)) for _ in range(requests)]
