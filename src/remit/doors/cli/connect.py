"""`remit connect`: a bridge between an MCP client that speaks stdio and the gateway's socket.

It holds nothing but the run token, decides nothing, and copies bytes both ways until either side ends. Standard library
only, and little of that, because it starts with every agent.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Mapping, Sequence

_CHUNK = 65_536
_LAST_ANSWERS = 2.0
_USAGE = "usage: remit connect [--home DIR | --socket PATH]"

FINE, REFUSED, WRONG_USE, FAULT = 0, 1, 2, 3


class _Stop(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Run the bridge and return the exit code: 0 when either side ended, 1 when the gateway refused the token, 2 for
    wrong use, 3 when there is no gateway. The token comes from REMIT_TOKEN or the file REMIT_TOKEN_FILE, never from
    the command line, where other users could read it."""
    try:
        path = _socket_path(list(sys.argv[1:] if arguments is None else arguments), environment)
        return bridge(path, _token(environment))
    except _Stop as stop:
        print(f"remit connect: {stop}", file=sys.stderr)
        return stop.code
    except KeyboardInterrupt:
        return FINE


def bridge(path: str, token: str) -> int:
    """Copy between standard input and output and the gateway's socket at `path`; returns the exit code."""
    gateway = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        gateway.connect(path)
        gateway.sendall(token.encode("ascii", "replace") + b"\n")
    except OSError as error:
        gateway.close()
        reason = error.strerror or str(error)
        raise _Stop(
            FAULT, f"no gateway answers at `{path}`: {reason.lower()}\nhint: start it with `remit gateway`"
        ) from None
    threading.Thread(target=_send, args=(gateway,), daemon=True).start()
    return _receive(gateway)


def _send(gateway: socket.socket) -> None:
    """Standard input to the gateway. At its end the gateway may still answer for a moment."""
    try:
        while chunk := os.read(0, _CHUNK):
            gateway.sendall(chunk)
        gateway.settimeout(_LAST_ANSWERS)
        gateway.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the gateway has ended, and the other direction sees it


def _receive(gateway: socket.socket) -> int:
    """The gateway to standard output, until it ends."""
    first = b""
    total = 0
    try:
        while chunk := gateway.recv(_CHUNK):
            first = first or chunk
            total += len(chunk)
            _write_all(chunk)
    except OSError:
        pass  # either side has ended
    if total == len(first) and b'"id":null,"error"' in first:
        return _say_refusal(first)
    return FINE


def _write_all(chunk: bytes) -> None:
    while chunk:
        chunk = chunk[os.write(1, chunk) :]


def _say_refusal(line: bytes) -> int:
    import json  # only where it is needed: the bridge starts with every agent

    try:
        error = json.loads(line)["error"]
        message, hint = str(error["message"]), str(error.get("data", {}).get("hint", ""))
    except (ValueError, LookupError, TypeError, AttributeError):
        return REFUSED
    print(f"remit connect: {message}" + (f"\nhint: {hint}" if hint else ""), file=sys.stderr)
    return REFUSED


def _socket_path(arguments: list[str], environment: Mapping[str, str]) -> str:
    home = environment.get("REMIT_HOME", "")
    path = environment.get("REMIT_SOCKET", "")
    while arguments:
        option, _, value = arguments.pop(0).partition("=")
        if option not in ("--home", "--socket"):
            raise _Stop(WRONG_USE, f"expected `--home` or `--socket`, found `{option}`\n{_USAGE}")
        value = value or (arguments.pop(0) if arguments else "")
        if not value:
            raise _Stop(WRONG_USE, f"`{option}` needs a value\n{_USAGE}")
        home, path = (value, "") if option == "--home" else (home, value)
    if not path and not home:
        hint = "set REMIT_SOCKET or REMIT_HOME, or say where the gateway is"
        raise _Stop(WRONG_USE, f"no home is given\nhint: {hint}\n{_USAGE}")
    return path or os.path.join(home, "run", "agents.sock")  # noqa: PTH118 - pathlib costs 10 ms of start


def _token(environment: Mapping[str, str]) -> str:
    token = environment.get("REMIT_TOKEN", "").strip()
    file = environment.get("REMIT_TOKEN_FILE", "")
    if not token and file:
        try:
            with open(file, encoding="ascii") as opened:  # noqa: PTH123 - as above
                token = opened.readline(1_024).strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            raise _Stop(WRONG_USE, f"the token file `{file}` cannot be read: {reason.lower()}") from None
    if not token:
        raise _Stop(
            WRONG_USE, "there is no run token\nhint: set REMIT_TOKEN or REMIT_TOKEN_FILE, as `remit run exec` does"
        )
    return token


if __name__ == "__main__":
    raise SystemExit(main())
