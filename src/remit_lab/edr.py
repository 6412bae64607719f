"""The endpoint agent's console: cuts hosts off the network, and runs scripts on them.

`python -m remit_lab.edr --state DIR` serves it over stdio, with `--http HOST:PORT` over streamable HTTP.
"""

from __future__ import annotations

import sys

from remit_lab.estate import Estate, from_options
from remit_lab.files import Json
from remit_lab.resolve import find
from remit_lab.serving import CallRefused, Kind, Tool, open_connector, parser, serve
from remit_lab.state import instant

NAME = {"type": "string", "minLength": 1, "maxLength": 255}
HOST = {**NAME, "description": "the host's name or device id"}
REASON = {"type": "string", "maxLength": 2000, "description": "free text for the console's own log"}


def initial(estate: Estate) -> Json:
    """Return the console's first state: every host of the estate, connected."""
    hosts = {
        host.device_id: {
            "device_id": host.device_id,
            "name": host.name,
            "aliases": list(host.aliases),
            "kind": host.kind,
            "owner": host.owner,
            "online": True,
            "isolated": False,
            "isolated_at": None,
            "scripts": [],
        }
        for host in estate.hosts
    }
    return {"hosts": hosts}


def _status(host: Json) -> Json:
    return {
        "host": host["name"],
        "device_id": host["device_id"],
        "online": host["online"],
        "isolated": host["isolated"],
        "kind": host["kind"],
        "owner": host["owner"],
    }


def list_hosts(state: Json, arguments: Json) -> Json:
    """Return every host with its condition."""
    return {"hosts": [_status(host) for host in state["hosts"].values()]}


def host_status(state: Json, arguments: Json) -> Json:
    """Return one host's condition; `owner` is the account that the sensor saw at its keyboard."""
    return _status(find(state["hosts"], arguments["host"], "host"))


def _isolate(hosts: list[Json]) -> None:
    if offline := [host["name"] for host in hosts if not host["online"]]:
        raise CallRefused(f"host `{offline[0]}` is offline")
    for host in hosts:
        if not host["isolated"]:
            host.update(isolated=True, isolated_at=instant())


def isolate_host(state: Json, arguments: Json) -> Json:
    """Cut one host off the network; the endpoint agent's own channel stays."""
    host = find(state["hosts"], arguments["host"], "host")
    _isolate([host])
    return _status(host)


def isolate_hosts(state: Json, arguments: Json) -> Json:
    """Cut several hosts off the network: all of them, or none when one cannot be."""
    hosts = [find(state["hosts"], name, "host") for name in arguments["hosts"]]
    _isolate(hosts)
    return {"hosts": [_status(host) for host in hosts]}


def isolate_group(state: Json, arguments: Json) -> Json:
    """Cut off every host of a group: `all`, or a kind of host in the plural."""
    group = arguments["group"]
    everything = list(state["hosts"].values())
    hosts = [host for host in everything if group in ("all", f"{host['kind']}s")]
    if not hosts:
        known = sorted({f"{host['kind']}s" for host in everything} | {"all"})
        raise CallRefused(f"group `{group}` has no hosts: known groups are {', '.join(known)}")
    _isolate(hosts)
    return {"group": group, "hosts": [_status(host) for host in hosts]}


def release_host(state: Json, arguments: Json) -> Json:
    """Put one host back on the network."""
    host = find(state["hosts"], arguments["host"], "host")
    host.update(isolated=False, isolated_at=None)
    return _status(host)


def run_script(state: Json, arguments: Json) -> Json:
    """Run a script on one host as the machine's own account. (The practice console only notes it down.)"""
    host = find(state["hosts"], arguments["host"], "host")
    if not host["online"]:
        raise CallRefused(f"host `{host['name']}` is offline")
    host["scripts"].append({"time": instant(), "script": arguments["script"]})
    return {"host": host["name"], "device_id": host["device_id"], "exit_status": 0}


STATUS = ("host", "device_id", "online", "isolated", "kind", "owner")
TOOLS = (
    Tool("list_hosts", "List every host with its condition.", {}, list_hosts, returns=("hosts",)),
    Tool(
        "host_status",
        "Tell whether a host is online and isolated, what kind it is, and whose it is.",
        {"host": HOST},
        host_status,
        ("host",),
        returns=STATUS,
    ),
    Tool(
        "isolate_host",
        "Cut one host off the network. The console can still reach it; release_host undoes it.",
        {"host": HOST, "reason": REASON},
        isolate_host,
        ("host",),
        "change",
        STATUS,
    ),
    Tool(
        "release_host",
        "Put an isolated host back on the network.",
        {"host": HOST},
        release_host,
        ("host",),
        "change",
        STATUS,
    ),
    Tool(
        "run_script",
        "Run a script on a host as the machine's own account. There is no undo.",
        {"host": HOST, "script": {"type": "string", "minLength": 1, "maxLength": 20_000}},
        run_script,
        ("host", "script"),
        "destroy",
        ("host", "exit_status"),
    ),
    Tool(
        "isolate_hosts",
        "Cut several hosts off the network: all of them, or none when one cannot be.",
        {"hosts": {"type": "array", "items": HOST, "minItems": 1, "maxItems": 100}},
        isolate_hosts,
        ("hosts",),
        "change",
        ("hosts",),
    ),
    Tool(
        "isolate_group",
        "Cut off every host of a group: `all`, `workstations`, `servers`, `domain-controllers`.",
        {"group": NAME},
        isolate_group,
        ("group",),
        "change",
        ("group", "hosts"),
    ),
)

KIND = Kind("edr", "Endpoint console: host conditions, isolation, scripts.", initial, TOOLS)


def main(arguments: list[str] | None = None) -> int:
    """Serve the endpoint console; return the exit status."""
    options = parser(KIND.name).parse_args(arguments)
    connector = open_connector(
        KIND, options.state, lambda: from_options(options), name=options.name, key=options.warrant_key
    )
    return serve(connector, options.http)


if __name__ == "__main__":
    sys.exit(main())
