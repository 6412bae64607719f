"""Reading `.mcp.json`: each server becomes the head of a connector file. Secrets never get into it.

What lives here: a pure reading of the file's bytes, and what to tell the person. What never may: writing a secret down,
or classifying a tool.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from remit.model.definitions import toml_text
from remit.model.display import redact_patterns, shown
from remit.model.errors import Misuse
from remit.model.manifest import load_manifest

_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|API[_-]?KEY|ACCESS[_-]?KEY|PRIVATE|AUTH(?!ORS?(?:[_-]|$))|COOKIE"
    r"|(?:^|[_-])PAT$|[_-]KEY$",
    re.I,
)
_VARIABLE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-[^}]*)?\}")
_LONG_RANDOM = re.compile(r"(?=.*[A-Za-z])(?=.*[0-9])[A-Za-z0-9+/_=.-]{32,}")
_SECRET_IN_URL = re.compile(r"//[^/?#]*@|[?&][^=&]*(?:key|token|secret|passw|auth|sig)[^=&]*=", re.I)
_PLACES = ("/", "./", "../", "~", "http://", "https://")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOO_LARGE = 1024 * 1024


@dataclass
class Imported:
    """One server as a connector file, and what the person must know. `problem` says why there is no file."""

    name: str
    asked: str
    text: str = ""
    problem: str = ""
    notes: list[str] = field(default_factory=list)


def read_servers(data: bytes) -> dict[str, dict[str, Any]]:
    """The servers of an `.mcp.json`. Raises `Misuse` where it is none."""
    if len(data) > _TOO_LARGE:
        raise Misuse("the file is larger than 1 MiB, expected an `.mcp.json`")
    try:
        found = json.loads(data)
    except ValueError as error:
        raise Misuse(f"the file is not JSON ({error})", hint="name an `.mcp.json` with `mcpServers`") from None
    servers = next((found[key] for key in ("mcpServers", "servers") if isinstance(found, dict) and key in found), None)
    if not isinstance(servers, dict) or not all(isinstance(each, dict) for each in servers.values()):
        raise Misuse("the file has no table `mcpServers`", hint="name the file that your MCP client reads")
    return servers


def imported(asked: str, server: Mapping[str, Any]) -> Imported:
    """One server as the head of a connector file without tools; `remit connectors pin` drafts those."""
    name = re.sub(r"_{2,}", "_", re.sub(r"[^a-z0-9_-]+", "-", asked.lower())).strip("-_")
    result = Imported(name=name, asked=asked)
    if not name or name == "remit":
        result.problem = f"{shown(asked)} is not a name that a connector can have"
        return result
    transport = server.get("type") or server.get("transport") or ("http" if "url" in server else "stdio")
    if transport == "sse":
        result.problem = "it speaks the old SSE transport, which Remit does not; look for its streamable HTTP address"
        return result
    lines, secrets = _http(server, result) if "url" in server else _stdio(server, result)
    if not result.problem:
        result.text = _file(name, "http" if "url" in server else "stdio", lines, secrets, result)
        _check(result)
    return result


def _check(result: Imported) -> None:
    try:
        load_manifest(result.text.encode(), result.name)
    except Misuse as error:
        result.text, result.problem = "", error.message


Secret = tuple[str, str]
"""Where a secret goes (`env:NAME` or `header:NAME`), and the reference to it."""


def _stdio(server: Mapping[str, Any], result: Imported) -> tuple[list[str], list[Secret]]:
    words = [server.get("command"), *(server.get("args") or [])]
    if not all(isinstance(word, str) and word for word in words[:1]) or not all(
        isinstance(word, str) for word in words
    ):
        result.problem = "it has no `command`, or its `args` are no list of texts"
        return [], []
    if any(map(_gives_secret, words, [*words[1:], ""])):
        result.problem = "its `args` hold what looks like a secret, which would be in clear in every process list"
        result.notes.append("give it to the program in a variable of its environment, and import it again")
        return [], []
    lines = [f"command = [{', '.join(map(toml_text, words))}]"]
    environment, secrets = _split(server.get("env") or {}, result)
    if environment:
        pairs = ", ".join(f"{name} = {toml_text(value)}" for name, value in environment.items())
        lines.append(f"env = {{ {pairs} }}")
    if isinstance(server.get("cwd"), str):
        lines.append(f"cwd = {toml_text(server['cwd'])}")
    return lines, secrets


def _gives_secret(word: str, following: str) -> bool:
    """Whether a word of a command holds a secret, or is an option whose value does (`--token=…`, `--token …`)."""
    name, equals, value = word.lstrip("-").partition("=")
    if not equals and word.startswith("-") and not following.startswith("-"):
        value = following
    return redact_patterns(word) != word or bool(value and word.startswith("-") and _SECRET_NAME.search(name))


def _split(environment: Any, result: Imported) -> tuple[dict[str, str], list[Secret]]:
    """What may stand in the file, and references to what may not."""
    plain: dict[str, str] = {}
    secrets: list[Secret] = []
    for name, value in environment.items() if isinstance(environment, dict) else ():
        if not _ENVIRONMENT_NAME.fullmatch(name):
            result.notes.append(f"its variable {shown(name)} has no proper name and is left out")
        elif variable := _VARIABLE.fullmatch(str(value)):
            secrets.append((f"env:{name}", f"env:{variable[1]}"))
        elif looks_secret(name, str(value)):
            secrets.append((f"env:{name}", f"env:{name}"))
            result.notes.append(
                f"the value of `{name}` looks like a secret and was not copied: set `{name}` in the gateway's own "
                'environment, or write secret = "file:PATH" (mode 0600) into the file'
            )
        else:
            plain[name] = str(value)
    return plain, secrets


def looks_secret(name: str, value: str) -> bool:
    """Whether a variable or header may hold a secret; in doubt it does."""
    if _SECRET_NAME.search(name) or redact_patterns(value) != value:
        return True
    return not value.startswith(_PLACES) and _LONG_RANDOM.fullmatch(value) is not None


def _http(server: Mapping[str, Any], result: Imported) -> tuple[list[str], list[Secret]]:
    url = server["url"]
    if not isinstance(url, str) or redact_patterns(url) != url or _SECRET_IN_URL.search(url):
        result.problem = "its `url` holds what looks like a secret, which would be in clear in the file"
        return [], []
    secrets: list[Secret] = []
    headers = server.get("headers") or {}
    for name, value in headers.items() if isinstance(headers, dict) else ():
        if looks_secret(name, str(value)) or _VARIABLE.search(str(value)):
            variable = f"{result.name}_{name}".upper().replace("-", "_")
            secrets.append((f"header:{name}", f"env:{variable}"))
            scheme = "the whole value, `Bearer` included" if str(value).lower().startswith("bearer ") else "the value"
            result.notes.append(f"the header `{name}` was not copied: set `{variable}` to {scheme} for the gateway")
        else:
            result.notes.append(f"the header `{name}` is left out: a connector sends one header, its credential")
    return [f"url = {toml_text(url)}"], secrets


def _file(name: str, transport: str, lines: Sequence[str], secrets: Sequence[Secret], result: Imported) -> str:
    head = [
        f"# Imported from the server {toml_text(result.asked)} of an .mcp.json. `remit connectors pin {name}` drafts",
        "# its tools; say what each one does, pin the file in the boundary, and accept the tools.",
        "[connector]",
        f"name = {toml_text(name)}",
        f"transport = {toml_text(transport)}",
        *lines,
    ]
    if secrets:
        into, reference = secrets[0]
        credential = f'{{ class = "static", into = {toml_text(into)}, secret = {toml_text(reference)} }}'
        for left_out, _ in secrets[1:]:
            result.notes.append(
                f"`{left_out.partition(':')[2]}` is left out: a connector takes one secret. Start it through a small "
                "program of yours that sets the others"
            )
    else:
        credential = NO_CREDENTIAL
    return "\n".join([*head, f"credential = {credential}"]) + "\n"


NO_CREDENTIAL = '{ class = "none" }'
