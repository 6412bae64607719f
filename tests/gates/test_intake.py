"""What an agent asks for becomes one action: resolved, rebuilt, canonical; every other reading of it is refused."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit.gates.intake import Taken, agent_schema, digest, fingerprint, rationale_property, take_in
from remit.model.canonical import encode
from remit.model.definitions import read_definition
from remit.model.errors import Refusal
from remit.model.manifest import ToolManifest, When
from remit.model.targets import load_inventory
from remit.model.words import Definition, Effect, Json, Rationale, Signal, Source, Takes

INVENTORY = load_inventory(b"""id,kind,privileged,owner,labels,aliases
WS01,workstation,no,,finance,edr:4711;ws01.corp.example
WS02,workstation,no,,finance;domain team,
MORDORDC,domain-controller,yes,,,10.0.0.5
krbtgt,account,yes,,,
web.a.example,server,no,,,
web.b.example,server,yes,,,
kiosk,server,no,,,edr:k
front,server,no,,,edr:kiosk
""")


def definition(**properties: Json) -> Definition:
    names = properties or {"host": {"type": "string"}, "reason": {"type": "string"}}
    return read_definition({"name": "isolate_host", "inputSchema": {"type": "object", "properties": names}})


def tool(takes: Takes = Takes.ONE, effect: Effect = Effect.CHANGE, **fields: Any) -> ToolManifest:
    settings: dict[str, Any] = {"reach": 1, "target_argument": "" if takes is Takes.NONE else "host"} | fields
    return ToolManifest(name="isolate_host", category="host.isolate", effect=effect, takes=takes, **settings)


WHY = {"rationale": {"summary": "because"}}


def take(arguments: dict[str, Json], manifest: ToolManifest | None = None, *, why: bool = True) -> Taken:
    given_arguments = arguments | (WHY if why else {})
    return take_in(manifest or tool(), definition(), "edr", given_arguments, INVENTORY)


def refused(
    clause: str, arguments: dict[str, Json], manifest: ToolManifest | None = None, *, why: bool = True
) -> Refusal:
    with pytest.raises(Refusal) as caught:
        take(arguments, manifest, why=why)
    assert [each.id for each in caught.value.clauses] == [clause]
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("asked", ["ws01", "WS01", "ws01.corp.example.", "4711", "edr:4711"])
def test_every_spelling_of_a_target_sends_the_connectors_own_id(asked: str) -> None:
    taken = take({"reason": "x", "host": asked})
    assert taken.encoded == '{"host":"4711","reason":"x"}'
    assert [target.id for target in taken.targets] == ["WS01"]
    assert (taken.asked, taken.bounded, taken.consequential, taken.category) == (asked, True, True, "host.isolate")


def test_an_unknown_name_is_sent_as_asked_and_an_unknown_address_in_its_one_notation() -> None:
    taken = take({"host": "Some-Laptop"})
    assert (taken.encoded, taken.targets[0].id) == ('{"host":"Some-Laptop"}', "unknown:some-laptop")
    assert take({"host": "::FFFF:192.0.2.7"}).encoded == '{"host":"192.0.2.7"}'


def test_the_rationale_is_taken_out_and_kept() -> None:
    given_rationale = {
        "summary": "beaconing",
        "signals": [{"evidence": "ev_1", "says": "dns"}],
        "intel": [{"name": "feed", "version": "2"}],
        "skill": {"name": "triage"},
        "confidence": 1,
        "alternatives": ["wait"],
    }
    taken = take({"host": "WS02", "rationale": given_rationale}, why=False)
    assert taken.encoded == '{"host":"WS02"}'
    assert taken.rationale == Rationale(
        summary="beaconing",
        signals=(Signal("dns", "ev_1"),),
        intel=(Source("feed", "2"),),
        skill=Source("triage"),
        confidence=1.0,
        alternatives=("wait",),
    )


@pytest.mark.parametrize(
    "rationale",
    [
        None,
        "because",
        {},
        {"summary": ""},
        {"summary": "  "},
        {"summary": "x" * 2001},
        {"summary": "x", "confidence": 1.5},
        {"summary": "x", "confidence": True},
        {"summary": "x", "approved": True},
        {"summary": "x", "signals": [{"evidence": "ev_1"}]},
        {"summary": "x", "intel": "feed"},
    ],
)
def test_an_ill_shaped_rationale_is_refused_and_says_what_is_expected(rationale: Json) -> None:
    refusal = refused("intake.rationale", {"host": "WS01", "rationale": rationale}, why=False)
    assert "`summary`" in refusal.hint


def test_a_consequential_tool_needs_a_rationale_and_a_read_may_carry_one() -> None:
    refused("intake.rationale", {"host": "WS01"}, why=False)
    assert take({"host": "WS01"}, tool(effect=Effect.READ), why=False).rationale is None
    assert take({"host": "WS01"}, tool(effect=Effect.READ)).rationale is not None


def test_a_tool_with_a_rationale_of_its_own_keeps_it() -> None:
    own = definition(host={"type": "string"}, rationale={"type": "string"})
    arguments = {"host": "WS01", "rationale": "theirs", "remit_rationale": {"summary": "ours"}}
    taken = take_in(tool(), own, "edr", arguments, INVENTORY)
    assert taken.encoded == '{"host":"4711","rationale":"theirs"}'
    assert rationale_property({"anyOf": [{"properties": {"rationale": {}}}]}) == "remit_rationale"


@pytest.mark.parametrize("name", ["hoſt", "Host", "HOST", "ho_st", "h\u200bost", "\uff48ost"])
def test_a_property_that_looks_like_a_declared_one_is_refused_even_on_reads(name: str) -> None:
    for effect in (Effect.CHANGE, Effect.READ):
        refusal = refused("validation.schema", {"host": "WS01", name: "MORDORDC"}, tool(effect=effect))
        assert "`host`" in refusal.hint


def test_an_undeclared_property_is_refused_on_consequential_tools_and_passes_on_reads() -> None:
    refused("validation.schema", {"host": "WS01", "force": True})
    assert take({"host": "WS01", "force": True}, tool(effect=Effect.READ)).arguments["force"] is True


@pytest.mark.parametrize("value", [None, True, 1.5, "", " ", [], ["WS01"], {"id": "WS01"}])
def test_a_target_of_the_wrong_type_is_refused(value: Json) -> None:
    refused("validation.target", {"host": value})


def test_a_missing_target_is_refused_for_a_change_and_unbounded_for_a_read() -> None:
    refused("validation.target", {"reason": "x"})
    assert not take({"reason": "x"}, tool(effect=Effect.READ)).bounded


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    "asked",
    [
        "WS01,MORDORDC",
        "nobody; krbtgt",
        "CORP\\krbtgt",
        "\\\\MORDORDC\\c$",
        "https://MORDORDC/x",
        "MORDORDC\u200b",
        "M\u041eRDORDC",
        "WS*",
        "10.0.0.0/24",
        "010.0.0.5",
        "10.0.5",
        "0x0a.0.0.5",
        "0xa000005",
        "167772165",
        "10.0.0.5/0.0.0.255",
        "web",
        "web.c.example",
        "ws01.evil.example",
        "kiosk",
    ],
)
def test_a_name_that_a_connector_could_read_as_another_target_is_refused(asked: str) -> None:
    refused("validation.target", {"host": asked})


def test_a_change_to_a_target_of_another_kind_than_the_tool_takes_is_refused() -> None:
    accounts = tool(target_kinds=("account",))
    refused("validation.target", {"host": "WS01"}, accounts)
    assert take({"host": "krbtgt"}, accounts).targets[0].id == "krbtgt"
    assert not take({"host": "nobody"}, accounts).targets[0].known


def test_a_list_is_resolved_member_by_member_each_target_once() -> None:
    taken = take({"host": ["WS01", "ws01.corp.example", "WS02"]}, tool(Takes.LIST, reach=5))
    assert taken.encoded == '{"host":["4711","WS02"]}'
    assert [target.id for target in taken.targets] == ["WS01", "WS02"]
    assert taken.bounded


def test_a_list_beyond_the_declared_reach_is_refused() -> None:
    refused("validation.target", {"host": ["WS01", "WS02"]}, tool(Takes.LIST, reach=1))


@pytest.mark.parametrize("value", ["WS01", [], ["WS01", None], [["WS01"]], ["WS01", "*"]])
def test_a_list_of_anything_but_names_is_refused(value: Json) -> None:
    refused("validation.target", {"host": value}, tool(Takes.LIST, reach=None))


SET = tool(Takes.SET, reach=None, expands=True)


def test_a_group_is_ruled_by_its_members() -> None:
    taken = take({"host": "label:FINANCE"}, SET)
    assert ([target.id for target in taken.targets], taken.bounded) == (["WS01", "WS02"], True)
    assert taken.encoded == '{"host":"finance"}'
    assert take({"host": "domain team"}, SET).bounded


@pytest.mark.promise("P8")
@pytest.mark.parametrize("asked", ["10.0.0.9/24", "MORDOR*", "some-group"])
def test_a_set_that_covers_unknown_things_is_unbounded_and_holds_an_unknown_target(asked: str) -> None:
    taken = take({"host": asked}, SET)
    assert not taken.bounded
    assert any(not target.known for target in taken.targets)


def test_the_known_members_of_an_unbounded_set_are_among_its_targets() -> None:
    taken = take({"host": "10.0.0.9/24"}, SET)
    assert [target.id for target in taken.targets] == ["MORDORDC", "unknown:10.0.0.0/24"]
    assert taken.encoded == '{"host":"10.0.0.0/24"}'


def test_a_single_name_in_a_set_is_its_target() -> None:
    taken = take({"host": ["ws01.corp.example", "::ffff:10.0.0.5"]}, SET)
    assert ([target.id for target in taken.targets], taken.bounded) == (["WS01", "MORDORDC"], True)


def test_a_tool_without_declared_reach_is_unbounded() -> None:
    assert not take({"host": "WS01"}, tool(reach=None)).bounded
    assert not take({}, tool(Takes.NONE, reach=None)).bounded
    assert take({}, tool(Takes.NONE, reach=0)).bounded


def test_a_tool_that_touches_more_than_the_call_names_is_unbounded() -> None:
    assert not take({"host": "WS01"}, tool(reach=2)).bounded
    assert not take({}, tool(Takes.NONE, reach=1)).bounded
    refused("validation.target", {"host": "WS01"}, tool(reach=0))


def test_a_predicate_that_unbounds_a_set_unbounds_the_call() -> None:
    everything = When(argument="reason", equals=("all",), reach=None, sets_reach=True)
    manifest = tool(Takes.SET, reach=None, expands=True, when=(everything,))
    assert not take({"host": "finance", "reason": "all"}, manifest).bounded
    assert not take({"host": "finance"}, manifest).bounded
    assert take({"host": "finance", "reason": "some"}, manifest).bounded


def test_a_call_whose_category_stays_open_is_refused() -> None:
    release = When(argument="reason", equals=("release",), category="host.release")
    refusal = refused("intake.classification", {"host": "WS01"}, tool(when=(release,)))
    assert "`reason`" in refusal.hint


def test_an_integer_name_stays_an_integer_where_the_connector_uses_integers() -> None:
    assert take({"host": 4711}).encoded == '{"host":4711}'
    assert take({"host": 99}).encoded == '{"host":99}'


def test_agents_are_shown_the_rationale_as_required_on_consequential_tools_alone() -> None:
    schema = agent_schema(definition(), tool())
    assert schema["required"] == ["rationale"]
    assert schema["properties"]["rationale"]["required"] == ["summary"]
    assert "rationale" not in definition().input_schema["properties"]
    assert "required" not in agent_schema(definition(), tool(effect=Effect.READ))


PARTS = {
    "agent": "triage",
    "run": "run_1",
    "connector": "edr",
    "tool": "isolate_host",
    "definition": "ab",
    "targets": ["WS01", "ü\U0001f600"],
}
ARGUMENTS: dict[str, Json] = {"host": "4711", "n": 1.0, "ü": [True, None]}


def test_the_digest_is_sha_256_over_the_canonical_object() -> None:
    whole = {**PARTS, "action": "act_1", "salt": "s", "arguments": ARGUMENTS}
    made = digest(action="act_1", salt="s", arguments=encode(ARGUMENTS).decode(), **PARTS)  # type: ignore[arg-type]
    assert made == hashlib.sha256(encode(whole)).hexdigest()


def test_the_fingerprint_is_keyed_and_knows_neither_id_nor_salt() -> None:
    made = fingerprint(b"k" * 32, arguments=encode(ARGUMENTS).decode(), **PARTS)  # type: ignore[arg-type]
    whole = encode({**PARTS, "arguments": ARGUMENTS})
    assert made == hmac.new(b"k" * 32, whole, hashlib.sha256).hexdigest()


@pytest.mark.promise("P4")
@given(st.sampled_from([*PARTS, "arguments", "salt", "action"]), st.text(min_size=1, max_size=5))
def test_changing_any_part_always_changes_the_digest(name: str, other: str) -> None:
    parts: dict[str, Any] = {**PARTS, "action": "act_1", "salt": "s", "arguments": '{"host":"4711"}'}
    others = {"targets": [other], "arguments": json.dumps({"host": other + "!"})}
    changed = others[name] if name in others else parts[name] + other
    assert digest(**parts) != digest(**(parts | {name: changed}))
