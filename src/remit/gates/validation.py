"""The last checks before an intent: each is one function with one refusal of its own.

What lives here: arguments against the tool's schema, definition, targets, preconditions, statement, ruling and quota,
compared between what was decided and what now holds. What never may: fetching any of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

import jsonschema_rs

from remit.model.canonical import BadJson, decode_strict, equal_json
from remit.model.display import safe_line, shown
from remit.model.errors import Misuse, Refusal
from remit.model.manifest import Support
from remit.model.words import Clause, Decision, Instant, Json

_DIALECTS: Final = frozenset(
    {
        "https://json-schema.org/draft/2020-12/schema",
        "https://json-schema.org/draft/2019-09/schema",
        "http://json-schema.org/draft-07/schema",
        "http://json-schema.org/draft-06/schema",
    }
)
# A connector's patterns are untrusted: matching them must end.
_PATTERNS: Final = jsonschema_rs.FancyRegexOptions(backtrack_limit=20_000, size_limit=1 << 20, dfa_size_limit=1 << 20)
_MASK: Final = "the value"


class Uncompilable(Misuse):
    """The tool's input schema cannot be used: the tool is parked for the reason in `message`."""


class SchemaValidator:
    """A compiled input schema. Immutable and safe to share."""

    __slots__ = ("_validator",)

    def __init__(self, validator: jsonschema_rs.Validator) -> None:
        self._validator = validator

    def problem(self, arguments: Mapping[str, Json]) -> tuple[str, str] | None:
        """Where (a JSON pointer, RFC 6901, empty for the whole) and what the first mistake is, never with values
        in it; None where there is none."""
        if self._validator.is_valid(arguments):
            return None
        error = next(self._validator.iter_errors(arguments), None)
        if error is None:
            return "", "the schema cannot be evaluated for it"
        return "".join(f"/{part}" for part in error.instance_path), error.message


def compile_schema(schema: Json) -> SchemaValidator:
    """The compiled form of a tool's input schema.

    JSON Schema 2020-12 where `$schema` does not say otherwise; drafts 2019-09, 7 and 6 are known. Nothing is ever
    fetched. Raises `Uncompilable`.
    """
    if not isinstance(schema, dict):
        raise Uncompilable(f"expected an input schema that is an object, found {shown(schema)}")
    dialect = schema.get("$schema", "https://json-schema.org/draft/2020-12/schema")
    if not isinstance(dialect, str) or dialect.removesuffix("#") not in _DIALECTS:
        raise Uncompilable(f"expected JSON Schema 2020-12 or draft 7, found the dialect {shown(dialect)}")
    if schema.get("type", "object") != "object":
        raise Uncompilable(f"expected an input schema of type `object`, found {shown(schema['type'])}")
    try:
        validator = jsonschema_rs.validator_for(schema, mask=_MASK, offline=True, pattern_options=_PATTERNS)
    except (ValueError, TypeError, RecursionError, jsonschema_rs.ReferencingError) as error:
        says = safe_line(str(error).partition("\n")[0], 300)
        raise Uncompilable(f"the input schema cannot be compiled: {says}") from None
    return SchemaValidator(validator)


def _refuse(check: str, says: str, hint: str) -> NoReturn:
    raise Refusal(says, hint=hint, clauses=[Clause(f"validation.{check}", Decision.FORBID, says)])


def check_arguments(validator: SchemaValidator, arguments: Mapping[str, Json]) -> None:
    """Refuses (`validation.schema`) arguments that the tool's schema does not allow."""
    problem = validator.problem(arguments)
    if problem is not None:
        place, message = problem
        where = f"at `{safe_line(place)}`" if place else "of the call"
        says = f"the arguments {where} are not what the tool takes: {safe_line(message, 300)}"
        _refuse("schema", says, "compare the arguments with the tool's input schema and propose again")


def check_targets(decided: Sequence[str], current: Sequence[str]) -> None:
    """Refuses (`validation.target`) when the names now mean other targets than when the action was decided."""
    if sorted(decided) != sorted(current):
        before, after = (", ".join(f"`{safe_line(each, 60)}`" for each in ids[:5]) for ids in (decided, current))
        says = f"the names meant {before or 'nothing'} when this was decided, and now mean {after or 'nothing'}"
        _refuse("target", says, "the inventory changed; propose the action anew")


def check_definition(expected: str, current: str | None) -> None:
    """Refuses (`validation.definition`) when the tool is gone, or not defined as it was when the action was decided."""
    if current is None:
        _refuse("definition", "the connector no longer offers this tool", "ask an operator to look at the connector")
    if current != expected:
        says = f"the tool's definition changed: expected `{expected[:16]}…`, found `{current[:16]}…`"
        _refuse("definition", says, "an operator accepts the difference with `remit connectors accept`")


def check_result_value(field: str, equals: Json, result: Mapping[str, Json]) -> bool | None:
    """Whether the `field` (dots lead inwards) of a tool's result equals `equals`.

    `result` is a CallToolResult (MCP): its `structuredContent` counts, or else its only text block, read as JSON.
    None where that cannot be told: an error, no such field, or a value of another type. Only True says that it does.
    """
    if result.get("isError"):
        return None
    value = result.get("structuredContent")
    if not isinstance(value, dict):
        value = _only_text(result.get("content"))
    for part in field.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isascii() and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return equal_json(equals, value)


def _only_text(content: Json) -> Json:
    blocks = content if isinstance(content, list) else []
    texts = [block.get("text") for block in blocks if isinstance(block, dict) and block.get("type") == "text"]
    if len(texts) != 1 or not isinstance(texts[0], str):
        return None
    try:
        return decode_strict(texts[0])
    except BadJson:
        return None


def holds(support: Support, raw: bytes) -> bool | None:
    """`check_result_value` for a declared question and the raw bytes of its result; None for bytes that are none."""
    try:
        result = decode_strict(raw)
    except BadJson:
        return None
    return check_result_value(support.field, support.equals, result) if isinstance(result, dict) else None


def unmet(precondition: Support, raw: bytes) -> Clause | None:
    """The clause (`validation.precondition`) that refuses, unless the result says that the precondition holds."""
    found = holds(precondition, raw)
    if found:
        return None
    asked = f"`{precondition.tool}` to say {shown(precondition.equals)} for `{safe_line(precondition.field)}`"
    otherwise = (safe_line(precondition.otherwise) or "it says otherwise") if found is False else "it does not say"
    return Clause("validation.precondition", Decision.FORBID, f"expected {asked}: {otherwise}")


def check_statement(signed_digest: str, digest: str, expires: Instant, now: Instant) -> None:
    """Refuses (`validation.statement`) an approval that is over, or that is about another action.

    `expires` is the first instant at which the statement no longer holds.
    """
    if signed_digest != digest:
        says = f"the approval is about the action with digest `{signed_digest[:16]}…`, not `{digest[:16]}…`"
        _refuse("statement", says, "propose the action anew")
    if now >= expires:
        _refuse("statement", "the approval has expired", "propose the action anew")
