"""The operator's classification of a connector: the file `connectors/NAME.toml`, and its lock.

What lives here: the types, reading them from bytes, classifying a call by its arguments, the status of a tool. What
never may: starting or reaching a connector, and asking it what its tools do: its own word raises risk, never lowers it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Literal, cast

from msgspec import Struct

from remit.model.audits import AuditMap, read_map
from remit.model.canonical import equal_json, sha256_hex
from remit.model.definitions import TOOL_NAME, LockFile
from remit.model.display import shown
from remit.model.reading import Reader, nearest, read_toml
from remit.model.targets import normalise
from remit.model.words import (
    SECOND,
    Confidentiality,
    CredentialClass,
    Definition,
    Effect,
    Integrity,
    Json,
    Label,
    Takes,
)

TARGET = "$target"
"""Stands for the connector's own id of the target in the arguments of a supporting call."""

RISK: dict[Effect, int] = {Effect.READ: 0, Effect.CHANGE: 1, Effect.SEND: 2, Effect.DESTROY: 3}
"""Effects by how restrictively they are treated."""

ROLES = ("target", "prose", "option", "secret")
RESERVED = "remit"

NAME = r"[a-z0-9](?:[a-z0-9-]|_(?!_))*"
CATEGORY = r"[a-z0-9][a-z0-9_-]*(?:\.[a-z0-9_-]+)*"
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_INTO = r"env:[A-Za-z_][A-Za-z0-9_]*|header:[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_REFERENCE = r"(?:env:[A-Za-z_][A-Za-z0-9_]*|file:.+|command:.+)"
_URL = r"https?://[^\s/?#@]+(?:/[^\s#]*)?"


class Credential(Struct, frozen=True, kw_only=True):
    """How a connector is told that a call is Remit's. `into` and `secret` are references, never the secret."""

    kind: CredentialClass
    into: str = ""
    secret: str = ""


class Support(Struct, frozen=True, kw_only=True):
    """A call that supports another: its undo, a question about its status, or a precondition.

    A status or precondition holds when the result's `field` equals `equals`; `otherwise` says what is wrong if not.
    """

    tool: str
    arguments: dict[str, Json]
    field: str = ""
    equals: Json = None
    otherwise: str = ""

    def call(self, target: str) -> dict[str, Json]:
        """The arguments with the connector's own id of the target in its places."""
        return {name: target if value == TARGET else value for name, value in self.arguments.items()}


class When(Struct, frozen=True, kw_only=True):
    """An argument predicate: where it holds, its classification replaces the tool's.

    Exactly one of `equals` and `present` is set. `reach` counts only where `sets_reach`.
    """

    argument: str
    equals: tuple[Json, ...] | None = None
    present: bool | None = None
    category: str | None = None
    effect: Effect | None = None
    reach: int | None = None
    sets_reach: bool = False


class Lookup(Struct, frozen=True):
    """A trusted result field that names another target of this kind, by which a run's mandate is closed."""

    field: str
    kind: str


class ToolManifest(Struct, frozen=True, kw_only=True):
    """What the operator says of one tool. Without category or effect it is unclassified and stays parked.

    `reach` is the most distinct targets that one call can touch, None where nothing bounds it. `expands` marks a set
    without a declared reach: what it expands to bounds a call, while nothing bounds the tool. Where `target_kinds` is
    not empty, a consequential call on a known target of another kind is refused.
    """

    name: str
    category: str | None = None
    effect: Effect | None = None
    takes: Takes = Takes.NONE
    target_argument: str = ""
    target_kinds: tuple[str, ...] = ()
    reach: int | None = None
    expands: bool = False
    undo: Support | None = None
    status: Support | None = None
    preconditions: tuple[Support, ...] = ()
    trusted: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()
    roles: dict[str, str] = {}
    when: tuple[When, ...] = ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """The arguments that go upstream and are shown to nobody."""
        return tuple(sorted(name for name, role in self.roles.items() if role == "secret"))

    @property
    def classified(self) -> bool:
        """Whether the operator has said what the tool does."""
        return self.category is not None and self.effect is not None

    @property
    def consequential(self) -> bool:
        """True unless the tool only ever reads, whatever its arguments."""
        return self.effect is not Effect.READ or any(each.effect not in (None, Effect.READ) for each in self.when)


class Manifest(Struct, frozen=True, kw_only=True):
    """A connector file. `timeout` is in microseconds; `digest` is `sha256:` and SHA-256 of the file's exact bytes."""

    name: str
    prefix: str
    transport: Literal["stdio", "http"]
    digest: str
    credential: Credential
    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    cwd: str | None = None
    url: str = ""
    timeout: int = 30 * SECOND
    label: Label = Label()
    cuttable: bool = True
    audit: AuditMap | None = None
    tools: dict[str, ToolManifest] = {}

    def shown_name(self, tool: str) -> str:
        """What agents call the tool: `prefix__tool`, or just the tool's name where the prefix is empty."""
        return f"{self.prefix}__{tool}" if self.prefix else tool


class Classified(Struct, frozen=True):
    """What a call is, by its arguments. `undecided` lists categories of equal risk that the arguments leave open: then
    none of them can be taken, and the call must be refused. `expands`: the targets that the call names bound it."""

    category: str
    effect: Effect
    reach: int | None
    undecided: tuple[str, ...] = ()
    expands: bool = False


def classify(tool: ToolManifest, arguments: Mapping[str, Json]) -> Classified:
    """The classification of a call.

    The first predicate that holds decides. One that cannot be told (its argument is absent, of another type, or just
    another spelling of the value) may hold or not: then the result is the riskiest of everything possible, with the
    widest reach. An unknown effect counts as `destroy`.
    """
    base = Classified(tool.category or "", tool.effect or Effect.DESTROY, tool.reach, (), tool.expands)
    if not tool.when:
        return base
    possible: list[Classified] = []
    for each in tool.when:
        holds = _holds(each, arguments)
        if holds is not False:
            possible.append(_replaced(base, each))
        if holds:
            break
    else:
        possible.append(base)
    return possible[0] if len(possible) == 1 else _riskiest([*possible, base])


def _replaced(base: Classified, when: When) -> Classified:
    reach, expands = (when.reach, False) if when.sets_reach else (base.reach, base.expands)
    return Classified(when.category or base.category, when.effect or base.effect, reach, (), expands)


def _riskiest(possible: list[Classified]) -> Classified:
    worst = max((each.effect for each in possible), key=RISK.__getitem__)
    reaches = [each.reach for each in possible if each.reach is not None]
    reach = max(reaches) if len(reaches) == len(possible) else None
    expands = reach is None and all(each.expands or each.reach is not None for each in possible)
    categories = tuple(dict.fromkeys(each.category for each in possible if each.effect is worst))
    return Classified(categories[0], worst, reach, categories if len(categories) > 1 else (), expands)


def _holds(when: When, arguments: Mapping[str, Json]) -> bool | None:
    """True, False, or None where it cannot be told."""
    value = arguments.get(when.argument)
    if when.present is not None:
        if value is None and when.argument in arguments:
            return None
        return (when.argument in arguments) is when.present
    options = when.equals or ()
    compared = [equal_json(option, value) for option in options]
    if True in compared:
        return True
    if all(each is None for each in compared):
        return None
    if isinstance(value, str) and normalise(value) in [normalise(each) for each in options if isinstance(each, str)]:
        return None
    return False


def load_manifest(data: bytes, name: str) -> Manifest:
    """The connector file `NAME.toml` in `data`. Raises `Unreadable` with every problem."""
    root = read_toml(data, f"connectors/{name}.toml")
    head = root.table("connector", required=True)
    audit = read_map(root.table("audit")) if _has(root, "audit") else None
    readers = root.tables("tool")
    root.once(readers, "name")
    supports: list[tuple[Reader, Support]] = []
    tools = {tool.name: tool for tool in (_read_tool(reader, supports) for reader in readers)}
    for reader, support in supports:
        _check_support(reader, support, tools)
    manifest = _read_connector(head, name, f"sha256:{sha256_hex(data)}", tools, audit)
    root.finish()
    return manifest


def _read_connector(
    head: Reader, name: str, digest: str, tools: dict[str, ToolManifest], audit: AuditMap | None
) -> Manifest:
    own = head.text("name", pattern=NAME, meaning="a name of lower-case letters, digits, `-` and single `_`")
    if own and own != name:
        head.problem("name", f"`{name}`, as the file is called")
    if own == RESERVED:
        head.problem("name", f"another name than `{RESERVED}`, which is Remit's own")
    prefix = head.prose("prefix", default=own)
    _check_prefix(head, prefix, tools)
    transport = cast(Literal["stdio", "http"], head.choice("transport", ("stdio", "http")))
    command, url, env, cwd = _read_transport(head, transport)
    return Manifest(
        name=own,
        prefix=prefix,
        transport=transport,
        digest=digest,
        credential=_read_credential(head, transport, tools),
        command=command,
        env=env,
        cwd=cwd,
        url=url,
        timeout=head.duration("timeout", default=30 * SECOND, maximum=3600 * SECOND),
        label=_read_label(head, own),
        cuttable=head.flag("cuttable", default=transport == "stdio"),
        audit=audit,
        tools=tools,
    )


def _check_prefix(head: Reader, prefix: str, tools: Mapping[str, ToolManifest]) -> None:
    if prefix and not re.fullmatch(NAME, prefix):
        head.problem("prefix", "an empty text, or lower-case letters, digits, `-` and single `_`")
    if prefix == RESERVED:
        head.problem("prefix", f"another prefix than `{RESERVED}`, which is Remit's own")
    own = next((tool for tool in tools if tool.startswith(f"{RESERVED}__")), None)
    if not prefix and own is not None:
        head.problem("prefix", f"a prefix, since the tool `{own}` would look like one of Remit's")


def _read_transport(head: Reader, transport: str) -> tuple[tuple[str, ...], str, dict[str, str], str | None]:
    other = {"stdio": ("url",), "http": ("command", "env", "cwd")}[transport]
    for name in other:
        if name in head:
            head.raw(name)
            head.problem(name, f"nothing, with transport `{transport}`")
    if transport == "http":
        return (), head.text("url", pattern=_URL, meaning="an http or https URL without user or fragment"), {}, None
    return _read_command(head), "", _read_environment(head), head.text("cwd", default=None)


def _read_command(head: Reader) -> tuple[str, ...]:
    """A list of texts in which a word may come twice."""
    value = head.raw("command")
    if isinstance(value, list) and value and value[0] and all(isinstance(each, str) for each in value):
        return tuple(value)
    if "command" in head:
        head.problem("command", "a list of texts: the program and its arguments")
    return ()


def _read_environment(head: Reader) -> dict[str, str]:
    table = head.table("env")
    for name in table.names():
        if not _ENVIRONMENT_NAME.fullmatch(name):
            table.problem(name, "a name of letters, digits and `_`", shown(name))
    return {name: table.prose(name) for name in table.names()}


def _read_label(head: Reader, name: str) -> Label:
    return Label(
        integrity=Integrity(head.choice("integrity", list(Integrity), default=Integrity.THIRD_PARTY)),
        confidentiality=Confidentiality(
            head.choice("confidentiality", list(Confidentiality), default=Confidentiality.INTERNAL)
        ),
        source=head.text("source", default=name),
    )


def _read_credential(head: Reader, transport: str, tools: Mapping[str, ToolManifest]) -> Credential:
    table = head.table("credential", required=True)
    usable = (CredentialClass.WARRANT, CredentialClass.STATIC, CredentialClass.NONE)
    if "credential" not in head:
        return Credential(kind=CredentialClass.NONE)
    kind = CredentialClass(table.choice("class", [str(each) for each in usable]))
    changing = next((tool.name for tool in tools.values() if tool.consequential and tool.classified), None)
    if kind is CredentialClass.NONE and changing is not None:
        hint = "`none` is for connectors whose tools are all reads"
        table.problem("class", f"`warrant` or `static`, since the tool `{changing}` does more than read", hint=hint)
    if kind is not CredentialClass.STATIC:
        return Credential(kind=kind)
    if transport == "stdio" and "into" not in table and "secret" not in table:
        return Credential(kind=kind)  # its process acts with the standing rights of the user that it runs as
    into = table.text("into", pattern=_INTO, meaning="`env:NAME` or `header:NAME`")
    if into and not into.startswith("env:" if transport == "stdio" else "header:"):
        table.problem("into", "`env:NAME` with transport `stdio`, `header:NAME` with transport `http`")
    secret = table.text("secret", pattern=_REFERENCE, meaning="a reference: `env:NAME`, `file:PATH` or `command:…`")
    return Credential(kind=kind, into=into, secret=secret)


def _read_tool(table: Reader, supports: list[tuple[Reader, Support]]) -> ToolManifest:
    name = table.text("name", pattern=TOOL_NAME, meaning="a tool's name")
    effect = _read_effect(table)
    takes, argument, kinds = _read_target(table)
    whens = tuple(_read_when(each) for each in table.tables("when", label="argument"))
    reach, declared = _read_reach(table)
    only_reads = effect is Effect.READ and all(each.effect in (None, Effect.READ) for each in whens)
    if not declared and only_reads and takes in (Takes.NONE, Takes.ONE):
        reach = int(takes is Takes.ONE)  # what only reads touches no more than it names
    return ToolManifest(
        name=name,
        category=table.text("category", default=None, pattern=CATEGORY, meaning="a category like `host.isolate`"),
        effect=effect,
        takes=takes,
        target_argument=argument,
        target_kinds=kinds,
        reach=reach,
        expands=not declared and (takes is Takes.SET or (takes is Takes.LIST and only_reads)),
        undo=_read_support(table.table("undo"), supports, asks=False) if _has(table, "undo") else None,
        status=_read_support(table.table("status"), supports, asks=True) if _has(table, "status") else None,
        preconditions=tuple(
            _read_support(each, supports, asks=True) for each in table.tables("preconditions", label="tool")
        ),
        trusted=table.texts("trusted", default=()),
        lookups=tuple(
            Lookup(each.text("field"), each.text("kind", pattern=NAME, meaning="a kind of target"))
            for each in table.tables("lookups", label="field")
        ),
        roles=_read_roles(table.table("roles"), argument),
        when=whens,
    )


def _has(table: Reader, name: str) -> bool:
    return table.raw(name, default=None) is not None


def _read_effect(table: Reader) -> Effect | None:
    word = table.choice("effect", list(Effect), default=None)
    return Effect(word) if word is not None else None


def _read_target(table: Reader) -> tuple[Takes, str, tuple[str, ...]]:
    """How many targets, in which argument, and of which kinds (none named: of any)."""
    target = table.table("target")
    if "target" not in table:
        return Takes.NONE, "", ()
    takes = Takes(target.choice("takes", list(Takes)))
    kinds = target.texts("kinds", default=(), pattern=NAME, meaning="a kind of target")
    if takes is not Takes.NONE:
        return takes, target.text("argument"), kinds
    if "argument" in target:
        target.raw("argument")
        target.problem("argument", "nothing, since it takes `none`")
    return takes, "", kinds


def _read_reach(table: Reader) -> tuple[int | None, bool]:
    """The declared reach, None for unbounded, and whether it is declared."""
    value = table.raw("reach", default=None)
    if value is None or value == "unbounded":
        return None, value is not None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 1_000_000:
        return value, True
    table.problem("reach", 'a whole number from 0 to 1000000, or "unbounded"')
    return None, True


def _read_support(table: Reader, supports: list[tuple[Reader, Support]], *, asks: bool) -> Support:
    arguments = table.table("arguments")
    found = {name: arguments.raw(name) for name in arguments.names()}
    for name, value in found.items():
        if not _is_json(value):
            arguments.problem(name, "a value that JSON has")
    support = Support(tool=table.text("tool"), arguments=found)
    if asks:
        equals = table.raw("equals")
        if "equals" in table and not isinstance(equals, str | bool | int | float):
            table.problem("equals", "a text, a number, `true` or `false`")
        field, otherwise = table.text("field"), table.prose("otherwise", default="")
        support = Support(tool=support.tool, arguments=found, field=field, equals=equals, otherwise=otherwise)
    supports.append((table, support))
    return support


def _is_json(value: Json) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(each) for key, each in value.items())
    if isinstance(value, list):
        return all(map(_is_json, value))
    return value is None or isinstance(value, str | bool | int | float)


def _read_roles(table: Reader, argument: str) -> dict[str, str]:
    roles = {name: table.choice(name, ROLES) for name in table.names()}
    for name, role in roles.items():
        if (role == "target") != (name == argument):
            table.problem(name, "the role `target` for the target argument alone")
    return roles


def _read_when(table: Reader) -> When:
    argument = table.text("argument")
    equals, present = table.raw("equals", default=None), table.flag("present", default=None)
    if (equals is None) == (present is None):
        table.problem("", "exactly one of `equals` and `present`", "both" if equals is not None else "neither")
    if equals is not None and not (
        isinstance(equals, list) and equals and all(isinstance(each, str | bool | int | float) for each in equals)
    ):
        table.problem("equals", "a list of texts, numbers, `true` or `false` that is not empty")
        equals = None
    category = table.text("category", default=None, pattern=CATEGORY, meaning="a category like `host.delete`")
    effect = _read_effect(table)
    reach, sets_reach = _read_reach(table)
    if category is None and effect is None and not sets_reach:
        table.problem("", "a category, an effect or a reach for when it holds", "none of them")
    return When(
        argument=argument,
        equals=tuple(equals) if equals is not None else None,
        present=present,
        category=category,
        effect=effect,
        reach=reach,
        sets_reach=sets_reach,
    )


def _check_support(table: Reader, support: Support, tools: Mapping[str, ToolManifest]) -> None:
    """Notes a supporting call to a tool that the file does not have, and a question that does more than read."""
    found = tools.get(support.tool)
    if found is None and support.tool:
        close = nearest(support.tool, tools)
        hint = f"did you mean `{close}`?" if close else ""
        table.problem("tool", "a tool of this file", hint=hint)
    elif found is not None and support.field and found.consequential:
        table.problem("tool", "a tool that only reads")


class ToolStatus(StrEnum):
    """Whether agents may see a tool; all but `classified` hide it."""

    CLASSIFIED = "classified"  # the operator said what it does, and accepted this definition
    UNCLASSIFIED = "unclassified"  # the manifest does not say what it does
    CHANGED = "changed"  # another definition was accepted
    PARKED = "parked"  # classified, but no definition was accepted yet


def tool_status(manifest: Manifest, lock: LockFile, definition: Definition) -> ToolStatus:
    """The status of a tool as its connector now defines it."""
    tool = manifest.tools.get(definition.name)
    accepted = lock.tools.get(definition.name)
    if accepted is not None and accepted != definition.digest:
        return ToolStatus.CHANGED
    if tool is None or not tool.classified:
        return ToolStatus.UNCLASSIFIED
    return ToolStatus.CLASSIFIED if accepted is not None else ToolStatus.PARKED
