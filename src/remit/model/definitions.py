"""Tools as their connectors define them, and the lock file of the definitions that an operator accepted."""

from __future__ import annotations

import re

from msgspec import Struct

from remit.model.canonical import encode, sha256_hex
from remit.model.display import shown
from remit.model.errors import Misuse
from remit.model.reading import read_toml
from remit.model.words import Definition, Json

TOOL_NAME = r"[A-Za-z0-9_./-]{1,128}"
_DIGEST = r"sha256:[0-9a-f]{64}"


def definition_digest(raw: Json) -> str:
    """SHA-256 (hexadecimal) over RFC 8785 of a whole tool definition. Raises `NotCanonical` where it has none."""
    return sha256_hex(encode(raw))


def read_definition(raw: Json) -> Definition:
    """An entry of `tools/list` (MCP, Tool). Raises `Misuse` where it is not one."""
    if not isinstance(raw, dict) or not re.fullmatch(TOOL_NAME, str(raw.get("name", ""))):
        raise Misuse("expected a tool definition with a name of letters, digits, `_`, `-`, `.` and `/`")
    name, description, schema = raw["name"], raw.get("description", ""), raw.get("inputSchema")
    if not isinstance(name, str) or not isinstance(schema, dict) or not isinstance(description or "", str):
        raise Misuse(f"expected of the tool {shown(name)} an `inputSchema` that is an object and a text description")
    digest = definition_digest(raw)
    return Definition(name=name, digest=digest, description=description or "", input_schema=schema, raw=raw)


class LockFile(Struct, frozen=True):
    """`connectors/NAME.lock`: the definition digest (hexadecimal) that an operator accepted, by tool. It cannot change
    a classification."""

    tools: dict[str, str] = {}

    def dump(self, connector: str) -> str:
        """The file's text."""
        lines = [f"# {connector}: the tool definitions that an operator accepted (`remit connectors accept`)", ""]
        lines.append("[definitions]")
        lines += [f'{toml_text(tool)} = "sha256:{self.tools[tool]}"' for tool in sorted(self.tools)]
        return "\n".join(lines) + "\n"


def load_lock(data: bytes, name: str) -> LockFile:
    """The lock file `NAME.lock` in `data`. Raises `Unreadable` with every problem."""
    root = read_toml(data, f"connectors/{name}.lock")
    table = root.table("definitions", required=True)
    meaning = "`sha256:` and 64 hexadecimal digits"
    tools = {tool: table.text(tool, pattern=_DIGEST, meaning=meaning) for tool in table.names()}
    root.finish()
    return LockFile({tool: digest.removeprefix("sha256:") for tool, digest in tools.items()})


def toml_text(text: str) -> str:
    """A basic string of TOML 1.0 that holds `text`."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(_escape(each) if ord(each) < 0x20 or ord(each) == 0x7F else each for each in escaped) + '"'


def _escape(character: str) -> str:
    return f"\\u{ord(character):04X}"
