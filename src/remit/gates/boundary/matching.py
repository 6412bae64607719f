"""Which targets a selector is about, in three values: certainly not, possibly, certainly.

Rules:
- What the inventory does not say matches possibly. Labels are a set: having none is a fact.
- A target that the inventory does not have, an action that names no target, and a set that could not be expanded
  match possibly whatever is stated, for any of them may be the worst thing there is.
- A name matches certainly by the target's own id alone. By an alias, by the short name of a host, or by overlap of
  networks it matches possibly: an alias can bring a target under a never, but never under an `auto`.
- A target is certainly in a list of tiers only where every tier that it may be in is in that list.

Rules and nevers are numbered. A `Profile` holds, as the bits of two integers, the numbers of those that a target
certainly and possibly is one of; targets that no selector can tell apart share one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from remit.gates.boundary.words import ALL, Boundary, Certainty, Selector
from remit.model.targets import Network, connector_alias, network_of, normalise
from remit.model.words import Target

_WITHOUT_DOMAIN = frozenset({"account", "address", "alert"})
_MOST_REMEMBERED = 200_000


class Facts(Struct, frozen=True, kw_only=True):
    """All that selectors can tell about a target. `anything` is a target of which nothing is known."""

    anything: bool = False
    kind: str | None = None
    privileged: bool | None = None
    owner: str | None = None
    labels: frozenset[str] = frozenset()
    named: frozenset[str] = frozenset()
    perhaps_named: frozenset[str] = frozenset()
    tiers: frozenset[str] = frozenset()
    perhaps_tiers: frozenset[str] = frozenset()


ANYTHING = Facts(anything=True)


class Profile(Struct, frozen=True):
    """Bits of the numbered selectors that match: certainly, and at least possibly."""

    certain: int
    possible: int


def covers(patterns: Iterable[str], name: str) -> bool:
    """Whether one of the patterns is `name`, is `*`, or ends in `*` and begins as `name` does."""
    return any(
        pattern == name or (pattern.endswith(ALL) and name.startswith(pattern.removesuffix(ALL)))
        for pattern in patterns
    )


def certainty(selector: Selector | None, facts: Facts) -> Certainty:
    """How certainly a target with these facts is what the selector states."""
    if selector is None or selector == _STATES_NOTHING:
        return 2
    if facts.anything:
        return 1
    found: Certainty = 2
    for value in _fields(selector, facts):
        if value == 0:
            return 0
        found = min(found, value)
    return found


def _fields(selector: Selector, facts: Facts) -> Iterator[Certainty]:
    if selector.kind:
        yield _fact(facts.kind, selector.kind)
    if selector.privileged is not None:
        yield 1 if facts.privileged is None else 2 if facts.privileged == selector.privileged else 0
    if selector.owner:
        yield _fact(facts.owner, tuple(normalise(owner) for owner in selector.owner))
    if selector.labels:
        yield 0 if facts.labels.isdisjoint(normalise(label) for label in selector.labels) else 2
    if selector.names:
        named = not facts.named.isdisjoint(selector.names)
        yield 2 if named else 0 if facts.perhaps_named.isdisjoint(selector.names) else 1
    if selector.tier:
        yield _in_tiers(facts, frozenset(selector.tier))


def _fact(value: str | None, listed: tuple[str, ...]) -> Certainty:
    return 1 if value is None else 2 if value in listed else 0


def _in_tiers(facts: Facts, listed: frozenset[str]) -> Certainty:
    if facts.perhaps_tiers.isdisjoint(listed):
        return 0
    return 2 if facts.tiers and facts.perhaps_tiers <= listed else 1


_STATES_NOTHING = Selector()


class Names:
    """The name patterns of a boundary, indexed so that the cost of a look-up does not grow with their number."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._exact: dict[str, list[str]] = {}
        self._short: dict[str, list[str]] = {}
        self._prefixes: dict[str, list[str]] = {}
        self._networks: list[tuple[Network, str]] = []
        for pattern in sorted(set(patterns)):
            self._add(pattern)
        self._lengths = sorted({len(prefix) for prefix in self._prefixes})

    def _add(self, pattern: str) -> None:
        if pattern.endswith(ALL):
            prefix = unicodedata.normalize("NFKC", pattern.removesuffix(ALL)).casefold()
            self._prefixes.setdefault(prefix, []).append(pattern)
            return
        exact = normalise(pattern)
        self._exact.setdefault(exact, []).append(pattern)
        network = network_of(exact)
        if network is not None:
            self._networks.append((network, pattern))
        elif short_name(exact) != exact:
            self._short.setdefault(short_name(exact), []).append(pattern)

    def hits(self, target: Target) -> tuple[frozenset[str], frozenset[str]]:
        """The patterns that certainly name the target, and those that certainly or possibly do."""
        own = normalise(target.id)
        named = set(self._spelled(own))
        perhaps = set(named)
        for form in _forms(target):
            perhaps.update(self._spelled(form))
            if target.kind not in _WITHOUT_DOMAIN:
                perhaps.update(self._spelled(short_name(form)))
                perhaps.update(self._short.get(form, ()))
            perhaps.update(self._overlapping(form))
        return frozenset(named), frozenset(perhaps)

    def _spelled(self, form: str) -> Iterator[str]:
        yield from self._exact.get(form, ())
        for length in self._lengths:
            yield from self._prefixes.get(form[:length], ()) if length <= len(form) else ()

    def _overlapping(self, form: str) -> Iterator[str]:
        network = network_of(form) if self._networks else None
        if network is None:
            return
        for listed, pattern in self._networks:
            if listed.version == network.version and listed.overlaps(network):
                yield pattern


def short_name(form: str) -> str:
    """The host's name without its domain; addresses, networks and names with an `@` stay as they are."""
    if "@" in form or "." not in form.strip(".") or network_of(form) is not None:
        return form
    return form.partition(".")[0] or form


def _forms(target: Target) -> Iterator[str]:
    for alias in (target.id, *target.aliases):
        yield normalise(alias)
        theirs = connector_alias(alias)
        if theirs is not None:
            yield normalise(theirs[1])


class Profiles:
    """Finds facts and profile of a target under one boundary.

    `_remembered` and `_profiles` are memories of this object's alone. They are never stale, because what is remembered
    is used only for a target that is equal in every field.
    """

    def __init__(self, boundary: Boundary) -> None:
        selectors = [selector for selector in _selectors(boundary) if selector is not None]
        self._tiers = boundary.tiers
        self._names = Names(name for selector in selectors for name in selector.names)
        self._kinds = {kind for selector in selectors for kind in selector.kind}
        self._owners = {normalise(owner) for selector in selectors for owner in selector.owner}
        self._labels = {normalise(label) for selector in selectors for label in selector.labels}
        self._masks = Masks((*(rule.targets for rule in boundary.rules), *(never.targets for never in boundary.nevers)))
        self._profiles: dict[Facts, Profile] = {}
        self._remembered: dict[str, tuple[Target, Profile]] = {}
        self.anything = self._masks.profile(ANYTHING)

    def of(self, target: Target) -> Profile:
        """The profile of the target; `anything` for one that the inventory does not have."""
        if not target.known:
            return self.anything
        remembered = self._remembered.get(target.id)
        if remembered is not None and (remembered[0] is target or remembered[0] == target):
            return remembered[1]
        facts = self.facts(target)
        profile = self._profiles.get(facts)
        if profile is None:
            profile = self._profiles[facts] = self._masks.profile(facts)
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
            self._profiles.clear()
        self._remembered[target.id] = (target, profile)
        return profile

    def facts(self, target: Target) -> Facts:
        """What this boundary's selectors can tell about the target."""
        if not target.known:
            return ANYTHING
        named, perhaps_named = self._names.hits(target)
        owner = normalise(target.owner) if target.owner else None
        kind = target.kind or None
        facts = Facts(
            kind=kind if kind is None or kind in self._kinds else "",
            privileged=target.privileged,
            owner=owner if owner is None or owner in self._owners else "",
            labels=frozenset(normalise(label) for label in target.labels) & self._labels,
            named=named,
            perhaps_named=perhaps_named,
        )
        fits = {tier.name: certainty(tier.where, facts) for tier in self._tiers}
        return replace(
            facts,
            tiers=frozenset(name for name, value in fits.items() if value == 2),
            perhaps_tiers=frozenset(name for name, value in fits.items() if value > 0),
        )


class Masks:
    """Numbered selectors, one bit each, by field and value: a profile is the conjunction of its fields' masks."""

    def __init__(self, selectors: Sequence[Selector | None]) -> None:
        self._all = (1 << len(selectors)) - 1
        self._fields = ("kind", "privileged", "owner", "labels", "names", "tier")
        self._silent = dict.fromkeys(self._fields, self._all)
        self._by: dict[str, dict[object, int]] = {field: {} for field in self._fields}
        self._stating = 0
        for number, selector in enumerate(selectors):
            if selector is not None and selector != _STATES_NOTHING:
                self._add(1 << number, selector)

    def _add(self, bit: int, selector: Selector) -> None:
        self._stating |= bit
        stated: dict[str, Iterable[object]] = {
            "kind": selector.kind,
            "privileged": () if selector.privileged is None else (selector.privileged,),
            "owner": [normalise(owner) for owner in selector.owner],
            "labels": [normalise(label) for label in selector.labels],
            "names": selector.names,
            "tier": selector.tier,
        }
        for field, values in stated.items():
            for value in values:
                self._silent[field] &= ~bit
                self._by[field][value] = self._by[field].get(value, 0) | bit

    def profile(self, facts: Facts) -> Profile:
        """The bits of the selectors that certainly, and at least possibly, match."""
        if facts.anything:
            return Profile(self._all & ~self._stating, self._all)
        labels = self._any("labels", facts.labels)
        certain = labels & self._any("names", facts.named)
        possible = labels & self._any("names", facts.perhaps_named) & self._any("tier", facts.perhaps_tiers)
        for field, value in (("kind", facts.kind), ("privileged", facts.privileged), ("owner", facts.owner)):
            certain &= self._any(field, () if value is None else (value,))
            possible &= self._all if value is None else self._any(field, (value,))
        return Profile(certain & self._only_tiers(facts), possible)

    def _any(self, field: str, values: Iterable[object]) -> int:
        mask = self._silent[field]
        for value in values:
            mask |= self._by[field].get(value, 0)
        return mask

    def _only_tiers(self, facts: Facts) -> int:
        listing = self._all if facts.tiers else 0
        for tier in facts.perhaps_tiers:
            listing &= self._by["tier"].get(tier, 0)
        return listing | self._silent["tier"]


def _selectors(boundary: Boundary) -> Iterator[Selector | None]:
    yield from (tier.where for tier in boundary.tiers)
    yield from (rule.targets for rule in boundary.rules)
    yield from (never.targets for never in boundary.nevers)
    yield from (verdict.targets for verdict in boundary.verdicts)
