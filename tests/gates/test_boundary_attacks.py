"""One attack per class of mistake that gates of this kind have been seen to make (limits, names, errors, widening)."""

from __future__ import annotations

import datetime

import pytest
from msgspec.structs import replace

from remit.gates.boundary.evaluator import Evaluator, compile_boundary
from remit.gates.boundary.load import BoundaryNotValid, load
from remit.gates.boundary.words import (
    Agent,
    Boundary,
    Category,
    Never,
    Quota,
    Request,
    Rule,
    Selector,
    Tier,
)
from remit.model.words import MINUTE, Ask, Claim, Decision, Effect, Mandate, Target, Used, Window

NOW = 1_767_300_000 * 1_000_000
WORKSTATION = Target(id="ws-1", kind="workstation", privileged=False)
BASE = Boundary(
    name="attacked",
    version=1,
    not_before=0,
    not_after=NOW * 2,
    detection_time=15 * MINUTE,
    timezone="Europe/Berlin",
    categories=(
        Category(name="host.isolate", does="isolate", effect=Effect.CHANGE),
        Category(name="host.wipe", does="wipe", effect=Effect.DESTROY),
        Category(name="mail.send", does="send", effect=Effect.SEND),
    ),
    agents=tuple(
        Agent(
            name=name,
            owner="lead@example.com",
            purpose="test",
            categories=("host.isolate", "host.wipe", "mail.send"),
            review_by=datetime.date(2090, 1, 1),
        )
        for name in ("one", "two")
    ),
    rules=(Rule(id="ALL", then=Decision.AUTO, agents=("*",), categories=("*",)),),
    quotas=(
        Quota(
            id="Q",
            agents=("*",),
            categories=("host.*",),
            window=15 * MINUTE,
            then=Decision.FORBID,
            max_distinct_targets=5,
        ),
    ),
)


def evaluator(**changes: object) -> Evaluator:
    """The evaluator of the boundary above with some fields changed."""
    return compile_boundary(replace(BASE, **changes), "sha256:0")


def isolate(target: Target = WORKSTATION, *, agent: str = "one", at: int = NOW, **changes: object) -> Request:
    """A request to isolate one target that is in the mandate."""
    request = Request(
        agent=agent,
        category="host.isolate",
        effect=Effect.CHANGE,
        connector="edr",
        tool="isolate_host",
        at=at,
        targets=(target,),
        mandate=Mandate((target.id,), ("*",)),
    )
    return replace(request, **changes)


class Ledger:
    """A counter as the store keeps it: claims that may have had an effect at or after a window's start."""

    def __init__(self) -> None:
        self.claims: list[Claim] = []

    def used(self, windows: tuple[Window, ...]) -> dict[str, Used]:
        """What stands in each window."""
        found = {}
        for window in windows:
            within = [
                claim
                for claim in self.claims
                if claim.start >= window.since and (not window.agents or claim.agent in window.agents)
            ]
            found[window.quota] = Used(
                frozenset(claim.target for claim in within), len({claim.action for claim in within})
            )
        return found

    def try_one(self, gate: Evaluator, request: Request) -> Decision:
        """Rules, and claims where it is let through."""
        decision = gate.rule(request, self.used(gate.windows(request.agent, request.category, request.at))).decision
        if decision is Decision.AUTO:
            name = f"act_{len(self.claims)}"
            self.claims += [Claim(name, request.agent, request.category, t.id, request.at) for t in request.targets]
        return decision


def burst(gate: Evaluator, ledger: Ledger, at: int, agent: str = "one", prefix: str = "ws") -> int:
    """How many of twenty different targets get through at one instant."""
    targets = [Target(id=f"{prefix}-{number}", kind="workstation", privileged=False) for number in range(20)]
    return [ledger.try_one(gate, isolate(target, agent=agent, at=at)) for target in targets].count(Decision.AUTO)


@pytest.mark.promise("P10")
def test_a_limit_fires_for_each_agent_and_callers_do_not_get_a_bucket_each_unless_it_says_so() -> None:
    ledger = Ledger()
    assert burst(evaluator(), ledger, NOW, "one", "a") + burst(evaluator(), ledger, NOW, "two", "b") == 5
    each = (replace(BASE.quotas[0], per_agent=True),)
    ledger = Ledger()
    gate = evaluator(quotas=each)
    assert [burst(gate, ledger, NOW, "one", "a"), burst(gate, ledger, NOW, "two", "b")] == [5, 5]


@pytest.mark.promise("P10")
def test_no_fifteen_minutes_hold_more_than_the_limit_however_bursts_straddle_a_clock_mark() -> None:
    gate, ledger = evaluator(), Ledger()
    mark = NOW - NOW % (15 * MINUTE)
    for step in range(-8, 40):
        burst(gate, ledger, mark + step * MINUTE, prefix=f"w{step}")
    starts = sorted(claim.start for claim in ledger.claims)
    assert len(starts) > 5
    for start in starts:
        assert len({claim.target for claim in ledger.claims if start <= claim.start < start + 15 * MINUTE}) <= 5


@pytest.mark.promise("P8")
def test_a_lost_counter_or_a_quota_unknown_to_the_counter_never_opens_the_gate() -> None:
    assert evaluator().rule(isolate(), {}).decision is Decision.FORBID
    assert evaluator().rule(isolate(), {"q": Used(), "Q ": Used()}).decision is Decision.FORBID


@pytest.mark.promise("P8")
def test_an_absent_attribute_never_skips_a_never() -> None:
    never = Never(id="N", categories=("*",), targets=Selector(kind=("domain-controller",)))
    for target in (Target(id="x"), Target(id="unknown:x", known=False), Target(id="x", kind="")):
        ruling = evaluator(nevers=(never,)).rule(isolate(target), {"Q": Used()})
        assert [clause.id for clause in ruling.clauses] == ["N"], target


@pytest.mark.parametrize(
    "name",
    ["MORDORDC", "mordordc.", "MordorDC.shire.example", "ＭＯＲＤＯＲＤＣ", "mordordc.shire.example.", "edr:MORDORDC"],
)
@pytest.mark.promise("P4")
def test_no_spelling_of_a_protected_name_gets_past_a_never(name: str) -> None:
    gate = evaluator(nevers=(Never(id="N", categories=("*",), targets=Selector(names=("mordordc",))),))
    for target in (Target(id=name, kind="workstation"), Target(id="ws-9", kind="workstation", aliases=(name,))):
        assert gate.rule(isolate(target), {"Q": Used()}).decision is Decision.FORBID


@pytest.mark.promise("P8")
def test_a_look_alike_of_a_protected_name_is_unknown_and_so_forbidden() -> None:
    gate = evaluator(nevers=(Never(id="N", categories=("*",), targets=Selector(names=("mordordc",))),))
    look_alike = Target(id="unknown:\u043cordordc", known=False)
    assert gate.rule(isolate(look_alike), {"Q": Used()}).decision is Decision.FORBID


def test_an_alias_never_brings_a_target_under_an_auto() -> None:
    rule = Rule(
        id="WS", then=Decision.AUTO, agents=("*",), categories=("host.isolate",), targets=Selector(names=("ws-*",))
    )
    gate = evaluator(rules=(rule,))
    alias = Target(id="dc-1", kind="domain-controller", aliases=("ws-1", "edr:ws-2", "ws-3.corp.example"))
    assert gate.rule(isolate(alias), {"Q": Used()}).decision is Decision.FORBID
    assert gate.rule(isolate(WORKSTATION), {"Q": Used()}).decision is Decision.AUTO


def test_a_target_in_two_tiers_never_takes_the_looser_one() -> None:
    tiers = (
        Tier(name="ordinary", where=Selector(kind=("workstation",))),
        Tier(name="critical", where=Selector(labels=("crown",))),
    )
    rule = Rule(
        id="WS", then=Decision.AUTO, agents=("*",), categories=("host.isolate",), targets=Selector(tier=("ordinary",))
    )
    crown = replace(WORKSTATION, labels=("Crown",))
    for order in (tiers, tiers[::-1]):
        gate = evaluator(tiers=order, rules=(rule,))
        assert gate.rule(isolate(crown), {"Q": Used()}).decision is Decision.FORBID


@pytest.mark.parametrize(("category", "effect"), [("host.wipe", Effect.DESTROY), ("mail.send", Effect.SEND)])
def test_a_star_never_lets_anything_destroy_or_send(category: str, effect: Effect) -> None:
    request = isolate(category=category, effect=effect)
    assert evaluator().rule(request, {"Q": Used()}).decision is Decision.FORBID


@pytest.mark.promise("P5")
def test_an_added_auto_never_shadows_a_stricter_clause_whatever_the_order() -> None:
    ask = Rule(id="ASK", then=Decision.APPROVE, agents=("*",), categories=("host.isolate",))
    for rules in ((ask, *BASE.rules), (*BASE.rules, ask)):
        assert evaluator(rules=rules).rule(isolate(), {"Q": Used()}).decision is Decision.APPROVE


def test_rules_that_ask_different_people_never_end_with_nobody_asked() -> None:
    asks = tuple(
        Rule(id=role, then=Decision.APPROVE, agents=("*",), categories=("*",), ask=Ask(roles=(role,)))
        for role in ("leader", "approver")
    )
    ruling = evaluator(rules=asks).rule(isolate(), {"Q": Used()})
    assert (ruling.decision, [clause.id for clause in ruling.clauses]) == (Decision.FORBID, ["approvers"])


@pytest.mark.promise("P4")
def test_what_was_remembered_of_a_target_is_not_used_once_the_target_means_something_else() -> None:
    rule = Rule(
        id="WS",
        then=Decision.AUTO,
        agents=("*",),
        categories=("host.isolate",),
        targets=Selector(kind=("workstation",)),
    )
    gate = evaluator(rules=(rule,))
    assert gate.rule(isolate(WORKSTATION), {"Q": Used()}).decision is Decision.AUTO
    changed = replace(WORKSTATION, kind="domain-controller")
    assert gate.rule(isolate(changed), {"Q": Used()}).decision is Decision.FORBID


def test_names_that_callers_make_up_do_not_fill_the_memory() -> None:
    gate = evaluator()
    for number in range(50):
        gate.rule(isolate(Target(id=f"unknown:{number}", known=False), agent=f"agent-{number}"), {"Q": Used()})
        gate.rule(isolate(category=f"made.up-{number}"), {"Q": Used()})
    assert len(gate._buckets) == 0
    assert len(gate._profiles._remembered) <= 1


@pytest.mark.parametrize("pattern", ["\u0455\u043e\u0441-*", "soc\u200b-*", "s*c", "", "soc-*\\n"])
def test_a_never_that_could_never_match_what_it_looks_like_is_not_loaded(pattern: str) -> None:
    file = f'[[never]]\nid = "N"\ncategories = ["*"]\ntargets = ["{pattern}"]\n'
    with pytest.raises(BoundaryNotValid) as caught:
        load(file.encode())
    assert any(problem.path == "never[N].targets[0]" for problem in caught.value.problems)
