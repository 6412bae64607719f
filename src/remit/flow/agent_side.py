"""The node as an agent's door sees it: tools, calls, waiting, and Remit's own four tools.

What lives here: turning what became of an action into an `Answer`. What never may: a decision.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from remit.flow.answers import Answer, ShownTool
from remit.flow.drafts import Call, Draft
from remit.flow.explaining import hint_for, message_for
from remit.flow.force import Force, Forces, Tool, categories_of
from remit.flow.hints import Hints
from remit.flow.lasting import Lasting
from remit.flow.own_tools import OWN_TOOLS, OwnTools
from remit.flow.ports import Store
from remit.flow.runs import Runs
from remit.flow.steward import Steward
from remit.gates import intake
from remit.model.display import safe_value
from remit.model.errors import Fault, Refusal, RemitError
from remit.model.words import Action, Clause, Decision, Json, Run, State

log = logging.getLogger("remit.flow")


class Agents:
    """Fulfils `AgentSide`. Owned by the event loop."""

    def __init__(
        self, *, store: Store, forces: Forces, steward: Steward, runs: Runs, hints: Hints, own: OwnTools
    ) -> None:
        self._store = store
        self._forces = forces
        self._steward = steward
        self._runs = runs
        self._hints = hints
        self._own = own
        self._shown: tuple[Force, dict[tuple[str, tuple[str, ...]], tuple[ShownTool, ...]]] | None = None
        self._lasting = Lasting()

    def authenticate(self, token: str) -> Run:
        """See `AgentSide`."""
        return self._runs.authenticate(token)

    def note_client(self, run: Run, client: str) -> None:
        """See `AgentSide`."""
        self._own.note_client(run, client)

    def tools(self, run: Run) -> Sequence[ShownTool]:
        """See `AgentSide`. Worked out once for each agent and mandate under what is in force."""
        force = self._forces.current
        if self._shown is None or self._shown[0] is not force:
            self._shown = (force, {})
        key = (run.agent, run.mandate.categories)
        known = self._shown[1].get(key)
        if known is None:
            known = (*shown_tools(force, run), *OWN_TOOLS)
            self._shown[1][key] = known
        return known

    async def call(
        self,
        run: Run,
        name: str,
        arguments: dict[str, Json],
        *,
        hold: float,
        on_progress: Callable[[Json], None] | None = None,
    ) -> Answer:
        """See `AgentSide`."""
        try:
            if name in self._own.names:
                return await self._own.call(run, name, arguments, self.wait, hold)
            tool = self._forces.current.tools.get(name)
            if tool is None or tool.parked:
                return await self._own.unknown_tool(run, name, tool)
            return await self._propose(Call(run=run, tool=tool, arguments=arguments), hold, on_progress)
        except Fault as fault:
            return Answer(state=State.BLOCKED, message=f"refused: {fault.message}", hint=_FAULT_HINT, clauses=(_FAULT,))
        except RemitError as error:
            return answer_of_error(error)

    async def _propose(self, call: Call, hold: float, on_progress: Callable[[Json], None] | None) -> Answer:
        loop = asyncio.get_running_loop()
        until = loop.time() + hold
        # The proposal goes on when the request that brought it ends: cancelling a wait never ends an action.
        action, draft = await self._lasting.finish(self._steward.propose(call))
        if action.state not in (State.EXECUTING, State.WAITING, State.APPROVED):
            return self._answer(action, draft)
        forget = self._hints.listen(action.id, self._relay(call, on_progress)) if on_progress else None
        try:
            return await self._until(action, until - loop.time())
        finally:
            if forget:
                forget()

    def _relay(self, call: Call, listener: Callable[[Json], None]) -> Callable[[Json], None]:
        """Progress in numbers alone where its words would raise the run's label: no evidence would carry it."""
        label = (self._store.reads.run(call.run.id) or call.run).label
        raised = label.join(call.tool.label)
        if (raised.integrity, raised.confidentiality) == (label.integrity, label.confidentiality):
            return listener
        numbers = ("progress", "total")
        return lambda told: listener({key: told[key] for key in numbers if key in told} if _is_table(told) else None)

    async def wait(self, run: Run, action: str, *, hold: float) -> Answer:
        """See `AgentSide`. Another run's action is as unknown as one that never was."""
        found = self._store.reads.action(action)
        if found is None or found.run != run.id:
            message = f"this run has no action `{action}`"
            return Answer(state=State.BLOCKED, message=message, hint="use the `action_id` that a call answered")
        return await self._until(found, hold)

    async def _until(self, action: Action, seconds: float) -> Answer:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while True:
            finished = self._hints.finished(action.id)
            if finished is not None:
                return self._ended(finished.action, finished.result, finished.evidence, finished.note)
            left = until - loop.time()
            if left <= 0 or action.state not in (State.EXECUTING, State.WAITING, State.APPROVED):
                return self._answer(action, None)
            await self._hints.change(action.id, left)
            if self._hints.finished(action.id) is None:
                action = self._store.reads.action(action.id) or action

    def _answer(self, action: Action, draft: Draft | None) -> Answer:
        raw, evidence = b"", None
        if action.result:
            payload = self._store.reads.payload(action.result)
            raw = payload.data if payload else b""
            evidence = self._store.reads.evidence(action.evidence)
        answer = self._ended(action, raw, evidence, "")
        if draft is not None and draft.hint and not answer.open:
            return msgspec.structs.replace(answer, hint=draft.hint)
        return answer

    def _ended(self, action: Action, raw: bytes, evidence: Any, note: str) -> Answer:
        state: State | str = action.state
        stopped = any(clause.id == "stop" for clause in action.ruling.clauses)
        if (state is State.BLOCKED and stopped) or state is State.VOID or (state is State.CUT):
            state = "stopped"
        return Answer(
            state=State.UNKNOWN if note else state,
            action=action.id,
            result=b"" if note else raw,
            evidence=evidence,
            message=note or message_for(action),
            hint=hint_for(action),
            clauses=action.ruling.clauses if action.state is not State.DONE else (),
            expires_at=action.expires_at,
        )


def _is_table(told: Json) -> bool:
    return isinstance(told, dict)


_FAULT = Clause("journal", Decision.FORBID, "nothing is done that cannot be recorded")
_FAULT_HINT = "this is not about your request: Remit cannot write its record; a human must look at it"


def may_propose(force: Force, run: Run, tool: Tool) -> bool:
    """Whether this run could get anything but a refusal for some use of this tool: what it does at the mildest is
    granted to the agent and in the mandate."""
    return any(
        force.evaluator.could(run.agent, each) is not Decision.FORBID
        for each in categories_of(tool)
        if each in run.mandate.categories
    )


def shown_tools(force: Force, run: Run) -> list[ShownTool]:
    """The connectors' tools that this run may at least propose, sanitised, by name.

    Without `outputSchema`: any call may have to wait, and a handle is not the output that a connector promised.
    """
    found = []
    for name in sorted(force.tools):
        tool = force.tools[name]
        if tool.parked or not may_propose(force, run, tool):
            continue
        schema = intake.agent_schema(tool.definition, tool.manifest)
        promised = {key: value for key, value in tool.definition.raw.items() if key != "outputSchema"}
        definition = safe_value({**promised, "inputSchema": schema}) | {"name": name}
        found.append(ShownTool(name=name, definition=definition, consequential=tool.manifest.consequential))
    return found


def answer_of_error(error: RemitError) -> Answer:
    """A refusal that never became an action."""
    clauses = error.clauses if isinstance(error, Refusal) else ()
    state = error.state if isinstance(error, Refusal) else State.BLOCKED
    return Answer(state=state, message=error.message, hint=error.hint, clauses=clauses)
