"""Connectors with a state of their own, for the flow's tests: what really happened is what this module says.

Every effect is counted by the action that caused it, and looked at in the journal at the moment that it happens: an
effect whose action has no durable intent is a violation, whatever Remit says about it later.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from remit.flow.ports import AnswerLost, NotSent, Reads, UpstreamRefused
from remit.model.definitions import read_definition
from remit.model.manifest import Manifest
from remit.model.words import Definition, Json, State

STATUS = frozenset({"host_status", "account_status", "get_alert", "search_events"})


@dataclass
class Plan:
    """How one call will go. `kind`: `answer`, `error`, `not_sent`, `lost` (after the effect), `lost_before` (it),
    `refused`, `garbage`, `hang` (until released or severed)."""

    kind: str = "answer"
    code: int = -32000
    before: asyncio.Event | None = None
    progress: tuple[Json, ...] = ()
    raw: bytes = b""
    on_the_way: Callable[[], None] | None = None


@dataclass(eq=False)
class Hanging:
    """A call that was handed over and has not been answered."""

    action: str
    connector: str
    tool: str
    arguments: dict[str, Json]
    answer: asyncio.Future[bool]
    landed: bool = False


@dataclass
class Effect:
    """Something that really happened."""

    action: str
    connector: str
    tool: str
    arguments: dict[str, Json]
    targets: tuple[str, ...]


@dataclass
class Lab:
    """Fulfils `Connectors` and `Offers`. Owned by the loop, except `sever`."""

    definitions_by_connector: dict[str, list[Definition]] = field(default_factory=dict)
    effects: list[Effect] = field(default_factory=list)
    calls: list[tuple[str, str, str, bytes]] = field(default_factory=list)
    metas: list[Mapping[str, Json]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    hanging: dict[str, Hanging] = field(default_factory=dict)
    uncuttable: set[str] = field(default_factory=set)
    unkillable: set[str] = field(default_factory=set)
    shared_process: bool = False
    applied: list[dict[str, Manifest]] = field(default_factory=list)
    facts: dict[str, dict[str, Json]] = field(default_factory=dict)
    forbidden: Callable[[str], str] = lambda action: ""
    reads: Reads | None = None

    def __post_init__(self) -> None:
        self._plans: dict[str, list[Plan]] = defaultdict(list)
        self._always: dict[str, Plan] = {}
        self._severed: set[str] = set()
        self._waiting_before: set[str] = set()
        self._entered: dict[str, asyncio.Event] = {}
        self._lock = threading.Lock()

    # --- settings --------------------------------------------------------------------------------------------------

    def next(self, tool: str, kind: str = "answer", **more: Any) -> Plan:
        """The next call of `tool` goes so."""
        plan = Plan(kind, **more)
        self._plans[tool].append(plan)
        return plan

    def always(self, tool: str, kind: str, **more: Any) -> Plan:
        """Every call of `tool` without a plan of its own goes so."""
        plan = self._always[tool] = Plan(kind, **more)
        return plan

    async def handed(self, tool: str) -> Hanging:
        """Wait until a call of `tool` hangs at the connector."""
        async with asyncio.timeout(5):
            while True:
                for each in self.hanging.values():
                    if each.tool == tool:
                        return each
                await asyncio.sleep(0)

    def release(self, hanging: Hanging, *, answered: bool = True) -> None:
        """Let a hanging call have its effect, and answer it or not."""
        self.hanging.pop(hanging.action, None)
        self._take_effect(hanging.action, hanging.connector, hanging.tool, hanging.arguments)
        if not hanging.answer.done():
            hanging.answer.set_result(answered)

    def done(self, tool: str = "") -> list[tuple[str, ...]]:
        """The targets of every effect of `tool`, in order."""
        return [each.targets for each in self.effects if not tool or each.tool == tool]

    def times(self, action: str) -> int:
        """How often an action had an effect."""
        return sum(1 for each in self.effects if each.action == action)

    # --- Offers ----------------------------------------------------------------------------------------------------

    def definitions(self) -> Mapping[str, Sequence[Definition]]:
        return self.definitions_by_connector

    async def apply(self, manifests: Mapping[str, Manifest]) -> None:
        self.applied.append(dict(manifests))
        await asyncio.sleep(0)

    # --- Connectors ------------------------------------------------------------------------------------------------

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
        plans = self._plans[tool]
        plan = plans.pop(0) if plans else self._always.get(tool, Plan())
        if plan.before is not None:
            self._waiting_before.add(action)
            await plan.before.wait()
        if plan.kind == "not_sent":
            raise NotSent("the pipe is closed")
        if plan.on_the_way is not None:
            plan.on_the_way()
        handed_over()
        self.calls.append((action, connector, tool, arguments))
        self.metas.append(meta)
        self._look_for_intent(action)
        for value in plan.progress:
            if on_progress is not None:
                on_progress(value)
        return await self._answer(plan, action, connector, tool, json.loads(arguments))

    async def _answer(self, plan: Plan, action: str, connector: str, tool: str, arguments: dict[str, Json]) -> bytes:
        if plan.kind == "hang":
            answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            hanging = Hanging(action, connector, tool, arguments, answer)
            self.hanging[action] = hanging
            if not await answer:
                raise AnswerLost("the connection ended")
            return self._result(tool, arguments)
        if plan.kind == "lost_before":
            raise AnswerLost("the connection ended")
        if plan.kind == "refused":
            raise UpstreamRefused(plan.code, "no")
        if plan.kind == "error":
            return b'{"content":[{"type":"text","text":"it did not work"}],"isError":true}'
        self._take_effect(action, connector, tool, arguments)
        if plan.kind == "lost":
            raise AnswerLost("the connection ended")
        if plan.kind == "garbage":
            return b'["not a result"]'
        await asyncio.sleep(0)
        return plan.raw or self._result(tool, arguments)

    def sever(self, connector: str, actions: Iterable[str]) -> tuple[bool, tuple[str, ...]]:
        if connector in self.unkillable:
            raise OSError("no such process")
        with self._lock:
            mine = set(actions)
            others = tuple(
                each.action
                for each in self.hanging.values()
                if self.shared_process and each.connector == connector and each.action not in mine
            )
            certain = connector not in self.uncuttable
            for action in (*mine, *others):
                found = self.hanging.get(action)
                if found is None:
                    continue
                if certain:
                    self.hanging.pop(action)
                loop = found.answer.get_loop()
                loop.call_soon_threadsafe(_set, found.answer)
        return certain, others

    def die(self, *, landing: bool) -> None:
        """The gateway was killed, and its connectors with it: what hung there lands or not."""
        for each in list(self.hanging.values()):
            if landing:
                self._take_effect(each.action, each.connector, each.tool, each.arguments)
            each.answer.cancel()
        self.hanging.clear()

    # --- state -----------------------------------------------------------------------------------------------------

    def _look_for_intent(self, action: str) -> None:
        if self.reads is None:
            return
        found = self.reads.action(action)
        if found is None or found.state is not State.EXECUTING or found.intended_at is None:
            self.violations.append(f"{action} reached a connector without being `executing`")
        if not self.reads.records(action=action, kinds=["intent"]):
            self.violations.append(f"{action} reached a connector without a durable intent")
        why = self.forbidden(action)
        if why:
            self.violations.append(f"{action} reached a connector although {why}")

    def _take_effect(self, action: str, connector: str, tool: str, arguments: dict[str, Json]) -> None:
        if tool in STATUS:
            return
        named = arguments.get("host") or arguments.get("account") or arguments.get("hosts") or arguments.get("group")
        targets = tuple(named) if isinstance(named, list) else (str(named),)
        if self.times(action):
            self.violations.append(f"{action} had its effect twice")
        self.effects.append(Effect(action, connector, tool, arguments, targets))
        for target in targets:
            fact = self.facts.setdefault(target, {})
            fact["isolated"] = tool.startswith("isolate") or (fact.get("isolated", False) and tool != "release_host")
            fact["enabled"] = fact.get("enabled", True) and tool != "disable_account"

    def _result(self, tool: str, arguments: dict[str, Json]) -> bytes:
        target = str(next(iter(arguments.values()), ""))
        known = {"online": True, "isolated": False, "enabled": True} | self.facts.get(target, {})
        structured = {"name": target, **known} if tool in STATUS else {"done": True}
        text = json.dumps(structured)
        return json.dumps({"content": [{"type": "text", "text": text}], "structuredContent": structured}).encode()


def _set(answer: asyncio.Future[bool]) -> None:
    if not answer.done():
        answer.set_result(False)


def definition(name: str, **properties: Json) -> Definition:
    """A tool definition whose arguments are all text unless said otherwise."""
    schema = {
        "type": "object",
        "properties": {key: value or {"type": "string"} for key, value in properties.items()},
        "additionalProperties": False,
    }
    return read_definition({"name": name, "description": f"{name} of the practice lab", "inputSchema": schema})
