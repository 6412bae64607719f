"""Practice homes to measure on: a boundary of so many rules, connectors to the bench's upstream, runs.

Everything is made as an operator would make it: signed, pinned, accepted, with the settings that Remit comes with.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from pathlib import Path

from remit.adapters.disk import write
from remit.adapters.home.init import init_home, sign_in_practice
from remit.flow.runs import Order
from remit.model.canonical import sha256_hex
from remit.model.signatures import Namespace
from remit.node import Node, found_home

AGENTS = ("triage", "responder", "hunter", "reporter")
CATEGORIES = ("evidence.read", "host.isolate", "host.release", "account.disable", "firewall.block", "case.comment")
KINDS = ("server", "domain-controller", "dns", "account", "address")
HOSTS = 2_000
MANDATE = 40  # targets that a run is opened for; Remit looks up at most 50

_HEAD = """\
[boundary]
name = "bench"
version = 1
not_before = 2020-01-01T00:00:00Z
not_after = 2099-01-01T00:00:00Z
detection_time = "15m"
timezone = "UTC"
[boundary.pins.connectors]
{pins}
"""
_TIERS = """
[[tier]]
name = "critical"
where = { kind = ["domain-controller", "dns"] }
[[tier]]
name = "ordinary"
where = { kind = ["workstation"], privileged = false }
"""
_TWO_RULES = """
[[rule]]
id = "READ-1"
then = "auto"
agents = ["triage"]
categories = ["evidence.read"]
in_mandate = false
[[rule]]
id = "ISO-1"
then = "auto"
agents = ["triage"]
categories = ["host.isolate"]
targets = { tier = ["ordinary"] }
"""
_NEVER = """
[[never]]
id = "N-1"
targets = ["dc-*", "soc-*"]
categories = ["*"]
"""


def boundary_text(rules: int, pins: Mapping[str, str], *, quotas: bool = True) -> str:
    """A boundary of `rules` rules over four agents, every one of them about targets that could be asked for; two let
    `triage` read, and isolate ordinary workstations, by itself. With `quotas`, eight more clauses, two on those."""
    pinned = "\n".join(f'{name} = "{digest}"' for name, digest in sorted(pins.items()))
    parts = [_HEAD.format(pins=pinned)]
    for name in CATEGORIES:
        effect = "read" if name.endswith(".read") else "change"
        parts.append(f'[[category]]\nname = "{name}"\ndoes = "measure"\neffect = "{effect}"\n')
    granted = ", ".join(f'"{name}"' for name in CATEGORIES)
    for name in AGENTS:
        parts.append(
            f'[[agent]]\nname = "{name}"\nowner = "nobody"\npurpose = "measuring"\ncategories = [{granted}]\n'
            "review_by = 2098-01-01\n"
        )
    parts += [_TIERS, _TWO_RULES, *islice(_other_rules(), max(0, rules - 2))]
    return "".join([*parts, *(_quotas() if quotas else ()), _NEVER])


def _other_rules() -> Iterator[str]:
    """Rules as a grown boundary has them: by agent, category, kind, label and hours. None is about a plain
    workstation, so the two that let `triage` act stay what decides."""
    hours = ("00:00-24:00", "08:00-18:00", "18:00-08:00")
    for number, (label, kind, category, agent) in enumerate(product(range(1_000), KINDS, CATEGORIES, AGENTS)):
        then = "forbid" if number % 3 == 0 else "approve"
        yield (
            f'[[rule]]\nid = "R-{number}"\nthen = "{then}"\nagents = ["{agent}"]\ncategories = ["{category}"]\n'
            f'targets = {{ kind = ["{kind}"], labels = ["site-{label}"] }}\nhours = "{hours[number % 3]}"\n'
        )


def _quotas() -> Iterator[str]:
    """Two on what is measured, with a window that holds about as many calls as a run may make by default, and six
    beside them."""
    measured = (("evidence.read", "max_actions = 1000000"), ("host.isolate", "max_distinct_targets = 1000"))
    for number, (category, limit) in enumerate(measured):
        yield (
            f'[[quota]]\nid = "Q-{number}"\nagents = ["triage"]\ncategories = ["{category}"]\n{limit}\n'
            'window = "2s"\nthen = "approve"\n'
        )
    for number, category in enumerate(CATEGORIES, start=len(measured)):
        yield (
            f'[[quota]]\nid = "Q-{number}"\nagents = ["responder"]\ncategories = ["{category}"]\n'
            'max_distinct_targets = 5\nwindow = "15m"\nthen = "approve"\n'
        )


def connector(name: str, reached: str, hangs: str = "change") -> bytes:
    """The file of a connector to the bench's upstream; `reached` says how, in TOML."""
    return f"""\
[connector]
name = "{name}"
{reached}
timeout = "60s"
integrity = "system-of-record"
credential = {{ class = "warrant" }}

[[tool]]
name = "host_status"
category = "evidence.read"
effect = "read"
target = {{ argument = "host", takes = "one" }}

[[tool]]
name = "isolate_host"
category = "host.isolate"
effect = "change"
target = {{ argument = "host", takes = "one" }}
reach = 1

[[tool]]
name = "hang"
category = "host.isolate"
effect = "{hangs}"
target = {{ argument = "host", takes = "one" }}
reach = 1
""".encode()


def over_http(url: str) -> str:
    """How a connector over HTTP is reached."""
    return f'transport = "http"\nurl = "{url}"'


def over_stdio() -> str:
    """How a connector over standard streams is reached."""
    upstream = Path(__file__).with_name("upstream.py")
    return f"transport = \"stdio\"\ncommand = ['{sys.executable}', '-S', '-E', '{upstream}', 'stdio']"


async def make(path: Path, connectors: Mapping[str, bytes], *, rules: int = 100, quotas: bool = True) -> None:
    """Make a practice home at `path` with these connectors, its boundary signed and pinning them."""
    inventory = ["id,kind,privileged,owner,labels,aliases", *(f"WS-{n:05},workstation,no,,," for n in range(HOSTS))]
    made = init_home(
        path,
        now=time.time_ns() // 1000,
        connectors=connectors,
        inventory="\n".join(inventory).encode() + b"\n",
    )
    pins = {name: f"sha256:{sha256_hex(data)}" for name, data in connectors.items()}
    write(made.home.boundary, boundary_text(rules, pins, quotas=quotas).encode())
    sign_in_practice(made.home, made.home.boundary, Namespace.BOUNDARY)
    await found_home(path, made.roster)


async def accept_tools(node: Node) -> None:
    """Accept everything that the connectors offer now."""
    for name, offered in node.pool.definitions().items():
        await node.reloading.accept_tools(name, {each.name: each.digest for each in offered})


async def open_runs(node: Node, count: int) -> Sequence[tuple[str, tuple[str, ...]]]:
    """Open so many runs of `triage`, each on hosts of its own: their tokens and hosts."""
    opened = []
    for number in range(count):
        hosts = tuple(f"WS-{number * MANDATE + each:05}" for each in range(MANDATE))
        order = Order(agent="triage", case=f"bench-{number}", targets=hosts, max_calls=10**9)
        _, token = await node.runs.open(order, "operator")
        opened.append((token, hosts))
    return opened
