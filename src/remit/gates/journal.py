"""The journal's records: what is written down, and how it becomes exact bytes.

What lives here: making records and naming their kinds. What never may: prose, names, argument values (those are
payload, which a record only commits to), clocks, storage.

A record is one flat JSON object with sorted keys and no insignificant space. `v` is the format's version, `kind` one of
`KINDS`, `at` microseconds since the epoch. Targets stand as keyed pseudonyms.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

import msgspec

from remit.model.words import Action, Clause, Instant, Json, Payload, Record, Ruling, StopOrder

KINDS: dict[str, str] = {
    "home.created": "the home, its first roster and its keys came to be",
    "node.started": "a gateway took the home's lock",
    "node.stopped": "a gateway let go of the home's lock",
    "boundary.loaded": "a boundary came into force",
    "boundary.file": "the file of the boundary in force was kept",
    "boundary.refused": "a boundary was offered and not loaded",
    "roster.loaded": "a roster came into force",
    "roster.refused": "a roster was offered and not loaded",
    "inventory.loaded": "an inventory came into force",
    "inventory.waiting": "an inventory loosens something and waits for acceptance",
    "connector.changed": "a connector, its manifest or its tools changed",
    "tools.accepted": "an operator accepted a connector's tool definitions",
    "run.opened": "a run was opened, with its mandate",
    "run.client": "the agent's client named itself",
    "run.closed": "a run was closed or revoked",
    "proposal": "an agent proposed an action, and the ruling",
    "statement": "a person's signed command",
    "refusal": "a call was refused before it was an action",
    "vote": "a person signed a statement about an action",
    "approved": "an action has the approvals that it needs",
    "asked.again": "an approved action must be asked anew",
    "refused": "an approved action was refused at execution",
    "withdrawn": "the agent withdrew its proposal, or its run ended",
    "expired": "nobody answered in time",
    "void": "a stop voided a waiting or approved action",
    "intent": "an action is about to be executed",
    "outcome": "what became of an action",
    "settled": "what became of an action that was not known",
    "verdict": "the agent's own conclusion on its case",
    "stop": "an order to stop",
    "cut": "what a stop severed",
    "resume": "a stop was lifted",
    "latch.mended": "a latch that could not be read was replaced by one that stops everything",
    "hold": "an agent was put on hold after repeated refusals",
    "alert": "somebody was told",
    "clock.jump": "wall and monotonic clocks drifted apart",
}


class Pseudonyms:
    """Keyed, stable stand-ins for names: HMAC-SHA256 (RFC 2104) under the home's key, 80 bits in hex."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known: dict[str, str] = {}

    def of(self, name: str) -> str:
        """The pseudonym of one name."""
        found = self._known.get(name)
        if found is None:
            found = hmac.new(self._key, name.encode(), hashlib.sha256).hexdigest()[:20]
            if len(self._known) < 100_000:
                self._known[name] = found
        return found

    def all(self, names: Iterable[str]) -> list[str]:
        """Their pseudonyms, in order."""
        return [self.of(name) for name in names]


_encoder = msgspec.json.Encoder(order="sorted")


def record(kind: str, at: Instant, *, action: str = "", run: str = "", agent: str = "", **fields: Json) -> Record:
    """A record of this kind. Raises `KeyError` for a kind that is not in `KINDS`. Empty ids are left out."""
    if kind not in KINDS:
        raise KeyError(kind)
    body: dict[str, Json] = {"v": 1, "kind": kind, "at": at, **fields}
    if action:
        body["action"] = action
    if run:
        body["run"] = run
    if agent:
        body["agent"] = agent
    return Record(kind=kind, at=at, data=_encoder.encode(body), action=action, run=run, agent=agent)


def of_action(kind: str, at: Instant, action: Action, **fields: Json) -> Record:
    """A record about an action: names it, its run and its agent."""
    return record(kind, at, action=action.id, run=action.run, agent=action.agent, **fields)


def proposal(action: Action, at: Instant, names: Pseudonyms, commitment: str) -> Record:
    """What was proposed and how it was ruled. `commitment` is that of the proposal's payload."""
    return of_action(
        "proposal",
        at,
        action,
        case=action.case,
        connector=action.connector,
        tool=action.tool,
        category=action.category,
        effect=action.effect,
        definition=action.definition,
        targets=names.all(action.targets),
        digest=action.digest,
        proposal=commitment,
        state=action.state,
        ruling=ruled(action.ruling),
        undoes=action.undoes,
    )


def ruled(ruling: Ruling) -> dict[str, Json]:
    """A ruling as it stands in a record: decision, clause ids, boundary."""
    return {
        "decision": ruling.decision,
        "clauses": clause_ids(ruling.clauses),
        "boundary": ruling.boundary,
        "quorum": ruling.ask.quorum if ruling.ask else 0,
    }


def clause_ids(clauses: Iterable[Clause]) -> list[str]:
    """The ids of clauses, in order, each once."""
    return list(dict.fromkeys(clause.id for clause in clauses))


def alert(at: Instant, code: str, *, action: str = "", run: str = "", agent: str = "", **fields: Json) -> Record:
    """That somebody was told: `code` says of what (`forbidden`, `rejected`, `expired`, `repeated`, …)."""
    return record("alert", at, action=action, run=run, agent=agent, code=code, **fields)


def stopped(order: StopOrder, names: Pseudonyms) -> Record:
    """An order to stop, as it was latched. A target's name stands as its pseudonym."""
    name = names.of(order.scope.name) if order.scope.kind == "target" else order.scope.name
    return record(
        "stop",
        order.at,
        stop=order.id,
        mode=order.mode,
        scope=order.scope.kind,
        name=name,
        by=order.by,
        automatic=order.automatic,
    )


def commitment(payload: Payload) -> str:
    """What a record says of a payload that it does not hold: SHA-256 over salt and bytes, in hex."""
    return hashlib.sha256(payload.salt + payload.data).hexdigest()
