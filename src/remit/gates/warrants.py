"""Warrants: short-lived, single-use credentials for exactly one action.

What lives here: minting the JWT (RFC 7519) with Ed25519 (RFC 8037, RFC 9864), and the verifier for servers built on
it. What never may: keeping keys, remembering burned ids, reading the clock.

The token is made by hand of two JSON objects: one fixed header and one fixed set of claims leave no choice that a
library for every kind of token would have to take, and nothing of a token's own header is believed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from remit.model.canonical import BadJson, NotCanonical, decode_strict, encode, sha256_hex
from remit.model.display import safe_line, shown
from remit.model.errors import Misuse, NotVerified
from remit.model.words import SECOND, Clause, Decision, Instant, Json

MAX_LIFETIME: Final = 60 * SECOND
META: Final = "remit/warrant"
"""Where a warrant travels in `params._meta` of `tools/call`."""

TYPE: Final = "remit-warrant+jwt"
ALGORITHM: Final = "Ed25519"
DETAIL: Final = "remit_action"
_MAX_TOKEN: Final = 256 * 1024
_LEEWAY: Final = 5  # seconds that the connector's clock may be behind; none is given after the end


class WarrantKey:
    """The gateway's signing key, with what every token shares made ready. `kid` is the start of the SHA-256 of the
    raw public key: 16 hexadecimal digits."""

    __slots__ = ("_head", "_sign", "kid", "public")

    def __init__(self, private: Ed25519PrivateKey | bytes) -> None:
        """From a key, or the 32 raw bytes of one. Raises `ValueError` for bytes that are no key."""
        key = Ed25519PrivateKey.from_private_bytes(private) if isinstance(private, bytes) else private
        self.public: bytes = key.public_key().public_bytes_raw()
        self.kid: str = key_id(self.public)
        self._sign = key.sign
        self._head = _base64(msgspec.json.encode({"alg": ALGORITHM, "typ": TYPE, "kid": self.kid})) + b"."

    def token(self, claims: Mapping[str, Json]) -> str:
        """The signed compact form (RFC 7515 section 3.1) of `claims`."""
        signed = self._head + _base64(msgspec.json.encode(claims))
        return (signed + b"." + _base64(self._sign(signed))).decode("ascii")


class Warrant(Struct, frozen=True, kw_only=True):
    """What a verified warrant says. Times are microseconds since the epoch."""

    jti: str
    issuer: str
    agent: str
    connector: str
    tool: str
    action: str
    digest: str
    targets: tuple[str, ...]
    expires: Instant


def mint(
    key: WarrantKey | Ed25519PrivateKey | bytes,
    *,
    home: str,
    agent: str,
    connector: str,
    tool: str,
    targets: Sequence[str],
    arguments: bytes,
    action: str,
    digest: str,
    jti: str,
    now: Instant,
    lifetime: int = MAX_LIFETIME,
) -> str:
    """A warrant for one action, in force from the second of `now` for `lifetime` microseconds.

    `arguments` is the canonical JSON of what is sent upstream; the warrant holds only its hash. Raises `ValueError`
    for a lifetime of less than a second or more than 60.
    """
    if not SECOND <= lifetime <= MAX_LIFETIME:
        raise ValueError(f"a warrant lives 1 to 60 s, not {lifetime / SECOND:g} s")
    signer = key if isinstance(key, WarrantKey) else WarrantKey(key)
    issued = now // SECOND
    detail = {
        "type": DETAIL,
        "action": action,
        "digest": digest,
        "connector": connector,
        "tool": tool,
        "targets": list(targets),
        "arguments_sha256": sha256_hex(arguments),
    }
    claims = {
        "iss": f"remit:{home}",
        "sub": agent,
        "aud": connector,
        "jti": jti,
        "iat": issued,
        "nbf": issued,
        "exp": issued + lifetime // SECOND,
        "authorization_details": [detail],
    }
    return signer.token(claims)


def public_key_line(key: WarrantKey | Ed25519PrivateKey | bytes) -> str:
    """What a connector is given to check warrants with: base64 (RFC 4648 section 4) of the raw public key."""
    signer = key if isinstance(key, WarrantKey) else WarrantKey(key)
    return base64.b64encode(signer.public).decode("ascii")


def key_id(public: bytes) -> str:
    """The id under which a raw public key stands in a token's header."""
    return sha256_hex(public)[:16]


class Verifier:
    """Checks warrants in a connector. Immutable; who uses it remembers the burned ids.

    `issuer`, where given, is the one home (`remit:ID`) whose warrants count.
    """

    __slots__ = ("_issuer", "_key", "_kid")

    def __init__(self, line: str, *, issuer: str | None = None) -> None:
        """From the line that `public_key_line` makes. Raises `Misuse` for any other text."""
        try:
            raw = base64.b64decode(line.strip(), validate=True)
            self._key = Ed25519PublicKey.from_public_bytes(raw)
        except ValueError:
            hint = "take the line from the file that the gateway writes for its connectors"
            raise Misuse("expected the base64 of a raw Ed25519 public key (32 bytes)", hint=hint) from None
        self._kid = key_id(raw)
        self._issuer = issuer

    def verify(
        self,
        token: str,
        audience: str,
        tool: str,
        arguments: Mapping[str, Json],
        now: Instant,
        burn: Callable[[str, Instant], bool],
    ) -> Warrant:
        """What the warrant says, once everything about it holds for this call.

        `audience` is this connector's name, `arguments` the decoded arguments as they arrived. `burn` gets the id and
        the instant of its end, and returns True the first time only; it is asked last. Raises `NotVerified` with one
        clause: `warrant.form`, `.key`, `.signature`, `.claims`, `.issuer`, `.audience`, `.time`, `.tool`,
        `.arguments` or `.used`.
        """
        claims = self._claims(token)
        warrant, issued, arguments_hash = _read(claims)
        if self._issuer is not None and warrant.issuer != self._issuer:
            _fail("issuer", f"expected a warrant of `{self._issuer}`, found {shown(warrant.issuer)}")
        if claims.get("aud") != audience or warrant.connector != audience:
            _fail("audience", f"expected a warrant for `{audience}`, found {shown(warrant.connector)}")
        _check_time(issued, claims["nbf"], warrant.expires, now)
        if warrant.tool != tool:
            _fail("tool", f"expected a warrant for the tool `{safe_line(tool)}`, found {shown(warrant.tool)}")
        if arguments_hash != _hash(arguments):
            _fail("arguments", "the arguments are not those that the warrant was minted for")
        if not burn(warrant.jti, warrant.expires):
            _fail("used", f"the warrant {shown(warrant.jti)} was used before")
        return warrant

    def _claims(self, token: str) -> dict[str, Json]:
        """The claims of a token with our header and a good signature."""
        parts = token.split(".") if len(token) <= _MAX_TOKEN else []
        if len(parts) != 3:
            _fail("form", "expected a signed token of three parts")
        head, body, signature = (_unbase64(part) for part in parts)
        header = _decode(head)
        if {name: header.get(name) for name in ("alg", "typ")} != {"alg": ALGORITHM, "typ": TYPE} or len(header) != 3:
            _fail("form", f"expected the header of a warrant (`{ALGORITHM}`, `{TYPE}`), found another")
        if header.get("kid") != self._kid:
            _fail("key", f"expected a warrant under the key `{self._kid}`, found {shown(header.get('kid'))}")
        try:
            self._key.verify(signature, f"{parts[0]}.{parts[1]}".encode("ascii"))
        except InvalidSignature:
            _fail("signature", "the warrant's signature does not hold")
        return _decode(body)


def _fail(check: str, says: str) -> NoReturn:
    hint = "call through the gateway; every call has a warrant of its own"
    raise NotVerified(says, hint=hint, clauses=[Clause(f"warrant.{check}", Decision.FORBID, says)])


def _base64(data: bytes) -> bytes:
    """base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _unbase64(text: str) -> bytes:
    """The bytes of the one canonical base64url form; any other spelling of them fails."""
    try:
        data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        _fail("form", "expected base64url without padding")
    if _base64(data) != text.encode("ascii"):
        _fail("form", "expected base64url without padding")
    return data


def _decode(data: bytes) -> dict[str, Json]:
    try:
        value = decode_strict(data)
    except BadJson as error:
        _fail("form", f"expected an object in JSON: {error.message}")
    if not isinstance(value, dict):
        _fail("form", "expected an object in JSON")
    return value


def _hash(arguments: Mapping[str, Json]) -> str:
    try:
        return sha256_hex(encode(dict(arguments)))
    except NotCanonical:
        _fail("arguments", "the arguments have no canonical JSON")


def _read(claims: Mapping[str, Json]) -> tuple[Warrant, int, str]:
    """The warrant, the second of its issue and the hash of its arguments; every claim there and of its type."""
    details = claims.get("authorization_details")
    detail = details[0] if isinstance(details, list) and len(details) == 1 else None
    if not isinstance(detail, dict) or detail.get("type") != DETAIL:
        _fail("claims", f"expected exactly one authorization detail, of type `{DETAIL}`")
    for name in ("iat", "nbf", "exp"):
        if type(claims.get(name)) is not int:
            _fail("claims", f"expected a whole number of seconds in `{name}`")
    targets = detail.get("targets")
    if not isinstance(targets, list) or not all(isinstance(each, str) for each in targets):
        _fail("claims", "expected a list of texts in `targets`")
    warrant = Warrant(
        jti=_text(claims, "jti"),
        issuer=_text(claims, "iss"),
        agent=_text(claims, "sub"),
        connector=_text(detail, "connector"),
        tool=_text(detail, "tool"),
        action=_text(detail, "action"),
        digest=_text(detail, "digest"),
        targets=tuple(targets),
        expires=claims["exp"] * SECOND,
    )
    return warrant, claims["iat"], _text(detail, "arguments_sha256")


def _text(table: Mapping[str, Json], name: str) -> str:
    value = table.get(name)
    if not isinstance(value, str) or not value:
        _fail("claims", f"expected a text in `{name}`")
    return value


def _check_time(issued: int, not_before: int, expires: Instant, now: Instant) -> None:
    if expires - issued * SECOND > MAX_LIFETIME or not_before < issued:
        _fail("time", "expected a warrant of at most 60 s")
    if max(issued, not_before) > now // SECOND + _LEEWAY:
        _fail("time", "the warrant is not yet in force: the clocks differ")
    if now >= expires:
        _fail("time", "the warrant has expired")
