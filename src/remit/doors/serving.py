"""The gateway's process: a node with its doors open, until a signal.

What lives here: opening the doors in order and closing them. What never may: a second gateway on one home (the node's
lock refuses it).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

from remit.doors.control.commands import Commands
from remit.doors.control.server import ControlServer
from remit.doors.gateway.exchange import Exchange
from remit.doors.gateway.lines import serve_socket
from remit.doors.gateway.server import serve_http
from remit.doors.gateway.settings import GatewaySettings
from remit.model.words import Scope, StopMode, StopOrder
from remit.node import Faults, Node

log = logging.getLogger("remit.gateway")


async def serve(home: Path, *, ready: Callable[[str], None], faults: Faults | None = None) -> None:
    """Run the gateway on this home until SIGTERM or SIGINT. `ready` is called with the URL once all doors are open.

    Raises `RemitError` saying what keeps it from starting. SIGUSR1 stops everything.
    """
    node = await Node.start(home, faults=faults)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        loop.add_signal_handler(signal.SIGUSR1, _stop_by_signal, node)
        commands = Commands(node)
        control = ControlServer(node.home.control_socket, loop, commands.immediate, commands.dispatch)
        control.start()
        try:
            await _open_to_agents(node, ready, ended)
        finally:
            control.close()
    finally:
        await node.close()


async def _open_to_agents(node: Node, ready: Callable[[str], None], ended: asyncio.Event) -> None:
    settings = GatewaySettings(
        host=node.settings.host, port=node.settings.port, extra_hosts=node.settings.hosts
    )
    exchange = Exchange(node.agents, settings)
    async with (
        serve_http(node.agents, settings, exchange=exchange) as port,
        serve_socket(node.settings.agents_socket, node.agents, settings, exchange=exchange),
    ):
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        url = f"http://{host}:{port}{settings.path}"
        address = node.home.run / "gateway.json"
        address.write_text(json.dumps({"url": url, "pid": os.getpid()}))
        try:
            ready(url)
            await ended.wait()
            log.info("closing")
        finally:
            with contextlib.suppress(OSError):
                address.unlink()


def _stop_by_signal(node: Node) -> None:
    order = StopOrder(
        id=node.ids.new("stp"), mode=StopMode.CUT, scope=Scope(), at=node.clock.now(), by="SIGUSR1", reason="signal"
    )
    report = node.stop_desk.stop(order)
    log.warning("stopped by SIGUSR1; severed %d, may still land %d", len(report.severed), len(report.may_still_land))
