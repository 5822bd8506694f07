"""Applications by path."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lws_gevent import wsgi
from lws_gevent.compat.geventwebsocket.exceptions import WebSocketError
from lws_gevent.compat.geventwebsocket.handler import Upgrading
from lws_gevent.compat.geventwebsocket.protocols.base import BaseProtocol

__all__ = ["Resource", "WebSocketApplication"]


class WebSocketApplication:
    """One connection: subclass it, and override ``on_open``, ``on_message`` and ``on_close``."""

    protocol_class: type[BaseProtocol] = BaseProtocol

    def __init__(self, ws: Any) -> None:
        self.protocol = self.protocol_class(self)
        self.ws = ws

    def handle(self) -> None:
        """Serves the connection until its end. Then ``on_message`` gets None, and ``on_close`` is called."""
        self.protocol.on_open()
        while True:
            try:
                message = self.ws.receive()
            except WebSocketError:
                self.protocol.on_close()
                break
            self.protocol.on_message(message)

    def on_open(self, *args: Any, **kwargs: Any) -> None:
        """The connection is open."""

    def on_close(self, *args: Any, **kwargs: Any) -> None:
        """The connection has ended."""

    def on_message(self, message: Any, *args: Any, **kwargs: Any) -> None:
        """A message has come, str or bytearray; None: the connection has ended. Unless overridden, it is sent back."""
        if message is not None:
            self.ws.send(message, **kwargs)

    @classmethod
    def protocol_name(cls) -> str:
        """The subprotocol."""
        return cls.protocol_class.PROTOCOL_NAME


class Resource:
    """A WSGI application that calls others: `apps` are pairs of a regular expression for the path, and a subclass of
    `WebSocketApplication` or a WSGI application, or a mapping of them. The first that fits is called; none: 404.

    It needs no handler, middleware or worker of this package: within one of `lws_gevent.wsgi` or `lws_gevent.gunicorn`
    it gives its applications gevent-websocket's interface by itself, and ``ws.handler.server.clients`` are its own."""

    def __init__(self, apps: Iterable[tuple[str, Any]] | Mapping[str, Any] | None = None) -> None:
        self.apps: Any = list(apps.items() if isinstance(apps, Mapping) else apps or ())
        self._upgrading = Upgrading(self)

    def _is_websocket_app(self, app: Any) -> bool:
        return isinstance(app, type) and issubclass(app, WebSocketApplication)

    def _app_by_path(self, environ_path: str, is_websocket_request: bool) -> Any:
        for path, app in self.apps:
            if re.match(path, environ_path) and is_websocket_request == self._is_websocket_app(app):
                return app
        return None

    def app_protocol(self, path: str) -> str:
        """The subprotocol of the application for WebSockets at `path`; "": none."""
        app = self._app_by_path(path, True)
        return str(app.protocol_name()) if hasattr(app, "protocol_name") else ""

    def serves_websocket(self, path: str) -> bool:
        """Whether there is an application for WebSockets at `path`; asked before a handshake is answered."""
        return self._app_by_path(path, True) is not None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Serves one request."""
        websocket = environ.get("wsgi.websocket")
        if isinstance(websocket, wsgi.WebSocket):  # not accepted yet, and with the interface of lws_gevent
            return self._upgrading(environ, start_response)
        app = self._app_by_path(environ["PATH_INFO"], websocket is not None)
        if app is None:
            if websocket is not None:
                raise Exception("No apps defined")
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"Not Found\n"]
        if websocket is None:
            return app(environ, start_response)
        current_app = app(websocket)
        current_app.ws = websocket
        current_app.handle()
        return []
