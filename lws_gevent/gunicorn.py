"""A gunicorn worker that knows of WebSockets (layer 4): ``gunicorn -k lws_gevent.gunicorn.Worker app:app``.

This module is imported in gunicorn's master, before gevent's monkey-patching takes place in the workers: it imports
gunicorn's own gevent worker and nothing else; what serves is imported in the worker.
"""

from __future__ import annotations

import contextlib
import random
import time
from functools import partial
from types import SimpleNamespace
from typing import Any

import gevent
from gevent import getcurrent
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn.sock import ssl_context
from gunicorn.workers.ggevent import GeventWorker

__all__ = ["Worker"]

#: How often gunicorn's master hears that the worker is alive, and how often connections are closed while it drains.
_HEARTBEAT, _STEP = 1.0, 0.1

#: So many connections are closed at once in any case.
_AT_ONCE = 50

#: Less than ``graceful_timeout``, after which the master kills.
_MARGIN = 1.0


def _identity(value: Any) -> Any:
    return value


class Worker(GeventWorker):  # type: ignore[misc]
    """gunicorn's gevent worker, with ``wsgi.websocket`` in the environ of requests that ask for a WebSocket.

    When it has to end (TERM, HUP, ``max_requests``), each client gets a close frame with 1001, those of servers that
    have called ``accept`` too; if they are many, not all in the same moment. A WebSocket does not count against
    ``worker_connections``. A subclass may set the two attributes.
    """

    wsgi: Any

    #: The options of the server that the connections belong to, see `lws_gevent.wsgi.WebSocketMiddleware`.
    websocket_options: dict[str, Any] = {}

    #: Seconds over which the close frames are spread at most, so that not all clients come back at once; None: a
    #: quarter of ``graceful_timeout``, at most 5.
    drain_jitter: float | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._listeners: list[Any] = []
        self._leaving: Any = None
        self._websockets: set[Any] = set()  # greenlets of requests that have become WebSockets

    def load_wsgi(self) -> None:
        """For gunicorn: loads the application, in the worker."""
        super().load_wsgi()
        from lws_gevent.wsgi import WebSocketMiddleware

        self.wsgi = WebSocketMiddleware(self.wsgi, **self.websocket_options)
        self.wsgi.on_accept = self._accepted

    def _accepted(self) -> None:
        """The request of this greenlet has become a WebSocket: it leaves its place to others."""
        me: Any = getcurrent()
        for listener in self._listeners:
            if me in listener.pool:
                listener.pool.discard(me)
                self._websockets.add(me)
                me.rawlink(self._websockets.discard)

    def run(self) -> None:
        """For gunicorn: serves until the worker has to end, then drains."""
        self._leaving = Event()
        if not self.alive:
            self._leaving.set()
        ssl_args = {"ssl_context": ssl_context(self.cfg)} if self.cfg.is_ssl else {}
        for sock in self.sockets:
            sock.setblocking(1)
            # gunicorn asks the listener for its name in each new connection's greenlet: it may be closed by then.
            named = SimpleNamespace(getsockname=partial(_identity, sock.getsockname()))
            handle = partial(self.handle, named)
            listener = StreamServer(sock, handle=handle, spawn=Pool(self.worker_connections), **ssl_args)
            if self.cfg.workers > 1:
                listener.max_accept = 1
            listener.start()
            self._listeners.append(listener)
        while self.alive:
            self.notify()
            self._leaving.wait(_HEARTBEAT)
        self._drain(time.monotonic() + max(self.cfg.graceful_timeout - _MARGIN, _MARGIN / 2))

    # --- ending -------------------------------------------------------------------------------------------------------

    def handle_request(self, *args: Any) -> None:
        """For gunicorn: serves one request, after which ``max_requests`` may be reached."""
        super().handle_request(*args)
        if not self.alive:
            self._leaving.set()

    def handle_exit(self, sig: Any, frame: Any) -> None:
        """For gunicorn, a signal handler: TERM."""
        super().handle_exit(sig, frame)
        if self._leaving is not None:
            gevent.spawn(self._leaving.set)

    def handle_quit(self, sig: Any, frame: Any) -> None:
        """For gunicorn, a signal handler: QUIT and INT, which wait for nobody."""
        gevent.spawn(self._say_goodbye)
        super().handle_quit(sig, frame)

    def _servers(self) -> list[Any]:
        from lws_gevent.server import accepting_servers

        return list(accepting_servers)

    def _say_goodbye(self) -> None:
        for server in self._servers():
            for socket in server.connections:
                server._engine.go_away(socket, 1001)

    def _drain(self, due: float) -> None:
        for listener in self._listeners:
            listener.close()
        self._close_in_turns(due)
        ends = [gevent.spawn(server.stop, max(due - time.monotonic(), 0)) for server in self._servers()]
        while any(not end.ready() for end in ends) or self._is_busy():
            self.notify()
            if time.monotonic() >= due:
                break
            gevent.sleep(_STEP)
        left = [greenlet for listener in self._listeners for greenlet in listener.pool] + list(self._websockets)
        if left:
            self.log.warning("Worker graceful timeout (pid:%s)", self.pid)
            gevent.killall(left, block=False)
        gevent.joinall([*left, *ends], timeout=_MARGIN / 2)

    def _is_busy(self) -> bool:
        return bool(self._websockets) or any(len(listener.pool) for listener in self._listeners)

    def _close_in_turns(self, due: float) -> None:
        """Closes the connections in random order, a part of them at a time."""
        waiting = [(server, socket) for server in self._servers() for socket in server.connections]
        random.shuffle(waiting)
        jitter = self.drain_jitter
        if jitter is None:
            jitter = min(self.cfg.graceful_timeout / 4, 5)
        part = max(_AT_ONCE, int(len(waiting) * _STEP / jitter) + 1) if jitter > 0 else len(waiting)
        while waiting and time.monotonic() < due:
            for server, socket in waiting[:part]:
                with contextlib.suppress(Exception):  # it has ended meanwhile
                    server._engine.go_away(socket, 1001)
            del waiting[:part]
            self.notify()
            if waiting:
                gevent.sleep(_STEP)
