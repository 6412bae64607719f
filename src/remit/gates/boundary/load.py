"""Bytes of `boundary.toml` to a `Boundary`, or everything that is wrong in them.

What the file may not say, beyond wrong types and unknown words:
- An id twice, in any case of letters, across rules, quotas, nevers and verdicts, nor one of the built-in clauses'
  words: a clause in a record must mean one thing.
- A name pattern with letters that are not Latin: it would never match and look as if it did.
- `auto` over categories that destroy or send by `*`: name such a category in full (a `*` of an `auto` leaves it out).
- A rule, quota or never about a category, agent or tier that the file does not have.
- `unwitnessed` on a category that need not be witnessed.
- `in_mandate` or `label` on a rule that is not `auto`; a never with both `targets` and `where` (write two nevers).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from remit.gates.boundary.matching import covers
from remit.gates.boundary.words import (
    ALL,
    BUILT_IN,
    Agent,
    Boundary,
    Category,
    Hours,
    LabelLimit,
    Never,
    Quota,
    Refusals,
    Rule,
    Selector,
    Signatures,
    StaticException,
    Tier,
    VerdictRule,
)
from remit.model.display import shown
from remit.model.reading import Reader, Unreadable, nearest, read_toml
from remit.model.words import MINUTE, REMIT, VERDICTS, Ask, Confidentiality, Decision, Effect, Integrity

_FILE = "boundary.toml"
_NAME = r"[a-z0-9][a-z0-9_-]{0,62}"
_CATEGORY = r"[a-z0-9][a-z0-9_-]{0,62}(\.[a-z0-9][a-z0-9_-]{0,62}){0,3}"
_CLAUSE = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
_PATTERN = r"(\*|[\x21-\x29\x2b-\x7e\u00c0-\u024f][\x20-\x29\x2b-\x7e\u00c0-\u024f]{0,250}\*?)"
_PATTERN_MEANING = "a name of Latin letters, digits and signs, which may end in `*`"
_DIGEST = r"sha256:[0-9a-f]{64}"
_HOURS = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])", re.ASCII)
_DAY = 24 * 60
_ROLES = ("approver", "leader", "on-call")


class BoundaryNotValid(Unreadable):
    """The boundary cannot be used. `problems` says where, what was expected, what is there, and the nearest word."""


def digest_of(data: bytes) -> str:
    """The boundary's digest: `sha256:` and the SHA-256 of the file's exact bytes, in hex."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def load(data: bytes) -> Boundary:
    """The boundary in the bytes of a TOML file. Raises `BoundaryNotValid` with everything that is wrong."""
    try:
        root = read_toml(data, _FILE)
        boundary = _boundary(root)
        root.finish()
    except Unreadable as error:
        raise BoundaryNotValid(error.what, error.problems) from None
    return boundary


class _Known:
    """The words that the rest of the file may use."""

    def __init__(self, categories: tuple[Category, ...], agents: tuple[Agent, ...], tiers: tuple[Tier, ...]) -> None:
        self.categories = tuple(category.name for category in categories)
        self.agents = tuple(agent.name for agent in agents)
        self.tiers = tuple(tier.name for tier in tiers)


def _boundary(root: Reader) -> Boundary:
    head = root.table("boundary", required=True)
    approvals = _ask(head.table("approvals"), Ask())
    categories = _categories(root)
    agents = _agents(root, categories)
    tiers = _tiers(root)
    known = _Known(categories, agents, tiers)
    not_before, not_after = head.instant("not_before"), head.instant("not_after")
    if not_after <= not_before and "not_after" in head and "not_before" in head:
        head.problem("not_after", "a time later than `not_before`")
    rules = _clauses(root, "rule")
    quotas = _clauses(root, "quota")
    nevers = _clauses(root, "never")
    verdicts = _clauses(root, "verdict")
    _ids_are_unique((*rules, *quotas, *nevers, *verdicts))
    return Boundary(
        name=head.text("name", pattern=_NAME, meaning="a name of lower-case letters, digits, `-` and `_`"),
        version=head.integer("version", minimum=1),
        not_before=not_before,
        not_after=not_after,
        detection_time=head.duration("detection_time"),
        timezone=_timezone(head),
        signatures=_signatures(head.table("signatures")),
        approvals=approvals,
        refusals=_refusals(head.table("refusals")),
        resume_by_another_person=head.table("resume").flag("another_person", default=False),
        pins=_pins(head.table("pins").table("connectors")),
        categories=categories,
        agents=agents,
        tiers=tiers,
        rules=tuple(_rule(each, known, approvals) for each in rules),
        quotas=tuple(_quota(each, known) for each in quotas),
        nevers=tuple(_never(each, known) for each in nevers),
        verdicts=tuple(_verdict(each, known, approvals) for each in verdicts),
        static=_static(root),
        comment=head.prose("comment", default=""),
    )


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())  # a walk through many folders


def _timezone(head: Reader) -> str:
    zone = head.text("timezone", meaning="a time zone like `Europe/Berlin`")
    if zone and zone not in _zones():
        close = nearest(zone, _zones())
        head.problem("timezone", "a time zone like `Europe/Berlin`", hint=f"did you mean `{close}`?" if close else "")
        return "UTC"
    return ZoneInfo(zone or "UTC").key


def _signatures(table: Reader) -> Signatures:
    tighten = table.integer("tighten", default=1, minimum=1, maximum=20)
    widen = table.integer("widen", default=max(1, tighten), minimum=1, maximum=20)
    if widen < tighten:
        table.problem("widen", f"at least as many as `tighten`, {tighten}")
    return Signatures(tighten, widen)


def _refusals(table: Reader) -> Refusals:
    return Refusals(
        table.integer("hold_after", default=3, minimum=1, maximum=1_000_000),
        table.duration("within", default=15 * MINUTE),
    )


def _pins(table: Reader) -> dict[str, str]:
    return {name: table.text(name, pattern=_DIGEST, meaning="`sha256:` and 64 hex digits") for name in table.names()}


def _ask(table: Reader, default: Ask) -> Ask:
    roles = table.choices("approvers", _ROLES, default=default.roles)
    if not roles and "approvers" in table:
        table.problem("approvers", "at least one role")
    return Ask(
        quorum=table.integer("quorum", default=default.quorum, minimum=1, maximum=20),
        roles=roles,
        answer_within=table.duration("answer_within", default=default.answer_within),
        owner_may_approve=table.flag("owner_may_approve", default=default.owner_may_approve),
    )


def _categories(root: Reader) -> tuple[Category, ...]:
    tables = root.tables("category", required=True)
    root.once(tables, "name")
    found = tuple(
        Category(
            name=each.text("name", pattern=_CATEGORY, meaning="a name like `host.isolate`"),
            does=each.text("does", meaning="what it does, in a few words"),
            effect=Effect(each.choice("effect", tuple(Effect))),
            undo=each.text("undo", default=""),
            witnessed=each.flag("witnessed", default=False),
            unwitnessed=Decision(
                each.choice("unwitnessed", (Decision.APPROVE, Decision.FORBID), default=Decision.APPROVE)
            ),
            comment=each.prose("comment", default=""),
        )
        for each in tables
    )
    for each, category in zip(tables, found, strict=True):
        if "unwitnessed" in each and not category.witnessed:
            each.problem("unwitnessed", "this only where `witnessed` is true")
        each.choice("undo", [category.name for category in found], default="")
    return found


def _agents(root: Reader, categories: tuple[Category, ...]) -> tuple[Agent, ...]:
    tables = root.tables("agent", required=True)
    root.once(tables, "name")
    for each in tables:
        if "name" in each and each.text("name") in (REMIT, ALL):
            each.problem("name", f"a name that is not `{REMIT}`: Remit's own reads have it")
    return tuple(
        Agent(
            name=each.text("name", pattern=_NAME, meaning="a name of lower-case letters, digits, `-` and `_`"),
            owner=each.text("owner"),
            purpose=each.text("purpose"),
            categories=each.choices("categories", [category.name for category in categories]),
            review_by=each.day("review_by"),
            comment=each.prose("comment", default=""),
        )
        for each in tables
    )


def _tiers(root: Reader) -> tuple[Tier, ...]:
    tables = root.tables("tier")
    root.once(tables, "name")
    return tuple(
        Tier(
            name=each.text("name", pattern=_NAME, meaning="a name of lower-case letters, digits, `-` and `_`"),
            where=_selector(each, "where", None),
            comment=each.prose("comment", default=""),
        )
        for each in tables
    )


def _selector(table: Reader, name: str, tiers: Collection[str] | None) -> Selector:
    """What the table `name` states; `tiers` of None means that it cannot name any."""
    inner = table.table(name, required=True)
    selector = Selector(
        tier=() if tiers is None else inner.choices("tier", tiers, default=()),
        kind=inner.texts("kind", default=(), pattern=_NAME, meaning="a kind of target like `workstation`"),
        privileged=inner.flag("privileged", default=None),
        owner=inner.texts("owner", default=(), pattern=_PATTERN.removesuffix(r"\*?)") + ")"),
        labels=inner.texts("labels", default=()),
        names=inner.texts("names", default=(), pattern=_PATTERN, meaning=_PATTERN_MEANING),
    )
    keys = ("tier", "kind", "privileged", "owner", "labels", "names")
    empty = [key for key in inner.names() if key in keys and inner.raw(key) == []]
    for key in empty:
        inner.problem(key, "at least one")
    if name in table and selector == Selector() and not empty:
        table.problem(name, 'at least one condition, like `kind = ["workstation"]`')
    return selector


def _clauses(root: Reader, name: str) -> tuple[Reader, ...]:
    return root.tables(name, label="id")


def _ids_are_unique(tables: tuple[Reader, ...]) -> None:
    seen: set[str] = set()
    for each in tables:
        identity = each.text("id", pattern=_CLAUSE, meaning="an id like `ISO-1`").casefold()
        if identity in BUILT_IN:
            each.problem("id", "an id of your own: this one is Remit's word for a clause")
        elif identity and identity in seen:
            each.problem("id", "each id once among rules, quotas, nevers and verdicts", f"{shown(identity)} again")
        seen.add(identity)


def _rule(each: Reader, known: _Known, approvals: Ask) -> Rule:
    then = Decision(each.choice("then", tuple(Decision)))
    for key in ("in_mandate", "label"):
        if then is not Decision.AUTO and key in each:
            each.problem(key, "this only where `then` is `auto`")
    return Rule(
        id=each.text("id"),
        then=then,
        agents=_known(each, "agents", known.agents),
        categories=_known(each, "categories", known.categories, covers_some=True),
        targets=_selector(each, "targets", known.tiers) if "targets" in each else None,
        connectors=_not_empty(each, "connectors"),
        tools=_not_empty(each, "tools"),
        in_mandate=each.flag("in_mandate", default=True),
        hours=_hours(each),
        label=_label(each.table("label")) if "label" in each else None,
        ask=_ask(each, approvals),
        comment=each.prose("comment", default=""),
    )


def _known(
    each: Reader, name: str, words: Collection[str], *, covers_some: bool = False, default: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """A list of known words, or `*`; with `covers_some`, of patterns that each cover at least one of them."""
    listed = each.texts(name, default=default) if default else each.texts(name)
    if not listed and name in each and default:
        each.problem(name, "at least one")
    matches: Callable[[str], bool] = (
        (lambda word: any(covers((word,), known) for known in words))
        if covers_some
        else (lambda word: word == ALL or word in words)
    )
    for number, word in enumerate(listed):
        if not matches(word):
            close = nearest(word, words)
            expected = f"one of {', '.join(f'`{known}`' for known in words)}, or `*`"
            each.problem(f"{name}", expected, shown(word), hint=f"did you mean `{close}`?" if close else "")
        elif word == ALL and len(listed) > 1:
            each.problem(name, "`*` alone", f"`*` and {len(listed) - 1} more, at {number}")
    return listed


def _not_empty(each: Reader, name: str) -> tuple[str, ...]:
    return each.texts(name) if name in each else each.texts(name, default=())


def _hours(each: Reader) -> Hours | None:
    meaning = "hours of the day like `08:00-18:00`"
    text = each.text("hours", default="", meaning=meaning)
    if not text:
        return None
    match = _HOURS.fullmatch(text)
    if match is None:
        each.problem("hours", meaning)
        return None
    start, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    if start >= _DAY or end > _DAY or start == end:
        each.problem("hours", "hours from at most `23:59` to at most `24:00`, of some length")
        return None
    return Hours(start, end)


def _label(table: Reader) -> LabelLimit:
    return LabelLimit(
        integrity=Integrity(table.choice("integrity", tuple(Integrity), default=Integrity.THIRD_PARTY)),
        confidentiality=Confidentiality(
            table.choice("confidentiality", tuple(Confidentiality), default=Confidentiality.SECRET)
        ),
    )


def _quota(each: Reader, known: _Known) -> Quota:
    targets = each.integer("max_distinct_targets", default=None, minimum=0)
    actions = each.integer("max_actions", default=None, minimum=0)
    if targets is None and actions is None:
        each.problem("max_distinct_targets", "a limit: `max_distinct_targets`, `max_actions` or both")
    return Quota(
        id=each.text("id"),
        agents=_known(each, "agents", known.agents),
        categories=_known(each, "categories", known.categories, covers_some=True),
        window=each.duration("window"),
        then=Decision(each.choice("then", (Decision.APPROVE, Decision.FORBID))),
        max_distinct_targets=targets,
        max_actions=actions,
        per_agent=each.choice("per", ("agent",), default="") == "agent",
        comment=each.prose("comment", default=""),
    )


def _never(each: Reader, known: _Known) -> Never:
    selector: Selector | None = None
    if "targets" in each and "where" in each:
        each.problem("where", "either `targets` or `where`: write two of them", "both")
    if "targets" in each:
        selector = Selector(names=each.texts("targets", pattern=_PATTERN, meaning=_PATTERN_MEANING))
    elif "where" in each:
        selector = _selector(each, "where", known.tiers)
    return Never(
        id=each.text("id"),
        categories=_known(each, "categories", known.categories, covers_some=True),
        targets=selector,
        agents=_known(each, "agents", known.agents, default=(ALL,)),
        reads=each.flag("reads", default=False),
        comment=each.prose("comment", default=""),
    )


def _verdict(each: Reader, known: _Known, approvals: Ask) -> VerdictRule:
    return VerdictRule(
        id=each.text("id"),
        agents=_known(each, "agents", known.agents),
        verdicts=each.choices("verdicts", VERDICTS),
        then=Decision(each.choice("then", (Decision.APPROVE,))),
        targets=_selector(each, "targets", known.tiers) if "targets" in each else None,
        ask=_ask(each, approvals),
        comment=each.prose("comment", default=""),
    )


def _static(root: Reader) -> tuple[StaticException, ...]:
    tables = root.tables("static", label="connector")
    root.once(tables, "connector")
    return tuple(
        StaticException(connector=each.text("connector"), rotate_by=each.day("rotate_by"), reason=each.text("reason"))
        for each in tables
    )
