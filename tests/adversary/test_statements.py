"""Statements that are forged, altered, replayed or out of place count for nothing (P4, P5)."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from remit.model.signatures import Namespace, sign
from remit.model.words import MINUTE
from remit.offline import now
from tests.support.fixtures import Make
from tests.support.gateway import Gateway, Refused, ballot, sealed, statement
from tests.support.home import Practice

OPEN = {"agent": "triage", "case": "CASE-1", "targets": ["WS-014"]}


def forged(practice: Practice) -> dict[str, tuple[dict[str, str], str]]:
    """Statements to open a run that must not, and a word of the refusal."""
    strange = Ed25519PrivateKey.generate()
    good = statement(practice, "run.open", "operator", OPEN)
    data = base64.b64decode(good["statement"])
    past = now() - 60 * MINUTE
    as_approval = sign(practice.key("operator"), data, Namespace.APPROVAL)
    wider = data.replace(b'"WS-014"', b'"DC-01"')
    spaced = data.replace(b'":', b'": ', 1)
    return {
        "a key on nobody's roster": (statement(practice, "run.open", "operator", OPEN, key=strange), "roster|key"),
        "another person's key": (
            statement(practice, "run.open", "leader", OPEN, key=practice.key("approver")),
            "person",
        ),
        "another home": (statement(practice, "run.open", "operator", OPEN, home="home_0000000000000000"), "home"),
        "expired": (statement(practice, "run.open", "operator", OPEN, issued=past, expires=past + MINUTE), "expired"),
        "issued tomorrow": (
            statement(practice, "run.open", "operator", OPEN, issued=now() + 90 * MINUTE, expires=now() + 99 * MINUTE),
            "future",
        ),
        "good for a year": (
            statement(practice, "run.open", "operator", OPEN, expires=now() + 365 * 24 * 60 * MINUTE),
            "more than",
        ),
        "altered": ({**good, "statement": base64.b64encode(wider).decode()}, "signature|sign"),
        "another spelling": ({**good, "statement": base64.b64encode(spaced).decode()}, "canonical"),
        "another namespace": (sealed(data, as_approval), "made for"),
        "no signature": ({**good, "signature": ""}, "signature"),
        "a role that may not": (statement(practice, "run.open", "auditor", OPEN), "may not"),
        "a command that is none": (statement(practice, "shell", "leader", {"run": "id"}), "no signed command"),
        "a vote": (ballot(practice, card_of_nothing(), "approve", "approver"), "kind"),
    }


def card_of_nothing() -> dict[str, Any]:
    digest = "0" * 64
    return {"action": "act_0", "digest": digest, "card_digest": digest, "boundary_digest": digest}


@pytest.mark.promise("P5")
async def test_no_forged_altered_or_replayed_statement_opens_a_run(make: Make) -> None:
    practice = make("edr")
    async with Gateway.on(practice) as gateway:
        for what, (params, word) in forged(practice).items():
            with pytest.raises(Refused, match=f"(?i){word}") as refused:
                await gateway.ask("signed", **params)
            assert refused.value.says, what
        assert not (await gateway.ask("run.list", all=True))["runs"]

        captured = statement(practice, "run.open", "operator", OPEN)
        await gateway.ask("signed", **captured)
        with pytest.raises(Refused, match="used before"):
            await gateway.ask("signed", **captured)
        gateway.process.kill()
        await gateway.died()
    async with Gateway.on(practice) as gateway:
        with pytest.raises(Refused, match="used before"):
            await gateway.ask("signed", **captured)
        assert len((await gateway.ask("run.list", all=True))["runs"]) == 1


@pytest.mark.promise("P4")
async def test_a_vote_counts_only_for_its_own_card_and_from_somebody_who_may(make: Make) -> None:
    practice = make("idp")
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("k.adeyemi", "l.novak")
        first = await gateway.waiting(agent, "idp__disable_account", account="k.adeyemi")
        other = await gateway.waiting(agent, "idp__disable_account", account="l.novak")
        card = await gateway.ask("card", action=first.action)
        theirs = await gateway.ask("card", action=other.action)
        strange = Ed25519PrivateKey.generate()
        wrong = {
            "a stranger's key": ballot(practice, card, "approve", "approver", key=strange),
            "the opener": ballot(practice, card, "approve", "operator"),
            "the owner": ballot(practice, card, "approve", "leader"),
            "no approver": ballot(practice, card, "approve", "auditor"),
            "somebody in another's name": ballot(practice, card, "approve", "approver", key=practice.key("operator")),
            "another action's digest": ballot(practice, card, "approve", "approver", digest=theirs["digest"]),
            "another card": ballot(practice, card, "approve", "approver", card_digest=theirs["card_digest"]),
            "another boundary": ballot(practice, card, "approve", "approver", boundary_digest="0" * 64),
            "another home": ballot(practice, card, "approve", "approver", home="home_0000000000000000"),
            "expired": ballot(practice, card, "approve", "approver", issued=now() - 2 * MINUTE, expires=now() - MINUTE),
        }
        for what, params in wrong.items():
            with pytest.raises(Refused):
                await gateway.ask("decide", **params)
            assert practice.actions("disable_account")[0]["state"] == "awaiting_approval", what
        assert not practice.effects()

        good = ballot(practice, card, "approve", "approver")
        assert (await gateway.ask("decide", **good))["state"] == "done"
        assert (await first.call).done
        for again in (good, ballot(practice, card, "approve", "on-call")):
            with pytest.raises(Refused, match="not waiting"):
                await gateway.ask("decide", **again)
        await gateway.vote(other.action, "reject")
        assert (await other.call).state == "rejected"
    assert len(practice.effects()) == 1


@pytest.mark.promise("P4")
async def test_an_approval_is_void_once_what_it_was_given_for_has_changed(make: Make) -> None:
    practice = make("idp")
    inventory = practice.home / "inventory.csv"
    async with Gateway.on(practice) as gateway:
        agent = await gateway.open("k.adeyemi")
        held = await gateway.waiting(agent, "idp__disable_account", account="k.adeyemi")
        vote = await gateway.vote_on(held.action)
        lines = inventory.read_text().splitlines()
        changed = [line.replace("k.adeyemi,account,no", "k.adeyemi,account,yes") for line in lines]
        assert changed != lines
        inventory.write_text("\n".join(changed) + "\n")
        await gateway.signed("reload", "operator")
        with pytest.raises(Refused):
            await gateway.ask("decide", **vote)
        assert not practice.effects()
        await held.withdraw()
