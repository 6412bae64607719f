"""Gathering everything that was kept about one action, and checking it against what the records commit to.

What lives here: reading the store for a story, and the checks that need bytes: commitments, digests, signatures. What
never may: writing, judging what the facts mean (that is the story's).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from itertools import islice
from typing import Final

import msgspec
from msgspec.structs import replace

from remit.flow.lifecycle import OPEN
from remit.flow.naming import Naming
from remit.flow.ports import Reads, StoredRecord
from remit.flow.reloading import BOUNDARY_FILE, ROSTER, kept_fact
from remit.flow.searching import Search
from remit.gates import intake, journal, secret_arguments
from remit.gates.boundary.load import load
from remit.gates.boundary.words import Boundary
from remit.gates.search import term
from remit.gates.story import BoundaryFacts, CallFacts, Entry, Facts, OwnRead, SecretFacts, Seen, Stopping, VoteFacts
from remit.gates.story.entries import named
from remit.model.canonical import sha256_hex
from remit.model.display import redact_patterns
from remit.model.errors import RemitError
from remit.model.manifest import Manifest, Support
from remit.model.people import Roster, load_roster
from remit.model.signatures import Namespace, verify
from remit.model.statements import CLOCK_SKEW, ApprovalStatement
from remit.model.words import MINUTE, REMIT, Action, Approval, Effect, Instant, Json, Payload, Proposal, Secrets, State

_MOST_LOADS: Final = 10_000
_LONGEST_EXCERPT: Final = 2_000
_MOST_AROUND: Final = 100
_BEFORE: Final = MINUTE  # a precondition is asked at most this long before the proposal that it is for
_RULED: Final = ("proposal", "intent", "refused", "asked.again")
_CUT: Final = {
    "not_sent": "cut before anything was sent",
    "severed": "severed; its connector's process is dead",
    "may_still_land": "MAY STILL LAND: it could not be severed for certain",
    "collateral": "fell with the process of another action",
}
_proposal = msgspec.json.Decoder(Proposal)
_secrets = msgspec.json.Decoder(Secrets)


def entry_of(record: StoredRecord) -> Entry:
    """A record as the story takes it: decoded, and its hash compared with its bytes."""
    try:
        fields = msgspec.json.decode(record.data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        fields = None
    return Entry(
        position=record.position,
        kind=record.kind,
        at=record.at,
        sha256=record.sha256.hex(),
        intact=isinstance(fields, dict) and hashlib.sha256(record.data).digest() == record.sha256,
        meaning=journal.KINDS.get(record.kind, ""),
        fields=fields if isinstance(fields, dict) else {},
    )


class Gathering:
    """See the module. What does not change while one looks (roster, boundary file) is read once."""

    def __init__(self, reads: Reads, manifests: Mapping[str, Manifest], search: Search | None = None) -> None:
        self._reads = reads
        self._search = search or Search(reads)
        self._manifests = manifests
        self.naming = Naming(reads, self._search)

    @property
    def zone(self) -> str:
        """The time zone of the boundary in force, else `UTC`."""
        return self._in_force.timezone if self._in_force else "UTC"

    def facts(self, action: Action) -> Facts:
        """Everything that was kept about the action."""
        entries = tuple(map(self._with_reason, map(entry_of, self._search.records(term("action", action.id)))))
        proposal, matches = self._proposed(action, entries)
        loaded = self._loaded(action, entries)
        cited = [signal.evidence for signal in (proposal.rationale.signals if proposal and proposal.rationale else ())]
        seen = (self._seen(each) for each in dict.fromkeys(filter(None, cited)))
        return Facts(
            action=action,
            entries=entries,
            run=self._reads.run(action.run),
            proposal=proposal,
            proposal_matches=matches,
            boundary=self._boundary(action, loaded),
            votes=tuple(VoteFacts(approval=each, why_not=self._why_not(each, action)) for each in self._votes(action)),
            seen=tuple(each for each in seen if each is not None),
            result=self._seen(action.evidence) if action.evidence else None,
            call=self._call(action),
            own_reads=self._own_reads(action),
            stopping=self._stopping(action, entries),
            undone_by=self._undone_by(action),
            secrets=self._secrets(action),
            secret_arguments=self._secret_facts(action, proposal, entries),
            names=self.naming.of(entries),
        )

    # --- what was proposed ------------------------------------------------------------------------------------------

    def _proposed(self, action: Action, entries: Sequence[Entry]) -> tuple[Proposal | None, bool | None]:
        payload = self._reads.payload(action.proposal)
        if payload is None:
            return None, None
        try:
            proposal = _proposal.decode(payload.data)
        except msgspec.MsgspecError:
            return None, None
        kept = next((entry.fields.get("payloads") for entry in entries if entry.kind == "proposal"), None)
        committed = kept.get(payload.id) if isinstance(kept, dict) else None
        whole = self._whole(action, proposal)
        same = whole is None or intake.digest_of(action, whole) == action.digest
        return proposal, committed == journal.commitment(payload) and same

    def _whole(self, action: Action, proposal: Proposal) -> Proposal | None:
        """The proposal with its secret arguments; None once they are gone, and nobody can make its digest again."""
        if proposal.salt:
            return proposal
        payload = self._reads.payload(action.secrets) if action.secrets else None
        try:
            return secret_arguments.together(proposal, _secrets.decode(payload.data)) if payload is not None else None
        except msgspec.MsgspecError:
            return proposal

    def _secret_facts(self, action: Action, proposal: Proposal | None, entries: Sequence[Entry]) -> SecretFacts | None:
        """What can be said of the secret arguments that the call gave; None where there is no sign of any."""
        proposed = next((entry.fields.get("payloads") for entry in entries if entry.kind == "proposal"), None)
        kept = next((each for each in proposed if each.endswith(".secrets")), "") if isinstance(proposed, dict) else ""
        names = secret_arguments.given(proposal) if proposal is not None and not proposal.salt else ()
        if not kept and not names:
            return None
        gone = bool(action.secrets) and self._reads.payload(action.secrets) is None
        now = self._reads.action(action.id) if gone else None  # it may have ended since it was read
        return SecretFacts(names=names, kept=bool(kept), lost=now is not None and now.state in OPEN)

    def _with_reason(self, entry: Entry) -> Entry:
        """An erasure with the reason that its payload gives."""
        kept = entry.fields.get("payloads")
        if entry.kind != "erased" or not isinstance(kept, dict):
            return entry
        payload = self._reads.payload(next(iter(kept), ""))
        said = msgspec.json.decode(payload.data) if payload else {}
        return replace(entry, fields={**entry.fields, "reason": str(said.get("reason", ""))})

    # --- the boundary ------------------------------------------------------------------------------------------------

    @cached_property
    def _in_force(self) -> Boundary | None:
        data = self._reads.fact(BOUNDARY_FILE)
        try:
            return load(data) if data else None
        except RemitError:
            return None

    def _once(self, digest: str) -> Boundary | None:
        """The boundary of that digest, if its file was kept when it came into force."""
        data = self._reads.fact(kept_fact(BOUNDARY_FILE, digest))
        try:
            return load(data) if data and sha256_hex(data) == digest else None
        except RemitError:
            return None

    def _loaded(self, action: Action, entries: Sequence[Entry]) -> Entry | None:
        """The record of the load that put the ruling's boundary in force: the last one before the ruling."""
        ruled = max((entry.position for entry in entries if entry.kind in _RULED), default=None)
        named = term("digest", action.ruling.boundary)
        records = self._search.records(named, kinds=("boundary.loaded",), limit=_MOST_LOADS)
        for record in reversed(records):
            if ruled is not None and record.position > ruled:
                continue
            entry = entry_of(record)
            if entry.fields.get("digest") == action.ruling.boundary:
                return entry
        return None

    def _boundary(self, action: Action, loaded: Entry | None) -> BoundaryFacts:
        digest = action.ruling.boundary
        file = self._once(digest)
        if loaded is None:
            return BoundaryFacts(digest=digest, name=file.name if file else "", version=file.version if file else 0)
        name, version, signers = (
            named(loaded.fields, self.naming.of((loaded,))).get(each) for each in ("name", "version", "signers")
        )
        return BoundaryFacts(
            digest=digest,
            name=name if isinstance(name, str) else file.name if file else "",
            version=version if isinstance(version, int) else 0,
            signers=tuple(map(str, signers)) if isinstance(signers, list) else (),
            loaded_at=loaded.at,
            position=loaded.position,
        )

    def _call(self, action: Action) -> CallFacts | None:
        """What the connector's file says now; whether a stop could sever it counts only if the ruling's boundary pins
        that very file."""
        manifest = self._manifests.get(action.connector)
        tool = manifest.tools.get(action.tool) if manifest else None
        if manifest is None or tool is None:
            return None
        boundary = self._once(action.ruling.boundary)
        pinned = boundary is not None and boundary.pins.get(manifest.name) == manifest.digest
        return CallFacts(cuttable=manifest.cuttable if pinned else None, undo=tool.undo.tool if tool.undo else "")

    def _secrets(self, action: Action) -> tuple[str, ...]:
        manifest = self._manifests.get(action.connector)
        tool = manifest.tools.get(action.tool) if manifest else None
        return tool.secrets if tool else ()

    # --- people ----------------------------------------------------------------------------------------------------

    @cached_property
    def _roster(self) -> Roster | None:
        data = self._reads.fact(ROSTER)
        try:
            return load_roster(data) if data else None
        except RemitError:
            return None

    def _roster_at(self, at: Instant) -> Roster | None:
        """The roster that was in force at that time; today's where it was not kept."""
        loads = [
            entry_of(each) for each in self._search.records(kinds=("roster.loaded", "home.created"), limit=_MOST_LOADS)
        ]
        before = [entry for entry in loads if entry.at <= at]
        latest = before[-1].fields if before else {}
        digest = latest.get("digest", latest.get("roster"))
        data = self._reads.fact(kept_fact(ROSTER, digest)) if isinstance(digest, str) else None
        try:
            return load_roster(data) if data and sha256_hex(data) == digest else self._roster
        except RemitError:
            return self._roster

    @cached_property
    def _home(self) -> Json:
        created = self._search.records(kinds=("home.created",), limit=1)
        return entry_of(created[0]).fields.get("home") if created else None

    def _votes(self, action: Action) -> tuple[Approval, ...]:
        return self._reads.approvals(action.id)

    def _why_not(self, approval: Approval, action: Action) -> str:
        """Empty if the person's key, as the roster then in force has it, signed this answer to exactly this action."""
        roster = self._roster_at(approval.at)
        person = roster.person(approval.person) if roster else None
        if person is None:
            return "the person was not on the roster then in force"
        try:
            verify(approval.signature, approval.statement, Namespace.APPROVAL, person.keys)
            statement = ApprovalStatement.parse(approval.statement)
        except RemitError as error:
            return error.message
        says = (statement.verb, statement.action, statement.digest, statement.person.casefold())
        if says != (approval.verb, action.id, action.digest, approval.person.casefold()):
            return "the statement is about something else"
        if self._home is not None and statement.home != self._home:
            return "the statement is for another home"
        if not statement.issued - CLOCK_SKEW <= approval.at < statement.expires:
            return "the statement was not valid when it was counted"
        return ""

    # --- evidence ----------------------------------------------------------------------------------------------------

    def _seen(self, evidence_id: str) -> Seen | None:
        evidence = self._reads.evidence(evidence_id)
        if evidence is None:
            return None
        outcomes = map(entry_of, self._search.records(term("action", evidence.action), kinds=("outcome",)))
        position = next((each.position for each in outcomes if each.fields.get("evidence") == evidence_id), None)
        payload = self._reads.payload(evidence.payload)
        if payload is None:
            return Seen(evidence=evidence, position=position)
        intact = sha256_hex(payload.data) == evidence.digest
        return Seen(evidence=evidence, position=position, intact=intact, excerpt=_excerpt(payload))

    # --- around it -----------------------------------------------------------------------------------------------

    def _own_reads(self, action: Action) -> tuple[OwnRead, ...]:
        """Remit's own reads about these targets while the action was decided and settled."""
        if action.agent == REMIT or action.effect is Effect.READ or not action.targets:
            return ()
        until = max(action.opened_at, action.intended_at or 0, action.ended_at or 0)
        since = action.opened_at - _BEFORE
        asked = self._support_tools(action)
        wanted = (("agent", REMIT), ("case", action.case), ("connector", action.connector))
        found = (
            each
            for each in self._proposed_with(*wanted, since=since, until=until)
            if not set(action.targets).isdisjoint(each.targets) and (asked is None or each.tool in asked)
        )
        return tuple(
            OwnRead(action=each.id, tool=each.tool, state=each.state, at=each.opened_at)
            for each in sorted(found, key=lambda each: each.opened_at)
        )

    def _support_tools(self, action: Action) -> frozenset[str] | None:
        manifest = self._manifests.get(action.connector)
        tool = manifest.tools.get(action.tool) if manifest else None
        if tool is None:
            return None
        asked: list[Support | None] = [*tool.preconditions, tool.status]
        return frozenset(support.tool for support in asked if support is not None)

    def _undone_by(self, action: Action) -> tuple[str, ...]:
        if action.effect is Effect.READ or action.ended_at is None:
            return ()
        undoing = self._proposed_with(("undoes", action.id))
        return tuple(each.id for each in undoing if each.state is State.DONE and each.run == action.run)

    def _proposed_with(
        self, *wanted: tuple[str, str], since: Instant | None = None, until: Instant | None = None
    ) -> Iterator[Action]:
        """The newest hundred actions whose proposals have these terms, as they stand now."""
        groups = [(term(*each),) for each in (("kind", "proposal"), *wanted)]
        with closing(self._search.matching(groups, since=since, until=until)) as matching:
            for record in islice(matching, _MOST_AROUND):
                action = self._reads.action(record.action)
                if action is not None:
                    yield action

    def _stopping(self, action: Action, entries: Sequence[Entry]) -> Stopping | None:
        """The stop that voided or cut the action, if one did."""
        void = next((entry.fields.get("stop") for entry in entries if entry.kind == "void"), None)
        if isinstance(void, str):
            return self._stop(void, "the proposal is void")
        ends = {entry.fields.get("state") for entry in entries if entry.kind == "outcome"}
        if ends.isdisjoint({State.CUT, State.UNKNOWN}):
            return None
        outcome = next((entry.fields for entry in entries if entry.kind == "outcome"), {})
        if isinstance(outcome.get("stop"), str):
            sent = "severed" if State.CUT in ends else "may_still_land"
            return self._stop(str(outcome["stop"]), _CUT[sent if outcome.get("handed_over") else "not_sent"])
        for record in reversed(self._search.records(term("names", action.id), kinds=("cut",))):
            fields = entry_of(record).fields
            for name, effect in _CUT.items():
                named = fields.get(name)
                if isinstance(named, list) and action.id in named:
                    return self._stop(str(fields.get("stop")), effect)
        return None

    def _stop(self, stop_id: str, effect: str) -> Stopping:
        told: dict[str, Entry] = {}
        for record in self._search.records(term("stop", stop_id), kinds=("stop", "resume")):
            entry = entry_of(record)
            if entry.fields.get("stop") == stop_id:
                told[entry.kind] = entry
        order, lifted = told.get("stop"), told.get("resume")
        if order is None:
            return Stopping(stop=stop_id, effect=effect)
        names = self.naming.of(told.values())
        placed, ended = named(order.fields, names), named(lifted.fields, names) if lifted else {}
        scope = " ".join(filter(None, (str(placed.get("scope", "")), str(placed.get("name", "")))))
        return Stopping(
            stop=stop_id,
            effect=effect,
            mode=str(placed.get("mode", "")),
            scope=scope,
            by=str(placed.get("by", "")),
            at=order.at,
            lifted_by=str(ended.get("by", "")),
            lifted_at=lifted.at if lifted else None,
        )


def _excerpt(payload: Payload) -> str:
    """The beginning of what a tool result says, without what looks like a secret."""
    text = payload.data[: 8 * _LONGEST_EXCERPT].decode("utf-8", "replace")
    try:
        result = msgspec.json.decode(payload.data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        result = None
    if isinstance(result, dict):
        structured, content = result.get("structuredContent"), result.get("content")
        blocks = content if isinstance(content, list) else []
        texts = [block["text"] for block in blocks if isinstance(block, dict) and isinstance(block.get("text"), str)]
        text = msgspec.json.encode(structured).decode() if structured is not None else " ".join(texts) or text
    return redact_patterns(text[:_LONGEST_EXCERPT])
