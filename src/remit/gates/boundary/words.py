"""The boundary as frozen values, and the values that a ruling takes.

What lives here: types and the names of the built-in clauses. What never may: reading files, deciding.

A `Selector` says which targets a tier, a rule or a never is about: everything that it states must hold (a plain
conjunction); within one field any of the values does. A name, category or agent list may hold `*` (all); a name or
category may end in `*`.
"""

from __future__ import annotations

import datetime
from typing import Literal

from msgspec import Struct

from remit.model.words import (
    MINUTE,
    Ask,
    Clause,
    Confidentiality,
    CredentialClass,
    Decision,
    Effect,
    Instant,
    Integrity,
    Label,
    Mandate,
    Target,
)

ALL = "*"
"""In a list of names: every one."""

BUILT_IN: dict[str, str] = {
    "agent": "the boundary does not know this agent",
    "approvers": "no role may approve this: the clauses that ask for approval name different roles",
    "category": "this agent is not granted this kind of action",
    "credential": "this connector has no credential, so only reads may go through it",
    "effect": "the tool does more than the boundary says that this kind of action does",
    "expiry": "the boundary has expired, so a human must approve everything",
    "label": "the run has read material that this needs a human to look at first",
    "mandate": "this is outside what the run was opened for",
    "no-rule": "nothing in the boundary allows this",
    "not-yet-valid": "the boundary is not valid yet",
    "remit": "Remit's own reads to check an action",
    "review": "the review date of this agent has passed, so a human must approve everything that it does",
    "static": "this connector acts with a standing secret, and no exception in force covers that",
    "unbounded": "what this touches cannot be counted, so it never happens without a human",
    "unclassified": "nobody has classified this tool",
    "verdict": "nothing in the boundary asks a person about this verdict",
    "unknown-target": "the target is not in the inventory, so a human must look at it",
    "witness": "this kind of action must be witnessed from outside before it happens, and no witness answers now",
}
"""The clauses that are not written in the file, and what each says. No entry of the file may take such an id."""


class Selector(Struct, frozen=True, kw_only=True):
    """Which targets. Empty fields state nothing; `labels`: having any of them. Only a tier itself names no tiers."""

    tier: tuple[str, ...] = ()
    kind: tuple[str, ...] = ()
    privileged: bool | None = None
    owner: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


class Category(Struct, frozen=True, kw_only=True):
    """A kind of action. `does` finishes the sentence "the agent may …"; `undo` names the category that reverses it.

    `witnessed`: its record must be cosigned from outside before it happens; `unwitnessed` is what it is where nobody
    outside answers: `approve` or `forbid`.
    """

    name: str
    does: str
    effect: Effect
    undo: str = ""
    witnessed: bool = False
    unwitnessed: Decision = Decision.APPROVE
    comment: str = ""


class Agent(Struct, frozen=True, kw_only=True):
    """A non-human identity. The whole day `review_by` still counts, in the boundary's time zone."""

    name: str
    owner: str
    purpose: str
    categories: tuple[str, ...]
    review_by: datetime.date
    comment: str = ""


class Tier(Struct, frozen=True, kw_only=True):
    """How critical a target is. A target that fits several tiers is in all of them; order means nothing."""

    name: str
    where: Selector
    comment: str = ""


class Hours(Struct, frozen=True):
    """Minutes of the local day from `start` (included) to `end` (excluded); past midnight where `end` is not later."""

    start: int
    end: int


class LabelLimit(Struct, frozen=True, kw_only=True):
    """The worst label that a run may have for an `auto`."""

    integrity: Integrity = Integrity.THIRD_PARTY
    confidentiality: Confidentiality = Confidentiality.SECRET


class Rule(Struct, frozen=True, kw_only=True):
    """Agents, categories, targets, connectors, tools and hours must all match; an empty tuple or None states nothing.

    `in_mandate` and `label` are about `auto` only: they never keep the rule from matching, they make it ask. `ask` is
    what a human is asked for where this rule, or an `auto` of it that was tightened, needs approval.
    """

    id: str
    then: Decision
    agents: tuple[str, ...]
    categories: tuple[str, ...]
    targets: Selector | None = None
    connectors: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    in_mandate: bool = True
    hours: Hours | None = None
    label: LabelLimit | None = None
    ask: Ask = Ask()
    comment: str = ""


class Quota(Struct, frozen=True, kw_only=True):
    """At most so much within a sliding `window` (microseconds). One counter over all that it lists, unless `per_agent`.

    At least one of the two limits is there.
    """

    id: str
    agents: tuple[str, ...]
    categories: tuple[str, ...]
    window: int
    then: Decision
    max_distinct_targets: int | None = None
    max_actions: int | None = None
    per_agent: bool = False
    comment: str = ""


class Never(Struct, frozen=True, kw_only=True):
    """What nobody can approve. `targets` of None means every target; reads are covered only where `reads` is true."""

    id: str
    categories: tuple[str, ...]
    targets: Selector | None = None
    agents: tuple[str, ...] = (ALL,)
    reads: bool = False
    comment: str = ""


class VerdictRule(Struct, frozen=True, kw_only=True):
    """Which verdicts of which agents a person must agree to before they count. `targets` are those that the run was
    opened for; None means every case. `then` is always `approve`: no agent is forbidden its opinion."""

    id: str
    agents: tuple[str, ...]
    verdicts: tuple[str, ...]
    then: Decision = Decision.APPROVE
    targets: Selector | None = None
    ask: Ask = Ask()
    comment: str = ""


class StaticException(Struct, frozen=True, kw_only=True):
    """The signed exception that lets a changing tool act with a standing secret, through the whole day `rotate_by`."""

    connector: str
    rotate_by: datetime.date
    reason: str


class Signatures(Struct, frozen=True):
    """How many leaders must sign a boundary that only tightens, and one that widens."""

    tighten: int = 1
    widen: int = 1


class Refusals(Struct, frozen=True):
    """So many refusals of one agent within the window (microseconds) put it on hold."""

    hold_after: int = 3
    within: int = 15 * MINUTE


class Boundary(Struct, frozen=True, kw_only=True):
    """The leader's file. `detection_time` is in microseconds; `pins` maps a connector to `sha256:…` of its file."""

    name: str
    version: int
    not_before: Instant
    not_after: Instant
    detection_time: int
    timezone: str
    signatures: Signatures = Signatures()
    approvals: Ask = Ask()
    refusals: Refusals = Refusals()
    resume_by_another_person: bool = False
    pins: dict[str, str] = {}
    categories: tuple[Category, ...] = ()
    agents: tuple[Agent, ...] = ()
    tiers: tuple[Tier, ...] = ()
    rules: tuple[Rule, ...] = ()
    quotas: tuple[Quota, ...] = ()
    nevers: tuple[Never, ...] = ()
    verdicts: tuple[VerdictRule, ...] = ()
    static: tuple[StaticException, ...] = ()
    comment: str = ""

    def category(self, name: str) -> Category | None:
        """The category of that name."""
        return next((category for category in self.categories if category.name == name), None)

    def agent(self, name: str) -> Agent | None:
        """The agent of that name."""
        return next((agent for agent in self.agents if agent.name == name), None)


class Request(Struct, frozen=True, kw_only=True):
    """What is to be ruled. INVARIANT: nothing here comes from the agent's arguments but the resolved targets.

    - `bounded`: false for a set that could not be expanded to inventory members. A tool that takes no target is bounded
      when its declared reach is.
    - `mandate`: None, for anybody but Remit, means that there is no run, so nothing is in its mandate: forbidden.
    - `own`: Remit's own read, as agent `remit`. Grants, rules and the mandate are not asked; everything else is.
    - `unclassified`: the tool is parked.
    - `unwitnessed`: the log's witnesses do not answer. Only asked for categories that must be witnessed.
    - `held`: clauses found elsewhere (an unsettled outcome, a clock jump); they join the strictest.
    """

    agent: str
    category: str
    effect: Effect
    connector: str
    tool: str
    at: Instant
    credential: CredentialClass = CredentialClass.WARRANT
    targets: tuple[Target, ...] = ()
    bounded: bool = True
    mandate: Mandate | None = None
    label: Label = Label()
    own: bool = False
    unclassified: bool = False
    unwitnessed: bool = False
    held: tuple[Clause, ...] = ()


class Fired(Struct, frozen=True):
    """All clauses that apply to a request, by what they decide, and the asks of its rules."""

    forbid: tuple[Clause, ...]
    approve: tuple[Clause, ...]
    auto: tuple[Clause, ...]
    asks: tuple[Ask, ...]


Certainty = Literal[0, 1, 2]
"""Whether a target matches: 0 certainly not, 1 possibly, 2 certainly."""
