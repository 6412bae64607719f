"""Runs: opening with a mandate, tokens, closing.

What lives here: turning a signed order to open into a run whose authority is fixed then and there. What never may:
anything that adds to a run's mandate later. INVARIANT: `Run.mandate` is written once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from remit.flow import tokens
from remit.flow.force import Forces, Tool
from remit.flow.lifecycle import Stale
from remit.flow.own import Read, own_call
from remit.flow.ports import Clock, Ids, Store, Transaction
from remit.flow.query import Query
from remit.flow.steward import Steward
from remit.gates import journal
from remit.gates.journal import Pseudonyms
from remit.model.canonical import BadJson, decode_strict
from remit.model.errors import Misuse, Refusal
from remit.model.words import (
    MINUTE,
    REMIT,
    Confidentiality,
    Effect,
    Instant,
    Integrity,
    Json,
    Label,
    Mandate,
    Payload,
    Record,
    Run,
    State,
    Takes,
)

LOOKUP_LIMIT = 50
LONGEST_RUN = 24 * 60 * MINUTE
LONGEST_CASE = 200  # characters: the case stands in every record of the run


class Order(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody trusted wants opened. `targets` and `case` come from the person or orchestrator that signs; the
    categories are at most the agent's. `clean` declares that nothing from third parties is in the case. A field that is
    not known may be a limit that this version would not keep, so it is refused."""

    agent: str
    case: str
    targets: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    seconds: int = 3600
    max_calls: int = 2_000
    clean: bool = False
    declared: dict[str, str] = {}


class Runs:
    """See the module. Owned by the event loop; `authenticate` reads a cache that only `open` and `close` change."""

    def __init__(
        self, *, store: Store, forces: Forces, steward: Steward, clock: Clock, ids: Ids, names: Pseudonyms
    ) -> None:
        self._store = store
        self._forces = forces
        self._steward = steward
        self._clock = clock
        self._ids = ids
        self._names = names
        self._by_token: dict[str, Run] = {run.token_hash: run for run in store.reads.runs(open_only=True)}

    async def open(self, order: Order, person: str, *records: Record) -> tuple[Run, str]:
        """Open a run for a person or orchestrator whose statement was verified. Returns it and its bearer token.

        `records` (the statement's) are committed with it. Raises `Misuse` for an agent or category that the boundary
        does not know, or a time that is too long.
        """
        at = self._clock.now()
        self._check(order)
        targets = await self._closed_targets(order, at)
        at = self._clock.now()  # the lookups took their time, and were recorded
        token = tokens.PREFIX + self._ids.token()
        run = Run(
            id=self._ids.new("run"),
            agent=order.agent,
            case=order.case,
            opened_by=person,
            opened_at=at,
            expires_at=at + order.seconds * 1_000_000,
            mandate=Mandate(targets, self._categories(order)),
            token_hash=tokens.token_hash(token),
            label=Label(Integrity.OPERATOR if order.clean else Integrity.THIRD_PARTY, Confidentiality.PUBLIC, ""),
            max_calls=order.max_calls,
            declared=order.declared,
        )
        mandate = journal.words(
            run.id, "mandate", self._ids.salt(), by=person, targets=list(targets), declared=order.declared
        )
        opened = self._opened(run, mandate)

        def step(tx: Transaction) -> None:
            tx.put_payload(mandate)
            tx.put_run(run, opened, *records)

        await self._store.commit(step)
        self._by_token[run.token_hash] = run
        return run, token

    def _opened(self, run: Run, mandate: Payload) -> Record:
        return journal.record(
            "run.opened",
            run.opened_at,
            run=run.id,
            agent=run.agent,
            case=run.case,
            by=self._names.person(run.opened_by),
            expires=run.expires_at,
            categories=list(run.mandate.categories),
            boundary=self._forces.current.boundary_digest,
            integrity=run.label.integrity,
            payloads=journal.commits(mandate),
            **self._names.targets(run.mandate.targets),
        )

    async def close(self, run_id: str, by: str, *records: Record) -> Run:
        """Close or revoke a run: its token is dead at once, what it left waiting is withdrawn. Idempotent.

        `records` (the statement's) are committed with it. Raises `Misuse` for a run that there is not.
        """
        run = self._store.reads.run(run_id)
        if run is None:
            raise Misuse(f"there is no run `{run_id}`", hint="`remit run list` shows the runs")
        self._by_token.pop(run.token_hash, None)
        if run.closed_at is not None:
            return run
        at = self._clock.now()
        who = self._names.person(by)

        def step(tx: Transaction) -> Run:
            now = tx.run(run_id) or run
            closed = replace(now, closed_at=at, closed_by=by)
            verdict = "none" if not now.verdict else "given"
            tx.put_run(
                closed,
                journal.record("run.closed", at, run=run_id, agent=run.agent, by=who, verdict=verdict, calls=now.calls),
                *records,
            )
            return closed

        closed = await self._store.commit(step)
        for action in self._store.reads.actions(Query(run=run_id, states=(State.WAITING, State.APPROVED))):
            if action.opened_by:
                continue  # a human's order, which outlives the run that it undoes something of
            try:
                await self._steward.withdraw(action, who)
            except (Refusal, Stale):
                continue
        return closed

    def authenticate(self, token: str) -> Run:
        """The open run of a bearer token. Raises `Refusal` (`unauthorized`), not saying which part is wrong."""
        run = self._by_token.get(tokens.token_hash(token)) if token.startswith(tokens.PREFIX) else None
        if run is None or self._clock.now() >= run.expires_at:
            raise Refusal(
                "the run token is missing, unknown, expired or revoked",
                hint="ask whoever opened the run for a token; `remit run open` makes one",
                state="unauthorized",
            )
        return run

    def find(self, run_id: str) -> Run | None:
        """An open run by its id."""
        return next((run for run in self._by_token.values() if run.id == run_id), None)

    def remember(self, run: Run) -> None:
        """Keep a run whose non-authority fields changed (its client, its verdict)."""
        if run.token_hash in self._by_token:
            self._by_token[run.token_hash] = run

    def _check(self, order: Order) -> None:
        boundary = self._forces.current.boundary
        agent = boundary.agent(order.agent)
        if agent is None or order.agent == REMIT:
            known = ", ".join(f"`{each.name}`" for each in boundary.agents)
            raise Misuse(
                f"the boundary knows no agent `{order.agent}`, it knows {known}", hint="the leader adds agents to it"
            )
        for category in order.categories:
            if category not in agent.categories:
                granted = ", ".join(f"`{each}`" for each in agent.categories)
                raise Misuse(f"agent `{order.agent}` is not granted `{category}`, it is granted {granted}")
        if not 0 < order.seconds * 1_000_000 <= LONGEST_RUN:
            raise Misuse(f"a run lasts from 1 s to 24 h, not {order.seconds} s")
        if not order.case:
            raise Misuse("a run needs a case: the alert or incident that it is about", hint="give one with `--case`")
        if len(order.case) > LONGEST_CASE:
            says = f"the case's name is {len(order.case)} characters long, expected at most {LONGEST_CASE}"
            raise Misuse(says, hint="give the id of the alert or incident; what it says belongs elsewhere")

    def _categories(self, order: Order) -> tuple[str, ...]:
        agent = self._forces.current.boundary.agent(order.agent)
        return order.categories or (agent.categories if agent else ())

    async def _closed_targets(self, order: Order, at: Instant) -> tuple[str, ...]:
        """The ids that the run may act on: those that the person named, the case's own, and what Remit's declared
        lookups lead to from there through trusted fields. Nothing an agent read is in it."""
        force = self._forces.current
        found: dict[str, None] = {}
        todo: deque[tuple[str | None, str]] = deque([("case", order.case), *((None, name) for name in order.targets)])
        seen: set[tuple[str | None, str]] = set()
        while todo and len(seen) < LOOKUP_LIMIT:
            kind, name = todo.popleft()
            if (kind, name) in seen:
                continue
            seen.add((kind, name))
            target = force.inventory.resolve(name)
            if target.known and kind not in (None, "case", target.kind):
                continue  # a lookup leads to what its field is declared to name, and to nothing else of that name
            if target.known:
                found[target.id] = None
            for tool in self._lookup_tools(kind, target.kind):
                todo.extend(
                    await self._look_up(
                        tool,
                        name if kind == "case" else force.inventory.connector_id(target, tool.connector),
                        order.case,
                        at,
                    )
                )
        return tuple(found)

    def _lookup_tools(self, *kinds: str | None) -> Iterable[Tool]:
        for tool in self._forces.current.tools.values():
            manifest = tool.manifest
            if tool.parked or manifest.effect is not Effect.READ or manifest.takes is not Takes.ONE:
                continue
            if manifest.lookups and not set(kinds).isdisjoint(manifest.target_kinds):
                yield tool

    async def _look_up(self, tool: Tool, name: str, case: str, at: Instant) -> list[tuple[str | None, str]]:
        read: Read = self._steward.read_for
        action, raw = await read(own_call(tool, {tool.manifest.target_argument: name}, case, at))
        if action.state is not State.DONE:
            return []
        found = fields_of(raw)
        trusted = [lookup for lookup in tool.manifest.lookups if lookup.field in tool.manifest.trusted]
        values = [(lookup.kind, found.get(lookup.field)) for lookup in trusted]
        return [(kind, value) for kind, value in values if isinstance(value, str) and value]


def fields_of(raw: bytes) -> dict[str, Json]:
    """The structured fields of a tool result; from its first text block where it has no structured content."""
    try:
        result = decode_strict(raw)
        structured = result.get("structuredContent")
        if isinstance(structured, dict):
            return structured
        text = next((block["text"] for block in result.get("content", ()) if block.get("type") == "text"), "")
        parsed = decode_strict(text)
    except (BadJson, AttributeError, KeyError, TypeError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
