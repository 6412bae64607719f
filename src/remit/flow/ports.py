"""What the flow needs of the world, as narrow protocols. `remit.node` picks who fulfils them.

What lives here: protocols and the values that cross them. What never may: an implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from msgspec import Struct

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
    Used,
    Window,
)

T = TypeVar("T")


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
        one that is unsettled) ends the action's claims at the move's `ended_at`.
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


class Query(Struct, frozen=True, kw_only=True):
    """What `find` looks for; empty fields match everything. Times in microseconds; newest first."""

    target: str = ""
    agent: str = ""
    run: str = ""
    case: str = ""
    category: str = ""
    connector: str = ""
    states: tuple[str, ...] = ()
    clause: str = ""
    since: Instant | None = None
    until: Instant | None = None
    limit: int = 100


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
    def actions(self, query: Query) -> list[Action]: ...
    def records(
        self, *, action: str = "", run: str = "", kinds: Sequence[str] = (), limit: int = 1000
    ) -> list[StoredRecord]: ...
    def payload(self, payload_id: str) -> Payload | None: ...
    def evidence(self, evidence_id: str) -> Evidence | None: ...
    def evidence_of(self, run_id: str) -> list[Evidence]: ...
    def approvals(self, action_id: str) -> tuple[Approval, ...]: ...
    def run(self, run_id: str) -> Run | None: ...
    def runs(self, *, open_only: bool = False) -> list[Run]: ...
    def fact(self, name: str) -> bytes | None: ...
    def counts(self) -> dict[str, int]: ...
    def latest(self) -> Instant:
        """The latest time in any record, 0 where there is none: the clock's durable high-water mark."""
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
