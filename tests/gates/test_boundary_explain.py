"""Explanations: every clause accounted for, and every change told was tried and makes the ruling less strict."""

from __future__ import annotations

import pytest
from hypothesis import given, seed, settings
from msgspec.structs import replace

from remit.gates.boundary.evaluator import compile_boundary
from remit.gates.boundary.explain import Explanation, explain
from remit.gates.boundary.load import load
from remit.gates.boundary.words import BUILT_IN, Request
from remit.model.words import STRICTNESS, Decision, Effect, Mandate, Target, Used
from tests.gates.boundary_strategies import Case, cases
from tests.gates.test_boundary_load import AT, rendered

WORKSTATION = Target(id="ws-1", kind="workstation", privileged=False)
BASE = Request(
    agent="triage",
    category="host.isolate",
    effect=Effect.CHANGE,
    connector="edr",
    tool="isolate_host",
    at=AT,
    targets=(WORKSTATION,),
    mandate=Mandate(("ws-1",), ("*",)),
)
UNUSED = {"Q-READ": Used(), "Q-ISO": Used()}


def explained(request: Request, used: dict[str, Used] | None = None) -> Explanation:
    """The explanation under the demo's boundary."""
    return explain(compile_boundary(load(rendered("demo")), "sha256:0"), request, UNUSED if used is None else used)


@pytest.mark.promise("P11")
def test_a_domain_controller_is_refused_by_name_of_clause_and_with_what_would_change_it() -> None:
    found = explained(replace(BASE, targets=(replace(WORKSTATION, kind="domain-controller"),)))
    assert found.decision is Decision.FORBID
    assert {clause.id for clause in found.deciding} == {"N-DC", "ISO-4"}
    changes = {change.what: change.decision for change in found.changes}
    assert changes["`ws-1` were of the kind `workstation`"] is Decision.AUTO
    assert changes["`ws-1` were of the kind `server`"] is Decision.APPROVE


@pytest.mark.promise("P11")
def test_an_action_outside_the_mandate_says_that_the_mandate_would_have_to_name_it() -> None:
    found = explained(replace(BASE, mandate=Mandate((), ("*",))))
    assert [clause.id for clause in found.deciding] == ["mandate"]
    assert {change.what: change.decision for change in found.changes}[
        "the targets were in the mandate of the run"
    ] is Decision.AUTO


def test_a_spent_limit_says_that_it_would_have_to_be_unspent() -> None:
    spent = Used(frozenset(f"ws-{number}" for number in range(2, 7)), 5)
    found = explained(BASE, {**UNUSED, "Q-ISO": spent})
    assert [clause.id for clause in found.deciding] == ["Q-ISO"]
    assert "nothing had been counted yet under `Q-ISO`" in {change.what for change in found.changes}


def test_a_clause_that_does_not_apply_says_which_part_does_not_match() -> None:
    considered = {each.id: each for each in explained(BASE).considered}
    assert considered["ISO-1"].applies
    assert not considered["ISO-2"].applies
    assert "kind" in considered["ISO-2"].because
    assert "`server`" in considered["ISO-2"].because
    assert "not about `host.isolate`" in considered["READ-1"].because
    assert "it leaves reads alone" not in considered["N-DC"].because


def test_every_clause_is_accounted_for_and_every_change_is_a_relaxation() -> None:
    told = 0

    @settings(max_examples=40, database=None)
    @seed(11)
    @given(cases(requests=4))
    def check(case: Case) -> None:
        nonlocal told
        boundary, requests = case
        evaluator = compile_boundary(boundary, "sha256:0")
        ids = {each.id for group in (boundary.rules, boundary.nevers, boundary.quotas) for each in group}
        for request, used in requests:
            found = explain(evaluator, request, used)
            assert found.ruling == evaluator.rule(request, used)
            considered = {each.id: each for each in found.considered}
            assert ids <= set(considered) <= ids | set(BUILT_IN) | {clause.id for clause in request.held}
            assert {clause.id for clause in found.deciding} <= {each.id for each in found.considered if each.applies}
            assert all(each.because for each in found.considered)
            assert all(STRICTNESS[each.decision] < STRICTNESS[found.decision] for each in found.changes)
            told += len(found.changes)

    check()
    assert told > 50
