"""A witness over HTTP: `POST /add-checkpoint` (c2sp.org/tlog-witness), and nothing else.

What lives here: reading a request within bounds, and the status that each refusal has. What never may: a decision about
a checkpoint (that is `state`'s).

Anybody may ask; who cannot sign for a known log gets nothing. A request has seconds for all of itself, however slowly
it drips, and there are only so many connections at once.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from remit.adapters.witness.state import Conflict, NotExtended, NotSigned, UnknownLog, Witness
from remit.gates.log.submissions import MAX_SUBMISSION, SIZE_TYPE, BadSubmission, parse
from remit.model.errors import Fault, RemitError

PATH = "/add-checkpoint"
REQUEST_SECONDS = 10.0
IDLE_SECONDS = 60.0
MOST_CONNECTIONS = 64
_TEXT = "text/plain; charset=utf-8"
_STATUS: dict[type[RemitError], int] = {BadSubmission: 400, UnknownLog: 404, NotSigned: 403, NotExtended: 422}
log = logging.getLogger("remit.witness")


class WitnessServer(ThreadingHTTPServer):
    """Serves one witness at an address. `serve_forever` serves, `shutdown` from another thread ends it."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], witness: Witness, now: Callable[[], int]) -> None:
        """`now` gives seconds since the epoch. Raises `Fault` where the address cannot be had."""
        self.witness = witness
        self.now = now
        self._deadlines: dict[socket.socket, float] = {}  # by connection; guarded by `_guard`
        self._guard = threading.Lock()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        try:
            super().__init__(address, _Handler)
        except OSError as error:
            raise Fault(f"`{address[0]}:{address[1]}` cannot be listened on ({error.strerror or error})") from None

    @property
    def url(self) -> str:
        """Where it is reached."""
        host, port = self.server_address[0], self.server_address[1]
        return f"http://{f'[{host!s}]' if self.address_family == socket.AF_INET6 else host!s}:{port}"

    def allow(self, connection: socket.socket, seconds: float) -> None:
        """Give a connection this long from now."""
        with self._guard:
            if connection in self._deadlines:
                self._deadlines[connection] = time.monotonic() + seconds

    def service_actions(self) -> None:
        """Called twice a second: end what has had its time."""
        now = time.monotonic()
        with self._guard:
            late = [connection for connection, until in self._deadlines.items() if until < now]
        for connection in late:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for one more connection."""
        with self._guard:
            if len(self._deadlines) >= MOST_CONNECTIONS:
                return False
            self._deadlines[request] = time.monotonic() + REQUEST_SECONDS
        return True

    def shutdown_request(self, request: Any) -> None:
        """The connection is over."""
        with self._guard:
            self._deadlines.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing to tell of."""
        log.debug("a connection failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: WitnessServer
    protocol_version = "HTTP/1.1"
    server_version = "remit-witness"
    sys_version = ""

    def handle_one_request(self) -> None:
        """One request on a connection that may see several."""
        super().handle_one_request()
        self.server.allow(self.connection, IDLE_SECONDS)

    def parse_request(self) -> bool:
        """The request line is there: from now on the request has its time."""
        self.server.allow(self.connection, REQUEST_SECONDS)
        return super().parse_request()

    def do_POST(self) -> None:
        """Answer one submission."""
        if self.path != PATH:
            self._refuse(404, f"there is only `{PATH}`")
            return
        body = self._body()
        if body is None:
            return
        try:
            self._answer(200, self.server.witness.cosign(parse(body), self.server.now()))
        except Conflict as error:
            log.warning("%s", error.message)
            self._answer(409, f"{error.size}\n".encode(), SIZE_TYPE)
        except tuple(_STATUS) as error:
            log.warning("%s", error.message)
            self._answer(_STATUS[type(error)], f"{error.message}\n".encode())
        except Exception as error:
            log.error("nothing can be cosigned: %s", error.message if isinstance(error, Fault) else repr(error))
            self._answer(500, b"the witness failed; nothing was cosigned\n")

    def _wrong_method(self) -> None:
        self._refuse(405, "only POST")

    do_GET = do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_CONNECT = do_TRACE = _wrong_method

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or len(self.headers.get_all("Content-Length", ())) != 1:
            self._refuse(411, "say the length of the body, once")
        elif not (length.isascii() and length.isdigit() and len(length) < 10):
            self._refuse(400, "the length of the body is not a number")
        elif int(length) > MAX_SUBMISSION:
            self._refuse(413, f"a submission has at most {MAX_SUBMISSION} bytes")
        else:
            body = self.rfile.read(int(length))
            if len(body) == int(length):
                return body
            self.close_connection = True
        return None

    def _refuse(self, status: int, says: str) -> None:
        """Answer without having read a body, so that what follows on this connection means nothing."""
        self.close_connection = True
        self._answer(status, f"{says}\n".encode(), **({"Allow": "POST"} if status == 405 else {}))

    def _answer(self, status: int, body: bytes, kind: str = _TEXT, **more: str) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), **more}
        if self.close_connection:
            headers["Connection"] = "close"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses by itself, in plain text."""
        self.close_connection = True
        self.command = getattr(self, "command", None) or ""
        self.request_version = getattr(self, "request_version", self.protocol_version) or self.protocol_version
        self._answer(code, f"{message or 'not understood'}\n".encode("ascii", "replace"))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (its name in the standard library)
        """Requests are not logged one by one."""
        log.debug(format, *args)
