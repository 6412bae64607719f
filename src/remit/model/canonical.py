"""Bytes to values and back, with one meaning each: strict JSON in, canonical JSON out.

`decode_strict` is the only way in for JSON from agents: what it accepts, every other decoder reads the same
way. `encode` writes RFC 8785, over which digests are made. Both have a fast road and a plain one; the plain
one defines what is right and says what is wrong. INVARIANT: the fast road may only give up, never answer
differently.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from typing import Any

import msgspec
import rfc8785

from remit.model.display import shown
from remit.model.errors import Misuse
from remit.model.words import Json

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_NODES = 50_000

LARGEST_NUMBER = 2**53 - 1
"""The largest magnitude that every JSON decoder reads exactly (RFC 7493 section 2.2)."""

_decode = msgspec.json.Decoder().decode
_encode_plain = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode

_SURROGATE = re.compile("[\ud800-\udfff]")
_OUTSIDE_BMP = re.compile(rb"[\xf0-\xf4]")
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


class BadJson(Misuse):
    """The JSON is refused. `path` (RFC 9535, like `$.hosts[0]`) says where, `expected` and `found` say
    why."""

    def __init__(self, path: str, expected: str, found: str) -> None:
        super().__init__(f"`{path}`: expected {expected}, found {found}")
        self.path = path
        self.expected = expected
        self.found = found


class NotCanonical(Misuse):
    """The value has no canonical JSON: not JSON at all, or a number that decoders read differently."""


def decode_strict(
    data: bytes | str, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH, max_nodes: int = MAX_NODES
) -> Json:
    """The value of untrusted JSON (RFC 8259), read so that no other decoder can read it otherwise.

    Refused with `BadJson`: more than `max_bytes` bytes, `max_depth` levels of nesting or `max_nodes` values;
    bytes that are not UTF-8; a byte order mark; lone surrogates; NaN, infinities and numbers beyond ±(2^53 -
    1); two keys of one object that are equal, or that become equal under NFKC and case folding (some decoders
    match keys that way).
    """
    try:
        raw = data.encode("utf-8") if isinstance(data, str) else bytes(data)
    except UnicodeEncodeError as error:
        raise BadJson("$", "text without lone surrogates", _code_point(error.object[error.start])) from None
    if len(raw) > max_bytes:
        raise BadJson("$", f"at most {max_bytes} bytes", f"{len(raw)} bytes")
    try:
        value = _decode(raw)
        if _reads_one_way(raw, value, max_depth, max_nodes):
            return value
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        pass  # the plain road finds out what is wrong, and where
    return _decode_plainly(raw, max_depth, max_nodes)


def encode(value: Json) -> bytes:
    """The canonical JSON (RFC 8785) of a value.

    Raises `NotCanonical` for anything but None, bool, int within ±(2^53 - 1), finite float, str without lone
    surrogates, list, tuple, and dict with str keys.
    """
    try:
        if _sorts_alike(value):
            encoded = _encode_sorted(value)
            if encoded.isascii() or not _OUTSIDE_BMP.search(encoded):
                return encoded
        return rfc8785.dumps(value)
    except RecursionError:
        raise NotCanonical("the value is nested too deeply for canonical JSON") from None
    except (rfc8785.CanonicalizationError, msgspec.MsgspecError, TypeError, ValueError) as error:
        raise NotCanonical(f"the value has no canonical JSON: {shown(str(error)).strip('`')}") from None


def sha256_hex(data: bytes) -> str:
    """SHA-256 of `data` in lower-case hexadecimal, 64 characters."""
    return hashlib.sha256(data).hexdigest()


def commitment(salt: bytes, data: bytes) -> str:
    """What a record may hold of a payload: SHA-256 over the salt's length, the salt and the data, in
    hexadecimal.

    The length comes first (4 bytes, big-endian) so that no byte can move between salt and data. With a random
    salt of 16 bytes or more it tells nothing about the data once the salt is destroyed. Raises `ValueError`
    for a shorter one.
    """
    if len(salt) < 16:
        raise ValueError("a salt shorter than 16 bytes hides nothing")
    return hashlib.sha256(len(salt).to_bytes(4, "big") + salt + data).hexdigest()


def _reads_one_way(raw: bytes, value: Json, max_depth: int, max_nodes: int) -> bool:
    """Whether msgspec's reading is certainly the only one; False means "look closer".

    msgspec keeps the last of duplicate keys. Every key costs one colon outside of strings, so a dropped key
    leaves `value` with fewer colons, written out again, than `raw` has. Only an escaped colon could make up
    for it, hence the first line.
    """
    if b"\\u003" in raw:
        return False
    keys: list[str] = []
    tables: list[dict[str, Json]] = []
    level: list[Any] = [(value,)]
    nodes = -1
    for _ in range(max_depth + 1):
        inner: list[Any] = []
        for holder in level:
            nodes += 1 + len(holder)
            if type(holder) is dict:
                tables.append(holder)
                keys += holder
                holder = holder.values()
            for each in holder:
                kind = type(each)
                if kind is str:
                    continue
                if kind is dict or kind is list:
                    inner.append(each)
                    nodes -= 1
                elif (kind is int or kind is float) and not -LARGEST_NUMBER <= each <= LARGEST_NUMBER:
                    return False
        if not inner:
            break
        level = inner
    else:
        return False
    joined = "".join(keys)
    if not joined.isascii() or (joined != joined.lower() and any(map(_has_look_alikes, tables))):
        return False
    return nodes <= max_nodes and raw.count(b":") == _encode_plain(value).count(b":")


def _has_look_alikes(table: dict[str, Json]) -> bool:
    return len(set(map(str.lower, table))) != len(table)


class _Pairs(list[tuple[str, Any]]):
    """An object with its keys as they were written, duplicates included."""


def _integer(digits: str) -> int:
    return int(digits) if len(digits) <= 20 else int(digits[:20])  # too large either way


def _decode_plainly(raw: bytes, max_depth: int, max_nodes: int) -> Json:
    """The definition of what `decode_strict` accepts; raises `BadJson` with path, expected and found."""
    if raw.startswith(b"\xef\xbb\xbf"):
        raise BadJson("$", "JSON without a byte order mark", "U+FEFF at the start")
    try:
        decoded = json.loads(raw.decode("utf-8"), object_pairs_hook=_Pairs, parse_int=_integer, parse_constant=float)
    except UnicodeDecodeError as error:
        raise BadJson("$", "UTF-8", f"the byte 0x{raw[error.start]:02x} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise BadJson("$", "JSON (RFC 8259)", f"a mistake at {place}: {error.msg.lower()}") from None
    except RecursionError:
        raise BadJson("$", f"at most {max_depth} levels of nesting", "more") from None
    return _Plainly(max_depth, max_nodes).value(decoded, "$", 0)


class _Plainly:
    """Walks a decoded document, refuses what has two readings, and returns it with plain dicts."""

    def __init__(self, max_depth: int, max_nodes: int) -> None:
        self._max_depth = max_depth
        self._max_nodes = max_nodes
        self._nodes = 0

    def value(self, value: Any, path: str, depth: int) -> Json:
        self._nodes += 1
        if self._nodes > self._max_nodes:
            raise BadJson(path, f"at most {self._max_nodes} values", "more")
        if isinstance(value, list):
            if depth >= self._max_depth:
                raise BadJson(path, f"at most {self._max_depth} levels of nesting", "more")
            if isinstance(value, _Pairs):
                return self._object(value, path, depth)
            return [self.value(each, f"{path}[{index}]", depth + 1) for index, each in enumerate(value)]
        if isinstance(value, str):
            self._text(value, path)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            self._number(value, path)
        return value

    def _object(self, pairs: _Pairs, path: str, depth: int) -> dict[str, Json]:
        seen: dict[str, str] = {}
        plain: dict[str, Json] = {}
        for key, value in pairs:
            self._text(key, path)
            folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", key).casefold())
            if key in plain:
                raise BadJson(_below(path, key), "each key once", f"{shown(key)} twice")
            if folded in seen:
                found = f"{shown(key)} beside {shown(seen[folded])}"
                raise BadJson(_below(path, key), "no two keys that differ only in case or in form", found)
            seen[folded] = key
            plain[key] = self.value(value, _below(path, key), depth + 1)
        return plain

    @staticmethod
    def _text(text: str, path: str) -> None:
        if lone := _SURROGATE.search(text):
            raise BadJson(path, "text without lone surrogates", _code_point(lone[0]))

    @staticmethod
    def _number(number: float, path: str) -> None:
        if not math.isfinite(number):
            raise BadJson(path, "a finite number", "NaN, an infinity or a number beyond every double")
        if not -LARGEST_NUMBER <= number <= LARGEST_NUMBER:
            raise BadJson(path, "a number within ±(2^53 - 1)", f"`{number}`")


def _sorts_alike(value: Json) -> bool:
    """Whether msgspec certainly writes `value` as RFC 8785 asks, characters outside the BMP aside.

    The two differ in floats (`1.0`, exponents), in what else they can write (NaN as null, bytes, dates, keys
    that are not text), in large integers, and in the order of keys outside the BMP.
    """
    pending: list[Any] = [(value,)]
    while pending:
        holder = pending.pop()
        if type(holder) is dict:
            for key in holder:
                if type(key) is not str:
                    return False
            holder = holder.values()
        for each in holder:
            kind = type(each)
            if kind is str or kind is bool or each is None:
                continue
            if kind is dict or kind is list or kind is tuple:
                pending.append(each)
            elif kind is int:
                if not -LARGEST_NUMBER <= each <= LARGEST_NUMBER:
                    return False
            elif kind is not float or not _writes_alike(each):
                return False
    return True


def _writes_alike(number: float) -> bool:
    """Whether the shortest digits of `number` are written without exponent and with a fraction by
    everyone."""
    return 1e-3 < abs(number) < 1e9 and not number.is_integer()


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if _PLAIN_KEY.fullmatch(key) else f"{path}[{shown(key)}]"


def _code_point(character: str) -> str:
    return f"U+{ord(character):04X}"


def equal_json(one: Json, other: Json) -> bool | None:
    """Whether two scalars are the same JSON value; None where they are of different types, or not scalars."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other if isinstance(one, bool) and isinstance(other, bool) else None
    if isinstance(one, int | float):
        return one == other if isinstance(other, int | float) else None
    return one == other if isinstance(one, str) and isinstance(other, str) else None
