"""Where secrets come from: references in configuration, resolved when a node starts.

A reference is `env:NAME`, `file:PATH` or `command:PROGRAM ARGUMENT…`. INVARIANT: no error names or quotes the value.
"""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

from remit.model.errors import Misuse

MAX_BYTES = 64 * 1024
COMMAND_SECONDS = 10.0


def resolve(reference: str, *, environment: Mapping[str, str], base: Path, seconds: float = COMMAND_SECONDS) -> str:
    """The secret that `reference` names, without the line break at its end.

    Relative paths start at `base`; a command runs there without a shell, for at most `seconds`. Raises `Misuse` when
    there is no such secret, when it is empty, longer than 64 KiB, has several lines or is not UTF-8, or when others
    than its owner may read its file.
    """
    kind, colon, rest = reference.partition(":")
    if not colon or not rest or kind not in ("env", "file", "command"):
        raise Misuse(
            "a secret is not written as a reference, expected `env:NAME`, `file:PATH` or `command:PROGRAM …`",
            hint="put the secret itself into an environment variable or a file, and its name here",
        )
    if kind == "env":
        raw = _from_environment(rest, environment)
    elif kind == "file":
        raw = _from_file(rest, base / Path(rest).expanduser())
    else:
        raw = _from_command(rest, environment, base, seconds)
    return _checked(f"{kind}:{rest.split()[0]}", raw)


def _from_environment(name: str, environment: Mapping[str, str]) -> bytes:
    if name not in environment:
        raise Misuse(f"environment variable `{name}` is not set, expected a secret in it", hint=f"export {name}=…")
    return environment[name].encode("utf-8", "surrogateescape")


def _from_file(shown: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise Misuse(f"`{shown}` is not a regular file, expected one that holds a secret")
            if mode & 0o077:
                raise Misuse(
                    f"secret file `{shown}` may be read by others (mode {stat.S_IMODE(mode):04o}), expected 0600",
                    hint=f"chmod 600 {shlex.quote(shown)}",
                )
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        why = (error.strerror or "it failed").lower()
        raise Misuse(f"secret file `{shown}` cannot be read: {why}") from error


def _from_command(line: str, environment: Mapping[str, str], base: Path, seconds: float) -> bytes:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise Misuse("a secret's command has an open quotation mark, expected a closed one") from error
    program = words[0] if words else ""
    try:
        with subprocess.Popen(  # noqa: S603 (the operator's own command, without a shell)
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environment),
            cwd=base,
            start_new_session=True,
        ) as process:
            return _output(process, program, seconds)
    except OSError as error:
        why = (error.strerror or "it failed").lower()
        raise Misuse(f"the command `{program}` of a secret cannot be run: {why}") from error


def _output(process: subprocess.Popen[bytes], program: str, seconds: float) -> bytes:
    """What it prints, reading no more than is allowed; the process is gone afterwards."""
    from threading import Timer

    assert process.stdout is not None
    late: list[bool] = []

    def kill() -> None:
        late.append(True)
        os.killpg(process.pid, 9)

    timer = Timer(seconds, kill)
    timer.start()
    try:
        raw = process.stdout.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            process.kill()
        code = process.wait()
    finally:
        timer.cancel()
    if late:
        raise Misuse(f"the command `{program}` of a secret did not finish within {seconds:g} s")
    if code != 0 and len(raw) <= MAX_BYTES:
        raise Misuse(f"the command `{program}` of a secret failed with exit code {code}, expected 0")
    return raw


def _checked(shown: str, raw: bytes) -> str:
    if len(raw) > MAX_BYTES:
        raise Misuse(f"the secret of `{shown}` is longer than {MAX_BYTES} bytes")
    try:
        value = raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise Misuse(f"the secret of `{shown}` is not UTF-8 text") from None
    if not value:
        raise Misuse(f"the secret of `{shown}` is empty")
    if any(character in value for character in "\r\n\0"):
        raise Misuse(f"the secret of `{shown}` has several lines or a null byte, expected one line")
    return value
