"""Actions, runs and records to write, with everything but the point of a test filled in."""

from __future__ import annotations

from typing import Any

from remit.model.words import (
    Action,
    Claim,
    Clause,
    Confidentiality,
    Decision,
    Effect,
    Evidence,
    Integrity,
    Label,
    Mandate,
    Payload,
    Record,
    Ruling,
    Run,
    State,
    Window,
)

RULING = Ruling(decision=Decision.AUTO, clauses=(Clause("ISO-1", Decision.AUTO, "ordinary workstation"),))


def record(kind: str = "proposal", at: int = 1, **fields: Any) -> Record:
    return Record(kind=kind, at=at, data=f'{{"kind":"{kind}","at":{at}}}'.encode(), **fields)


def action(name: str = "act_1", **changes: Any) -> Action:
    fields: dict[str, Any] = {
        "id": name,
        "revision": 1,
        "state": State.EXECUTING,
        "agent": "triage",
        "run": "run_1",
        "case": "case-1",
        "connector": "edr",
        "tool": "isolate_host",
        "category": "host.isolate",
        "effect": Effect.CHANGE,
        "definition": "d" * 64,
        "targets": ("WS-1",),
        "bounded": True,
        "digest": "e" * 64,
        "fingerprint": f"fp-{name}",
        "proposal": f"pay_{name}",
        "ruling": RULING,
        "opened_at": 1,
    }
    return Action(**(fields | changes))


def claim(name: str = "act_1", target: str = "WS-1", **changes: Any) -> Claim:
    fields: dict[str, Any] = {"action": name, "agent": "triage", "category": "host.isolate", "target": target}
    return Claim(**(fields | {"start": 1} | changes))


def run(name: str = "run_1", **changes: Any) -> Run:
    fields: dict[str, Any] = {
        "id": name,
        "agent": "triage",
        "case": "case-1",
        "opened_by": "ann",
        "opened_at": 1,
        "expires_at": 10**12,
        "mandate": Mandate(("WS-1",), ("host.isolate",)),
        "token_hash": f"hash-{name}",
    }
    return Run(**(fields | changes))


def evidence(name: str = "ev_1", **label: Any) -> Evidence:
    fields = {"integrity": Integrity.THIRD_PARTY, "confidentiality": Confidentiality.INTERNAL, "source": "siem"}
    return Evidence(
        id=name, run="run_1", action="act_1", at=1, digest="0" * 64, label=Label(**(fields | label)), payload="pay_e"
    )


def payload(name: str = "pay_1", data: bytes = b"{}") -> Payload:
    return Payload(id=name, kind="proposal", salt=b"s" * 16, data=data)


def window(since: int = 0, *categories: str, agents: tuple[str, ...] = ()) -> Window:
    return Window("Q", agents, categories or ("host.isolate",), since)
