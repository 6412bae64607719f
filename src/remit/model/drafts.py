"""A first draft of a connector file out of the connector's own tool list, for an operator to complete.

What lives here: writing the draft's TOML. What never may: classifying a tool as harmless. A connector's annotations
raise the risk of a tool; that it only reads is at most suggested in a comment, and the tool stays parked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from remit.model.definitions import toml_text
from remit.model.words import Definition, Json

_READING_WORDS = """get list search read find describe show query count check lookup fetch view summarize status
    explain"""
_DESTROYING_WORDS = "delete remove destroy wipe erase purge drop kill terminate uninstall revoke"
_WRITING_WORDS = """
    accept activate add allow append apply approve assign attach ban block bulk cancel change clear close commit
    confirm contain copy create deactivate deny detach disable dismiss edit enable exec execute export fork
    forward grant hide import insert install invite invoke isolate label lock manage mark merge modify move
    mutate new notify open patch pause post propose publish push put quarantine rebuild refresh rename reopen
    replace reply reprioritize request rerun reset resolve restart restore resume retry rollback rotate run save
    schedule send set share star start stop submit suspend sync tag transfer trigger unassign unblock undo
    unisolate unlock unresolve unstar update upload upsert verify write
"""
_DECIDING_WORDS = """action actions body cmd code command commands eval exec function method mode mutation op operation
    operations script shell sql statement verb workflow"""
_READING = frozenset(_READING_WORDS.split())
_DESTROYING = frozenset(_DESTROYING_WORDS.split())
_WRITING = frozenset(_WRITING_WORDS.split()) | _DESTROYING
_DECIDING = frozenset(_DECIDING_WORDS.split())
_NAMING = ("host", "hostname", "device", "agent_id", "account", "user", "username", "user_id", "address", "ip")
_LONGEST_REMARK = 100


def draft_manifest(
    connector: str,
    definitions: Iterable[Definition],
    *,
    command: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    url: str = "",
) -> str:
    """The text of a connector file: TOML that parses, with every tool that cannot be told left unclassified.

    It loads as it stands where `command` or `url` is given; otherwise the operator fills one in.
    """
    lines = [
        "# Drafted from the connector's own tool list. A tool without category and effect stays parked: agents do not",
        "# see it. Say what each one does, whatever it says of itself.",
        "[connector]",
        f"name = {toml_text(connector)}",
        f"transport = {toml_text('http' if url else 'stdio')}",
    ]
    if url:
        lines.append(f"url = {toml_text(url)}")
    elif command:
        lines.append(f"command = [{', '.join(map(toml_text, command))}]")
    else:
        lines.append('# command = ["program", "argument"]')
    if env and not url:
        pairs = (f"{toml_text(name)} = {toml_text(value)}" for name, value in env.items())
        lines.append(f"env = {{ {', '.join(pairs)} }}")
    tools = draft_tools(connector, definitions)
    return "\n".join([*lines, *_credential_lines(bool(url), "\neffect = " in tools)]) + "\n\n" + tools


def _credential_lines(http: bool, destroys: bool) -> list[str]:
    into = "header:Authorization" if http else "env:TOKEN"
    return [
        "# `none` is for connectors whose tools are all reads. The others: `warrant` where the connector checks the",
        f'# warrants of Remit, or {{ class = "static", into = "{into}", secret = "env:NAME" }} for a standing secret.',
        'credential = { class = "none" }' if not destroys else 'credential = { class = "warrant" }',
    ]


def draft_tools(connector: str, definitions: Iterable[Definition]) -> str:
    """The `[[tool]]` tables alone, in the order of names, to append to a connector file."""
    return "\n".join(_draft_tool(connector, each) for each in sorted(definitions, key=lambda each: each.name))


def _draft_tool(connector: str, definition: Definition) -> str:
    lines = ["[[tool]]", f"name = {toml_text(definition.name)}"]
    remark = _remark(definition.description)
    if remark:
        lines.append(f"# it says of itself: {remark}")
    category = f"{connector}.{re.sub(r'[^a-z0-9_-]+', '-', definition.name.lower()).strip('-') or 'tool'}"
    annotations = definition.raw.get("annotations")
    hints = annotations if isinstance(annotations, dict) else {}
    lines += _effect_lines(definition, hints, connector, category)
    argument = next((name for name in _NAMING if name in _properties(definition.input_schema)), None)
    if argument is not None:
        lines.append(f'# target = {{ argument = "{argument}", takes = "one" }}')
    return "\n".join(lines) + "\n"


def _effect_lines(definition: Definition, hints: Mapping[str, Json], connector: str, category: str) -> list[str]:
    unknown = [f"# category = {toml_text(category)}", '# effect = "read" | "change" | "destroy" | "send"']
    words = _words(definition.name)
    if hints.get("destructiveHint") is True or words & _DESTROYING:
        whence = "its connector says so" if hints.get("destructiveHint") is True else "its name says so"
        destroys = [f"category = {toml_text(category)}", 'effect = "destroy"']
        return [f"# destroy: {whence}; {_other_word(hints)}", *destroys]
    if hints.get("readOnlyHint") is False or words & _WRITING:
        return ["# unclassified: it changes something; whether it can be undone cannot be told", *unknown]
    deciding = sorted(name for name in _properties(definition.input_schema) if _words(name) & _DECIDING)
    if deciding:
        remark = _remark(", ".join(deciding))
        return [f"# unclassified: what it does depends on its arguments ({remark}); see [[tool.when]]", *unknown]
    if not words & _READING:
        return ["# unclassified: its name does not tell what it does", *unknown]
    if hints.get("readOnlyHint") is not True:
        return ["# unclassified: nothing but its name says that it only reads", *unknown]
    read = [f"# category = {toml_text(f'{connector}.read')}", '# effect = "read"']
    return ["# suggested: its name reads and its connector says that it only reads; check, then uncomment", *read]


def _other_word(hints: Mapping[str, Json]) -> str:
    return "it also says that it only reads" if hints.get("readOnlyHint") is True else "lower it if you know better"


def _words(name: str) -> set[str]:
    """The words of an identifier: `getHostStatus`, `get_host_status` and `get-host-status` alike."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return set(re.split(r"[^a-z0-9]+", spaced.lower())) - {""}


def _properties(schema: Json, depth: int = 8) -> set[str]:
    """The names of all properties anywhere in a schema, as far down as a person would look."""
    if depth == 0:
        return set()
    if isinstance(schema, list):
        return {name for each in schema for name in _properties(each, depth - 1)}
    if not isinstance(schema, dict):
        return set()
    own = schema.get("properties")
    names = {str(name) for name in own} if isinstance(own, dict) else set()
    return names.union(*(_properties(each, depth - 1) for each in schema.values()))


def _remark(text: str) -> str:
    """Untrusted text as a comment may hold it: printable ASCII on one line."""
    line = re.sub(r"[^\x20-\x7e]+", " ", text).strip()
    line = re.sub(r" {2,}", " ", line)
    return line if len(line) <= _LONGEST_REMARK else f"{line[:_LONGEST_REMARK]}..."
