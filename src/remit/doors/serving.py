"""The gateway's process: a node with its doors open, until a signal.

What lives here: opening the doors in order and closing them. What never may: a second gateway on one home (the home's
lock refuses it).
"""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from remit.doors.control.commands import Commands
from remit.doors.control.server import ControlServer
from remit.doors.gateway.exchange import Exchange
from remit.doors.gateway.lines import serve_socket
from remit.doors.gateway.server import serve_http
from remit.doors.gateway.settings import GatewaySettings
from remit.node import Faults, Node

COLLECT_AFTER = (20_000, 20, 50)  # a call leaves few cycles; Python's default looks for them at every second call

Ready = Callable[[Node, str], None]
Address = tuple[str, int]


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop that a gateway runs on; None for Python's own, where there is no faster one."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def serve(home: Path, *, ready: Ready, listen: Address | None = None, faults: Faults | None = None) -> None:
    """Run the gateway on this home until SIGTERM or SIGINT; SIGUSR1 stops everything and goes on serving.

    `ready` gets the node and the URL of the agents' door once everything is open. `listen` is instead of what
    `remit.toml` says. Raises `RemitError` saying what keeps it from starting.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    node = await Node.start(home, faults=faults)
    try:
        await _open(node, listen or (node.settings.host, node.settings.port), ready, ended)
    finally:
        await node.close()


async def _open(node: Node, listen: Address, ready: Ready, ended: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    settings = GatewaySettings(host=listen[0], port=listen[1], extra_hosts=node.settings.hosts)
    commands = Commands(node)
    control = ControlServer(node.home.control_socket, loop, commands.immediate, commands.dispatch)
    signal.signal(signal.SIGUSR1, lambda *_: _stop_everything(commands))
    exchange = Exchange(node.agents, settings)
    async with (
        serve_socket(node.settings.agents_socket, node.agents, settings, exchange=exchange),
        serve_http(node.agents, settings, exchange=exchange) as port,
    ):
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        commands.url = f"http://{host}:{port}{settings.path}"
        commands.socket = str(node.settings.agents_socket)
        control.start()
        gc.freeze()  # what is loaded now stays: the collector need not look at it again during calls
        gc.set_threshold(*COLLECT_AFTER)
        try:
            ready(node, commands.url)
            await ended.wait()
        finally:
            control.close()


def _stop_everything(commands: Commands) -> None:
    """On a thread of its own: a signal may interrupt whoever holds the latch's lock, and the loop may be busy."""
    order = {"mode": "cut", "scope": "everything", "reason": "SIGUSR1"}
    threading.Thread(target=commands.stop, args=(order, "a signal"), name="remit-signal", daemon=True).start()
