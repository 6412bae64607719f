"""Secret arguments are taken out of a proposal whole, and put back to the byte."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit.gates.secret_arguments import apart, together
from remit.gates.secret_arguments import given as names_given
from remit.model.canonical import encode
from remit.model.display import SECRET
from remit.model.words import Proposal, Rationale

NAMES = st.sampled_from(["password", "Pass-Word", "ＰＡＳＳＷＯＲＤ", "pin", "host", "note", "é", "😀"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e15, 1e15) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(NAMES, VALUES | st.just(SECRET), max_size=5)


def proposal(arguments: dict[str, Any], asked: dict[str, Any], *secrets: str) -> Proposal:
    return Proposal(
        arguments=encode(arguments).decode(),
        targets=("WS-1",),
        asked=encode(asked).decode(),
        salt="5a" * 16,
        rationale=Rationale(summary="because"),
        secrets=secrets,
    )


@given(arguments=OBJECTS, asked=OBJECTS, secrets=st.lists(NAMES, unique=True, max_size=3))
def test_what_was_taken_apart_is_put_together_as_it_was(
    arguments: dict[str, Any], asked: dict[str, Any], secrets: list[str]
) -> None:
    whole = proposal(arguments, asked, *secrets)
    kept, hidden = apart(whole)
    assert (whole if hidden is None else together(kept, hidden)) == whole
    assert (hidden is None) == (kept == whole)


def test_neither_a_value_nor_the_salt_stays_with_the_proposal_however_the_argument_is_spelt() -> None:
    whole = proposal({"host": "WS-1", "password": ["hunter2"]}, {"Pass-Word": "hunter2", "host": "ws1"}, "password")
    kept, hidden = apart(whole)
    assert hidden is not None
    assert kept.arguments == '{"host":"WS-1","password":"⟦secret⟧"}'
    assert kept.asked == '{"Pass-Word":"⟦secret⟧","host":"ws1"}'
    assert kept.salt == ""
    assert (hidden.arguments, hidden.asked) == ({"password": ["hunter2"]}, {"Pass-Word": "hunter2"})
    assert hidden.salt == whole.salt
    assert names_given(kept) == ("password",)


@pytest.mark.parametrize("secrets", [(), ("password",)])
def test_a_call_without_a_secret_argument_is_kept_as_it_is(secrets: tuple[str, ...]) -> None:
    whole = proposal({"host": "WS-1"}, {"host": "WS-1"}, *secrets)
    assert apart(whole) == (whole, None)
    assert names_given(whole) == ()
