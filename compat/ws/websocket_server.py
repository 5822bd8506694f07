"""The class WebSocketServer."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from lws_gevent.compat.ws import extension, subprotocol
from lws_gevent.compat.ws.client_set import ClientSet
from lws_gevent.compat.ws.constants import CLOSE_TIMEOUT, GUID
from lws_gevent.compat.ws.emitter import EventEmitter, positional, trimmed
from lws_gevent.compat.ws.errors import WSError, WSTypeError
from lws_gevent.compat.ws.foreign_servers import foreign_server
from lws_gevent.compat.ws.http_server import HttpServer
from lws_gevent.compat.ws.links import make_link
from lws_gevent.compat.ws.message import statusPhrase
from lws_gevent.compat.ws.net import isPeerGone
from lws_gevent.compat.ws.permessage_deflate import PerMessageDeflate
from lws_gevent.compat.ws.ticks import nextTick
from lws_gevent.compat.ws.websocket import WebSocket

__all__ = ["WebSocketServer"]

_KEY = re.compile(r"[+/0-9A-Za-z]{22}==")
_VERSION = re.compile(r"\s*0*(8|13)(?:\.0*)?\s*")

_RUNNING = 0
_CLOSING = 1
_CLOSED = 2

_DEFAULTS: dict[str, Any] = {
    "allowSynchronousEvents": True,
    "autoPong": True,
    "maxBufferedChunks": 256 * 1024,
    "maxFragments": 16 * 1024,
    "maxPayload": 100 * 1024 * 1024,
    "maxPendingAutoPongs": 60,
    "skipUTF8Validation": False,
    "perMessageDeflate": False,
    "handleProtocols": None,
    "clientTracking": True,
    "closeTimeout": CLOSE_TIMEOUT,
    "verifyClient": None,
    "noServer": False,
    "backlog": None,
    "server": None,
    "host": None,
    "path": None,
    "port": None,
    "WebSocket": WebSocket,
}


class WebSocketServer(EventEmitter):
    """A WebSocket server: of its own (``port``, ``host``, ``backlog``), on another one (``server``: an `HttpServer`, a
    ``gevent.pywsgi.WSGIServer``, a `lws_gevent.Server`), or on none (``noServer``: requests come by `handleUpgrade`).

    `options`, in a dict, as keywords, or both, are those of ws with the same defaults; `callback` is a listener for
    ``'listening'``. Events: ``'connection'`` (websocket, request), ``'headers'`` (lines, request), ``'listening'``,
    ``'error'`` (error), ``'wsClientError'`` (error, socket, request), ``'close'``. `clients` holds the connections,
    unless ``clientTracking`` is False.
    """

    def __init__(
        self, options: Mapping[str, Any] | None = None, callback: Callable[..., Any] | None = None, **keywords: Any
    ) -> None:
        super().__init__()
        for name in keywords:
            if name not in _DEFAULTS:
                raise TypeError(f"unknown option {name!r}: known are {', '.join(sorted(_DEFAULTS))}")
        merged = {**_DEFAULTS, **(options or {}), **keywords}
        modes = (merged["port"] is not None) + bool(merged["server"]) + bool(merged["noServer"])
        if modes != 1:
            raise WSTypeError('One and only one of the "port", "server", or "noServer" options must be specified')
        if merged["perMessageDeflate"] is True:
            merged["perMessageDeflate"] = {}
        elif merged["perMessageDeflate"] is None:
            merged["perMessageDeflate"] = False
        self.options: dict[str, Any] = merged
        self.clients: ClientSet | None = ClientSet() if merged["clientTracking"] else None
        self._state = _RUNNING
        self._shouldEmitClose = False
        self._server: Any = None
        #: The core's server of its connections, made with the first one.
        self._core: Any = None
        if merged["port"] is not None:
            self._server = HttpServer(None, _upgrade_required)
        elif merged["server"]:
            self._server = foreign_server(merged["server"])
        if self._server is not None:
            self._server.on("listening", self._on_listening)
            self._server.on("error", self._on_error)
            self._server.on("upgrade", self._on_upgrade)
        if merged["port"] is not None:
            if callback is not None:
                self._server.once("listening", callback)
            self._server.listen(merged["port"], merged["host"], merged["backlog"])

    def _on_listening(self) -> None:
        self.emit("listening")

    def _on_error(self, error: BaseException) -> None:
        self.emit("error", error)

    def _on_upgrade(self, request: Any, socket: Any, head: bytes) -> None:
        self.handleUpgrade(
            request, socket, head, lambda websocket, request: self.emit("connection", websocket, request)
        )

    def address(self) -> Any:
        """``address``, ``family`` and ``port`` of the server, or the path of its unix socket; None after `close`.
        WSError with ``noServer``."""
        if self.options["noServer"]:
            raise WSError('The server is operating in "noServer" mode')
        return None if self._server is None else self._server.address()

    # --- closing ----------------------------------------------------------------------------------------------------

    def close(self, cb: Callable[..., Any] | None = None) -> None:
        """Accepts no more; the connections go on. ``'close'`` when all of them have ended; then ``cb()``, or
        ``cb(error)`` when it was closed already."""
        if self._state == _CLOSED:
            if cb is not None:
                error = WSError("The server is not running")
                self.once("close", lambda: trimmed(cb, error))
            nextTick(self._emit_close)
            return
        if cb is not None:
            self.once("close", cb)
        if self._state == _CLOSING:
            return
        self._state = _CLOSING
        server, self._server = self._server, None
        if server is not None:
            server.off("listening", self._on_listening)
            server.off("error", self._on_error)
            server.off("upgrade", self._on_upgrade)
        if self.options["port"] is not None:
            server.close(self._emit_close)
        elif self.clients is not None and self.clients.size:
            self._shouldEmitClose = True
        else:
            nextTick(self._emit_close)

    def _emit_close(self, _error: Any = None) -> None:
        self._state = _CLOSED
        self.emit("close")

    # --- the opening handshake --------------------------------------------------------------------------------------

    def shouldHandle(self, request: Any) -> bool:
        """Whether `request` is for this server: its path is the option ``path``. A subclass may decide otherwise."""
        path = self.options["path"]
        return not path or request.url.partition("?")[0] == path

    def handleUpgrade(self, request: Any, socket: Any, head: bytes, cb: Callable[..., Any]) -> None:
        """Answers an opening handshake (RFC 6455 section 4.2); ``cb(websocket, request)`` when it succeeds.

        `socket` is the stream on which `request` came, `head` what was received behind it. WSError when there is a
        WebSocket on this stream already.
        """
        on_error = socket.destroy
        socket.on("error", on_error)
        headers = request.headers
        version = _VERSION.fullmatch(str(headers.get("sec-websocket-version", "")))
        if request.method != "GET":
            self._refuse(request, socket, 405, "Invalid HTTP method")
        elif str(headers.get("upgrade", "")).lower() != "websocket":
            self._refuse(request, socket, 400, "Invalid Upgrade header")
        elif _KEY.fullmatch(str(headers.get("sec-websocket-key", ""))) is None:
            self._refuse(request, socket, 400, "Missing or invalid Sec-WebSocket-Key header")
        elif version is None:
            message = "Missing or invalid Sec-WebSocket-Version header"
            self._refuse(request, socket, 400, message, {"Sec-WebSocket-Version": "13, 8"})
        elif not self.shouldHandle(request):
            _abort(socket, 400)
        else:
            self._negotiate(request, socket, head, cb, version[1])

    def _negotiate(self, request: Any, socket: Any, head: bytes, cb: Callable[..., Any], version: str) -> None:
        headers = request.headers
        protocols: dict[str, None] = {}
        if "sec-websocket-protocol" in headers:
            try:
                protocols = subprotocol.parse(headers["sec-websocket-protocol"])
            except WSError:
                self._refuse(request, socket, 400, "Invalid Sec-WebSocket-Protocol header")
                return
        extensions: dict[str, PerMessageDeflate] = {}
        own = self.options["perMessageDeflate"]
        if own is not False and "sec-websocket-extensions" in headers:
            name = PerMessageDeflate.extensionName
            deflate = PerMessageDeflate({**own, "isServer": True, "maxPayload": self.options["maxPayload"]})
            try:
                offers = extension.parse(headers["sec-websocket-extensions"])
                if name in offers:
                    deflate.accept(offers[name])
                    extensions[name] = deflate
            except WSError:
                self._refuse(request, socket, 400, "Invalid or unacceptable Sec-WebSocket-Extensions header")
                return

        def complete() -> None:
            self.completeUpgrade(extensions, headers["sec-websocket-key"], protocols, request, socket, head, cb)

        verify = self.options["verifyClient"]
        if verify is None:
            complete()
            return
        info = _Info(
            origin=headers.get("sec-websocket-origin" if version == "8" else "origin"),
            secure=bool(getattr(request.socket, "encrypted", False)),
            req=request,
        )
        if positional(verify) >= 2:

            def verified(accepted: Any = False, code: Any = None, message: Any = None, extra: Any = None) -> None:
                if accepted:
                    complete()
                else:
                    _abort(socket, code or 401, message, extra)

            verify(info, verified)
        elif trimmed(verify, info):
            complete()
        else:
            _abort(socket, 401)

    def completeUpgrade(
        self,
        extensions: dict[str, PerMessageDeflate],
        key: str,
        protocols: dict[str, None],
        request: Any,
        socket: Any,
        head: bytes,
        cb: Callable[..., Any],
    ) -> None:
        """Answers a handshake that was found good, and makes the WebSocket."""
        if getattr(socket, "websocket", None) is not None:
            raise WSError(
                "server.handleUpgrade() was called more than once with the same socket, possibly due to a "
                "misconfiguration"
            )
        raw = getattr(socket, "raw", None)
        if not socket.readable or not socket.writable or (raw is not None and not head and isPeerGone(raw)):
            socket.destroy()
            return
        if self._state > _RUNNING:
            _abort(socket, 503)
            return
        digest = base64.b64encode(hashlib.sha1((key + GUID).encode("latin-1")).digest()).decode("ascii")
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {digest}",
        ]
        websocket = self.options["WebSocket"](None, None, self.options)
        if protocols:
            choose = self.options["handleProtocols"]
            chosen = next(iter(protocols)) if choose is None else trimmed(choose, protocols, request)
            if chosen:
                lines.append(f"Sec-WebSocket-Protocol: {chosen}")
                websocket._protocol = chosen
        deflate = extensions.get(PerMessageDeflate.extensionName)
        if deflate is not None:
            lines.append(
                f"Sec-WebSocket-Extensions: {extension.format({PerMessageDeflate.extensionName: [deflate.params]})}"
            )
            websocket._extensions = extensions
        self.emit("headers", lines, request)
        answer = "\r\n".join([*lines, "\r\n"]).encode("latin-1")
        socket.removeAllListeners("error")
        link = make_link(self, websocket, request, socket, head, answer, self.options)
        if self.clients is not None:
            self.clients.add(websocket)
            websocket._owner = self
        websocket._set_link(link)
        trimmed(cb, websocket, request)

    def _client_closed(self, websocket: WebSocket) -> None:
        """Called before the listeners for its ``'close'``."""
        assert self.clients is not None
        self.clients.delete(websocket)
        if self._shouldEmitClose and not self.clients.size:
            nextTick(self._emit_close)

    def _refuse(
        self, request: Any, socket: Any, code: int, message: str, headers: Mapping[str, Any] | None = None
    ) -> None:
        """The handshake is malformed: ``'wsClientError'``, whose listener answers it; else we do."""
        if self.listenerCount("wsClientError"):
            self.emit("wsClientError", WSError(message), socket, request)
        else:
            _abort(socket, code, message, headers)


class _Info(dict[str, Any]):
    """What `verifyClient` is told: ``origin``, ``secure``, ``req``, as attributes and as items."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def _upgrade_required(_request: Any, response: Any) -> None:
    response.writeHead(426, {"Content-Type": "text/plain"})
    response.end(statusPhrase(426))


def _abort(socket: Any, code: int, message: Any = None, headers: Mapping[str, Any] | None = None) -> None:
    """Answers with an error, and ends the connection."""
    body = (message or statusPhrase(code)).encode("utf-8")
    fields = {"Connection": "close", "Content-Type": "text/html", "Content-Length": len(body), **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    socket.once("finish", socket.destroy)
    socket.end(f"HTTP/1.1 {code} {statusPhrase(code)}\r\n{lines}\r\n".encode("latin-1") + body)
