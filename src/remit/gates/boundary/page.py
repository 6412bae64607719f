"""The leader's page: what the boundary's fields say, in plain English, on one sheet.

INVARIANT: what an agent may do by itself is on the part of the page that says so; a line may say more than ever
happens (an upper bound), never less. Counts of targets are upper bounds for what is allowed, and for what must be asked
or is not allowed they include what cannot be told.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from remit.gates.boundary import english
from remit.gates.boundary.evaluator import matches_category
from remit.gates.boundary.matching import Profile, Profiles, certainty, covers
from remit.gates.boundary.words import ALL, Agent, Boundary, Category, Never, Quota, Rule, VerdictRule
from remit.model.display import safe_line
from remit.model.words import CredentialClass, Decision, Effect, Instant, Target

WIDTH = 100
_UNCUT = 10_000_000  # a page that leaves anything out would not be what is signed


class ConnectorFacts(Struct, frozen=True, kw_only=True):
    """What the page says of a system that the agents work through."""

    name: str
    credential: CredentialClass
    cuttable: bool = True
    unbounded_tools: tuple[str, ...] = ()


class Line(Struct, frozen=True, kw_only=True):
    """One entry of the page, and the agents, categories and clause that it speaks of."""

    text: str
    details: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    clause: str = ""


class Page(Struct, frozen=True, kw_only=True):
    """The page in parts: without asking, after a yes, not at all, and how much."""

    heading: tuple[str, ...]
    agents: tuple[Line, ...]
    alone: tuple[Line, ...]
    asking: tuple[Line, ...]
    forbidden: tuple[Line, ...]
    limits: tuple[Line, ...]
    closing: tuple[Line, ...]

    def __str__(self) -> str:
        parts = [
            ("THE AGENTS", self.agents),
            ("WHAT THEY MAY DO WITHOUT ASKING", self.alone or (Line(text="Nothing."),)),
            ("WHAT THEY MAY DO AFTER A PERSON SAYS YES", self.asking or (Line(text="Nothing."),)),
            ("WHAT THEY MAY NOT DO, AND NOBODY CAN SAY YES TO", self.forbidden),
            ("HOW MUCH AT MOST", self.limits or (Line(text="No limit is set."),)),
            ("WHAT ELSE HOLDS", self.closing),
        ]
        out = [part for text in self.heading for part in textwrap.wrap(safe_line(text, _UNCUT), WIDTH)]
        for title, lines in parts:
            out += ["", title]
            for line in lines:
                out += _wrapped(line)
        return "\n".join(out) + "\n"


def page(
    boundary: Boundary, targets: Iterable[Target] = (), connectors: Sequence[ConnectorFacts] = (), now: Instant = 0
) -> Page:
    """The page of a boundary, with how many of today's `targets` each line covers.

    `now`, where given, makes the heading say that the boundary is not valid yet or has run out.
    """
    writer = _Writer(boundary, targets)
    return Page(
        heading=_heading(boundary, now),
        agents=tuple(_agent(agent) for agent in boundary.agents),
        alone=tuple(line for rule in boundary.rules if rule.then is Decision.AUTO for line in writer.alone(rule)),
        asking=(
            *(line for rule in boundary.rules if rule.then is Decision.APPROVE for line in writer.stated(rule)),
            *(writer.concluded(verdict) for verdict in boundary.verdicts),
        ),
        forbidden=(
            *(writer.never(never) for never in boundary.nevers),
            *(line for rule in boundary.rules if rule.then is Decision.FORBID for line in writer.stated(rule)),
            *_not_granted(boundary),
            Line(text="Anything that this page does not allow."),
        ),
        limits=tuple(_limit(quota, boundary) for quota in boundary.quotas),
        closing=tuple(_closing(boundary, connectors)),
    )


class _Writer:
    """Writes the lines that count targets. Profiles are those of the targets given; read-only once built."""

    def __init__(self, boundary: Boundary, targets: Iterable[Target]) -> None:
        self.boundary = boundary
        self._profiles = Profiles(boundary)
        self._targets = tuple(targets)
        self._counts: dict[Profile, Counter[str]] = {}
        for target in self._targets:
            self._counts.setdefault(self._profiles.of(target), Counter())[_kind(target)] += 1

    def alone(self, rule: Rule) -> list[Line]:
        """What a rule lets agents do by themselves, without what stricter entries cover whole."""
        lines = []
        for agents, categories in self._granted(rule, leave_out_covered=True):
            details = [self._which(rule, agents, categories), *_conditions(rule, self.boundary)]
            if rule.in_mandate:
                details.append("only what the case names")
            if rule.label is not None:
                details.append(english.label(rule.label))
            lines.append(self._line(rule, agents, categories, "may", details))
        return lines

    def stated(self, rule: Rule) -> list[Line]:
        """What agents must ask for, or may not do, because of one rule."""
        verb = "may" if rule.then is Decision.APPROVE else "may not"
        lines = []
        for agents, categories in self._granted(rule, leave_out_covered=False):
            details = [self._which(rule, agents, categories), *_conditions(rule, self.boundary)]
            if rule.then is Decision.APPROVE:
                details.append(english.ask(rule.ask, self.boundary.approvals))
            lines.append(self._line(rule, agents, categories, verb, details))
        return lines

    def never(self, never: Never) -> Line:
        """What nobody can approve."""
        kinds = [each for each in self.boundary.categories if covers(never.categories, each.name)]
        kinds = [each for each in kinds if never.reads or each.effect is not Effect.READ]
        whom = (
            "No agent"
            if ALL in never.agents
            else f"None of {english.one_of(never.agents)}"
            if len(never.agents) > 1
            else never.agents[0]
        )
        what = english.one_of([each.does for each in kinds]) if kinds else "change anything under the name of a look-up"
        details = []
        if never.targets is not None:
            bit = 1 << len(self.boundary.rules) + self.boundary.nevers.index(never)
            tally = self._tally(lambda profile: bool(profile.possible & bit))
            details.append(f"on {english.targets(never.targets, self.boundary)}, or on anything unknown: {tally}")
        return Line(
            text=f"{whom} may {'ever' if whom.startswith('No') else 'never'} {what}",
            details=(*details, *_remark(never.comment)),
            agents=never.agents,
            categories=tuple(each.name for each in kinds),
            clause=never.id,
        )

    def concluded(self, verdict: VerdictRule) -> Line:
        """Which conclusions wait for a person."""
        agents = [each for each in self.boundary.agents if ALL in verdict.agents or each.name in verdict.agents]
        whom = english.who(agents, self.boundary) if agents else english.one_of(verdict.agents, "and")
        details = []
        if verdict.targets is not None:
            may = [each for each in self._targets if certainty(verdict.targets, self._profiles.facts(each))]
            tally = english.tally(Counter(map(_kind, may)))
            which = english.targets(verdict.targets, self.boundary)
            details.append(f"only where the case is about {which}, or about anything unknown: {tally}")
        return Line(
            text=f"{whom} may conclude that a case is {english.one_of(verdict.verdicts)}",
            details=(
                *details,
                *filter(None, [english.ask(verdict.ask, self.boundary.approvals)]),
                *_remark(verdict.comment),
            ),
            agents=tuple(agent.name for agent in agents),
            clause=verdict.id,
        )

    def _line(
        self, rule: Rule, agents: Sequence[Agent], categories: Sequence[Category], verb: str, details: Sequence[str]
    ) -> Line:
        does = english.one_of([category.does for category in categories], "or" if "not" in verb else "and")
        return Line(
            text=f"{english.who(agents, self.boundary)} {verb} {does}",
            details=(*(detail for detail in details if detail), *_remark(rule.comment)),
            agents=tuple(agent.name for agent in agents),
            categories=tuple(category.name for category in categories),
            clause=rule.id,
        )

    def _which(self, rule: Rule, agents: Sequence[Agent], categories: Sequence[Category]) -> str:
        if rule.targets is None:
            return ""
        bit = 1 << self.boundary.rules.index(rule)
        if rule.then is Decision.AUTO:
            stricter = self._stricter(agents, categories)
            tally = self._tally(lambda profile: bool(profile.certain & bit) and not profile.possible & stricter)
        else:
            tally = self._tally(lambda profile: bool(profile.possible & bit))
        return f"only {english.targets(rule.targets, self.boundary)}: {tally}"

    def _tally(self, counts: Callable[[Profile], bool]) -> str:
        total: Counter[str] = Counter()
        for profile, kinds in self._counts.items():
            if counts(profile):
                total += kinds
        return english.tally(total)

    def _stricter(self, agents: Sequence[Agent], categories: Sequence[Category]) -> int:
        """Bits of what is stricter than `auto` at all times, for all of these agents and categories."""
        bits = 0
        for number, each in enumerate(_entries(self.boundary)):
            pairs = ((agent, category) for agent in agents for category in categories)
            if all(
                _always_stricter(each, agent, category, reads=category.effect is Effect.READ)
                for agent, category in pairs
            ):
                bits |= 1 << number
        return bits

    def _granted(self, rule: Rule, *, leave_out_covered: bool) -> list[tuple[list[Agent], list[Category]]]:
        """Agents and categories that the rule is about and that go together, grouped by categories."""
        whole = [each for each in _entries(self.boundary) if each.targets is None]
        groups: dict[tuple[str, ...], tuple[list[Agent], list[Category]]] = {}
        for agent in self.boundary.agents:
            if ALL not in rule.agents and agent.name not in rule.agents:
                continue
            categories = [
                category
                for category in self.boundary.categories
                if matches_category(rule, category.name, category.effect)
                and (category.name in agent.categories or rule.then is Decision.FORBID)
                and not (
                    leave_out_covered and any(_always_stricter(each, agent, category, reads=True) for each in whole)
                )
            ]
            if categories:
                key = tuple(category.name for category in categories)
                groups.setdefault(key, ([], categories))[0].append(agent)
        return list(groups.values())


def _kind(target: Target) -> str:
    return target.kind or "thing of no known kind"


def _entries(boundary: Boundary) -> tuple[Rule | Never, ...]:
    return (*boundary.rules, *boundary.nevers)


def _always_stricter(each: Rule | Never, agent: Agent, category: Category, *, reads: bool) -> bool:
    """Whether the entry is about both at all times and through every tool, and lets nothing run by itself.

    `reads`: reads must be covered too, for a tool of any category may turn out to be one.
    """
    if ALL not in each.agents and agent.name not in each.agents:
        return False
    if isinstance(each, Never):
        return (each.reads or not reads) and covers(each.categories, category.name)
    if each.then is Decision.AUTO or each.hours is not None or each.connectors or each.tools:
        return False
    return covers(each.categories, category.name)


def _heading(boundary: Boundary, now: Instant) -> tuple[str, ...]:
    begin, end = (english.moment(at, boundary.timezone) for at in (boundary.not_before, boundary.not_after))
    signed = boundary.signatures
    state = ""
    if now and now < boundary.not_before:
        state = "IT IS NOT VALID YET: nothing is allowed. "
    if now and now >= boundary.not_after:
        state = "IT HAS RUN OUT: everything waits for a person. "
    return (
        f"WHAT OUR SECURITY AGENTS MAY DO: {boundary.name}, version {boundary.version}",
        f"{state}Valid from {begin} until {end}. Before that nothing is allowed; after it everything that an agent "
        "could do without asking waits for a person.",
        f"Signed by {english.counted(signed.tighten, 'leader')} where a change only makes it stricter, and by "
        f"{signed.widen} where it allows more. If something goes wrong, we count on a person noticing within "
        f"{english.span(boundary.detection_time)}.",
        *_remark(boundary.comment),
    )


def _agent(agent: Agent) -> Line:
    return Line(
        text=f"{agent.name}: {agent.purpose}",
        details=(
            f"{agent.owner} answers for it; after {english.day(agent.review_by)} it asks for everything",
            *_remark(agent.comment),
        ),
        agents=(agent.name,),
    )


def _conditions(rule: Rule, boundary: Boundary) -> list[str]:
    conditions = []
    if rule.hours is not None:
        conditions.append(english.clock(rule.hours, boundary.timezone))
    if rule.connectors:
        conditions.append(f"through {english.one_of(rule.connectors)}")
    if rule.tools:
        conditions.append(f"with {english.one_of(rule.tools)}")
    return [f"only {each}" for each in conditions]


def _not_granted(boundary: Boundary) -> list[Line]:
    lines = []
    for agent in boundary.agents:
        missing = [
            category
            for category in boundary.categories
            if category.name not in agent.categories and not _forbidden_whole(boundary, agent, category)
        ]
        if missing:
            lines.append(
                Line(
                    text=f"{agent.name} may not {english.one_of([category.does for category in missing])}",
                    agents=(agent.name,),
                    categories=tuple(category.name for category in missing),
                )
            )
    return lines


def _forbidden_whole(boundary: Boundary, agent: Agent, category: Category) -> bool:
    """Whether a rule's own line says already that the agent may not, whatever the target and the hour."""
    return any(
        rule.then is Decision.FORBID
        and rule.targets is None
        and not (rule.hours or rule.connectors or rule.tools)
        and (ALL in rule.agents or agent.name in rule.agents)
        and matches_category(rule, category.name, category.effect)
        for rule in boundary.rules
    )


def _limit(quota: Quota, boundary: Boundary) -> Line:
    kinds = [each for each in boundary.categories if covers(quota.categories, each.name)]
    whom = "all agents" if ALL in quota.agents else english.one_of(quota.agents, "and")
    together = "each agent by itself" if quota.per_agent else f"{whom} together"
    alone = quota.then is Decision.APPROVE
    after = "a person must say yes" if alone else "it is refused"
    does = english.one_of([each.does for each in kinds])
    text = f"In any {english.span(quota.window)}, at most {_most(quota)} ({together}): {does}"
    details = [f"beyond that {after}"]
    if 0 in (quota.max_actions, quota.max_distinct_targets):
        where = "" if quota.max_actions == 0 else " on any target"
        text, details = f"{'Never alone' if alone else 'Not at all'}{where} ({whom}): {does}", [after]
        if quota.max_actions:
            times = english.counted(quota.max_actions, "time")
            details.append(f"without a target, in any {english.span(quota.window)}, at most {times} ({together})")
    return Line(
        text=text,
        details=(*details, *_remark(quota.comment)),
        categories=tuple(each.name for each in kinds),
        clause=quota.id,
    )


def _most(quota: Quota) -> str:
    most = []
    if quota.max_distinct_targets is not None:
        most.append(english.counted(quota.max_distinct_targets, "different target"))
    if quota.max_actions is not None:
        most.append(f"{english.counted(quota.max_actions, 'time')} in all")
    return english.one_of(most, "and")


def _closing(boundary: Boundary, connectors: Sequence[ConnectorFacts]) -> list[Line]:
    refusals = boundary.refusals
    lines = [
        Line(text=f"Unless said otherwise above, a yes means {english.ask(boundary.approvals)}."),
        Line(
            text=f"An agent that is refused {english.counted(refusals.hold_after, 'time')} within "
            f"{english.span(refusals.within)} is held: it may read, and change nothing, until a person lets it go on."
        ),
    ]
    lines += _witnessed(boundary)
    if boundary.resume_by_another_person:
        lines.append(Line(text="After a stop, another person than the one who stopped must let the work go on."))
    lines += [
        Line(text=f"{each.connector} may act with a standing secret until {english.day(each.rotate_by)}: {each.reason}")
        for each in boundary.static
    ]
    standing = [each.name for each in connectors if each.credential is CredentialClass.STATIC]
    if connectors:
        names = english.one_of(standing, "and") if standing else "none"
        lines.append(Line(text=f"Systems that Remit reaches with a standing secret: {names}."))
    late = [each.name for each in connectors if not each.cuttable]
    if late:
        lines.append(Line(text=f"What was sent to {english.one_of(late, 'or')} may still happen after a stop."))
    lines += [
        Line(text=f"{each.name} has tools that can touch any number of things: {english.one_of(each.unbounded_tools)}.")
        for each in connectors
        if each.unbounded_tools
    ]
    return lines


def _witnessed(boundary: Boundary) -> list[Line]:
    """What must be witnessed, by what happens while nobody outside answers."""
    without = {Decision.APPROVE: "a person must say yes", Decision.FORBID: "it is refused, and nobody can say yes"}
    lines = []
    for then, says in without.items():
        kinds = [each for each in boundary.categories if each.witnessed and each.unwitnessed is then]
        if kinds:
            does = english.one_of([each.does for each in kinds])
            text = f"Before an agent may {does}, somebody outside must have confirmed our record of it"
            lines.append(
                Line(
                    text=text,
                    details=(f"while nobody outside answers, {says}",),
                    categories=tuple(each.name for each in kinds),
                )
            )
    return lines


def _remark(comment: str) -> list[str]:
    # Inner quotation marks would let a remark end early and go on in the page's own voice.
    return [f"""the author remarks: "{comment.replace('"', "'")}\""""] if comment else []


def _wrapped(line: Line) -> list[str]:
    mark = f" [{line.clause}]" if line.clause else ""
    text = "; ".join([line.text, *line.details]) + mark
    return textwrap.wrap(
        safe_line(text, _UNCUT), WIDTH, initial_indent="  - ", subsequent_indent="    ", break_on_hyphens=False
    )
