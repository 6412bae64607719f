"""The command line of the scripted agent.

With Remit: `python -m remit_lab.agent --remit URL` (token from REMIT_TOKEN) or `--remit-stdio 'remit
connect'`. Without: `--server edr=http://127.0.0.1:9000/mcp --server siem='stdio:python -m
remit_lab.siem --state DIR'`.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys

import anyio

from remit_lab.agent.toolbox import Source, Toolbox
from remit_lab.agent.transcript import Transcript
from remit_lab.agent.triage import Settings, Triage


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    options = argparse.ArgumentParser(prog="python -m remit_lab.agent", description=__doc__)
    given = options.add_mutually_exclusive_group(required=True)
    given.add_argument("--remit", metavar="URL", help="one server whose tools carry prefixes already")
    given.add_argument("--remit-stdio", metavar="COMMAND", help="the same, started by this command")
    given.add_argument("--server", action="append", metavar="NAME=URL|NAME=stdio:COMMAND", type=_server)
    options.add_argument("--case", default="", metavar="ALERT", help="default: the worst alert there is")
    options.add_argument("--patience", type=float, default=600.0, metavar="SECONDS", help="waiting for humans, in all")
    options.add_argument("--page", type=int, default=50, metavar="N", help="events asked for at a time")
    options.add_argument("--jsonl", action="store_true", help="the transcript as JSON lines")
    return options


def _server(written: str) -> tuple[str, Source]:
    name, equals, where = written.partition("=")
    if not equals or not name or not where:
        raise argparse.ArgumentTypeError(f"`{written}` should be NAME=URL or NAME=stdio:COMMAND")
    if where.startswith("stdio:"):
        return name, Source(command=where.removeprefix("stdio:"))
    return name, Source(url=where)


def sources(options: argparse.Namespace) -> dict[str, Source]:
    """Return the servers to connect to, by the prefix that their tools get."""
    if options.remit:
        return {"": Source(url=options.remit, token=os.environ.get("REMIT_TOKEN", ""), remit=True)}
    if options.remit_stdio:
        return {"": Source(command=options.remit_stdio, remit=True)}
    return dict(options.server)


async def work(options: argparse.Namespace, transcript: Transcript) -> int:
    """Connect, work the case, and return the exit status."""
    settings = Settings(options.case, options.patience, options.page)
    async with Toolbox(dict(sources(options))) as tools:
        return await Triage(tools, settings, transcript).run()


def main(arguments: list[str] | None = None) -> int:
    """Run the agent; return 0 (worked, or stopped by a human), 1 (no case), or 3 (no connection)."""
    options = parser().parse_args(arguments)
    transcript = Transcript(as_json=options.jsonl)
    try:
        return anyio.run(functools.partial(work, options, transcript))
    except Exception as error:  # whatever a transport raises, the transcript has to say that it ended
        causes = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
        transcript.say("failed", f"cannot reach the tools: {'; '.join(map(str, causes)) or type(error).__name__}")
        return 3


if __name__ == "__main__":
    sys.exit(main())
