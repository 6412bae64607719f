"""Erasing, by a person's signed order: payloads and their keys go, what the journal says stays.

What lives here: which payloads an id stands for, what may not be erased, and the record of it. What never may: removing
a record, a statement, a signature or a file that somebody signed.

What connectors said on stderr goes first, because nothing remembers that it must. The tombstone, the order's record and
the removal of the rows are one commit. Then the index forgets and keys are destroyed; where a crash comes between, both
happen at the next start: the index reads what the tombstone says, the store keeps a list of keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from remit.flow.lifecycle import OPEN, unsettled
from remit.flow.ports import Clock, Ids, Index, Leavings, Reads, Store, StoredRecord, Transaction
from remit.gates import journal
from remit.gates.journal import Pseudonyms
from remit.model.display import shown
from remit.model.errors import Fault, Misuse, Refusal
from remit.model.words import MINUTE, Action, Clause, Decision, Instant, Payload, Record

ERASABLE: Final = frozenset({"proposal", "result", "verdict", "mandate"})
"""The roles of payloads that can be erased."""

BETWEEN: Final[Instant] = MINUTE
"""The least time from one destruction of keys that nobody waits for to the next."""

_KEPT: Final = {
    "sta": "a person's signed statement proves who ordered what",
    "vot": "a person's signed statement proves who ordered what",
    "bnd": "a boundary and its signatures prove what was allowed",
    "ros": "a roster and its signatures prove who was who",
    "stp": "the order of a stop proves who stopped what",
    "con": "a tool's definition proves what was called",
    "def": "a tool's definition proves what was called",
    "era": "the reason for an erasure must outlast what was erased",
}
_MOST_VERDICTS: Final = 1_000_000
_RECORDS: Final = 100_000
_LISTED: Final = 400  # payloads that one record names
_BASIS: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .,:()/§-]{0,79}")


class Part(Struct, frozen=True, kw_only=True):
    """What is erased about one action or one run: payload ids with the commitments that records hold."""

    action: str = ""
    run: str = ""
    agent: str = ""
    payloads: dict[str, str]
    also: tuple[str, ...] = ()
    """Payloads that no record commits to."""
    whole: bool = False
    """Whether the names of the targets go too."""
    connector: str = ""


class Erased(Struct, frozen=True, kw_only=True):
    """What an erasure did. `unfinished` says in a sentence what could not be done yet; then it is done later."""

    payloads: tuple[str, ...]
    actions: tuple[str, ...]
    keys: int
    unfinished: str = ""


class Erasing:
    """See the module."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        ids: Ids,
        names: Pseudonyms,
        index: Index | None = None,
        leavings: Leavings | None = None,
    ) -> None:
        self._store = store
        self._index = index
        self._leavings = leavings
        self._reads: Reads = store.reads
        self._clock = clock
        self._ids = ids
        self._names = names
        self.unfinished = ""  # why removed payloads still have keys; empty where none has
        self._next: Instant = 0  # when `tick` may destroy keys again

    async def erase(self, ids: Sequence[str], person: str, reason: str, basis: str, *records: Record) -> Erased:
        """Erase what these ids stand for: actions, pieces of evidence, runs, verdicts, or single payloads.

        `records` (the order's) are committed with it. Raises `Misuse` for an id that there is not, `Refusal` for what
        is still open, must be kept, or is gone already; then nothing was erased.
        """
        if not _BASIS.fullmatch(basis):
            says = f"`basis` is {shown(basis)}, expected a short citation such as `GDPR 17(1)(a)`"
            raise Misuse(says, hint="it stands in the log for good; say the rest in the reason, which is kept apart")
        parts = [part for each in dict.fromkeys(ids) for part in self._parts(each)]
        for part in parts:
            self._check(self._reads, part)
        connectors = dict.fromkeys(part.connector for part in parts if part.connector)
        if self._leavings is not None and connectors:
            await self._leavings.forget(connectors)
        why = journal.words(self._ids.new("era"), "why", self._ids.salt(), by=person, reason=reason, basis=basis)

        def step(tx: Transaction) -> tuple[str, ...]:
            erased: list[str] = []
            tx.put_payload(why)
            for part in parts:
                erased += self._erase(tx, part, why, person, basis)
            if not erased:
                says = f"nothing of {', '.join(f'`{each}`' for each in ids)} is left to erase"
                raise _refusal("erase.nothing", says, "`remit explain` says when it was erased, by whom and why")
            for record in records:
                tx.append(record)
            return tuple(dict.fromkeys(erased))

        gone = await self._store.commit(step)
        behind = await self._unlearn(gone)
        keys = await self.finish()
        actions = tuple(dict.fromkeys(part.action for part in parts if part.action))
        return Erased(payloads=gone, actions=actions, keys=keys, unfinished=self.unfinished or behind)

    async def _unlearn(self, gone: Sequence[str]) -> str:
        """Let the index forget words of these payloads; empty, or why it has not yet. It goes on by itself then."""
        try:
            if self._index is not None:
                await asyncio.to_thread(self._index.forget, gone)
        except Fault as error:
            return error.message
        return ""

    async def catch_up(self) -> None:
        """Let the index come to what was removed by now. Where it cannot, it goes on by itself."""
        if self._index is not None:
            with contextlib.suppress(Fault):
                await asyncio.to_thread(self._index.catch_up)

    async def finish(self) -> int:
        """Destroy the keys of what was removed. Returns how many; never raises: `unfinished` says what is left."""
        try:
            keys = await self._store.purge()
        except Fault as error:
            self.unfinished = error.message
            return 0
        self.unfinished = ""
        return keys

    async def tick(self) -> None:
        """Destroy the keys of what steps have removed meanwhile, the secret arguments of ended actions above all: at
        once, and again after a minute at the earliest, for it costs the disk a lot; what is unfinished at once."""
        now = self._clock.now()
        if self.unfinished or (self._store.removed and now >= self._next):
            self._next = now + BETWEEN
            await self.finish()

    # --- the step --------------------------------------------------------------------------------------------------

    def _erase(self, tx: Transaction, part: Part, why: Payload, person: str, basis: str) -> list[str]:
        self._check(tx, part)
        there = {each: commitment for each, commitment in part.payloads.items() if _there(tx, each)}
        if not there:
            return []
        names = list(there)
        for start in range(0, len(names), _LISTED):
            listed = {each: there[each] for each in names[start : start + _LISTED]}
            record = journal.record(
                "erased",
                self._clock.now(),
                action=part.action,
                run=part.run,
                agent=part.agent,
                by=self._names.person(person),
                basis=basis,
                erased=listed,
                payloads=journal.commits(why),
            )
            tx.erase([*listed, *(part.also if start == 0 else ())], record)
        if part.whole:
            self._scrub(tx, part)
        return names

    def _scrub(self, tx: Transaction, part: Part) -> None:
        action, run = tx.action(part.action), tx.run(part.run)
        if part.action and action is not None:
            tx.scrub(action.id, {each: self._names.of(each) for each in action.targets})
        elif not part.action and run is not None:
            tx.scrub_run(run.id, {each: self._names.of(each) for each in run.mandate.targets})

    def _check(self, tx: Transaction | Reads, part: Part) -> None:
        action = tx.action(part.action) if part.action else None
        if action is not None and (action.state in OPEN or unsettled(action)):
            hint = f"`remit settle {action.id}` first" if unsettled(action) else "erase it when it has ended"
            says = f"action `{action.id}` is `{action.state}`: what it is about is needed until it has ended"
            raise _refusal("erase.open", says, hint)
        run = tx.run(part.run) if part.run and not part.action else None
        if part.whole and run is not None and run.closed_at is None:
            says = f"run `{run.id}` is open: what it is about is needed until it is closed"
            raise _refusal("erase.open", says, f"`remit run close {run.id}` first")

    # --- what an id stands for -------------------------------------------------------------------------------------

    def _parts(self, named: str) -> list[Part]:
        owner, _, role = named.partition(".")
        prefix = owner.partition("_")[0]
        if prefix in _KEPT or (role and role not in ERASABLE):
            ends = "secret arguments go by themselves when their action ends"
            why = _KEPT.get(prefix, "only arguments, results, verdicts and mandates can be erased")
            why = ends if role == "secrets" else why
            raise _refusal("erase.kept", f"`{named}` is kept: {why}", "erase the action, evidence, run or verdict")
        finding = {"act": self._of_action, "ev": self._of_evidence, "run": self._of_run, "vrd": self._of_verdict}
        found = finding[prefix](owner) if prefix in finding else []
        if not found:
            hint = "an id of an action, evidence, run or verdict; `remit find` lists actions"
            raise Misuse(f"there is no `{named}` to erase", hint=hint)
        if not role:
            return found
        single = [_only(part, named) for part in found]
        return [part for part in single if part.payloads]

    def _of_action(self, action_id: str) -> list[Part]:
        action = self._reads.action(action_id)
        if action is None:
            return []
        payloads = _committed(self._reads.records(action=action_id, limit=_RECORDS))
        return [_part(action, payloads, whole=True)]

    def _of_evidence(self, evidence_id: str) -> list[Part]:
        evidence = self._reads.evidence(evidence_id)
        action = self._reads.action(evidence.action) if evidence else None
        if evidence is None or action is None:
            return []
        payloads = _committed(self._reads.records(action=action.id, kinds=("outcome",)))
        return [_part(action, {each: says for each, says in payloads.items() if each == evidence.payload})]

    def _of_run(self, run_id: str) -> list[Part]:
        run = self._reads.run(run_id)
        if run is None:
            return []
        records = self._reads.records(run=run_id, limit=_RECORDS)
        by_action: dict[str, list[StoredRecord]] = {}
        for record in records:
            by_action.setdefault(record.action, []).append(record)
        own = Part(run=run_id, agent=run.agent, payloads=_committed(by_action.pop("", ())), whole=True)
        actions = [self._reads.action(each) for each in by_action]
        return [own, *(_part(each, _committed(by_action[each.id]), whole=True) for each in actions if each)]

    def _of_verdict(self, verdict_id: str) -> list[Part]:
        for record in reversed(self._reads.records(kinds=("verdict",), limit=_MOST_VERDICTS)):
            payloads = _committed((record,))
            if f"{verdict_id}.verdict" in payloads:
                return [Part(run=record.run, agent=record.agent, payloads=payloads)]
        return []


def _part(action: Action, payloads: dict[str, str], *, whole: bool = False) -> Part:
    return Part(
        action=action.id,
        run=action.run,
        agent=action.agent,
        payloads=payloads,
        also=(f"{action.id}.says",) if whole else (),
        whole=whole,
        connector=action.connector,
    )


def _only(part: Part, payload_id: str) -> Part:
    return replace(
        part, payloads={each: says for each, says in part.payloads.items() if each == payload_id}, also=(), whole=False
    )


def _committed(records: Sequence[StoredRecord]) -> dict[str, str]:
    """What records commit to and may be erased: payload id to commitment."""
    found: dict[str, str] = {}
    for record in records:
        fields = msgspec.json.decode(record.data)
        kept = fields.get("payloads") if isinstance(fields, dict) else None
        for payload_id, commitment in kept.items() if isinstance(kept, dict) else ():
            if payload_id.rpartition(".")[2] in ERASABLE:
                found[payload_id] = commitment
    return found


def _there(tx: Transaction, payload_id: str) -> bool:
    try:
        return tx.payload(payload_id) is not None
    except Fault:  # what cannot be opened can be erased all the same
        return True


def _refusal(clause: str, says: str, hint: str) -> Refusal:
    return Refusal(says, hint=hint, clauses=[Clause(clause, Decision.FORBID, says)])
