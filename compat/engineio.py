"""python-engineio, and so python-socketio and Flask-SocketIO, with ``async_mode="gevent"`` on lws_gevent: `install`.

By itself engineio decides by whether ``geventwebsocket`` can be imported what its WebSockets are, and then insists on
the one server that fits. After `install` it takes what is there: the ``wsgi.websocket`` of a handler, middleware or
worker of `lws_gevent`, with this or gevent-websocket's interface, and without any of them the connection itself, under
gevent.pywsgi and gunicorn's gevent workers. Nothing needs monkey-patching.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import gevent

import lws_gevent
from lws_gevent import wsgi

__all__ = ["WebSocketWSGI", "install"]

#: hub -> the largest message -> the server of connections that no handler, middleware or worker has taken
_servers: weakref.WeakKeyDictionary[Any, dict[int, lws_gevent.Server]] = weakref.WeakKeyDictionary()

#: engineio's default.
_LARGEST = 1_000_000

#: What engineio would use itself, for the WebSockets of gevent-websocket proper.
_original: Any = None


class WebSocketWSGI:
    """What engineio makes for each request for a WebSocket, and calls. `handler` is called with this object, and runs
    until the connection is over. `server` is engineio's; its older releases give none."""

    def __init__(self, handler: Callable[[Any], Any], *server: Any) -> None:
        self.app = handler
        self._server = server
        self._timeout: float | None = None
        self._socket: Any = None

    @property
    def _sock(self) -> WebSocketWSGI:
        return self  # where engineio looks for `settimeout`

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serves the request. It gives no list: engineio would make a response of that, and the request has its own."""
        around = environ.get("wsgi.websocket")
        if isinstance(around, wsgi.WebSocket):
            self._socket = around if around.accepted else around.accept()
            self.app(self)
            return ()
        if around is not None:
            # gevent-websocket's interface, which has answered the handshake: that of `compat`, or itself.
            self._socket = getattr(around, "connection", None)
            if self._socket is None:
                return _original(self.app, *self._server)(environ, start_response)  # type: ignore[no-any-return]
            self.app(self)
            return ()
        try:
            largest = self._server[0].max_http_buffer_size if self._server else _LARGEST
            socket = _server_for(largest).accept(environ, start_response)
        except lws_gevent.HandshakeError as refused:
            start_response(f"{refused.status} Refused", list(refused.headers.items()))
            return (refused.body,)
        self._socket = socket
        with socket:
            self.app(self)
        return ()

    def wait(self) -> str | bytes | None:
        """The next message; None when the connection is over. TimeoutError: see `settimeout`."""
        try:
            return self._socket.recv(self._timeout)  # type: ignore[no-any-return]
        except lws_gevent.ConnectionClosed:
            return None

    def send(self, message: str | bytes) -> None:
        """Sends a message; `lws_gevent.ConnectionClosed`: the connection is over."""
        self._socket.send(message)

    def close(self) -> None:
        """Closes the connection, if it is open."""
        with contextlib.suppress(lws_gevent.ConnectionClosed):
            self._socket.close()

    def settimeout(self, timeout: float | None) -> None:
        """How many seconds `wait` waits at most: engineio's ``ping_interval`` and ``ping_timeout`` together."""
        self._timeout = timeout


def install() -> None:
    """From now on every engineio server with ``async_mode="gevent"`` uses `WebSocketWSGI`; call it anywhere before
    connections come, but behind the `install` of `lws_gevent.compat.geventwebsocket` if that is used too. RuntimeError:
    this release of python-engineio is not understood. Calling it again does nothing."""
    global _original
    from engineio.async_drivers import gevent as driver

    parts = getattr(driver, "_async", None)
    if not isinstance(parts, dict) or "websocket" not in parts:
        raise RuntimeError("this release of python-engineio has no place for another WebSocket")
    if parts["websocket"] is not WebSocketWSGI:
        _original, parts["websocket"] = parts["websocket"], WebSocketWSGI


def _server_for(max_payload: int) -> lws_gevent.Server:
    servers = _servers.setdefault(gevent.get_hub(), {})
    if max_payload not in servers:
        servers[max_payload] = lws_gevent.Server(max_payload=max_payload)  # engineio pings by itself
    return servers[max_payload]
