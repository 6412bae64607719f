"""Each last check has a refusal of its own, with a clause and a hint."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from remit.gates.validation import (
    Uncompilable,
    check_arguments,
    check_definition,
    check_result_value,
    check_statement,
    check_targets,
    compile_schema,
    unmet,
)
from remit.model.canonical import encode
from remit.model.errors import Refusal
from remit.model.manifest import Support
from remit.model.words import Decision, Json

HOST: dict[str, Json] = {
    "type": "object",
    "properties": {"host": {"type": "string", "maxLength": 5}, "n": {"type": "integer", "minimum": 1}},
    "required": ["host"],
}


def refused(clause: str, check: Callable[..., object], *values: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        check(*values)
    assert [each.id for each in caught.value.clauses] == [f"validation.{clause}"]
    assert caught.value.hint
    return caught.value


def test_arguments_that_the_schema_allows_pass() -> None:
    check_arguments(compile_schema(HOST), {"host": "a", "n": 1, "other": None})


@pytest.mark.parametrize("arguments", [{}, {"host": 1}, {"host": "too long"}, {"host": "a", "n": 0.5}])
def test_arguments_that_the_schema_does_not_allow_are_refused(arguments: dict[str, Json]) -> None:
    refused("schema", check_arguments, compile_schema(HOST), arguments)


def test_a_refusal_names_the_place_and_never_the_value() -> None:
    refusal = refused("schema", check_arguments, compile_schema(HOST), {"host": "hunter2-secret"})
    assert "`/host`" in refusal.message
    assert "hunter2" not in refusal.shown()


@pytest.mark.parametrize(
    ("dialect", "accepts"),
    [
        (None, False),
        ("https://json-schema.org/draft/2020-12/schema", False),
        ("http://json-schema.org/draft-07/schema#", True),
    ],
)
def test_the_dialect_decides_how_a_schema_is_read(dialect: str | None, accepts: bool) -> None:
    schema: dict[str, Json] = {"properties": {"a": {"prefixItems": [{"type": "string"}]}}}
    validator = compile_schema(schema | ({"$schema": dialect} if dialect else {}))
    assert (validator.problem({"a": [1]}) is None) is accepts


@pytest.mark.parametrize(
    "schema",
    [
        None,
        True,
        {"type": "string"},
        {"$schema": "https://example.com/my-dialect"},
        {"$schema": 7},
        {"type": "object", "properties": {"a": {"type": "nonsense"}}},
        {"type": "object", "properties": {"a": {"$ref": "https://example.com/schema.json"}}},
        {"type": "object", "properties": {"a": {"$ref": "file:///etc/passwd"}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/absent"}}},
        {"type": "object", "properties": {"a": {"pattern": "("}}},
    ],
)
def test_a_schema_that_cannot_be_compiled_says_why(schema: Json) -> None:
    with pytest.raises(Uncompilable) as caught:
        compile_schema(schema)
    assert caught.value.message[0].islower()


def test_a_pattern_without_end_refuses_instead_of_hanging() -> None:
    validator = compile_schema({"properties": {"a": {"pattern": "^(?=(a+)+$)(a|aa)+$"}}})
    refused("schema", check_arguments, validator, {"a": "a" * 60 + "!"})


def test_every_real_schema_compiles_and_agrees_with_another_implementation(shared: Path) -> None:
    for file in sorted((shared / "connectors").glob("*.json.gz")):
        for tool in json.loads(gzip.decompress(file.read_bytes()))["tools"]:
            schema = tool["inputSchema"]
            other = Draft202012Validator(schema)
            for arguments in ({}, {"host": 1}, dict.fromkeys(schema.get("properties", ()), "x")):
                assert (compile_schema(schema).problem(arguments) is None) == other.is_valid(arguments)


def test_another_definition_or_none_is_refused() -> None:
    check_definition("a" * 64, "a" * 64)
    refused("definition", check_definition, "a" * 64, "b" * 64)
    refused("definition", check_definition, "a" * 64, None)


@pytest.mark.promise("P4")
def test_names_that_mean_other_targets_now_are_refused() -> None:
    check_targets(["a", "b"], ["b", "a"])
    refused("target", check_targets, ["a"], ["b"])
    refused("target", check_targets, ["a"], ["a", "b"])


def structured(value: Json, **more: Json) -> dict[str, Json]:
    return {"content": [], "structuredContent": value, **more}


def text(*texts: str) -> dict[str, Json]:
    return {"content": [{"type": "text", "text": each} for each in texts]}


@pytest.mark.parametrize(
    ("field", "equals", "result", "holds"),
    [
        ("online", True, structured({"online": True}), True),
        ("online", True, structured({"online": False}), False),
        ("online", True, structured({"online": 1}), None),
        ("online", True, structured({"online": "true"}), None),
        ("online", True, structured({}), None),
        ("online", True, structured({"online": True}, isError=True), None),
        ("a.1.b", 2, structured({"a": [{}, {"b": 2.0}]}), True),
        ("a.7.b", 2, structured({"a": []}), None),
        ("online", True, text('{"online": true}'), True),
        ("online", True, text('{"online": false, "online": true}'), None),
        ("online", True, text('{"online": true}', "x"), None),
        ("online", True, text("yes"), None),
        ("online", True, structured({}) | text('{"online": true}'), None),
        ("online", True, {}, None),
    ],
)
def test_a_field_of_a_result_holds_only_if_it_is_there_with_that_value(
    field: str, equals: Json, result: dict[str, Json], holds: bool | None
) -> None:
    assert check_result_value(field, equals, result) is holds


def test_a_precondition_that_does_not_hold_is_refused_in_the_operators_words() -> None:
    online = Support(tool="host_status", arguments={}, field="online", equals=True, otherwise="host is offline")
    assert unmet(online, encode(structured({"online": True}))) is None
    offline = unmet(online, encode(structured({"online": False})))
    assert offline is not None
    assert (offline.id, offline.then) == ("validation.precondition", Decision.FORBID)
    assert "host is offline" in offline.says
    for raw in (encode(structured({})), b"", b"[]", b'{"structuredContent":{"online":false,"online":true}}'):
        silent = unmet(online, raw)
        assert silent is not None
        assert "does not say" in silent.says


@pytest.mark.promise("P4")
def test_an_approval_of_another_action_or_past_its_time_is_refused() -> None:
    check_statement("a", "a", 10, 9)
    refused("statement", check_statement, "a", "b", 10, 9)
    refused("statement", check_statement, "a", "a", 10, 10)
