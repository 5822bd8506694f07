"""WebSockets in WSGI applications (layer 4): ``environ["wsgi.websocket"]``.

Under gevent.pywsgi use `WebSocketHandler` as ``handler_class``, or put a `WebSocketMiddleware` around the application;
under ``gunicorn -k gevent`` the middleware. The application finds in ``environ["wsgi.websocket"]`` a `WebSocket` when
the request asks for one, which is accepted when it is first used. An application that answers with a normal response
instead does so, and the connection closes behind it.
"""

from __future__ import annotations

import _socket
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gevent import GreenletExit, pywsgi, socket

from lws_gevent.adopting import is_tls
from lws_gevent.engines.interface import Socket
from lws_gevent.errors import ConnectionClosed
from lws_gevent.foreign_request import RAW_HEAD, ParsedHead
from lws_gevent.handshake import parse_token_list
from lws_gevent.server import ACCEPTED, Server
from lws_gevent.wsgi_socket import HANDLER, WsgiSocket, tell_of_upgrade
from lws_gevent.wsgi_upgrade import NO_INPUT, NoLog, RequestFile, fill_environ, message_of, read_upgrade
from lws_gevent.wsgi_websocket import WebSocket

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from lws_gevent.options import ServerOptions

__all__ = ["WebSocket", "WebSocketHandler", "WebSocketMiddleware"]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

#: The options of servers that are made here: half-open connections of applications that only receive must end.
_DEFAULTS: Mapping[str, Any] = {"ping_interval": 20, "ping_timeout": 20}

_LINGER_SECONDS, _LINGER_OCTETS = 2.0, 4 * 1024 * 1024


class _Bridge:
    """Calls applications with WebSockets, which belong to one server."""

    def __init__(self, server: Server | None, options: Mapping[str, Any]) -> None:
        self._server = server
        self._options = options
        self.on_accept: Callable[[], object] | None = None

    @property
    def server(self) -> Server:
        if self._server is None:
            # Not before it is needed: the hub is that of the process and the thread that serves.
            self._server = Server(**{**_DEFAULTS, **self._options})
        return self._server

    def call(self, application: Application, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if not _asks_for_websocket(environ) or "wsgi.websocket" in environ:
            return application(environ, start_response)
        websocket = WebSocket(self._accept, environ)
        environ["wsgi.websocket"] = websocket
        environ["wsgi.websocket_version"] = environ.get("HTTP_SEC_WEBSOCKET_VERSION", "")
        reply = _Reply(websocket, environ, start_response)
        try:
            result = application(environ, reply)
        except BaseException as error:
            return _Listed(reply, reply.failed(error))
        if isinstance(result, (list, tuple)):
            if not reply.is_over:
                return _Listed(reply, result)
            if hasattr(result, "close"):
                result.close()
            reply.finish()
            return []
        return _Iterated(reply, result)

    def _accept(self, environ: Environ, subprotocol: str | None) -> Socket:
        socket = self.server.accept(environ, subprotocol=subprotocol)
        if self.on_accept is not None:
            self.on_accept()
        return socket


class _Reply:
    """What becomes of one request that asks for a WebSocket; for the application, its start_response."""

    __slots__ = ("_environ", "_failed", "_start_response", "_started", "_websocket")

    def __init__(self, websocket: WebSocket, environ: Environ, start_response: StartResponse) -> None:
        self._websocket = websocket
        self._environ = environ
        self._start_response = start_response
        self._started = False
        self._failed = False

    @property
    def is_over(self) -> bool:
        """Whether the connection is no longer the WSGI server's."""
        return self._websocket.accepted or ACCEPTED in self._environ

    def __call__(self, status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Callable[[bytes], Any]:
        """Begins the response, which the WSGI server never hears of when the connection is a WebSocket by then."""
        if self.is_over:
            self._failed = status.startswith("5")  # a framework has caught what its view has raised
            return _forget
        self._started = True
        if not status.startswith("101"):
            # Behind a refused upgrade nothing may be taken for a request: to a proxy it may be a tunnel by now.
            headers = [pair for pair in headers if pair[0].lower() != "connection"] + [("Connection", "close")]
        write: Callable[[bytes], Any] = self._start_response(status, headers, *exc_info)
        return write

    def failed(self, error: BaseException) -> list[bytes]:
        """What is answered when the application has let `error` out; raises it when that is not for us to say."""
        websocket = self._websocket
        if error is websocket.refusal and not self._started:
            headers = [*websocket.refusal.headers.items(), ("Content-Length", str(len(websocket.refusal.body)))]
            self(f"{websocket.refusal.status} {_phrase(websocket.refusal.status)}", headers)
            return [websocket.refusal.body]
        if not websocket.accepted:
            raise error
        if isinstance(error, ConnectionClosed):
            self.finish()
            return []
        with contextlib.suppress(ConnectionClosed):
            websocket.close(1001 if isinstance(error, GreenletExit) else 1011)
        raise error

    def finish(self) -> None:
        """The application has returned, and the connection was a WebSocket: tells the WSGI server, for its log."""
        if self._websocket.accepted and not self._websocket.closed:
            self._websocket.close(1011 if self._failed else 1000)
        if not self._started:
            self._started = True
            tell_of_upgrade(self._start_response)

    def hang_up(self) -> None:
        """The answer is given and was not 101: ends the connection when the client has read it. What it sends is never
        looked at."""
        if self.is_over:
            return
        try:
            taken = WsgiSocket(self._environ).take()
        except (RuntimeError, OSError):
            return  # the WSGI server knows it all, by the header
        if not isinstance(taken, int):
            with contextlib.suppress(OSError):
                taken.shutdown(_socket.SHUT_WR)
            taken.close()
            return
        with socket.socket(fileno=taken) as sock, contextlib.suppress(OSError):
            sock.shutdown(_socket.SHUT_WR)
            due, left = time.monotonic() + _LINGER_SECONDS, _LINGER_OCTETS
            while left > 0 and (seconds := due - time.monotonic()) > 0:
                sock.settimeout(seconds)
                octets = len(sock.recv(64 * 1024))
                if not octets:
                    break
                left -= octets


class _Listed(list[bytes]):
    """A response whose length is known."""

    def __init__(self, reply: _Reply, result: Iterable[bytes]) -> None:
        super().__init__(result)
        self._reply = reply
        self._result = result

    def close(self) -> None:
        """For the WSGI server: everything is written."""
        try:
            if hasattr(self._result, "close"):
                self._result.close()
        finally:
            self._reply.hang_up()


class _Iterated:
    """A response that the application makes while it is sent; it may use the WebSocket meanwhile."""

    def __init__(self, reply: _Reply, result: Iterable[bytes]) -> None:
        self._reply = reply
        self._result = result

    def __iter__(self) -> Iterator[bytes]:
        reply = self._reply
        try:
            for piece in self._result:
                if not reply.is_over:
                    yield piece
        except GeneratorExit:
            raise
        except BaseException as error:
            yield from reply.failed(error)
        else:
            if reply.is_over:
                reply.finish()

    def close(self) -> None:
        """For the WSGI server: everything is written."""
        try:
            if hasattr(self._result, "close"):
                self._result.close()
        finally:
            self._reply.hang_up()


class WebSocketMiddleware:
    """A WSGI application around `application`, in whose environ it puts ``wsgi.websocket``.

    The connections belong to `server`, or else to one that is made with `options` (those of `Server`; ``ping_interval``
    and ``ping_timeout`` are 20 seconds unless given) when it is first needed. For plain gevent.pywsgi and
    ``gunicorn -k gevent``.
    """

    def __init__(
        self, application: Application, *, server: Server | None = None, **options: Unpack[ServerOptions]
    ) -> None:
        _check(server, options)
        self._application = application
        self._bridge = _Bridge(server, options)

    @property
    def server(self) -> Server:
        """The server of the connections; made if there is none yet."""
        return self._bridge.server

    @property
    def on_accept(self) -> Callable[[], object] | None:
        """Called in the greenlet of each request whose handshake was answered by its ``wsgi.websocket``."""
        return self._bridge.on_accept

    @on_accept.setter
    def on_accept(self, function: Callable[[], object] | None) -> None:
        self._bridge.on_accept = function

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serves one request."""
        return self._bridge.call(self._application, environ, start_response)


class WebSocketHandler(pywsgi.WSGIHandler):
    """``handler_class`` for gevent.pywsgi's WSGIServer: puts ``wsgi.websocket`` into the environ.

    The head of a request that asks for a WebSocket is judged by the strict parser, as it was sent. A subclass may set
    `websocket_server` or `websocket_options`, which mean what they mean to `WebSocketMiddleware`.
    """

    #: The server of the connections; None: one is made for each WSGIServer.
    websocket_server: Server | None = None
    #: The options of that server.
    websocket_options: Mapping[str, Any] = {}

    _head: bytes | ParsedHead | None = None
    _message: Any = None
    _called: Any = None

    def __init__(self, sock: Any, address: Any, server: Any, rfile: Any = None) -> None:
        if rfile is None and not is_tls(sock):
            rfile = RequestFile(sock)
        super().__init__(sock, address, server, rfile)  # type: ignore[call-arg]

    @property
    def headers(self) -> Any:
        """For pywsgi: the headers of the request; those of a WebSocket's are made when somebody asks for them."""
        if self._message is None:
            environ: Any = self.environ or {}
            head = self._head or environ.get(RAW_HEAD)
            self._message = message_of(head if isinstance(head, ParsedHead) else None, environ)
        return self._message

    @headers.setter
    def headers(self, message: Any) -> None:
        self._message = message

    def read_request(self, raw_requestline: str) -> Any:
        """For pywsgi: reads and parses the head."""
        rfile: Any = self.rfile
        if type(rfile) is RequestFile and type(self).MessageClass is pywsgi.WSGIHandler.MessageClass:
            head = read_upgrade(rfile, raw_requestline)
            if head is not None:
                self._head, self._message = head, None
                self.requestline = raw_requestline.rstrip()
                self.command, self.path, self.request_version = "GET", head.request.target, "HTTP/1.1"
                self.content_length = None  # type: ignore[assignment]
                self.close_connection = False
                return True
        recorder: Any = _Recorder(rfile)
        self.rfile = recorder
        try:
            return super().read_request(raw_requestline)
        finally:
            self.rfile = rfile
            self._head = raw_requestline.encode("latin-1") + b"".join(recorder.lines)

    def get_environ(self) -> Environ:
        """For pywsgi: the environ of the request."""
        head, self._head = self._head, None
        if isinstance(head, ParsedHead):
            server: Any = self.server
            environ: Environ = fill_environ(server.get_environ(), self, head)
            environ[RAW_HEAD] = head
            return environ
        environ = super().get_environ()
        if _asks_for_websocket(environ):
            environ[RAW_HEAD] = head
            if type(self.rfile) is RequestFile:
                environ[HANDLER] = self
        return environ

    def run_application(self) -> None:
        """For pywsgi: has the application answer."""
        self._called, self.application = self.application, self._bridged  # no closure, no partial: they cost stack
        try:
            super().run_application()
        finally:
            self.application, self._called = self._called, None
            environ: Any = self.environ
            environ.pop(HANDLER, None)

    def _bridged(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.application = self._called
        server: Any = self.server
        bridge = server.__dict__.get("_lws_gevent_bridge")
        if bridge is None:
            bridge = server._lws_gevent_bridge = _Bridge(self.websocket_server, self.websocket_options)
        result: Iterable[bytes] = bridge.call(self._called, environ, start_response)
        return result

    def log_request(self) -> None:
        """For pywsgi: writes a line into the log, if there is one."""
        server: Any = self.server
        if type(server.log) is not NoLog:
            super().log_request()

    def forget_request(self) -> None:
        """The connection is a WebSocket now: gives back what the request was read with."""
        rfile: Any = self.rfile
        rfile.close()  # a copy of the environ may hold it
        self._message, self.wsgi_input = None, NO_INPUT


class _Recorder:
    """A file that remembers the lines that were read."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.lines: list[bytes] = []

    def readline(self, limit: int = -1) -> bytes:
        line: bytes = self._file.readline(limit)
        self.lines.append(line)
        return line


def _check(server: Server | None, options: Mapping[str, Any]) -> None:
    if server is not None and options:
        raise TypeError("give either a server or the options of one, not both")
    if server is None:
        from lws_gevent.options import Settings

        Settings.from_options({**_DEFAULTS, **options})  # what is wrong is said at once


def _asks_for_websocket(environ: Environ) -> bool:
    upgrade = environ.get("HTTP_UPGRADE")
    return (
        upgrade is not None
        and environ["REQUEST_METHOD"] == "GET"
        and (upgrade == "websocket" or "websocket" in [token.lower() for token in parse_token_list(upgrade)])
    )


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Refused"


def _forget(data: bytes) -> None:
    pass
