"""The story of an action and of a run as frozen values, and the facts that they are told from.

What lives here: types. What never may: looking anything up, rendering.
"""

from __future__ import annotations

from msgspec import Struct

from remit.model.grounding import Mark, Word
from remit.model.words import (
    Action,
    Approval,
    Clause,
    CredentialClass,
    Decision,
    Effect,
    Evidence,
    Instant,
    Json,
    Label,
    Proposal,
    Rationale,
    Run,
    State,
)


class Entry(Struct, frozen=True, kw_only=True):
    """A record where it stands. `intact`: its bytes have the hash that was stored with them. `says` is one line."""

    position: int
    kind: str
    at: Instant
    sha256: str
    intact: bool
    meaning: str = ""
    says: str = ""
    fields: dict[str, Json] = {}


class BoundaryFacts(Struct, frozen=True, kw_only=True):
    """The boundary that ruled. Without `loaded_at` there is no record of it; `name` is empty where its file is gone."""

    digest: str
    name: str = ""
    version: int = 0
    signers: tuple[str, ...] = ()
    loaded_at: Instant | None = None
    position: int | None = None


class VoteFacts(Struct, frozen=True, kw_only=True):
    """One person's statement. `why_not` is empty where its signature and everything that it says hold."""

    approval: Approval
    why_not: str


class Seen(Struct, frozen=True, kw_only=True):
    """A piece of evidence that exists: where its outcome stands in the journal, whether the kept bytes have its digest
    (None where they are gone), and the beginning of what it says."""

    evidence: Evidence
    position: int | None = None
    intact: bool | None = None
    excerpt: str = ""


class CallFacts(Struct, frozen=True, kw_only=True):
    """What the connector's file says of the tool: its undo tool, and whether a stop can sever a call for certain (None
    where the file is not the one that the ruling boundary pins)."""

    cuttable: bool | None
    undo: str = ""


class OwnRead(Struct, frozen=True, kw_only=True):
    """A read that Remit itself made about the same targets at the time: a precondition, or a question of status."""

    action: str
    tool: str
    state: State
    at: Instant


class Stopping(Struct, frozen=True, kw_only=True):
    """The stop that ended an action: `effect` is what it did to it."""

    stop: str
    effect: str
    mode: str = ""
    scope: str = ""
    by: str = ""
    at: Instant | None = None
    lifted_by: str = ""
    lifted_at: Instant | None = None


class SecretFacts(Struct, frozen=True, kw_only=True):
    """Secret arguments that a call gave: their `names` (none where the proposal is gone), whether the record of the
    proposal says that they were `kept` apart until the action ended, and whether they are `lost` before that."""

    names: tuple[str, ...]
    kept: bool
    lost: bool = False


class Facts(Struct, frozen=True, kw_only=True):
    """Everything that was kept about one action. None and empty where there is nothing. `secrets` names the arguments
    that the connector's file says are secret now; `names` are those of the pseudonyms in the entries."""

    action: Action
    entries: tuple[Entry, ...]
    run: Run | None = None
    proposal: Proposal | None = None
    proposal_matches: bool | None = None
    boundary: BoundaryFacts | None = None
    votes: tuple[VoteFacts, ...] = ()
    seen: tuple[Seen, ...] = ()
    result: Seen | None = None
    call: CallFacts | None = None
    own_reads: tuple[OwnRead, ...] = ()
    stopping: Stopping | None = None
    undone_by: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    secret_arguments: SecretFacts | None = None
    names: dict[str, str] = {}


class RunFacts(Struct, frozen=True, kw_only=True):
    """A run without its secrets."""

    id: str
    agent: str
    case: str
    opened_by: str
    opened_at: Instant | None = None
    expires_at: Instant | None = None
    closed_at: Instant | None = None
    closed_by: str = ""
    targets: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    label: Label = Label()
    calls: int = 0
    max_calls: int = 0
    verdict: str = ""
    client: str = ""
    declared: dict[str, str] = {}


class Cited(Struct, frozen=True, kw_only=True):
    """A signal that the agent weighed, and the evidence that it cites for it, empty where it cites none.

    `says` and `evidence` are the agent's claim, all else is observed by Remit. `mark` is what the record of the
    proposal says; without one, what the store says now. `grounded`: the evidence exists, it belongs to the run, the run
    was shown it before it proposed, and the kept bytes have its digest; else `why_not` says what is missing. Grounded
    is not true: `third_party` is text that somebody outside may have written.
    """

    evidence: str
    says: str
    mark: Mark
    grounded: bool
    why_not: str = ""
    third_party: bool = False
    label: Label | None = None
    digest: str = ""
    shown_at: Instant | None = None


class Vote(Struct, frozen=True, kw_only=True):
    """One person's answer, `waited` microseconds after the action was asked. `verified`: the signature holds under the
    roster in force now, over a statement about exactly this action."""

    person: str
    verb: str
    at: Instant
    waited: int
    verified: bool
    why_not: str = ""


class Result(Struct, frozen=True, kw_only=True):
    """What came back. `intact` is None where the kept bytes are gone."""

    evidence: str
    label: Label
    digest: str
    intact: bool | None
    excerpt: str
    at: Instant


class Undo(Struct, frozen=True):
    """The command that takes it back, empty where there is none, and in a few words why."""

    command: str
    says: str


class Story(Struct, frozen=True, kw_only=True):
    """Everything about one action. `provenance` says of each field of the rationale and of `cited` (as `signals`) whose
    word it is. `gaps` names what cannot be reconstructed or does not hold: none if it is whole. `secret_arguments`
    names those that the call gave, and `secrets` says what became of their values; empty where there were none."""

    id: str
    state: State
    agent: str
    ordered_by: str
    case: str
    run: RunFacts
    connector: str
    tool: str
    category: str
    effect: Effect
    definition: str
    digest: str
    targets: tuple[str, ...]
    bounded: bool
    arguments: str
    decision: Decision
    clauses: tuple[Clause, ...]
    proposed_as: str
    boundary: BoundaryFacts
    rationale: Rationale | None
    cited: tuple[Cited, ...]
    provenance: dict[str, Word]
    approval: str
    quorum: int
    votes: tuple[Vote, ...]
    checks: tuple[str, ...]
    executed: bool
    warrant: str
    credential: CredentialClass
    cuttable: bool | None
    proposed_at: Instant
    decided_at: Instant | None
    intended_at: Instant | None
    ended_at: Instant | None
    result: Result | None
    became: str
    settled_by: str
    stopping: Stopping | None
    undo: Undo
    undoes: str
    undone_by: tuple[str, ...]
    entries: tuple[Entry, ...]
    gaps: tuple[str, ...]
    secret_arguments: tuple[str, ...] = ()
    secrets: str = ""


class Step(Struct, frozen=True, kw_only=True):
    """One line of a run's timeline. `action` is empty for what was no action; `state` is the action's present one."""

    at: Instant
    position: int
    says: str
    action: str = ""
    state: str = ""


class RunStory(Struct, frozen=True, kw_only=True):
    """A run from its opening on. `left_out` counts records older than those that were looked at."""

    run: RunFacts
    steps: tuple[Step, ...]
    entries: tuple[Entry, ...]
    left_out: bool = False


class RecordStory(Struct, frozen=True, kw_only=True):
    """A record that is about no action: a call that was refused before it was one, a stop, a load. `names` are those
    of the pseudonyms in it."""

    entry: Entry
    names: dict[str, str] = {}
    run: str = ""
    agent: str = ""
