"""Looking back: finding actions by what people remember of them, and telling the story of one.

What lives here: choosing what to read, and which story it makes. What never may: writing, a decision, files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import cached_property
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from remit.flow.gathering import Gathering, entry_of
from remit.flow.ports import Reads, StoredRecord
from remit.flow.query import Query
from remit.flow.reloading import INVENTORY
from remit.flow.searching import Groups, Search
from remit.gates import search
from remit.gates.search import term
from remit.gates.story import RecordStory, RunStory, Story, tell, tell_run
from remit.gates.story.entries import said
from remit.model.display import shown
from remit.model.errors import Misuse
from remit.model.manifest import Manifest
from remit.model.targets import UNKNOWN, Inventory, load_inventory, normalise
from remit.model.words import Action, State

MOST_NAMES: Final = 200
MOST_RECORDS: Final = 10_000
WORTH_SAYING: Final = 10_000
"""Records behind the index from which on a search says that it took longer for them."""

_REASONS: Final = ("verdict", "skill", "intel", "evidence", "signal", "words")
_OF_ACTIONS: Final = frozenset(
    {
        *("proposal", "vote", "approved", "asked.again", "refused", "withdrawn", "expired", "void", "intent"),
        *("outcome", "settled"),
    }
)


class Found(Struct, frozen=True, kw_only=True):
    """What a search found, newest first: actions, calls that were refused before they were one, and, where reasons were
    searched for, verdicts.

    `targets` are the ids that the typed target was taken to mean. `more`: there may be more than the limit let through.
    `behind` is how many records were read one by one because the index does not cover them, and `why` says why so many.
    """

    actions: tuple[Action, ...]
    refusals: tuple[RecordStory, ...] = ()
    verdicts: tuple[RecordStory, ...] = ()
    targets: tuple[str, ...] = ()
    more: bool = False
    behind: int = 0
    why: str = ""


class Stories:
    """See the module. Sees only what is durable; works without a gateway. `manifests` are the connectors' files as far
    as they can be read: they tell how to undo, and whether a stop could have come too late. Without `searching`, every
    search reads all records."""

    def __init__(
        self, reads: Reads, manifests: Mapping[str, Manifest] | None = None, searching: Search | None = None
    ) -> None:
        self._reads = reads
        self._search = searching or Search(reads)
        self._gathering = Gathering(reads, manifests or {}, self._search)

    @property
    def zone(self) -> str:
        """The time zone of the boundary in force, in IANA's spelling; `UTC` where there is none."""
        return self._gathering.zone

    def explain(self, named: str) -> Story | RunStory | RecordStory:
        """The story of whatever an id names: an action, a run, a piece of evidence (the action that it came from), or
        a record by its position (`#12`). Raises `Misuse` where there is no such thing."""
        name = named.strip()
        if name.startswith("run_"):
            return self.run(name)
        if name.startswith("ev_"):
            evidence = self._reads.evidence(name)
            if evidence is None:
                raise _nothing("evidence", name)
            return self.story(evidence.action)
        digits = name.removeprefix("#")
        if digits.isascii() and digits.isdigit() and len(digits) < 16:
            return self.record(int(digits))
        return self.story(name)

    def story(self, action_id: str) -> Story:
        """The story of one action. Raises `Misuse` where there is none of that id."""
        action = self._reads.action(action_id)
        if action is None:
            raise _nothing("action", action_id)
        return tell(self._gathering.facts(action))

    def run(self, run_id: str) -> RunStory:
        """A run's timeline. Raises `Misuse` where there is none of that id."""
        run = self._reads.run(run_id)
        if run is None:
            raise _nothing("run", run_id)
        records = self._search.records(term("run", run_id), limit=MOST_RECORDS)
        proposed = (self._reads.action(each.action) for each in records if each.kind == "proposal")
        actions = {each.id: each for each in proposed if each is not None}
        entries = tuple(map(entry_of, records))
        names = self._gathering.naming.of(entries)
        return tell_run(run, entries, actions, names=names, left_out=len(entries) == MOST_RECORDS)

    def record(self, position: int) -> RecordStory:
        """A record that is about no action, by its position. Raises `Misuse` where there is none."""
        found = next(iter(self._reads.records_at([position])), None)
        if found is None or found.kind in _OF_ACTIONS:
            hint = "a record about an action is told with it: `remit explain act_…`"
            raise Misuse(f"no record at position `{position}` stands for itself", hint=hint)
        return self._record_story(found)

    # --- finding ------------------------------------------------------------------------------------------------

    def find(self, query: Query) -> Found:
        """What matches; the target is taken as people type it: in any case, by alias or connector's name for it, by
        label, network or wildcard. Raises `Misuse` where it means more than 200 targets."""
        names = self.targets(query.target, connector=query.connector) if query.target else ()
        actions = self._actions(query, names)
        # The last search's lag: what came meanwhile is no reason to search again.
        behind, why = self._search.behind, self._search.why
        refusals = self._about(query, "refusal") if _could_be_refusals(query) else []
        verdicts = self._about(query, "verdict") if _could_be_verdicts(query) else []
        most = max(len(actions), len(refusals), len(verdicts))
        return Found(
            actions=tuple(actions[: query.limit]),
            refusals=tuple(map(self._record_story, refusals[: query.limit])),
            verdicts=tuple(map(self._record_story, verdicts[: query.limit])),
            targets=tuple(names),
            more=most > query.limit,
            behind=behind,
            why=why,
        )

    def targets(self, typed: str, *, connector: str = "") -> tuple[str, ...]:
        """The ids under which a typed name can stand in the store, also from before the inventory knew it."""
        names: dict[str, None] = {}
        members = list(self._inventory.members(typed))
        single = self._inventory.resolve(typed, connector=connector)
        if single.known and single not in members:
            members.append(single)
        if len(members) > MOST_NAMES:
            says = f"{shown(typed)} means {len(members)} targets, expected at most {MOST_NAMES}"
            raise Misuse(says, hint="name fewer, or leave `--target` out")
        for target in members:
            names[target.id] = None
            names |= dict.fromkeys(UNKNOWN + normalise(alias) for alias in (target.id, *target.aliases))
        names |= {typed: None, UNKNOWN + normalise(typed): None}
        return tuple(names)

    @cached_property
    def _inventory(self) -> Inventory:
        data = self._reads.fact(INVENTORY)
        return load_inventory(data) if data else Inventory()

    def _actions(self, query: Query, names: Sequence[str]) -> list[Action]:
        """One more than the limit, if there are so many. What the index says is held against the action itself."""
        groups = [(term("kind", "proposal"),), *self._groups(query, names)]
        found: dict[str, Action] = {}
        pseudonyms = self._search.names
        if pseudonyms is not None:  # what was erased stands as pseudonyms in the store too
            names = (*names, *pseudonyms.all(names))
        with closing(self._search.matching(groups, since=query.since, until=query.until)) as matching:
            for record in matching:
                action = self._reads.action(record.action)
                if action is not None and _is(action, query, names):
                    found[action.id] = action
                if len(found) > query.limit:
                    break
        return sorted(found.values(), key=lambda action: action.opened_at, reverse=True)

    def _about(self, query: Query, kind: str) -> list[StoredRecord]:
        """Records of a kind that are found by themselves."""
        groups = [(term("kind", kind),), *self._groups(replace(query, states=()), ())]
        if query.case:  # a refusal does not say its case, its run does
            opened = self._search.records(term("case", query.case), kinds=("run.opened",), limit=MOST_RECORDS)
            groups = [each for each in groups if each != (term("case", query.case),)]
            groups.append([term("run", each.run) for each in opened])
        found = []
        with closing(self._search.matching(groups, since=query.since, until=query.until)) as matching:
            for each in matching:
                found.append(each)
                if len(found) > query.limit:
                    break
        return found

    def _groups(self, query: Query, names: Sequence[str]) -> Groups:
        """The query as terms. What the index cannot know without the home's key is left to the actions themselves."""
        plain = ("agent", "run", "case", "category", "connector", "clause", "verdict", "evidence")
        groups: list[Sequence[str]] = [(term(field, value),) for field in plain if (value := getattr(query, field))]
        groups += [self._sources(field, value) for field in ("skill", "intel") if (value := getattr(query, field))]
        groups += [(term("signal", each),) for each in search.asked(query.signal)]
        groups += [(term("word", each),) for each in search.asked(query.words)]
        if query.states:
            groups.append([term("state", each) for each in query.states])
        pseudonyms = self._search.names
        if pseudonyms is not None and names:
            groups.append([term("target", each) for each in pseudonyms.all(names)])
        if query.approver:
            groups.append(self._voters(query.approver))
        return groups

    def _sources(self, field: str, name: str) -> tuple[str, ...]:
        """A skill or a feed: by the pseudonym in the record, which stays, or by how its payload spells it."""
        names = self._search.names
        kept = () if names is None else (term(field, names.of(f"{field}:{name}")),)
        return (*kept, term(field, search.name(name)))

    def _voters(self, person: str) -> tuple[str, ...]:
        names = self._search.names
        if names is None:
            raise Misuse("people are found through the home's key for names, which was not given")
        return (term("approver", names.person(person)),)

    def _record_story(self, record: StoredRecord) -> RecordStory:
        entry = entry_of(record)
        names = self._gathering.naming.of((entry,))
        return RecordStory(entry=said(entry, names), names=names, run=record.run, agent=record.agent)


def _is(action: Action, query: Query, names: Sequence[str]) -> bool:
    """Whether the action itself agrees with what the index says of it, as far as it can tell."""
    return query.fits(action) and (not names or not frozenset(names).isdisjoint(action.targets))


def _could_be_refusals(query: Query) -> bool:
    """Calls refused before they were an action have no target, no category and no reasons; nobody voted on them."""
    if query.target or query.category or query.approver or any(getattr(query, each) for each in _REASONS):
        return False
    return not query.states or State.BLOCKED in query.states


def _could_be_verdicts(query: Query) -> bool:
    """Verdicts are listed where somebody searches for what one can hold, and for nothing else."""
    others = (query.target, query.category, query.connector, query.clause, query.approver, query.states)
    return any(getattr(query, each) for each in _REASONS) and not any(others)


def _nothing(what: str, name: str) -> Misuse:
    return Misuse(f"there is no {what} {shown(name)}", hint="`remit find` lists actions with their ids")
