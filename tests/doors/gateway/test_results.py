"""What an agent is shown of what became of its call."""

from __future__ import annotations

import json
from typing import Any

import mcp_types as types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit.doors.gateway.messages import encode
from remit.doors.gateway.results import inert, render, show_tool
from remit.flow.answers import Answer, ShownTool
from remit.model.words import Json, State
from tests.doors.gateway.double import TOKEN, done, refused, run_of, waiting

RUN = run_of(TOKEN)
MOST = 768 * 1024


def rendered(result: Json, *, most: int = MOST, state: State = State.DONE) -> dict[str, Any]:
    """The result as a client decodes it, checked against the official types."""
    shown = render(done(RUN, result, state), max_bytes=most)
    types.CallToolResult.model_validate(shown)
    return json.loads(encode(shown))  # type: ignore[no-any-return]


def blocks(*content: Json) -> list[Any]:
    """The content behind the evidence line."""
    return rendered({"content": list(content)})["content"][1:]  # type: ignore[no-any-return]


def test_text_is_shown_safe() -> None:
    (shown,) = blocks({"type": "text", "text": "host\x1b[2Jgone ![x](https://evil.example/?q)"})
    assert "\x1b" not in shown["text"]
    assert "](https" not in shown["text"]


def test_structured_content_is_kept_safe_where_it_is_an_object() -> None:
    assert rendered({"content": [], "structuredContent": {"a": "\u202eb"}})["structuredContent"] == {"a": "⟦U+202E⟧b"}
    assert "structuredContent" not in rendered({"content": [], "structuredContent": [1]})


def test_a_connectors_error_stays_an_error() -> None:
    assert rendered({"content": [], "isError": True})["isError"] is True
    assert rendered({"content": [], "isError": "false"})["isError"] is False


def test_a_failed_action_with_a_result_shows_both_as_an_error() -> None:
    shown = rendered({"content": [{"type": "text", "text": "no such host"}]}, state=State.FAILED)
    assert shown["isError"] is True
    assert [block["text"] for block in shown["content"][1:]] == ["[remit state=failed]", "no such host"]


def test_a_link_to_a_resource_becomes_text_that_leads_nowhere() -> None:
    (shown,) = blocks({"type": "resource_link", "name": "report", "uri": "https://evil.example/x"})
    assert shown["type"] == "text"
    assert "inert:https://evil.example/x" in shown["text"]


def test_an_embedded_resource_keeps_its_text_under_an_inert_address() -> None:
    (shown,) = blocks(
        {"type": "resource", "resource": {"uri": "javascript:x()", "mimeType": "text/html", "text": "<script>"}}
    )
    assert shown["resource"] == {"uri": "inert:javascript:x%28%29", "mimeType": "text/plain", "text": "⟦<⟧script>"}


def test_images_and_sounds_of_known_kinds_pass_and_others_are_named() -> None:
    png = {"type": "image", "data": "aGk=", "mimeType": "image/png"}
    wav = {"type": "audio", "data": "aGk=", "mimeType": "audio/wav"}
    svg = {"type": "image", "data": "aGk=", "mimeType": "image/svg+xml"}
    bad = {"type": "image", "data": "<svg>", "mimeType": "image/png"}
    shown = blocks(png, wav, svg, bad)
    assert shown[:2] == [png, wav]
    assert shown[2]["text"] == "[remit left out content of kind image and type image/svg+xml]"
    assert shown[3]["type"] == "text"


def test_content_of_an_unknown_kind_is_shown_as_text() -> None:
    shown = blocks({"type": "hologram", "beam": "\x1b[1m"}, "loose", 7, None)
    assert {block["type"] for block in shown} == {"text"}
    assert "hologram" in shown[0]["text"]
    assert "\x1b" not in shown[0]["text"]


@pytest.mark.parametrize("raw", [b"{", b"[]", b"7", b'"x"', b"\xff", b'{"content":' + b"[" * 5_000, b'{"a":"\\ud800"}'])
def test_an_unreadable_answer_says_so_and_keeps_its_evidence(raw: bytes) -> None:
    shown = rendered(raw)
    assert "cannot show this answer" in shown["content"][1]["text"]
    assert shown["_meta"]["remit/evidence"]["id"] == "ev_0000000000000001"
    assert shown["isError"] is False


def test_a_deeply_nested_answer_is_not_shown() -> None:
    raw = b'{"content":[],"structuredContent":{"a":' + b"[" * 100 + b"]" * 100 + b"}}"
    assert "nested more than 64 levels" in rendered(raw)["content"][1]["text"]


def test_numbers_beyond_64_bits_are_shown_as_they_are() -> None:
    raw = b'{"content":[],"structuredContent":{"record":123456789012345678901234567890}}'
    assert rendered(raw)["structuredContent"] == {"record": 123456789012345678901234567890}


def test_an_answer_that_is_too_large_is_cut_and_says_so() -> None:
    text = "\u202e" * 5_000
    result = {
        "content": [{"type": "text", "text": "first"}, {"type": "text", "text": text}],
        "structuredContent": {"t": text},
    }
    shown = rendered(result, most=20_000)
    assert len(encode(shown)) <= 20_000
    assert shown["content"][1]["text"] == "first"
    assert "remit cut this answer" in shown["content"][-1]["text"]
    assert "structuredContent" not in shown
    assert "ask for less" in rendered(b" " * 200_000, most=20_000)["content"][1]["text"]


def test_a_handle_says_how_to_go_on() -> None:
    shown = render(waiting(None), max_bytes=MOST)
    assert shown["isError"] is False
    assert "expires_at" not in shown["structuredContent"]
    assert "waits for a human" in shown["content"][0]["text"]
    assert "remit__await_action" in shown["content"][0]["text"]
    moving = render(Answer(state=State.EXECUTING, action="act_1"), max_bytes=MOST)
    assert moving["structuredContent"] == {"state": "executing", "action_id": "act_1", "poll_after_ms": 1_000}


def test_a_refusal_says_clause_and_hint_in_text_too() -> None:
    shown = render(refused("edr__x"), max_bytes=MOST)
    assert shown["isError"] is True
    assert shown["content"][0]["text"] == (
        "`edr__x` is not allowed here\nclause `N-1`: domain controllers are never touched\nhint: ask a human"
    )


@pytest.mark.parametrize("state", ["stopped", *[s for s in State if s not in (State.DONE, State.WAITING)]])
def test_every_state_has_an_answer(state: str) -> None:
    shown = render(Answer(state=state, action="act_1"), max_bytes=MOST)
    types.CallToolResult.model_validate(shown)
    assert shown["structuredContent"]["state"] == state


def test_remits_own_tools_answer_in_structure_and_text() -> None:
    shown = render(Answer(state=State.DONE, structured={"categories": ["host.isolate"]}), max_bytes=MOST)
    assert shown["structuredContent"] == {"categories": ["host.isolate"]}
    assert json.loads(shown["content"][0]["text"]) == {"categories": ["host.isolate"]}


def test_a_tool_is_shown_without_icons_meta_and_header_annotations() -> None:
    schema = {"type": "object", "properties": {"x-mcp-header": {"type": "string", "x-mcp-header": "Host"}}}
    definition = {"name": "upstream", "icons": [], "_meta": {}, "execution": {}, "inputSchema": schema, "title": "T"}
    shown = show_tool(ShownTool(name="edr__x", definition=definition, consequential=True))
    assert shown == {
        "name": "edr__x",
        "title": "T",
        "inputSchema": {"type": "object", "properties": {"x-mcp-header": {"type": "string"}}},
    }


@given(st.text())
def test_an_inert_address_never_has_another_scheme(uri: str) -> None:
    assert inert(uri).startswith("inert:")
    assert inert(uri).isascii()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
BLOCK = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image", "audio", "resource", "resource_link", "x"]) | JSON},
    optional=dict.fromkeys(("text", "data", "mimeType", "resource", "uri", "name", "annotations"), JSON),
)


@given(
    st.fixed_dictionaries({}, optional={"content": st.lists(BLOCK) | JSON, "structuredContent": JSON, "isError": JSON})
)
def test_whatever_a_connector_answers_is_a_result_that_clients_accept(result: Json) -> None:
    rendered(result)


@given(st.binary())
def test_whatever_bytes_a_connector_answers_are_a_result_that_clients_accept(raw: bytes) -> None:
    if raw:
        rendered(raw)
