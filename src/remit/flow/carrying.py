"""Carrying out one action whose intent is durable: warrant, last look at the latch, hand over, outcome.

What lives here: the way from `executing` to `done`, `failed`, `cut` or `unknown`. What never may: starting anything
that has no durable intent, repeating a call, guessing an outcome.

INVARIANT: an answer that did not come is `unknown`; only what certainly never left Remit is `failed` or `cut` without
being handed over.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from functools import partial
from typing import Any

import msgspec

from remit.flow.force import Tool
from remit.flow.hints import Finished, Hints
from remit.flow.in_flight import Execution, InFlight, Stopped
from remit.flow.lifecycle import Stale, after
from remit.flow.points import Hook, nothing
from remit.flow.ports import (
    Alerts,
    AnswerLost,
    Clock,
    Connectors,
    Credentials,
    Ids,
    NotSent,
    Store,
    Transaction,
    UpstreamRefused,
    Witnesses,
)
from remit.gates import journal, stop
from remit.model.display import redact_bytes
from remit.model.errors import CommitUnknown, NotCommitted, RemitError
from remit.model.words import (
    CHANGE_RESULT,
    READ_RESULT,
    Action,
    Effect,
    Event,
    Evidence,
    Instant,
    Payload,
    Record,
    StopOrder,
)

log = logging.getLogger("remit.flow")

CERTAINLY_NOT_DONE = frozenset({-32601, -32602})  # JSON-RPC 2.0: method not found, invalid params
RETRY_AFTER = (0.05, 0.25, 1.0, 3.0)
WITNESS_SECONDS = 5.0
"""How long an intent waits for the witnesses. Longer than it takes to notice that they are away, so that whoever
proposes the action anew is not left to wait again."""
UNWITNESSED = "its intent was not witnessed in time"


class _Result(msgspec.Struct):
    isError: bool = False


_result = msgspec.json.Decoder(_Result)


class Ending(msgspec.Struct, frozen=True):
    """How a call ended: the event, in a few words why, and the raw result where there is one."""

    event: Event
    why: str
    handed_over: bool
    raw: bytes = b""
    stop: str = ""


class Carrier:
    """See the module. Runs on the event loop, one task an action."""

    def __init__(
        self,
        *,
        store: Store,
        in_flight: InFlight,
        connectors: Connectors,
        credentials: Credentials,
        clock: Clock,
        ids: Ids,
        alerts: Alerts,
        hints: Hints,
        witnesses: Witnesses,
        point: Hook = nothing,
    ) -> None:
        self._store = store
        self._in_flight = in_flight
        self._connectors = connectors
        self._credentials = credentials
        self._clock = clock
        self._ids = ids
        self._alerts = alerts
        self._hints = hints
        self._witnesses = witnesses
        self._point = point

    async def carry(
        self, execution: Execution, *, tool: Tool, arguments: bytes, evidence_id: str, witnessed: bool = False
    ) -> None:
        """From a durable intent to a durable outcome. The body of the action's own task.

        `witnessed`: nothing is handed over before the witnesses have cosigned a log that holds the intent.
        """
        ending = await self._unwitnessed(execution) if witnessed else None
        ending = ending or await self._call(execution, tool, arguments)
        closing = asyncio.ensure_future(self._close(execution.action, ending, tool, evidence_id))
        # INVARIANT: the register lets go of an action only once its outcome is written, whatever cancels the waiting.
        while not closing.done():
            try:
                await asyncio.shield(closing)
            except asyncio.CancelledError:
                if not closing.cancelled():
                    _swallow_cancellation()

    async def not_started(self, action: Action, order: StopOrder) -> None:
        """A stop came between the intent and the start: nothing was sent."""
        ending = Ending(Event.CUT, stop.clause(order).says, handed_over=False, stop=order.id)
        await self._close(action, ending, None, "")

    async def _unwitnessed(self, execution: Execution) -> Ending | None:
        """Wait for the witnesses. Returns how the action ends where they do not come; nothing was sent then."""
        action = execution.action
        self._point("witnessing")
        try:
            intents = self._store.reads.records(action=action.id, kinds=("intent",))
            position = max(record.position for record in intents)
            if await self._witnesses.cover(position, WITNESS_SECONDS):
                return None
        except asyncio.CancelledError:
            _swallow_cancellation()
            return self._lost(execution, "the waiting for its witnesses ended")
        except Exception:
            log.exception("%s: whether its intent was witnessed cannot be told", action.id)
        if execution.cut_by is not None:
            return self._lost(execution, UNWITNESSED)
        self._alerts.send({"code": "unwitnessed", "action": action.id, "agent": action.agent})
        return Ending(Event.FAIL, UNWITNESSED, handed_over=False)

    async def _call(self, execution: Execution, tool: Tool, arguments: bytes) -> Ending:
        action = execution.action
        try:
            meta = self._credentials.mint(
                action, tool.connector, tool.definition.name, action.targets, arguments, self._clock.now()
            )
        except RemitError as error:
            return Ending(Event.FAIL, f"no credential could be had: {error.message}", handed_over=False)
        self._point("minted")
        try:
            raw = await self._connectors.call(
                tool.connector,
                tool.definition.name,
                arguments,
                meta,
                action=action.id,
                handed_over=partial(self._hand_over, execution),
                on_progress=partial(self._hints.progress, action.id),
            )
        except Stopped as stopped:
            return Ending(Event.CUT, stop.clause(stopped.order).says, handed_over=False, stop=stopped.order.id)
        except NotSent as error:
            return self._not_sent(execution, str(error))
        except UpstreamRefused as error:
            return self._protocol_error(action, error)
        except AnswerLost as error:
            return self._lost(execution, str(error))
        except asyncio.CancelledError:
            _swallow_cancellation()
            return self._lost(execution, "the waiting for its answer ended")
        except Exception:
            log.exception("%s: its call failed in a way that nobody foresaw", action.id)
            return self._lost(execution, "a fault in Remit ended the call")
        self._point("answered")
        return self._answered(action, raw)

    def _hand_over(self, execution: Execution) -> None:
        self._in_flight.hand_over(execution)
        self._point("handing over")

    def _not_sent(self, execution: Execution, why: str) -> Ending:
        if execution.cut_by is not None:
            return Ending(Event.CUT, stop.clause(execution.cut_by).says, handed_over=False, stop=execution.cut_by.id)
        return Ending(Event.FAIL, f"not sent: {why}", handed_over=False)

    def _lost(self, execution: Execution, why: str) -> Ending:
        order = execution.cut_by
        if order is not None and not execution.handed_over:
            return Ending(Event.CUT, stop.clause(order).says, handed_over=False, stop=order.id)
        if order is not None and execution.severed:
            return Ending(Event.CUT, f"severed: {stop.clause(order).says}", handed_over=True, stop=order.id)
        if order is not None:
            return Ending(Event.LOSE, f"may still land: {stop.clause(order).says}", handed_over=True, stop=order.id)
        if execution.collateral:
            return Ending(
                Event.LOSE, "its connector's process was killed by a stop of something else", handed_over=True
            )
        if not execution.handed_over:
            return Ending(Event.FAIL, f"not sent: {why}", handed_over=False)
        return Ending(Event.LOSE, why, handed_over=True)

    def _protocol_error(self, action: Action, error: UpstreamRefused) -> Ending:
        why = f"the connector answered with error {error.code}"
        if action.effect is Effect.READ or error.code in CERTAINLY_NOT_DONE:
            return Ending(Event.FAIL, why, handed_over=True, raw=_error_result(error))
        return Ending(Event.LOSE, why, handed_over=True, raw=_error_result(error))

    def _answered(self, action: Action, raw: bytes) -> Ending:
        try:
            failed = _result.decode(raw).isError
        except (msgspec.MsgspecError, UnicodeError, RecursionError):  # as nested, or as no text, as it likes
            event = Event.FAIL if action.effect is Effect.READ else Event.LOSE
            return Ending(event, "the connector's answer is not a tool result", handed_over=True, raw=raw)
        if failed:
            return Ending(Event.FAIL, "the connector says that it failed", handed_over=True, raw=raw)
        return Ending(Event.SUCCEED, "the connector says that it is done", handed_over=True, raw=raw)

    async def _close(self, action: Action, ending: Ending, tool: Tool | None, evidence_id: str) -> None:
        """Record the outcome. Retries only what certainly did not commit; what stays unrecorded stays unknown."""
        payload, evidence = self._kept(action, ending, tool, evidence_id)
        step = partial(self._close_step, action, ending, payload, evidence)
        note = ""
        closed = action
        for delay in (*RETRY_AFTER, None):
            try:
                closed = await self._store.commit(step)
                note = ""
                break
            except NotCommitted as error:
                note = f"the outcome could not be recorded ({error.message})"
                if delay is None:
                    break
                await asyncio.sleep(delay)
            except (CommitUnknown, Stale) as error:
                closed = self._store.reads.action(action.id) or action
                note = "" if closed.ended_at is not None else f"the outcome may not be recorded ({error})"
                break
        if note:
            log.error("%s: %s", action.id, note)
        elif closed.outcome and (ending.event is Event.LOSE or (closed.handed_over and ending.event is Event.CUT)):
            self._alerts.send({"code": "unknown", "action": action.id, "agent": action.agent, "why": ending.why})
        self._point("recorded")
        self._hints.finish(Finished(closed, ending.raw, evidence, note))

    def _kept(
        self, action: Action, ending: Ending, tool: Tool | None, evidence_id: str
    ) -> tuple[Payload | None, Evidence | None]:
        if not ending.raw or tool is None:
            return None, None
        raw = redact_bytes(ending.raw)  # what looks like a secret is kept nowhere; the agent is shown the answer itself
        kind = READ_RESULT if action.effect is Effect.READ else CHANGE_RESULT
        payload = Payload(id=f"{evidence_id}.result", kind=kind, salt=self._ids.salt(), data=raw)
        evidence = Evidence(
            id=evidence_id,
            run=action.run,
            action=action.id,
            at=self._clock.now(),
            digest=hashlib.sha256(raw).hexdigest(),
            label=tool.label,
            payload=payload.id,
        )
        return payload, evidence

    def _close_step(
        self, action: Action, ending: Ending, payload: Payload | None, evidence: Evidence | None, tx: Transaction
    ) -> Action:
        at = self._clock.now()
        changes: dict[str, Any] = {"ended_at": at, "handed_over": ending.handed_over, "outcome": ending.why}
        fields: dict[str, Any] = {"warrant": action.warrant, "handed_over": ending.handed_over}
        if ending.stop:
            fields["stop"] = ending.stop
        if ending.why == UNWITNESSED:
            fields["why"] = "unwitnessed"
        if payload is not None and evidence is not None:
            tx.put_payload(payload)
            tx.put_evidence(evidence)
            run = tx.run(action.run)
            if run is not None and run.label.join(evidence.label) != run.label:
                tx.raise_label(run, evidence)
            changes |= {"evidence": evidence.id, "result": payload.id}
            fields |= {"evidence": evidence.id, "payloads": journal.commits(payload), "label": _label(evidence)}
        records = [self._outcome(action, ending, at, fields)]
        if ending.event is Event.LOSE:
            records.append(journal.of_action("alert", at, action, code="unknown"))
        return tx.move(action.id, action.revision, ending.event, *records, **changes)

    def _outcome(self, action: Action, ending: Ending, at: Instant, fields: dict[str, Any]) -> Record:
        return journal.of_action("outcome", at, action, state=after(action.state, ending.event), **fields)


def _label(evidence: Evidence) -> dict[str, str]:
    label = evidence.label
    return {"integrity": label.integrity, "confidentiality": label.confidentiality, "source": label.source}


def _error_result(error: UpstreamRefused) -> bytes:
    text = f"the connector answered with error {error.code}: {error.message}"
    return msgspec.json.encode({"content": [{"type": "text", "text": text}], "isError": True})


def _swallow_cancellation() -> None:
    """A cut cancels the task to end its waiting; the outcome must still be written by the same task."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
