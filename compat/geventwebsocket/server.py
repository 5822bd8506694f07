"""A WSGI server with WebSockets."""

from __future__ import annotations

import logging
from typing import Any

from gevent.pywsgi import WSGIServer

from lws_gevent.compat.geventwebsocket.handler import Clients, WebSocketHandler
from lws_gevent.compat.geventwebsocket.logging import create_logger

__all__ = ["WebSocketServer"]


class WebSocketServer(WSGIServer):
    """gevent.pywsgi's server with a `WebSocketHandler`. `debug`: everything is logged; `pre_start_hook` is called with
    the handler of each request, and a true result means that the request becomes no WebSocket."""

    handler_class = WebSocketHandler
    debug_log_format = "-" * 80 + "\n%(levelname)s in %(module)s [%(pathname)s:%(lineno)d]:\n%(message)s\n" + "-" * 80

    def __init__(self, *args: Any, debug: bool = False, pre_start_hook: Any = None, **kwargs: Any) -> None:
        self.debug = debug
        self.pre_start_hook = pre_start_hook
        self._logger: logging.Logger | None = None
        #: The open WebSockets by address.
        self.clients = Clients()
        super().__init__(*args, **kwargs)

    @property
    def logger(self) -> logging.Logger:
        """For the handlers."""
        if self._logger is None:
            self._logger = create_logger(__name__, self.debug, self.debug_log_format)
        return self._logger
