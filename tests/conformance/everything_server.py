"""An MCP server that offers the fixed names which the official conformance suite calls.

It is built on the official SDK and imports nothing of ours. Behind the gateway it is a connector with an
empty prefix (over stdio); with `--http HOST:PORT` the suite runs against it directly: the baseline.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import struct
import warnings
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import mcp_types as types
from mcp import MCPDeprecationWarning
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

Context = ServerRequestContext[dict[str, Any], Any]
Content = list[types.ContentBlock]
Json = dict[str, Any]

PAUSE_SECONDS = 0.05
SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def png() -> bytes:
    """One red pixel (PNG, RFC 2083)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixel = zlib.compress(b"\x00\xff\x00\x00")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")


def wav() -> bytes:
    """Ten silent samples, mono, 8 kHz (RIFF WAVE)."""
    samples = b"\x80" * 10
    layout = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8)
    body = b"WAVE" + layout + struct.pack("<4sI", b"data", len(samples)) + samples
    return struct.pack("<4sI", b"RIFF", len(body)) + body


PNG = base64.b64encode(png()).decode()
WAV = base64.b64encode(wav()).decode()


def text(words: str) -> types.TextContent:
    return types.TextContent(type="text", text=words)


def image() -> types.ImageContent:
    return types.ImageContent(type="image", data=PNG, mime_type="image/png")


def embedded(uri: str, mime_type: str, words: str) -> types.EmbeddedResource:
    resource = types.TextResourceContents(uri=uri, mime_type=mime_type, text=words)
    return types.EmbeddedResource(type="resource", resource=resource)


async def simple_text(_context: Context, _arguments: Json) -> Content:
    return [text("This is a simple text response for testing.")]


async def image_content(_context: Context, _arguments: Json) -> Content:
    return [image()]


async def audio_content(_context: Context, _arguments: Json) -> Content:
    return [types.AudioContent(type="audio", data=WAV, mime_type="audio/wav")]


async def embedded_resource(_context: Context, _arguments: Json) -> Content:
    return [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")]


async def multiple_content_types(_context: Context, _arguments: Json) -> Content:
    data = json.dumps({"test": "data", "value": 123})
    mixed = embedded("test://mixed-content-resource", "application/json", data)
    return [text("Multiple content types test:"), image(), mixed]


async def tool_with_logging(context: Context, _arguments: Json) -> Content:
    for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await context.session.send_log_message("info", words, related_request_id=context.request_id)
        await asyncio.sleep(PAUSE_SECONDS)
    return [text("three log messages were sent")]


async def tool_with_progress(context: Context, _arguments: Json) -> Content:
    for progress in (0, 50, 100):
        await context.session.report_progress(progress, 100)
        await asyncio.sleep(PAUSE_SECONDS)
    return [text("progress went from 0 to 100")]


async def error_handling(_context: Context, _arguments: Json) -> Content:
    raise ToolFailed("This tool intentionally returns an error for testing")


async def reconnection(context: Context, _arguments: Json) -> Content:
    if context.close_sse_stream is not None:
        await context.close_sse_stream()
    await asyncio.sleep(PAUSE_SECONDS)
    return [text("the stream was closed and the call went on")]


async def sampling(context: Context, arguments: Json) -> Content:
    prompt = types.SamplingMessage(role="user", content=text(str(arguments["prompt"])))
    answer = await context.session.create_message([prompt], max_tokens=100, related_request_id=context.request_id)
    return [text(f"LLM response: {getattr(answer.content, 'text', '')}")]


async def elicit(context: Context, message: str, schema: Json) -> Content:
    answer = await context.session.elicit_form(message, schema, related_request_id=context.request_id)
    return [text(f"Elicitation completed: action={answer.action}, content={json.dumps(answer.content)}")]


async def elicitation(context: Context, arguments: Json) -> Content:
    user = {"type": "string", "description": "User's response"}
    email = {"type": "string", "description": "User's email address"}
    schema = {
        "type": "object",
        "properties": {"username": user, "email": email},
        "required": ["username", "email"],
    }
    return await elicit(context, str(arguments["message"]), schema)


async def elicitation_defaults(context: Context, _arguments: Json) -> Content:
    properties = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    return await elicit(context, "Fields with defaults", {"type": "object", "properties": properties})


async def elicitation_enums(context: Context, _arguments: Json) -> Content:
    options = ["option1", "option2", "option3"]
    titled = [{"const": f"value{number}", "title": f"Choice {number}"} for number in (1, 2, 3)]
    names = ["Option One", "Option Two", "Option Three"]
    properties = {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": names},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    return await elicit(context, "Every kind of choice", {"type": "object", "properties": properties})


class ToolFailed(Exception):
    """Told to the caller as a result with `isError`."""


NOTHING: Json = {"type": "object", "properties": {}}
ADDRESS: Json = {"type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}
DIALECT: Json = {
    "$schema": SCHEMA_DIALECT,
    "type": "object",
    "$defs": {"address": ADDRESS},
    "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
    "additionalProperties": False,
}


def one_text(name: str) -> Json:
    return {"type": "object", "properties": {name: {"type": "string"}}, "required": [name]}


TOOLS: dict[str, tuple[Json, Callable[[Context, Json], Awaitable[Content]]]] = {
    "test_simple_text": (NOTHING, simple_text),
    "test_image_content": (NOTHING, image_content),
    "test_audio_content": (NOTHING, audio_content),
    "test_embedded_resource": (NOTHING, embedded_resource),
    "test_multiple_content_types": (NOTHING, multiple_content_types),
    "test_tool_with_logging": (NOTHING, tool_with_logging),
    "test_tool_with_progress": (NOTHING, tool_with_progress),
    "test_error_handling": (NOTHING, error_handling),
    "test_reconnection": (NOTHING, reconnection),
    "test_sampling": (one_text("prompt"), sampling),
    "test_elicitation": (one_text("message"), elicitation),
    "test_elicitation_sep1034_defaults": (NOTHING, elicitation_defaults),
    "test_elicitation_sep1330_enums": (NOTHING, elicitation_enums),
    "json_schema_2020_12_tool": (DIALECT, simple_text),
}


async def list_tools(_context: Context, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    return types.ListToolsResult(
        tools=[
            types.Tool(name=name, description=f"Answers the conformance suite's `{name}`.", input_schema=schema)
            for name, (schema, _) in TOOLS.items()
        ]
    )


async def call_tool(context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
    if params.name not in TOOLS:
        return types.CallToolResult(content=[text(f"there is no tool `{params.name}`")], is_error=True)
    _, run = TOOLS[params.name]
    try:
        return types.CallToolResult(content=await run(context, params.arguments or {}))
    except ToolFailed as failed:
        return types.CallToolResult(content=[text(str(failed))], is_error=True)


async def list_resources(_context: Context, _params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    named = {"static-text": "text/plain", "static-binary": "image/png", "watched-resource": "text/plain"}
    return types.ListResourcesResult(
        resources=[types.Resource(uri=f"test://{name}", name=name, mime_type=kind) for name, kind in named.items()]
    )


async def list_templates(
    _context: Context, _params: types.PaginatedRequestParams | None
) -> types.ListResourceTemplatesResult:
    template = types.ResourceTemplate(
        uri_template="test://template/{id}/data", name="template", mime_type="application/json"
    )
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def read_resource(_context: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    uri = str(params.uri)
    contents: types.TextResourceContents | types.BlobResourceContents
    if uri == "test://static-binary":
        contents = types.BlobResourceContents(uri=uri, mime_type="image/png", blob=PNG)
    elif uri.startswith("test://template/"):
        identity = uri.split("/")[3]
        data = json.dumps({"id": identity, "templateTest": True, "data": f"Data for ID: {identity}"})
        contents = types.TextResourceContents(uri=uri, mime_type="application/json", text=data)
    else:
        words = "This is the content of the static text resource."
        contents = types.TextResourceContents(uri=uri, mime_type="text/plain", text=words)
    return types.ReadResourceResult(contents=[contents])


async def subscribe(_context: Context, _params: types.SubscribeRequestParams) -> types.EmptyResult:
    return types.EmptyResult()


async def unsubscribe(_context: Context, _params: types.UnsubscribeRequestParams) -> types.EmptyResult:
    return types.EmptyResult()


PROMPTS: dict[str, tuple[str, ...]] = {
    "test_simple_prompt": (),
    "test_prompt_with_arguments": ("arg1", "arg2"),
    "test_prompt_with_embedded_resource": ("resourceUri",),
    "test_prompt_with_image": (),
}


async def list_prompts(_context: Context, _params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
    def prompt(name: str, arguments: tuple[str, ...]) -> types.Prompt:
        wanted = [types.PromptArgument(name=argument, required=True) for argument in arguments]
        return types.Prompt(name=name, description=f"Answers the conformance suite's `{name}`.", arguments=wanted)

    return types.ListPromptsResult(prompts=[prompt(name, arguments) for name, arguments in PROMPTS.items()])


async def get_prompt(_context: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult:
    given = params.arguments or {}
    said: list[types.ContentBlock]
    if params.name == "test_prompt_with_arguments":
        said = [text(f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'")]
    elif params.name == "test_prompt_with_embedded_resource":
        resource = embedded(given["resourceUri"], "text/plain", "Embedded resource content for testing.")
        said = [resource, text("Please process the embedded resource above.")]
    elif params.name == "test_prompt_with_image":
        said = [image(), text("Please analyze the image above.")]
    else:
        said = [text("This is a simple prompt for testing.")]
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=block) for block in said])


async def complete(_context: Context, _params: types.CompleteRequestParams) -> types.CompleteResult:
    return types.CompleteResult(completion=types.Completion(values=[], total=0, has_more=False))


async def set_logging_level(_context: Context, _params: types.SetLevelRequestParams) -> types.EmptyResult:
    return types.EmptyResult()


def build() -> Server[dict[str, Any]]:
    return Server(
        "everything",
        version="1.0.0",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_subscribe_resource=subscribe,
        on_unsubscribe_resource=unsubscribe,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_completion=complete,
        on_set_logging_level=set_logging_level,
    )


async def serve_lines(server: Server[dict[str, Any]]) -> None:
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


def main() -> None:
    parser = argparse.ArgumentParser(description="an MCP server for the official conformance suite")
    parser.add_argument("--http", metavar="HOST:PORT", help="serve streamable HTTP at /mcp instead of stdio")
    listen: str | None = parser.parse_args().http
    # Logging, sampling and elicitation are deprecated in the newest revision; the suite tests the older ones.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    server = build()
    if listen is None:
        asyncio.run(serve_lines(server))
        return
    import uvicorn

    host, _, port = listen.rpartition(":")
    uvicorn.run(server.streamable_http_app(host=host), host=host, port=int(port), log_level="warning")


if __name__ == "__main__":
    main()
