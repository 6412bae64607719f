"""Remit's own four tools for agents: what may I do, wait, withdraw, conclude.

What lives here: those tools and the record of a call to a tool that is not there. What never may: a way to act.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace

from remit.flow.answers import Answer, ShownTool
from remit.flow.concluding import Concluding, Conclusion
from remit.flow.force import Forces, Tool, categories_of
from remit.flow.lasting import Lasting
from remit.flow.ports import Alerts, Clock, Ids, Store, Transaction
from remit.flow.runs import Runs
from remit.flow.steward import Steward
from remit.gates import intake, journal
from remit.model.display import safe_line
from remit.model.errors import Misuse, Refusal
from remit.model.words import REMIT, VERDICTS, Action, Clause, Decision, Json, Run, State

_MOST_CLIENTS = 4  # words of clients about themselves that are kept of one run


class Wait(Protocol):
    """How to wait for an action of a run."""

    def __call__(self, run: Run, action: str, *, hold: float) -> Awaitable[Answer]: ...


def _schema(properties: dict[str, Json], *required: str) -> dict[str, Json]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_ACTION_ID = {"type": "string", "description": "the `action_id` that the call answered", "maxLength": 64}


def _tool(name: str, description: str, schema: dict[str, Json]) -> ShownTool:
    full = f"{REMIT}__{name}"
    definition = {"name": full, "description": description, "inputSchema": schema}
    return ShownTool(name=full, definition=definition, consequential=False)


OWN_TOOLS: tuple[ShownTool, ...] = (
    _tool(
        "await_action",
        "Wait for an action that a human must approve or that is on its way. Answers with its state, or its result.",
        _schema({"action_id": _ACTION_ID}, "action_id"),
    ),
    _tool(
        "conclude",
        "Record your verdict on the case: malicious, benign or undetermined, why, and on which evidence.",
        _schema(
            {
                "verdict": {"type": "string", "enum": list(VERDICTS)},
                "rationale": intake.RATIONALE_SCHEMA,
                "evidence": {"type": "array", "items": {"type": "string", "maxLength": 64}, "maxItems": 200},
                "alternatives": {"type": "array", "items": {"type": "string", "maxLength": 2000}, "maxItems": 20},
            },
            "verdict",
            "rationale",
        ),
    ),
    _tool(
        "my_remit",
        "What you may do in this run: alone, with a human's approval, and never; your targets, and the time left.",
        _schema({}),
    ),
    _tool(
        "withdraw",
        "Take back a proposal of yours that has not been executed.",
        _schema({"action_id": _ACTION_ID}, "action_id"),
    ),
)


class OwnTools:
    """See the module. Owned by the event loop."""

    def __init__(
        self,
        *,
        store: Store,
        forces: Forces,
        steward: Steward,
        runs: Runs,
        clock: Clock,
        ids: Ids,
        alerts: Alerts,
        concluding: Concluding,
    ) -> None:
        self._store = store
        self._forces = forces
        self._steward = steward
        self._runs = runs
        self._clock = clock
        self._ids = ids
        self._alerts = alerts
        self._concluding = concluding
        self._lasting = Lasting()
        self._clients: dict[str, set[str]] = {}
        self.names = frozenset(tool.name for tool in OWN_TOOLS)

    async def call(self, run: Run, name: str, arguments: dict[str, Json], wait: Wait, hold: float) -> Answer:
        """One of the four. Raises `Refusal` or `Misuse` for arguments that do not fit its schema."""
        match name.removeprefix(f"{REMIT}__"):
            case "my_remit":
                _only(arguments)
                now = self._store.reads.run(run.id) or run
                return _answer(my_remit(self._forces.current, now, self._clock.now()))
            case "await_action":
                return await wait(run, _action_id(arguments), hold=hold)
            case "withdraw":
                return await self._withdraw(run, _action_id(arguments))
        return await self._conclude(run, arguments, wait, hold)

    def note_client(self, run: Run, client: str) -> None:
        """Keep the client's own word about itself with the run, once for each run and word."""
        shown = safe_line(client, 200)
        known = self._clients.setdefault(run.id, set())
        if shown in known or run.client == shown or len(known) >= _MOST_CLIENTS:
            return
        known.add(shown)
        at = self._clock.now()

        def step(tx: Transaction) -> None:
            now = tx.run(run.id)
            if now is not None and now.client != shown:
                noted = journal.record("run.client", at, run=run.id, agent=run.agent)
                tx.put_run(replace(now, client=shown), noted)

        self._store.commit_soon(step)

    async def unknown_tool(self, run: Run, name: str, tool: Tool | None) -> Answer:
        """Refuse and record a call to a tool that this run does not have. Parked is as unknown as absent."""
        at = self._clock.now()
        shown = safe_line(name, 100)
        clause = Clause("unknown-tool", Decision.FORBID, f"this run has no tool `{shown}`")

        def step(tx: Transaction) -> None:
            now = tx.count_call(run.id)
            if now is not None and now.calls > now.max_calls + 1:
                return  # counted; one record has said that the budget is used up
            why = "none" if tool is None else "parked"
            known: dict[str, Json] = {"connector": tool.connector, "tool": tool.definition.name} if tool else {}
            tx.append(journal.record("refusal", at, run=run.id, agent=run.agent, clauses=[clause.id], why=why, **known))

        await self._store.commit(step)
        hint = "`tools/list` and `remit__my_remit` tell what this run may propose"
        return Answer(state=State.BLOCKED, message=f"refused: {clause.says}", hint=hint, clauses=(clause,))

    async def _withdraw(self, run: Run, action_id: str) -> Answer:
        action = self._store.reads.action(action_id)
        if (
            action is None or action.run != run.id or action.opened_by
        ):  # a human's order is not the agent's to take back
            raise Refusal(f"this run has no action `{action_id}`", hint="use the `action_id` that a call answered")
        moved = await self._lasting.finish(self._steward.withdraw(action))
        return Answer(
            state=moved.state,
            action=moved.id,
            message="withdrawn",
            structured={"state": moved.state, "action_id": moved.id},
        )

    async def _conclude(self, run: Run, arguments: dict[str, Json], wait: Wait, hold: float) -> Answer:
        conclusion = self._conclusion(arguments)
        found = await self._lasting.finish(self._put(run, conclusion))
        if isinstance(found, Run):
            return _answer({"state": "done", "recorded": True, "verdict": conclusion.verdict, "case": run.case})
        return await wait(run, found.id, hold=hold)

    async def _put(self, run: Run, conclusion: Conclusion) -> Run | Action:
        """Put it on record, and tell whoever must know of it: an agent that hangs up meanwhile keeps nobody asleep."""
        found, new = await self._concluding.conclude(run, conclusion)
        if isinstance(found, Run):
            self._runs.remember(found)
        elif new and found.state is State.WAITING:
            self._alerts.send({"code": "waiting", "action": found.id, "agent": found.agent})
        elif new and found.state is State.BLOCKED:
            self._steward.tell(found, "forbidden")
        return found

    def _conclusion(self, arguments: dict[str, Json]) -> Conclusion:
        try:
            conclusion = msgspec.convert(arguments, Conclusion, strict=True)
        except msgspec.ValidationError as error:
            raise Misuse(f"the conclusion does not fit its schema: {error}", hint="see `tools/list`") from None
        intake.check_rationale(conclusion.rationale)
        if conclusion.verdict not in VERDICTS:
            shown = safe_line(conclusion.verdict, 40)
            says = f"a verdict is `malicious`, `benign` or `undetermined`, not `{shown}`"
            raise Misuse(says, hint="conclude again with one of the three")
        return conclusion


def my_remit(force: Any, run: Run, now: int) -> dict[str, Json]:
    """What this run may do, by category, as the boundary stands; the targets of its mandate; what is left of it."""
    alone, asked = [], []
    for category in run.mandate.categories:
        could = force.evaluator.could(run.agent, category)
        if could is Decision.AUTO:
            alone.append(category)
        elif could is Decision.APPROVE:
            asked.append(category)
    tools = sorted(name for name, tool in force.tools.items() if not tool.parked)
    usable = [name for name in tools if set(categories_of(force.tools[name])) & {*alone, *asked}]
    return {
        "agent": run.agent,
        "case": run.case,
        "may_do_alone_at_best": alone,
        "needs_a_human": asked,
        "everything_else": "forbidden; attempts are recorded and alerted",
        "targets_of_this_case": list(run.mandate.targets),
        "tools": usable,
        "calls_left": max(run.max_calls - run.calls, 0),
        "seconds_left": max((run.expires_at - now) // 1_000_000, 0),
        "boundary": {"name": force.boundary.name, "version": force.boundary.version},
    }


def _answer(structured: dict[str, Json]) -> Answer:
    return Answer(state=State.DONE, structured=structured, message=json.dumps(structured, ensure_ascii=False))


def _only(arguments: dict[str, Json], *known: str) -> None:
    for name in arguments:
        if name not in known:
            raise Misuse(f"there is no argument `{safe_line(name, 60)}`", hint="see `tools/list`")


def _action_id(arguments: dict[str, Json]) -> str:
    _only(arguments, "action_id")
    value = arguments.get("action_id")
    if not isinstance(value, str) or not value.startswith("act_") or len(value) > 64:
        raise Misuse("`action_id` must be the id that a call answered, like `act_…`", hint="see the call's answer")
    return value
