"""Node's ``http.Server``, as far as WebSocket servers need it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gevent
from gevent import socket as gsocket
from gevent.server import StreamServer

from lws_gevent.compat.ws.buffer_util import toBuffer
from lws_gevent.compat.ws.emitter import EventEmitter, trimmed
from lws_gevent.compat.ws.errors import WSError
from lws_gevent.compat.ws.http_parser import isUpgrade, parseRequest, readHead
from lws_gevent.compat.ws.message import IncomingMessage, statusPhrase
from lws_gevent.compat.ws.net import Socket, socketError
from lws_gevent.compat.ws.ticks import nextTick
from lws_gevent.compat.ws.tls import serverContext

__all__ = ["HttpServer", "ServerResponse", "createServer"]

#: A client has so many seconds for the head of its request.
_HEAD_TIMEOUT = 60

_DEFAULT_BACKLOG = 511


class ServerResponse:
    """The answer to a plain request; the connection ends after it."""

    def __init__(self, socket: Socket, method: str) -> None:
        self._socket = socket
        self._method = method
        self.statusCode = 200
        self._headers: dict[str, str] = {}
        self._sent = False

    def writeHead(self, statusCode: int, headers: Mapping[str, Any] | None = None) -> ServerResponse:
        """Sets the status and header fields."""
        self.statusCode = statusCode
        for name, value in (headers or {}).items():
            self.setHeader(name, value)
        return self

    def setHeader(self, name: str, value: Any) -> None:
        """Sets one header field. ValueError for a character that would end it."""
        text = str(value)
        if "\r" in text + name or "\n" in text + name:
            raise ValueError(f"a header field has a character that HTTP does not allow: {name}")
        self._headers[name] = text

    def end(self, body: Any = b"") -> None:
        """Sends it."""
        if self._sent:
            return
        self._sent = True
        octets = toBuffer(body)
        headers = {"Content-Length": str(len(octets)), **self._headers, "Connection": "close"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {self.statusCode} {statusPhrase(self.statusCode)}\r\n{lines}\r\n"
        self._socket.end(head.encode("latin-1") + (b"" if self._method == "HEAD" else octets))


class _Acceptor(StreamServer):
    """Leaves the connections to those who have them when the greenlet that has accepted them ends."""

    def do_close(self, *_: Any) -> None:
        """Nothing."""


class HttpServer(EventEmitter):
    """An HTTP server that hands upgrade requests over: ``'listening'``, ``'connection'`` (socket), ``'request'``
    (request, response), ``'upgrade'`` (request, socket, head), ``'error'`` (error), ``'close'``.

    With a ``cert`` in its `options` it speaks TLS: ``key``, ``cert``, ``ca`` (paths, or PEM), ``requestCert``,
    ``rejectUnauthorized``; or with a ``context``, a ``gevent.ssl.SSLContext``.
    """

    def __init__(
        self, options: Mapping[str, Any] | None = None, requestListener: Callable[..., Any] | None = None
    ) -> None:
        super().__init__()
        self._context = serverContext(options or {})
        self._server: _Acceptor | None = None
        self._connections = 0
        self._closing = False
        self.listening = False
        if requestListener is not None:
            self.on("request", requestListener)

    def listen(self, port: Any = 0, host: Any = None, backlog: Any = None, callback: Any = None) -> HttpServer:
        """Binds to a port, or to the path of a unix socket, and accepts; ``'listening'`` or ``'error'`` tells.
        Functions among the arguments are listeners for ``'listening'``."""
        given = [argument for argument in (port, host, backlog, callback) if not callable(argument)]
        for argument in (port, host, backlog, callback):
            if callable(argument):
                self.once("listening", argument)
        port, host, backlog = (*given, None, None, None)[:3]
        try:
            listener = _listener(0 if port is None else port, host, backlog or _DEFAULT_BACKLOG)
        except OSError as error:
            nextTick(self.emit, "error", socketError(error))
            return self
        self._server = _Acceptor(listener, self._accepted)
        self._server.start()
        self.listening = True
        nextTick(self.emit, "listening")
        return self

    def address(self) -> dict[str, Any] | str | None:
        """``address``, ``family`` and ``port``; the path of a unix socket; None when it does not listen."""
        if self._server is None:
            return None
        name = self._server.socket.getsockname()
        if isinstance(name, (str, bytes)):
            return name if isinstance(name, str) else name.decode()
        family = "IPv6" if self._server.socket.family == gsocket.AF_INET6 else "IPv4"
        return {"address": name[0], "family": family, "port": name[1]}

    def close(self, callback: Callable[..., Any] | None = None) -> HttpServer:
        """Stops to accept; ``'close'`` when all its connections have ended, those that became WebSockets too."""
        if callback is not None:
            if self._server is None:
                nextTick(trimmed, callback, WSError("Server is not running.", "ERR_SERVER_NOT_RUNNING"))
            else:
                self.once("close", callback)
        if self._server is not None:
            server, self._server = self._server, None
            self.listening = False
            self._closing = True
            server.close()
            self._close_when_empty()
        return self

    def _close_when_empty(self) -> None:
        if self._closing and not self._connections:
            self._closing = False
            nextTick(self.emit, "close")

    def _accepted(self, raw: Any, _address: Any) -> None:
        """The greenlet of a connection, until its request is known."""
        self._connections += 1
        socket = None
        try:
            if self._context is not None:
                with gevent.Timeout(_HEAD_TIMEOUT):
                    raw = self._context.wrap_socket(raw, server_side=True)
            socket = Socket(raw)
            socket._ended = self._connection_ended
            self.emit("connection", socket)
            self._serve(socket)
        except (OSError, gevent.Timeout):
            if socket is None:
                raw.close()
                self._connection_ended()
            else:
                socket.destroy()

    def _connection_ended(self) -> None:
        self._connections -= 1
        self._close_when_empty()

    def _serve(self, socket: Socket) -> None:
        try:
            with gevent.Timeout(_HEAD_TIMEOUT):
                read = readHead(socket.raw)
            if read is None:
                socket.destroy()
                return
            method, url, version, fields = parseRequest(read[0])
        except WSError as error:
            status = 431 if error.code == "HPE_HEADER_OVERFLOW" else 400
            socket.end(f"HTTP/1.1 {status} {statusPhrase(status)}\r\nConnection: close\r\n\r\n")
            socket.resume()
            return
        request = IncomingMessage(socket, fields, version)
        request.method, request.url = method, url
        if isUpgrade(request.headers) and self.listenerCount("upgrade"):
            self.emit("upgrade", request, socket, read[1])
            return
        socket.unshift(read[1])
        response = ServerResponse(socket, method)
        if not self.emit("request", request, response):
            response.writeHead(404).end()
        socket.on("data", lambda _chunk: None)  # a body that nobody wants, and the end


def _listener(port: Any, host: Any, backlog: int) -> Any:
    """A listening socket: any IPv6 address when there is IPv6 and no host is given, as Node does it."""
    if isinstance(port, str) and not port.isdigit():
        sock = gsocket.socket(gsocket.AF_UNIX, gsocket.SOCK_STREAM)
        address: Any = port
    else:
        if host is None and gsocket.has_ipv6:
            try:
                return _bound(gsocket.socket(gsocket.AF_INET6, gsocket.SOCK_STREAM), ("::", int(port)), backlog)
            except OSError as error:
                if error.errno is None or isinstance(error, PermissionError) or "Address already" in str(error):
                    raise
        found = gsocket.getaddrinfo(host or "0.0.0.0", int(port), type=gsocket.SOCK_STREAM, flags=gsocket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        sock = gsocket.socket(family, gsocket.SOCK_STREAM)
    return _bound(sock, address, backlog)


def _bound(sock: Any, address: Any, backlog: int) -> Any:
    try:
        if sock.family == gsocket.AF_INET6:
            sock.setsockopt(gsocket.IPPROTO_IPV6, gsocket.IPV6_V6ONLY, int(address[0] != "::"))
        if sock.family != gsocket.AF_UNIX:
            sock.setsockopt(gsocket.SOL_SOCKET, gsocket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def createServer(
    options: Mapping[str, Any] | Callable[..., Any] | None = None, requestListener: Callable[..., Any] | None = None
) -> HttpServer:
    """``http.createServer``, and ``https.createServer`` when `options` have a ``cert``. Plain HTTP is answered by
    `requestListener`."""
    if callable(options):
        return HttpServer(None, options)
    return HttpServer(options, requestListener)
