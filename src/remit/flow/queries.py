"""Looking back: finding actions by what people remember of them, and telling the story of one.

What lives here: choosing what to read, and which story it makes. What never may: writing, a decision, files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from remit.flow.gathering import Gathering, entry_of
from remit.flow.ports import Query, Reads, StoredRecord
from remit.flow.reloading import INVENTORY
from remit.gates import journal
from remit.gates.story import RecordStory, RunStory, Story, tell, tell_run
from remit.gates.story.entries import said
from remit.model.display import shown
from remit.model.errors import Misuse
from remit.model.manifest import Manifest
from remit.model.targets import UNKNOWN, Inventory, load_inventory, normalise
from remit.model.words import Action, State

MOST_NAMES: Final = 200
MOST_RECORDS: Final = 10_000
_OF_ACTIONS: Final = frozenset(
    {
        *("proposal", "vote", "approved", "asked.again", "refused", "withdrawn", "expired", "void", "intent"),
        *("outcome", "settled"),
    }
)


class Found(Struct, frozen=True, kw_only=True):
    """What a search found, newest first: actions, and calls that were refused before they were one.

    `targets` are the ids that the typed target was taken to mean. `more`: there may be more than the limit let through.
    """

    actions: tuple[Action, ...]
    refusals: tuple[RecordStory, ...] = ()
    targets: tuple[str, ...] = ()
    more: bool = False


class Stories:
    """See the module. Sees only what is durable; works without a gateway. `manifests` are the connectors' files as far
    as they can be read: they tell how to undo, and whether a stop could have come too late."""

    def __init__(self, reads: Reads, manifests: Mapping[str, Manifest] | None = None) -> None:
        self._reads = reads
        self._gathering = Gathering(reads, manifests or {})

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
        records = self._reads.records(run=run_id, limit=MOST_RECORDS)
        actions = {each.id: each for each in self._reads.actions(Query(run=run_id, limit=MOST_RECORDS))}
        return tell_run(run, map(entry_of, records), actions, left_out=len(records) == MOST_RECORDS)

    def record(self, position: int) -> RecordStory:
        """A record that is about no action, by its position. Raises `Misuse` where there is none, or it is too old to
        be found this way."""
        kinds = [kind for kind in journal.KINDS if kind not in _OF_ACTIONS]
        found = next(
            (each for each in self._reads.records(kinds=kinds, limit=100_000) if each.position == position), None
        )
        if found is None:
            hint = "a record about an action is told with it: `remit explain act_…`"
            raise Misuse(f"no record at position `{position}` stands for itself", hint=hint)
        return _record_story(found)

    # --- finding ------------------------------------------------------------------------------------------------

    def find(self, query: Query) -> Found:
        """What matches; the target is taken as people type it: in any case, by alias or connector's name for it, by
        label, network or wildcard. Raises `Misuse` where it means more than 200 targets."""
        names = self.targets(query.target, connector=query.connector) if query.target else ("",)
        found: dict[str, Action] = {}
        for name in names:
            for action in self._reads.actions(replace(query, target=name, limit=query.limit + 1)):
                found[action.id] = action
        newest = sorted(found.values(), key=lambda action: action.opened_at, reverse=True)
        refusals = self._refusals(query)
        return Found(
            actions=tuple(newest[: query.limit]),
            refusals=tuple(refusals[: query.limit]),
            targets=tuple(filter(None, names)),
            more=len(newest) > query.limit or len(refusals) > query.limit,
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

    def _refusals(self, query: Query) -> list[RecordStory]:
        """Calls refused before they were an action: they have no target and no category."""
        if query.target or query.category or (query.states and State.BLOCKED not in query.states):
            return []
        records = self._reads.records(run=query.run, kinds=("refusal",), limit=MOST_RECORDS)
        return [_record_story(each) for each in self._matching(reversed(records), query)]

    def _matching(self, records: Iterable[StoredRecord], query: Query) -> Iterable[StoredRecord]:
        for each in records:
            if query.agent and each.agent != query.agent:
                continue
            if (query.since is not None and each.at < query.since) or (
                query.until is not None and each.at > query.until
            ):
                continue
            fields = entry_of(each).fields
            clauses = fields.get("clauses")
            if query.clause and not (isinstance(clauses, list) and query.clause in clauses):
                continue
            if query.connector and fields.get("connector") != query.connector:
                continue
            if query.case and getattr(self._reads.run(each.run), "case", None) != query.case:
                continue
            yield each


def _record_story(record: StoredRecord) -> RecordStory:
    return RecordStory(entry=said(entry_of(record)), run=record.run, agent=record.agent)


def _nothing(what: str, name: str) -> Misuse:
    return Misuse(f"there is no {what} {shown(name)}", hint="`remit find` lists actions with their ids")
