"""The control socket: one JSON object a line, for people's commands on this machine.

What lives here: the socket, its threads, the framing. What never may: MCP, agents, deciding anything.

It has threads of its own, so that `stop` works while the event loop is busy. The socket's mode is 0600: who can open it
is who the home belongs to.
"""

from __future__ import annotations

import asyncio
import json
import logging
import pwd
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path

from remit.model.errors import Fault, Misuse, Refusal, RemitError
from remit.model.words import Json

log = logging.getLogger("remit.control")
LONGEST_LINE = 8 * 1024 * 1024
MOST_CONNECTIONS = 64
LOOP_SECONDS = 120.0

Immediate = Callable[[dict[str, Json], str], dict[str, Json]]
"""A command that runs on the socket's own thread: parameters and the local user's name in, result out."""
Dispatch = Callable[[str, dict[str, Json], str], Awaitable[dict[str, Json]]]
"""Every other command: method, parameters, the local user's name."""


class ControlServer:
    """Serves the socket until `close`."""

    def __init__(
        self, path: Path, loop: asyncio.AbstractEventLoop, immediate: dict[str, Immediate], dispatch: Dispatch
    ) -> None:
        self._path = path
        self._loop = loop
        self._immediate = immediate
        self._dispatch = dispatch
        self._slots = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._closing = False
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Bind (mode 0600) and serve. A socket left by a dead process is replaced; the home's lock says it is dead."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(self._path))
        except OSError as error:
            listener.close()
            hint = "a socket's path is at most 107 bytes; put the home somewhere with a shorter path"
            raise Fault(
                f"the control socket `{self._path}` cannot be made ({error.strerror or error})", hint=hint
            ) from None
        self._path.chmod(0o600)
        listener.listen(16)
        self._socket = listener
        threading.Thread(target=self._accept, name="remit-control", daemon=True).start()

    def close(self) -> None:
        """Stop serving. Idempotent."""
        self._closing = True
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        listener = self._socket
        while listener is not None and not self._closing:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            if not self._slots.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection,), name="remit-control-one", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as lines:
                user = _peer(connection)
                while True:
                    line = lines.readline(LONGEST_LINE + 1)
                    if not line:
                        return
                    if len(line) > LONGEST_LINE:
                        connection.sendall(_line(None, error=Misuse("the command is larger than 8 MiB")))
                        return
                    connection.sendall(self._answer(line, user))
        except OSError:
            return
        finally:
            self._slots.release()

    def _answer(self, line: bytes, user: str) -> bytes:
        call_id: Json = None
        try:
            request = json.loads(line)
            if not isinstance(request, dict) or not isinstance(request.get("method"), str):
                raise Misuse("expected one JSON object a line with `id`, `method` and `params`")
            call_id = request.get("id")
            params = request.get("params", {})
            if not isinstance(params, dict):
                raise Misuse("`params` must be an object")
            return _line(call_id, result=self._run(request["method"], params, user))
        except RemitError as error:
            return _line(call_id, error=error)
        except ValueError:
            return _line(call_id, error=Misuse("expected one JSON object a line"))
        except FutureTimeout:
            return _line(call_id, error=Fault(f"the gateway did not answer within {LOOP_SECONDS:.0f} s"))
        except Exception:
            log.exception("a command failed")
            return _line(call_id, error=Fault("the command failed for a reason that is in the gateway's own log"))

    def _run(self, method: str, params: dict[str, Json], user: str) -> dict[str, Json]:
        immediate = self._immediate.get(method)
        if immediate is not None:
            return immediate(params, user)
        future = asyncio.run_coroutine_threadsafe(_as_coroutine(self._dispatch(method, params, user)), self._loop)
        return future.result(LOOP_SECONDS)


async def _as_coroutine(result: Awaitable[dict[str, Json]]) -> dict[str, Json]:
    return await result


def _peer(connection: socket.socket) -> str:
    """The local user at the other end (SO_PEERCRED, unix(7))."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", raw)
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _line(call_id: Json, *, result: dict[str, Json] | None = None, error: RemitError | None = None) -> bytes:
    answer: dict[str, Json] = {"id": call_id}
    if error is None:
        answer["result"] = result
    else:
        code = "refused" if isinstance(error, Refusal) else "fault" if isinstance(error, Fault) else "misuse"
        answer["error"] = {"code": code, "message": error.message, "hint": error.hint}
        if isinstance(error, Refusal):
            answer["error"]["clauses"] = [{"id": clause.id, "says": clause.says} for clause in error.clauses]
    return json.dumps(answer).encode() + b"\n"
