"""gevent.pywsgi's handler, for one request at a time of a connection that is not its own (layer 2).

It is held to what keeps a connection in step (RFC 9112): no body in the answer to HEAD, no more and no less than the
Content-Length that was promised, no next request behind a body that was not read to its end.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gevent import GreenletExit, get_hub, pywsgi, socket

from lws_gevent.foreign_request import RAW_HEAD

if TYPE_CHECKING:
    from lws_gevent.context import Context
    from lws_gevent.wsgi_service import Handed, WsgiService

__all__ = ["Exchange", "make_server"]

_pywsgi: Any = pywsgi  # whose inner workings its type stubs do not tell

_READ_SIZE = 16 * 1024


class PeerStalled(TimeoutError):
    """The peer has sent nothing, or taken nothing, for too long."""


def make_server(application: Callable[..., Any], address: Any, scheme: str) -> Any:
    """What the handlers of all requests share: a WSGIServer that never starts."""
    host, port = address[:2] if isinstance(address, tuple) else ("", "")
    environ = {
        "SERVER_NAME": "localhost" if host in ("", "::", "0.0.0.0") else host,
        "SERVER_PORT": str(port),
        "wsgi.url_scheme": scheme,
    }
    return pywsgi.WSGIServer(("", 0), application, log=None, environ=environ)


class _Stream(io.RawIOBase):
    """What the connection brings: `unread` first, then what its socket receives."""

    def __init__(self, sock: Any, unread: bytes, timeout: float | None) -> None:
        self._sock = sock
        self.unread = unread
        self.received = len(unread)
        self._timeout = timeout
        self._dry = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.unread:
            count = min(len(buffer), len(self.unread))
            buffer[:count] = self.unread[:count]
            self.unread = self.unread[count:]
            return count
        if self._dry:
            return None
        if self._sock.gettimeout() != 0.0:  # else somebody only wants to look
            self._sock.settimeout(self._timeout)
        try:
            received: int = self._sock.recv_into(buffer)
        except BlockingIOError:
            return None
        except TimeoutError:
            raise PeerStalled("the rest of the request does not come") from None
        self.received += received
        return received

    def rest(self, reader: Any) -> bytes:
        """What `reader`, which reads this, and this still hold."""
        self._dry, unread, self.unread = True, self.unread, b""
        octets: bytes = reader.read1(-1)
        return octets + unread + getattr(self._sock, "unread", b"")


class _Input(_pywsgi.Input):  # type: ignore[misc]
    """The body of a request."""

    __slots__ = ("handler",)

    def _discard(self) -> None:
        """Reads what the application has not: only so much, and not when the peer waits to be asked for it."""
        handler = self.handler
        if handler.close_connection or not (self.chunked_input or self.position < (self.content_length or 0)):
            return
        handler.close_connection = True
        left = handler.context.settings.max_body_size
        if self.socket is not None or self._chunked_input_error:
            return  # 100 Continue was not sent, so that a body may come or not; or nobody knows where it ends
        while left > 0:
            octets = self.read(min(left, _READ_SIZE))
            if not octets:
                handler.close_connection = False
                return
            left -= len(octets)


class _Handler(_pywsgi.WSGIHandler):  # type: ignore[misc]
    """One request."""

    wsgi_input: Any
    response_headers: Any
    response_use_chunked: bool

    def __init__(self, exchange: Exchange, server: Any, rfile: Any) -> None:
        super().__init__(exchange.socket, exchange.handed.client, server, rfile)
        self.context = exchange.context
        self._exchange = exchange
        self._body_left: int | None = None

    def read_request(self, raw_requestline: str) -> bool:
        super().read_request(raw_requestline)
        request = self._exchange.handed.request
        # By the judgement of our own parser, which reads lists of options. Behind a refused upgrade nothing is read:
        # the peer may take it for a tunnel.
        self.close_connection = not request.keep_alive or request.upgrade_status != 0
        return True

    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        old = self.wsgi_input
        request = self._exchange.handed.request
        expects = request.version_minor > 0 and request.headers.get("Expect", "").lower() == "100-continue"
        self.wsgi_input = _Input(old.rfile, old.content_length, self.socket if expects else None, old.chunked_input)
        self.wsgi_input.handler = self
        if environ["wsgi.input"] is old:
            environ["wsgi.input"] = self.wsgi_input
        environ["RAW_URI"] = self.path
        environ[RAW_HEAD] = self._exchange.head
        return environ

    def run_application(self) -> None:
        super().run_application()
        if self._exchange.is_taken:
            return
        if not self.headers_sent:
            raise self.ApplicationError("The application did not call start_response()")
        if self._body_left:
            self.close_connection = True
            raise self.ApplicationError(f"{self._body_left} octets of the Content-Length were not sent")

    def finalize_headers(self) -> None:
        super().finalize_headers()
        if self.code == 101 or self._exchange.service.stopping:
            self.close_connection = True
        bodiless = self.command == "HEAD" or self.code in (204, 304)
        lengths = [value for name, value in self.response_headers if name.lower() == b"content-length"]
        if not bodiless and lengths:
            self._body_left = int(lengths[0])
        elif not bodiless and not self.response_use_chunked:
            self.close_connection = True  # the end of the connection is the end of the body
        if self.command == "HEAD":
            self.response_use_chunked = False
        if self.close_connection and self.code != 101:
            self.response_headers = [pair for pair in self.response_headers if pair[0].lower() != b"connection"]
            self.response_headers.append((b"Connection", b"close"))

    def _write(self, data: bytes) -> None:
        if self.command == "HEAD" and self.code != 101:
            return
        if self._body_left is not None:
            if len(data) > self._body_left:
                self.close_connection = True
                raise self.ApplicationError("more was sent than the Content-Length")
            self._body_left -= len(data)
        super()._write(data)

    def _sendall(self, data: Any) -> None:
        """As long as the peer takes something, it may take its time."""
        self.socket.settimeout(self.context.settings.send_timeout)
        view = memoryview(data)
        try:
            while view:
                view = view[self.socket.send(view) :]
        except TimeoutError:
            self.close_connection = True
            raise PeerStalled("the peer does not take the response") from None
        except OSError as error:
            self.close_connection = True
            self.status = f"socket error: {error}"
            raise
        self.response_length += len(data)

    def _log_error(self, kind: Any, error: Any, traceback: Any) -> None:
        self.close_connection = True
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            get_hub().handle_error(None, *sys.exc_info())
        elif not isinstance(error, (GreenletExit, PeerStalled)) and not self._exchange.is_taken:
            self.context.report_error(error)

    def log_error(self, msg: str, *args: Any) -> None:
        """What a peer has done wrong: it must not be able to fill a log."""


class Exchange:
    """One request and its answer on a connection that is borrowed from an engine."""

    __slots__ = ("_descriptor", "_started", "context", "handed", "head", "server", "service", "socket")

    def __init__(self, service: WsgiService, context: Context, server: Any, handed: Handed) -> None:
        self._started = time.monotonic()
        self.service = service
        self.context = context
        self.server = server
        self.handed = handed
        sock = handed.sock
        self._descriptor: int = sock.fileno()
        self.head = handed.octets[: handed.octets.index(b"\r\n\r\n") + 4]
        self.socket: Any
        if hasattr(sock, "ssl_object"):
            from lws_gevent.tls_blocking import BlockingTransport

            self.socket = BlockingTransport(sock)
        else:
            self.socket = socket.socket(sock.family, sock.type, sock.proto, fileno=sock.detach())

    @property
    def is_taken(self) -> bool:
        """Whether somebody has taken the connection over."""
        return bool(self.socket.fileno() != self._descriptor)

    def _log(self, handler: _Handler, stream: _Stream) -> None:
        """The line of this request in the access log."""
        log = self.context.access_log
        if log is None:
            return
        request = self.handed.request
        status = 101 if self.is_taken else abs(handler.code or 0)
        try:
            log.write(
                self.handed.client,
                request.method,
                request.target,
                request.version_minor,
                status,
                0,
                stream.received,
                handler.response_length,
                self._started,
            )
        except Exception as error:
            self.context.report_error(error)

    def run(self) -> tuple[Any, bytes | None]:
        """See `WsgiService.serve`."""
        stream = _Stream(self.socket, self.handed.octets, self.context.settings.idle_timeout)
        reader: Any = io.BufferedReader(stream)
        handler = _Handler(self, self.server, reader)
        try:
            again = handler.handle_one_request()
        except BaseException:
            self.socket.close()
            raise
        self._log(handler, stream)
        if self.is_taken:
            self.socket.close()
            return None, None
        if isinstance(again, tuple):
            handler.close_connection = True  # cannot be: our own parser has taken the head
        keep = again is True and not handler.close_connection and not self.service.stopping
        rest = stream.rest(reader) if keep else None
        sock = self.handed.sock
        if hasattr(sock, "ssl_object"):
            try:
                self.socket.flush()
            except OSError:
                self.socket.close()
                return None, None
            self.socket.release()
        else:
            sock.__init__(self.socket.family, self.socket.type, self.socket.proto, fileno=self.socket.detach())
            sock.setblocking(False)
        return sock, rest
