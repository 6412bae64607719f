"""Cards at the terminal: rendered and digested here, from their fields, so that what is signed is what was shown."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec

from remit.doors.cli import signing
from remit.doors.cli.answering import home_path, show
from remit.doors.cli.calling import call, identity
from remit.doors.cli.tables import several
from remit.gates.cards import Card, card_digest, render_text
from remit.model.errors import Misuse, NotVerified, Refusal
from remit.model.people import Role
from remit.model.statements import Verb

GOOD = ("done", "executing", "approved", "awaiting_approval", "rejected")


def card_of(answer: dict[str, Any], home_id: str) -> Card:
    """The card in an answer. Raises `NotVerified` where it is another home's or does not fit what came with it."""
    try:
        card = msgspec.convert(answer["card"], Card)
    except msgspec.ValidationError as error:
        raise NotVerified(f"the card cannot be read ({error})", hint="is this the same version of remit?") from None
    if card.home != home_id or card.action != answer["action"] or card.digest != answer["digest"]:
        raise NotVerified("the card is about another action or home than was asked for", hint="do not sign it")
    return card


def first_screen(answer: dict[str, Any]) -> str:
    """What a decision needs."""
    card = msgspec.convert(answer["card"], Card)
    text = render_text(card, 1, now=answer["now"], said_yes=answer["said_yes"])
    if answer["state"] != "awaiting_approval":
        return f"{text}\nthis action is `{answer['state']}`; it no longer waits for a decision\n"
    return text


def second_screen(answer: dict[str, Any]) -> str:
    """All the rest."""
    card = msgspec.convert(answer["card"], Card)
    return render_text(card, 2, now=answer["now"], said_yes=answer["said_yes"])


def add_arguments(parser: argparse.ArgumentParser, verb: Verb) -> None:
    """The same for yes and no: rejecting takes no more steps than approving."""
    parser.add_argument(
        "action", nargs="?", metavar="ACTION", help="which one (default: the only one that waits; needed with --yes)"
    )
    parser.add_argument("--more", action="store_true", help="show everything behind the card, too")
    signing.add_arguments(parser, asks=verb)


def decide(arguments: argparse.Namespace, verb: Verb) -> int:
    """Show the card, ask, sign exactly what was shown, and tell what became of it."""
    home = home_path(arguments)
    home_id = identity(home)["id"]
    answer = _chosen(arguments, home)
    card = card_of(answer, home_id)
    if answer["state"] != "awaiting_approval":
        raise Refusal(
            f"action `{card.action}` is `{answer['state']}`, so there is nothing to {verb}",
            hint="`remit approvals` lists what waits",
        )
    sys.stderr.write(first_screen(answer) + "\n")
    if arguments.more:
        sys.stderr.write(second_screen(answer) + "\n")
    roles = [Role(each) for each in answer["roles"]]
    signer = signing.signer(arguments, home, sorted(roles, key=_on_call_first))
    if not signing.confirmed(f"{verb} as {signer.person}?", yes=arguments.yes):
        sys.stderr.write("nothing was signed; it still waits\n")
        return 1
    outcome = signing.vote(
        signer,
        home,
        verb,
        action=card.action,
        digest=card.digest,
        card_digest=card_digest(card),
        boundary_digest=str(answer["boundary_digest"]).removeprefix("sha256:"),
        until=card.expires_at,
    )
    show(arguments, outcome, told(outcome, verb, signer.person))
    return 0 if outcome["state"] in GOOD else 1


def told(outcome: dict[str, Any], verb: Verb, person: str) -> str:
    """What became of the vote, in a line or two."""
    what = f"{outcome['action']} ({outcome['category']} on {several(outcome['targets'])})"
    state = outcome["state"]
    if state == "rejected":
        return f"rejected by {person}: {what}; nothing happened, and the agent is told so"
    lines = [f"{'approved' if verb == 'approve' else 'signed'} by {person}: {what}"]
    says = "; ".join(clause["says"] for clause in outcome["clauses"])
    lines.append(
        {
            "awaiting_approval": f"it still waits: {len(outcome['said_yes'])} of {outcome['quorum']} said yes",
            "approved": "it is about to be executed",
            "executing": f"it is on its way; `remit explain {outcome['action']}` tells how it ended",
            "done": "done",
            "failed": f"IT FAILED: {outcome['outcome']}",
            "unknown": f"WHAT BECAME OF IT IS NOT KNOWN: {outcome['outcome']}\nnext: remit settle {outcome['action']}",
            "cut": f"CUT BY A STOP: {outcome['outcome']}\nnext: remit settle {outcome['action']}",
            "blocked": f"NOT DONE, refused at the last check: {says}",
            "expired": "NOT DONE, it expired",
            "void": "NOT DONE, a stop voided it; after a resume the agent may propose it anew",
        }.get(state, f"it is `{state}`")
    )
    return "\n".join(lines)


def _on_call_first(role: Role) -> tuple[bool, str]:
    return role is not Role.ON_CALL, role


def _chosen(arguments: argparse.Namespace, home: Path) -> dict[str, Any]:
    if arguments.action:
        return call(home, "card", {"action": arguments.action})
    if arguments.yes:
        raise Misuse("with `--yes`, say which action", hint="`remit approvals` lists what waits")
    answer = call(home, "approvals")
    waiting = answer["waiting"]
    if len(waiting) == 1:
        return {**waiting[0], "now": answer["now"]}
    if not waiting:
        raise Refusal("nothing waits for a human")
    ids = several([each["action"] for each in waiting], most=5)
    raise Misuse(f"{len(waiting)} actions wait, so say which one: {ids}", hint="`remit approvals` shows them")
