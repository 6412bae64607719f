"""From a call to a draft of an action: decoded, resolved, canonical, with its ids and its payload; nothing written yet.

What lives here: putting together what the gates say of one call. What never may: a ruling, a commit.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from remit.flow import tokens
from remit.flow.force import Force, Tool
from remit.flow.ports import Ids
from remit.gates import intake, secret_arguments, validation
from remit.gates.boundary.words import Request
from remit.gates.stop import Subject
from remit.model.canonical import encode
from remit.model.display import SECRET, meant, redact_patterns, texts_of, without_texts
from remit.model.errors import Refusal
from remit.model.words import (
    Action,
    Clause,
    Decision,
    Effect,
    Instant,
    Json,
    Payload,
    Proposal,
    Rationale,
    Record,
    Ruling,
    Run,
    State,
    Target,
)

_payloads = msgspec.json.Encoder()


_LEAK = Clause("validation.secret", Decision.FORBID, "the call holds the run's own token")
_LEAK_HINT = "leave the token out: it opens everything that this run may do"
_SHORTEST_STRUCK = 4
"""Characters of a secret argument that is looked for in the reasons: a shorter one stands in any text."""


class Call(Struct, frozen=True, kw_only=True):
    """One call on its way in. `own` marks Remit's own reads; `human` names the person who signed for an undo, and
    `records` (the statement's) are written with the proposal, unless that is refused."""

    run: Run
    tool: Tool
    arguments: dict[str, Json]
    own: bool = False
    past_stops: bool = False
    human: str = ""
    undoes: str = ""
    records: tuple[Record, ...] = ()


class Draft(Struct, frozen=True, kw_only=True):
    """Everything about a proposed action that does not depend on the store. `problems` are clauses that already
    forbid it (a malformed call, say). `secrets` holds the secret arguments, which `payload` leaves out."""

    call: Call
    force: Force
    action_id: str
    warrant: str
    evidence_id: str
    category: str
    effect: Effect
    targets: tuple[Target, ...]
    bounded: bool
    arguments: str
    digest: str
    fingerprint: str
    payload: Payload
    rationale: Rationale | None
    problems: tuple[Clause, ...] = ()
    hint: str = ""
    secrets: Payload | None = None

    @property
    def target_ids(self) -> tuple[str, ...]:
        """The ids of the targets, in the order of the call."""
        return tuple(target.id for target in self.targets)

    def subject(self) -> Subject:
        """The draft as the latch sees it."""
        return Subject(
            agent=self.call.run.agent,
            run=self.call.run.id,
            connector=self.call.tool.connector,
            category=self.category,
            targets=self.target_ids,
            bounded=self.bounded,
            effect=self.effect,
            past_stops=self.call.past_stops,
        )

    def refused_by(self, *clauses: Clause) -> Draft:
        """The same draft with more clauses against it."""
        return replace(self, problems=self.problems + clauses)

    def request(self, run: Run, at: Instant, held: tuple[Clause, ...], *, unwitnessed: bool = False) -> Request:
        """What the boundary is asked. Nothing that the agent says of its reasons is in it."""
        tool = self.call.tool
        return Request(
            agent=run.agent,
            category=self.category,
            effect=self.effect,
            connector=tool.connector,
            tool=tool.definition.name,
            credential=tool.credential,
            targets=self.targets,
            bounded=self.bounded,
            mandate=None if self.call.own else run.mandate,
            label=run.label,
            at=at,
            own=self.call.own,
            held=self.problems + held,
            unwitnessed=unwitnessed,
        )

    def payloads(self, state: State) -> tuple[Payload, ...]:
        """What is kept of it where it opens in this state. The secret arguments of a call that is refused are not."""
        return (self.payload,) if self.secrets is None or state is State.BLOCKED else (self.payload, self.secrets)

    def action(self, run: Run, state: State, ruling: Ruling, at: Instant, **more: Any) -> Action:
        """The action as it will be opened."""
        tool = self.call.tool
        secrets, fingerprint = "" if self.secrets is None else self.secrets.id, self.fingerprint
        if secrets and state is State.BLOCKED:  # nothing by which they could be guessed outlives the call
            secrets = fingerprint = ""
        return Action(
            id=self.action_id,
            revision=1,
            state=state,
            agent=run.agent,
            run=run.id,
            case=run.case,
            connector=tool.connector,
            tool=tool.definition.name,
            category=self.category,
            effect=self.effect,
            definition=tool.definition.digest,
            targets=self.target_ids,
            bounded=self.bounded,
            digest=self.digest,
            fingerprint=fingerprint,
            proposal=self.payload.id,
            ruling=ruling,
            opened_at=at,
            opened_by=self.call.human,
            warrant=self.warrant,
            credential=tool.credential,
            undoes=self.call.undoes,
            secrets=secrets,
            **more,
        )


def draft(call: Call, force: Force, ids: Ids, fingerprint_key: bytes) -> Draft:
    """The draft of a call. A call that cannot be taken in becomes a draft that is forbidden, saying why."""
    names = call.tool.manifest.secrets
    call, leak = _without_token(_redacted(call, names))
    asked = encode(call.arguments).decode()
    taken, problems, hint = (_malformed(call), leak, _LEAK_HINT) if leak else _take_in(call, force)
    action_id = ids.new("act")
    salt = ids.salt().hex()
    proposal = Proposal(
        arguments=taken.encoded,
        targets=tuple(target.id for target in taken.targets),
        asked=asked,
        salt=salt,
        rationale=taken.rationale,
        secrets=names,
    )
    proposal, secrets = secret_arguments.apart(proposal) if names else (proposal, None)
    return Draft(
        call=call,
        force=force,
        action_id=action_id,
        warrant=ids.new("wrt"),
        evidence_id=ids.new("ev"),
        category=taken.category,
        effect=taken.effect,
        targets=taken.targets,
        bounded=taken.bounded,
        arguments=taken.encoded,
        digest=_digest(call, action_id, taken, salt),
        # A read has no twin: two of them are two questions, and may have two answers.
        fingerprint="" if taken.effect is Effect.READ else _fingerprint(call, taken, fingerprint_key),
        payload=_payload(action_id, "proposal", ids, proposal),
        rationale=taken.rationale,
        problems=problems,
        hint=hint,
        secrets=None if secrets is None else _payload(action_id, "secrets", ids, secrets),
    )


def _payload(action_id: str, role: str, ids: Ids, holds: Struct) -> Payload:
    return Payload(id=f"{action_id}.{role}", kind=role, salt=ids.salt(), data=_payloads.encode(holds))


def redraft(call: Call, force: Force, action: Action, proposal: Proposal, evidence_id: str) -> Draft:
    """The same action drafted anew: its id, salt and warrant are the old ones, everything else is worked out again."""
    taken, problems, hint = _take_in(call, force)
    return Draft(
        call=call,
        force=force,
        action_id=action.id,
        warrant=action.warrant,
        evidence_id=evidence_id,
        category=taken.category,
        effect=taken.effect,
        targets=taken.targets,
        bounded=taken.bounded,
        arguments=taken.encoded,
        digest=_digest(call, action.id, taken, proposal.salt),
        fingerprint=action.fingerprint,
        payload=Payload(id=action.proposal, kind="proposal", salt=b"", data=b""),
        rationale=taken.rationale,
        problems=problems,
        hint=hint,
    )


def _take_in(call: Call, force: Force) -> tuple[intake.Taken, tuple[Clause, ...], str]:
    tool = call.tool
    try:
        taken = intake.take_in(tool.manifest, tool.definition, tool.connector, call.arguments, force.inventory)
        if tool.schema is not None:
            validation.check_arguments(tool.schema, taken.arguments)
    except Refusal as refusal:
        problems = refusal.clauses or (Clause("validation.arguments", Decision.FORBID, refusal.message),)
        return _malformed(call), problems, refusal.hint
    return taken, (), ""


def _redacted(call: Call, names: tuple[str, ...]) -> Call:
    """The call without what looks like a secret in its rationale, and without what it gave as one (the arguments of
    these names): reasons are kept, and need none."""
    name = intake.rationale_property(call.tool.definition.input_schema)
    if name not in call.arguments:
        return call
    clean = redact_patterns(call.arguments[name])
    if names:
        values = [call.arguments[each] for each in meant(call.arguments, names) if each != name]
        texts = {each for each in texts_of(values) if len(each) >= _SHORTEST_STRUCK}
        clean = without_texts(clean, texts)
    return call if clean is call.arguments[name] else replace(call, arguments={**call.arguments, name: clean})


def _without_token(call: Call) -> tuple[Call, tuple[Clause, ...]]:
    """The call as it may be kept, and the clause that refuses it where it held the run's own token."""
    asked = encode(call.arguments).decode()
    token = tokens.leaked(asked, call.run.token_hash)
    if not token:
        return call, ()
    return replace(call, arguments=msgspec.json.decode(asked.replace(token, SECRET))), (_LEAK,)


def _malformed(call: Call) -> intake.Taken:
    """A call that cannot be taken in, at its tool's riskiest: what it would have touched is not known."""
    manifest = call.tool.manifest
    return intake.Taken(
        category=manifest.category or "",
        effect=manifest.effect or Effect.DESTROY,
        consequential=manifest.consequential,
        targets=(),
        bounded=False,
        asked="",
        arguments=call.arguments,
        encoded=encode(call.arguments).decode(),
    )


def _digest(call: Call, action_id: str, taken: intake.Taken, salt: str) -> str:
    return intake.digest(
        action=action_id,
        agent=call.run.agent,
        run=call.run.id,
        connector=call.tool.connector,
        tool=call.tool.definition.name,
        definition=call.tool.definition.digest,
        targets=[target.id for target in taken.targets],
        arguments=taken.encoded,
        salt=salt,
    )


def _fingerprint(call: Call, taken: intake.Taken, key: bytes) -> str:
    return intake.fingerprint(
        key,
        agent=f"{call.run.agent}, by order of {call.human}" if call.human else call.run.agent,
        run=call.run.id,
        connector=call.tool.connector,
        tool=call.tool.definition.name,
        definition=call.tool.definition.digest,
        targets=[target.id for target in taken.targets],
        arguments=taken.encoded,
    )
