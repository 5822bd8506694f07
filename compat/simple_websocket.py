"""The interface of simple-websocket (1.1), on gevent: `Server`, `Client`, their exceptions; so flask-sock runs on it.

Either import from here, or call `install` once, anywhere before connections come. There is no thread for each
connection, nothing needs monkey-patching, and what a client sends right behind its handshake is not lost. The
asynchronous classes are not here.
"""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import gevent

import lws_gevent
from lws_gevent import wsgi

__all__ = ["Client", "ConnectionClosed", "ConnectionError", "Server", "SimpleWebsocketError", "install"]

#: hub -> (ping_interval, max_message_size) -> the server of such connections
_servers: weakref.WeakKeyDictionary[Any, dict[Any, lws_gevent.Server]] = weakref.WeakKeyDictionary()


class SimpleWebsocketError(RuntimeError):
    """Base of the exceptions here."""


class ConnectionError(SimpleWebsocketError):
    """The handshake failed; ``status_code`` is the HTTP status."""

    def __init__(self, status_code: int | None = None) -> None:
        self.status_code = status_code
        super().__init__(f"Connection error: {status_code}")


class ConnectionClosed(SimpleWebsocketError):  # noqa: N818 - the original's name
    """The connection has ended; ``reason`` is the close code (RFC 6455 section 7.4), ``message`` what came with it."""

    def __init__(self, reason: int = 1005, message: str | None = None) -> None:
        self.reason = reason
        self.message = message
        super().__init__(f"Connection closed: {int(reason)} {message or ''}")


class Base:
    """What both ends have in common."""

    _socket: lws_gevent.Socket | None = None

    def __init__(self, socket: lws_gevent.Socket) -> None:
        self._socket = socket
        self._closed: ConnectionClosed | None = None
        #: The subprotocol that was agreed.
        self.subprotocol = socket.subprotocol
        self._hub = gevent.get_hub()

    @property
    def connected(self) -> bool:
        """Whether messages can be sent."""
        return self._socket is not None and self._socket.ready_state == lws_gevent.ReadyState.OPEN

    @property
    def sock(self) -> lws_gevent.Socket | None:
        """The connection, as `lws_gevent` has it."""
        return self._socket

    @property
    def close_reason(self) -> int:
        """The close code, 1005 before there is one."""
        return 1005 if self._closed is None else self._closed.reason

    @property
    def close_message(self) -> str | None:
        """What came with the close code."""
        return None if self._closed is None else self._closed.message

    def send(self, data: Any) -> None:
        """Sends a message, a binary one if `data` is bytes; blocks while the peer is slow. ConnectionClosed: the
        connection has ended."""
        try:
            self._open().send(bytes(data) if isinstance(data, (bytes, bytearray, memoryview)) else str(data))
        except lws_gevent.ConnectionClosed as error:
            raise self._ended(error) from None

    def receive(self, timeout: float | None = None) -> str | bytes | None:
        """The next message, str or bytes; None when none has come in `timeout` seconds (None: wait for ever).
        ConnectionClosed: the connection has ended, and all messages were received."""
        try:
            return self._open().recv(timeout)
        except TimeoutError:
            return None
        except lws_gevent.ConnectionClosed as error:
            raise self._ended(error) from None

    def close(self, reason: int | None = None, message: str | None = None) -> None:
        """Closes the connection with that code (1000 unless given) and text. ConnectionClosed: it has ended."""
        try:
            self._open().close(reason or 1000, message or "")
        except lws_gevent.ConnectionClosed as error:
            raise self._ended(error) from None
        self._closed = ConnectionClosed(reason or 1000, message)

    def _open(self) -> lws_gevent.Socket:
        if self._closed is not None or self._socket is None:
            raise ConnectionClosed(self.close_reason, self.close_message)
        return self._socket

    def _ended(self, error: lws_gevent.ConnectionClosed) -> ConnectionClosed:
        self._closed = ConnectionClosed(error.code, error.reason or None)
        return self._closed

    def __del__(self) -> None:
        # The view that had it has raised, and the framework has caught that: nobody can close it any more.
        if self._socket is not None and not self._socket.closed and self._closed is None:
            with contextlib.suppress(Exception):  # the interpreter, or the hub, may be ending
                self._hub.loop.run_callback_threadsafe(_abandon, self._socket)


def _abandon(socket: lws_gevent.Socket) -> None:
    if not socket.closed:
        socket.close(1011)


class Server(Base):
    """The connection of a WSGI request, under gevent.pywsgi or one of gunicorn's gevent workers.

    The handshake is answered with the first subprotocol of the client that is in `subprotocols`. The client is pinged
    after `ping_interval` seconds of silence, and the connection ends when it does not answer in as many; None: what the
    handler or middleware around says, without one no pings. `max_message_size` likewise, without one 16 MiB. What
    remains is accepted and means nothing.
    """

    def __init__(
        self,
        environ: dict[str, Any],
        subprotocols: str | Iterable[str] | None = None,
        receive_bytes: int = 4096,
        ping_interval: float | None = None,
        max_message_size: int | None = None,
        thread_class: Any = None,
        event_class: Any = None,
        selector_class: Any = None,
    ) -> None:
        self.environ = environ
        self.subprotocols = [subprotocols] if isinstance(subprotocols, str) else list(subprotocols or ())
        # flask-sock ends its response as `mode` says. Within a handler or middleware of ours there is nothing to do.
        around = environ.get("wsgi.websocket")
        self.mode = "gunicorn" if around is None and "gunicorn.socket" in environ else "gevent"
        offered = environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", "").split(",")
        request = SimpleNamespace(subprotocols=[name.strip() for name in offered if name.strip()], environ=environ)
        if isinstance(around, lws_gevent.Socket) or around is None:
            chosen = self.choose_subprotocol(request)
            try:
                if isinstance(around, wsgi.WebSocket) and ping_interval is None and max_message_size is None:
                    socket = around.accept(chosen).socket
                else:
                    socket = _server(ping_interval, max_message_size).accept(environ, subprotocol=chosen)
            except lws_gevent.HandshakeError as error:
                raise ConnectionError(error.status) from error
        else:
            socket = around.connection  # gevent-websocket's interface, which has answered the handshake
        super().__init__(socket)

    @classmethod
    def accept(cls, environ: dict[str, Any], *args: Any, **kwargs: Any) -> Server:
        """Answers the handshake of a request, with the arguments of `Server`. ConnectionError: the handshake was
        refused; RuntimeError: this is no request of a server that is understood."""
        return cls(environ, *args, **kwargs)

    def choose_subprotocol(self, request: Any) -> str | None:
        """The subprotocol for a request with these ``subprotocols``; a subclass may override it."""
        return next((name for name in request.subprotocols if name in self.subprotocols), None)


class Client(Base):
    """A connection to a server; see `connect`."""

    def __init__(
        self,
        url: str,
        subprotocols: str | Iterable[str] | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        receive_bytes: int = 4096,
        ping_interval: float | None = None,
        max_message_size: int | None = None,
        ssl_context: Any = None,
        thread_class: Any = None,
        event_class: Any = None,
    ) -> None:
        self.subprotocols = [subprotocols] if isinstance(subprotocols, str) else list(subprotocols or ())
        options: dict[str, Any] = {"ping_interval": ping_interval, "ping_timeout": ping_interval}
        if max_message_size is not None:
            options["max_payload"] = max_message_size
        try:
            socket = lws_gevent.connect(
                url, subprotocols=self.subprotocols or None, headers=headers, ssl=ssl_context, **options
            )
        except lws_gevent.HandshakeError as error:
            raise ConnectionError(error.status) from error
        super().__init__(socket)

    @classmethod
    def connect(cls, url: str, *args: Any, **kwargs: Any) -> Client:
        """Connects to a ws: or wss: `url`, with the arguments of `Client`. ConnectionError: the server has refused;
        OSError: it cannot be reached."""
        return cls(url, *args, **kwargs)


def _server(ping_interval: float | None, max_message_size: int | None) -> lws_gevent.Server:
    servers = _servers.setdefault(gevent.get_hub(), {})
    key = ping_interval, max_message_size
    if key not in servers:
        options: dict[str, Any] = {"ping_interval": ping_interval, "ping_timeout": ping_interval}
        if max_message_size is not None:
            options["max_payload"] = max_message_size
        servers[key] = lws_gevent.Server(**options)
    return servers[key]


def install() -> None:
    """From now on ``import simple_websocket`` finds this module, whether simple-websocket is installed or not, and
    flask-sock uses it, also if it is imported already."""
    module = sys.modules[__name__]
    for name in ("simple_websocket", "simple_websocket.ws", "simple_websocket.errors"):
        sys.modules[name] = module
    flask_sock: Any = sys.modules.get("flask_sock")
    if flask_sock is not None:
        flask_sock.Server, flask_sock.ConnectionClosed = Server, ConnectionClosed
