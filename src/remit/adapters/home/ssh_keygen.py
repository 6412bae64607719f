"""Signing with keys that only OpenSSH can reach: in an agent, on a security key, on a smart card.

Keys in plain files are signed with in process, by `remit.model.signatures.sign`.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from remit.model.display import safe_text
from remit.model.errors import Fault, Misuse

_SECONDS_FOR_A_TOUCH = 120


class CannotSign(Misuse):
    """`ssh-keygen` did not sign; the message holds what it said."""


def sign_with_ssh_keygen(key_path: Path, message: bytes, namespace: str) -> bytes:
    """An armoured SSHSIG signature over `message`, made by `ssh-keygen -Y sign`.

    `key_path` is a private key file, or a `.pub` file whose private half is in the running SSH agent.
    `ssh-keygen` may ask on the terminal for a passphrase, a PIN or a touch; it has two minutes. Raises
    `CannotSign` where it refuses, and `Fault` where it is not installed or does not answer.
    """
    if not key_path.is_file():
        raise CannotSign(f"the key file `{key_path}` is not there", hint="name a key file, or its `.pub` file")
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(key_path.absolute())]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command, and no shell reads the path
            command, input=message, capture_output=True, timeout=_SECONDS_FOR_A_TOUCH, check=False
        )
    except FileNotFoundError:
        raise Fault(
            "`ssh-keygen` is not installed", hint="install OpenSSH, or sign with a key file in the clear"
        ) from None
    except subprocess.TimeoutExpired:
        raise Fault(
            f"`ssh-keygen` did not answer within {_SECONDS_FOR_A_TOUCH} s",
            hint="was the security key touched?",
        ) from None
    if done.returncode != 0 or not done.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        said = safe_text(done.stderr.decode("utf-8", "replace")).strip() or f"exit code {done.returncode}"
        raise CannotSign(
            f"`ssh-keygen` did not sign with `{key_path}`: {said}",
            hint="check with `ssh-add -L` that the agent has the key, or name the private key file",
        )
    return done.stdout
