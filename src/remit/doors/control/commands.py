"""People's commands to a node: what each one takes, and what it answers. `remit.doors.control.server` brings them.

What lives here: the table of commands, and turning parameters into calls of the flow. What never may: an agent's
request (the socket's mode keeps other users out), or an effect that can widen without a signed statement.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from remit.doors.control import deciding, looking, signed
from remit.doors.control.side import NodeSide
from remit.doors.control.signed import Command
from remit.doors.control.times import iso
from remit.flow.reconciling import Report
from remit.flow.runs import Order
from remit.flow.settling import Settled
from remit.flow.stop_desk import StopReport
from remit.gates.stop import LOG_ID, mended_order, order_of
from remit.model.canonical import encode
from remit.model.display import shown
from remit.model.errors import Misuse
from remit.model.words import Json, Payload, Scope, ScopeKind, StopOrder

log = logging.getLogger("remit.control")

Answer = dict[str, Json]
T = TypeVar("T")

PATIENCE = 10.0
"""How long an answer waits for an action that it set in motion, in seconds, where a gateway goes on with it anyway."""


class Commands:
    """See the module. `immediate` commands run on the caller's thread, `dispatch` on the event loop."""

    def __init__(self, node: NodeSide, *, url: str = "", patience: float = PATIENCE) -> None:
        self._node = node
        self._patience = patience
        self._changing = asyncio.Lock()
        self.url = url  # where agents reach the gateway over HTTP; set by whoever opens that door
        self.socket = ""  # where their bridges do; set likewise
        self.immediate: dict[str, Callable[[Answer, str], Answer]] = {"stop": self.stop}
        self._open: dict[str, Callable[[Answer, str], Awaitable[Answer]]] = {
            "hello": self._hello,
            "status": self._status,
            "approvals": self._approvals,
            "card": self._card,
            "decide": self._decide,
            "run.list": self._run_list,
            "connectors": self._connectors,
            "inventory.diff": self._inventory_diff,
            "boundary": self._boundary,
            "reconciled": self._reconciled,
            "settle.ask": self._settle_ask,
            "prune": self._prune,
            "signed": self._signed,
        }
        self._with_signature: dict[str, Callable[[Command], Awaitable[Answer]]] = {
            "run.open": self._run_open,
            "run.close": self._run_close,
            "resume": self._resume,
            "latch.mend": self._mend_latch,
            "clock": self._forgive_clock,
            "log.continue": self._continue_log,
            "reload": self._reload,
            "tools.accept": self._accept_tools,
            "inventory.accept": self._accept_inventory,
            "settle": self._settle,
            "undo": self._undo,
            "erase": self._erase,
        }
        assert self._with_signature.keys() == signed.ROLES.keys()

    async def dispatch(self, method: str, params: Answer, user: str) -> Answer:
        """Run one command and return its answer. Raises `RemitError`: `Misuse` for a method that there is not."""
        if method in self.immediate:
            return self.immediate[method](params, user)
        known = self._open.get(method)
        if known is None:
            raise Misuse(f"there is no command {shown(method)}", hint="is this the same version of remit?")
        return await known(params, user)

    # --- stop ------------------------------------------------------------------------------------------------------

    def stop(self, params: Answer, user: str) -> Answer:
        """Latch and cut, on whatever thread asks. Needs no signature: one human on this machine is enough."""
        order, note = self._order(params, user)
        return {**told(self._node.stop_desk.stop(order)), "note": note}

    def _order(self, params: Answer, user: str) -> tuple[StopOrder, str]:
        given = order_of(params, user, self._node.ids.new("stp"), self._node.clock.now())
        try:
            name, note = self._scope_name(given.scope.kind, given.scope.name)
        except Exception:
            # INVARIANT: what only words the answer (a store that cannot be read, say) keeps no stop from stopping.
            log.exception("what the stop names could not be looked up; everything is stopped")
            return replace(given, scope=Scope()), "what it names could not be looked up, so everything is stopped"
        return replace(given, scope=Scope(given.scope.kind, name)), note

    def _scope_name(self, kind: ScopeKind, name: str) -> tuple[str, str]:
        """The name as actions carry it, and a word of warning where nothing has that name."""
        force = self._node.forces.current
        if kind is ScopeKind.TARGET:
            target = force.inventory.resolve(name)
            return target.id, "" if target.known else f"the inventory has no target `{name}`"
        known = {
            ScopeKind.AGENT: lambda: force.boundary.agent(name) is not None,
            ScopeKind.CONNECTOR: lambda: name in force.manifests,
            ScopeKind.CATEGORY: lambda: name.endswith("*") or force.boundary.category(name) is not None,
            ScopeKind.RUN: lambda: self._node.store.reads.run(name) is not None,
        }
        found = known.get(kind, lambda: True)()
        return name, "" if found else f"there is no {kind} `{name}`"

    # --- looking ---------------------------------------------------------------------------------------------------

    async def _hello(self, _: Answer, user: str) -> Answer:
        node = self._node
        return {
            "home": node.identity.id,
            "practice": node.identity.practice,
            "now": node.clock.now(),
            "boundary": node.forces.current.boundary_digest,
            "user": user,
            "url": self.url,
            "socket": self.socket,
        }

    async def _status(self, _: Answer, __: str) -> Answer:
        return {**looking.status(self._node), "url": self.url}

    async def _approvals(self, _: Answer, __: str) -> Answer:
        return deciding.waiting(self._node)

    async def _card(self, params: Answer, _: str) -> Answer:
        return deciding.card_answer(self._node, _text(params, "action"))

    async def _decide(self, params: Answer, _: str) -> Answer:
        return await deciding.decide(self._node, params, self._patience)

    async def _run_list(self, params: Answer, _: str) -> Answer:
        every = _typed(params, "all", bool, False)
        return looking.runs(self._node.store.reads, self._node.clock.now(), every=every)

    async def _connectors(self, _: Answer, __: str) -> Answer:
        return looking.connectors(self._node)

    async def _inventory_diff(self, params: Answer, _: str) -> Answer:
        return looking.inventory(self._node.store.reads, _text(params, "csv").encode())

    async def _boundary(self, _: Answer, __: str) -> Answer:
        report = self._node.reloading.report(self._node.forces.current)
        return msgspec.to_builtins(report)  # type: ignore[no-any-return]

    async def _reconciled(self, params: Answer, _: str) -> Answer:
        try:
            report = msgspec.convert(params.get("report"), Report)
        except msgspec.ValidationError as error:
            raise Misuse(f"the report cannot be read: {shown(str(error)).strip('`')}") from None
        return await self._node.reconciling.keep(report)

    # --- settling --------------------------------------------------------------------------------------------------

    async def _settle_ask(self, params: Answer, user: str) -> Answer:
        return _settlement(await self._node.settling.ask(_text(params, "action"), user))

    async def _settle(self, command: Command) -> Answer:
        applied = _typed(command.parameters, "applied", bool)
        action = _text(command.parameters, "action")
        return _settlement(await self._node.settling.settle(action, applied, command.person.id, command.record))

    async def _undo(self, command: Command) -> Answer:
        action, reason = _text(command.parameters, "action"), _text(command.parameters, "reason")
        moved = await self._node.settling.undo(action, command.person.id, reason, command.record)
        moved = await deciding.settled_down(self._node, moved, self._patience)
        return {**deciding.stands(moved), "undoes": action}

    # --- erasing and pruning ---------------------------------------------------------------------------------------

    async def _erase(self, command: Command) -> Answer:
        ids = _typed(command.parameters, "ids", list)
        if not ids or not all(isinstance(each, str) for each in ids):
            raise Misuse("`ids` must be a list of ids")
        reason, basis = _text(command.parameters, "reason"), _text(command.parameters, "basis")
        erased = await self._node.erasing.erase(ids, command.person.id, reason, basis, command.record)
        return {**msgspec.to_builtins(erased), "by": command.person.id}

    async def _prune(self, params: Answer, _: str) -> Answer:
        due = self._node.retention.due()
        if not _typed(params, "dry_run", bool, False):
            await self._node.retention.prune()
        listed = [{"class": each.payload_class, "before": iso(each.before), "count": each.count} for each in due]
        return {"pruned": listed, "unfinished": self._node.erasing.unfinished}

    # --- signed commands -------------------------------------------------------------------------------------------

    async def _signed(self, params: Answer, _: str) -> Answer:
        command = await signed.accept(self._node, params)
        return await self._with_signature[command.name](command)

    async def _run_open(self, command: Command) -> Answer:
        try:
            order = msgspec.convert(command.parameters, Order)
        except msgspec.ValidationError as error:
            raise Misuse(f"the run cannot be opened: {shown(str(error)).strip('`')}") from None
        run, token = await self._node.runs.open(order, command.person.id, command.record)
        return {**looking.run_line(run, self._node.clock.now()), "token": token, "url": self.url}

    async def _run_close(self, command: Command) -> Answer:
        run = await self._node.runs.close(_text(command.parameters, "run"), command.person.id, command.record)
        return looking.run_line(run, self._node.clock.now())

    async def _resume(self, command: Command) -> Answer:
        ids = _typed(command.parameters, "stops", list, [])
        if not all(isinstance(each, str) for each in ids):
            raise Misuse("`stops` must be a list of ids of stops")
        reason = _text(command.parameters, "reason")
        lifted = await self._node.stop_desk.resume(frozenset(ids), command.person.id, reason, command.record)
        left = [order.id for order in self._node.stops.current.orders]
        return {"lifted": [_lifted(order) for order in lifted], "left": left, "by": command.person.id}

    async def _mend_latch(self, command: Command) -> Answer:
        """A human gives up on a latch that cannot be read. What it held is lost, so everything stays stopped."""
        node, person, reason = self._node, command.person.id, _text(command.parameters, "reason")
        order = mended_order(node.ids.new("stp"), node.clock.now(), person, reason)
        lost = await node.stop_desk.mend(order, command.record)
        return {"stop": order.id, "was": lost, "by": person, "left": [each.id for each in node.stops.current.orders]}

    async def _forgive_clock(self, command: Command) -> Answer:
        """A human has looked at this machine's clock: forget the jump, and lift the hold that it brought."""
        why = self._node.clock.jumped()
        orders = self._node.stops.current.orders
        everything = [each for each in orders if each.automatic and each.scope.kind is ScopeKind.EVERYTHING]
        held = frozenset(each.id for each in everything if each.id != LOG_ID)
        lifted: tuple[StopOrder, ...] = ()
        if held:
            lifted = await self._node.stop_desk.resume(held, command.person.id, why, command.record)
        else:
            await self._node.store.commit(lambda tx: tx.append(command.record))
            self._node.clock.forgive()
        return {"was": why, "by": command.person.id, "lifted": [_lifted(order) for order in lifted]}

    async def _continue_log(self, command: Command) -> Answer:
        """A human accepts that the store is not what the log has signed: begin another log, and keep the old one."""
        return await self._node.continue_log(command.person.id, command.record)

    async def _reload(self, command: Command) -> Answer:
        async with self._changing:
            force = await self._node.reload(command.record)
        return msgspec.to_builtins(self._node.reloading.report(force))  # type: ignore[no-any-return]

    async def _accept_tools(self, command: Command) -> Answer:
        connector = _text(command.parameters, "connector")
        tools = _typed(command.parameters, "tools", dict)
        if not all(isinstance(digest, str) for digest in tools.values()):
            raise Misuse("`tools` must name a digest for each tool")
        definitions = looking.offered(self._node.forces.current, connector, tools.values())
        async with self._changing:
            lock = await self._node.reloading.accept_tools(connector, tools, command.record)
        payloads = [
            Payload(
                id=looking.definition_id(each.digest),
                kind="definition",
                salt=self._node.ids.salt(),
                data=encode(each.raw),
            )
            for each in definitions
        ]

        def keep(tx: Any) -> None:
            for payload in payloads:
                if tx.payload(payload.id) is None:
                    tx.put_payload(payload)

        await self._node.store.commit(keep)
        parked = [tool.name for tool in self._node.forces.current.tools.values() if tool.parked]
        return {"connector": connector, "accepted": dict(lock.tools), "parked": parked}

    async def _accept_inventory(self, command: Command) -> Answer:
        digest = _text(command.parameters, "digest")
        async with self._changing:
            await self._node.reloading.accept_inventory(digest, command.record)
        return {"digest": digest, "targets": len(self._node.forces.current.inventory)}


def told(report: StopReport) -> Answer:
    """What a stop did, as `remit stop` prints it."""
    order = report.order
    return {
        "stop": order.id,
        "mode": order.mode,
        "scope": order.scope.kind,
        "name": order.scope.name,
        "gateway": True,
        "milliseconds": report.milliseconds,
        "severed": list(report.severed),
        "not_sent": list(report.not_sent),
        "collateral": list(report.collateral),
        "may_still_land": [msgspec.to_builtins(each) for each in report.may_still_land],
        "problem": report.problem,
    }


def _lifted(order: StopOrder) -> Answer:
    return {"stop": order.id, "mode": order.mode, "scope": str(order.scope), "by": order.by, "at": iso(order.at)}


def _settlement(settled: Settled) -> Answer:
    return {**deciding.stands(settled.action), "applied": settled.applied, "says": settled.says}


_MISSING: Any = object()


def _typed(params: Answer, name: str, kind: type[T], default: T = _MISSING) -> T:
    value = params.get(name, default)
    if value is _MISSING:
        raise Misuse(f"the command needs `{name}`")
    if not isinstance(value, kind):
        raise Misuse(f"`{name}` is {shown(value)}, expected a {kind.__name__}")
    return value


def _text(params: Answer, name: str, default: str = _MISSING) -> str:
    value = _typed(params, name, str, default)
    if not value and default is _MISSING:
        raise Misuse(f"the command needs `{name}`")
    return value
