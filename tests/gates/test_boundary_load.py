"""Loading a boundary: what comes out, and that everything wrong is named at once with where and what was meant."""

from __future__ import annotations

import datetime

import pytest

from remit.gates.boundary.defaults import pins, places, render, template
from remit.gates.boundary.evaluator import compile_boundary
from remit.gates.boundary.load import BoundaryNotValid, digest_of, load
from remit.gates.boundary.words import Hours, LabelLimit, Request, Selector
from remit.model.errors import Misuse
from remit.model.reading import Problem, instant
from remit.model.words import MINUTE, Ask, Decision, Effect, Integrity, Mandate, Target, Used

VALUES = {
    "name": "soc",
    "not_before": "2026-11-22T00:00:00Z",
    "not_after": "2027-02-20T00:00:00Z",
    "timezone": "Europe/Berlin",
    "pins": pins({"edr": "sha256:" + "0" * 64, "siem": "sha256:" + "1" * 64}),
    "agent": "triage",
    "owner": "soc-lead@example.com",
    "review_by": "2027-01-15",
}
AT = instant(datetime.datetime(2026, 12, 1, 10, tzinfo=datetime.UTC))


def rendered(name: str) -> bytes:
    """A template with its places filled in."""
    text = template(name)
    return render(text, {place: VALUES[place] for place in places(text)})


def problems(data: bytes) -> dict[str, Problem]:
    """What is wrong in a boundary, by key path."""
    with pytest.raises(BoundaryNotValid) as caught:
        load(data)
    assert isinstance(caught.value, Misuse)
    return {problem.path: problem for problem in caught.value.problems}


@pytest.mark.parametrize("name", ["shipped", "demo"])
def test_templates_load_and_keep_what_was_filled_in(name: str) -> None:
    boundary = load(rendered(name))
    assert boundary.agents[0].name == "triage"
    assert boundary.agents[0].review_by == datetime.date(2027, 1, 15)
    assert boundary.pins == {"edr": "sha256:" + "0" * 64, "siem": "sha256:" + "1" * 64}
    assert {category.name for category in boundary.categories} >= {
        "evidence.read",
        "case.read",
        "host.isolate",
        "host.release",
        "host.script",
        "account.disable",
        "account.enable",
        "account.delete",
        "firewall.block",
        "firewall.unblock",
    }


@pytest.mark.parametrize(
    ("name", "category", "effect", "target", "decision"),
    [
        ("shipped", "evidence.read", Effect.READ, Target(id="x", kind="server"), Decision.AUTO),
        ("shipped", "host.isolate", Effect.CHANGE, Target(id="x", kind="server"), Decision.APPROVE),
        ("shipped", "account.disable", Effect.CHANGE, Target(id="soc-1", kind="account"), Decision.FORBID),
        ("shipped", "account.delete", Effect.DESTROY, Target(id="x", kind="account"), Decision.FORBID),
        ("shipped", "message.send", Effect.SEND, Target(id="x"), Decision.FORBID),
        (
            "demo",
            "host.isolate",
            Effect.CHANGE,
            Target(id="x", kind="workstation", privileged=False),
            Decision.AUTO,
        ),
        ("demo", "host.isolate", Effect.CHANGE, Target(id="x", kind="domain-controller"), Decision.FORBID),
        ("demo", "account.disable", Effect.CHANGE, Target(id="x", kind="account"), Decision.APPROVE),
        ("demo", "firewall.block", Effect.CHANGE, Target(id="unknown:9.9.9.9", known=False), Decision.APPROVE),
        ("demo", "host.script", Effect.DESTROY, Target(id="x", kind="workstation"), Decision.FORBID),
    ],
)
def test_templates_rule_as_they_promise(
    name: str, category: str, effect: Effect, target: Target, decision: Decision
) -> None:
    boundary = load(rendered(name))
    request = Request(
        agent="triage",
        category=category,
        effect=effect,
        connector="edr",
        tool="t",
        at=AT,
        targets=(target,),
        mandate=Mandate((target.id,), ("*",)),
    )
    used = {quota.id: Used() for quota in boundary.quotas}
    assert compile_boundary(boundary, "sha256:0").rule(request, used).decision is decision


def test_a_value_that_would_not_stay_in_its_place_is_refused() -> None:
    text = template("shipped")
    with pytest.raises(Misuse, match="owner"):
        render(text, {**VALUES, "owner": 'x"\nreview_by = 2099-01-01 # '})
    with pytest.raises(Misuse, match="no value for `pins`"):
        render(text, {name: value for name, value in VALUES.items() if name != "pins"})


def test_the_digest_is_of_the_exact_bytes() -> None:
    assert digest_of(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest_of(b"a\n") != digest_of(b"a\r\n")


def test_fields_of_a_rule_are_read_with_the_boundary_wide_defaults_under_them() -> None:
    extra = b"""
[[rule]]
id = "X-1"
then = "auto"
agents = ["triage"]
categories = ["host.isolate"]
targets = { kind = ["server"], names = ["web-*"] }
hours = "22:00-06:00"
label = { integrity = "system-of-record" }
quorum = 2
approvers = ["leader"]
"""
    rule = load(rendered("demo") + extra).rules[-1]
    assert rule.targets == Selector(kind=("server",), names=("web-*",))
    assert rule.hours == Hours(22 * 60, 6 * 60)
    assert rule.label == LabelLimit(integrity=Integrity.SYSTEM_OF_RECORD)
    assert rule.ask == Ask(quorum=2, roles=("leader",), answer_within=30 * MINUTE)


@pytest.mark.parametrize(
    ("old", "new", "path", "hint"),
    [
        ('categories = ["host.*"]', 'categories = ["hots.isolate"]', "rule[ISO-4].categories", "host.isolate"),
        ('tier = ["ordinary"]', 'tier = ["ordnary"]', "rule[ISO-1].targets.tier[0]", "ordinary"),
        ('agents = ["triage"]', 'agents = ["traige"]', "rule[READ-1].agents", "triage"),
        ('id = "ISO-2"', 'id = "iso-1"', "rule[iso-1].id", ""),
        ('id = "N-SOC"', 'id = "READ-1"', "never[READ-1].id", ""),
        ('id = "Q-ISO"', 'id = "mandate"', "quota[mandate].id", ""),
        ('window = "15m"', 'window = "0s"', "quota[Q-ISO].window", ""),
        ("max_distinct_targets = 5\nmax_actions = 20\n", "", "quota[Q-ISO].max_distinct_targets", ""),
        ("not_after = 2027-02-20", "not_after = 2026-02-20", "boundary.not_after", ""),
        ("not_after = 2027-02-20T00:00:00Z", "not_after = 2027-02-20", "boundary.not_after", ""),
        ('timezone = "Europe/Berlin"', 'timezone = "Europe/Brelin"', "boundary.timezone", "Europe/Berlin"),
        ('name = "triage"', 'name = "remit"', "agent[remit].name", ""),
        ('then = "approve"', 'then = "approved"', "rule[ISO-2].then", "approve"),
        ('then = "forbid"', 'then = "forbid"\nin_mandate = false', "rule[ISO-4].in_mandate", ""),
        ('targets = { tier = ["ordinary"] }', "targets = { }", "rule[ISO-1].targets", ""),
        ('undo = "host.release"', 'undo = "host.relaese"', "category[host.isolate].undo", "host.release"),
        ('undo = "host.release"', 'unwitnessed = "forbid"', "category[host.isolate].unwitnessed", ""),
        ('undo = "host.release"', 'witnessed = true\nunwitnessed = "auto"', "category[host.isolate].unwitnessed", ""),
        ('undo = "host.release"', "witnesed = true", "category[host.isolate].witnesed", "witnessed"),
        ("widen = 1", "widen = 0", "boundary.signatures.widen", ""),
        ('targets = ["soc-*"]', 'targets = ["soc-*"]\nwhere = { kind = ["dns"] }', "never[N-SOC].where", ""),
        ("in_mandate = false", "in_mandat = false", "rule[READ-1].in_mandat", "in_mandate"),
        ('approvers = ["approver", "on-call"]', "approvers = []", "boundary.approvals.approvers", ""),
        ('comment = "ordinary', 'hours = "09:00-09:00"\ncomment = "ordinary', "rule[ISO-1].hours", ""),
        ('comment = "ordinary', 'hours = "24:30-25:00"\ncomment = "ordinary', "rule[ISO-1].hours", ""),
    ],
)
def test_a_mistake_is_named_with_its_place_and_the_nearest_word(old: str, new: str, path: str, hint: str) -> None:
    data = rendered("demo")
    assert old.encode() in data
    found = problems(data.replace(old.encode(), new.encode()))
    assert path in found, list(found)
    assert hint in found[path].hint
    assert found[path].expected
    assert found[path].found


def test_a_category_that_must_be_witnessed_says_what_it_is_without() -> None:
    data = rendered("demo")

    def read(more: str) -> tuple[bool, Decision]:
        changed = data.replace(b'undo = "host.release"', f'undo = "host.release"\n{more}'.encode())
        category = load(changed).category("host.isolate")
        assert category is not None
        return category.witnessed, category.unwitnessed

    assert read("") == (False, Decision.APPROVE)
    assert read("witnessed = true") == (True, Decision.APPROVE)
    assert read('witnessed = true\nunwitnessed = "forbid"') == (True, Decision.FORBID)


def test_every_mistake_is_told_at_once() -> None:
    data = rendered("demo").replace(b'"Europe/Berlin"', b'"Nowhere"').replace(b'"15m"', b'"soon"')
    assert set(problems(data)) >= {
        "boundary.timezone",
        "boundary.detection_time",
        "boundary.refusals.within",
        "quota[Q-ISO].window",
    }


@pytest.mark.parametrize("data", [b"", b"\xff", b"a = 1\na = 2", b"boundary = 3", b"[boundary]\n", b"[[rule]]\nid = 3"])
def test_bytes_that_are_no_boundary_are_refused_and_never_crash(data: bytes) -> None:
    assert problems(data)
