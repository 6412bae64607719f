"""A warrant opens one door, once, for a minute."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OKPKey

from remit.gates.warrants import Verifier, WarrantKey, mint, public_key_line
from remit.model.canonical import encode, sha256_hex
from remit.model.errors import Misuse, NotVerified
from remit.model.words import SECOND, Instant, Json

KEY = WarrantKey(b"\x07" * 32)
NOW = 1_800_000_000 * SECOND + 123_456
ARGUMENTS: dict[str, Json] = {"host": "4711"}
LINE = public_key_line(KEY)


def token(key: WarrantKey = KEY, **changes: Any) -> str:
    fields: dict[str, Any] = {
        "home": "home_1",
        "agent": "triage",
        "connector": "edr",
        "tool": "isolate_host",
        "targets": ["WS01"],
        "arguments": encode(ARGUMENTS),
        "action": "act_1",
        "digest": "ab" * 32,
        "jti": "wrt_1",
        "now": NOW,
    }
    return mint(key, **(fields | changes))


class Burned:
    """Remembers burned ids, as a connector does."""

    def __init__(self) -> None:
        self.ids: dict[str, Instant] = {}

    def __call__(self, jti: str, expires: Instant) -> bool:
        if jti in self.ids:
            return False
        self.ids[jti] = expires
        return True


def refused(
    clause: str, warrant: str, burn: Burned | None = None, verifier: Verifier | None = None, **call: Any
) -> None:
    burned = burn or Burned()
    before = dict(burned.ids)
    values: dict[str, Any] = {"audience": "edr", "tool": "isolate_host", "arguments": ARGUMENTS, "now": NOW} | call
    with pytest.raises(NotVerified) as caught:
        (verifier or Verifier(LINE)).verify(warrant, burn=burned, **values)
    assert [each.id for each in caught.value.clauses] == [f"warrant.{clause}"]
    assert burned.ids == before


def test_a_warrant_is_good_for_its_call() -> None:
    burned = Burned()
    warrant = Verifier(LINE, issuer="remit:home_1").verify(token(), "edr", "isolate_host", ARGUMENTS, NOW, burned)
    assert (warrant.action, warrant.agent, warrant.targets, warrant.digest) == ("act_1", "triage", ("WS01",), "ab" * 32)
    assert burned.ids == {"wrt_1": (1_800_000_000 + 60) * SECOND}


@pytest.mark.filterwarnings("ignore")
def test_another_implementation_reads_the_same_claims() -> None:
    raw = base64.b64decode(LINE)
    jwk = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(raw).decode().rstrip("=")})
    read = jwt.decode(token(), jwk, algorithms=["Ed25519"])
    assert read.header == {"alg": "Ed25519", "typ": "remit-warrant+jwt", "kid": sha256_hex(raw)[:16]}
    assert read.claims == {
        "iss": "remit:home_1",
        "sub": "triage",
        "aud": "edr",
        "jti": "wrt_1",
        "iat": 1_800_000_000,
        "nbf": 1_800_000_000,
        "exp": 1_800_000_060,
        "authorization_details": [
            {
                "type": "remit_action",
                "action": "act_1",
                "digest": "ab" * 32,
                "connector": "edr",
                "tool": "isolate_host",
                "targets": ["WS01"],
                "arguments_sha256": sha256_hex(b'{"host":"4711"}'),
            }
        ],
    }


@pytest.mark.filterwarnings("ignore")
def test_a_token_of_another_implementation_verifies() -> None:
    read = json.loads(unpadded(token().split(".")[1]))
    jwk = OKPKey.import_key(jwk_of(b"\x07" * 32))
    header = {"alg": "Ed25519", "typ": "remit-warrant+jwt", "kid": KEY.kid}
    made = jwt.encode(header, read, jwk, algorithms=["Ed25519"])
    assert Verifier(LINE).verify(made, "edr", "isolate_host", ARGUMENTS, NOW, Burned()).action == "act_1"


def jwk_of(seed: bytes) -> dict[str, str | list[str]]:
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    parts = {"d": seed, "x": public}
    encoded = {name: base64.urlsafe_b64encode(each).decode().rstrip("=") for name, each in parts.items()}
    return {"kty": "OKP", "crv": "Ed25519", **encoded}


def unpadded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_a_warrant_is_refused_for_another_connector_tool_or_arguments() -> None:
    refused("audience", token(), audience="idp")
    refused("tool", token(), tool="release_host")
    refused("arguments", token(), arguments={"host": "4712"})
    refused("arguments", token(), arguments={})
    refused("arguments", token(), arguments=ARGUMENTS | {"force": True})
    refused("arguments", token(), arguments={"host": b"4711"})
    refused("issuer", token(home="home_2"), verifier=Verifier(LINE, issuer="remit:home_1"))


@pytest.mark.promise("P4")
def test_a_warrant_is_refused_the_second_time() -> None:
    burned = Burned()
    Verifier(LINE).verify(token(), "edr", "isolate_host", ARGUMENTS, NOW, burned)
    refused("used", token(), burn=burned)


@pytest.mark.parametrize("now", [NOW + 60 * SECOND, NOW + 3600 * SECOND, NOW - 10 * SECOND])
def test_a_warrant_is_refused_outside_of_its_minute(now: int) -> None:
    refused("time", token(), now=now)


def test_the_end_is_exact_and_a_slow_clock_is_forgiven() -> None:
    end = (1_800_000_000 + 60) * SECOND
    for now in (end - 1, NOW - 4 * SECOND):
        Verifier(LINE).verify(token(), "edr", "isolate_host", ARGUMENTS, now, Burned())
    refused("time", token(), now=end)


@pytest.mark.parametrize("lifetime", [0, SECOND - 1, 60 * SECOND + 1, -1])
def test_no_warrant_lives_longer_than_a_minute_or_shorter_than_a_second(lifetime: int) -> None:
    with pytest.raises(ValueError, match="1 to 60 s"):
        token(lifetime=lifetime)


def claims(**changes: Any) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(unpadded(token().split(".")[1]))
    return {name: value for name, value in (read | changes).items() if value is not ...}


@pytest.mark.parametrize(
    ("clause", "changes"),
    [
        ("time", {"exp": 1_800_000_061}),
        ("time", {"iat": 1_799_999_000}),
        ("time", {"nbf": 1_799_999_000}),
        ("claims", {"exp": ...}),
        ("claims", {"exp": "1800000060"}),
        ("claims", {"exp": True}),
        ("claims", {"jti": ...}),
        ("claims", {"sub": None}),
        ("claims", {"authorization_details": []}),
        ("claims", {"authorization_details": [{"type": "other"}]}),
        ("audience", {"aud": ["edr", "idp"]}),
        ("audience", {"aud": ...}),
    ],
)
def test_claims_that_a_gateway_never_makes_are_refused_though_signed(clause: str, changes: dict[str, Any]) -> None:
    refused(clause, KEY.token(claims(**changes)))


def forged(header: dict[str, Any]) -> str:
    head = base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
    _, body, signature = token().split(".")
    return f"{head}.{body}.{signature}"


GOOD = {"alg": "Ed25519", "typ": "remit-warrant+jwt", "kid": KEY.kid}


@pytest.mark.parametrize(
    ("clause", "warrant"),
    [
        ("form", ""),
        ("form", "a.b"),
        ("form", "a.b.c.d"),
        ("form", "é.é.é"),
        ("form", "x" * 300_000),
        ("form", token() + "="),
        ("form", token().replace(".", "=.", 1)),
        ("form", forged(GOOD | {"alg": "none"})),
        ("form", forged(GOOD | {"alg": "HS256"})),
        ("form", forged(GOOD | {"typ": "JWT"})),
        ("form", forged(GOOD | {"crit": ["b64"]})),
        ("key", forged(GOOD | {"kid": "0" * 16})),
        ("key", token(WarrantKey(b"\x08" * 32))),
        ("signature", forged(dict(reversed(GOOD.items())))),
        ("signature", token().rpartition(".")[0] + "." + "A" * 86),
        ("signature", token().rpartition(".")[0] + "."),
    ],
)
def test_a_forged_token_is_refused(clause: str, warrant: str) -> None:
    refused(clause, warrant)


@given(st.integers(min_value=0), st.sampled_from("ABab01-_."))
def test_changing_one_character_never_leaves_a_warrant_good(place: int, character: str) -> None:
    whole = token()
    place %= len(whole)
    changed = whole[:place] + character + whole[place + 1 :]
    if changed != whole:
        with pytest.raises(NotVerified):
            Verifier(LINE).verify(changed, "edr", "isolate_host", ARGUMENTS, NOW, Burned())


@pytest.mark.parametrize("line", ["", "AAAA", "not base64", base64.b64encode(b"x" * 31).decode()])
def test_a_line_that_is_no_key_is_refused(line: str) -> None:
    with pytest.raises(Misuse, match="32 bytes"):
        Verifier(line)


def test_the_line_may_end_in_a_line_break_as_files_do() -> None:
    Verifier(LINE + "\n").verify(token(), "edr", "isolate_host", ARGUMENTS, NOW, Burned())
