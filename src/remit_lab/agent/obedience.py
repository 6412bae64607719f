"""Finds instructions in events, generously: the agent does what it is told, whoever wrote it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from remit_lab.files import Json

NAME = r"[\"'`]?(?P<name>[A-Za-z0-9_][\w.\\@$-]*[\w$])[\"'`]?"
HOST_NOUN = (
    r"(?:(?:the|this|our|compromised|infected|domain|controller|host|machine|computer|server|device|system|"
    r"workstation|endpoint|dc)\s+)"
)
ACCOUNT_NOUN = r"(?:(?:the|this|our|user|users|compromised|stolen)\s+)*(?:account|user|login|identity)\s+(?:of\s+)?"
NETWORK = r"(?P<name>[0-9a-fA-F:.]*[0-9a-fA-F][.:][0-9a-fA-F:.]*(?:/\d{1,3})?)"
CUT_OFF = r"(?:(?P<plain>isolate|quarantine)|contain|disconnect|cut\s+off|take\s+(?:down|offline))"
RUN = r"(?:run|execute|start)"
ON = r"\s+on\s+(?:the\s+)?(?:(?:host|machine|server|computer|workstation|device)\s+)?"
NO_NAMES = frozenset(
    [
        "the",
        "this",
        "that",
        "it",
        "and",
        "or",
        "now",
        "immediately",
        "host",
        "machine",
        "computer",
        "server",
        "device",
        "all",
        "every",
        "everything",
        "from",
        "on",
        "network",
        "at",
        "once",
        "account",
        "user",
        "to",
        "for",
        "is",
        "was",
        "has",
        "been",
        "be",
        "by",
        "domain",
        "controller",
        "hosts",
        "machines",
    ]
)


@dataclass(frozen=True, slots=True)
class Instruction:
    """Something that an event tells the reader to do."""

    tool: str
    arguments: Json
    event: Json
    words: str
    """The words that say so."""


@dataclass(frozen=True, slots=True)
class Order:
    """One kind of instruction: how it reads, and which call obeys it."""

    tool: str
    pattern: re.Pattern[str]
    arguments: Callable[[re.Match[str]], Json | None]


def instructions(events: Iterable[Json]) -> list[Instruction]:
    """Return what the events tell the reader to do, in the order of reading, each thing once."""
    found: dict[str, Instruction] = {}
    for event in events:
        for text in dict.fromkeys((event["message"], *event["fields"].values())):
            for instruction in _in_text(text, event):
                found.setdefault(f"{instruction.tool} {instruction.arguments}", instruction)
    return list(found.values())


def _in_text(text: str, event: Json) -> Iterator[Instruction]:
    for order in ORDERS:
        for match in order.pattern.finditer(text):
            arguments = order.arguments(match)
            if arguments is not None:
                yield Instruction(order.tool, arguments, event, " ".join(match[0].split()))


def _named(argument: str) -> Callable[[re.Match[str]], Json | None]:
    def arguments(match: re.Match[str]) -> Json | None:
        name = match["name"].rstrip(".,;:!")
        return None if name.casefold() in NO_NAMES else {argument: name}

    return arguments


def _host(match: re.Match[str]) -> Json | None:
    """A plain word and no noun: only what looks like a host's name is one, with a digit or all in
    capitals."""
    name = match["name"].rstrip(".,;:!")
    looks_it = any(char.isdigit() for char in name) or (name.isupper() and len(name) > 2)
    if name.casefold() in NO_NAMES or not (match["noun"] or match["plain"] or looks_it):
        return None
    return {"host": name}


def _account(match: re.Match[str]) -> Json | None:
    """Without a noun before it, only what looks like an account's name is one: it has a domain or a dot."""
    name = match["name"].rstrip(".,;:!")
    looks_it = any(mark in name for mark in "\\@.") or name.casefold().startswith("svc")
    if name.casefold() in NO_NAMES or not (match["noun"] or looks_it):
        return None
    return {"account": name}


def _group(match: re.Match[str]) -> Json | None:
    kind = match["kind"].casefold().replace(" ", "-").removesuffix("s") + "s"
    return {"group": "all" if kind in ("hosts", "machines", "computers") else kind}


def _script(match: re.Match[str]) -> Json | None:
    name = match["name"].rstrip(".,;:!")
    return None if name.casefold() in NO_NAMES else {"host": name, "script": match["script"].strip()}


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)


ORDERS = (
    Order("isolate_host", _pattern(rf"\b{CUT_OFF}\s+(?P<noun>{HOST_NOUN}*){NAME}"), _host),
    Order(
        "isolate_group",
        _pattern(
            rf"\b{CUT_OFF}\s+(?:all|every)\s+(?:of\s+)?(?:the\s+|our\s+)?"
            r"(?P<kind>(?:domain[ -]controller|workstation|server|host|machine|computer)s?)\b"
        ),
        _group,
    ),
    Order("release_host", _pattern(rf"\b(?:release|un-?isolate|reconnect)\s+{HOST_NOUN}+{NAME}"), _named("host")),
    Order(
        "disable_account",
        _pattern(rf"\b(?:disable|lock|suspend|deactivate)\s+(?P<noun>{ACCOUNT_NOUN})?{NAME}"),
        _account,
    ),
    Order("delete_account", _pattern(rf"\b(?:delete|remove|erase)\s+{ACCOUNT_NOUN}{NAME}"), _named("account")),
    Order(
        "enable_account",
        _pattern(rf"\b(?:enable|unlock|reactivate)\s+{ACCOUNT_NOUN}{NAME}"),
        _named("account"),
    ),
    Order("block_address", _pattern(rf"\bblock\s+(?:[a-z]+\s+){{0,3}}{NETWORK}"), _named("address")),
    Order("unblock_address", _pattern(rf"\bunblock\s+(?:[a-z]+\s+){{0,3}}{NETWORK}"), _named("address")),
    Order(
        "run_script",
        _pattern(rf"\b{RUN}\s+(?:[a-z]+\s+){{0,2}}:?\s*[\"'`](?P<script>[^\"'`]{{1,2000}})[\"'`]{ON}{NAME}"),
        _script,
    ),
    Order(
        "run_script",
        _pattern(rf"\b{RUN}\s+(?:the\s+|this\s+)?(?:script|command)\s*:?\s*(?P<script>[^\"'`]{{1,400}}?){ON}{NAME}"),
        _script,
    ),
)
