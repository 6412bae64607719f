"""What people look at: the state of a home, its runs, its connectors, its inventory. Nothing here changes anything.

What lives here: turning facts into answers. The functions that take `Reads` work without a gateway as well.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from remit.doors.control.side import NodeSide
from remit.doors.control.times import iso
from remit.flow.force import Force, Tool
from remit.flow.lifecycle import unsettled
from remit.flow.loading import Accepted, expiry_warning
from remit.flow.ports import Reads
from remit.flow.query import Query
from remit.flow.reconciling import reconciled_status
from remit.flow.reloading import BOUNDARY, BOUNDARY_FILE, INVENTORY
from remit.gates.boundary.load import load
from remit.gates.stop import Latch
from remit.model.canonical import sha256_hex
from remit.model.inventories import InventoryChange, compare_inventories
from remit.model.targets import load_inventory
from remit.model.words import Action, Definition, Instant, Json, Run, State

MOST = 100_000


def status(node: NodeSide) -> dict[str, Json]:
    """The whole state, as the running node sees it."""
    now = node.clock.now()
    force = node.forces.current
    report = node.reloading.report(force)
    found = at_rest(node.store.reads, node.stops.current, now)
    found["boundary"] |= {"signers": list(report.signers), "warning": report.warning}
    return found | {
        "gateway": True,
        "home": node.identity.id,
        "practice": node.identity.practice,
        "connectors": [
            {"connector": name, "state": health.state, "reason": health.reason}
            for name, health in sorted(node.pool.statuses().items())
        ],
        "parked": list(report.parked),
        "inventory_waits": list(report.inventory_waits),
        "clock": node.clock.jumped(),
        "store": node.store.healthy,
        "log": log_line(node),
    }


def log_line(node: NodeSide) -> dict[str, Json]:
    """How far the provable log is: entries under its newest checkpoint, when that was published, what is wrong."""
    state = node.log.state
    return {
        "origin": state.origin,
        "size": state.size,
        "records": node.store.reads.counts()["records"],
        "signed": iso(state.signed_at) if state.signed_at else "",
        "trouble": node.log.trouble(),
        "witnesses": _witnesses(node),
    }


def _witnesses(node: NodeSide) -> dict[str, Json]:
    """Who cosigns the log, up to which size enough of them have, and who is away."""
    state = node.witnesses.state
    each: list[Json] = [
        {"name": one.name, "url": one.url, "size": one.size, "away": one.away} for one in state.witnesses
    ]
    return {"quorum": state.quorum, "size": state.size, "away": node.witnesses.away() if each else "", "each": each}


def at_rest(reads: Reads, latch: Latch, now: Instant) -> dict[str, Json]:
    """The state that can be told from the store and the latch alone."""
    held = reads.actions(Query(states=(State.WAITING, State.UNKNOWN, State.CUT), limit=MOST))
    held.sort(key=lambda action: (action.opened_at, action.id))
    return {
        "gateway": False,
        "now": iso(now),
        "stops": [_order(latch, index) for index in range(len(latch.orders))],
        "blind": latch.blind,
        "boundary": _boundary_in_force(reads, now),
        "waiting": [brief(action) for action in held if action.state is State.WAITING],
        "unsettled": [brief(action) for action in held if unsettled(action)],
        "runs": [run_line(run, now) for run in reads.runs(open_only=True) if now < run.expires_at],
        "connectors": [],
        "parked": [],
        "inventory_waits": [],
        "clock": "",
        "store": "",
        "reconciled": _reconciled(reads),
        "log": None,
        "counts": reads.counts(),
    }


def _reconciled(reads: Reads) -> list[dict[str, Json]]:
    """When each connector of the boundary in force was last compared with its own trail."""
    file = reads.fact(BOUNDARY_FILE)
    pins = list(load(file).pins) if file is not None else []
    return [
        each | {"at": iso(each["at"]) if each["at"] is not None else None} for each in reconciled_status(reads, pins)
    ]


def _order(latch: Latch, index: int) -> dict[str, Json]:
    order = latch.orders[index]
    return {
        "stop": order.id,
        "mode": order.mode,
        "scope": str(order.scope),
        "by": order.by,
        "at": iso(order.at),
        "reason": order.reason,
        "automatic": order.automatic,
    }


def _boundary_in_force(reads: Reads, now: Instant) -> dict[str, Json]:
    fact, file = reads.fact(BOUNDARY), reads.fact(BOUNDARY_FILE)
    if fact is None or file is None:
        return {"name": "", "version": 0, "digest": "", "signers": [], "warning": "", "not_after": ""}
    boundary = load(file)
    return {
        "name": boundary.name,
        "version": boundary.version,
        "digest": msgspec.json.decode(fact, type=Accepted).digest,
        "signers": [],
        "warning": expiry_warning(boundary, now),
        "not_after": iso(boundary.not_after),
    }


def brief(action: Action) -> dict[str, Json]:
    """One action in a list."""
    return {
        "action": action.id,
        "state": action.state,
        "agent": action.agent,
        "case": action.case,
        "connector": action.connector,
        "tool": action.tool,
        "category": action.category,
        "effect": action.effect,
        "targets": list(action.targets),
        "opened": iso(action.opened_at),
        "expires": iso(action.expires_at),
        "outcome": action.outcome,
    }


def runs(reads: Reads, now: Instant, *, every: bool) -> dict[str, Json]:
    """The runs: those that are open, or all. Never a token, and never what a token hashes to."""
    found = reads.runs(open_only=not every)
    return {"runs": [run_line(run, now) for run in found if every or now < run.expires_at]}


def run_line(run: Run, now: Instant) -> dict[str, Json]:
    """One run in a list."""
    state = "closed" if run.closed_at is not None else "expired" if now >= run.expires_at else "open"
    return {
        "run": run.id,
        "state": state,
        "agent": run.agent,
        "case": run.case,
        "opened_by": run.opened_by,
        "opened": iso(run.opened_at),
        "expires": iso(run.expires_at),
        "closed": iso(run.closed_at),
        "closed_by": run.closed_by,
        "targets": list(run.mandate.targets),
        "categories": list(run.mandate.categories),
        "calls": run.calls,
        "max_calls": run.max_calls,
        "verdict": run.verdict,
        "client": run.client,
        "label": {"integrity": run.label.integrity, "confidentiality": run.label.confidentiality},
    }


def connectors(node: NodeSide) -> dict[str, Json]:
    """Every connector with its tools, what parks them, and the definitions that were accepted and are offered."""
    force = node.forces.current
    statuses = node.pool.statuses()
    listed = []
    for name, manifest in sorted(force.manifests.items()):
        health = statuses.get(name)
        tools = [tool for tool in force.tools.values() if tool.connector == name]
        listed.append(
            {
                "connector": name,
                "state": health.state if health else "down",
                "reason": health.reason if health else "it does not run",
                "restarts": health.restarts if health else 0,
                "transport": manifest.transport,
                "credential": manifest.credential.kind,
                "cuttable": manifest.cuttable,
                "digest": manifest.digest,
                "pinned": force.boundary.pins.get(name, ""),
                "stderr": node.pool.stderr_tail(name) if health is None or health.state != "up" else "",
                "tools": [_tool(node.store.reads, tool) for tool in sorted(tools, key=lambda tool: tool.name)],
            }
        )
    return {"home": node.identity.id, "now": node.clock.now(), "connectors": listed}


def definition_id(digest: str) -> str:
    """The name of the payload that keeps an accepted definition, so that a later one can be compared with it."""
    return f"definition.{digest}"


def _tool(reads: Reads, tool: Tool) -> dict[str, Json]:
    changed = bool(tool.accepted) and tool.accepted != tool.definition.digest
    before = reads.payload(definition_id(tool.accepted)) if changed else None
    return {
        "tool": tool.definition.name,
        "shown_as": tool.name,
        "category": tool.manifest.category or "",
        "effect": tool.manifest.effect or "",
        "classified": tool.manifest.classified,
        "parked": tool.parked,
        "accepted": tool.accepted,
        "offered": tool.definition.digest,
        "definition": tool.definition.raw,
        "accepted_definition": msgspec.json.decode(before.data) if before else None,
    }


def offered(force: Force, connector: str, digests: Iterable[str]) -> list[Definition]:
    """The definitions that a connector offers now whose digests are among these."""
    wanted = set(digests)
    tools = [tool for tool in force.tools.values() if tool.connector == connector]
    return [tool.definition for tool in tools if tool.definition.digest in wanted]


def inventory(reads: Reads, data: bytes) -> dict[str, Json]:
    """What an inventory file would change. Raises `Unreadable` for a file that is none."""
    new = load_inventory(data)
    accepted = reads.fact(INVENTORY)
    change = compare_inventories(load_inventory(accepted), new) if accepted else InventoryChange((), ())
    kinds: dict[str, int] = {}
    for target in new.targets:
        kinds[target.kind or "of no known kind"] = kinds.get(target.kind or "of no known kind", 0) + 1
    return {
        "digest": sha256_hex(data),
        "in_force": sha256_hex(accepted) if accepted is not None else "",
        "targets": len(new),
        "kinds": kinds,
        "tightening": list(change.tightening),
        "loosening": list(change.loosening),
    }
