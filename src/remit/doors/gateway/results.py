"""What became of a call, as an MCP tool result: visible to a language model, and inert.

Whatever a connector sent is shown only after `remit.model.display` made it safe; nothing in a result can be fetched,
followed or run by a client, and nothing is left out silently. The raw bytes stay with the evidence.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from remit.doors.gateway.messages import encode
from remit.flow.answers import Answer, ShownTool
from remit.model.display import safe_line, safe_text, safe_value
from remit.model.words import Evidence, Instant, Json, State

EVIDENCE_KEY = "remit/evidence"

_SHOWN_KEYS = ("title", "description", "inputSchema", "outputSchema", "annotations")
_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_SOUNDS = frozenset({"audio/wav", "audio/x-wav", "audio/mpeg", "audio/mp3", "audio/ogg", "audio/webm", "audio/flac"})
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_MAX_DEPTH = 64
_MOST_BLOCKS = 1_000
_POLL_MS = {State.WAITING: 5_000}
_POLL_SOON_MS = 1_000

Block = dict[str, Json]


def render(answer: Answer, *, max_bytes: int) -> dict[str, Json]:
    """`answer` as a `CallToolResult` (MCP, tools), of at most about `max_bytes` bytes of JSON.

    Done: the connector's content behind a line that names the evidence. Still open: a successful handle to ask again
    with. Anything else: `isError` with the state, the clauses and a hint.
    """
    if answer.open:
        return _handle(answer)
    if answer.result:
        return _connectors(answer, max_bytes)
    if answer.state == State.DONE:
        return _own(answer)
    return _refusal(answer)


def show_tool(tool: ShownTool) -> dict[str, Json]:
    """A tool for `tools/list`: only what a client needs in order to call it.

    Icons, `_meta` and header annotations are left out (they load or steer something); the output schema is left out
    where a call may answer with a handle or a refusal in place of what the schema promises.
    """
    shown: dict[str, Json] = {"name": tool.name}
    for key in _SHOWN_KEYS:
        if key in tool.definition and not (key == "outputSchema" and tool.consequential):
            shown[key] = tool.definition[key]
    shown["inputSchema"] = _without_header_annotations(shown.get("inputSchema") or {"type": "object"})
    return shown


def _without_header_annotations(schema: Json) -> Json:
    if isinstance(schema, dict):
        return {
            key: _without_header_annotations(value)
            for key, value in schema.items()
            if not (key == "x-mcp-header" and not isinstance(value, dict))
        }
    if isinstance(schema, list):
        return [_without_header_annotations(value) for value in schema]
    return schema


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _moment(instant: Instant) -> str:
    return datetime.fromtimestamp(instant // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _handle(answer: Answer) -> dict[str, Json]:
    """The durable handle of an action that has not ended: a success, because nothing was refused."""
    poll = _POLL_MS.get(State(answer.state), _POLL_SOON_MS)
    structured: dict[str, Json] = {"state": str(answer.state), "action_id": answer.action, "poll_after_ms": poll}
    if answer.expires_at is not None:
        structured["expires_at"] = _moment(answer.expires_at)
    if answer.clauses:
        structured["clauses"] = _clauses(answer)
    what = answer.message or _STILL[State(answer.state)].format(answer.action)
    until = f" (until {structured['expires_at']})" if answer.expires_at is not None else ""
    how = answer.hint or (
        f"go on with other work, and call `remit__await_action` with action_id `{answer.action}` "
        f"after {poll // 1000} s; do not repeat the call"
    )
    text = f"{safe_text(what)}{until}\nhint: {safe_text(how)}"
    return {"content": [_text(text)], "structuredContent": structured, "isError": False}


_STILL = {
    State.WAITING: "`{}` waits for a human to approve it",
    State.APPROVED: "`{}` is approved and about to start",
    State.EXECUTING: "`{}` is on its way at the connector",
}


def _clauses(answer: Answer) -> list[Json]:
    return [{"id": safe_line(clause.id), "says": safe_text(clause.says)} for clause in answer.clauses]


def _refusal(answer: Answer) -> dict[str, Json]:
    structured: dict[str, Json] = {"state": str(answer.state)}
    if answer.action:
        structured["action_id"] = answer.action
    structured["clauses"] = _clauses(answer)
    structured["hint"] = safe_text(answer.hint)
    lines = [safe_text(answer.message) or f"the call is {answer.state}"]
    lines += [f"clause `{clause['id']}`: {clause['says']}" for clause in structured["clauses"]]
    if answer.hint:
        lines.append(f"hint: {structured['hint']}")
    return {"content": [_text("\n".join(lines))], "structuredContent": structured, "isError": True}


def _own(answer: Answer) -> dict[str, Json]:
    """What one of Remit's own tools answers."""
    structured = safe_value(answer.structured) if answer.structured is not None else {"state": str(answer.state)}
    if answer.structured is None and answer.action:
        structured["action_id"] = answer.action
    text = safe_text(answer.message) if answer.message else encode(structured).decode()
    return {"content": [_text(text)], "structuredContent": structured, "isError": False}


def _connectors(answer: Answer, max_bytes: int) -> dict[str, Json]:
    """A connector's result behind the evidence line; said to be incomplete where it is."""
    head = _head(answer)
    failed = answer.state != State.DONE
    decoded = _decode(answer.result, max_bytes)
    if isinstance(decoded, str):
        return _with_evidence(answer, {"content": [*head, _text(decoded)], "isError": failed})
    blocks = decoded.get("content")
    shown = [_block(block) for block in blocks[:_MOST_BLOCKS]] if isinstance(blocks, list) else []
    if isinstance(blocks, list) and len(blocks) > _MOST_BLOCKS:
        shown.append(_text(f"[remit left out {len(blocks) - _MOST_BLOCKS} more content blocks]"))
    result: dict[str, Json] = {"content": [*head, *shown], "isError": failed or decoded.get("isError") is True}
    if isinstance(decoded.get("structuredContent"), dict):
        result["structuredContent"] = safe_value(decoded["structuredContent"])
    if len(answer.result) * 8 > max_bytes and len(encode(result)) > max_bytes:
        result = {"content": [*head, *_clipped(shown, len(answer.result), max_bytes)], "isError": result["isError"]}
    return _with_evidence(answer, result)


def _head(answer: Answer) -> list[Block]:
    head = []
    if answer.evidence is not None:
        label = answer.evidence.label
        head.append(
            _text(
                f"[remit evidence {answer.evidence.id} · integrity={label.integrity} · "
                f"confidentiality={label.confidentiality} · source={safe_line(label.source)}]"
            )
        )
    if answer.state != State.DONE:
        says = f": {safe_text(answer.message)}" if answer.message else ""
        hint = f"\nhint: {safe_text(answer.hint)}" if answer.hint else ""
        head.append(_text(f"[remit state={answer.state}{says}]{hint}"))
    return head


def _with_evidence(answer: Answer, result: dict[str, Json]) -> dict[str, Json]:
    if answer.evidence is not None:
        result["_meta"] = {EVIDENCE_KEY: _evidence(answer.evidence)}
    return result


def _evidence(evidence: Evidence) -> dict[str, Json]:
    label = evidence.label
    return {
        "id": evidence.id,
        "label": {
            "integrity": str(label.integrity),
            "confidentiality": str(label.confidentiality),
            "source": safe_line(label.source),
        },
        "action_id": evidence.action,
    }


def _decode(raw: bytes, max_bytes: int) -> dict[str, Any] | str:
    """The connector's result, or one sentence on why it cannot be shown. The action is what it is either way."""
    if len(raw) > 8 * max_bytes:
        return f"[remit does not show this answer of {len(raw)} bytes: ask for less at once]"
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return "[remit cannot show this answer: the connector did not send readable JSON]"
    if not isinstance(value, dict):
        return "[remit cannot show this answer: the connector did not send a tool result]"
    if raw.count(b"[") + raw.count(b"{") > _MAX_DEPTH and _deeper_than(value, _MAX_DEPTH):
        return f"[remit does not show this answer: it is nested more than {_MAX_DEPTH} levels deep]"
    return value


def _deeper_than(value: Json, most: int) -> bool:
    level: list[Any] = [value]
    for _ in range(most):
        inner: list[Any] = []
        for holder in level:
            for each in holder.values() if isinstance(holder, dict) else holder:
                if isinstance(each, dict | list):
                    inner.append(each)
        if not inner:
            return False
        level = inner
    return True


def _block(block: Json) -> Block:
    """One content block made inert. What is of no known kind is shown as text."""
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "text" and isinstance(block.get("text"), str):
        return _text(safe_text(block["text"]))
    if kind == "image" or kind == "audio":
        return _media(block, kind, _IMAGES if kind == "image" else _SOUNDS)
    if kind == "resource" and isinstance(block.get("resource"), dict):
        return _resource(block["resource"])
    if kind == "resource_link":
        about = {key: block[key] for key in ("name", "title", "description", "mimeType") if key in block}
        about["uri"] = inert(block.get("uri"))
        return _text(f"[remit made a resource link inert] {encode(safe_value(about)).decode()}")
    return _text(f"[remit shows content of an unknown kind as text] {encode(safe_value(block)).decode()}")


def _media(block: Block, kind: str, allowed: frozenset[str]) -> Block:
    data, mime = block.get("data"), block.get("mimeType")
    if isinstance(data, str) and isinstance(mime, str) and mime.lower() in allowed and _BASE64.fullmatch(data):
        return {"type": kind, "data": data, "mimeType": mime.lower()}
    return _text(f"[remit left out content of kind {kind} and type {safe_line(str(mime), 60)}]")


def _resource(resource: dict[str, Json]) -> Block:
    uri = inert(resource.get("uri"))
    if isinstance(resource.get("text"), str):
        inner = {"uri": uri, "mimeType": "text/plain", "text": safe_text(resource["text"])}
        return {"type": "resource", "resource": inner}
    blob, mime = resource.get("blob"), str(resource.get("mimeType")).lower()
    if isinstance(blob, str) and mime in _IMAGES | _SOUNDS and _BASE64.fullmatch(blob):
        return {"type": "resource", "resource": {"uri": uri, "mimeType": mime, "blob": blob}}
    return _text(f"[remit left out a resource of type {safe_line(mime, 60)}: {uri}]")


def inert(uri: Json) -> str:
    """`uri` as one that no client can open: under the scheme `inert`, with everything unusual percent-encoded."""
    text = uri if isinstance(uri, str) else ""
    return "inert:" + quote(text[:2_000].encode("utf-8", "replace"), safe="/:@.-_~?=&,;+%")


def _clipped(blocks: list[Block], raw_bytes: int, max_bytes: int) -> list[Block]:
    """As many blocks as fit, the first text that does not fit cut, and a note that says so."""
    kept: list[Block] = []
    left = max_bytes - 2_000
    for block in blocks:
        size = len(encode(block))
        if size <= left:
            kept.append(block)
            left -= size
            continue
        if block["type"] == "text" and left > 200:
            kept.append(_text(_cut(block["text"], left - 100)))
        break
    note = f"[remit cut this answer of {raw_bytes} bytes to {max_bytes}; all of it is kept as evidence: ask for less]"
    return [*kept, _text(note)]


def _cut(text: str, most: int) -> str:
    """The longest start of `text` (within a factor of two) whose JSON takes at most `most` bytes."""
    text = text[:most]
    while len(encode(text)) > most:
        text = text[: len(text) // 2]
    return text
