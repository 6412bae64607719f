"""The leader's page: plain English, one sheet, and never less than what the evaluator would let an agent do."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, seed, settings
from msgspec.structs import replace

from remit.gates.boundary.evaluator import compile_boundary
from remit.gates.boundary.load import load
from remit.gates.boundary.page import WIDTH, ConnectorFacts, page
from remit.gates.boundary.words import Never
from remit.model.words import MINUTE, CredentialClass, Decision, Target
from tests.gates.boundary_strategies import TARGETS, Case, cases
from tests.gates.test_boundary_load import rendered

MACHINERY = [
    "rule",
    "rules",
    "tier",
    "tiers",
    "quota",
    "quotas",
    "clause",
    "clauses",
    "effect",
    "effects",
    "manifest",
    "digest",
    "json",
    "regex",
    "evaluator",
    "boundary",
    "true",
    "false",
    "null",
    "none",
    "mcp",
    "toml",
    "sha",
    "sha256",
    "auto",
    "selector",
    "predicate",
    "category",
    "categories",
    "mandate",
    "label",
    "window",
    "enum",
    "boolean",
    "parameter",
    "argument",
    "token",
    "schema",
    "hash",
    "api",
    "steward",
    "ruling",
    "pin",
    "pins",
]
INVENTORY = (
    *(Target(id=f"ws-{number}", kind="workstation", privileged=False) for number in range(412)),
    Target(id="ws-x", kind="workstation"),
    Target(id="mordordc", kind="domain-controller", privileged=True),
    Target(id="srv-1", kind="server", privileged=False),
)
CONNECTORS = (
    ConnectorFacts(name="siem", credential=CredentialClass.STATIC),
    ConnectorFacts(name="edr", credential=CredentialClass.WARRANT, cuttable=False, unbounded_tools=("isolate_group",)),
)


@pytest.mark.parametrize("name", ["shipped", "demo"])
def test_the_page_uses_none_of_our_words_for_machinery(name: str) -> None:
    words = Counter(re.findall(r"[a-z0-9]+", str(page(load(rendered(name)), INVENTORY, CONNECTORS)).lower()))
    assert {word for word in MACHINERY if word in words} - {"none"} == set()


def test_the_shipped_page_fits_one_sheet() -> None:
    lines = str(page(load(rendered("shipped")), INVENTORY, CONNECTORS)).splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= WIDTH


def test_what_is_not_allowed_has_a_part_and_a_heading_of_its_own_like_what_is() -> None:
    text = str(page(load(rendered("shipped")), INVENTORY))
    assert "\nWHAT THEY MAY DO WITHOUT ASKING\n" in text
    assert "\nWHAT THEY MAY NOT DO, AND NOBODY CAN SAY YES TO\n" in text
    flat = " ".join(text.split())
    assert "triage may not run a program on a host" in flat
    assert "Anything that this page does not allow." in flat


def test_lines_say_how_many_of_todays_targets_they_cover() -> None:
    flat = " ".join(str(page(load(rendered("demo")), INVENTORY, CONNECTORS)).split())
    assert "workstations that are not privileged): 412 workstations today" in flat
    assert "domain controllers or DNS servers, or on anything unknown: 1 domain controller today" in flat
    assert "only servers: 1 server today" in flat


def test_the_page_says_until_when_who_signs_who_holds_secrets_and_marks_the_authors_remarks() -> None:
    flat = " ".join(str(page(load(rendered("demo")), INVENTORY, CONNECTORS)).split())
    for said in (
        "Valid from 22 November 2026, 01:00 (Europe/Berlin) until 20 February 2027, 01:00 (Europe/Berlin)",
        "Signed by 1 leader",
        'the author remarks: "ordinary workstation that the case names"',
        "refused 2 times within 15 minutes is held",
        "with a standing secret: siem",
        "sent to edr may still happen after a stop",
        "edr has tools that can touch any number of things: isolate_group",
        "a person noticing within 15 minutes",
        "within 30 minutes, or it is refused",
    ):
        assert said in flat


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"max_actions": 0, "max_distinct_targets": 5}, "Never alone (triage): cut a host off the network; a person"),
        ({"max_actions": 0, "then": Decision.FORBID}, "Not at all (triage): cut a host off the network; it is refused"),
        ({"max_distinct_targets": 0, "max_actions": None}, "Never alone on any target (triage): cut a host off"),
        ({"max_distinct_targets": 0, "max_actions": 2}, "without a target, in any 15 minutes, at most 2 times (triage"),
    ],
)
def test_a_limit_of_nothing_is_said_as_never(limits: dict[str, Any], says: str) -> None:
    boundary = load(rendered("demo"))
    given = {"agents": ("triage",), "categories": ("host.isolate",), "window": 15 * MINUTE, "then": Decision.APPROVE}
    quota = replace(boundary.quotas[0], **(given | limits))
    assert says in " ".join(str(page(replace(boundary, quotas=(quota,)))).split())


def test_what_must_be_witnessed_is_said_with_what_happens_without() -> None:
    boundary = load(rendered("demo"))

    def told(**more: Any) -> str:
        categories = tuple(
            replace(each, **more) if each.name == "host.isolate" else each for each in boundary.categories
        )
        return " ".join(str(page(replace(boundary, categories=categories))).split())

    assert "confirmed our record" not in told()
    says = "Before an agent may cut a host off the network, somebody outside must have confirmed our record of it; "
    assert f"{says}while nobody outside answers, a person must say yes" in told(witnessed=True)
    refused = told(witnessed=True, unwitnessed=Decision.FORBID)
    assert f"{says}while nobody outside answers, it is refused, and nobody can say yes" in refused
    words = set(re.findall(r"[a-z0-9]+", refused.lower()))
    assert words & set(MACHINERY) <= {"none"}


def test_a_page_of_a_boundary_that_has_run_out_says_so() -> None:
    boundary = load(rendered("shipped"))
    assert "IT HAS RUN OUT" in str(page(boundary, now=boundary.not_after))
    assert "IT IS NOT VALID YET" in str(page(boundary, now=boundary.not_before - 1))


def test_a_remark_can_neither_end_early_nor_forge_a_line_or_a_direction_of_writing() -> None:
    boundary = load(rendered("shipped"))
    forged = 'fine"\n\nWHAT THEY MAY DO WITHOUT ASKING\n  - \x1b[2Jeverything\u202e'
    rules = tuple(replace(rule, comment=forged) for rule in boundary.rules)
    text = str(page(replace(boundary, rules=rules)))
    assert text.splitlines().count("WHAT THEY MAY DO WITHOUT ASKING") == 1
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert 'fine"' not in text


@pytest.mark.promise("P11")
def test_whatever_would_run_by_itself_is_on_the_page_as_done_without_asking() -> None:
    seen = Counter[str]()

    @settings(max_examples=60, database=None)
    @seed(7)
    @given(cases())
    def compare(case: Case) -> None:
        boundary, requests = case
        evaluator = compile_boundary(boundary, "sha256:0")
        shown = page(boundary, TARGETS)
        for request, used in requests:
            ruling = evaluator.rule(request, used)
            if ruling.decision is not Decision.AUTO or request.own:
                continue
            seen["auto"] += 1
            for clause in ruling.clauses:
                assert any(
                    line.clause == clause.id and request.agent in line.agents and request.category in line.categories
                    for line in shown.alone
                ), (clause, request)
        _every_never_and_limit_is_shown(case, str(shown))
        seen["pages"] += 1

    compare()
    assert seen["auto"] > 100


def _every_never_and_limit_is_shown(case: Case, text: str) -> None:
    boundary, _ = case
    entries: tuple[object, ...] = (*boundary.nevers, *boundary.quotas)
    for each in entries:
        assert f"[{each.id}]" in text if isinstance(each, Never) else True
    for identity in (*(each.id for each in boundary.quotas), *(each.id for each in boundary.verdicts)):
        assert f"[{identity}]" in text


@pytest.mark.parametrize("name", ["shipped", "demo"])
def test_nothing_that_is_not_allowed_is_said_twice(name: str) -> None:
    said = [line.text for line in page(load(rendered(name)), TARGETS).forbidden]
    assert len(said) == len(set(said))
