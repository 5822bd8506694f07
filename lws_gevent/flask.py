"""WebSockets in Flask (layer 4), within a handler, middleware or worker of `lws_gevent`.

Werkzeug 2 and newer do not find a route for a request that asks for an upgrade, unless the route says
``websocket=True``: the client gets 400, whatever the server is. `websocket_route` says it; `PlainRoutes` makes it
unnecessary, for applications that were written before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from lws_gevent.errors import ConnectionClosed

__all__ = ["PlainRoutes", "websocket_route"]

View = Callable[..., object]


def websocket_route(app: Any, rule: str, **options: Any) -> Callable[[View], View]:
    """Decorates a view of `app`, a Flask application or Blueprint, for the WebSockets at `rule`; `options` are those of
    ``app.route``.

    The view is called with the ``wsgi.websocket`` of the request and the variables of the rule, in the request's
    greenlet. When it returns, the connection closes with 1000, when it raises, with 1011; that the client has left, by
    ``ConnectionClosed``, is no error. What it returns means nothing.
    """

    def decorate(view: View) -> View:
        @functools.wraps(view)
        def answer(*args: Any, **values: Any) -> str:
            from flask import request

            websocket = request.environ.get("wsgi.websocket")
            if websocket is None:
                raise RuntimeError("there is no handler, middleware or worker of lws_gevent around this application")
            with suppress(ConnectionClosed):
                view(websocket, *args, **values)
            return ""

        app.route(rule, websocket=True, **options)(answer)
        return view

    return decorate


class PlainRoutes:
    """A WSGI application around that of Flask, ``app.wsgi_app = PlainRoutes(app.wsgi_app)``: routes without
    ``websocket=True`` are found for WebSockets, too, as they were by Werkzeug 1; those with it no longer are.

    The application sees a request that does not ask for an upgrade, but has a ``wsgi.websocket``. Not for Socket.IO,
    which looks at the header itself.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serves one request."""
        if environ.get("wsgi.websocket") is not None:
            environ = {name: value for name, value in environ.items() if name != "HTTP_UPGRADE"}
        return self._application(environ, start_response)
