"""SSH signatures (SSHSIG, OpenSSH's PROTOCOL.sshsig) over exact bytes, made and verified in process.

`verify` takes the keys that may have signed and returns the one that did; there is no way to ask "is it
signed by anybody". A signature is good in one namespace only. It carries no time: validity belongs inside the signed
bytes.

Verified: Ed25519, ECDSA on P-256, RSA of 2048 bits or more with SHA-2, and the two security-key kinds (FIDO),
for which a touch is required. Made: the first three, from key files. Keys in agents and on hardware sign
through `ssh-keygen`, which an adapter calls.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from remit.model.display import safe_line, shown
from remit.model.errors import Misuse, NotVerified

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

SMALLEST_RSA = 2048
LARGEST_RSA = 16_384

_MAGIC = b"SSHSIG"
_VERSION = 1
_BEGIN = b"-----BEGIN SSH SIGNATURE-----"
_END = b"-----END SSH SIGNATURE-----"
_LARGEST_SIGNATURE = 32 * 1024
_HASHES: dict[bytes, Callable[[bytes], bytes]] = {
    b"sha256": lambda data: hashlib.sha256(data).digest(),
    b"sha512": lambda data: hashlib.sha512(data).digest(),
}
_USER_PRESENT = 0x01

_ED25519 = "ssh-ed25519"
_ECDSA = "ecdsa-sha2-nistp256"
_RSA = "ssh-rsa"
_SK_ED25519 = "sk-ssh-ed25519@openssh.com"
_SK_ECDSA = "sk-ecdsa-sha2-nistp256@openssh.com"
_RSA_HASHES: dict[bytes, hashes.HashAlgorithm] = {
    b"rsa-sha2-256": hashes.SHA256(),
    b"rsa-sha2-512": hashes.SHA512(),
}


class Namespace(StrEnum):
    """What a signature is for. One made in one namespace is worth nothing in another."""

    BOUNDARY = "boundary@remit"
    ROSTER = "roster@remit"
    APPROVAL = "approval@remit"
    CONTROL = "control@remit"


class SignatureError(NotVerified):
    """The signature does not hold; the message says why. Nothing may be concluded from the signed bytes."""


class NotAKey(Misuse):
    """The text or file is not a key that Remit can use."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An SSH public key. Two are equal when their key material is, whatever their comments say."""

    kind: str
    blob: bytes
    comment: str = field(default="", compare=False)

    @property
    def text(self) -> str:
        """The key as OpenSSH writes it, without the comment."""
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"

    @property
    def fingerprint(self) -> str:
        """`SHA256:…` as `ssh-keygen -l` shows it."""
        digest = hashlib.sha256(self.blob).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    def __str__(self) -> str:
        return self.fingerprint


def parse_public_key(text: str) -> PublicKey:
    """The key in one line like `ssh-ed25519 AAAA… comment` (RFC 4253 section 6.6, RFC 5656, PROTOCOL.u2f).

    Raises `NotAKey` for other kinds, options before the key, RSA under 2048 bits, and bytes that are not the
    key's.
    """
    words = text.strip().split(None, 2)
    if "\n" in text.strip() or len(words) < 2:
        raise NotAKey(
            f"{shown(text)} is not a public key",
            hint="paste the whole line of the `.pub` file: kind, key, comment",
        )
    kind, encoded = words[0], words[1]
    if kind not in _LOADERS:
        raise NotAKey(
            f"keys of kind {shown(kind)} cannot be used, expected {_ACCEPTED}",
            hint="make one with `ssh-keygen -t ed25519`",
        )
    try:
        blob = _strict_base64(encoded.encode("ascii"))
        wire = _Wire(blob)
        if wire.string() != kind.encode():
            raise _Misfit("the key says another kind than the line")
        _LOADERS[kind](wire)
        wire.end()
    except ValueError as error:  # UnicodeEncodeError is one
        raise NotAKey(f"the `{kind}` key is damaged: {_reason(error)}", hint="copy the `.pub` file once more") from None
    return PublicKey(kind, blob, safe_line(words[2]) if len(words) > 2 else "")


def verify(signature_armored: bytes, message: bytes, namespace: str, keys: Sequence[PublicKey]) -> PublicKey:
    """The one of `keys` that signed exactly `message` in `namespace`.

    Raises `SignatureError` with the reason: damaged, another namespace, a hash or algorithm that is not
    accepted, a key that is not among `keys`, other bytes than were signed, or no touch of the security key.
    """
    try:
        signature = _parse_signature(signature_armored)
    except ValueError as error:
        raise SignatureError(
            f"the signature is damaged: {_reason(error)}", hint="copy the signature file once more"
        ) from None
    if signature.namespace != namespace.encode():
        found = shown(signature.namespace.decode("utf-8", "replace"))
        raise SignatureError(
            f"the signature was made for {found}, expected `{namespace}`",
            hint=f"sign again with namespace `{namespace}`",
        )
    key = next((key for key in keys if key.blob == signature.key), None)
    if key is None:
        foreign = PublicKey("", signature.key).fingerprint
        raise SignatureError(
            f"the signing key `{foreign}` is not one of the {len(keys)} accepted here",
            hint="check that the right person signed, and that the roster has this key",
        )
    signed = _signed_bytes(signature.namespace, signature.hash, message)
    try:
        wire = _Wire(_strict_key(key))
        wire.string()
        _LOADERS[key.kind](wire)(signature.signature, signed)
    except InvalidSignature:
        raise SignatureError(
            f"the signature by `{key.fingerprint}` does not match the signed bytes",
            hint="the file changed after it was signed: undo the change, or sign again",
        ) from None
    except ValueError as error:
        raise SignatureError(f"the signature by `{key.fingerprint}` is refused: {_reason(error)}") from None
    return key


def sign(private_key: PrivateKey, message: bytes, namespace: str) -> bytes:
    """An armoured SSHSIG signature over `message`, hashed with SHA-512, like `ssh-keygen -Y sign` makes."""
    if not namespace:
        raise ValueError("a signature needs a namespace")
    public = public_key(private_key)
    signed = _signed_bytes(namespace.encode(), b"sha512", message)
    match private_key:
        case ed25519.Ed25519PrivateKey():
            inner = _string(_ED25519.encode()) + _string(private_key.sign(signed))
        case ec.EllipticCurvePrivateKey():
            r, s = decode_dss_signature(private_key.sign(signed, ec.ECDSA(hashes.SHA256())))
            inner = _string(_ECDSA.encode()) + _string(_mpint(r) + _mpint(s))
        case rsa.RSAPrivateKey():
            made = private_key.sign(signed, padding.PKCS1v15(), hashes.SHA512())
            inner = _string(b"rsa-sha2-512") + _string(made)
    fields = (public.blob, namespace.encode(), b"", b"sha512", inner)
    return _armor(_MAGIC + _VERSION.to_bytes(4, "big") + b"".join(map(_string, fields)))


def load_private_key(data: bytes, passphrase: bytes | None = None) -> PrivateKey:
    """The private key in an OpenSSH or PEM key file's bytes.

    Raises `NotAKey` for other kinds, a damaged file, or a passphrase that is missing or wrong; never repeats
    the passphrase.
    """
    load = (
        serialization.load_ssh_private_key
        if b"BEGIN OPENSSH PRIVATE KEY" in data
        else serialization.load_pem_private_key
    )
    try:
        key = load(data, password=passphrase or None)
    except TypeError:
        wanted = "does not have one" if passphrase else "needs its passphrase"
        raise NotAKey(f"the key file {wanted}", hint="give the passphrase only where the key has one") from None
    except UnsupportedAlgorithm:
        raise NotAKey(
            "the key file is of a kind or encryption that cannot be read here",
            hint="sign through `ssh-keygen`, which reads every kind it made",
        ) from None
    except ValueError:
        why = "the passphrase is wrong, or the file is damaged" if passphrase else "it is not a private key"
        raise NotAKey(f"the key file cannot be read: {why}", hint="give the file without `.pub` at its end") from None
    if not isinstance(key, PrivateKey):
        raise NotAKey("the key is of a kind that cannot sign here", hint="use ed25519, ecdsa on P-256, or rsa")
    public_key(key)
    return key


def public_key(private_key: PrivateKey) -> PublicKey:
    """The public half. Raises `NotAKey` where the key is one that `verify` would not accept."""
    text = private_key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return parse_public_key(text.decode())


class _Misfit(ValueError):
    """Bytes that are not what they must be; the message says how, in our own words."""


@dataclass(frozen=True, slots=True)
class _Signature:
    key: bytes
    namespace: bytes
    hash: bytes
    signature: bytes


def _parse_signature(armored: bytes) -> _Signature:
    wire = _Wire(_dearmor(armored))
    if wire.take(len(_MAGIC)) != _MAGIC:
        raise _Misfit("it does not begin with `SSHSIG`")
    if (version := wire.uint32()) != _VERSION:
        raise _Misfit(f"expected version {_VERSION}, found {version}")
    key, namespace, reserved, hash_name, inner = (wire.string() for _ in range(5))
    wire.end()
    if not namespace:
        raise _Misfit("it names no namespace")
    if reserved:
        raise _Misfit("its reserved field is not empty")
    if hash_name not in _HASHES:
        raise _Misfit(f"expected hash `sha256` or `sha512`, found {shown(hash_name.decode('ascii', 'replace'))}")
    return _Signature(key, namespace, hash_name, inner)


def _signed_bytes(namespace: bytes, hash_name: bytes, message: bytes) -> bytes:
    digest = _HASHES[hash_name](message)
    return _MAGIC + b"".join(map(_string, (namespace, b"", hash_name, digest)))


def _dearmor(armored: bytes) -> bytes:
    if len(armored) > _LARGEST_SIGNATURE:
        raise _Misfit(f"expected at most {_LARGEST_SIGNATURE} bytes, found {len(armored)}")
    lines = armored.strip().replace(b"\r\n", b"\n").split(b"\n")
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:
        raise _Misfit("expected one `BEGIN SSH SIGNATURE` block and nothing else")
    return _strict_base64(b"".join(lines[1:-1]))


def _armor(blob: bytes) -> bytes:
    text = base64.b64encode(blob)
    lines = [text[start : start + 70] for start in range(0, len(text), 70)]
    return b"\n".join((_BEGIN, *lines, _END, b""))


def _strict_base64(encoded: bytes) -> bytes:
    """Decodes base64 of which no byte can be changed without changing what it says (RFC 4648 section 3.5)."""
    try:
        decoded = binascii.a2b_base64(encoded, strict_mode=True)
    except binascii.Error:
        raise _Misfit("it is not base64") from None
    if base64.b64encode(decoded) != encoded:
        raise _Misfit("it is not base64 in its one proper spelling")
    return decoded


class _Wire:
    """Reads SSH's data types (RFC 4251 section 5); every misfit is a `_Misfit`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise _Misfit("it ends too early")
        self._at += count
        return self._data[self._at - count : self._at]

    def uint32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.uint32())

    def mpint(self) -> int:
        data = self.string()
        number = int.from_bytes(data, "big", signed=True)
        if number <= 0 or data != _mpint(number)[4:]:
            raise _Misfit("a number in it is not positive or not in its shortest form")
        return number

    def end(self) -> None:
        if self._at != len(self._data):
            raise _Misfit("bytes follow its end")


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _mpint(number: int) -> bytes:
    return _string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


# How each kind of key verifies: takes the inner signature and the signed bytes, raises InvalidSignature or
# ValueError.
_Check = Callable[[bytes, bytes], None]


def _load_ed25519(wire: _Wire) -> _Check:
    key = _ed25519_key(wire)
    return lambda inner, signed: key.verify(_only_signature(inner, _ED25519), signed)


def _load_ecdsa(wire: _Wire) -> _Check:
    key = _ecdsa_key(wire)
    return lambda inner, signed: _check_ecdsa(key, _only_signature(inner, _ECDSA), signed)


def _load_rsa(wire: _Wire) -> _Check:
    exponent, modulus = wire.mpint(), wire.mpint()
    bits = modulus.bit_length()
    if not SMALLEST_RSA <= bits <= LARGEST_RSA:
        raise _Misfit(f"expected {SMALLEST_RSA} to {LARGEST_RSA} bits, found {bits}")
    key = rsa.RSAPublicNumbers(exponent, modulus).public_key()

    def check(inner: bytes, signed: bytes) -> None:
        fields = _Wire(inner)
        name, made = fields.string(), fields.string()
        fields.end()
        if name not in _RSA_HASHES:
            found = shown(name.decode("ascii", "replace"))
            raise _Misfit(f"expected `rsa-sha2-512` or `rsa-sha2-256`, found {found}")
        key.verify(made, signed, padding.PKCS1v15(), _RSA_HASHES[name])

    return check


def _load_sk_ed25519(wire: _Wire) -> _Check:
    key, application = _ed25519_key(wire), wire.string()

    def check(inner: bytes, signed: bytes) -> None:
        made, assertion = _touched(inner, _SK_ED25519, application, signed)
        key.verify(made, assertion)

    return check


def _load_sk_ecdsa(wire: _Wire) -> _Check:
    key, application = _ecdsa_key(wire), wire.string()

    def check(inner: bytes, signed: bytes) -> None:
        made, assertion = _touched(inner, _SK_ECDSA, application, signed)
        _check_ecdsa(key, made, assertion)

    return check


_LOADERS: dict[str, Callable[[_Wire], _Check]] = {
    _ED25519: _load_ed25519,
    _ECDSA: _load_ecdsa,
    _RSA: _load_rsa,
    _SK_ED25519: _load_sk_ed25519,
    _SK_ECDSA: _load_sk_ecdsa,
}


_ACCEPTED = "one of " + ", ".join(f"`{kind}`" for kind in _LOADERS)


def _ed25519_key(wire: _Wire) -> ed25519.Ed25519PublicKey:
    return ed25519.Ed25519PublicKey.from_public_bytes(wire.string())


def _ecdsa_key(wire: _Wire) -> ec.EllipticCurvePublicKey:
    if wire.string() != b"nistp256":
        raise _Misfit("expected the curve `nistp256`")
    point = wire.string()
    if len(point) != 65 or point[0] != 4:
        raise _Misfit("its point is not in uncompressed form")
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)


def _only_signature(inner: bytes, kind: str) -> bytes:
    """The signature proper, where nothing but the algorithm's name stands beside it."""
    fields = _Wire(inner)
    _expect_algorithm(fields, kind)
    made = fields.string()
    fields.end()
    return made


def _expect_algorithm(fields: _Wire, kind: str) -> None:
    if (name := fields.string()) != kind.encode():
        raise _Misfit(f"expected algorithm `{kind}`, found {shown(name.decode('ascii', 'replace'))}")


def _check_ecdsa(key: ec.EllipticCurvePublicKey, made: bytes, signed: bytes) -> None:
    numbers = _Wire(made)
    r, s = numbers.mpint(), numbers.mpint()
    numbers.end()
    key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))


def _touched(inner: bytes, kind: str, application: bytes, signed: bytes) -> tuple[bytes, bytes]:
    """A security key's signature and the bytes that it signed (PROTOCOL.u2f); refused without a touch."""
    fields = _Wire(inner)
    _expect_algorithm(fields, kind)
    made, flags, counter = fields.string(), fields.take(1), fields.take(4)
    fields.end()
    if not flags[0] & _USER_PRESENT:
        raise _Misfit("the security key was not touched")
    parts = hashlib.sha256(application).digest() + flags + counter + hashlib.sha256(signed).digest()
    return made, parts


def _strict_key(key: PublicKey) -> bytes:
    if key.kind not in _LOADERS:
        raise _Misfit(f"keys of kind {shown(key.kind)} are not accepted")
    return key.blob


def _reason(error: ValueError) -> str:
    """What to say: our own words, and none of the libraries', which change and may quote bytes."""
    return safe_line(str(error)) if isinstance(error, _Misfit) else "it does not hold a key or signature"
