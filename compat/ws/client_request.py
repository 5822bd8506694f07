"""Node's ``http.ClientRequest``, as far as an opening handshake needs it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

import gevent
from gevent import socket as gsocket
from gevent.event import AsyncResult, Event

from lws_gevent.compat.ws.emitter import EventEmitter
from lws_gevent.compat.ws.errors import WSError, WSTypeError
from lws_gevent.compat.ws.http_parser import MAX_HEAD, parseResponse, readHead
from lws_gevent.compat.ws.message import IncomingMessage
from lws_gevent.compat.ws.net import Socket, socketError
from lws_gevent.compat.ws.ticks import nextTick
from lws_gevent.compat.ws.tls import clientContext

__all__ = ["ClientRequest"]

_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}(?=[ \t;]|\Z)")


class ClientRequest(EventEmitter):
    """A GET request: ``'socket'`` (socket), ``'upgrade'`` (response, socket, head) for a 101, ``'response'``
    (response), ``'timeout'``, ``'error'`` (error). It connects at once; it is sent at `end`.

    `options`: those of Node's ``http.request``: ``host``, ``port``, ``path``, ``socketPath``, ``headers``, ``auth``,
    ``secure``, ``timeout`` (milliseconds), ``createConnection``, ``lookup``, ``family``, ``localAddress``,
    ``servername`` and what `tls.clientContext` takes.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.options = options
        self.path: str = options.get("path") or "/"
        self.aborted = False
        #: The response, when there is one.
        self.res: IncomingMessage | None = None
        self.socket: Socket | None = None
        self._headers: dict[str, tuple[str, str]] = {}
        self._ended = Event()
        for name, value in (options.get("headers") or {}).items():
            if value is not None:
                self.setHeader(name, value)
        if self.getHeader("host") is None:
            self.setHeader("Host", _host(options))
        if options.get("auth") and self.getHeader("authorization") is None:
            credentials = base64.b64encode(options["auth"].encode("utf-8")).decode("ascii")
            self.setHeader("Authorization", f"Basic {credentials}")
        self._greenlet = gevent.spawn(self._run)

    # --- header fields ----------------------------------------------------------------------------------------------

    def getHeader(self, name: str) -> str | None:
        """The value of a header field that is going to be sent; None without."""
        found = self._headers.get(name.lower())
        return None if found is None else found[1]

    def setHeader(self, name: str, value: Any) -> None:
        """Sets a header field. WSTypeError for a character that HTTP does not allow."""
        text = str(value)
        if any(character in text + name for character in "\r\n\0"):
            raise WSTypeError(f'Invalid character in header content ["{name}"]', "ERR_INVALID_CHAR")
        self._headers[name.lower()] = (name, text)

    def removeHeader(self, name: str) -> None:
        """The header field is not sent."""
        self._headers.pop(name.lower(), None)

    # --- its life ---------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Sends it, as soon as there is a connection."""
        self._ended.set()

    def abort(self) -> None:
        """Ends the connection; ``'error'`` if there was no response yet."""
        self.destroy()

    def destroy(self, error: BaseException | None = None) -> None:
        """Ends the connection, for `error`."""
        if self.aborted:
            return
        self.aborted = True
        if self.socket is not None and not self.socket.destroyed:
            self.socket.destroy()
        if self.res is None:
            if self._greenlet is not gevent.getcurrent():
                self._greenlet.kill(block=False)
            nextTick(self._fail, error or _hang_up())

    def _fail(self, error: BaseException) -> None:
        if self.listenerCount("error"):
            self.emit("error", socketError(error))

    def _run(self) -> None:
        """The greenlet of the request, until the head of the response is there."""
        timeout = self.options.get("timeout")
        limit = gevent.Timeout.start_new(timeout / 1000) if timeout else None
        try:
            response, head = self._exchange()
        except gevent.Timeout as expired:
            if expired is not limit:
                raise
            self.emit("timeout")
            return
        except (OSError, WSError, UnicodeError) as error:
            if not self.aborted:
                if self.socket is not None:
                    self.socket.destroy()
                self._fail(error)
            return
        finally:
            if limit is not None:
                limit.close()
        self.res = response
        if response.statusCode == 101:
            self.emit("upgrade", response, self.socket, head)
        else:
            response._body = lambda message: _read_body(message, head)
            self.emit("response", response)

    def _exchange(self) -> tuple[IncomingMessage, bytes]:
        socket = self.socket = Socket()
        self.emit("socket", socket)
        if self.aborted:
            raise _hang_up()
        raw = self._connect()
        if isinstance(raw, Socket):
            socket = self.socket = raw
        else:
            socket.raw = raw
            socket.connecting = False
        if socket.destroyed:
            raw.close()
            raise _hang_up()
        socket.emit("connect")
        self._ended.wait()
        lines = "".join(f"{name}: {value}\r\n" for name, value in self._headers.values())
        socket.raw.sendall(f"GET {self.path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))
        while True:
            read = readHead(socket.raw)
            if read is None:
                raise _hang_up()
            status, phrase, version, fields = parseResponse(read[0])
            if status >= 200 or status == 101:
                break
        response = IncomingMessage(socket, fields, version)
        response.statusCode, response.statusMessage = status, phrase
        return response, read[1]

    def _connect(self) -> Any:
        """A connected socket of gevent."""
        options = self.options
        create = options.get("createConnection")
        if create is not None:
            raw = create(options)
            return raw
        if options.get("socketPath"):
            raw = gsocket.socket(gsocket.AF_UNIX, gsocket.SOCK_STREAM)
            try:
                raw.connect(options["socketPath"])
            except BaseException:
                raw.close()
                raise
            return raw
        raw = self._connect_tcp()
        if not options.get("secure"):
            return raw
        try:
            context = clientContext(options)
            servername = options.get("servername")
            if servername is None:
                servername = options["host"]
            if not servername:
                context.check_hostname = False
            return context.wrap_socket(raw, server_hostname=servername or None)
        except BaseException:
            raw.close()
            raise

    def _connect_tcp(self) -> Any:
        options = self.options
        host, port = options["host"], options["port"]
        if options.get("lookup") is not None:
            found: AsyncResult[Any] = AsyncResult()

            def looked_up(error: BaseException | None = None, address: Any = None, _family: Any = None) -> None:
                if error is None:
                    found.set(address)
                else:
                    found.set_exception(error)

            options["lookup"](host, {"family": options.get("family") or 0}, looked_up)
            host = found.get()
        source = (options["localAddress"], 0) if options.get("localAddress") else None
        if options.get("family") in (4, 6):
            family = gsocket.AF_INET if options["family"] == 4 else gsocket.AF_INET6
            host = gsocket.getaddrinfo(host, port, family, gsocket.SOCK_STREAM)[0][4][0]
        return gsocket.create_connection((host, port), source_address=source)


def _hang_up() -> WSError:
    return WSError("socket hang up", "ECONNRESET")


def _host(options: Mapping[str, Any]) -> str:
    if options.get("socketPath"):
        return "localhost"
    host = options["host"]
    host = f"[{host}]" if ":" in host else host
    return host if options["port"] == options.get("defaultPort") else f"{host}:{options['port']}"


def _read_body(message: IncomingMessage, octets: bytes) -> None:
    """Emits the body of a response; what cannot be read any more ends it."""
    length = message.headers.get("content-length", "")
    try:
        if "chunked" in message.headers.get("transfer-encoding", "").lower():
            _read_chunks(message, octets)
        elif length.isdigit():
            _pass_on(message, octets, int(length))
        else:  # up to the end of the connection
            while True:
                message.emit("data", octets or _receive(message))
                octets = b""
    except (OSError, EOFError, AttributeError, ValueError):
        pass  # aborted, or broken: this was all


def _receive(message: IncomingMessage) -> bytes:
    octets: bytes = message.socket.raw.recv(64 * 1024)
    if not octets:
        raise EOFError
    return octets


def _pass_on(message: IncomingMessage, octets: bytes, size: int) -> bytes:
    """Emits `size` octets, as they come; those that are there behind them."""
    while size:
        octets = octets or _receive(message)
        piece, octets = octets[:size], octets[size:]
        size -= len(piece)
        message.emit("data", piece)
    return octets


def _read_chunks(message: IncomingMessage, octets: bytes) -> None:
    """RFC 9112 section 7.1."""
    while True:
        while b"\r\n" not in octets:
            if len(octets) > MAX_HEAD:
                raise ValueError("the line of a chunk is too long")
            octets += _receive(message)
        line, _, octets = octets.partition(b"\r\n")
        size = _CHUNK_SIZE.match(line)
        if size is None:
            raise ValueError("the size of a chunk is no number")
        if not int(size[0], 16):
            return
        octets = _pass_on(message, octets, int(size[0], 16))
        while len(octets) < 2:
            octets += _receive(message)
        if octets[:2] != b"\r\n":
            raise ValueError("a chunk is longer than it says")
        octets = octets[2:]
