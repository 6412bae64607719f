"""From a call to a candidate action: decoded, resolved, rebuilt, canonical.

What lives here: taking the rationale out, reading the target argument, rebuilding the arguments with the connector's
own ids, classifying, digests. What never may: deciding whether the action is allowed.

INVARIANT: what goes upstream is encoded from the values that are decided about, never copied from what was asked.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from remit.model.canonical import encode
from remit.model.display import safe_line, shown
from remit.model.errors import Refusal
from remit.model.manifest import Classified, ToolManifest, classify
from remit.model.targets import Inventory, is_clean, network_of, normalise
from remit.model.words import (
    Action,
    Clause,
    Decision,
    Definition,
    Effect,
    Json,
    Proposal,
    Rationale,
    Signal,
    Source,
    Takes,
    Target,
)

RATIONALE: Final = "rationale"
MOST_TARGETS: Final = 1000

_COMBINING: Final = frozenset({"allOf", "anyOf", "oneOf", "if", "then", "else", "$ref"})
_SEVERAL = re.compile(r"[\s,;|\\/]+")
_OLD_IPV4 = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+)){0,3}", re.ASCII)

_Prose = Annotated[str, Meta(min_length=1, max_length=2000)]
_Name = Annotated[str, Meta(min_length=1, max_length=200)]
_Optional = Annotated[str, Meta(max_length=200)]


class _Signal(Struct, forbid_unknown_fields=True):
    says: _Prose
    evidence: Annotated[str, Meta(max_length=64)] = ""


class _Source(Struct, forbid_unknown_fields=True):
    name: _Name
    version: _Optional = ""
    digest: _Optional = ""


class _Rationale(Struct, forbid_unknown_fields=True):
    summary: _Prose
    signals: Annotated[list[_Signal], Meta(max_length=50)] = []
    intel: Annotated[list[_Source], Meta(max_length=50)] = []
    skill: _Source | None = None
    confidence: Annotated[float, Meta(ge=0, le=1)] | None = None
    alternatives: Annotated[list[_Prose], Meta(max_length=20)] = []


_TEXT: Final[dict[str, Json]] = {"type": "string", "minLength": 1, "maxLength": 2000}
_SHORT: Final[dict[str, Json]] = {"type": "string", "maxLength": 200}
_NAMED: Final[dict[str, Json]] = {
    "type": "object",
    "properties": {"name": _SHORT | {"minLength": 1}, "version": _SHORT, "digest": _SHORT},
    "required": ["name"],
    "additionalProperties": False,
}
RATIONALE_SCHEMA: Final[dict[str, Json]] = {
    "type": "object",
    "description": "Why you want this. It is recorded and shown to humans as your claim. Cite evidence by its id.",
    "properties": {
        "summary": _TEXT | {"description": "the reason, in a sentence or two"},
        "signals": {
            "type": "array",
            "maxItems": 50,
            "items": {
                "type": "object",
                "properties": {"evidence": {"type": "string", "maxLength": 64}, "says": _TEXT},
                "required": ["says"],
                "additionalProperties": False,
            },
        },
        "intel": {"type": "array", "maxItems": 50, "items": _NAMED},
        "skill": _NAMED,
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "alternatives": {"type": "array", "maxItems": 20, "items": _TEXT},
    },
    "required": ["summary"],
    "additionalProperties": False,
}
"""What agents are told of the rationale (JSON Schema 2020-12); `take_in` asks for exactly this."""


class Taken(Struct, frozen=True, kw_only=True):
    """A candidate action.

    `arguments` goes upstream, and `encoded` is its canonical JSON (RFC 8785) as text. `targets` are distinct and in
    the order named; of a set, its known members and an unknown one for what is not known. `bounded` is False where
    the call may touch more than `targets`. `asked` holds the names as the agent wrote them.
    """

    category: str
    effect: Effect
    consequential: bool
    targets: tuple[Target, ...]
    bounded: bool
    asked: str
    arguments: dict[str, Json]
    encoded: str
    rationale: Rationale | None = None


def take_in(
    tool: ToolManifest, definition: Definition, connector: str, arguments: Mapping[str, Json], inventory: Inventory
) -> Taken:
    """The candidate action that a call of `tool` asks for. `arguments` are strictly decoded already.

    Raises `Refusal` with one clause: `intake.rationale`, `validation.schema` (undeclared or look-alike properties),
    `validation.target`, or `intake.classification` where the arguments leave open what the call is.
    """
    remaining = dict(arguments)
    rationale = _take_rationale(remaining, definition, required=tool.consequential)
    _check_properties(remaining, definition.input_schema, tool.consequential)
    classified = classify(tool, remaining)
    if classified.undecided:
        raise _undecided(tool, classified)
    reading = _TargetReading(inventory, connector, tool.takes)
    named = _read_targets(reading, tool, remaining)
    targets = tuple(reading.found.values())
    _check_reach(classified, targets)
    _check_kinds(tool, targets)
    return Taken(
        category=classified.category,
        effect=classified.effect,
        consequential=classified.effect is not Effect.READ,
        targets=targets,
        bounded=named and reading.bounded and _is_bounded(tool, classified),
        asked=", ".join(reading.asked),
        arguments=remaining,
        encoded=encode(remaining).decode(),
        rationale=rationale,
    )


def check_rationale(rationale: Rationale) -> None:
    """Refuses (`intake.rationale`) a rationale beyond the limits of `RATIONALE_SCHEMA`."""
    _bounded_rationale(msgspec.to_builtins(rationale), RATIONALE)


def rationale_property(schema: Mapping[str, Json]) -> str:
    """What the extra property is called: `rationale`, or with `remit_` before it where the tool has its own."""
    taken = _declared(schema)
    name = RATIONALE
    while name in taken:
        name = f"remit_{name}"
    return name


def agent_schema(definition: Definition, tool: ToolManifest) -> dict[str, Json]:
    """The input schema shown to agents: the tool's own and the rationale, which consequential tools require."""
    schema: dict[str, Json] = copy.deepcopy(definition.input_schema)
    schema.setdefault("type", "object")
    own = schema.get("properties")
    properties = own if isinstance(own, dict) else {}
    name = rationale_property(definition.input_schema)
    schema["properties"] = {**properties, name: copy.deepcopy(RATIONALE_SCHEMA)}
    if tool.consequential:
        required = schema.get("required")
        schema["required"] = [*(required if isinstance(required, list) else ()), name]
    return schema


def digest(
    *,
    action: str,
    agent: str,
    run: str,
    connector: str,
    tool: str,
    definition: str,
    targets: Sequence[str],
    arguments: str,
    salt: str,
) -> str:
    """The action's digest: SHA-256 (hexadecimal) over RFC 8785 of an object of these members.

    `definition` is the definition's digest, `targets` are resolved ids, and `arguments` is canonical JSON already,
    which stands in the object as a value, not as text.
    """
    head = encode({"action": action, "agent": agent})
    rest = {"connector": connector, "definition": definition, "run": run, "salt": salt, "targets": targets}
    # RFC 8785 sorts members, so the canonical form of the whole is made of the canonical forms of its parts
    tail = encode({**rest, "targets": list(targets), "tool": tool})
    return hashlib.sha256(head[:-1] + b',"arguments":' + arguments.encode() + b"," + tail[1:]).hexdigest()


def digest_of(action: Action, proposal: Proposal) -> str:
    """The digest that an action has if it is what its proposal says."""
    return digest(
        action=action.id,
        agent=action.agent,
        run=action.run,
        connector=action.connector,
        tool=action.tool,
        definition=action.definition,
        targets=action.targets,
        arguments=proposal.arguments,
        salt=proposal.salt,
    )


def fingerprint(
    key: bytes,
    *,
    agent: str,
    run: str,
    connector: str,
    tool: str,
    definition: str,
    targets: Sequence[str],
    arguments: str,
) -> str:
    """HMAC-SHA256 (hexadecimal) under `key` of what `digest` covers, without id and salt: equal for repeats."""
    head = encode({"agent": agent})
    rest = {"connector": connector, "definition": definition, "run": run, "targets": list(targets), "tool": tool}
    covered = head[:-1] + b',"arguments":' + arguments.encode() + b"," + encode(rest)[1:]
    return hmac.new(key, covered, hashlib.sha256).hexdigest()


def _refusal(clause: str, says: str, hint: str) -> Refusal:
    return Refusal(says, hint=hint, clauses=[Clause(clause, Decision.FORBID, says)])


def _take_rationale(arguments: dict[str, Json], definition: Definition, *, required: bool) -> Rationale | None:
    """The rationale, taken out of `arguments`."""
    name = rationale_property(definition.input_schema)
    if name not in arguments:
        if required:
            raise _refusal("intake.rationale", f"expected the property `{name}`, found none", _rationale_hint(name))
        return None
    given = _bounded_rationale(arguments.pop(name), name)
    return Rationale(
        summary=given.summary,
        signals=tuple(Signal(each.says, each.evidence) for each in given.signals),
        intel=tuple(map(_source, given.intel)),
        skill=_source(given.skill) if given.skill is not None else None,
        confidence=given.confidence,
        alternatives=tuple(given.alternatives),
    )


def _bounded_rationale(value: Json, name: str) -> _Rationale:
    try:
        given = msgspec.convert(value, _Rationale)
    except msgspec.ValidationError as error:
        said = str(error).replace(" - at `$", f" at `{name}")
        message = f"the property `{name}` is not as expected: {safe_line(said[:1].lower() + said[1:])}"
        raise _refusal("intake.rationale", message, _rationale_hint(name)) from None
    if not given.summary.strip():
        message = f"expected a summary in `{name}`, found only space"
        raise _refusal("intake.rationale", message, _rationale_hint(name))
    return given


def _rationale_hint(name: str) -> str:
    return f"give `{name}` as an object with at least a `summary` of 1 to 2000 characters"


def _source(given: _Source) -> Source:
    return Source(given.name, given.version, given.digest)


def _declared(schema: Mapping[str, Json]) -> set[str]:
    """The properties that a schema declares at its root, or in what it combines there."""
    properties = schema.get("properties")
    names = set(properties) if isinstance(properties, Mapping) else set()
    if _COMBINING.isdisjoint(schema):
        return names
    pending: list[tuple[Any, int]] = [(schema, 0)]
    while pending:
        each, depth = pending.pop()
        if not isinstance(each, Mapping) or depth > 4:
            continue
        properties = each.get("properties")
        if isinstance(properties, Mapping):
            names.update(properties)
        for word in ("allOf", "anyOf", "oneOf"):
            members = each.get(word)
            pending += [(member, depth + 1) for member in members] if isinstance(members, list) else []
        pending += [(each.get(word), depth + 1) for word in ("if", "then", "else")]
        pending.append((_referred(schema, each.get("$ref")), depth + 1))
    return names


def _referred(schema: Mapping[str, Json], reference: Json) -> Json:
    """What a reference inside the schema's own definitions leads to, None for any other."""
    match = re.fullmatch(r"#/(\$defs|definitions)/([^/~%]+)", reference) if isinstance(reference, str) else None
    holder = schema.get(match[1]) if match else None
    return holder.get(match[2]) if match and isinstance(holder, Mapping) else None


def _check_properties(arguments: Mapping[str, Json], schema: Mapping[str, Json], consequential: bool) -> None:
    properties = schema.get("properties")
    if isinstance(properties, dict) and arguments.keys() <= properties.keys():
        return
    declared = _declared(schema)
    folded = {_folded(name): name for name in declared}
    for name in arguments:
        if name in declared:
            continue
        twin = folded.get(_folded(name))
        if twin is not None:
            says = f"the property {shown(name)} looks like `{safe_line(twin)}`, which is what the tool has"
            raise _refusal("validation.schema", says, f"write `{safe_line(twin)}`")
        if consequential:
            known = ", ".join(f"`{safe_line(each, 40)}`" for each in sorted(declared)[:20]) or "none"
            says = f"expected only properties that the tool declares, found {shown(name)}"
            raise _refusal("validation.schema", says, f"leave it out; declared are: {known}")


def _folded(name: str) -> str:
    """A property name as lenient decoders compare it, without what can't be seen."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join(each for each in plain if each.isalnum())


def _undecided(tool: ToolManifest, classified: Classified) -> Refusal:
    arguments = ", ".join(dict.fromkeys(f"`{safe_line(each.argument)}`" for each in tool.when))
    says = f"the arguments leave open whether this is {' or '.join(f'`{each}`' for each in classified.undecided)}"
    return _refusal("intake.classification", says, f"give {arguments} exactly as the tool's schema spells the values")


def _is_bounded(tool: ToolManifest, classified: Classified) -> bool:
    """Whether the targets that the call names are all that it can touch. Of a list or set the reach is the most that
    may be named; beyond one target, or none, it is what the tool touches besides."""
    if classified.reach is None:
        return classified.expands
    return {Takes.NONE: classified.reach == 0, Takes.ONE: classified.reach <= 1}.get(tool.takes, True)


def _check_reach(classified: Classified, targets: Sequence[Target]) -> None:
    if classified.reach is None:
        return
    most = max(classified.reach, 1) if classified.effect is Effect.READ else classified.reach
    if len(targets) > most:
        says = f"expected at most {classified.reach} targets in one call, found {len(targets)}"
        raise _refusal("validation.target", says, "name fewer targets in each call")


def _check_kinds(tool: ToolManifest, targets: Sequence[Target]) -> None:
    if not tool.target_kinds or not tool.consequential or tool.takes is Takes.SET:
        return
    other = next((each for each in targets if each.known and each.kind not in tool.target_kinds), None)
    if other is not None:
        kinds = " or ".join(f"`{kind}`" for kind in tool.target_kinds)
        says = f"expected a target of kind {kinds}, found `{safe_line(other.id)}`, which is {shown(other.kind)}"
        raise _refusal("validation.target", says, "name a target of that kind")


def _read_targets(reading: _TargetReading, tool: ToolManifest, arguments: dict[str, Json]) -> bool:
    """Resolves the target argument and rebuilds it in place; False where a read names no target at all."""
    name = tool.target_argument
    if tool.takes is Takes.NONE:
        return True
    if name not in arguments:
        if tool.consequential:
            raise _wrong_target(name, tool.takes, "nothing")
        return False
    value = arguments[name]
    if isinstance(value, list) and tool.takes is not Takes.ONE:
        if not 0 < len(value) <= MOST_TARGETS or not all(map(_is_name, value)):
            raise _wrong_target(name, tool.takes, shown(value))
        rebuilt = dict.fromkeys(reading.read(each) for each in value)
        arguments[name] = list(rebuilt)
    elif _is_name(value) and tool.takes is not Takes.LIST:
        arguments[name] = reading.read(value)
    else:
        raise _wrong_target(name, tool.takes, shown(value))
    return True


def _is_name(value: Json) -> bool:
    return (isinstance(value, str) and bool(value.strip())) or (isinstance(value, int) and not isinstance(value, bool))


def _wrong_target(name: str, takes: Takes, found: str) -> Refusal:
    expected = {
        Takes.ONE: "the name of one target",
        Takes.LIST: f"a list of 1 to {MOST_TARGETS} names of targets",
    }.get(takes, "the name of a target or a set")
    says = f"expected {expected} in `{safe_line(name)}`, found {found}"
    return _refusal("validation.target", says, f"give `{safe_line(name)}` as {expected}")


class _TargetReading:
    """Resolves the names of one call and collects what they mean. Owned by one `take_in`."""

    def __init__(self, inventory: Inventory, connector: str, takes: Takes) -> None:
        self._inventory = inventory
        self._connector = connector
        self._takes = takes
        self.found: dict[str, Target] = {}
        self.asked: list[str] = []
        self.bounded = True

    def read(self, value: str | int) -> str | int:
        """What goes upstream in the place of `value`."""
        text = str(value)
        self.asked.append(text)
        if not is_clean(text):
            says = f"the target {shown(text)} holds characters that cannot be seen, or mixes scripts"
            raise _refusal("validation.target", says, "name it by its id in the inventory")
        target = self._inventory.resolve(text, connector=self._connector)
        grouped = self._takes is Takes.SET and self._inventory.label(text) is not None
        if not target.known and not grouped:
            self._refuse_other_readings(text)
        rebuilt = self._read_set(text, target) if self._takes is Takes.SET else self._read_one(text, target)
        return int(rebuilt) if isinstance(value, int) and rebuilt.isdecimal() and rebuilt.isascii() else rebuilt

    def _read_one(self, text: str, target: Target) -> str:
        if not target.known:
            network = network_of(normalise(text))
            if any(mark in text for mark in "*?") or (network is not None and network.num_addresses > 1):
                says = f"expected the name of one target, found the set {shown(text)}"
                raise _refusal("validation.target", says, "name each target by itself")
        self.found[target.id] = target
        return self._upstream(text, target)

    def _read_set(self, text: str, target: Target) -> str:
        expanded = self._inventory.expand(text)
        if expanded is None and target.known:
            expanded = (target,)
        if expanded is None:
            self.bounded = False
            unknown = Target(id=f"unknown:{normalise(text)}", known=False)
            expanded = (*self._inventory.members(text), unknown)
        self.found.update((each.id, each) for each in expanded)
        label = self._inventory.label(text)
        return label if label is not None else self._upstream(text, target)

    def _upstream(self, text: str, target: Target) -> str:
        if target.known:
            return self._inventory.connector_id(target, self._connector)
        normal = normalise(text)
        return normal if network_of(normal) is not None else text

    def _refuse_other_readings(self, text: str) -> None:
        """An unknown name that a connector could read as a known target would walk round every clause on that one."""
        normal = normalise(text)
        if network_of(normal) is not None:
            return
        address = _old_ipv4(normal)
        if address is not None and ("." in normal or "x" in normal or self._inventory.resolve(address).known):
            says = f"the target {shown(text)} can be read as the address `{address}` or as another one"
            raise _refusal(
                "validation.target", says, "write an IPv4 address as four decimal numbers without zeros before them"
            )
        parts = [part for part in _SEVERAL.split(normal) if part and part != normal]
        inner = next((found for found in map(self._inventory.resolve, parts) if found.known), None)
        other = inner or self._inventory.mistakable(text, connector=self._connector)
        if other is not None:
            says = f"the target {shown(text)} is unknown, but could be taken for `{safe_line(other.id)}`"
            raise _refusal("validation.target", says, "name each target by itself, by its id in the inventory")


def _old_ipv4(name: str) -> str | None:
    """The address that `inet_aton` (POSIX) makes of a name, with its octal, hexadecimal and shortened forms."""
    if not _OLD_IPV4.fullmatch(name):
        return None
    try:
        parts = [
            int(part, 16) if part[:2] == "0x" else int(part, 8 if part[0] == "0" else 10) for part in name.split(".")
        ]
    except ValueError:
        return None
    *leading, last = parts
    if any(part > 255 for part in leading) or last >= 256 ** (5 - len(parts)):
        return None
    number = last + sum(part << 8 * (3 - place) for place, part in enumerate(leading))
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))
