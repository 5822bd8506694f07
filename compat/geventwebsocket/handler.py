"""From a request to a WebSocket."""

from __future__ import annotations

import logging
from collections.abc import Callable, ItemsView, Iterable, Iterator, MutableMapping, ValuesView
from typing import Any

from gevent import pywsgi

from lws_gevent import wsgi
from lws_gevent.compat.geventwebsocket._connection_socket import ConnectionSocket
from lws_gevent.compat.geventwebsocket.exceptions import WebSocketError
from lws_gevent.compat.geventwebsocket.logging import create_logger
from lws_gevent.compat.geventwebsocket.websocket import WebSocket

__all__ = ["Client", "Clients", "Upgrading", "WebSocketHandler", "WebSocketMiddleware"]

Environ = dict[str, Any]


class Client:
    """One of ``server.clients``; programs set attributes on it."""

    def __init__(self, address: Any, ws: Any) -> None:
        self.address = address
        self.ws = ws


class Clients(MutableMapping[Any, Any]):
    """``server.clients``: a `Client` for each open WebSocket, by the address of its peer; made when it is touched.

    Iterating goes over those that were there at its beginning, so others may come and go meanwhile.
    """

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[Any, Any] = {}

    def __getitem__(self, address: Any) -> Any:
        return _client(address, self._entries[address])

    def __setitem__(self, address: Any, client: Any) -> None:
        self._entries[address] = client

    def __delitem__(self, address: Any) -> None:
        del self._entries[address]

    def __contains__(self, address: object) -> bool:
        return address in self._entries

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def values(self) -> ValuesView[Any]:
        """The clients."""
        return dict(self._snapshot()).values()

    def items(self) -> ItemsView[Any, Any]:
        """The addresses and clients."""
        return dict(self._snapshot()).items()

    def _snapshot(self) -> list[tuple[Any, Any]]:
        return [(address, _client(address, entry)) for address, entry in self._entries.items()]


def _client(address: Any, entry: Any) -> Any:
    if not isinstance(entry, WebSocket):
        return entry
    if entry._client is None:
        entry._client = Client(address, entry)
    return entry._client


class _Upgrade:
    """What the handlers of gevent.pywsgi and of the middleware have in common."""

    SUPPORTED_VERSIONS = ("13",)
    GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    #: What stands in ``environ["wsgi.websocket"]``.
    websocket_class: type[WebSocket] = WebSocket

    server: Any
    environ: Any
    application: Any
    client_address: Any
    websocket: Any = None
    _key: Any = None

    @property
    def logger(self) -> logging.Logger:
        """That of the server, which gets one if it has none."""
        if not hasattr(self.server, "logger"):
            self.server.logger = create_logger(__name__)
        return self.server.logger  # type: ignore[no-any-return]

    @property
    def active_client(self) -> Any:
        """The `Client` of this connection."""
        return self.server.clients[self._key]

    def upgrade_websocket(self) -> Any:
        """Answers the handshake if the request asks for a WebSocket; then there is ``self.websocket``."""
        if isinstance(self.environ.get("wsgi.websocket"), wsgi.WebSocket):
            return self.upgrade_connection()
        return None

    def upgrade_connection(self) -> Any:
        """Answers the handshake. `lws_gevent.HandshakeError`, which is to be let out: it is refused."""
        connection = self.environ["wsgi.websocket"]
        subprotocol = None
        if hasattr(self.application, "app_protocol"):
            offered = self.environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", "").split(",")
            named = self.application.app_protocol(self.environ.get("PATH_INFO", ""))
            subprotocol = named if named and named in [name.strip() for name in offered] else None
        connection.accept(subprotocol)
        self.websocket = self.websocket_class(self.environ, None, self)
        self.environ["wsgi.websocket"] = self.websocket

    def run_websocket(self) -> None:
        """Calls the application with the WebSocket, until it returns."""
        websocket, environ = self.websocket, self.environ
        if not hasattr(self.server, "clients"):
            self.server.clients = Clients()
        clients = self.server.clients
        # Those of a unix socket have no address, and behind a proxy two may have the same.
        key = self.client_address
        self._key = key = key if key and key not in clients else (key, id(websocket))
        clients[key] = websocket if isinstance(clients, Clients) else Client(key, websocket)

        def start_response(status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], Any]:
            if status.startswith("5") and not websocket.closed:
                websocket.close(1011)  # a framework has caught what its view has raised
            return _ignore

        try:
            result = self.application(environ, start_response)
            try:
                for _ in result or ():
                    pass
            finally:
                if hasattr(result, "close"):
                    result.close()
        except WebSocketError:
            if not websocket.closed:
                raise  # otherwise it is how many loops end
        finally:
            clients.pop(key, None)
            environ["wsgi.websocket"] = None
            self.websocket = None
            websocket._end()

    def _answer(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Calls the application; within `lws_gevent.wsgi`'s middleware or handler, which closes the connection."""
        if not isinstance(environ.get("wsgi.websocket"), wsgi.WebSocket):
            return self.application(environ, start_response)  # type: ignore[no-any-return]
        serves = getattr(self.application, "serves_websocket", None)
        if serves is not None and not serves(environ.get("PATH_INFO", "")):
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"Not Found\n"]
        self.upgrade_websocket()
        if self.websocket is None:
            return self.application(environ, start_response)  # type: ignore[no-any-return]
        self.run_websocket()
        return []

    def _connection_socket(self) -> Any:
        websocket = self.websocket
        if websocket._socket is None:
            websocket._socket = ConnectionSocket(websocket, websocket.connection)
        return websocket._socket


class WebSocketHandler(_Upgrade, wsgi.WebSocketHandler):
    """``handler_class`` for gevent.pywsgi's WSGIServer. A request that asks for a WebSocket becomes one before the
    application is called; `websocket_options` are those of `lws_gevent.wsgi.WebSocketHandler`."""

    def run_application(self) -> None:
        """For pywsgi: has the application answer."""
        if getattr(self, "prevent_wsgi_call", False):
            raise NotImplementedError("prevent_wsgi_call is not supported: override run_websocket")
        hook = getattr(self.server, "pre_start_hook", None)
        if hook and hook(self):
            pywsgi.WSGIHandler.run_application(self)
            return
        self._application, self.application = self.application, self._upgrading
        super().run_application()

    def _upgrading(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.application = self._application
        return self._answer(environ, start_response)

    @property
    def socket(self) -> Any:
        """The socket: pywsgi's own, while there is a WebSocket that of its connection."""
        return self._socket if self.websocket is None else self._connection_socket()

    @socket.setter
    def socket(self, socket: Any) -> None:
        self._socket = socket


class _RequestHandler(_Upgrade):
    """``ws.handler`` where there is none of pywsgi's. `server` has the clients."""

    def __init__(self, server: Any, application: Any, environ: Environ) -> None:
        self.server = server
        self.application = application
        self.environ = environ
        host, port = environ.get("REMOTE_ADDR", ""), str(environ.get("REMOTE_PORT", ""))
        self.client_address = (host, int(port)) if port.isdigit() else host

    @property
    def socket(self) -> Any:
        """The socket of the connection."""
        return None if self.websocket is None else self._connection_socket()


class Upgrading:
    """A WSGI application around `application`, within `lws_gevent.wsgi.WebSocketMiddleware` or
    `lws_gevent.gunicorn.Worker`: a request that asks for a WebSocket becomes one, with gevent-websocket's interface."""

    def __init__(self, application: Any) -> None:
        self.application = application
        #: The open WebSockets by address.
        self.clients = Clients()

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serves one request."""
        return _RequestHandler(self, self.application, environ)._answer(environ, start_response)


class WebSocketMiddleware(wsgi.WebSocketMiddleware):
    """gevent-websocket's interface for plain gevent.pywsgi and ``gunicorn -k gevent``; the arguments are those of
    `lws_gevent.wsgi.WebSocketMiddleware`."""

    def __init__(self, application: Any, **options: Any) -> None:
        super().__init__(Upgrading(application), **options)


def _ignore(data: bytes) -> None:
    pass
