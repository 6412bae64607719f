"""Which verdicts of agents a person must agree to: the file, the ruling and its reference, the page, and changes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, seed, settings
from msgspec.structs import replace

from remit.gates.boundary import reference
from remit.gates.boundary.changes import widens
from remit.gates.boundary.load import BoundaryNotValid, load
from remit.gates.boundary.page import page
from remit.gates.boundary.verdicts import rule_verdict
from remit.gates.boundary.words import Boundary, Selector
from remit.model.words import MINUTE, VERDICTS, Ask, Decision, Target
from tests.flow.home import VERDICT, Files
from tests.gates.boundary_strategies import AGENTS, Case, cases

SERVER = Target(id="SRV-1", kind="server", privileged=False)
WORKSTATION = Target(id="WS-1", kind="workstation", privileged=False)


def boundary(text: str = VERDICT) -> Boundary:
    return load(Files(values={"rules": text}).boundary_bytes())


def asked(given: Boundary, verdict: str, *targets: Target, agent: str = "triage") -> list[str]:
    """The clauses that ask a person about a verdict."""
    ruling = rule_verdict(given, "sha256:0", agent, verdict, targets)
    return [clause.id for clause in ruling.clauses if ruling.decision is Decision.APPROVE]


@seed(20261122)
@settings(max_examples=300, database=None, deadline=None)
@given(cases())
def test_the_ruling_on_a_verdict_is_always_that_of_the_naive_reference(case: Case) -> None:
    given_boundary, requests = case
    for request, _ in requests:
        for verdict in VERDICTS:
            for agent in AGENTS:
                ruling = rule_verdict(given_boundary, "sha256:0", agent, verdict, request.targets)
                expected = reference.rule_verdict(given_boundary, agent, verdict, request.targets)
                assert ruling.decision is expected.decision
                assert {clause.id for clause in ruling.clauses} == expected.clauses
                assert ruling.ask == expected.ask
                SEEN[ruling.decision] += 1


SEEN: Counter[Decision] = Counter()


def test_the_comparison_saw_every_decision_often() -> None:
    if not SEEN:
        test_the_ruling_on_a_verdict_is_always_that_of_the_naive_reference()
    assert all(SEEN[each] > 100 for each in Decision), SEEN


@pytest.mark.parametrize(
    ("targets", "waits"),
    [
        ((SERVER,), True),
        ((WORKSTATION, SERVER), True),
        ((WORKSTATION,), False),
        ((), True),
        ((replace(WORKSTATION, kind=None),), True),
        ((Target(id="unknown:x", known=False),), True),
    ],
)
def test_any_target_that_matches_or_may_match_is_enough(targets: tuple[Target, ...], waits: bool) -> None:
    assert asked(boundary(), "benign", *targets) == (["V-1"] if waits else [])


def test_other_verdicts_and_other_agents_are_not_asked_about() -> None:
    assert asked(boundary(), "malicious", SERVER) == asked(boundary(), "undetermined", SERVER) == []
    assert asked(boundary(), "benign", SERVER, agent="hunt") == []
    everyone = boundary(VERDICT.replace('agents = ["triage"]', 'agents = ["*"]'))
    assert asked(everyone, "benign", SERVER, agent="hunt") == ["V-1"]


def test_what_is_asked_is_what_the_file_says_and_several_are_asked_together() -> None:
    more = (
        VERDICT
        + "quorum = 2\n"
        + (
            '[[verdict]]\nid = "V-2"\nagents = ["*"]\nverdicts = ["benign", "undetermined"]\nthen = "approve"\n'
            'approvers = ["approver", "leader"]\nanswer_within = "10m"\n'
        )
    )
    ruling = rule_verdict(boundary(more), "sha256:0", "triage", "benign", [SERVER])
    assert [clause.id for clause in ruling.clauses] == ["V-1", "V-2"]
    assert ruling.ask == Ask(quorum=2, roles=("approver",), answer_within=10 * MINUTE)
    nobody = boundary(more.replace('["approver", "leader"]', '["leader"]'))
    assert rule_verdict(nobody, "", "triage", "benign", [SERVER]).decision is Decision.FORBID


@pytest.mark.parametrize(
    ("was", "becomes", "path"),
    [
        ('then = "approve"\ncomment', 'then = "auto"\ncomment', "verdict[V-1].then"),
        ('then = "approve"\ncomment', 'then = "forbid"\ncomment', "verdict[V-1].then"),
        ('["benign"]', '["harmless"]', "verdict[V-1].verdicts"),
        ('["benign"]', "[]", "verdict[V-1].verdicts"),
        ('["triage"]\nverdicts', '["nobody"]\nverdicts', "verdict[V-1].agents"),
        ('{ tier = ["critical"] }', '{ tier = ["worst"] }', "verdict[V-1].targets.tier"),
        ('{ tier = ["critical"] }', "{}", "verdict[V-1].targets"),
        ('id = "V-1"', 'id = "ISO-1"', "id"),
        ('id = "V-1"', 'id = "verdict"', "id"),
        ('comment = "looked at twice"', "why = 1", "why"),
    ],
)
def test_everything_that_is_wrong_in_a_verdict_is_told(was: str, becomes: str, path: str) -> None:
    assert was in VERDICT
    with pytest.raises(BoundaryNotValid) as caught:
        boundary(VERDICT.replace(was, becomes))
    assert any(path.rpartition(".")[2] in problem.path for problem in caught.value.problems), caught.value.problems


def test_the_page_says_which_conclusions_wait_for_a_person_and_about_how_many_things() -> None:
    text = " ".join(str(page(boundary(), [SERVER, WORKSTATION])).split())
    _, _, asking = text.partition("WHAT THEY MAY DO AFTER A PERSON SAYS YES")
    asking, _, _ = asking.partition("WHAT THEY MAY NOT DO")
    assert "triage may conclude that a case is benign; only where the case is about things" in asking
    assert "(servers), or about anything unknown: 1 server today" in asking
    assert 'the author remarks: "looked at twice" [V-1]' in asking
    assert "V-1" not in str(page(boundary(""), [SERVER]))


def test_dropping_or_weakening_a_verdict_widens_and_adding_one_only_tightens() -> None:
    with_it = boundary()
    (verdict,) = with_it.verdicts
    without = replace(with_it, version=2, verdicts=())
    assert widens(with_it, without) and not widens(without, replace(with_it, version=3))
    for weaker in (
        replace(verdict, verdicts=("malicious",)),
        replace(verdict, agents=("hunt",)),
        replace(verdict, targets=Selector(kind=("dns",))),
        replace(verdict, ask=replace(verdict.ask, owner_may_approve=True)),
    ):
        assert widens(with_it, replace(with_it, verdicts=(weaker,)))
