"""The boundary's evaluator: what enforces.

`compile_boundary` turns a boundary into an `Evaluator`. Everything that can be known beforehand is worked out once per
agent and category (a `_Bucket`), once per target (its profile) and once per set of rules and nevers that match
together (an `_Outcome`). A ruling intersects bits to find that set, and adds what depends on the moment: quotas,
mandate, label, validity. `reference.py` says the same naively, and tests compare the two.

The ruling is the strictest of all clauses that apply; DESIGN.md section 5 lists them. Where a batch or a set has
several members, all their clauses join: all or nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from remit.gates.boundary.clock import LocalClock
from remit.gates.boundary.matching import Profiles, covers
from remit.gates.boundary.words import ALL, BUILT_IN, Boundary, Fired, Hours, LabelLimit, Never, Quota, Request, Rule
from remit.model.words import (
    CONFIDENTIALITY_RANK,
    INTEGRITY_RANK,
    REMIT,
    Ask,
    Clause,
    CredentialClass,
    Decision,
    Effect,
    Instant,
    Label,
    Mandate,
    Ruling,
    Target,
    Used,
    Window,
)

_DANGEROUS = frozenset({Effect.DESTROY, Effect.SEND})
_MOST_REMEMBERED = 100_000


def compile_boundary(boundary: Boundary, digest: str, targets: Iterable[Target] = ()) -> Evaluator:
    """The evaluator of a boundary that `load` gave; `digest` is its `digest_of`, and every ruling carries it.

    `targets`, where given, are looked at beforehand, so that the first ruling on each is as fast as the later ones.
    """
    evaluator = Evaluator(boundary, digest)
    evaluator.warm(targets)
    return evaluator


def strictest(asks: Iterable[Ask]) -> Ask:
    """One ask that satisfies each of `asks` (at least one): most people, roles that all name, the shortest time.

    `roles` is empty where they name none in common; nobody could then approve.
    """
    first, *others = asks
    for ask in others:
        first = Ask(
            quorum=max(first.quorum, ask.quorum),
            roles=tuple(role for role in first.roles if role in ask.roles),
            answer_within=min(first.answer_within, ask.answer_within),
            owner_may_approve=first.owner_may_approve and ask.owner_may_approve,
        )
    return Ask(
        quorum=first.quorum,
        roles=tuple(sorted(set(first.roles))),
        answer_within=first.answer_within,
        owner_may_approve=first.owner_may_approve,
    )


def matches_category(rule: Rule, category: str, effect: Effect | None) -> bool:
    """Whether the rule is about the category, whose declared effect is given (None: the boundary has no such category).

    An `auto` reaches a category that destroys or sends only where it names it in full, never by a `*`.
    """
    if rule.then is Decision.AUTO and (effect is None or effect in _DANGEROUS):
        return category in rule.categories
    return covers(rule.categories, category)


def effect_fits(effect: Effect, declared: Effect) -> bool:
    """Whether a tool's effect is no more than what the boundary says of its category."""
    return effect is Effect.READ or effect is declared or (effect is Effect.CHANGE and declared is Effect.DESTROY)


def _joined(asks: list[Ask]) -> tuple[Ask, ...]:
    """The strictest of the asks, or nothing where there is none."""
    return (strictest(asks),) if asks else ()


class _QuotaClauses(Struct, frozen=True):
    quota: Quota
    exhausted: Clause
    lost: Clause


class _Outcome(Struct, frozen=True, kw_only=True):
    """What rules and nevers that match together say: clauses, joined asks, and what is still to be asked of the run."""

    forbid: tuple[Clause, ...]
    approve: tuple[Clause, ...]
    auto: tuple[Clause, ...]
    approve_ask: tuple[Ask, ...]
    auto_ask: tuple[Ask, ...]
    in_mandate: bool
    label: tuple[int, int] | None


class _Bucket(Struct, frozen=True, kw_only=True):
    """What the boundary says about one agent and one category.

    Bits of the rules and nevers that are about both: `autos` must match certainly; `others` possibly, and those of them
    that cover reads are in `others_for_reads`.
    """

    always: tuple[Clause, ...]
    own: bool
    effect: Effect | None
    unwitnessed: Clause | None
    review_ends: Instant | None
    autos: int
    others: int
    others_for_reads: int
    quotas: tuple[_QuotaClauses, ...]


def _built_in(name: str, then: Decision) -> Clause:
    return Clause(name, then, BUILT_IN[name])


_AGENT = _built_in("agent", Decision.FORBID)
_APPROVERS = _built_in("approvers", Decision.FORBID)
_CATEGORY = _built_in("category", Decision.FORBID)
_CREDENTIAL = _built_in("credential", Decision.FORBID)
_EFFECT = _built_in("effect", Decision.FORBID)
_EXPIRY = _built_in("expiry", Decision.APPROVE)
_LABEL = _built_in("label", Decision.APPROVE)
_NO_MANDATE = Clause("mandate", Decision.FORBID, "this kind of action is outside what the run was opened for")
_MANDATE = Clause("mandate", Decision.APPROVE, "a target is outside what the run was opened for")
_NO_RULE = _built_in("no-rule", Decision.FORBID)
_NOT_YET = _built_in("not-yet-valid", Decision.FORBID)
_OWN = _built_in("remit", Decision.AUTO)
_OWN_CHANGE = Clause("remit", Decision.FORBID, "Remit itself only ever reads")
_REVIEW = _built_in("review", Decision.APPROVE)
_STATIC = _built_in("static", Decision.FORBID)
_UNBOUNDED = _built_in("unbounded", Decision.APPROVE)
_UNCLASSIFIED = _built_in("unclassified", Decision.FORBID)
_UNKNOWN_TARGET = _built_in("unknown-target", Decision.APPROVE)
_WITNESS = {then: _built_in("witness", then) for then in (Decision.APPROVE, Decision.FORBID)}


class Evaluator:
    """A compiled boundary. Immutable but for memories of what it worked out, which never change an answer."""

    def __init__(self, boundary: Boundary, digest: str) -> None:
        self.boundary = boundary
        self.digest = digest
        self._profiles = Profiles(boundary)
        self._clock = _clock(boundary)
        self._agents = {agent.name: agent for agent in boundary.agents}
        self._categories = {category.name: category for category in boundary.categories}
        self._static_ends = {each.connector: self._clock.end_of(each.rotate_by) for each in boundary.static}
        self._numbered: tuple[Rule | Never, ...] = (*boundary.rules, *boundary.nevers)
        self._clauses = (*map(_rule_clause, boundary.rules), *map(_never_clause, boundary.nevers))
        self._quotas = tuple(_quota_clauses(quota) for quota in boundary.quotas)
        self._default_ask = _joined([boundary.approvals])
        self._states_tools = any(rule.connectors or rule.tools for rule in boundary.rules)
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._outcomes: dict[tuple[int, bool], _Outcome] = {}
        self._tools: dict[tuple[str, str], int] = {}

    def warm(self, targets: Iterable[Target]) -> None:
        """Looks at the targets beforehand."""
        for target in targets:
            self._profiles.of(target)

    def windows(self, agent: str, category: str, now: Instant) -> tuple[Window, ...]:
        """The quotas that apply, as what the store must count for `rule`, without the action's own claims."""
        return tuple(_window(each.quota, agent, now) for each in self._bucket(agent, category, agent == REMIT).quotas)

    def rule(self, request: Request, used: Mapping[str, Used]) -> Ruling:
        """The ruling on the request. `used` is by quota id; a window missing from it is a lost counter, and exhausted.

        Returns the decision and the clauses that made it (those that decided as strictly as the ruling itself).
        """
        fired = self.fired(request, used)
        if fired.forbid:
            return Ruling(decision=Decision.FORBID, clauses=fired.forbid, boundary=self.digest)
        if not fired.approve:
            return Ruling(decision=Decision.AUTO, clauses=fired.auto, boundary=self.digest)
        asks = fired.asks or self._default_ask
        ask = asks[0] if len(asks) == 1 else strictest(asks)
        if not ask.roles:
            return Ruling(decision=Decision.FORBID, clauses=(_APPROVERS,), boundary=self.digest)
        return Ruling(decision=Decision.APPROVE, clauses=fired.approve, ask=ask, boundary=self.digest)

    def could(self, agent: str, category: str) -> Decision:
        """The mildest ruling that any action of this kind could get from rules and nevers: what is worth proposing."""
        bucket = self._bucket(agent, category, False)
        if bucket.always:
            return Decision.FORBID
        others = bucket.others_for_reads if bucket.effect is Effect.READ else bucket.others
        concerned = [each for number, each in enumerate(self._numbered) if (bucket.autos | others) >> number & 1]
        blanket = [each for each in concerned if _unconditional(each)]
        if any(isinstance(each, Never) or each.then is Decision.FORBID for each in blanket):
            return Decision.FORBID
        thens = {each.then for each in concerned if isinstance(each, Rule)}
        asked = any(isinstance(each, Rule) and each.then is Decision.APPROVE for each in blanket)
        if Decision.AUTO in thens and not asked:
            return Decision.AUTO
        return Decision.APPROVE if thens & {Decision.AUTO, Decision.APPROVE} else Decision.FORBID

    def fired(self, request: Request, used: Mapping[str, Used]) -> Fired:
        """Every clause that applies, those that did not decide included."""
        bucket = self._bucket(request.agent, request.category, request.own and request.agent == REMIT)
        forbid: dict[str, Clause] = {}
        approve: dict[str, Clause] = {}
        self._moment(bucket, request, forbid, approve)
        for each in bucket.quotas:
            if (spent := _spent(each, request, used)) is not None:
                (forbid if spent.then is Decision.FORBID else approve)[spent.id] = spent
        for held in request.held:
            if held.then is not Decision.AUTO:
                (forbid if held.then is Decision.FORBID else approve)[held.id] = held
        members = self._members(bucket, request)
        raised = bool(approve)
        asks: tuple[Ask, ...] = ()
        for outcome, outside in members:
            asks += _tighten(outcome, outside, request.label, raised, approve)
        if len(members) == 1 and not forbid and not approve and not bucket.own:
            outcome = members[0][0]
            return Fired(outcome.forbid, outcome.approve, outcome.auto, asks)
        auto = {_OWN.id: _OWN} if bucket.own else {}
        for outcome, _ in members:
            forbid.update((clause.id, clause) for clause in outcome.forbid)
            approve.update((clause.id, clause) for clause in outcome.approve)
            auto.update((clause.id, clause) for clause in outcome.auto)
        return Fired(tuple(forbid.values()), tuple(approve.values()), tuple(auto.values()), asks)

    def _moment(self, bucket: _Bucket, request: Request, forbid: dict[str, Clause], approve: dict[str, Clause]) -> None:
        """Adds what depends on the request as a whole, whatever its targets."""
        read = request.effect is Effect.READ
        for clause in bucket.always:
            forbid[clause.id] = clause
        if request.at < self.boundary.not_before:
            forbid[_NOT_YET.id] = _NOT_YET
        if request.at >= self.boundary.not_after and not bucket.own:
            # Remit's own reads then only ever check what a human approved, or answer what a human asked.
            approve[_EXPIRY.id] = _EXPIRY
        if bucket.review_ends is not None and request.at >= bucket.review_ends:
            approve[_REVIEW.id] = _REVIEW
        if request.unclassified:
            forbid[_UNCLASSIFIED.id] = _UNCLASSIFIED
        if not request.bounded:
            approve[_UNBOUNDED.id] = _UNBOUNDED
        if not read:
            self._not_a_read(request, forbid, approve)
        if bucket.own:
            if not read:
                forbid[_OWN_CHANGE.id] = _OWN_CHANGE
            return
        if bucket.effect is not None and not effect_fits(request.effect, bucket.effect):
            forbid[_EFFECT.id] = _EFFECT
        if request.mandate is None or not _has_category(request.mandate, request.category):
            forbid[_NO_MANDATE.id] = _NO_MANDATE
        if request.unwitnessed and bucket.unwitnessed is not None:
            (forbid if bucket.unwitnessed.then is Decision.FORBID else approve)["witness"] = bucket.unwitnessed

    def _not_a_read(self, request: Request, forbid: dict[str, Clause], approve: dict[str, Clause]) -> None:
        if request.credential is CredentialClass.STATIC:
            ends = self._static_ends.get(request.connector)
            if ends is None or request.at >= ends:
                forbid[_STATIC.id] = _STATIC
        elif request.credential is CredentialClass.NONE:
            forbid[_CREDENTIAL.id] = _CREDENTIAL
        for target in request.targets:
            if not target.known:
                approve[_UNKNOWN_TARGET.id] = _UNKNOWN_TARGET
                return

    def _members(self, bucket: _Bucket, request: Request) -> list[tuple[_Outcome, bool]]:
        """The outcome of each member, and whether it is outside the mandate.

        An action that names no target, and a set that could not be expanded, have a member of which nothing is known.
        """
        now = self._clock.open_at(request.at)
        if self._states_tools:
            now &= self._through(request.connector, request.tool)
        autos = bucket.autos & now
        others = (bucket.others_for_reads if request.effect is Effect.READ else bucket.others) & now
        inside = request.mandate.targets if request.mandate is not None else ()
        members = []
        for target in request.targets:
            profile = self._profiles.of(target)
            outcome = self._outcome((profile.certain & autos) | (profile.possible & others), bucket.own)
            members.append((outcome, not bucket.own and target.id not in inside))
        if not members or not request.bounded:
            profile = self._profiles.anything
            outcome = self._outcome((profile.certain & autos) | (profile.possible & others), bucket.own)
            members.append((outcome, not bucket.own and not request.bounded))
        return members

    def _through(self, connector: str, tool: str) -> int:
        """The bits of what may match a call through this connector and tool."""
        bits = self._tools.get((connector, tool))
        if bits is None:
            if len(self._tools) >= _MOST_REMEMBERED:
                self._tools.clear()
            bits = self._tools[connector, tool] = _bits(
                isinstance(each, Never)
                or ((not each.connectors or connector in each.connectors) and (not each.tools or tool in each.tools))
                for each in self._numbered
            )
        return bits

    def _outcome(self, matching: int, own: bool) -> _Outcome:
        """What the rules and nevers of these bits say together."""
        outcome = self._outcomes.get((matching, own))
        if outcome is None:
            if len(self._outcomes) >= _MOST_REMEMBERED:
                self._outcomes.clear()
            outcome = self._outcomes[matching, own] = self._work_out(matching, own)
        return outcome

    def _work_out(self, matching: int, own: bool) -> _Outcome:
        nevers: list[Clause] = []
        rules: dict[Decision, list[tuple[Rule, Clause]]] = {then: [] for then in Decision}
        rest = matching
        while rest:
            number = (rest & -rest).bit_length() - 1
            rest &= rest - 1
            each, clause = self._numbered[number], self._clauses[number]
            if isinstance(each, Never):
                nevers.append(clause)
            else:
                rules[each.then].append((each, clause))
        autos = [rule for rule, _ in rules[Decision.AUTO]]
        none = not own and not any(rules.values())
        return _Outcome(
            forbid=(*nevers, *((_NO_RULE,) if none else (clause for _, clause in rules[Decision.FORBID]))),
            approve=tuple(clause for _, clause in rules[Decision.APPROVE]),
            auto=tuple(clause for _, clause in rules[Decision.AUTO]),
            approve_ask=_joined([rule.ask for rule, _ in rules[Decision.APPROVE]]),
            auto_ask=_joined([rule.ask for rule in autos]),
            in_mandate=not autos or any(rule.in_mandate for rule in autos),
            label=_tightest(rule.label for rule in autos),
        )

    def _bucket(self, agent: str, category: str, own: bool) -> _Bucket:
        bucket = self._buckets.get((agent, category))
        if bucket is not None and bucket.own is own:
            return bucket
        bucket = self._fill(agent, category, own)
        # Names that the boundary does not have are not remembered, or a caller could fill the memory with them.
        if category in self._categories and (own or agent in self._agents):
            self._buckets[agent, category] = bucket
        return bucket

    def _fill(self, agent: str, category: str, own: bool) -> _Bucket:
        granted, declared = self._agents.get(agent), self._categories.get(category)
        effect = declared.effect if declared is not None else None
        always: tuple[Clause, ...] = ()
        if not own and granted is None:
            always = (_AGENT,)
        elif not own and granted is not None and (declared is None or category not in granted.categories):
            always = (_CATEGORY,)
        concerned = [_concerns(each, agent, category, effect, own) for each in self._numbered]
        numbered = list(zip(self._numbered, concerned, strict=True))
        return _Bucket(
            always=always,
            own=own,
            effect=effect,
            unwitnessed=_WITNESS[declared.unwitnessed] if declared is not None and declared.witnessed else None,
            review_ends=None if granted is None else self._clock.end_of(granted.review_by),
            autos=_bits(about and _is_auto(each) for each, about in numbered),
            others=_bits(about and not _is_auto(each) for each, about in numbered),
            others_for_reads=_bits(
                about and not _is_auto(each) and (isinstance(each, Rule) or each.reads) for each, about in numbered
            ),
            quotas=tuple(
                each
                for each in self._quotas
                if _lists(each.quota.agents, agent) and covers(each.quota.categories, category)
            ),
        )


def _bits(flags: Iterable[bool]) -> int:
    bits = 0
    for number, flag in enumerate(flags):
        bits |= flag << number
    return bits


def _unconditional(each: Rule | Never) -> bool:
    if each.targets is not None:
        return False
    return isinstance(each, Never) or (each.hours is None and not each.connectors and not each.tools)


def _is_auto(each: Rule | Never) -> bool:
    return isinstance(each, Rule) and each.then is Decision.AUTO


def _concerns(each: Rule | Never, agent: str, category: str, effect: Effect | None, own: bool) -> bool:
    if not _lists(each.agents, agent):
        return False
    if isinstance(each, Never):
        return covers(each.categories, category)
    return not own and matches_category(each, category, effect)


def _clock(boundary: Boundary) -> LocalClock:
    """The clock of which the bits are those of the rules, numbered as in the boundary, and of the nevers after them."""
    opened: dict[Hours, int] = {}
    for number, rule in enumerate(boundary.rules):
        if rule.hours is not None:
            opened[rule.hours] = opened.get(rule.hours, 0) | 1 << number
    always = (1 << len(boundary.rules) + len(boundary.nevers)) - 1
    for bits in opened.values():
        always &= ~bits
    return LocalClock(boundary.timezone, opened, always)


def _tighten(
    outcome: _Outcome, outside: bool, label: Label, raised: bool, approve: dict[str, Clause]
) -> tuple[Ask, ...]:
    """Adds what the run's mandate and label make of one member; returns the asks that this member brings."""
    if outside and outcome.in_mandate:
        approve[_MANDATE.id] = _MANDATE
        raised = True
    if outcome.label is not None and (
        INTEGRITY_RANK[label.integrity] > outcome.label[0]
        or CONFIDENTIALITY_RANK[label.confidentiality] > outcome.label[1]
    ):
        approve[_LABEL.id] = _LABEL
        raised = True
    return outcome.approve_ask or (outcome.auto_ask if raised else ())


def _tightest(limits: Iterable[LabelLimit | None]) -> tuple[int, int] | None:
    stated = [(INTEGRITY_RANK[each.integrity], CONFIDENTIALITY_RANK[each.confidentiality]) for each in limits if each]
    return (min(rank for rank, _ in stated), min(rank for _, rank in stated)) if stated else None


def _has_category(mandate: Mandate, category: str) -> bool:
    return category in mandate.categories or ALL in mandate.categories or covers(mandate.categories, category)


def _lists(agents: tuple[str, ...], agent: str) -> bool:
    return ALL in agents or agent in agents


def _spent(each: _QuotaClauses, request: Request, used: Mapping[str, Used]) -> Clause | None:
    quota = each.quota
    so_far = used.get(quota.id)
    if so_far is None:
        return each.lost
    if quota.max_actions is not None and so_far.actions + 1 > quota.max_actions:
        return each.exhausted
    if quota.max_distinct_targets is None:
        return None
    if not request.bounded:
        return each.exhausted
    counted = len(so_far.targets)
    if counted + len(request.targets) > quota.max_distinct_targets:
        counted = len(so_far.targets.union([target.id for target in request.targets]))
    return each.exhausted if counted > quota.max_distinct_targets else None


def _window(quota: Quota, agent: str, now: Instant) -> Window:
    agents = (agent,) if quota.per_agent else () if ALL in quota.agents else quota.agents
    return Window(quota=quota.id, agents=agents, categories=quota.categories, since=now - quota.window)


def _quota_clauses(quota: Quota) -> _QuotaClauses:
    then = Decision.FORBID if quota.then is Decision.FORBID else Decision.APPROVE
    exhausted = _remark("the limit on how much may be done in a stretch of time is used up", quota.comment)
    lost = _remark("how much was done so far cannot be told", quota.comment)
    return _QuotaClauses(quota, Clause(quota.id, then, exhausted), Clause(quota.id, then, lost))


def _rule_clause(rule: Rule) -> Clause:
    meaning = {
        Decision.AUTO: "the boundary lets the agent do this by itself",
        Decision.APPROVE: "the boundary asks a human first",
        Decision.FORBID: "the boundary forbids this",
    }
    return Clause(rule.id, rule.then, _remark(meaning[rule.then], rule.comment))


def _never_clause(never: Never) -> Clause:
    return Clause(never.id, Decision.FORBID, _remark("the boundary never allows this", never.comment))


def _remark(sentence: str, comment: str) -> str:
    return f"{sentence} ({comment})" if comment else sentence
