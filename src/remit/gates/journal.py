"""The journal's records: what is written down, and how it becomes exact bytes.

What lives here: making records and naming their kinds. What never may: prose, names, argument values (those are
payload, which a record only commits to), clocks, storage.

A record is one flat JSON object with sorted keys and no insignificant space, at most `MOST_BYTES` long. `v` is the
format's version, `kind` one of `KINDS`, `at` microseconds since the epoch. Targets and people stand as keyed
pseudonyms. `payloads` maps the id of each payload that belongs to the record to its commitment.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from remit.model.errors import Fault
from remit.model.grounding import mark_of
from remit.model.words import (
    Action,
    Clause,
    Evidence,
    Instant,
    Json,
    Payload,
    Rationale,
    Record,
    Ruling,
    StopOrder,
)

MOST_BYTES: Final = 65_535
"""An entry's length is 16 bits in an entry bundle (c2sp.org/tlog-tiles)."""
MOST_LISTED: Final = 1_000
"""Names or ids that one record lists. What is beyond is counted in the record, and stands in its payload."""
MOST_CLAUSES: Final = 200

AGENT: Final = "agent"
"""Stands in `by` where an agent did it; `remit` where Remit did it by itself, `file` for the `STOP` file."""

KINDS: dict[str, str] = {
    "home.created": "the home, its first roster and its keys came to be",
    "log.continued": "a person began another log, because the store is not what the log before had signed",
    "node.started": "a gateway took the home's lock",
    "node.stopped": "a gateway let go of the home's lock",
    "boundary.loaded": "a boundary came into force",
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
    "reconciled": "a connector's own audit trail was compared with the log",
    "erased": "payloads were erased by a person's signed order",
    "pruned": "payloads of a class were over and were removed",
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

    def person(self, person_id: str) -> str:
        """The pseudonym of a person on the roster or a user of the machine; case does not count."""
        return self.of(f"person:{person_id.lower()}")

    def people(self, ids: Iterable[str]) -> list[str]:
        """Theirs, in order."""
        return [self.person(each) for each in ids]

    def targets(self, names: Sequence[str]) -> dict[str, Json]:
        """The fields of a record that name its targets: the first `MOST_LISTED`, and how many `more` there are."""
        listed: dict[str, Json] = {"targets": self.all(names[:MOST_LISTED])}
        return listed | _more(len(names) - MOST_LISTED)

    def placed_by(self, order: StopOrder) -> str:
        """Who placed a stop: a person's pseudonym, or a plain word where it was nobody."""
        if order.automatic:
            return "remit"
        return "file" if order.by == "STOP file" else self.person(order.by)


def _more(count: int) -> dict[str, Json]:
    return {"more": count} if count > 0 else {}


_encoder = msgspec.json.Encoder(order="sorted")


def record(
    kind: str,
    at: Instant,
    *,
    action: str = "",
    run: str = "",
    agent: str = "",
    payloads: Mapping[str, str] | None = None,
    **fields: Json,
) -> Record:
    """A record of this kind; `payloads` (id to commitment) must be in the store in the same step, or before.

    Raises `KeyError` for a kind that is not in `KINDS`, and `Fault` for a record beyond `MOST_BYTES`: it could not
    stand in the log, so what it is about must not happen. Empty ids, and no payloads, are left out.
    """
    if kind not in KINDS:
        raise KeyError(kind)
    body: dict[str, Json] = {"v": 1, "kind": kind, "at": at, **fields}
    if payloads:
        body["payloads"] = payloads
    if action:
        body["action"] = action
    if run:
        body["run"] = run
    if agent:
        body["agent"] = agent
    data = _encoder.encode(body)
    if len(data) > MOST_BYTES:
        says = f"a record of kind `{kind}` would be {len(data)} bytes long, expected at most {MOST_BYTES}"
        raise Fault(says, hint="use fewer or shorter names: what cannot be put on record cannot be done")
    return Record(kind=kind, at=at, data=data, action=action, run=run, agent=agent)


def of_action(kind: str, at: Instant, action: Action, **fields: Json) -> Record:
    """A record about an action: names it, its run and its agent."""
    return record(kind, at, action=action.id, run=action.run, agent=action.agent, **fields)


def proposal(
    action: Action,
    at: Instant,
    names: Pseudonyms,
    payloads: Mapping[str, str],
    reasons: Mapping[str, Json] | None = None,
) -> Record:
    """What was proposed and how it was ruled. `payloads` commits to what was asked and why; `reasons` says what Remit
    observed of the latter."""
    more: dict[str, Json] = {"reasons": reasons} if reasons else {}
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
        digest=action.digest,
        payloads=payloads,
        state=action.state,
        ruling=ruled(action.ruling),
        undoes=action.undoes,
        **names.targets(action.targets),
        **more,
    )


def intent(action: Action, at: Instant, ruling: Ruling, approvers: Iterable[str], names: Pseudonyms) -> Record:
    """That an action is about to be executed, under which ruling, and who said yes (ids of people)."""
    return of_action(
        "intent",
        at,
        action,
        digest=action.digest,
        definition=action.definition,
        ruling=ruled(ruling),
        approvers=names.people(approvers),
        credential=action.credential,
        warrant=action.warrant,
    )


def reasons(
    rationale: Rationale | None, found: Mapping[str, Evidence | None], run: str, at: Instant, names: Pseudonyms
) -> dict[str, Json]:
    """What a record says of an agent's reasons, without a word of them; empty where there are none.

    `found` holds the evidence of each id that is cited. An id stands in the record only if there is such evidence: else
    it is but text of the agent's. `confidence` is in per mille.
    """
    if rationale is None:
        return {}
    signals = [found.get(each.evidence) for each in rationale.signals]
    said: dict[str, Json] = {
        "signals": [{"evidence": each.id if each else "", "mark": mark_of(each, run, at)} for each in signals],
        "intel": [names.of(f"intel:{each.name}") for each in rationale.intel],
    }
    if rationale.skill is not None:
        said["skill"] = names.of(f"skill:{rationale.skill.name}")
    if rationale.confidence is not None:
        said["confidence"] = round(rationale.confidence * 1000)
    return said


def ruled(ruling: Ruling) -> dict[str, Json]:
    """A ruling as it stands in a record: decision, clause ids, boundary, how many people it asks."""
    clauses = clause_ids(ruling.clauses)
    return {
        "decision": ruling.decision,
        "clauses": clauses[:MOST_CLAUSES],
        "boundary": ruling.boundary,
        "quorum": ruling.ask.quorum if ruling.ask else 0,
        **_more(len(clauses) - MOST_CLAUSES),
    }


def clause_ids(clauses: Iterable[Clause]) -> list[str]:
    """The ids of clauses, in order, each once."""
    return list(dict.fromkeys(clause.id for clause in clauses))


def listed(clauses: Iterable[Clause]) -> list[str]:
    """The ids of the first `MOST_CLAUSES` clauses: the strictest come first."""
    return clause_ids(clauses)[:MOST_CLAUSES]


def alert(at: Instant, code: str, *, action: str = "", run: str = "", agent: str = "", **fields: Json) -> Record:
    """That somebody was told: `code` says of what (`forbidden`, `rejected`, `expired`, `repeated`, …)."""
    return record("alert", at, action=action, run=run, agent=agent, code=code, **fields)


def stopped(at: Instant, order: StopOrder, names: Pseudonyms, payloads: Mapping[str, str]) -> Record:
    """An order to stop, as it was latched, written at `at`: one that was placed while no gateway ran, or the disk was
    full, is recorded later. `payloads` commits to who placed it, on what, and why."""
    name = names.of(order.scope.name) if order.scope.kind == "target" else order.scope.name
    return record(
        "stop",
        at,
        stop=order.id,
        placed=order.at,
        mode=order.mode,
        scope=order.scope.kind,
        name=name,
        by=names.placed_by(order),
        automatic=order.automatic,
        payloads=payloads,
    )


def cuts(at: Instant, order: StopOrder, microseconds: int, **became: Sequence[str]) -> Iterator[Record]:
    """What a stop severed, written at `at`, in as many records as it takes: each lists at most `MOST_LISTED` actions of
    `became`."""
    pairs = [(name, action) for name, actions in became.items() for action in actions]
    for start in range(0, max(len(pairs), 1), MOST_LISTED):
        part: dict[str, Json] = {name: [] for name in became}
        for name, action in pairs[start : start + MOST_LISTED]:
            part[name].append(action)
        yield record("cut", at, stop=order.id, microseconds=microseconds, **part)


def commitment(payload: Payload) -> str:
    """What a record says of a payload that it does not hold: SHA-256 over salt and bytes, in hex."""
    return hashlib.sha256(payload.salt + payload.data).hexdigest()


def commits(*payloads: Payload) -> dict[str, str]:
    """The `payloads` of a record: the id of each to its commitment."""
    return {each.id: commitment(each) for each in payloads}


def statement(payload_id: str, salt: bytes, signed: bytes, signature: bytes) -> Payload:
    """The payload of a person's signed statement: the exact bytes signed in base64, and the armoured SSHSIG."""
    kept = {"statement": base64.b64encode(signed).decode(), "signature": signature.decode("ascii", "replace")}
    return Payload(id=f"{payload_id}.statement", kind="statement", salt=salt, data=_encoder.encode(kept))


def words(payload_id: str, kind: str, salt: bytes, **said: Json) -> Payload:
    """A payload of names and prose, as JSON; `kind` (`order`, `mandate`) is the last part of its id."""
    return Payload(id=f"{payload_id}.{kind}", kind=kind, salt=salt, data=_encoder.encode(said))
