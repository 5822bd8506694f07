"""Upgrade requests of servers that are none of this package: gevent.pywsgi's, and lws_gevent's own."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary, ref

from gevent.event import Event
from gevent.pywsgi import WSGIServer

import lws_gevent
from lws_gevent.compat.ws.emitter import EventEmitter
from lws_gevent.compat.ws.http_parser import isUpgrade
from lws_gevent.compat.ws.message import IncomingMessage
from lws_gevent.compat.ws.net import Socket

__all__ = ["CoreUpgrades", "WsgiUpgrades", "foreign_server", "upgrades"]


class WsgiUpgrades(EventEmitter):
    """Emits ``'upgrade'`` (request, socket, head) for the upgrade requests of a WSGIServer, as Node's server does;
    all else goes to its application. The socket must be answered or ended by a listener."""

    def __init__(self, server: WSGIServer) -> None:
        super().__init__()
        self.wsgi_server = server
        server.handler_class = _handler_class(server.handler_class, self)

    def address(self) -> Any:
        """``address``, ``family`` and ``port`` of the WSGIServer."""
        return _address(self.wsgi_server)


class CoreUpgrades(EventEmitter):
    """Emits ``'upgrade'`` (request, socket, head) for the upgrade requests of a `lws_gevent.Server`, as Node's server
    does, when there is a listener; all else stays with it."""

    def __init__(self, server: lws_gevent.Server) -> None:
        super().__init__()
        self._core = ref(server)  # which has us: see _core_upgrades
        server.take_requests(self._takes, self._serve)

    def address(self) -> Any:
        """``address``, ``family`` and ``port`` of the server."""
        return _address(self._core())

    def _takes(self, request: lws_gevent.Request) -> bool:
        return request.upgrade_status != 0 and bool(self.listenerCount("upgrade"))

    def _serve(self, sock: Any, request: lws_gevent.Request, octets: bytes) -> None:
        socket = Socket(sock)
        fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
        message = IncomingMessage(socket, fields, f"1.{request.version_minor}")
        message.method, message.url = request.method, request.target
        self.emit("upgrade", message, socket, octets[octets.index(b"\r\n\r\n") + 4 :])


#: Of servers of the core: they know nothing of compat. None may refer to its server, which would stay for ever then.
_core_upgrades: WeakKeyDictionary[Any, CoreUpgrades] = WeakKeyDictionary()


def upgrades(server: Any) -> Any:
    """What emits ``'upgrade'`` for a WSGIServer or a `lws_gevent.Server`, one and the same for all who ask."""
    if isinstance(server, lws_gevent.Server):
        if server not in _core_upgrades:
            _core_upgrades[server] = CoreUpgrades(server)
        return _core_upgrades[server]
    found: WsgiUpgrades | None = getattr(server.handler_class, "lws_upgrades", None)
    if found is None or found.wsgi_server is not server:
        found = WsgiUpgrades(server)
    return found


def foreign_server(server: Any) -> Any:
    """What emits ``'upgrade'`` for the option ``server``."""
    return upgrades(server) if isinstance(server, (WSGIServer, lws_gevent.Server)) else server


def _address(server: Any) -> Any:
    address = getattr(server, "address", None)
    if not isinstance(address, tuple):
        return address
    return {"address": address[0], "family": "IPv6" if ":" in address[0] else "IPv4", "port": address[1]}


def _handler_class(base: Any, emitter: WsgiUpgrades) -> Any:
    class UpgradeHandler(base):  # type: ignore[misc]
        """A handler that gives upgrade requests away."""

        lws_upgrades = emitter

        def handle_one_response(self) -> None:
            request = _request_of(self)
            if not isUpgrade(request.headers) or not emitter.listenerCount("upgrade"):
                super().handle_one_response()
                return
            self.close_connection = True
            socket = Socket(self.socket)
            request.socket = socket
            head = _read_already(self)
            over = Event()
            socket._ended = over.set
            emitter.emit("upgrade", request, socket, head)
            # The socket is closed when this greenlet leaves; what somebody has taken over does not need it any more.
            if socket.raw is not None:
                over.wait()

    return UpgradeHandler


def _request_of(handler: Any) -> IncomingMessage:
    fields = [tuple(line.rstrip("\r\n").split(":", 1)) for line in str(handler.headers).splitlines() if ":" in line]
    request = IncomingMessage(None, [(name, value.strip()) for name, value in fields], handler.request_version[-3:])
    request.method, request.url = handler.command, handler.path
    return request


def _read_already(handler: Any) -> bytes:
    """What the server has received behind the request; nothing is waited for."""
    sock = handler.socket
    timeout = sock.gettimeout()
    sock.settimeout(0.0)
    try:
        octets: bytes = handler.rfile.peek()
        handler.rfile.read(len(octets))
    except (BlockingIOError, OSError):
        return b""
    finally:
        sock.settimeout(timeout)
    return octets or b""
