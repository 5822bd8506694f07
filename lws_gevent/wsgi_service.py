"""The WSGI application beside the WebSockets of a server (layer 2): the option ``wsgi``.

The engine has read a request head and judged it strictly; one that is none of ours comes here with its connection. It
is answered by gevent.pywsgi's handler, in a greenlet that may block; then the connection goes back to the engine, which
reads the next head. So no request is parsed by a lenient parser first, and an idle connection costs what one of the
engine's does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import gevent
from gevent import getcurrent
from gevent.event import Event

from lws_gevent.handshake import Request

if TYPE_CHECKING:
    from lws_gevent.context import Context
    from lws_gevent.engines.interface import Engine

__all__ = ["Handed", "WsgiService"]

#: How long `shutdown` waits for applications that it has killed.
_KILL_SECONDS = 1.0


class Handed(NamedTuple):
    """A connection that an engine hands over: `sock` is the service's from here on, `octets` are all that was received
    from the beginning of `request`, whose head is at most part of them; `peer` has sent it on behalf of `client`."""

    sock: Any
    request: Request
    octets: bytes
    peer: Any
    client: Any


class WsgiService:
    """Answers requests by `application`. One per server; belongs to the hub of its connections."""

    __slots__ = ("_active", "_application", "_changed", "_context", "_server", "_where", "stopping")

    #: Whether good opening handshakes may be taken, too.
    takes_upgrades = False

    def __init__(self, context: Context, application: Callable[..., Any], where: Callable[[], Any]) -> None:
        """`where`: tells the address on which the server listens. Makes no hub."""
        self._context = context
        self._application = application
        self._where = where
        self._server: Any = None
        self._active: dict[Any, Any] = {}  # greenlet -> its socket
        self._changed: Event | None = None
        #: No connection is kept alive any more.
        self.stopping = False

    def takes(self, request: Request) -> bool:
        """Whether `request` is for the application: no upgrade, or a good one on another path than ours."""
        path = self._context.settings.path
        return request.upgrade_status == 0 or (
            request.upgrade_status == 101 and path is not None and request.path != path
        )

    def begin(self, engine: Engine, handed: Handed) -> None:
        """Has a greenlet of its own answer the request, which gives the connection back to `engine` afterwards."""
        greenlet = gevent.Greenlet(self._run, engine, handed)
        self._active[greenlet] = handed.sock
        greenlet.rawlink(self._ended)
        greenlet.start()

    def _run(self, engine: Any, handed: Handed) -> None:
        sock, octets = self.serve(handed)
        if sock is not None:
            engine.take_back(sock, handed.peer, octets)

    def _ended(self, greenlet: Any) -> None:
        """In the hub: one that was killed before it began still has its socket."""
        sock = self._active.pop(greenlet, None)
        if sock is not None:
            sock.close()
        if self._changed is not None:
            self._changed.set()

    def serve(self, handed: Handed) -> tuple[Any, bytes | None]:
        """Answers one request in the calling greenlet. The socket, and the octets that came behind the request, or None
        when the connection has to end; ``(None, None)`` when the application has taken it over."""
        from lws_gevent.wsgi_handler import Exchange  # gevent.pywsgi is for those alone who use it

        if self._server is None:
            from lws_gevent.wsgi_handler import make_server

            self._server = make_server(
                self._application, self._where(), "http" if self._context.settings.ssl is None else "https"
            )
        me = getcurrent()
        exchange = Exchange(self, self._context, self._server, handed)
        self._active[me] = exchange.socket
        try:
            return exchange.run()
        finally:
            self._active.pop(me, None)
            if self._changed is not None:
                self._changed.set()

    def shutdown(self, timeout: float) -> None:
        """Waits until the running requests are answered, at most `timeout` seconds; then kills what is left, but for
        the calling greenlet."""
        self.stopping = True
        me = getcurrent()
        self._wait(me, timeout)
        for greenlet in list(self._active):
            if greenlet is not me:
                gevent.kill(greenlet)
        self._wait(me, _KILL_SECONDS)

    def _wait(self, me: Any, timeout: float) -> None:
        due = time.monotonic() + timeout
        while any(greenlet is not me for greenlet in self._active):
            left = due - time.monotonic()
            if left <= 0:
                break
            self._changed = Event()
            self._changed.wait(left)
        self._changed = None

    def abandon(self) -> list[Any]:
        """After a fork, in the child: forgets all requests; their sockets."""
        sockets = [sock for sock in self._active.values() if sock.fileno() >= 0]
        self._active = {}
        return sockets
