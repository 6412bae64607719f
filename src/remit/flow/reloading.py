"""Putting files in force: at the start, at a reload, and when a connector's tools change. All or nothing.

What lives here: reading, checking, recording, swapping, in that order. What never may: a half-loaded state. What was in
force stays in force until the record of the new one is durable.

The store's facts are the truth about what was accepted: the roster, the boundary, the inventory and each connector's
lock. The files beside them are what people propose; a file that changes by itself changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol

import msgspec
from msgspec import Struct

from remit.flow.filing import Filing
from remit.flow.force import Force, Forces
from remit.flow.loading import (
    Accepted,
    Loaded,
    Signed,
    catalogue,
    check_boundary,
    check_pins,
    expiry_warning,
    put_together,
    tightened,
)
from remit.flow.ports import Alerts, Clock, Ids, Store, Transaction
from remit.gates import journal
from remit.gates.boundary.load import load
from remit.gates.boundary.words import Boundary
from remit.gates.journal import Pseudonyms
from remit.model.canonical import sha256_hex
from remit.model.definitions import LockFile, load_lock
from remit.model.errors import Misuse, RemitError
from remit.model.manifest import Manifest
from remit.model.people import Roster, load_roster, verify_successor
from remit.model.targets import Inventory, dump_inventory, load_inventory
from remit.model.words import Definition, Instant, Payload, Record

ROSTER, BOUNDARY, BOUNDARY_FILE, INVENTORY = "roster", "boundary", "boundary.file", "inventory"
PEOPLE = "people"


def lock_fact(connector: str) -> str:
    """The name of the fact that holds a connector's accepted lock."""
    return f"lock:{connector}"


def kept_fact(what: str, digest: str) -> str:
    """The name of the fact that keeps a file that was once in force, so that old records can still be checked."""
    return f"{what}:{digest}"


class Sources(Protocol):
    """The files that people write, as bytes."""

    def roster(self) -> Signed: ...
    def boundary(self) -> Signed: ...
    def inventory(self) -> bytes: ...
    def manifests(self) -> dict[str, Manifest]: ...
    def write_lock(self, connector: str, text: str) -> None: ...


class Offers(Protocol):
    """The running connectors, as far as loading needs them."""

    def definitions(self) -> Mapping[str, Sequence[Definition]]:
        """What each connector that is known offers."""
        ...

    async def apply(self, manifests: Mapping[str, Manifest]) -> None:
        """Start, restart and end connectors so that exactly these run."""
        ...


class Report(Struct, frozen=True, kw_only=True):
    """What a load did, for whoever asked for it."""

    boundary: str
    version: int
    digest: str
    signers: tuple[str, ...]
    warning: str
    inventory_waits: tuple[str, ...]
    parked: tuple[str, ...]


class _Gathered(Struct, frozen=True):
    roster: Roster
    roster_data: bytes
    roster_signers: tuple[str, ...]
    roster_filing: Filing
    loaded: Loaded
    boundary_data: bytes
    boundary_filing: Filing
    inventory: Inventory
    inventory_data: bytes
    inventory_applied: tuple[str, ...]
    inventory_waits: tuple[str, ...]
    manifests: dict[str, Manifest]


class Reloading:
    """See the module. Owned by the event loop; one load at a time (its caller holds the lock)."""

    def __init__(
        self,
        *,
        home: str,
        store: Store,
        sources: Sources,
        offers: Offers,
        clock: Clock,
        ids: Ids,
        alerts: Alerts,
        names: Pseudonyms,
    ) -> None:
        self._home = home
        self._store = store
        self._sources = sources
        self._offers = offers
        self._clock = clock
        self._ids = ids
        self._alerts = alerts
        self._names = names
        self._forces: Forces | None = None
        self._waits: tuple[str, ...] = ()
        self._loaded: Loaded | None = None
        self._offered: dict[str, tuple[dict[str, str], list[str]]] = {}  # what is on record, by connector

    async def load(self, *records: Record) -> Force:
        """Check every file and put them in force together. Raises what the checks raise; then nothing changed, and
        the refusal is on record. `records` are the statement of whoever asked for it."""
        now = self._clock.now()
        try:
            roster = self._roster(now)
        except RemitError as error:
            await self._refused("roster.refused", error)
            raise
        try:
            gathered = self._gather(roster, now)
        except RemitError as error:
            await self._refused("boundary.refused", error)
            raise
        await self._store.commit(lambda tx: self._write(tx, gathered, records))
        self._waits = gathered.inventory_waits
        self._loaded = gathered.loaded
        self._put(gathered)
        await self._offers.apply(gathered.manifests)
        return self._put(gathered)

    def _put(self, gathered: _Gathered) -> Force:
        """Swap, with the tools that the connectors offer at this moment."""
        return self._swap(self._force_of(gathered.loaded, gathered.roster, gathered.inventory, gathered.manifests))

    def bind(self, forces: Forces) -> None:
        """From now on, loads swap what this holds."""
        self._forces = forces

    def tools_changed(self) -> None:
        """A connector came up, or changed what it offers: work out anew which tools are usable."""
        if self._forces is None or self._loaded is None:
            return
        force = self._forces.current
        swapped = self._swap(self._force_of(self._loaded, force.roster, force.inventory, force.manifests))
        self._record_offers(swapped)

    def report(self, force: Force) -> Report:
        """What is in force, in short."""
        return Report(
            boundary=force.boundary.name,
            version=force.boundary.version,
            digest=force.boundary_digest,
            signers=tuple(person.id for person in self._loaded.signers) if self._loaded else (),
            warning=expiry_warning(force.boundary, self._clock.now()),
            inventory_waits=self._waits,
            parked=tuple(f"{tool.name}: {tool.parked}" for tool in force.tools.values() if tool.parked),
        )

    async def accept_inventory(self, digest: str, *records: Record) -> None:
        """Accept the inventory file whose SHA-256 is `digest`, whatever it loosens, and load."""
        data = self._sources.inventory()
        if sha256_hex(data) != digest:
            raise Misuse("the inventory has changed since it was looked at", hint="`remit inventory show`, then accept")
        load_inventory(data)
        at = self._clock.now()
        accepted = journal.record("inventory.loaded", at, digest=digest, accepted=True)
        await self._store.commit(lambda tx: tx.set_fact(INVENTORY, data, accepted, *records))
        await self.load()

    async def accept_tools(self, connector: str, digests: Mapping[str, str], *records: Record) -> LockFile:
        """Accept exactly these definitions (tool → digest) of a connector; they must be what it offers now."""
        offered = {each.name: each.digest for each in self._offers.definitions().get(connector, ())}
        for tool, digest in digests.items():
            if offered.get(tool) != digest:
                hint = "`remit connectors list` shows what it offers now"
                raise Misuse(f"connector `{connector}` no longer offers `{tool}` as it was looked at", hint=hint)
        lock = LockFile(dict(digests))
        text = lock.dump(connector)
        payload = journal.words(self._ids.new("con"), "tools", self._ids.salt(), tools=dict(digests))
        kept = journal.commits(payload)
        accepted = journal.record(
            "tools.accepted", self._clock.now(), connector=connector, tools=len(digests), payloads=kept
        )

        def step(tx: Transaction) -> None:
            tx.put_payload(payload)
            tx.set_fact(lock_fact(connector), text.encode(), accepted, *records)

        await self._store.commit(step)
        self._sources.write_lock(connector, text)
        self.tools_changed()
        return lock

    # --- gathering ---------------------------------------------------------------------------------------------

    def _gather(self, accepted: tuple[Roster, Signed, tuple[str, ...]], now: Instant) -> _Gathered:
        roster, roster_file, roster_signers = accepted
        signed = self._sources.boundary()
        before, standing = self._before()
        loaded = check_boundary(signed, roster, before, standing, now)
        manifests = self._sources.manifests()
        check_pins(loaded.boundary, manifests)
        inventory, data, applied, waits = self._inventory()
        return _Gathered(
            roster=roster,
            roster_data=roster_file.data,
            roster_signers=roster_signers,
            roster_filing=Filing.of("ros", roster_file.data, roster_file.signatures, self._ids),
            loaded=loaded,
            boundary_data=signed.data,
            boundary_filing=Filing.of("bnd", signed.data, signed.signatures, self._ids),
            inventory=inventory,
            inventory_data=data,
            inventory_applied=applied,
            inventory_waits=waits,
            manifests=manifests,
        )

    def _roster(self, now: Instant) -> tuple[Roster, Signed, tuple[str, ...]]:
        accepted = self._store.reads.fact(ROSTER)
        if accepted is None:
            raise Misuse("this home has no first roster on record", hint="`remit init` makes a home with one")
        signed = self._sources.roster()
        old = load_roster(accepted)
        if signed.data == accepted:
            return old, signed, ()
        new, signers = verify_successor(old, signed.data, signed.signatures.values(), now=now)
        return new, signed, tuple(person.id for person in signers)

    def _before(self) -> tuple[Accepted | None, Boundary | None]:
        fact, file = self._store.reads.fact(BOUNDARY), self._store.reads.fact(BOUNDARY_FILE)
        if fact is None or file is None:
            return None, None
        return msgspec.json.decode(fact, type=Accepted), load(file)

    def _inventory(self) -> tuple[Inventory, bytes, tuple[str, ...], tuple[str, ...]]:
        data = self._sources.inventory()
        new = load_inventory(data)
        accepted = self._store.reads.fact(INVENTORY)
        if accepted is None or accepted == data:
            return new, data, (), ()
        inventory, applied, waits = tightened(load_inventory(accepted), new)
        # What has been tightened stays so: it becomes what the next file is compared with.
        return inventory, dump_inventory(inventory) if waits else data, applied, waits

    # --- writing -----------------------------------------------------------------------------------------------

    def _write(self, tx: Transaction, gathered: _Gathered, records: Sequence[Record]) -> None:
        at = self._clock.now()
        loaded = gathered.loaded
        self._write_roster(tx, gathered, at)
        entry = journal.record(
            "boundary.loaded",
            at,
            name=loaded.boundary.name,
            digest=loaded.digest,
            version=loaded.boundary.version,
            signers=self._names.people(person.id for person in loaded.signers),
            expired=at >= loaded.boundary.not_after,
            payloads=gathered.boundary_filing.keep(tx),
        )
        accepted = msgspec.json.encode(Accepted(loaded.digest, loaded.boundary.version))
        tx.set_fact(BOUNDARY, accepted, entry, *records)
        tx.set_fact(BOUNDARY_FILE, gathered.boundary_data)
        tx.set_fact(kept_fact(BOUNDARY_FILE, loaded.digest), gathered.boundary_data)
        self._write_inventory(tx, gathered, at)

    def _write_roster(self, tx: Transaction, gathered: _Gathered, at: Instant) -> None:
        roster = gathered.roster
        if tx.fact(ROSTER) != gathered.roster_data:
            entry = journal.record(
                "roster.loaded",
                at,
                digest=roster.digest,
                version=roster.version,
                signers=self._names.people(gathered.roster_signers),
                payloads=gathered.roster_filing.keep(tx),
            )
            tx.set_fact(ROSTER, gathered.roster_data, entry)
        tx.set_fact(kept_fact(ROSTER, roster.digest), gathered.roster_data)
        people = {self._names.person(each.id): each.id for each in roster.people}
        tx.set_fact(kept_fact(PEOPLE, roster.digest), msgspec.json.encode(people))

    def _write_inventory(self, tx: Transaction, gathered: _Gathered, at: Instant) -> None:
        digest = sha256_hex(gathered.inventory_data)
        if tx.fact(INVENTORY) != gathered.inventory_data:
            applied = len(gathered.inventory_applied)
            entry = journal.record(
                "inventory.loaded", at, digest=digest, targets=len(gathered.inventory), tightened=applied
            )
            tx.set_fact(INVENTORY, gathered.inventory_data, entry)
        if gathered.inventory_waits:
            waiting = len(gathered.inventory_waits)
            applied = len(gathered.inventory_applied)
            tx.append(journal.record("inventory.waiting", at, loosenings=waiting, tightened=applied))

    async def _refused(self, kind: str, error: RemitError) -> None:
        at = self._clock.now()
        entry = journal.record(kind, at, why=type(error).__name__)
        await self._store.commit(lambda tx: tx.append(entry))
        self._alerts.send({"code": "not-loaded", "why": error.message})

    def _record_offers(self, force: Force) -> None:
        """Write down which connectors offer something else than before, and what of it is parked."""
        at = self._clock.now()
        for name, definitions in self._offers.definitions().items():
            offered = {each.name: each.digest for each in definitions}
            parked = sorted(t.definition.name for t in force.tools.values() if t.connector == name and t.parked)
            if self._offered.get(name) == (offered, parked):
                continue
            self._offered[name] = (offered, parked)
            payload = journal.words(self._ids.new("con"), "tools", self._ids.salt(), tools=offered, parked=parked)
            changed = journal.record(
                "connector.changed",
                at,
                connector=name,
                tools=len(offered),
                parked=len(parked),
                payloads=journal.commits(payload),
            )
            self._store.commit_soon(partial(_append, changed, payload))

    def _force_of(
        self, loaded: Loaded, roster: Roster, inventory: Inventory, manifests: Mapping[str, Manifest]
    ) -> Force:
        offered = {name: tools for name, tools in self._offers.definitions().items() if name in manifests}
        tools = catalogue(loaded.boundary, manifests, self.locks(manifests), offered)
        return put_together(self._home, loaded, roster, inventory, manifests, tools)

    def locks(self, manifests: Mapping[str, Manifest]) -> dict[str, LockFile]:
        """The accepted locks of these connectors."""
        found = {}
        for name in manifests:
            fact = self._store.reads.fact(lock_fact(name))
            if fact:
                found[name] = load_lock(fact, name)
        return found

    def _swap(self, force: Force) -> Force:
        if self._forces is not None:
            self._forces.swap(force)
        return force


def _append(record: Record, payload: Payload, tx: Transaction) -> None:
    tx.put_payload(payload)
    tx.append(record)
