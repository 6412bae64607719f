"""What must hold after every crash, whatever its moment: seen from the lab's audit and the bytes of the journal."""

from __future__ import annotations

from tests.support.home import Practice


def every_effect_had_an_intent(practice: Practice) -> None:
    """P1, from outside: each effect in the lab carries the warrant of one intent on record, and no warrant twice."""
    effects = practice.effects()
    intents = {record["warrant"]: record["action"] for record in practice.records("intent")}
    warrants = [effect["warrant"] for effect in effects]
    assert set(warrants) <= set(intents)
    assert len(set(warrants)) == len(warrants)


def intended_once(practice: Practice, action: str) -> bool:
    """Whether the action was intended; fails if it was more than once."""
    intents = [record for record in practice.records("intent") if record["action"] == action]
    assert len(intents) <= 1, "one action was intended twice"
    return bool(intents)
