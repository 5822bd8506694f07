"""``gunicorn -k geventwebsocket.gunicorn.workers.GeventWebSocketWorker``.

As in `lws_gevent.gunicorn`, gunicorn's master imports this, before monkey-patching in the workers.
"""

from __future__ import annotations

from typing import Any

from gunicorn.workers.ggevent import GeventWorker

from lws_gevent.gunicorn import Worker

__all__ = ["GeventWebSocketWorker"]


class _Serving(GeventWorker):  # type: ignore[misc]
    """The application is called as gevent-websocket would."""

    wsgi: Any

    def load_wsgi(self) -> None:
        super().load_wsgi()
        from lws_gevent.compat.geventwebsocket.handler import Upgrading

        self.wsgi = Upgrading(self.wsgi)


class GeventWebSocketWorker(Worker, _Serving):
    """`lws_gevent.gunicorn.Worker`, whose applications find gevent-websocket's interface in ``wsgi.websocket``."""
