"""Which records and payloads belong into a bundle about an action or a case, and what stays out of it.

What lives here: choosing. What never may: proofs, layout. INVARIANT: a payload stays out where it holds the value of an
argument that the operator said is secret, or an answer that is labelled secret; nobody can ask it in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from remit.flow.auditing.actions import ends
from remit.flow.auditing.payloads import SECRETS
from remit.flow.auditing.records import role_of
from remit.flow.bundling.retelling import Fields, fields_of, signed, text
from remit.flow.bundling.words import LARGEST_PAYLOAD, About, Absent, Disclosed
from remit.flow.gathering import Gathering
from remit.flow.ports import Reads, StoredRecord
from remit.flow.query import Query
from remit.gates.story import Facts
from remit.model.display import SECRET, meant, shown
from remit.model.errors import Misuse
from remit.model.manifest import Manifest
from remit.model.words import MINUTE, REMIT, Action, Instant, Payload, Proposal

ROLES: Final = ("proposal", "result", "verdict", "statement", "order", "mandate", "report", "tools", "why")
"""What may be withheld. The files in force and their signatures may not: without them nothing can be checked."""
MOST_ACTIONS: Final = 2_000
_OF_RUNS: Final = ("run.opened", "run.client", "run.closed", "verdict", "refusal")
_MANY: Final = 1_000_000
_DAY: Final = 24 * 60 * MINUTE
_proposal = msgspec.json.Decoder(Proposal)


class Chosen(Struct, frozen=True, kw_only=True):
    """The records of a bundle in the log's order, its payloads, and what is absent. `needs` is how many entries a log
    must have to hold every record about the action, or about the case and its runs, that is in here."""

    about: About
    records: tuple[StoredRecord, ...]
    needs: int
    payloads: tuple[Disclosed, ...]
    absent: tuple[Absent, ...]
    connectors: tuple[str, ...]


def choose(
    reads: Reads,
    about: About,
    manifests: Mapping[str, Manifest],
    size: int,
    *,
    without: Iterable[str] = (),
    whole: bool = False,
) -> Chosen:
    """Everything about an action or a case below the log's `size`. `without` withholds payloads by role; `whole` lets
    in those beyond 128 KiB.

    Raises `Misuse` where there is no such action or case, for a role that cannot be withheld, and where the log does
    not hold the action's records yet.
    """
    withheld = frozenset(without)
    if unknown := sorted(withheld - set(ROLES)):
        hint = "roles: " + ", ".join(f"`{role}`" for role in ROLES)
        raise Misuse(f"{shown(unknown[0])} cannot be withheld", hint=hint)
    actions = _actions(reads, about)
    records = _Records(reads, size)
    records.about(actions, Gathering(reads, manifests), whole_runs=bool(about.case))
    if not all(records.has_proposal(action.id) for action in actions):
        raise Misuse("the log does not hold all of it under a signed checkpoint yet", hint="try again in a second")
    found = _Payloads(reads, manifests, withheld, records.ordered(), whole=whole, ended=records.ended())
    for record in records.ordered():
        found.take(record)
    return Chosen(
        about=about,
        records=records.ordered(),
        needs=records.needs,
        payloads=tuple(found.disclosed),
        absent=tuple(found.absent),
        connectors=tuple(sorted({action.connector for action in actions})),
    )


def _actions(reads: Reads, about: About) -> list[Action]:
    if about.action:
        action = reads.action(about.action)
        if action is None:
            raise Misuse(f"there is no action {shown(about.action)}", hint="`remit find` lists actions with their ids")
        return [action]
    found = [each for each in reads.actions(Query(case=about.case, limit=MOST_ACTIONS + 1)) if each.agent != REMIT]
    if not found:
        raise Misuse(f"there is no action in case {shown(about.case)}", hint="`remit find --case CASE` looks for it")
    if len(found) > MOST_ACTIONS:
        raise Misuse(f"the case has more than {MOST_ACTIONS} actions", hint="make a bundle for each action")
    return found


class _Records:
    """Collects records below a tree's size, each once."""

    def __init__(self, reads: Reads, size: int) -> None:
        self._reads = reads
        self._size = size
        self._found: dict[int, StoredRecord] = {}
        self.needs = 0
        """See `Chosen`."""

    def ordered(self) -> tuple[StoredRecord, ...]:
        """Everything found, in the log's order."""
        return tuple(self._found[position] for position in sorted(self._found))

    def has_proposal(self, action_id: str) -> bool:
        """Whether the action's proposal is below the tree's size."""
        return any(each.kind == "proposal" and each.action == action_id for each in self._found.values())

    def ended(self) -> frozenset[str]:
        """The actions that have ended below the tree's size."""
        return frozenset(each.action for each in self._found.values() if ends(each.kind, fields_of(each.data)))

    def about(self, actions: Iterable[Action], gathering: Gathering, *, whole_runs: bool) -> None:
        """Whatever a reader of these actions' story needs, to understand it and to check it. `whole_runs`: the story is
        that of their runs, too."""
        named: set[str] = set()
        for action in actions:
            facts = gathering.facts(action)
            named |= {action.id, *_beside(facts)}
            self._stops(facts)
            self._last_comparison(action.connector)
        for each in sorted(named):
            self._add(self._reads.records(action=each, limit=_MANY), needed=True)
        for run in sorted({action.run for action in actions}):
            self._add(self._reads.records(run=run, kinds=_OF_RUNS, limit=_MANY), needed=whole_runs)
        self._statements(named)
        self._in_force()
        self._tombstones()
        self._newest()

    def _add(self, records: Iterable[StoredRecord], *, needed: bool = False) -> None:
        found = {each.position: each for each in records if each.position < self._size}
        self._found |= found
        if needed:
            self.needs = max(self.needs, max(found, default=-1) + 1)

    def _stops(self, facts: Facts) -> None:
        if facts.stopping is None:
            return
        kinds = ("stop", "cut", "resume")
        found = self._reads.records(kinds=kinds, limit=_MANY)
        self._add(each for each in found if fields_of(each.data).get("stop") == facts.stopping.stop)

    def _last_comparison(self, connector: str) -> None:
        found = self._reads.records(kinds=("reconciled",), limit=_MANY)
        mine = [each for each in found if fields_of(each.data).get("connector") == connector]
        self._add([each for each in mine if each.position < self._size][-1:])

    def _statements(self, actions: set[str]) -> None:
        """Signed commands about one of the actions or their runs: settling, undoing, opening the run."""
        times = [each.at for each in self._found.values()]
        runs = {each.run for each in self._found.values() if each.run}
        first, last = min(times, default=0) - _DAY, max(times, default=0) + _DAY
        near = [each for each in self._reads.records(kinds=("statement",), limit=_MANY) if first <= each.at <= last]
        mine = [each for each in near if _mentions(self._reads, each, actions | runs) or self._opens(each)]
        self._both_stages(near, mine)

    def _both_stages(self, statements: Sequence[StoredRecord], mine: Iterable[StoredRecord]) -> None:
        """A command is accepted, and then carried out: neither is in a bundle without the other."""
        nonces = {text(fields_of(each.data), "nonce") for each in mine}
        self._add(each for each in statements if text(fields_of(each.data), "nonce") in nonces)

    def _opens(self, record: StoredRecord) -> bool:
        """Whether this is the order that opened a run in the bundle: it stands right before or behind it."""
        fields = fields_of(record.data)
        near = {record.position - 1, record.position + 1}
        if fields.get("command") != "run.open":
            return False
        opened = {position for position, each in self._found.items() if each.kind == "run.opened"}
        return bool(near & opened)

    def _in_force(self) -> None:
        """The home's beginning, and the whole chain of rosters and boundaries up to the last record: each is signed
        under the one before, so none can be left out."""
        last = max(self._found, default=0)
        self._add(self._reads.records(kinds=("home.created",), limit=1))
        self._add(each for each in self._reads.records(kinds=("roster.loaded",), limit=_MANY) if each.position <= last)
        before = ""
        for record in self._reads.records(kinds=("boundary.loaded",), limit=_MANY):
            digest = text(fields_of(record.data), "digest")
            if record.position <= last and digest != before:
                self._add([record])
                before = digest

    def _tombstones(self) -> None:
        names = {name for each in self._found.values() for name in committed(fields_of(each.data))}
        missing = {name for name in names if role_of(name) != SECRETS and self._reads.payload(name) is None}
        if not missing:
            return
        erased = self._reads.records(kinds=("erased", "pruned"), limit=_MANY)
        mine = [each for each in erased if each.kind == "pruned" or not missing.isdisjoint(_erased(each))]
        self._add(mine)
        times = [each.at for each in mine]
        orders = self._reads.records(kinds=("statement",), limit=_MANY) if times else []
        near = [each for each in orders if min(times) - _DAY <= each.at <= max(times) + _DAY]
        self._both_stages(near, [each for each in near if fields_of(each.data).get("command") == "erase"])

    def _newest(self) -> None:
        """The last entry of the tree tells how far in time the log had come. One about another action stays out:
        without that action's other records it cannot be checked, and its payloads are no business of this bundle's."""
        last = self._reads.records_at([self._size - 1])
        self._add(each for each in last if not each.action and not committed(fields_of(each.data)))


def _beside(facts: Facts) -> set[str]:
    """The actions that an action's story speaks of: evidence comes from one, an undo is one, Remit's reads are some."""
    found = {seen.evidence.action for seen in facts.seen}
    found |= {each.action for each in facts.own_reads} | set(facts.undone_by)
    return found | ({facts.action.undoes} if facts.action.undoes else set())


def _mentions(reads: Reads, record: StoredRecord, names: set[str]) -> bool:
    for name in committed(fields_of(record.data)):
        payload = reads.payload(name)
        statement, _ = signed(payload)
        parameters = fields_of(statement).get("parameters")
        if isinstance(parameters, dict) and any(
            value in names for value in parameters.values() if isinstance(value, str)
        ):
            return True
    return False


def committed(fields: Fields) -> dict[str, str]:
    """The payloads that a record commits to."""
    kept = fields.get("payloads")
    return kept if isinstance(kept, dict) else {}


def _erased(record: StoredRecord) -> Iterable[str]:
    """The payloads that a tombstone is about."""
    listed = fields_of(record.data).get("erased")
    return listed if isinstance(listed, dict) else ()


class _Payloads:
    """Collects the payloads of records, and why some stay out."""

    def __init__(
        self,
        reads: Reads,
        manifests: Mapping[str, Manifest],
        withheld: frozenset[str],
        records: Sequence[StoredRecord],
        *,
        whole: bool,
        ended: frozenset[str],
    ) -> None:
        self._ended = ended
        self._reads = reads
        self._erased = {name for each in records if each.kind == "erased" for name in _erased(each)}
        self._pruned = [fields_of(each.data).get("before") for each in records if each.kind == "pruned"]
        self._manifests = manifests
        self._withheld = withheld
        self._whole = whole
        self._seen: set[str] = set()
        self._tools: dict[str, tuple[str, str]] = {}
        self.disclosed: list[Disclosed] = []
        self.absent: list[Absent] = []

    def take(self, record: StoredRecord) -> None:
        """The payloads that one record commits to."""
        fields = fields_of(record.data)
        if record.kind == "proposal":
            self._tools[record.action] = (text(fields, "connector"), text(fields, "tool"))
        for name in sorted(committed(fields)):
            if name in self._seen:
                continue
            self._seen.add(name)
            secret = role_of(name) == SECRETS
            payload = None if secret else self._reads.payload(name)
            why = self._kept_apart(record.action) if secret else self._why_not(name, payload, record, fields)
            if why or payload is None:
                self.absent.append(Absent(id=name, why=why))
            else:
                self.disclosed.append(Disclosed(entry=record.position, payload=payload))

    def _kept_apart(self, action: str) -> str:
        """Why the secret arguments of an action are not in the bundle: they never are, and end with it everywhere."""
        return "ended" if action in self._ended else "secret"

    def _why_not(self, name: str, payload: Payload | None, record: StoredRecord, fields: Fields) -> str:
        role = role_of(name)
        if payload is None:
            return self._gone(name, record.at)
        if role in self._withheld:
            return "withheld"
        if role == "proposal" and self._shows_secrets(payload, record.action):
            return "secret"
        label = fields.get("label")
        if role == "result" and isinstance(label, dict) and label.get("confidentiality") == "secret":
            return "secret"
        return "large" if len(payload.data) > LARGEST_PAYLOAD and role in ROLES and not self._whole else ""

    def _shows_secrets(self, payload: Payload, action: str) -> bool:
        """Whether a proposal holds the value of an argument that was secret then, or is now."""
        connector, tool = self._tools.get(action, ("", ""))
        manifest = self._manifests.get(connector)
        declared = manifest.tools.get(tool) if manifest else None
        try:
            proposal = _proposal.decode(payload.data)
        except msgspec.MsgspecError:
            return True
        secrets = {*proposal.secrets, *(declared.secrets if declared else ())}
        said = (fields_of(each.encode()) for each in (proposal.arguments, proposal.asked))
        return any(fields[name] != SECRET for fields in said for name in meant(fields, secrets))

    def _gone(self, name: str, at: Instant) -> str:
        """Why a payload is no longer there, as far as the records in the bundle say so."""
        if name in self._erased:
            return "erased"
        return "pruned" if any(isinstance(before, int) and at < before for before in self._pruned) else "gone"
