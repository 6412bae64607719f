"""Untrusted text, made safe to show to humans and to agents, visibly.

Nothing disappears: what could deceive or act is replaced by, or broken up with, a marker in `⟦ ⟧` that says
what was there. Everything here returns a value for every input and never raises. Functions are idempotent,
and return the very object that they were given when there is nothing to do.

Deceives: control characters (terminal escapes among them), bidirectional controls, characters without width
or shape, tag characters, variation selectors that select nothing, line breaks that look like none, lone
surrogates.

Acts: Markdown links and images whose text can differ from where they lead, and HTML that loads or
runs something. A bare address shows where it leads and stays as it is, because addresses are what security
work is about.
"""

from __future__ import annotations

import base64
import datetime
import json
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache
from typing import TypeVar
from urllib.parse import quote, quote_plus

import msgspec

from remit.model.words import Instant, Json

Value = TypeVar("Value")

SECRET = "⟦secret⟧"  # noqa: S105 - the marker that stands where one was
TOO_DEEP = "⟦nested too deeply⟧"

_LONGEST_SHOWN = 60
_DEEPEST = 200
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

# An address as Markdown's link destination: a scheme, or the start of a path; either may be spelt with
# entities or backslashes (CommonMark 0.31.2, sections 2.4, 2.5 and 6.3).
_DESTINATION = r"\s*<?(?:[A-Za-z][A-Za-z0-9+.-]*\\?(?::(?:[^ \t\r\n]|\r(?!\n))|&)|[/\\&])"
_ACTIVE_ELEMENTS = (
    "a|applet|area|audio|base|body|button|embed|form|frame|frameset|iframe|image|img|input|link|math|meta|"
    "object|picture|portal|script|source|style|svg|template|track|video"
)
_ACTIVE_ATTRIBUTES = "on[A-Za-z]+|src|srcset|href|xlink:href|style|background|poster|action|formaction|data"
_UNSAFE = re.compile(
    r"(?P<hidden>"
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)"
    r"|[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    r"\u2800\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff"
    r"\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
    # a text or emoji selector is at home behind a symbol only
    r"|(?<![\u00a9\u00ae\u203c\u2049\u20e3\u2100-\u27bf\u2900-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff#*0-9])"
    r"[\ufe0e\ufe0f]"
    r")"
    rf"|(?P<link>\](?=:{_DESTINATION}|\({_DESTINATION}))"
    rf"|(?P<tag><)(?=/?(?:{_ACTIVE_ELEMENTS})(?![A-Za-z0-9_.:-])"
    rf"|[A-Za-z][^<>]*[\s/\"'](?:{_ACTIVE_ATTRIBUTES})\s*=)",
    re.IGNORECASE,
)
# Control characters as msgspec escapes them, once escaped backslashes are gone.
_ESCAPED_CONTROL = re.compile(rb"\\[ubfr]")
_UNFINISHED_MARKER = re.compile(r"⟦[^⟦⟧]{0,20}\Z")
_encode = msgspec.json.Encoder().encode


def safe_text(text: str) -> str:
    """`text` with everything that deceives or acts made visible and inert. Keeps line feeds and tabs."""
    if _is_plain_ascii(text):
        return text
    return _UNSAFE.sub(_mark, text)


def safe_line(text: str, limit: int = 200) -> str:
    """`text` made safe, on one line, in at most `limit` characters (at least 24).

    Line breaks show as `⏎`, tabs as a space; where the end is cut off a marker says how many characters are
    missing.
    """
    line = safe_text(text)
    if not (line.isascii() and line.isprintable()):
        line = line.replace("\r\n", "⏎").replace("\n", "⏎").replace("\t", " ")
    limit = max(limit, 24)
    if len(line) <= limit:
        return line
    return _cut(line, limit - 16)


def safe_value(value: Json) -> Json:
    """A JSON value with every text in it, keys included, made safe as `safe_text` does.

    Returns `value` itself when all of it is safe already. Deeper than 200 levels a marker takes the value's
    place. Keys that become equal stay apart.
    """
    if isinstance(value, str):
        return safe_text(value)
    encoded = _encoded(value)
    if encoded is not None and _shows_nothing_unsafe(encoded):
        return value
    return _each_text(value, safe_text, 0)


def without_values(arguments: str, names: Collection[str]) -> str:
    """A JSON object as text, with `⟦secret⟧` in place of the values of these properties, however they are spelt; a text
    that is no JSON object shows none of itself."""
    if not names:
        return arguments
    try:
        found = msgspec.json.decode(arguments, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeError):
        return SECRET
    hidden = msgspec.Raw(_encode(SECRET))
    secret = meant(found, names)
    return _encode({name: hidden if name in secret else value for name, value in found.items()}).decode()


def meant(given: Iterable[str], names: Collection[str]) -> frozenset[str]:
    """Those of the given properties that these names mean, however they are spelt."""
    bare = set(map(_bare, names))
    return frozenset(name for name in given if _bare(name) in bare)


def without_texts(value: Json, texts: Collection[str]) -> Json:
    """A JSON value with `⟦secret⟧` wherever one of these texts stands in a text of it; keys stay as they are."""
    if not texts:
        return value
    sought = re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True))))
    return _each_value(value, lambda text: sought.sub(SECRET, text))


def texts_of(value: Json) -> Iterator[str]:
    """Every text in a JSON value that is no key."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts_of(each)


def _each_value(value: Json, change: Callable[[str], str]) -> Json:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _each_value(each, change) for key, each in value.items()}
    return [_each_value(each, change) for each in value] if isinstance(value, list) else value


def _bare(name: str) -> str:
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join(each for each in plain if each.isalnum())


def redact(value: Value, secrets: tuple[str, ...]) -> Value:
    """A text or JSON value without any of `secrets`: each occurrence, keys included, becomes `⟦secret⟧`.

    Found as they are, JSON-escaped, URL-encoded, and inside base64 (both alphabets, any alignment, for
    secrets of at least 8 bytes). Returns `value` itself when there is none.
    """
    secrets = tuple(secret for secret in secrets if secret)
    if not secrets:
        return value
    encoded_forms, pattern = _forms(secrets)
    encoded = _encoded(value)
    if encoded is not None and not any(form in encoded for form in encoded_forms):
        return value
    return _each_text(value, lambda text: pattern.sub(SECRET, text), 0)  # type: ignore[no-any-return]


def redact_patterns(value: Value) -> Value:
    """A text or JSON value without what looks like a secret; each becomes `⟦secret⟧`.

    Looks like one: private key blocks, JWTs, bearer and basic credentials, access keys of AWS, tokens of
    GitHub, GitLab and Slack. A help, not a guarantee: known secrets are `redact`'s business.
    """
    encoded = _encoded(value)
    if encoded is not None:
        upper = encoded.upper()
        if not any(hint in upper for hint in _HINTS):
            return value
    return _each_text(value, lambda text: _PATTERNS.sub(SECRET, text), 0)  # type: ignore[no-any-return]


def redact_bytes(raw: bytes) -> bytes:
    """`redact_patterns` for the bytes of a JSON document, or of a text; returns `raw` itself when there is none.

    A document with something in it is encoded anew; one that is no JSON is searched as text.
    """
    upper = raw.upper()
    if b"\\U" not in upper and not any(hint in upper for hint in _HINTS):
        return raw
    try:
        value = msgspec.json.decode(raw)
        clean = redact_patterns(value)
        return raw if clean is value else _encode(clean)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        text = raw.decode("utf-8", "replace")
        clean = redact_patterns(text)
        return raw if clean is text else clean.encode()


def shown(value: Json) -> str:
    """A found value as an error message may print it: short, on one line, safe, in backticks if it is a
    scalar."""
    match value:
        case bool():
            return f"`{str(value).lower()}`"
        case None:
            return "`null`"
        case str() if not value:
            return "an empty text"
        case str():
            return f"`{safe_line(value, _LONGEST_SHOWN)}`"
        case dict():
            return "a table"
        case list() | tuple():
            return f"a list of {len(value)}" if value else "an empty list"
        case datetime.date() | datetime.time():
            return f"`{value.isoformat()}`"
        case int() if value.bit_length() > 200:
            return f"a number of {value.bit_length()} bits"
        case int() | float():
            return f"`{value}`"
        case _:
            return f"`{safe_line(str(value), _LONGEST_SHOWN)}`"


def utc(at: Instant) -> str:
    """An instant in ISO 8601, in UTC and to the microsecond. One that no calendar has, from the year 10000 on say, is
    told as the number that it is."""
    try:
        return (_EPOCH + datetime.timedelta(microseconds=at)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except OverflowError:
        return f"{at} µs after 1970"


def _encoded(value: Json) -> bytes | None:
    """The value as JSON, to search all of its texts at once; None where it is not JSON all through."""
    try:
        return _encode(value)
    except (msgspec.MsgspecError, RecursionError, TypeError, ValueError, OverflowError):
        return None  # then each text is looked at on its own


def _is_plain_ascii(text: str) -> bool:
    """Whether `text` certainly holds nothing unsafe; far cheaper than the search, and true of most text."""
    if not text.isascii() or "<" in text or "](" in text or "]:" in text:
        return False
    return text.isprintable() or text.replace("\n", "").replace("\t", "").isprintable()


def _shows_nothing_unsafe(encoded: bytes) -> bool:
    """The same for a whole value, from its JSON.

    There, controls show as escapes, and nothing but a text can spell `](` or `]:`.
    """
    if _ESCAPED_CONTROL.search(encoded) and _ESCAPED_CONTROL.search(encoded.replace(b"\\\\", b"")):
        return False
    if encoded.isascii():
        if b"<" in encoded or b"\x7f" in encoded or (b"(" in encoded and b"](" in encoded):
            return False
        return b"]:" not in encoded
    return not _UNSAFE.search(encoded.decode("utf-8"))


def _cut(line: str, length: int) -> str:
    """The first `length` characters or fewer of a safe line, and how many are missing.

    A cut can finish what was harmless unfinished, as in `<script0`; then it moves to before where that begins.
    """
    head = _UNFINISHED_MARKER.sub("", line[:length])
    while True:
        short = f"{head}⟦+{len(line) - len(head)}⟧"
        if _is_plain_ascii(head) or not _UNSAFE.search(short):
            return short
        head = head[: max(head.rfind("<"), head.rfind("]"), 0)]


def _mark(match: re.Match[str]) -> str:
    if match.lastgroup == "hidden":
        return "⟦esc⟧" if match[0] == "\x1b" else f"⟦U+{ord(match[0]):04X}⟧"
    return "]⟦link⟧" if match.lastgroup == "link" else "⟦<⟧"


def _each_text(value: Json, change: Callable[[str], str], depth: int) -> Json:
    """`value` with `change` applied to every text and key; the same object where nothing changed."""
    if isinstance(value, str):
        return change(value)
    if not isinstance(value, dict | list | tuple):
        return value
    if depth >= _DEEPEST:
        return TOO_DEEP
    if isinstance(value, dict):
        return _each_in_table(value, change, depth)
    changed = [_each_text(each, change, depth + 1) for each in value]
    if all(new is old for new, old in zip(changed, value, strict=True)):
        return value
    return changed


def _each_in_table(table: dict[Json, Json], change: Callable[[str], str], depth: int) -> Json:
    changed: dict[Json, Json] = {}
    same = True
    for key, value in table.items():
        new_key = change(key) if isinstance(key, str) else key
        new_value = _each_text(value, change, depth + 1)
        same = same and new_key is key and new_value is value
        while new_key in changed or (new_key is not key and new_key in table):
            new_key = f"{new_key}⟦again⟧"
        changed[new_key] = new_value
    return table if same else changed


_PATTERNS = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----))*"
    r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?"
    r"|(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
    r"|(?<=\bbearer )[A-Za-z0-9._~+/-]{16,}=*"
    r"|(?<=\bbasic )[A-Za-z0-9+/]{16,}=*"
    r"|\b(?-i:AKIA|ASIA)(?-i:[0-9A-Z]{16})\b"
    r"|(?:(?<=aws_secret_access_key=)|(?<=aws_secret_access_key = )|(?<=secretaccesskey\": \"))"
    r"[A-Za-z0-9/+]{40}"
    r"|\b(?-i:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|glpat-[A-Za-z0-9_-]{20,})"
    r"|\b(?-i:xox[abeoprs])-[A-Za-z0-9-]{10,}",
    re.IGNORECASE,
)
# One of these is in every text that `_PATTERNS` matches, once in capitals.
_HINTS = (
    *(b"PRIVATE KEY", b"EYJ", b"BEARER ", b"BASIC ", b"AKIA", b"ASIA", b"SECRET_ACCESS_KEY", b"SECRETACCESSKEY"),
    *(b"GHP_", b"GHO_", b"GHU_", b"GHS_", b"GHR_", b"GITHUB_PAT_", b"GLPAT-", b"XOX"),
)


@lru_cache(maxsize=64)
def _forms(secrets: tuple[str, ...]) -> tuple[tuple[bytes, ...], re.Pattern[str]]:
    """Every spelling as JSON would hold it, and the expression that finds the longest one first."""
    tails: dict[str, str] = {}
    for secret in secrets:
        raw = secret.encode("utf-8", "surrogatepass")
        quoted = quote(raw, safe=""), quote(raw), quote_plus(raw)
        escaped = json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]
        for form in (secret, *escaped, escaped[0].replace("/", "\\/"), *quoted, *map(_lower_hex, quoted)):
            tails[form] = ""
        if len(raw) >= 8:
            for form in _inside_base64(raw):
                tails.setdefault(form, r"[A-Za-z0-9+/_-]?={0,2}")
    forms = sorted(tails, key=len, reverse=True)
    encoded = tuple(_encode(form)[1:-1] for form in forms if _encoded(form))
    return encoded, re.compile("|".join(re.escape(form) + tails[form] for form in forms))


def _lower_hex(quoted: str) -> str:
    return re.sub(r"%[0-9A-F]{2}", lambda hit: hit[0].lower(), quoted)


def _inside_base64(raw: bytes) -> set[str]:
    """The characters that base64 certainly holds wherever `raw` begins in what was encoded."""
    found = set()
    for offset in range(3):
        padded = bytes(offset) + raw
        core = slice(-(-8 * offset // 6), 8 * len(padded) // 6)
        found.add(base64.b64encode(padded)[core].decode())
        found.add(base64.urlsafe_b64encode(padded)[core].decode())
    return found
