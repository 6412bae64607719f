"""The connector's own check of a warrant: written from the format alone, sharing no code with who mints
it.

A warrant is a JWT (RFC 7519) signed with Ed25519 (RFC 8037, algorithm name of RFC 9864) that permits exactly
one call: one connector, one tool, these arguments (SHA-256 over RFC 8785), once, for at most 60 seconds.

INVARIANT: a warrant is burned durably before the call it permits starts, so a restart never forgets a
use.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from remit_lab import files
from remit_lab.files import Json

META_KEY = "remit/warrant"
LONGEST_LIFE = 60
"""Seconds between `iat` and `exp` at most."""


class WarrantRefused(Exception):
    """The call may not happen. `kind` is one word a test or a report can count."""

    def __init__(self, kind: str, says: str, *, jti: str | None = None, subject: str | None = None) -> None:
        super().__init__(says)
        self.kind = kind
        self.jti = jti
        self.subject = subject


@dataclass(frozen=True, slots=True)
class Warrant:
    """What a good warrant said about the call that it permits."""

    jti: str
    subject: str


def arguments_digest(arguments: Json) -> str:
    """Return the hex SHA-256 over the arguments' canonical JSON (RFC 8785).

    Raises ValueError when the arguments cannot be written canonically, such as an integer beyond 2^53.
    """
    try:
        return hashlib.sha256(rfc8785.dumps(arguments)).hexdigest()
    except rfc8785.CanonicalizationError as error:
        raise ValueError(f"arguments have no canonical form: {error}") from None


def read_key(path: Path) -> bytes:
    """Return the raw 32-byte Ed25519 public key of a key file: one line of base64.

    Raises ValueError when the file holds anything else.
    """
    try:
        raw = base64.b64decode(path.read_text(encoding="ascii").strip(), validate=True)
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError(f"`{path}` is not base64: expected one line with a 32-byte public key") from None
    if len(raw) != 32:
        raise ValueError(f"`{path}` holds {len(raw)} bytes: expected a 32-byte Ed25519 public key")
    return raw


class WarrantCheck:
    """Checks and burns warrants for one connector under one public key."""

    def __init__(self, key: bytes, connector: str, directory: Path) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(key)
        self._kid = hashlib.sha256(key).hexdigest()[:16]
        self._connector = connector
        self._burned = directory / f"{connector}.burned.jsonl"
        self._lock = directory / f"{connector}.burned.lock"
        self._used: set[str] = set()
        self._read_to = 0

    def permit(self, token: object, tool: str, arguments: Json, now: float) -> Warrant:
        """Return the warrant for this call, now used up; `now` is in seconds since the epoch.

        Raises WarrantRefused when the token does not permit exactly this call at this moment.
        """
        if token is None:
            raise WarrantRefused("missing", f"no warrant came with the call: expected one in _meta `{META_KEY}`")
        claims = self._verified(token)
        jti, subject = _named(claims, "jti"), _named(claims, "sub")
        try:
            self._check(claims, tool, arguments, now)
            self._burn(jti, claims["exp"])
        except WarrantRefused as refusal:
            refusal.jti, refusal.subject = jti, subject
            raise
        return Warrant(jti, subject)

    def _verified(self, token: object) -> Json:
        if not isinstance(token, str) or token.count(".") != 2:
            raise WarrantRefused("malformed", "the warrant is malformed: expected three base64url parts")
        head, body, tail = token.split(".")
        header = _object(head, "header")
        expected = {"alg": "Ed25519", "typ": "remit-warrant+jwt"}
        for member, value in expected.items():
            if header.get(member) != value:
                found = header.get(member)
                raise WarrantRefused("malformed", f"the warrant's `{member}` is `{found}`: expected `{value}`")
        if header.get("kid") != self._kid or "crit" in header:
            raise WarrantRefused("signature", "the warrant is signed with another key than this connector's")
        try:
            self._key.verify(_decoded(tail, "signature"), f"{head}.{body}".encode("ascii"))
        except InvalidSignature:
            raise WarrantRefused("signature", "the warrant's signature is wrong") from None
        return _object(body, "body")

    def _check(self, claims: Json, tool: str, arguments: Json, now: float) -> None:
        _check_time(claims, now)
        if claims.get("aud") != self._connector:
            says = f"the warrant's audience is `{claims.get('aud')}`: this connector is `{self._connector}`"
            raise WarrantRefused("audience", says)
        detail = _detail(claims)
        if detail.get("connector") != self._connector:
            says = f"the warrant is for connector `{detail.get('connector')}`: this is `{self._connector}`"
            raise WarrantRefused("audience", says)
        if detail.get("tool") != tool:
            raise WarrantRefused("tool", f"the warrant is for tool `{detail.get('tool')}`: called was `{tool}`")
        try:
            digest = arguments_digest(arguments)
        except ValueError as error:
            raise WarrantRefused("arguments", str(error)) from None
        if detail.get("arguments_sha256") != digest:
            raise WarrantRefused("arguments", "the warrant is for other arguments than those of the call")

    def _burn(self, jti: str, expires: object) -> None:
        with files.locked(self._lock):
            entries, self._read_to = files.lines_after(self._burned, self._read_to)
            self._used.update(str(entry.get("jti")) for entry in entries)
            if jti in self._used:
                raise WarrantRefused("used", f"the warrant `{jti}` has already been used: it is good for one call")
            files.append(self._burned, json.dumps({"jti": jti, "exp": expires}), durable=True)


def _check_time(claims: Json, now: float) -> None:
    moments = {}
    for name in ("iat", "nbf", "exp"):
        value = claims.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise WarrantRefused("malformed", f"the warrant's `{name}` is not a time in seconds")
        moments[name] = value
    if moments["exp"] - moments["iat"] > LONGEST_LIFE or moments["exp"] - moments["nbf"] > LONGEST_LIFE:
        life = moments["exp"] - min(moments["iat"], moments["nbf"])
        raise WarrantRefused("too_long", f"the warrant lives {life:g} s: at most {LONGEST_LIFE} s are accepted")
    if now < moments["nbf"] or now < moments["iat"]:
        raise WarrantRefused("not_yet_valid", "the warrant is not yet valid")
    if now >= moments["exp"]:
        raise WarrantRefused("expired", f"the warrant expired {now - moments['exp']:.0f} s ago")


def _detail(claims: Json) -> Json:
    details = claims.get("authorization_details")
    if not isinstance(details, list) or len(details) != 1 or not isinstance(details[0], dict):
        raise WarrantRefused("malformed", "the warrant should have exactly one member in `authorization_details`")
    detail: Json = details[0]
    if detail.get("type") != "remit_action":
        says = f"the warrant's detail has type `{detail.get('type')}`: expected `remit_action`"
        raise WarrantRefused("malformed", says)
    return detail


def _named(claims: Json, name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 256:
        raise WarrantRefused("malformed", f"the warrant's `{name}` should be a text of 1 to 256 characters")
    return value


def _object(part: str, name: str) -> Json:
    try:
        document = json.loads(_decoded(part, name), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise WarrantRefused("malformed", f"the warrant's {name} is not JSON with unique members") from None
    if not isinstance(document, dict):
        raise WarrantRefused("malformed", f"the warrant's {name} is not a JSON object")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members


def _decoded(part: str, name: str) -> bytes:
    """Decode base64url without padding (RFC 7515, section 2); no other spelling of the same bytes is
    accepted."""
    try:
        raw = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise WarrantRefused("malformed", f"the warrant's {name} is not base64url") from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != part.encode():
        raise WarrantRefused("malformed", f"the warrant's {name} is not base64url")
    return raw
