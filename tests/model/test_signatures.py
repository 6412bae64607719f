"""SSH signatures: ours and OpenSSH's read each other, and nothing that was changed holds."""

import base64
import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from remit.adapters.home.ssh_keygen import CannotSign, sign_with_ssh_keygen
from remit.model.signatures import (
    Namespace,
    NotAKey,
    PublicKey,
    SignatureError,
    _armor,
    _dearmor,
    _mpint,
    _signed_bytes,
    _string,
    load_private_key,
    parse_public_key,
    public_key,
    sign,
    verify,
)

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "signatures"
MESSAGE = b'[boundary]\nname = "soc-triage"\n'
KINDS = {
    "ed25519": ["-t", "ed25519"],
    "ecdsa": ["-t", "ecdsa", "-b", "256"],
    "rsa": ["-t", "rsa", "-b", "2048"],
}
needs_openssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed")


def keygen(*arguments: str, message: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = ["ssh-keygen", *arguments]
    return subprocess.run(command, input=message, capture_output=True, timeout=60, check=True)


@pytest.fixture(scope="module", params=sorted(KINDS))
def key_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "key"
    keygen("-q", *KINDS[request.param], "-N", "", "-C", "ana@example.com laptop", "-f", str(path))
    return path


@pytest.fixture
def ours() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def spelt(blob: bytes) -> str:
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


def public_of(path: Path) -> PublicKey:
    return parse_public_key(path.with_name(f"{path.name}.pub").read_text())


@needs_openssh
def test_openssh_verifies_what_we_sign(key_file: Path, tmp_path: Path) -> None:
    signature = sign(load_private_key(key_file.read_bytes()), MESSAGE, Namespace.BOUNDARY)
    (tmp_path / "sig").write_bytes(signature)
    (tmp_path / "allowed").write_text(f"ana@example.com {public_of(key_file).text}\n")
    done = keygen(
        *("-Y", "verify", "-n", Namespace.BOUNDARY, "-I", "ana@example.com"),
        *("-f", str(tmp_path / "allowed"), "-s", str(tmp_path / "sig")),
        message=MESSAGE,
    )
    assert b"Good" in done.stdout


@needs_openssh
@pytest.mark.parametrize("hash_name", ["sha256", "sha512"])
def test_we_verify_what_openssh_signs(key_file: Path, hash_name: str) -> None:
    command = ("-q", "-Y", "sign", "-n", "control@remit", "-O", f"hashalg={hash_name}", "-f", str(key_file))
    made = keygen(*command, message=MESSAGE)
    signer = verify(made.stdout, MESSAGE, Namespace.CONTROL, [public_of(key_file)])
    assert signer.comment == "ana@example.com laptop"


@needs_openssh
def test_a_signature_made_through_ssh_keygen_holds(key_file: Path) -> None:
    signature = sign_with_ssh_keygen(key_file, MESSAGE, Namespace.ROSTER)
    assert verify(signature, MESSAGE, Namespace.ROSTER, [public_of(key_file)]) == public_of(key_file)


@needs_openssh
def test_fingerprints_are_those_of_ssh_keygen(key_file: Path) -> None:
    shown = keygen("-l", "-f", str(key_file)).stdout.decode()
    assert public_of(key_file).fingerprint in shown.split()


@needs_openssh
def test_ssh_keygen_refusing_is_told_in_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(CannotSign, match="is not there"):
        sign_with_ssh_keygen(tmp_path / "absent", MESSAGE, Namespace.ROSTER)
    (tmp_path / "bad").write_text("no key")
    with pytest.raises(CannotSign, match="did not sign with"):
        sign_with_ssh_keygen(tmp_path / "bad", MESSAGE, Namespace.ROSTER)


def test_another_namespace_message_or_key_is_refused(ours: ed25519.Ed25519PrivateKey) -> None:
    mine = public_key(ours)
    signature = sign(ours, MESSAGE, Namespace.APPROVAL)
    assert verify(signature, MESSAGE, Namespace.APPROVAL, [mine]) == mine
    with pytest.raises(SignatureError, match="made for `approval@remit`, expected `control@remit`"):
        verify(signature, MESSAGE, Namespace.CONTROL, [mine])
    with pytest.raises(SignatureError, match="does not match the signed bytes"):
        verify(signature, MESSAGE + b" ", Namespace.APPROVAL, [mine])
    foreign = public_key(ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(SignatureError, match="is not one of the 1 accepted here"):
        verify(signature, MESSAGE, Namespace.APPROVAL, [foreign])
    with pytest.raises(SignatureError, match="is not one of the 0 accepted here"):
        verify(signature, MESSAGE, Namespace.APPROVAL, [])


@given(st.data())
def test_a_signature_with_any_byte_changed_never_holds(data: st.DataObject) -> None:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
    signature = bytearray(sign(key, MESSAGE, Namespace.BOUNDARY)).rstrip(b"\n")
    place = data.draw(st.integers(0, len(signature) - 1))
    byte = data.draw(st.integers(0, 255))
    changed = bytes(signature[:place]) + bytes([byte]) + bytes(signature[place + 1 :])
    if changed == bytes(signature):
        return
    with pytest.raises(SignatureError):
        verify(changed, MESSAGE, Namespace.BOUNDARY, [public_key(key)])


@given(st.binary(max_size=300))
def test_any_bytes_as_a_signature_are_refused(blob: bytes) -> None:
    key = public_key(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)))
    for candidate in (blob, _armor(blob), _armor(b"SSHSIG\x00\x00\x00\x01" + blob)):
        with pytest.raises(SignatureError):
            verify(candidate, MESSAGE, Namespace.BOUNDARY, [key])


def forge(key: PublicKey, inner: bytes, **changed: Any) -> bytes:
    fields: dict[str, Any] = {
        "namespace": b"boundary@remit",
        "reserved": b"",
        "hash": b"sha512",
        "version": 1,
        "tail": b"",
    }
    fields |= changed
    strings = (key.blob, fields["namespace"], fields["reserved"], fields["hash"], inner)
    version = fields["version"].to_bytes(4, "big")
    return _armor(b"SSHSIG" + version + b"".join(map(_string, strings)) + fields["tail"])


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"reserved": b"x"}, "reserved field is not empty"),
        ({"tail": b"x"}, "bytes follow its end"),
        ({"version": 2}, "expected version 1, found 2"),
        ({"hash": b"sha1"}, "found `sha1`"),
        ({"namespace": b""}, "names no namespace"),
    ],
)
def test_a_malformed_frame_is_refused(ours: ed25519.Ed25519PrivateKey, changed: dict[str, Any], reason: str) -> None:
    signed = _signed_bytes(b"boundary@remit", b"sha512", MESSAGE)
    inner = _string(b"ssh-ed25519") + _string(ours.sign(signed))
    assert verify(forge(public_key(ours), inner), MESSAGE, Namespace.BOUNDARY, [public_key(ours)])
    with pytest.raises(SignatureError, match=reason):
        verify(forge(public_key(ours), inner, **changed), MESSAGE, Namespace.BOUNDARY, [public_key(ours)])
    with pytest.raises(SignatureError, match="bytes follow its end"):
        verify(forge(public_key(ours), inner + b"x"), MESSAGE, Namespace.BOUNDARY, [public_key(ours)])
    with pytest.raises(SignatureError, match="expected algorithm `ssh-ed25519`, found `ssh-rsa`"):
        wrong = _string(b"ssh-rsa") + _string(bytes(64))
        verify(forge(public_key(ours), wrong), MESSAGE, Namespace.BOUNDARY, [public_key(ours)])


@needs_openssh
def test_rsa_with_sha_1_and_short_rsa_keys_are_refused(tmp_path: Path) -> None:
    keygen("-q", "-t", "rsa", "-b", "1024", "-N", "", "-f", str(tmp_path / "short"))
    with pytest.raises(NotAKey, match="expected 2048 to 16384 bits, found 1024"):
        public_of(tmp_path / "short")
    keygen("-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(tmp_path / "long"))
    inner = _string(b"ssh-rsa") + _string(bytes(256))
    key = public_of(tmp_path / "long")
    with pytest.raises(SignatureError, match="expected `rsa-sha2-512` or `rsa-sha2-256`, found `ssh-rsa`"):
        verify(forge(key, inner), MESSAGE, Namespace.BOUNDARY, [key])


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_security_key_counts_only_with_a_touch(kind: str) -> None:
    application = b"ssh:"
    signed = _signed_bytes(b"boundary@remit", b"sha512", MESSAGE)
    made: bytes

    def assertion(flags: int) -> tuple[bytes, bytes]:
        tail = bytes([flags]) + (7).to_bytes(4, "big")
        return tail, hashlib.sha256(application).digest() + tail + hashlib.sha256(signed).digest()

    for flags, holds in ((1, True), (5, True), (0, False), (4, False)):
        tail, covered = assertion(flags)
        if kind == "ed25519":
            name = b"sk-ssh-ed25519@openssh.com"
            private = ed25519.Ed25519PrivateKey.generate()
            blob = _string(name) + _string(private.public_key().public_bytes_raw()) + _string(application)
            made = private.sign(covered)
        else:
            name = b"sk-ecdsa-sha2-nistp256@openssh.com"
            curve = ec.generate_private_key(ec.SECP256R1())
            point = curve.public_key().public_bytes(
                serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
            )
            blob = _string(name) + _string(b"nistp256") + _string(point) + _string(application)
            made = b"".join(map(_mpint, decode_dss_signature(curve.sign(covered, ec.ECDSA(hashes.SHA256())))))
        key = parse_public_key(f"{name.decode()} {base64.b64encode(blob).decode()} token")
        signature = forge(key, _string(name) + _string(made) + tail)
        if holds:
            assert verify(signature, MESSAGE, Namespace.BOUNDARY, [key]) == key
        else:
            with pytest.raises(SignatureError, match="was not touched"):
                verify(signature, MESSAGE, Namespace.BOUNDARY, [key])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not a public key"),
        ("ssh-dss AAAA", "keys of kind `ssh-dss` cannot be used"),
        ("no-pty ssh-ed25519 AAAA", "keys of kind `no-pty` cannot be used"),
        ("ssh-ed25519 !!!!", "it is not base64"),
        ("ssh-ed25519 AAAA", "it ends too early"),
        (spelt(_string(b"ssh-rsa")), "another kind"),
        (spelt(_string(b"ssh-ed25519") + _string(bytes(31))), "is damaged"),
        (spelt(_string(b"ssh-ed25519") + _string(bytes(32)) + b"x"), "follow"),
        ("ssh-ed25519 é", "is damaged"),
        ("ssh-ed25519\nAAAA", "is not a public key"),
    ],
)
def test_what_is_not_a_usable_key_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(NotAKey, match=reason):
        parse_public_key(text)


def test_a_key_is_the_same_whatever_its_comment(ours: ed25519.Ed25519PrivateKey) -> None:
    key = public_key(ours)
    assert parse_public_key(f"{key.text} somebody\u202e else") == key
    assert parse_public_key(f"  {key.text}\n").comment == ""
    assert parse_public_key(f"{key.text} a\u202eb").comment == "a⟦U+202E⟧b"


@needs_openssh
@pytest.mark.parametrize("form", ["PEM", "RFC4716"])
def test_an_encrypted_key_file_needs_its_passphrase(tmp_path: Path, form: str) -> None:
    if form == "RFC4716":
        pytest.importorskip("bcrypt", reason="encrypted OpenSSH key files need the package `bcrypt`")
    path = tmp_path / "key"
    keygen("-q", "-t", "rsa", "-b", "2048", "-m", form, "-N", "correct horse", "-f", str(path))
    data = path.read_bytes()
    signature = sign(load_private_key(data, b"correct horse"), MESSAGE, Namespace.ROSTER)
    assert verify(signature, MESSAGE, Namespace.ROSTER, [public_of(path)])
    with pytest.raises(NotAKey, match="needs its passphrase"):
        load_private_key(data)
    with pytest.raises(NotAKey, match="passphrase is wrong") as refused:
        load_private_key(data, b"battery staple")
    assert "battery" not in str(refused.value)


def test_a_file_that_is_no_private_key_is_refused() -> None:
    with pytest.raises(NotAKey, match="is not a private key"):
        load_private_key(b"ssh-ed25519 AAAA")


def test_p384_keys_cannot_sign_here() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    with pytest.raises(NotAKey, match="ecdsa-sha2-nistp384"):
        load_private_key(pem)


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.json")), ids=lambda path: path.stem)
def test_the_vectors_give_the_results_they_name(path: Path) -> None:
    vector = json.loads(path.read_text())
    keys = [parse_public_key(line) for line in vector["keys"]]
    signature, message = vector["signature"].encode(), vector["message"].encode()
    if vector["signer"] is not None:
        signer = verify(signature, message, vector["namespace"], keys)
        assert signer.fingerprint == vector["signer"]
        assert _armor(_dearmor(signature)) == signature
    else:
        with pytest.raises(SignatureError, match=vector["reason"]):
            verify(signature, message, vector["namespace"], keys)


def test_there_are_vectors() -> None:
    assert len(list(VECTORS.glob("*.json"))) >= 10
