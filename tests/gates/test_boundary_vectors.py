"""The named cases in `tests/vectors/boundary`, which another language could run, by the evaluator and the reference."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from remit.gates.boundary import reference
from remit.gates.boundary.evaluator import compile_boundary
from remit.gates.boundary.load import digest_of, load
from remit.gates.boundary.words import Request
from remit.model.reading import instant
from remit.model.words import SECOND, Clause, CredentialClass, Decision, Effect, Label, Mandate, Target, Used

FOLDER = Path(__file__).parents[1] / "vectors" / "boundary"
DATA = (FOLDER / "boundary.toml").read_bytes()
INVENTORY = {each.id: each for each in msgspec.json.decode((FOLDER / "inventory.json").read_bytes(), type=list[Target])}
CASES = [
    pytest.param(case, id=f"{path.stem}: {case['name']}")
    for path in sorted(FOLDER.glob("*.json"))
    if path.stem != "inventory"
    for case in json.loads(path.read_text())["cases"]
]


def request_of(case: dict[str, Any]) -> Request:
    """The request of a case, with the defaults that its file names."""
    targets = tuple(INVENTORY[name] for name in case.get("targets", ()))
    mandate = case.get("mandate", {"targets": [target.id for target in targets], "categories": ["*"]})
    held = [Clause(each["id"], Decision(each["then"]), "held") for each in case.get("held", ())]
    return Request(
        agent=case.get("agent", "triage"),
        category=case["category"],
        effect=Effect(case.get("effect", "change")),
        connector=case.get("connector", "edr"),
        tool="t",
        at=instant(datetime.datetime.fromisoformat(case.get("at", "2026-05-04T10:00:00Z"))),
        credential=CredentialClass(case.get("credential", "warrant")),
        targets=targets,
        bounded=case.get("bounded", True),
        mandate=None if mandate is None else msgspec.convert(mandate, Mandate),
        label=msgspec.convert(case.get("label", {}), Label),
        own=case.get("own", False),
        unclassified=case.get("unclassified", False),
        unwitnessed=case.get("unwitnessed", False),
        held=tuple(held),
    )


@pytest.mark.parametrize("case", CASES)
def test_named_case_is_ruled_as_its_file_says(case: dict[str, Any]) -> None:
    boundary = load(DATA)
    request = request_of(case)
    unused = {quota.id: Used() for quota in boundary.quotas}
    used = msgspec.convert(case["used"], dict[str, Used]) if "used" in case else unused
    ruling = compile_boundary(boundary, digest_of(DATA)).rule(request, used)
    expected = case["expect"]
    assert {"decision": ruling.decision, "clauses": sorted(clause.id for clause in ruling.clauses)} == {
        "decision": expected["decision"],
        "clauses": expected["clauses"],
    }
    assert ruling.boundary == digest_of(DATA)
    if "ask" in expected:
        assert ruling.ask is not None
        shown = msgspec.to_builtins(ruling.ask)
        seconds = ruling.ask.answer_within // SECOND
        assert {**shown, "roles": list(ruling.ask.roles), "answer_within": seconds} == expected["ask"]
    answer = reference.rule(boundary, request, used)
    assert answer.decision is ruling.decision
    assert answer.clauses == {clause.id for clause in ruling.clauses}
    assert answer.ask == ruling.ask
