"""Looking at the running gateway through its control socket: as `remit status --json`, without a program each time."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from remit.model.errors import Fault

SECONDS = 10.0


def look(home: Path, method: str) -> dict[str, Any]:
    """The answer to one question. Raises `Fault` where the gateway does not answer, or not with an answer."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(SECONDS)
            connection.connect(str(home / "run" / "control.sock"))
            connection.sendall(json.dumps({"id": 1, "method": method, "params": {}}).encode() + b"\n")
            with connection.makefile("rb") as lines:
                answer = json.loads(lines.readline() or b"{}")
    except (OSError, ValueError) as error:
        raise Fault(f"the demonstration's gateway did not answer ({error})", hint="gateway.log says why") from None
    if "result" not in answer:
        raise Fault(f"the demonstration's gateway answered {answer.get('error', 'nothing')}")
    result: dict[str, Any] = answer["result"]
    return result
