"""Strict JSON in, canonical JSON out."""

import json
import math
from typing import Any

import msgspec
import pytest
import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st

from remit.model import canonical
from remit.model.canonical import BadJson, NotCanonical, commitment, decode_strict, encode, sha256_hex

KEYS = st.text(max_size=6) | st.sampled_from(["a", "A", "ﬀ", "\U0001f600", "\ue000", "", "host", "hoſt"])
NUMBERS = (
    st.integers(-canonical.LARGEST_NUMBER, canonical.LARGEST_NUMBER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.floats(-1e10, 1e10, allow_subnormal=False)
    | st.sampled_from([0.0, -0.0, 1.0, 1e21, 1e-7, 1e-6, 0.001, 999999999.9999999, 5e-324])
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=2_000)
@given(VALUES)
@example({"\U0001f600": 1, "\ue000": 2})
@example([1.0, -0.0, 1e21, 0.1])
def test_encoding_always_equals_rfc_8785(value: Any) -> None:
    assert encode(value) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, 2**53, -(2**53), "\ud800", {"\udc00": 1}, {1: 2}, {None: 1}, b"bytes", {1, 2}, object()],
)
def test_a_value_that_is_not_json_has_no_canonical_form(value: Any) -> None:
    for wrapped in (value, [value], {"a": value}):
        with pytest.raises(NotCanonical):
            encode(wrapped)


def test_endless_nesting_has_no_canonical_form() -> None:
    value: list[Any] = []
    for _ in range(200_000):  # beyond what any interpreter's stack takes
        value = [value]
    with pytest.raises(NotCanonical):
        encode(value)


@settings(max_examples=300)
@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_what_is_accepted_reads_as_in_json(value: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    try:
        decoded = decode_strict(text)
    except BadJson:
        return
    assert repr(decoded) == repr(json.loads(text))
    assert decode_strict(encode(decoded)) == decoded


PIECES = st.sampled_from(
    [
        *('{"a":1', ',"b":2', ',"a":3', ',"A":3', "}", "[", "]", ",", '{"host":"x",', '"hoſt":1', ":"),
        *('"\\u003a"', "1e400", '"\\ud800"', '"\\ud83d\\ude00"', "9007199254740993", "-0", "1.5", " "),
        *('"\\u0061":4', "null", "01", "NaN"),
    ]
)


@settings(max_examples=1_000)
@given(st.lists(PIECES, max_size=12).map("".join))
@example('{"a":1,"a":2,"b":"\\u003a"}')
@example('{"a":1,"a":":","b":"\\u003a\\u003A"}')
def test_the_fast_road_never_accepts_what_the_plain_road_refuses(text: str) -> None:
    def outcome(decode: Any) -> Any:
        try:
            return repr(decode())
        except BadJson:
            return BadJson

    plain = outcome(lambda: canonical._decode_plainly(text.encode(), 32, 1_000))
    assert outcome(lambda: decode_strict(text, max_nodes=1_000)) == plain


@settings(max_examples=300)
@given(st.binary(max_size=40) | VALUES.map(msgspec.json.encode))
def test_any_bytes_are_decoded_or_refused_with_a_reason(data: bytes) -> None:
    try:
        decode_strict(data)
    except BadJson as error:
        assert error.path.startswith("$")
        assert error.expected in str(error)
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "path", "found"),
    [
        ('{"a":1,"a":2}', "$.a", "twice"),
        ('{"a":1,"\\u0061":2}', "$.a", "twice"),
        ('{"x":[{"host":"a","hoſt":"b"}]}', "$.x[0][`hoſt`]", "beside `host`"),
        ('{"Host":"a","host":"b"}', "$.host", "beside `Host`"),
        ('{"ﬁle":"a","file":"b"}', "$.file", "beside `ﬁle`"),
        ('{"a":"\\ud800"}', "$.a", "U+D800"),
        ('{"a":[1,9007199254740992]}', "$.a[1]", "9007199254740992"),
        ('{"a":-9007199254740993.0}', "$.a", "-9007199254740992.0"),
        ('{"a":' + "9" * 5_000 + "}", "$.a", "99999999"),
        ('{"a":NaN}', "$.a", "NaN"),
        ('{"a":-Infinity}', "$.a", "infinity"),
        ('{"a":1e400}', "$.a", "infinity"),
        ("[" * 33 + "]" * 33, "$" + "[0]" * 32, "more"),
        ("[" * 100_000, "$", "more"),
        ("[" + "1," * 60_000 + "1]", "$[49999]", "more"),
        ('{"a":1} x', "$", "line 1, column 9"),
        ("", "$", "line 1, column 1"),
        ('{"a":"\x01"}', "$", "control character"),
        ('"' + "a" * 2_000_000 + '"', "$", "2000002 bytes"),
        ("\ufeff{}", "$", "U+FEFF"),
        ('"\ud800"', "$", "U+D800"),
    ],
)
def test_a_refusal_says_where_and_what_was_found(text: str, path: str, found: str) -> None:
    with pytest.raises(BadJson) as refused:
        decode_strict(text)
    assert refused.value.path == path
    assert found in refused.value.found
    assert len(str(refused.value)) < 500


def test_bytes_that_are_not_utf_8_are_refused_at_their_place() -> None:
    with pytest.raises(BadJson, match="the byte 0xff at byte 2"):
        decode_strict(b'["\xff"]')


def test_limits_are_met_exactly() -> None:
    assert decode_strict("[" * 32 + "]" * 32)
    assert len(decode_strict("[1,2,3]", max_nodes=4)) == 3
    with pytest.raises(BadJson):
        decode_strict("[1,2,3]", max_nodes=3)
    assert decode_strict("[9007199254740991,-9007199254740991]") == [2**53 - 1, 1 - 2**53]
    assert decode_strict("1", max_depth=0) == 1


def test_keys_that_only_look_related_are_accepted() -> None:
    value = {"camelCase": 1, "other": {"camelCase": 2, "Straße": "a:b"}, "c:d": "\\u003"}
    assert decode_strict(json.dumps(value)) == value
    assert decode_strict(json.dumps(value, ensure_ascii=False)) == value


def test_a_commitment_depends_on_every_byte_and_on_where_the_salt_ends() -> None:
    salt = bytes(16)
    assert commitment(salt, b"\x00data") != commitment(salt + b"\x00", b"data")
    assert commitment(salt, b"data") == sha256_hex(b"\x00\x00\x00\x10" + salt + b"data")
    with pytest.raises(ValueError, match="shorter than 16 bytes"):
        commitment(b"short", b"data")
