"""Whether a change of the boundary certainly only tightens.

What lives here: a comparison of two files that errs on one side. `widens` answers False only for changes that cannot
let anybody do more; everything that it cannot tell counts as widening, and needs the signatures of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from msgspec.structs import replace

from remit.gates.boundary.matching import covers
from remit.gates.boundary.words import ALL, Agent, Boundary, Category, LabelLimit, Never, Quota, Rule, VerdictRule
from remit.model.words import CONFIDENTIALITY_RANK, INTEGRITY_RANK, STRICTNESS, Decision

_Named = TypeVar("_Named", Rule, Quota, Never, VerdictRule)

# Fields that say nothing about what is allowed, or that are compared by themselves below.
_SAME = ("timezone", "detection_time", "approvals", "resume_by_another_person", "signatures")


def widens(old: Boundary, new: Boundary) -> bool:
    """False where `new` certainly allows nothing that `old` did not, at any time, for any agent or target."""
    return not (
        all(getattr(old, field) == getattr(new, field) for field in _SAME)
        and new.not_before >= old.not_before
        and new.not_after <= old.not_after
        and _same_or_witnessed(old.categories, new.categories)
        and new.tiers == old.tiers
        and new.pins == old.pins
        and set(new.static) <= set(old.static)
        and new.refusals.hold_after <= old.refusals.hold_after
        and new.refusals.within >= old.refusals.within
        and _agents_within(old.agents, new.agents)
        and _fewer_autos(_rules(old, Decision.AUTO), _rules(new, Decision.AUTO))
        # an `approve` allows what would be forbidden and restrains what would be `auto`, so it must stay as it is
        and _subset(_rules(new, Decision.APPROVE), _rules(old, Decision.APPROVE))
        and _subset(_rules(old, Decision.APPROVE), _rules(new, Decision.APPROVE))
        and _subset(_rules(old, Decision.FORBID), _rules(new, Decision.FORBID))
        and _subset(old.nevers, new.nevers)
        and _subset(old.quotas, new.quotas)
        and _subset(old.verdicts, new.verdicts)
    )


def _rules(boundary: Boundary, then: Decision) -> list[Rule]:
    return [rule for rule in boundary.rules if rule.then is then]


def _subset(fewer: Sequence[_Named], more: Sequence[_Named]) -> bool:
    known = {each.id: each for each in more}
    return all(known.get(each.id) == each for each in fewer)


def _fewer_autos(old: Sequence[Rule], new: Sequence[Rule]) -> bool:
    """Whether dropping some of the `auto` rules leaves nothing freer: where several match, the strictest mandate, label
    and ask of them count, so that a rule which goes may have held back one that stays."""
    kept = {rule.id for rule in new}
    gone = [rule for rule in old if rule.id not in kept]
    return _subset(new, old) and all(_holds_back(each, by) for by in gone for each in new if _meet(each, by))


def _meet(one: Rule, other: Rule) -> bool:
    """Whether some action may match both, by agent and category alone."""
    agents = ALL in (*one.agents, *other.agents) or not set(one.agents).isdisjoint(other.agents)
    pairs = ((mine, theirs) for mine in one.categories for theirs in other.categories)
    return agents and any(
        covers((mine,), theirs.rstrip(ALL)) or covers((theirs,), mine.rstrip(ALL)) for mine, theirs in pairs
    )


def _holds_back(stays: Rule, goes: Rule) -> bool:
    """Whether `stays` alone asks for at least what `goes` asked for."""
    if goes.in_mandate and not stays.in_mandate:
        return False
    if goes.label is not None and (stays.label is None or not _tighter(stays.label, goes.label)):
        return False
    return stays.ask == goes.ask


def _tighter(one: LabelLimit, other: LabelLimit) -> bool:
    return (
        INTEGRITY_RANK[one.integrity] <= INTEGRITY_RANK[other.integrity]
        and CONFIDENTIALITY_RANK[one.confidentiality] <= CONFIDENTIALITY_RANK[other.confidentiality]
    )


def _same_or_witnessed(old: Sequence[Category], new: Sequence[Category]) -> bool:
    """Whether nothing about the categories changed, but that some must be witnessed now, or are refused unwitnessed."""
    return len(old) == len(new) and all(
        replace(one, witnessed=other.witnessed, unwitnessed=other.unwitnessed) == other
        and _needs_witness(one) <= _needs_witness(other)
        for one, other in zip(old, new, strict=True)
    )


def _needs_witness(category: Category) -> int:
    return STRICTNESS[category.unwitnessed] if category.witnessed else STRICTNESS[Decision.AUTO]


def _agents_within(old: Sequence[Agent], new: Sequence[Agent]) -> bool:
    known = {agent.name: agent for agent in old}
    for agent in new:
        before = known.get(agent.name)
        if before is None or agent.owner != before.owner or agent.review_by > before.review_by:
            return False
        if not set(agent.categories) <= set(before.categories):
            return False
    return True
