"""What the flow needs of the world, as narrow protocols. `remit.node` picks who fulfils them.

What lives here: protocols and the values that cross them. What never may: an implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from remit.flow.query import Query
from remit.model.words import (
    Action,
    Approval,
    Claim,
    Event,
    Evidence,
    Instant,
    Json,
    Payload,
    Record,
    Run,
    Tombstone,
    Used,
    Window,
)

T = TypeVar("T")

PAYLOAD_CLASSES = ("proposals", "read_results", "change_results", "verdicts")
"""The classes of payloads that retention can prune. All others are kept for ever."""


class Transaction(Protocol):
    """One all-or-nothing step. Synchronous: it never waits for anything but the store.

    INVARIANT: no method changes an action, a run or a fact without at least one record in the same transaction.
    """

    # actions
    def action(self, action_id: str) -> Action | None: ...
    def open(self, action: Action, claims: Sequence[Claim], *records: Record) -> Action:
        """Write a new action at revision 1 in one of `lifecycle.OPENINGS`, with its share of the quotas.

        Raises `NoSuchTransition` for any other state and `ValueError` for empty `records`.
        """
        ...

    def move(self, action_id: str, expected: int, event: Event, *records: Record, **changes: Any) -> Action:
        """The only writer of state. `changes` are other fields of the action that the event brings.

        Raises `Stale` if the revision is not `expected`, `NoSuchTransition` if `lifecycle.TABLE` has none, and
        `ValueError` for empty `records`. Returns the action as it now stands. A move to a final state (other than
        one that is unsettled) ends the action's claims at the move's `ended_at`. A move out of the last open state
        removes the payload of its secret arguments, as `erase` does, and its fingerprint where it has such.
        """
        ...

    def note(self, action_id: str, expected: int, *records: Record, **changes: Any) -> Action:
        """Change fields other than the state (handed over, say). Same errors as `move`."""
        ...

    def open_twin(self, fingerprint: str) -> Action | None:
        """The action in an open state with this fingerprint, if there is one."""
        ...

    def unsettled(self, connector: str, targets: Sequence[str]) -> tuple[Action, ...]:
        """Unsettled or executing consequential actions through this connector on any of these targets. Empty
        `targets` means every target."""
        ...

    # quotas
    def used(self, windows: Sequence[Window]) -> dict[str, Used]:
        """What stands in each window, by quota name: claims that are open, or ended at or after `since`."""
        ...

    def reserve(self, claims: Sequence[Claim]) -> None: ...

    # payloads and records
    def put_payload(self, payload: Payload) -> None: ...
    def payload(self, payload_id: str) -> Payload | None: ...
    def erase(self, payload_ids: Sequence[str], record: Record) -> None:
        """Remove these payloads, and append the record that says so; the evidence that one of them was loses its
        digest. Their keys are destroyed by `Store.purge`. Ids of payloads that are gone are passed over."""
        ...

    def scrub(self, action_id: str, names: Mapping[str, str]) -> None:
        """Put these stand-ins in the place of the names of targets, wherever the store keeps them for this action.

        Needs a record in the same step. Raises `ValueError` while the action can still have an effect.
        """
        ...

    def scrub_run(self, run_id: str, names: Mapping[str, str]) -> None:
        """The same for the mandate of a run; what its client and its opener declared goes too. Raises `ValueError`
        while the run is open."""
        ...

    def prune(self, payload_class: str, before: Instant, limit: int) -> int:
        """Remove the oldest `limit` payloads of one of `PAYLOAD_CLASSES` that were put before that time, and return
        how many. Needs a record in the same step where it is more than 0. Proposals of actions that can still have an
        effect stay."""
        ...

    def append(self, record: Record) -> None: ...

    # runs
    def run(self, run_id: str) -> Run | None: ...
    def run_by_token(self, token_hash: str) -> Run | None: ...
    def put_run(self, run: Run, *records: Record) -> None:
        """Insert or replace. Raises `ValueError` for empty `records`."""
        ...

    def count_call(self, run_id: str) -> Run | None:
        """The run with its number of calls raised by one; None for an unknown run. Needs no record of its own: the
        proposal that it counts is one."""
        ...

    def raise_label(self, run: Run, evidence: Evidence) -> None:
        """Join the evidence's label into the run's."""
        ...

    # evidence and approvals
    def put_evidence(self, evidence: Evidence) -> None: ...
    def evidence(self, evidence_id: str) -> Evidence | None: ...
    def put_approval(self, approval: Approval, *records: Record) -> None: ...
    def approvals(self, action_id: str) -> tuple[Approval, ...]: ...

    # refusals, nonces, facts
    def note_refusal(self, agent: str, at: Instant) -> None: ...
    def refusals(self, agent: str, since: Instant) -> int: ...
    def burn_nonce(self, nonce: str, expires: Instant) -> bool:
        """True the first time; False if the nonce was burned before."""
        ...

    def fact(self, name: str) -> bytes | None:
        """A small durable value by name: the boundary in force, the clock's high-water mark, the latch's last word."""
        ...

    def set_fact(self, name: str, value: bytes, *records: Record) -> None: ...


class StoredRecord(Struct, frozen=True, kw_only=True):
    """A record where it stands: `position` counts from 0 in the order of commits."""

    position: int
    kind: str
    at: Instant
    action: str
    run: str
    agent: str
    data: bytes
    sha256: bytes


class Reads(Protocol):
    """Looking, without a transaction of its own: sees only what is durable. Safe to call from any thread."""

    def action(self, action_id: str) -> Action | None: ...
    def actions(self, query: Query) -> list[Action]:
        """The actions that fit, newest first. Raises `ValueError` for a field that only the index knows."""
        ...

    def records(
        self, *, action: str = "", run: str = "", kinds: Sequence[str] = (), limit: int = 1000
    ) -> list[StoredRecord]: ...
    def records_from(self, position: int, limit: int) -> list[StoredRecord]:
        """At most `limit` records from this position on, in order."""
        ...

    def records_at(self, positions: Sequence[int]) -> list[StoredRecord]:
        """The records at these positions, in order, each once; positions without one are left out."""
        ...

    def payload(self, payload_id: str) -> Payload | None:
        """The payload; None where it was erased or pruned, or never was. Raises `Fault` where its key is missing."""
        ...

    def tombstone(self, payload_id: str) -> Tombstone | None:
        """What says that this payload was erased, if it was."""
        ...

    def prunable(self, payload_class: str, before: Instant) -> int:
        """How many payloads of the class were put before that time and are there still."""
        ...

    def evidence(self, evidence_id: str) -> Evidence | None: ...
    def approvals(self, action_id: str) -> tuple[Approval, ...]: ...
    def run(self, run_id: str) -> Run | None: ...
    def runs(self, *, open_only: bool = False) -> list[Run]: ...
    def fact(self, name: str) -> bytes | None: ...
    def counts(self) -> dict[str, int]: ...
    def latest(self) -> Instant:
        """The latest time in any record, 0 where there is none: the clock's durable high-water mark."""
        ...


class Look(Protocol):
    """One look into the index: what it held at one moment.

    A term is `field=value` as `remit.gates.search` makes it. A record is known by its position. Every method may raise
    `Torn`.
    """

    @property
    def position(self) -> int:
        """How many records it covers: those before this position."""
        ...

    @property
    def why(self) -> str:
        """Empty, or why it covers nothing: there is no index, or it cannot be trusted."""
        ...

    def match(
        self, groups: Sequence[Sequence[str]], *, since: Instant | None = None, until: Instant | None = None
    ) -> Iterator[int]:
        """The positions that have at least one term of every group, newest first. Times only narrow proposals,
        refusals and verdicts; without groups nothing matches."""
        ...

    def which(self, position: int, terms: Iterable[str]) -> frozenset[str]:
        """Those of the terms that this position has."""
        ...

    def proposal(self, action_id: str) -> int | None:
        """Where the proposal of an action stands, if the index covers it."""
        ...


class Torn(Exception):
    """The index cannot be trusted, or cannot be read: the message says why. The store still has everything."""


class Index(Protocol):
    """Finds records by their terms. It only ever lags behind: what it does not cover yet is read from the store. It
    can be lost at any time, and built anew."""

    def look(self) -> AbstractContextManager[Look]:
        """A look at what it covers now: nothing, where it is missing, torn, or not about this store."""
        ...

    def follow(self, first: int, records: Sequence[StoredRecord]) -> None:
        """Say that these records are durable, from any thread. Returns at once and never raises."""
        ...

    def forget(self, ids: Iterable[str]) -> None:
        """Remove what was learned from the payloads of these actions (`act_…`) or payloads (`act_….proposal`,
        `vrd_….verdict`), which are gone from the store by now. Raises `Fault` where it cannot."""
        ...

    def catch_up(self) -> int:
        """Take in everything that is durable by now, and forget what that says is gone; where it stands then. From any
        thread; takes as long as it takes. Raises `Fault` where it cannot."""
        ...


class Leavings(Protocol):
    """What connectors wrote to stderr, which may repeat what they were called with."""

    async def forget(self, connectors: Iterable[str]) -> None:
        """Empty what was kept of theirs so far, files and memory. Raises `Fault` where it cannot."""
        ...

    async def let_go(self, age: Instant) -> None:
        """Let go of what was written to files longer ago than that, in microseconds. Asked once an hour, it may be two
        hours late; what is younger than half of it stays. Raises `Fault` where it cannot."""
        ...


class Store(Protocol):
    """Where state and records live together."""

    @property
    def reads(self) -> Reads:
        """Looking at what is durable."""
        ...

    async def commit(self, step: Callable[[Transaction], T]) -> T:
        """Run `step` in a transaction and return its value once it is durable.

        `step` is synchronous, may run again, touches only the transaction, and has its own savepoint in a batch:
        what it raises is raised here and rolls back that step alone. Raises `NotCommitted` or `CommitUnknown`, the
        two forms of a fault.
        """
        ...

    def commit_soon(self, step: Callable[[Transaction], Any]) -> None:
        """Queue a step from any thread without waiting for it (a stop's record). Never raises."""
        ...

    @property
    def removed(self) -> bool:
        """Whether steps have removed payloads since the last `purge`. Costs nothing."""
        ...

    async def purge(self) -> int:
        """Drive what steps have removed out of every file, its keys last, and return how many keys were destroyed.

        Raises `Fault` where that cannot be finished now; it is finished by the next call, or when the store is opened.
        """
        ...

    @property
    def healthy(self) -> str:
        """Empty while the store can commit, else what is wrong with it."""
        ...

    def close(self) -> None: ...


class NotSent(Exception):
    """The call certainly did not leave Remit."""


class AnswerLost(Exception):
    """The call left Remit and no answer came: what became of it is not known."""


class UpstreamRefused(Exception):
    """The connector answered with a protocol error: `code` and `message` are its own words, untrusted."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Connectors(Protocol):
    """The connectors as the flow sees them."""

    async def call(
        self,
        connector: str,
        tool: str,
        arguments: bytes,
        meta: Mapping[str, Json],
        *,
        action: str,
        handed_over: Callable[[], None],
        on_progress: Callable[[Json], None] | None = None,
    ) -> bytes:
        """Call a tool and return the exact bytes of the JSON-RPC `result` member.

        `arguments` is sent byte for byte. `handed_over` is called, synchronously, immediately before the first byte
        may leave; what it raises is raised here and nothing is sent. Raises `NotSent`, `AnswerLost`,
        `UpstreamRefused`.
        """
        ...

    def sever(self, connector: str, actions: Iterable[str]) -> tuple[bool, tuple[str, ...]]:
        """Cut these actions' calls now, from any thread. Returns whether they are severed for certain (their process
        is dead), and the ids of other actions that shared the process and fell with it."""
        ...


class Credentials(Protocol):
    """Mints and ends the credential of one action."""

    def mint(
        self,
        action: Action,
        connector: str,
        tool: str,
        targets: Sequence[str],
        arguments: bytes,
        now: Instant,
    ) -> dict[str, Json]:
        """What goes into the call's `_meta`; empty for classes that put nothing there."""
        ...


class Clock(Protocol):
    """Time, as the flow is allowed to see it."""

    def now(self) -> Instant:
        """Wall-clock time that never goes back below the durable high-water mark, in microseconds."""
        ...

    def jumped(self) -> str:
        """Empty, or why changes are on hold: wall and monotonic clocks drifted apart by more than 2 s."""
        ...


class Alerts(Protocol):
    """Where alerts go besides the journal. Never waits and never raises."""

    def send(self, alert: dict[str, Json]) -> None: ...


class LogState(Struct, frozen=True, kw_only=True):
    """How far the log is: `size` entries are under the newest checkpoint, published at `signed_at` (0: not yet)."""

    origin: str = ""
    size: int = 0
    signed_at: Instant = 0


class Log(Protocol):
    """The provable log, as the flow sees it. Safe to call from any thread."""

    def trouble(self) -> str:
        """Empty, or why records do not come under a signed checkpoint: then every action is refused. Called for each
        action, so it costs microseconds."""
        ...

    @property
    def state(self) -> LogState:
        """How far it is."""
        ...


class WitnessState(Struct, frozen=True, kw_only=True):
    """One witness: the `size` of the last checkpoint that it cosigned (0: none yet), and why it is `away`, if it is."""

    name: str
    url: str
    size: int
    away: str


class WitnessesState(Struct, frozen=True, kw_only=True):
    """The witnesses of the log. Records below `size` are under a checkpoint that `quorum` of them cosigned (0: there
    are none)."""

    quorum: int = 0
    size: int = 0
    witnesses: tuple[WitnessState, ...] = ()


class Witnesses(Protocol):
    """Those outside who cosign the log, as the flow sees them. Safe to call from any thread."""

    def away(self) -> str:
        """Empty while enough witnesses cosign what there is, or have nothing to cosign; else why that is not so. Costs
        microseconds."""
        ...

    async def cover(self, position: int, seconds: float) -> bool:
        """Wait until enough witnesses have cosigned a checkpoint that has the record at `position`, at most so long.
        Returns whether they have."""
        ...

    @property
    def state(self) -> WitnessesState:
        """Who they are and how far they are."""
        ...


class Ids(Protocol):
    """Fresh names and salts."""

    def new(self, prefix: str) -> str:
        """`prefix_` and 16 characters of lower-case Crockford base32 (80 random bits)."""
        ...

    def salt(self) -> bytes:
        """16 random bytes."""
        ...

    def token(self) -> str:
        """256 random bits, URL-safe base64 without padding."""
        ...
