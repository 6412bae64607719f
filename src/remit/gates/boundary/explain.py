"""Why a request would be ruled as it would, and what would have to be different.

What would have to be different is found by trying: one attribute is changed at a time, the changed request is ruled,
and the change is told only where the ruling turned out less strict.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping

from msgspec import Struct
from msgspec.structs import asdict, replace

from remit.gates.boundary.clock import LocalClock
from remit.gates.boundary.evaluator import Evaluator, compile_boundary, matches_category
from remit.gates.boundary.matching import ANYTHING, Facts, Profiles, certainty, covers
from remit.gates.boundary.words import ALL, BUILT_IN, Boundary, Never, Quota, Request, Rule, Selector
from remit.model.words import (
    MINUTE,
    REMIT,
    STRICTNESS,
    Clause,
    Confidentiality,
    CredentialClass,
    Decision,
    Effect,
    Integrity,
    Label,
    Mandate,
    Ruling,
    Target,
    Used,
)

_MOST_TARGETS = 8
_NEVER_DUE = datetime.date(9000, 1, 1)


class Considered(Struct, frozen=True):
    """A clause that was looked at: whether it applies, what it then decides, and why it does or does not."""

    id: str
    applies: bool
    then: Decision
    because: str


class Change(Struct, frozen=True):
    """One thing that could be different, and what the ruling would then be."""

    what: str
    decision: Decision


class Explanation(Struct, frozen=True, kw_only=True):
    """The ruling, every clause considered (nevers, rules, quotas, built-in ones), and what would change it."""

    ruling: Ruling
    considered: tuple[Considered, ...]
    changes: tuple[Change, ...]

    @property
    def decision(self) -> Decision:
        """The ruling's decision."""
        return self.ruling.decision

    @property
    def deciding(self) -> tuple[Clause, ...]:
        """The clauses that decided."""
        return self.ruling.clauses


def explain(evaluator: Evaluator, request: Request, used: Mapping[str, Used]) -> Explanation:
    """What would happen, by which clause, and what would have to be different for less strictness."""
    ruling = evaluator.rule(request, used)
    return Explanation(
        ruling=ruling,
        considered=tuple(_considered(evaluator, request, used, ruling)),
        changes=tuple(_changes(evaluator, request, used, ruling.decision)),
    )


def _considered(
    evaluator: Evaluator, request: Request, used: Mapping[str, Used], ruling: Ruling
) -> Iterator[Considered]:
    boundary = evaluator.boundary
    fired = evaluator.fired(request, used)
    applying = {clause.id: clause for clause in (*fired.auto, *fired.approve, *fired.forbid, *ruling.clauses)}
    own = request.own and request.agent == REMIT
    entries: tuple[Rule | Never | Quota, ...] = (*boundary.nevers, *boundary.rules, *boundary.quotas)
    for each in entries:
        then = Decision.FORBID if isinstance(each, Never) else each.then
        if each.id in applying:
            yield Considered(each.id, True, then, applying[each.id].says)
        else:
            because = "Remit's own reads are not asked for rules" if own and isinstance(each, Rule) else ""
            yield Considered(each.id, False, then, because or "; ".join(_why_not(boundary, each, request)))
    written = {each.id for each in entries}
    for name, clause in applying.items():
        if name not in written:
            yield Considered(name, True, clause.then, clause.says)
    for name in BUILT_IN:
        if name not in applying and name not in ("approvers", "remit", "verdict"):
            yield Considered(name, False, Decision.FORBID, f"it is not the case that {BUILT_IN[name]}")


def _why_not(boundary: Boundary, each: Rule | Never | Quota, request: Request) -> list[str]:
    """Why an entry that does not apply does not."""
    reasons = []
    if ALL not in each.agents and request.agent not in each.agents:
        reasons.append(f"it is about {_ticked(each.agents)}, not about `{request.agent}`")
    if not covers(each.categories, request.category):
        reasons.append(f"it is about {_ticked(each.categories)}, not about `{request.category}`")
    if isinstance(each, Quota):
        return reasons or ["the limit is not reached"]
    if isinstance(each, Never) and request.effect is Effect.READ and not each.reads:
        reasons.append("it leaves reads alone")
    if isinstance(each, Rule):
        reasons += _why_not_rule(boundary, each, request)
    reasons += _why_not_targets(boundary, each, request)
    return reasons or ["not every part of it matches"]


def _why_not_rule(boundary: Boundary, rule: Rule, request: Request) -> Iterator[str]:
    category = boundary.category(request.category)
    effect = category.effect if category is not None else None
    if covers(rule.categories, request.category) and not matches_category(rule, request.category, effect):
        yield f"its `*` does not reach `{request.category}`, which destroys or sends"
    if rule.connectors and request.connector not in rule.connectors:
        yield f"it is about {_ticked(rule.connectors)}, not about `{request.connector}`"
    if rule.tools and request.tool not in rule.tools:
        yield f"it is about {_ticked(rule.tools)}, not about `{request.tool}`"
    if rule.hours is not None and not LocalClock(boundary.timezone, {rule.hours: 1}, 0).open_at(request.at):
        yield "it is outside its hours"


def _why_not_targets(boundary: Boundary, each: Rule | Never, request: Request) -> Iterator[str]:
    """Which stated facts keep every member from matching."""
    if each.targets is None:
        return
    needed = 2 if isinstance(each, Rule) and each.then is Decision.AUTO else 1
    profiles = Profiles(boundary)
    members: list[tuple[str, Facts]] = [(target.id, profiles.facts(target)) for target in request.targets]
    if not members or not request.bounded:
        members.append(("what cannot be told", ANYTHING))
    for name, facts in members[:_MOST_TARGETS]:
        for field, value in asdict(each.targets).items():
            if value in ((), None):
                continue
            found = certainty(Selector(**{field: value}), facts)
            if found < needed:
                verb = "is not known to have" if found == 1 else "does not have"
                wanted = _ticked(value) if isinstance(value, tuple) else ("yes" if value else "no")
                yield f"`{name}` {verb} the {field} that it wants ({wanted})"


def _ticked(values: tuple[str, ...]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _changes(evaluator: Evaluator, request: Request, used: Mapping[str, Used], decision: Decision) -> Iterator[Change]:
    seen: set[str] = set()
    for what, tried, other, spent in _candidates(evaluator, request, used):
        if what in seen:
            continue
        found = other.rule(tried, spent).decision
        if STRICTNESS[found] < STRICTNESS[decision]:
            seen.add(what)
            yield Change(what, found)


_Candidate = tuple[str, Request, Evaluator, Mapping[str, Used]]


def _candidates(evaluator: Evaluator, request: Request, used: Mapping[str, Used]) -> Iterator[_Candidate]:
    """One attribute different at a time."""
    for what, tried in _other_requests(evaluator.boundary, request):
        yield what, tried, evaluator, used
    for quota in evaluator.boundary.quotas:
        yield f"nothing had been counted yet under `{quota.id}`", request, evaluator, {**used, quota.id: Used()}
    yield from _other_grants(evaluator, request, used)


def _other_grants(evaluator: Evaluator, request: Request, used: Mapping[str, Used]) -> Iterator[_Candidate]:
    boundary = evaluator.boundary
    agent = boundary.agent(request.agent)
    if agent is None:
        return
    others = {f"the review of `{agent.name}` were not due": replace(agent, review_by=_NEVER_DUE)}
    if request.category not in agent.categories and boundary.category(request.category) is not None:
        granted = (*agent.categories, request.category)
        others[f"`{agent.name}` were granted `{request.category}`"] = replace(agent, categories=granted)
    for what, other in others.items():
        agents = tuple(other if each is agent else each for each in boundary.agents)
        yield what, request, compile_boundary(replace(boundary, agents=agents), evaluator.digest), used


def _other_requests(boundary: Boundary, request: Request) -> Iterator[tuple[str, Request]]:
    if request.unwitnessed:
        yield "the witnesses of the record answered", replace(request, unwitnessed=False)
    for agent in boundary.agents:
        yield f"the agent were `{agent.name}`", replace(request, agent=agent.name)
    mandate = request.mandate or Mandate((), (request.category,))
    targets = tuple(target.id for target in request.targets)
    yield (
        "the targets were in the mandate of the run",
        replace(request, mandate=replace(mandate, targets=(*mandate.targets, *targets))),
    )
    yield (
        f"the mandate of the run had `{request.category}`",
        replace(request, mandate=replace(mandate, categories=(*mandate.categories, request.category))),
    )
    yield (
        "the run had read nothing that outsiders could have written",
        replace(request, label=Label(Integrity.OPERATOR, request.label.confidentiality)),
    )
    yield (
        "the run had read nothing that is not public",
        replace(request, label=Label(request.label.integrity, Confidentiality.PUBLIC)),
    )
    yield "the members of the set were known", replace(request, bounded=True)
    yield "the connector checked warrants", replace(request, credential=CredentialClass.WARRANT)
    yield "the tool were classified", replace(request, unclassified=False)
    yield "nothing else held it", replace(request, held=())
    yield from _other_times(boundary, request)
    yield from _other_tools(boundary, request)
    yield from _other_targets(boundary, request)


def _other_times(boundary: Boundary, request: Request) -> Iterator[tuple[str, Request]]:
    if request.at < boundary.not_before:
        yield "the boundary were valid already", replace(request, at=boundary.not_before)
    if request.at >= boundary.not_after:
        yield "the boundary had not expired", replace(request, at=boundary.not_after - 1)
    for step in range(1, 96) if any(rule.hours is not None for rule in boundary.rules) else ():
        at = request.at + step * 15 * MINUTE
        if boundary.not_before <= at < boundary.not_after:
            yield "it were another time of the day", replace(request, at=at)


def _other_tools(boundary: Boundary, request: Request) -> Iterator[tuple[str, Request]]:
    for rule in boundary.rules:
        for connector in rule.connectors:
            yield f"the connector were `{connector}`", replace(request, connector=connector)
        for tool in rule.tools:
            yield f"the tool were `{tool}`", replace(request, tool=tool)


def _other_targets(boundary: Boundary, request: Request) -> Iterator[tuple[str, Request]]:
    entries: tuple[Rule | Never, ...] = (*boundary.rules, *boundary.nevers)
    selectors = [tier.where for tier in boundary.tiers]
    selectors += [each.targets for each in entries if each.targets is not None]
    for target in request.targets[:_MOST_TARGETS]:
        for what, other in _other_facts(selectors, target):
            changed = tuple(other if each is target else each for each in request.targets)
            yield f"`{target.id}` {what}", replace(request, targets=changed)
        if len(request.targets) > 1:
            rest = tuple(each for each in request.targets if each is not target)
            yield f"`{target.id}` were left out", replace(request, targets=rest)


def _other_facts(selectors: list[Selector], target: Target) -> Iterator[tuple[str, Target]]:
    if not target.known:
        yield "were in the inventory", replace(target, known=True)
    for kind in sorted({kind for selector in selectors for kind in selector.kind}):
        yield f"were of the kind `{kind}`", replace(target, kind=kind)
    yield "were known not to be privileged", replace(target, privileged=False)
    yield "were known to be privileged", replace(target, privileged=True)
    for owner in sorted({owner for selector in selectors for owner in selector.owner}):
        yield f"belonged to `{owner}`", replace(target, owner=owner)
    for label in sorted({label for selector in selectors for label in selector.labels}):
        yield f"were marked `{label}`", replace(target, labels=(*target.labels, label))
    if target.labels:
        yield "had no labels", replace(target, labels=())
