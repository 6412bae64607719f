"""The perimeter firewall: which addresses and networks are blocked.

`python -m remit_lab.firewall --state DIR` serves it over stdio, with `--http HOST:PORT` over streamable HTTP.
"""

from __future__ import annotations

import ipaddress
import sys
from datetime import UTC, datetime, timedelta

from remit_lab.estate import Estate, from_options
from remit_lab.files import Json
from remit_lab.serving import CallRefused, Kind, Tool, open_connector, parser, serve
from remit_lab.state import instant

ADDRESS = {
    "type": "string",
    "minLength": 2,
    "maxLength": 64,
    "description": "an IP address, or a network in CIDR notation",
}


def initial(estate: Estate) -> Json:
    """Return the firewall's first state: nothing blocked."""
    return {"blocks": {}}


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text.removeprefix("firewall:").strip(), strict=False)
    except ValueError:
        raise CallRefused(f"`{text}` is no IP address and no network in CIDR notation") from None


def _written(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    """Return one spelling per network: a single address without its prefix length."""
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _current(blocks: Json) -> list[Json]:
    now = instant()
    return [block for block in blocks.values() if block["until"] is None or block["until"] > now]


def list_blocks(state: Json, arguments: Json) -> Json:
    """Return every block that is in force."""
    return {"blocks": _current(state["blocks"])}


def block_status(state: Json, arguments: Json) -> Json:
    """Return whether an address or network is blocked, by itself or within a larger network."""
    wanted = _network(arguments["address"])
    for block in _current(state["blocks"]):
        if _covers(_network(block["address"]), wanted):
            return {
                "address": _written(wanted),
                "blocked": True,
                "by": block["address"],
                "until": block["until"],
            }
    return {"address": _written(wanted), "blocked": False, "by": None, "until": None}


def _covers(
    outer: ipaddress.IPv4Network | ipaddress.IPv6Network, inner: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    if isinstance(outer, ipaddress.IPv4Network) and isinstance(inner, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(outer, ipaddress.IPv6Network) and isinstance(inner, ipaddress.IPv6Network):
        return inner.subnet_of(outer)
    return False


def block_address(state: Json, arguments: Json) -> Json:
    """Drop all traffic with an address or network, for `ttl` seconds or until it is unblocked."""
    address = _written(_network(arguments["address"]))
    ttl = arguments.get("ttl")
    until = None
    if ttl is not None:
        until = (datetime.now(UTC) + timedelta(seconds=ttl)).isoformat(timespec="microseconds")
        until = until.replace("+00:00", "Z")
    state["blocks"][address] = {"address": address, "since": instant(), "until": until}
    return {"address": address, "blocked": True, "until": until}


def unblock_address(state: Json, arguments: Json) -> Json:
    """Let traffic with an address or network through again."""
    address = _written(_network(arguments["address"]))
    if state["blocks"].pop(address, None) is None:
        raise CallRefused(f"address `{address}` has no block of its own")
    return {"address": address, "blocked": False}


TOOLS = (
    Tool("list_blocks", "List the blocks that are in force.", {}, list_blocks, returns=("blocks",)),
    Tool(
        "block_status",
        "Tell whether an address or network is blocked.",
        {"address": ADDRESS},
        block_status,
        ("address",),
        returns=("address", "blocked", "by", "until"),
    ),
    Tool(
        "block_address",
        "Drop all traffic with an address or network. unblock_address undoes it.",
        {
            "address": ADDRESS,
            "ttl": {"type": "integer", "minimum": 1, "maximum": 2_592_000, "description": "seconds"},
        },
        block_address,
        ("address",),
        "change",
        ("address", "blocked", "until"),
    ),
    Tool(
        "unblock_address",
        "Let traffic with a blocked address or network through again.",
        {"address": ADDRESS},
        unblock_address,
        ("address",),
        "change",
        ("address", "blocked"),
    ),
)

KIND = Kind("firewall", "Perimeter firewall: blocked addresses and networks.", initial, TOOLS)


def main(arguments: list[str] | None = None) -> int:
    """Serve the firewall; return the exit status."""
    options = parser(KIND.name).parse_args(arguments)
    connector = open_connector(
        KIND, options.state, lambda: from_options(options), name=options.name, key=options.warrant_key
    )
    return serve(connector, options.http)


if __name__ == "__main__":
    sys.exit(main())
