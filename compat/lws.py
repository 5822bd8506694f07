"""node-lws: ``lws.Server`` with its camelCase names, and ``lws.wsServer``, its interface in the manner of ws.

Where node-lws was unsafe this is not: a socket that is used after its close raises `lws_gevent.ConnectionClosed`
instead of ending the process, a message may be kept, a prepared buffer need not be sent, and every server has listeners
of its own. ``path`` is the path of the URL; compression is off unless asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import lws_gevent
from lws_gevent.compat.ws import WebSocket, WebSocketServer
from lws_gevent.compat.ws import net as ws_net
from lws_gevent.compat.ws.buffer_util import toBuffer

__all__ = ["Server", "wsServer"]


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda capital: f"_{capital[0].lower()}", name)


class Server:
    """``new lws.Server(options)``: listens on ``port`` at once; without one it takes what `handleUpgrade` brings.

    `options`, a dict with the names of node-lws or keywords: ``port``, ``host``, ``path``, ``keepAliveTime``,
    ``keepAliveInterval``, ``keepAliveRetry``, ``bufferSize``, ``perMessageDeflate``, ``ssl`` (paths: ``key``, ``cert``,
    ``ca``, ``ciphers``, ``rejectUnauthorized``), and every other option of `lws_gevent.Server` in camelCase.

    Events: ``'upgrade'`` (socket, headers), ``'connection'`` (socket), ``'message'`` (socket, message, binary,
    remainingBytes; the message is bytes, of a text too), ``'close'`` (socket), ``'http'`` (socket, request),
    ``'error'`` (error). The program goes on with ``gevent.wait()``, or `serve_forever`.
    """

    def __init__(self, options: Mapping[str, Any] | None = None, **keywords: Any) -> None:
        given = {**(options or {}), **keywords}
        for name in ("perMessageDeflate", "ssl"):
            if isinstance(given.get(name), Mapping):
                given[name] = {_snake(key): value for key, value in given[name].items()}
        #: The server of lws_gevent behind it.
        self.core = lws_gevent.Server(given)
        self._error: OSError | None = None
        if self.core.settings.port is not None:
            try:
                self.core.start()
            except OSError as error:
                self._error = error
        # Verbs that are the core's own, without a detour.
        self.send = self.core.send
        self.setUserData = self.core.set_user_data
        self.getUserData = self.core.get_user_data
        self.getFd = self.core.get_fd
        self.sendPrepared = self.core.send_prepared

    @property
    def port(self) -> int | None:
        """The port on which it listens."""
        return self.core.port

    def on(self, event: str, listener: Callable[..., Any]) -> None:
        """Calls `listener` for every `event`. A server that could not listen calls one for ``'error'`` at once."""
        if self._error is not None:
            if event == "error":
                listener(*(self._error,)[: _arity(listener)])
            return
        if event == "message":
            arity = _arity(listener)

            def message(socket: Any, data: str | bytes, binary: bool, remaining: int) -> Any:
                octets = data if isinstance(data, bytes) else data.encode("utf-8")
                return listener(*(socket, octets, binary, remaining)[:arity])

            self.core.on("message", message)
        elif event == "close":
            arity = min(1, _arity(listener))
            self.core.on("close", lambda socket: listener(*(socket,)[:arity]))
        else:
            self.core.on(event, listener)

    def sendFragment(self, socket: lws_gevent.Socket, piece: Any, binary: bool, remainingBytes: int) -> bool:
        """Sends a message piece by piece; the last piece with `remainingBytes` 0."""
        return self.core.send_fragment(socket, toBuffer(piece), remainingBytes == 0, binary)

    def prepareBuffer(self, message: Any) -> lws_gevent.Prepared:
        """Encodes a message once, for any number of `sendPrepared`."""
        return self.core.prepare_buffer(message)

    def handleUpgrade(self, socket: Any, request: Any, head: bytes = b"") -> lws_gevent.Socket | None:
        """Imports a connection whose upgrade request another server has read; None when that cannot be. `request` is
        one of `lws_gevent.compat.ws`, or anything that `lws_gevent.Server.handle_upgrade` takes. Neither ``'upgrade'``
        nor ``'connection'`` is emitted."""
        if not isinstance(socket, ws_net.Socket):
            return self.core.handle_upgrade(socket, request, head)
        imported = self.core.handle_upgrade(socket.raw, request.headers, head)
        if imported is not None:
            socket._detach()
            if socket._ended is not None:
                socket._ended()  # the other server has nothing more to do with it
        return imported

    def close(self, socket: lws_gevent.Socket | None = None) -> None:
        """Closes a connection, after what was sent to it; ``'close'`` is not emitted. Without a socket: no more
        connections are accepted."""
        self.core.close(socket)

    def serve_forever(self) -> None:
        """Waits, until the server is stopped."""
        self.core.serve_forever()

    def stop(self, timeout: float | None = None) -> None:
        """As `lws_gevent.Server.stop`."""
        self.core.stop(timeout)


def _arity(listener: Callable[..., Any]) -> int:
    from lws_gevent.compat.ws.emitter import positional

    return positional(listener)


class wsServer(WebSocketServer):
    """``lws.wsServer``: a `WebSocketServer` of ws that can also broadcast."""

    def broadcast(self, message: Any, options: Mapping[str, Any] | None = None, **keywords: Any) -> None:
        """Sends a message to all open connections, encoded once for all that the core carries. Option ``binary``: by
        type, str is text."""
        binary = {**(options or {}), **keywords}.get("binary")
        if binary is None:
            binary = not isinstance(message, str)
        if self._core is not None:
            octets = toBuffer(message)
            self._core.server.broadcast(octets, bool(binary))
        for client in self.clients or ():
            streamed = client._receiver is not None  # the core does not know it
            if streamed and client.readyState == WebSocket.OPEN:
                client.send(message, {"binary": binary})
