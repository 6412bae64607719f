"""Untrusted text, made safe to show."""

import base64
import copy
import json
import re
import time
import unicodedata
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from remit.model import display
from remit.model.display import (
    meant,
    redact,
    redact_patterns,
    safe_line,
    safe_text,
    safe_value,
    texts_of,
    utc,
    without_texts,
)

NASTY = st.sampled_from(
    [
        *("\x1b[31m", "\r", "\r\n", "\n", "\t", "\x00", "\x85", "\u2028", "\u202e", "\u200b", "\ufeff"),
        *("\U000e0041", "\ufe0f", "\u2764", "](", "![", "]: ", "http:", "//", "<", "<script", "<img "),
        *("onload=", ">", "⟦", "⟧", "\ud800", "a", "1", " ", "é", "\U0001f600", "\u200d", "&", "\\"),
        *("[x]", "(", "javascript:alert"),
    ]
)
TEXTS = st.lists(NASTY | st.characters(), max_size=14).map("".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)
FORBIDDEN = {"Cc", "Zl", "Zp", "Cs"}


def hidden(text: str) -> list[str]:
    text = text.replace("\r\n", "\n")
    bidi = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    widthless = "\u00ad\u200b\u200c\u200d\u2060\ufeff"
    return [
        c
        for c in text
        if (unicodedata.category(c) in FORBIDDEN and c not in "\n\t")
        or c in bidi + widthless
        or 0xE0000 <= ord(c) <= 0xE0FFF
    ]


@settings(max_examples=400)
@given(TEXTS)
@example("<a\u202e")
@example("\u202e\ufe0f")
@example("]\u2028(http://x")
@example("](http:\x1f")
@example("](http:\r")
def test_text_made_safe_hides_nothing_and_stays_as_it_is(text: str) -> None:
    safe = safe_text(text)
    assert not hidden(safe)
    assert safe_text(safe) == safe
    assert not re.search(r"<script[\s/>]", safe, re.IGNORECASE)
    assert "](http:/" not in safe


@settings(max_examples=300)
@given(TEXTS, st.integers(0, 60))
def test_a_line_made_safe_is_one_line_within_its_limit(text: str, limit: int) -> None:
    line = safe_line(text, limit)
    assert len(line) <= max(limit, 24)
    assert not hidden(line)
    assert not {"\n", "\r", "\t"} & set(line)
    assert safe_line(line, limit) == line


@settings(max_examples=300)
@given(VALUES)
def test_a_value_made_safe_hides_nothing_and_stays_as_it_is(value: Any) -> None:
    before = copy.deepcopy(value)
    safe = safe_value(value)
    assert repr(value) == repr(before)
    assert safe_value(safe) is safe
    assert not hidden("".join(texts(safe)))


def texts(value: Any) -> list[str]:
    match value:
        case str():
            return [value]
        case list():
            return [text for each in value for text in texts(each)]
        case dict():
            return [text for key, each in value.items() for text in (key, *texts(each))]
        case _:
            return []


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "two\nlines\tand a tab",
        "windows\r\nlines",
        "C:\\running\\u0041\\new",
        "https://evil.example/path?q=1",
        "Grüße, 你好, Привет, \u2764\ufe0f, 1\ufe0f\u20e3",
        "<Event xmlns='http://x'><System/></Event>",
        "a[0](x) and [INFO]: note: fine",
        "a < b > c",
        "non\u00a0breaking",
    ],
)
def test_clean_text_is_returned_unchanged(text: str) -> None:
    assert safe_text(text) is text or safe_text(text) == text
    value = {"k": [text, {text: 1}]}
    assert safe_value(value) is value


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("\x1b[2Jgone", "⟦esc⟧[2Jgone"),
        ("\x9b31m", "⟦U+009B⟧31m"),
        ("approve\rreject", "approve⟦U+000D⟧reject"),
        ("a\u202eb", "a⟦U+202E⟧b"),
        ("a\u2028b\u0085c", "a⟦U+2028⟧b⟦U+0085⟧c"),
        ("x\U000e0041y", "x⟦U+E0041⟧y"),
        ("a\ufe0f", "a⟦U+FE0F⟧"),
        ("![p](https://evil/?d=1)", "![p]⟦link⟧(https://evil/?d=1)"),
        ("[p]( <https://evil>)", "[p]⟦link⟧( <https://evil>)"),
        ("[p](&#104;ttps://evil)", "[p]⟦link⟧(&#104;ttps://evil)"),
        ("[p](//evil)", "[p]⟦link⟧(//evil)"),
        ("[p]:\n https://evil", "[p]⟦link⟧:\n https://evil"),
        ("<ScRiPt>x</script>", "⟦<⟧ScRiPt>x⟦<⟧/script>"),
        ("<img/src=x>", "⟦<⟧img/src=x>"),
        ("<b onclick=x>", "⟦<⟧b onclick=x>"),
        ("<x\nHREF = y>", "⟦<⟧x\nHREF = y>"),
        ("\ud800", "⟦U+D800⟧"),
    ],
)
def test_what_deceives_or_acts_is_shown_by_a_marker(text: str, safe: str) -> None:
    assert safe_text(text) == safe
    assert safe_value({text: [text]}) == {safe: [safe]}


def test_keys_that_become_equal_stay_apart() -> None:
    safe = safe_value({"a\u202e": 1, "a⟦U+202E⟧": 2})
    assert sorted(safe.values()) == [1, 2]
    assert safe_value(safe) is safe


def test_a_cut_line_says_how_much_is_missing() -> None:
    assert safe_line("x" * 300, 100) == "x" * 84 + "⟦+216⟧"
    assert safe_line("one\ntwo\r\nthree\tend") == "one⏎two⏎three end"


def test_nothing_here_raises_on_endless_nesting_or_on_what_is_not_json() -> None:
    value: Any = "\u202e"
    for _ in range(3_000):
        value = [value]
    assert display.TOO_DEEP in repr(safe_value(value))
    assert redact(value, ("secret",)) is not None
    odd = {1: b"x", None: {"\u202e"}, "k": "\u202e", "n": 10**400}
    assert safe_value(odd)["k"] == "⟦U+202E⟧"


SECRETS = ("s3cr3t/Pass+word=", 'quo"te\\back', "kurz", "pässwörd-lang")


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_found_in_every_spelling(secret: str) -> None:
    spellings = [secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)]
    spellings += [json.dumps(secret, ensure_ascii=False), re.sub("%..", lambda hit: hit[0].lower(), quote(secret))]
    if len(secret) >= 8:
        for before in ("", "u", "us", "usr"):
            encoded = (before + secret + "tail").encode()
            spellings += [base64.b64encode(encoded).decode(), base64.urlsafe_b64encode(encoded).decode()]
            spellings.append(base64.b64encode((before + secret).encode()).decode())
    for spelling in spellings:
        text = f"before {spelling} after"
        clean = redact(text, SECRETS)
        assert clean.startswith("before ") and clean.endswith(" after")
        assert "⟦secret⟧" in clean
        assert redact(clean, SECRETS) == clean
        value: dict[str, Any] = {"a": [1, {"b": text}], text: None}
        assert redact(value, SECRETS) == {"a": [1, {"b": clean}], clean: None}


@settings(max_examples=200)
@given(VALUES, st.lists(st.text(min_size=1, max_size=12), max_size=3).map(tuple))
def test_no_secret_survives_and_clean_values_are_untouched(value: Any, secrets: tuple[str, ...]) -> None:
    secrets = tuple(secret for secret in secrets if not set(secret) & set("⟦secret⟧again"))
    clean = redact(value, secrets)
    found = "\n".join(texts(clean))
    assert not any(secret in text for secret in secrets for text in texts(clean)), found
    if not any(secret in text for secret in secrets for text in texts(value)):
        assert repr(clean) == repr(value) or "⟦secret⟧" in found


def test_no_secrets_means_the_same_object() -> None:
    value = {"a": ["text"]}
    assert redact(value, ()) is value
    assert redact(value, ("",)) is value
    assert redact(value, ("unseen-secret",)) is value
    assert redact_patterns(value) is value


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nMIIEcut off",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        "Authorization: Bearer abcdefghijklmnopqrstuvwxyz012345",
        "AKIAIOSFODNN7EXAMPLE",
        "aws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEYab",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    ],
)
def test_what_looks_like_a_secret_is_redacted(text: str) -> None:
    clean = redact_patterns({"log": f"x {text}"})["log"]
    assert "⟦secret⟧" in clean
    assert text not in clean
    assert text.split()[-1] not in clean
    assert redact_patterns(clean) == clean


def test_ordinary_words_do_not_look_like_secrets() -> None:
    text = "the bearer of bad news, AKIA is short, -----BEGIN CERTIFICATE-----, " + "0123456789abcdef" * 2
    assert redact_patterns(text) is text


@pytest.mark.parametrize(
    "piece",
    ["<a", "<x ", " href", "](", "]: ", "[", "-eyJaaaaaaaa", "-----BEGIN PRIVATE KEY", " on", "⟦", "\u202e", "bearer "],
)
def test_a_megabyte_made_to_be_slow_is_done_in_seconds(piece: str) -> None:
    text = "<x" + piece * (1_000_000 // len(piece))
    began = time.process_time()
    safe_text(text)
    redact_patterns(text)
    safe_line(text)
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    ("at", "says"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_800_000_100_000_001, "2027-01-15T08:01:40.000001Z"),
        (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
        (253_402_300_800_000_000, "253402300800000000 µs after 1970"),
        ((2**63 - 1) * 1_000_000, "9223372036854775807000000 µs after 1970"),
    ],
)
def test_a_time_that_no_calendar_has_is_told_as_a_number(at: int, says: str) -> None:
    assert utc(at) == says


def test_a_name_means_a_property_however_it_is_spelt() -> None:
    assert meant(["Pass-Word", "ＰＩＮ", "host"], ("password", "pin")) == {"Pass-Word", "ＰＩＮ"}
    assert meant(["host"], ()) == frozenset()


@given(VALUES, st.lists(TEXTS.filter(bool), max_size=3))
def test_what_is_left_around_the_marks_holds_no_text_that_was_struck(value: Any, sought: list[str]) -> None:
    for text in texts_of(without_texts(value, sought)):
        assert not any(each in part for each in sought for part in text.split("⟦secret⟧"))


def test_texts_are_struck_from_values_and_not_from_keys_the_longest_first() -> None:
    value = {"summary": "set hunter2-long and hunter2", "says": ["hunter2", 7, None, {"hunter2": "x"}]}
    struck = without_texts(value, ["hunter2", "hunter2-long"])
    assert struck == {
        "summary": "set ⟦secret⟧ and ⟦secret⟧",
        "says": ["⟦secret⟧", 7, None, {"hunter2": "x"}],
    }
    assert without_texts(value, []) is value
