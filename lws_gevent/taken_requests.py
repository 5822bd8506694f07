"""Requests that somebody else takes, with their connections, from a server (layer 2): ``Server.take_requests``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gevent import getcurrent
from gevent import socket as gevent_socket

from lws_gevent.handshake import Request
from lws_gevent.wsgi_service import Handed, WsgiService

__all__ = ["TakenRequests"]

Takes = Callable[[Request], object]
Serve = Callable[[Any, Request, bytes], object]


class TakenRequests(WsgiService):
    """Who takes requests, each before the WSGI application of the server, if it has one."""

    __slots__ = ("_takers",)

    takes_upgrades = True

    def __init__(self, context: Any, application: Callable[..., Any] | None, where: Callable[[], Any]) -> None:
        super().__init__(context, application, where)  # type: ignore[arg-type]
        self._takers: list[tuple[Takes, Serve]] = []

    def add(self, takes: Takes, serve: Serve) -> None:
        """See `Server.take_requests`."""
        self._takers.append((takes, serve))

    def takes(self, request: Request) -> bool:
        """Whether somebody wants this request."""
        if any(takes(request) for takes, _ in self._takers):
            return True
        return self._application is not None and super().takes(request)

    def serve(self, handed: Handed) -> tuple[Any, bytes | None]:
        """Has the first one who wants the request serve it, in the calling greenlet; else the application."""
        serve = next((serve for takes, serve in self._takers if takes(handed.request)), None)
        if serve is None:
            return super().serve(handed)
        sock = handed.sock
        sock = gevent_socket.socket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        me = getcurrent()
        self._active[me] = sock
        try:
            serve(sock, handed.request, handed.octets)
        finally:
            self._active.pop(me, None)
            if self._changed is not None:
                self._changed.set()
        return None, None
