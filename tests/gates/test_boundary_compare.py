"""The evaluator and its naive reference agree on random boundaries and requests (DESIGN.md section 5, semantics)."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, seed, settings

from remit.gates.boundary import reference
from remit.gates.boundary.evaluator import compile_boundary
from remit.gates.boundary.words import BUILT_IN
from remit.model.words import Decision
from tests.gates.boundary_strategies import REQUESTS_PER_BOUNDARY, Case, cases

LEAST_SHARE = 0.08
"""Of all comparisons each decision must make up at least this share, or the comparison would say little."""


@pytest.mark.timeout(0)  # the number of comparisons bounds it
def test_evaluator_and_reference_always_give_the_same_decision_clauses_and_ask(comparisons: int) -> None:
    decisions: Counter[Decision] = Counter()
    clauses: Counter[str] = Counter()

    @settings(max_examples=-(-comparisons // REQUESTS_PER_BOUNDARY), database=None)
    @seed(20261122)
    @given(cases())
    def compare(case: Case) -> None:
        boundary, requests = case
        evaluator = compile_boundary(boundary, "sha256:0")
        for request, used in requests:
            ruling = evaluator.rule(request, used)
            expected = reference.rule(boundary, request, used)
            ids = [clause.id for clause in ruling.clauses]
            assert ruling.decision is expected.decision, (request, used, ruling, expected)
            assert set(ids) == expected.clauses, (request, used, ruling, expected)
            assert len(ids) == len(set(ids))
            assert all(clause.then is ruling.decision for clause in ruling.clauses)
            assert ruling.ask == expected.ask
            decisions[ruling.decision] += 1
            clauses.update(
                f"{ruling.decision}:{'R-' if each.startswith('R-') else each[:2] if each[:2] in ('N-', 'Q-') else each}"
                for each in ids
            )

    compare()
    total = sum(decisions.values())
    assert total >= comparisons
    assert {each: count / total for each, count in decisions.items() if count / total < LEAST_SHARE} == {}
    assert not expected_kinds() - set(clauses), f"never seen: {expected_kinds() - set(clauses)}"


def expected_kinds() -> set[str]:
    """Every kind of clause with every decision that it can make."""
    forbid = {
        "agent",
        "approvers",
        "category",
        "credential",
        "effect",
        "mandate",
        "no-rule",
        "not-yet-valid",
        "remit",
        "static",
        "unclassified",
        "unsettled",
        "witness",
        "N-",
        "Q-",
        "R-",
    }
    approve = {
        "expiry",
        "label",
        "mandate",
        "review",
        "unbounded",
        "unknown-target",
        "unsettled",
        "witness",
        "Q-",
        "R-",
    }
    assert set(BUILT_IN) <= forbid | approve | {"verdict"}  # which is about no action
    return (
        {f"{Decision.FORBID}:{each}" for each in forbid}
        | {f"{Decision.APPROVE}:{each}" for each in approve}
        | {f"{Decision.AUTO}:remit", f"{Decision.AUTO}:R-"}
    )
