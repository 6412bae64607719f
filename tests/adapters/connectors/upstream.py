# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-any-generics
"""An upstream MCP server on the official SDK, for tests: `upstream.py stdio` or `upstream.py http PORT json|sse`."""

import asyncio
import os
import subprocess
import sys

import anyio
import mcp_types as types
import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server


async def list_tools(_ctx, _params):
    names = ("echo", "progress", "wait", "crash", "flood_stderr", "escape", "fail")
    return types.ListToolsResult(
        tools=[types.Tool(name=name, description=name, input_schema={"type": "object"}) for name in names]
    )


async def call_tool(ctx, params):
    arguments = params.arguments or {}
    if params.name == "crash":
        os._exit(3)
    if params.name == "wait":
        await anyio.sleep(60)
    if params.name == "fail":
        raise ValueError("no")
    if params.name == "progress":
        await ctx.session.report_progress(1, 2, "half")
    if params.name == "flood_stderr":
        sys.stderr.write("noise hunter2secret\n" * 100_000)
    if params.name == "escape":
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        return types.CallToolResult(content=[types.TextContent(type="text", text=f"{os.getpid()} {child.pid}")])
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=repr(sorted(arguments.items())))],
        structured_content={"arguments": arguments},
    )


server = Server("upstream", version="1", on_list_tools=list_tools, on_call_tool=call_tool)


async def over_stdio():
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        asyncio.run(over_stdio())
    else:
        app = server.streamable_http_app(json_response=sys.argv[3] == "json")
        uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
