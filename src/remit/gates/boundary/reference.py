"""The boundary's reference: a naive reading of the semantics, to test the evaluator against. Never used at run time.

What lives here: the shortest code that is obviously right, without regard for speed, sharing only the types with the
evaluator. What never may: anything imported from the evaluator, or from what it is built on.

Each function named `says_…` is one sentence of the semantics and returns the clauses that this sentence adds, as pairs
of clause id and decision.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from remit.gates.boundary.words import Boundary, Never, Quota, Request, Rule, Selector
from remit.model.targets import connector_alias, network_of, normalise
from remit.model.words import (
    CONFIDENTIALITY_RANK,
    INTEGRITY_RANK,
    STRICTNESS,
    Ask,
    CredentialClass,
    Decision,
    Effect,
    Target,
    Used,
)

AUTO, APPROVE, FORBID = Decision.AUTO, Decision.APPROVE, Decision.FORBID
Said = tuple[str, Decision]


class Answer(NamedTuple):
    """The decision, the ids of the clauses that decided, and the ask where a human is asked."""

    decision: Decision
    clauses: frozenset[str]
    ask: Ask | None


def rule(boundary: Boundary, request: Request, used: Mapping[str, Used]) -> Answer:
    """The ruling, worked out the long way."""
    said = [*says_of_the_request(boundary, request, used), *says_held(request)]
    for member in members(request):
        said += says_never(boundary, request, member)
        if not is_own(request):
            said += says_rules(boundary, request, member)
            said += says_mandate(boundary, request, member)
            said += says_label(boundary, request, member)
    decision = max((then for _, then in said), key=STRICTNESS.__getitem__)
    ask = joined_ask(boundary, request, used) if decision is APPROVE else None
    if ask is not None and not ask.roles:
        return Answer(FORBID, frozenset({"approvers"}), None)
    return Answer(decision, frozenset(clause for clause, then in said if then is decision), ask)


def rule_verdict(boundary: Boundary, agent: str, verdict: str, targets: Sequence[Target]) -> Answer:
    """A person must agree where some `[[verdict]]` is about the agent, the verdict, and possibly one of the targets; a
    case without targets may be about anything."""
    concerned: list[Target | None] = [*targets] if targets else [None]
    asking = [
        each
        for each in boundary.verdicts
        if listed(each.agents, agent)
        and verdict in each.verdicts
        and any(possibly(boundary, each.targets, member) for member in concerned)
    ]
    if not asking:
        return Answer(AUTO, frozenset({"verdict"}), None)
    ask = strictest_of([each.ask for each in asking])
    if not ask.roles:
        return Answer(FORBID, frozenset({"approvers"}), None)
    return Answer(APPROVE, frozenset(each.id for each in asking), ask)


def members(request: Request) -> list[Target | None]:
    """Each target; None stands for one of which nothing is known."""
    listed: list[Target | None] = list(request.targets)
    return listed if listed and request.bounded else [*listed, None]


def is_own(request: Request) -> bool:
    """Whether it is Remit's own call."""
    return request.own and request.agent == "remit"


def says_of_the_request(boundary: Boundary, request: Request, used: Mapping[str, Used]) -> Iterator[Said]:
    """All that is said whatever the member."""
    yield from says_who(boundary, request)
    yield from says_when(boundary, request)
    yield from says_how(boundary, request)
    yield from says_witness(boundary, request)
    for quota in boundary.quotas:
        yield from says_quota(quota, request, used)


def says_who(boundary: Boundary, request: Request) -> Iterator[Said]:
    """A category that is not granted is forbidden, and so is one outside the run's mandate."""
    if is_own(request):
        yield "remit", AUTO if request.effect is Effect.READ else FORBID
        return
    agents = {agent.name: agent for agent in boundary.agents}
    categories = {category.name: category for category in boundary.categories}
    if request.agent not in agents:
        yield "agent", FORBID
    elif request.category not in agents[request.agent].categories or request.category not in categories:
        yield "category", FORBID
    if request.category in categories:
        declared = categories[request.category].effect
        allowed = {Effect.READ, declared} | ({Effect.CHANGE} if declared is Effect.DESTROY else set())
        if request.effect not in allowed:
            yield "effect", FORBID
    if request.mandate is None or not any(written(each, request.category) for each in request.mandate.categories):
        yield "mandate", FORBID


def says_when(boundary: Boundary, request: Request) -> Iterator[Said]:
    """Not yet valid: forbidden. Expired (but for Remit's own reads), or the agent's review is due: at least a human."""
    if request.at < boundary.not_before:
        yield "not-yet-valid", FORBID
    if request.at >= boundary.not_after and not is_own(request):
        yield "expiry", APPROVE
    for agent in boundary.agents:
        if agent.name == request.agent and today(boundary, request) > agent.review_by:
            yield "review", APPROVE


def says_how(boundary: Boundary, request: Request) -> Iterator[Said]:
    """Parked tools, credentials that are not good enough, and targets that cannot be told."""
    if request.unclassified:
        yield "unclassified", FORBID
    if not request.bounded:
        yield "unbounded", APPROVE
    if request.effect is Effect.READ:
        return
    if request.credential is CredentialClass.NONE:
        yield "credential", FORBID
    if request.credential is CredentialClass.STATIC:
        excused = [
            each
            for each in boundary.static
            if each.connector == request.connector and today(boundary, request) <= each.rotate_by
        ]
        if not excused:
            yield "static", FORBID
    if any(not target.known for target in request.targets):
        yield "unknown-target", APPROVE


def says_witness(boundary: Boundary, request: Request) -> Iterator[Said]:
    """While the witnesses are away, a category that must be witnessed is at least what it says. Remit's own reads are
    left out."""
    for category in boundary.categories:
        if category.name == request.category and category.witnessed and request.unwitnessed and not is_own(request):
            yield "witness", category.unwitnessed


def says_quota(quota: Quota, request: Request, used: Mapping[str, Used]) -> Iterator[Said]:
    """An exhausted quota says what it says; a lost counter is an exhausted one."""
    if not (listed(quota.agents, request.agent) and any(written(each, request.category) for each in quota.categories)):
        return
    if quota.id not in used:
        yield quota.id, quota.then
        return
    actions = used[quota.id].actions + 1
    targets = used[quota.id].targets | {target.id for target in request.targets}
    too_many_actions = quota.max_actions is not None and actions > quota.max_actions
    too_many_targets = quota.max_distinct_targets is not None and (
        len(targets) > quota.max_distinct_targets or not request.bounded
    )
    if too_many_actions or too_many_targets:
        yield quota.id, quota.then


def says_held(request: Request) -> Iterator[Said]:
    """Clauses from elsewhere join, and only ever tighten."""
    for clause in request.held:
        if clause.then is not AUTO:
            yield clause.id, clause.then


def says_never(boundary: Boundary, request: Request, member: Target | None) -> Iterator[Said]:
    """A never that possibly matches forbids; reads only where it says so."""
    for never in boundary.nevers:
        if about(never, request) and possibly(boundary, never.targets, member):
            yield never.id, FORBID


def about(never: Never, request: Request) -> bool:
    """Whether the never covers the agent, the category and the effect."""
    return (
        listed(never.agents, request.agent)
        and any(written(each, request.category) for each in never.categories)
        and (never.reads or request.effect is not Effect.READ)
    )


def says_rules(boundary: Boundary, request: Request, member: Target | None) -> Iterator[Said]:
    """Every rule that matches says its word; where none does, it is forbidden."""
    matching = matching_rules(boundary, request, member)
    if not matching:
        yield "no-rule", FORBID
    for each in matching:
        yield each.id, each.then


def says_mandate(boundary: Boundary, request: Request, member: Target | None) -> Iterator[Said]:
    """Outside the mandate a human is asked, unless every `auto` that matches reaches beyond it."""
    inside = request.mandate.targets if request.mandate is not None else ()
    outside = member.id not in inside if member is not None else not request.bounded
    autos = [each for each in matching_rules(boundary, request, member) if each.then is AUTO]
    exempt = len(autos) > 0 and all(not each.in_mandate for each in autos)
    if outside and not exempt:
        yield "mandate", APPROVE


def says_label(boundary: Boundary, request: Request, member: Target | None) -> Iterator[Said]:
    """A run whose label is worse than a matching `auto` permits asks a human."""
    for each in matching_rules(boundary, request, member):
        if each.then is AUTO and each.label is not None:
            worse_integrity = INTEGRITY_RANK[request.label.integrity] > INTEGRITY_RANK[each.label.integrity]
            limit = CONFIDENTIALITY_RANK[each.label.confidentiality]
            if worse_integrity or CONFIDENTIALITY_RANK[request.label.confidentiality] > limit:
                yield "label", APPROVE


def matching_rules(boundary: Boundary, request: Request, member: Target | None) -> list[Rule]:
    """The rules of which every part matches: for an `auto` certainly, for the others possibly."""
    return [each for each in boundary.rules if matches(boundary, each, request, member)]


def matches(boundary: Boundary, each: Rule, request: Request, member: Target | None) -> bool:
    """Whether every part of the rule matches."""
    target_matches = certainly if each.then is AUTO else possibly
    return (
        listed(each.agents, request.agent)
        and category_matches(boundary, each, request)
        and (not each.connectors or request.connector in each.connectors)
        and (not each.tools or request.tool in each.tools)
        and hours_match(boundary, each, request)
        and target_matches(boundary, each.targets, member)
    )


def category_matches(boundary: Boundary, each: Rule, request: Request) -> bool:
    """A `*` of an `auto` reaches categories that read or change, none that destroys, sends or is not known."""
    harmless = {category.name for category in boundary.categories if category.effect in (Effect.READ, Effect.CHANGE)}
    if each.then is AUTO and request.category not in harmless:
        return request.category in each.categories
    return any(written(pattern, request.category) for pattern in each.categories)


def hours_match(boundary: Boundary, each: Rule, request: Request) -> bool:
    """Whether the local clock stands within the hours; they run past midnight where they end before they begin."""
    if each.hours is None:
        return True
    now = local(boundary, request)
    minute = now.hour * 60 + now.minute
    if each.hours.start < each.hours.end:
        return each.hours.start <= minute < each.hours.end
    return minute >= each.hours.start or minute < each.hours.end


def local(boundary: Boundary, request: Request) -> datetime:
    """The boundary's local time of the request."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=request.at)).astimezone(
        ZoneInfo(boundary.timezone)
    )


def today(boundary: Boundary, request: Request) -> date:
    """The boundary's local day of the request."""
    return local(boundary, request).date()


def listed(names: tuple[str, ...], name: str) -> bool:
    """Whether a list of names has it, or has everything."""
    return "*" in names or name in names


def written(pattern: str, name: str) -> bool:
    """Whether a pattern, which may end in `*`, is about a name."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def certainly(boundary: Boundary, selector: Selector | None, member: Target | None) -> bool:
    """Whether everything that the selector states is known to hold."""
    if selector is None or selector == Selector():
        return True
    if member is None or not member.known:
        return False
    every = boundary.tiers if selector.tier else ()  # a tier itself states no tier
    tiers = [tier for tier in every if certainly(boundary, tier.where, member)]
    perhaps = [tier for tier in every if possibly(boundary, tier.where, member)]
    return all(
        [
            not selector.kind or member.kind in selector.kind,
            selector.privileged is None or member.privileged is selector.privileged,
            not selector.owner or has_owner(selector, member),
            not selector.labels or has_label(selector, member),
            not selector.names or any(names_itself(each, member) for each in selector.names),
            not selector.tier or (len(tiers) > 0 and all(tier.name in selector.tier for tier in perhaps)),
        ]
    )


def possibly(boundary: Boundary, selector: Selector | None, member: Target | None) -> bool:
    """Whether nothing that the selector states is known not to hold."""
    if selector is None or member is None or not member.known:
        return True
    every = boundary.tiers if selector.tier else ()
    perhaps = [tier for tier in every if possibly(boundary, tier.where, member)]
    return all(
        [
            not selector.kind or not member.kind or member.kind in selector.kind,
            selector.privileged is None or member.privileged is None or member.privileged is selector.privileged,
            not selector.owner or not member.owner or has_owner(selector, member),
            not selector.labels or has_label(selector, member),
            not selector.names or any(may_name(each, member) for each in selector.names),
            not selector.tier or any(tier.name in selector.tier for tier in perhaps),
        ]
    )


def has_owner(selector: Selector, member: Target) -> bool:
    """Whether the inventory's owner is one of those stated."""
    return bool(member.owner) and normalise(member.owner or "") in {normalise(each) for each in selector.owner}


def has_label(selector: Selector, member: Target) -> bool:
    """Whether the target has one of the labels stated."""
    return bool({normalise(each) for each in selector.labels} & {normalise(each) for each in member.labels})


def names_itself(pattern: str, member: Target) -> bool:
    """Whether the pattern is about the target's own id."""
    return spelled(pattern, normalise(member.id))


def may_name(pattern: str, member: Target) -> bool:
    """Whether the pattern is about the id or an alias, whole or as a host's short name, or a network that overlaps."""
    spellings = [member.id, *member.aliases]
    for alias in (member.id, *member.aliases):
        theirs = connector_alias(alias)
        if theirs is not None:
            spellings.append(theirs[1])
    host = member.kind not in ("account", "address", "alert")
    for spelling in map(normalise, spellings):
        if spelled(pattern, spelling) or overlap(pattern, spelling):
            return True
        if host and (spelled(pattern, short(spelling)) or (not pattern.endswith("*") and spelling == short(pattern))):
            return True
    return False


def spelled(pattern: str, name: str) -> bool:
    """Whether a normalised name is what the pattern spells."""
    if pattern.endswith("*"):
        return name.startswith(unicodedata.normalize("NFKC", pattern[:-1]).casefold())
    return name == normalise(pattern)


def overlap(pattern: str, name: str) -> bool:
    """Whether both are addresses or networks, and have an address in common."""
    one, other = network_of(normalise(pattern)), network_of(name)
    return one is not None and other is not None and one.version == other.version and one.overlaps(other)


def short(name: str) -> str:
    """A host's name without its domain."""
    plain = normalise(name)
    if "@" in plain or network_of(plain) is not None or "." not in plain.strip("."):
        return plain
    return plain.split(".")[0] or plain


def joined_ask(boundary: Boundary, request: Request, used: Mapping[str, Used]) -> Ask:
    """The asks of the `approve` rules of each member; for a member that only an `auto` covers, where something else
    makes it ask, those of its `auto` rules; the boundary's own where there is no rule. The strictest of each part."""
    everywhere = [*says_of_the_request(boundary, request, used), *says_held(request)]
    asks: list[Ask] = []
    for member in [] if is_own(request) else members(request):
        matching = matching_rules(boundary, request, member)
        said = [
            *everywhere,
            *says_mandate(boundary, request, member),
            *says_label(boundary, request, member),
        ]
        asking = [each.ask for each in matching if each.then is APPROVE]
        if not asking and any(then is APPROVE for _, then in said):
            asking = [each.ask for each in matching if each.then is AUTO]
        asks += asking
    return strictest_of(asks or [boundary.approvals])


def strictest_of(asks: list[Ask]) -> Ask:
    """Most people, the roles that all name, the shortest time, the owner only where all let them."""
    return Ask(
        quorum=max(ask.quorum for ask in asks),
        roles=tuple(sorted(set.intersection(*(set(ask.roles) for ask in asks)))),
        answer_within=min(ask.answer_within for ask in asks),
        owner_may_approve=all(ask.owner_may_approve for ask in asks),
    )
