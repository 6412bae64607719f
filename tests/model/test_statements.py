"""The signed statements: exact bytes, and good only for what they say."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from remit.model import canonical
from remit.model.signatures import SignatureError, public_key, sign, verify
from remit.model.statements import (
    CLOCK_SKEW,
    LONGEST_VALIDITY,
    ApprovalStatement,
    BadStatement,
    ControlStatement,
    StatementRefused,
)
from remit.model.words import MINUTE

NOW = 1_790_000_000_000_000
APPROVAL = ApprovalStatement(
    verb="approve",
    home="home-1",
    action="act_0123456789abcdef",
    digest="a" * 64,
    card_digest="b" * 64,
    boundary_digest="c" * 64,
    person="ana@example.com",
    issued=NOW,
    expires=NOW + 10 * MINUTE,
)
CONTROL = ControlStatement(
    command="resume",
    parameters={"reason": "checked", "scope": {"kind": "everything"}},
    nonce="n-1",
    home="home-1",
    person="ana@example.com",
    issued=NOW,
    expires=NOW + MINUTE,
)
FITS = {
    "home": "home-1",
    "person": "ana@example.com",
    "action": "act_0123456789abcdef",
    "digest": "a" * 64,
    "card_digest": "b" * 64,
    "boundary_digest": "c" * 64,
}


@pytest.mark.parametrize("statement", [APPROVAL, CONTROL])
def test_a_statement_comes_back_from_its_bytes(statement: ApprovalStatement | ControlStatement) -> None:
    data = statement.encode()
    assert type(statement).parse(data) == statement
    assert data == canonical.encode(json.loads(data))


def test_a_statement_that_fits_is_accepted() -> None:
    APPROVAL.check(NOW, **FITS)
    APPROVAL.check(NOW - CLOCK_SKEW, **FITS)
    APPROVAL.check(NOW + 10 * MINUTE - 1, **FITS)
    CONTROL.check(
        NOW,
        home="home-1",
        person="ana@example.com",
        command="resume",
        parameters={"scope": {"kind": "everything"}, "reason": "checked"},
    )


@pytest.mark.parametrize("name", sorted(FITS))
def test_an_approval_of_anything_else_is_refused(name: str) -> None:
    with pytest.raises(StatementRefused, match="expected `other`") as refused:
        APPROVAL.check(NOW, **(FITS | {name: "other"}))
    assert refused.value.why == name


@pytest.mark.parametrize(
    ("now", "why"), [(NOW + 10 * MINUTE, "expired"), (NOW - CLOCK_SKEW - 1, "early"), (NOW + 10**12, "expired")]
)
def test_a_statement_outside_its_time_is_refused(now: int, why: str) -> None:
    with pytest.raises(StatementRefused) as refused:
        APPROVAL.check(now, **FITS)
    assert refused.value.why == why


def test_a_statement_valid_for_days_is_refused() -> None:
    long = ControlStatement(
        command="stop",
        parameters={},
        nonce="n",
        home="h",
        person="p",
        issued=NOW,
        expires=NOW + LONGEST_VALIDITY + 1,
    )
    with pytest.raises(StatementRefused, match="more than 24 hours"):
        long.check(NOW, home="h", person="p", command="stop", parameters={})


def test_a_command_with_other_parameters_is_refused() -> None:
    for command, parameters in (("resume", {"reason": "checked"}), ("reload", CONTROL.parameters)):
        here = {"home": "home-1", "person": "ana@example.com"}
        with pytest.raises(StatementRefused):
            CONTROL.check(NOW, **here, command=command, parameters=parameters)


def changed(statement: ApprovalStatement | ControlStatement, **fields: Any) -> bytes:
    document = json.loads(statement.encode())
    for name, value in fields.items():
        if value is ...:
            del document[name]
        else:
            document[name] = value
    return canonical.encode(document)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"extra": 1}, "unknown key, `extra`"),
        ({"person": ...}, "lacks `person`"),
        ({"kind": ...}, "`kind` is `null`"),
        ({"kind": "remit-control-1"}, "`kind` is `remit-control-1`"),
        ({"verb": "maybe"}, "refused"),
        ({"issued": "now"}, "refused"),
        ({"issued": 1.5}, "refused"),
        ({"issued": True}, "refused"),
        ({"expires": NOW}, "expires before"),
        ({"digest": "A" * 64}, "SHA-256"),
        ({"digest": "aa"}, "SHA-256"),
        ({"person": ""}, "is empty"),
        ({"home": None}, "refused"),
    ],
)
def test_a_statement_with_a_wrong_key_or_value_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadStatement, match=reason):
        ApprovalStatement.parse(changed(APPROVAL, **fields))


def test_bytes_in_another_spelling_are_refused() -> None:
    data = APPROVAL.encode()
    spellings = [data + b" ", json.dumps(json.loads(data)).encode(), data.replace(b"approve", b"\\u0061pprove")]
    for other in [*spellings, data[:-1] + b',"verb":"reject"}', b"", b"[]", b"null", b"\xff"]:
        with pytest.raises(BadStatement):
            ApprovalStatement.parse(other)


def test_one_kind_is_never_read_as_the_other() -> None:
    with pytest.raises(BadStatement, match="expected `remit-approval-1`"):
        ApprovalStatement.parse(CONTROL.encode())
    with pytest.raises(BadStatement, match="expected `remit-control-1`"):
        ControlStatement.parse(APPROVAL.encode())


OBJECTS = st.dictionaries(st.sampled_from(["kind", "verb", "home"]), st.text())


@given(st.binary(max_size=60) | OBJECTS.map(canonical.encode))
def test_any_bytes_are_refused_with_a_reason(data: bytes) -> None:
    for kind in (ApprovalStatement, ControlStatement):
        with pytest.raises(BadStatement):
            kind.parse(data)


def test_a_signed_approval_is_worth_nothing_as_a_command() -> None:
    key = Ed25519PrivateKey.generate()
    signature = sign(key, APPROVAL.encode(), APPROVAL.namespace)
    assert verify(signature, APPROVAL.encode(), ApprovalStatement.namespace, [public_key(key)])
    with pytest.raises(SignatureError):
        verify(signature, APPROVAL.encode(), ControlStatement.namespace, [public_key(key)])
