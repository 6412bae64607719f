"""`remit status`: what is going on, and the next step."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from remit.doors.cli.answering import NoGateway, ask, home_path, show
from remit.doors.cli.calling import identity, is_practice, latch, now, reads
from remit.doors.cli.tables import count, several


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`remit` alone is `remit status --next`."""
    parser.add_argument("--next", action="store_true", help="do not fail where there is no home yet")


def run(arguments: argparse.Namespace) -> int:
    """Print the state and the next step. Exit code 0, whatever the state."""
    home = home_path(arguments)
    if arguments.next and not (home / "state" / "home.json").exists():
        from remit.doors.cli.main import overview

        answer = {"home": str(home), "next": f"remit init {home}"}
        show(arguments, answer, f"{overview()}\n\nthere is no home at {home}\nnext: remit init {home}")
        return 0
    answer = look(home)
    answer["next"] = next_step(answer)
    show(arguments, answer, told(answer))
    return 0


def look(home: Path) -> dict[str, Any]:
    """The state: the gateway's answer, or what the home tells by itself."""
    known = identity(home)
    try:
        found = ask(home, "status", {}, seconds=10.0)
    except NoGateway:
        from remit.doors.control.looking import at_rest

        found = at_rest(reads(home), latch(home), now())
    return found | {"path": str(home), "home": known["id"], "practice": is_practice(home) or known["practice"]}


def told(answer: dict[str, Any]) -> str:
    """The state as lines, worst first."""
    lines = []
    if answer["practice"]:
        lines.append("PRACTICE home: its signatures prove nothing")
    if answer["blind"]:
        lines.append(f"*** STOPPED: {answer['blind']}; everything is refused ***")
    lines += [_stop_line(each) for each in answer["stops"]]
    running = f"runs, agents at {answer['url']}" if answer["gateway"] else "DOES NOT RUN: agents reach nothing"
    lines += [f"gateway      {running}", f"home         {answer['path']} ({answer['home']})"]
    lines.append(f"boundary     {_boundary(answer['boundary'])}")
    if answer["boundary"]["warning"]:
        lines.append(f"             WARNING: {answer['boundary']['warning']}")
    lines.append(f"waiting      {_waiting(answer['waiting'])}")
    if answer["unsettled"]:
        ids = several([each["action"] for each in answer["unsettled"]])
        lines.append(f"NOT KNOWN    {count(len(answer['unsettled']), 'action')} may have had an effect: {ids}")
    lines.append(f"runs         {count(len(answer['runs']), 'open run')}")
    lines += _trouble(answer)
    return "\n".join([*lines, "", f"next: {answer['next']}"])


def _stop_line(order: dict[str, Any]) -> str:
    reason = f": {order['reason']}" if order["reason"] else ""
    return (
        f"*** STOPPED ({order['mode']}, {order['scope']}) by {order['by']} at {order['at']}{reason} [{order['stop']}]"
    )


def _boundary(boundary: dict[str, Any]) -> str:
    if not boundary["name"]:
        return "none in force yet"
    signers = f", signed by {several(boundary['signers'])}" if boundary["signers"] else ""
    return f"{boundary['name']} version {boundary['version']}{signers}, until {boundary['not_after']}"


def _waiting(waiting: list[dict[str, Any]]) -> str:
    if not waiting:
        return "nothing waits for a human"
    first = waiting[0]
    oldest = f"{first['category']} on {several(first['targets'])}, rejected at {first['expires']} if nobody answers"
    return f"{count(len(waiting), 'action waits', 'actions wait')} for a human; the oldest: {oldest}"


def _trouble(answer: dict[str, Any]) -> list[str]:
    lines = [
        f"connector    {each['connector']} is {each['state']}: {each['reason'] or 'no reason given'}"
        for each in answer["connectors"]
        if each["state"] != "up"
    ]
    if answer["connectors"] and not lines:
        lines.append(f"connectors   {count(len(answer['connectors']), 'connector')} up")
    if answer["reconciled"]:
        lines.append(f"reconciled   {'; '.join(map(_reconciled, answer['reconciled']))}")
    if answer["parked"]:
        lines.append(f"parked       {count(len(answer['parked']), 'tool is', 'tools are')} hidden from agents")
    if answer["inventory_waits"]:
        changes = count(len(answer["inventory_waits"]), "change")
        lines.append(f"inventory    {changes} would loosen something and wait for acceptance")
    if answer["clock"]:
        lines.append(f"CLOCK        {answer['clock']}: changes are on hold")
    log = answer.get("log")
    if log and log["trouble"]:
        lines.append(f"LOG          {log['trouble']}: every action is refused")
    elif log:
        lines.append(f"log          {log['size']:,} of {log['records']:,} records signed, the last at {log['signed']}")
    if log:
        away = [f"{each['name']}: {each['away']}" for each in log["witnesses"]["each"] if each["away"]]
        lines += [f"WITNESS      away: {each}" for each in away]
    if answer["store"]:
        lines.append(f"STORE        {answer['store']}: nothing is done that cannot be recorded")
    return lines


def _reconciled(last: dict[str, Any]) -> str:
    if last["at"] is None:
        return f"{last['connector']} never"
    found = count(last["findings"], "DIFFERENCE") if last["findings"] else "all agreed"
    return f"{last['connector']} {last['at']}, {found}"


def next_step(answer: dict[str, Any]) -> str:
    """The one command that the state asks for."""
    if answer["blind"]:
        return "remit resume --blind --reason WHY, once you know which stops were in force; nothing is lifted by it"
    if (answer.get("log") or {}).get("trouble"):
        return "remit log status; docs/LOG.md says what each trouble means"
    if answer["unsettled"]:
        return f"remit settle {answer['unsettled'][0]['action']}"
    if answer["stops"]:
        if any(order["stop"] == "stp_file" for order in answer["stops"]):
            return "when it is safe to go on, remove the file STOP from the home, then remit resume --reason WHY"
        return f"remit resume {answer['stops'][0]['stop']} --reason WHY, when it is safe to go on"
    if answer["waiting"]:
        return f"remit approvals {answer['waiting'][0]['action']}"
    if not answer["gateway"]:
        return "remit check, then remit gateway"
    if answer["boundary"]["warning"]:
        return "have the next boundary signed: remit boundary sign, then remit boundary reload"
    if answer["inventory_waits"]:
        return "remit inventory show"
    if any(each["state"] != "up" for each in answer["connectors"]) or answer["parked"]:
        return "remit connectors list"
    if not answer["connectors"]:
        return "remit connectors import .mcp.json"
    return "remit run open --agent AGENT --case CASE, or just watch"
