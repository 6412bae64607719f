"""The words that every part of Remit speaks, as frozen values.

What lives here: types without behaviour beyond reading themselves. What never may: I/O, clocks, randomness, decisions.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from msgspec import Struct

Instant = int
"""Microseconds since the epoch, UTC."""

SECOND: Instant = 1_000_000
MINUTE: Instant = 60 * SECOND

Json = Any
"""A decoded JSON value: None, bool, int, float, str, list or dict of the same."""

VERDICTS = ("malicious", "benign", "undetermined")
"""What an agent may conclude of its case."""

REMIT = "remit"
"""The agent name under which Remit's own calls to connectors take the road."""


class Decision(StrEnum):
    """A ruling's decision; `STRICTNESS` orders them."""

    AUTO = "auto"
    APPROVE = "approve"
    FORBID = "forbid"


STRICTNESS: dict[Decision, int] = {Decision.AUTO: 0, Decision.APPROVE: 1, Decision.FORBID: 2}


class Effect(StrEnum):
    """What a tool does to the world. Unknown counts as `destroy`."""

    READ = "read"
    CHANGE = "change"
    DESTROY = "destroy"
    SEND = "send"


class Takes(StrEnum):
    """How many targets a tool's target argument names."""

    ONE = "one"
    LIST = "list"
    SET = "set"
    NONE = "none"


class CredentialClass(StrEnum):
    """How a connector proves that a call is Remit's; shown on page, card and story."""

    WARRANT = "warrant"
    EXCHANGED = "exchanged"
    STATIC = "static"
    NONE = "none"


class State(StrEnum):
    """Where an action stands. The transitions are `remit.flow.lifecycle.TABLE` and nothing else."""

    WAITING = "awaiting_approval"
    APPROVED = "approved"
    EXECUTING = "executing"
    DONE = "done"
    FAILED = "failed"
    CUT = "cut"
    UNKNOWN = "unknown"
    BLOCKED = "blocked"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    VOID = "void"


class Event(StrEnum):
    """What moves an action from one state to another."""

    APPROVE = "approve"
    REJECT = "reject"
    EXPIRE = "expire"
    WITHDRAW = "withdraw"
    VOID = "void"
    REFUSE = "refuse"
    ASK_AGAIN = "ask_again"
    INTEND = "intend"
    SUCCEED = "succeed"
    FAIL = "fail"
    CUT = "cut"
    LOSE = "lose"
    SETTLE_APPLIED = "settle_applied"
    SETTLE_NOT_APPLIED = "settle_not_applied"


class Integrity(StrEnum):
    """Who could have written what was read, best first."""

    OPERATOR = "operator"
    SYSTEM_OF_RECORD = "system-of-record"
    THIRD_PARTY = "third-party"


class Confidentiality(StrEnum):
    """Who may see it, most open first."""

    PUBLIC = "public"
    INTERNAL = "internal"
    SECRET = "secret"  # noqa: S105 - a level, not a password


INTEGRITY_RANK: dict[Integrity, int] = {level: rank for rank, level in enumerate(Integrity)}
CONFIDENTIALITY_RANK: dict[Confidentiality, int] = {level: rank for rank, level in enumerate(Confidentiality)}


class Label(Struct, frozen=True):
    """Where a value came from. A run's label is the join of all that it was shown; it only rises."""

    integrity: Integrity = Integrity.THIRD_PARTY
    confidentiality: Confidentiality = Confidentiality.INTERNAL
    source: str = ""

    def join(self, other: Label) -> Label:
        """The label of something made from both: the worse integrity and the tighter confidentiality."""
        return Label(
            integrity=max(self.integrity, other.integrity, key=INTEGRITY_RANK.__getitem__),
            confidentiality=max(self.confidentiality, other.confidentiality, key=CONFIDENTIALITY_RANK.__getitem__),
            source=_one_source(self.source, other.source),
        )


def _one_source(one: str, other: str) -> str:
    return one if one == other or not other else other if not one else "several"


class Target(Struct, frozen=True, kw_only=True):
    """A thing in the inventory. `known` is false for a name that the inventory does not have.

    `id` is the inventory's own spelling, or for an unknown one `unknown:` and the normalised name.
    `None` means that the inventory does not say.
    """

    id: str
    kind: str | None = None
    privileged: bool | None = None
    owner: str | None = None
    labels: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    known: bool = True


class Clause(Struct, frozen=True):
    """One clause that decided: its id in the boundary (or a built-in word such as `mandate`), what it decided, and
    why, in one lowercase sentence."""

    id: str
    then: Decision
    says: str


class Ask(Struct, frozen=True, kw_only=True):
    """What a ruling asks of humans."""

    quorum: int = 1
    roles: tuple[str, ...] = ("approver",)
    answer_within: int = 30 * MINUTE
    owner_may_approve: bool = False


class Ruling(Struct, frozen=True, kw_only=True):
    """The boundary's answer. `clauses` are those that decided, strictest first; never empty."""

    decision: Decision
    clauses: tuple[Clause, ...]
    ask: Ask | None = None
    boundary: str = ""


class Mandate(Struct, frozen=True):
    """What a run is about: ids of the targets that it may act on, and categories that it may use."""

    targets: tuple[str, ...]
    categories: tuple[str, ...]


class Run(Struct, frozen=True, kw_only=True):
    """One piece of work of one agent on one case. `token_hash` is the SHA-256 of the bearer token, in hex."""

    id: str
    agent: str
    case: str
    opened_by: str
    opened_at: Instant
    expires_at: Instant
    mandate: Mandate
    token_hash: str
    label: Label = Label()
    max_calls: int = 2_000
    calls: int = 0
    closed_at: Instant | None = None
    closed_by: str = ""
    verdict: str = ""
    client: str = ""
    declared: dict[str, str] = {}


class Action(Struct, frozen=True, kw_only=True):
    """A proposal, decoded, resolved and canonical, and where it stands."""

    id: str
    revision: int
    state: State
    agent: str
    run: str
    case: str
    connector: str
    tool: str
    category: str
    effect: Effect
    definition: str
    targets: tuple[str, ...]
    bounded: bool
    digest: str
    fingerprint: str
    proposal: str
    ruling: Ruling
    opened_at: Instant
    expires_at: Instant | None = None
    opened_by: str = ""
    decided_at: Instant | None = None
    intended_at: Instant | None = None
    handed_over: bool = False
    ended_at: Instant | None = None
    warrant: str = ""
    credential: CredentialClass = CredentialClass.NONE
    evidence: str = ""
    result: str = ""
    outcome: str = ""
    settled_by: str = ""
    undoes: str = ""
    secrets: str = ""
    """The payload of the secret arguments, which is there while the action is open; empty where none were given."""


class Signal(Struct, frozen=True):
    """One thing that the agent weighed, and the evidence that it cites for it."""

    says: str
    evidence: str = ""


class Source(Struct, frozen=True):
    """An intelligence feed or a skill that the agent names."""

    name: str
    version: str = ""
    digest: str = ""


class Rationale(Struct, frozen=True, kw_only=True):
    """Why the agent wants it. Everything in it is the agent's claim; none of it ever changes a ruling."""

    summary: str
    signals: tuple[Signal, ...] = ()
    intel: tuple[Source, ...] = ()
    skill: Source | None = None
    confidence: float | None = None
    alternatives: tuple[str, ...] = ()


class Proposal(Struct, frozen=True, kw_only=True):
    """The payload of an action: everything about it that names people, machines or prose.

    `arguments` is the canonical JSON object that goes upstream, as text; the salt makes the digest unguessable and
    dies with the arguments. `secrets` names the arguments that the manifest said are secret: they are never shown.
    Where the call gave one, its value is kept as `Secrets` and so is the salt, which is empty here; in `arguments` and
    `asked` stands `⟦secret⟧`.
    """

    arguments: str
    targets: tuple[str, ...]
    asked: str
    salt: str
    rationale: Rationale | None = None
    secrets: tuple[str, ...] = ()


class Secrets(Struct, frozen=True, kw_only=True):
    """What is kept of a proposal only while its action is open: by name the secret values of what goes upstream and of
    what was asked, and the digest's salt, without which nobody can try guesses at them against the digest."""

    arguments: dict[str, Json]
    asked: dict[str, Json]
    salt: str


class Evidence(Struct, frozen=True, kw_only=True):
    """A tool result that a run was shown. `digest` is the SHA-256 of the raw bytes, kept as payload `payload`."""

    id: str
    run: str
    action: str
    at: Instant
    digest: str
    label: Label
    payload: str


class Approval(Struct, frozen=True, kw_only=True):
    """One human's signed statement about one action: the exact bytes signed, and the armoured signature."""

    action: str
    person: str
    verb: Literal["approve", "reject"]
    at: Instant
    statement: bytes
    signature: bytes


class Payload(Struct, frozen=True, kw_only=True):
    """Bytes that a record commits to without holding them. The commitment is SHA-256 over salt and bytes."""

    id: str
    kind: str
    salt: bytes
    data: bytes


READ_RESULT = "read_result"
CHANGE_RESULT = "change_result"
"""The kinds of payload that a result is: retention treats what was only read in its own way."""


class Tombstone(Struct, frozen=True, kw_only=True):
    """What says that a payload was erased: the position and the exact bytes of the record `erased`."""

    payload: str
    position: int
    data: bytes


class StopMode(StrEnum):
    """How a stop acts, strictest first."""

    CUT = "cut"
    DRAIN = "drain"
    HOLD = "hold"


class ScopeKind(StrEnum):
    """What a stop is about."""

    EVERYTHING = "everything"
    AGENT = "agent"
    RUN = "run"
    CONNECTOR = "connector"
    CATEGORY = "category"
    TARGET = "target"


class Scope(Struct, frozen=True):
    """What a stop covers: everything, or one thing by name."""

    kind: ScopeKind = ScopeKind.EVERYTHING
    name: str = ""

    def __str__(self) -> str:
        return self.kind if self.kind is ScopeKind.EVERYTHING else f"{self.kind} {self.name}"


class StopOrder(Struct, frozen=True, kw_only=True):
    """A latched order. `automatic` ones were placed by Remit itself (a hold after repeated refusals, a clock jump)."""

    id: str
    mode: StopMode
    scope: Scope
    at: Instant
    by: str
    reason: str = ""
    automatic: bool = False


class Claim(Struct, frozen=True):
    """One target's share of the quotas: counted from `start` until `window` after its last possible effect."""

    action: str
    agent: str
    category: str
    target: str
    start: Instant


class Window(Struct, frozen=True):
    """What one quota counts: claims of these agents and categories that may have had an effect at or after `since`.

    Empty `agents` means every agent; a category may end in `*`.
    """

    quota: str
    agents: tuple[str, ...]
    categories: tuple[str, ...]
    since: Instant


class Used(Struct, frozen=True):
    """What stands in one window: the distinct targets and the number of distinct actions."""

    targets: frozenset[str] = frozenset()
    actions: int = 0


class Definition(Struct, frozen=True, kw_only=True):
    """A tool as its connector defines it. `digest` is SHA-256 over RFC 8785 of the whole definition."""

    name: str
    digest: str
    description: str
    input_schema: dict[str, Json]
    raw: dict[str, Json]


class Record(Struct, frozen=True, kw_only=True):
    """One entry of the journal: `data` is the exact bytes that are stored and hashed, without a sequence number
    (position is the log's). The other fields repeat what is inside, for looking it up."""

    kind: str
    at: Instant
    data: bytes
    action: str = ""
    run: str = ""
    agent: str = ""
