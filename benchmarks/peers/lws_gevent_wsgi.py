"""lws_gevent in a WSGI application, under gevent.pywsgi or gunicorn, in one of three styles.

blocking: ``environ["wsgi.websocket"]``; callback: ``server.accept(environ)``; compat: gevent-websocket's own interface.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

import lws_gevent
from lws_gevent import wsgi
from lws_gevent.compat.geventwebsocket import handler as geventwebsocket

server = lws_gevent.Server(ping_interval=20, ping_timeout=20)  # as those of wsgi.websocket are made


@server.on("message")
def message(socket: lws_gevent.Socket, message: str | bytes, binary: bool) -> None:
    server.send(socket, message, binary)


def callback(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    server.accept(environ, start_response)
    return []


def blocking(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    socket = environ["wsgi.websocket"]
    for message in socket:
        socket.send(message)
    return []


def compat(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    socket = environ["wsgi.websocket"]
    while (message := socket.receive()) is not None:
        socket.send(message, binary=isinstance(message, (bytes, bytearray)))
    return []


def _under_pywsgi(style: str, port: int) -> None:
    from common import announce, listen
    from gevent.pywsgi import WSGIServer

    handler: Any = wsgi.WebSocketHandler if style != "compat" else geventwebsocket.WebSocketHandler
    listener = listen(port)
    serving = WSGIServer(listener, globals()[style], handler_class=handler, log=None, error_log=None)
    announce(listener.getsockname()[1])
    serving.serve_forever()


def _under_gunicorn(style: str, port: int) -> None:
    from common import BACKLOG, announce
    from gunicorn.app.base import BaseApplication

    class Application(BaseApplication):  # type: ignore[misc]
        def load_config(self) -> None:
            self.cfg.set("bind", f"127.0.0.1:{port}")
            self.cfg.set("backlog", BACKLOG)
            self.cfg.set("worker_class", "lws_gevent.gunicorn.Worker")
            self.cfg.set("loglevel", "warning")
            if "control_socket_disable" in self.cfg.settings:  # of new releases; it would lie in the home directory
                self.cfg.set("control_socket_disable", True)
            self.cfg.set("post_worker_init", lambda worker: announce(worker.sockets[0].getsockname()[1]))

        def load(self) -> Any:
            return globals()[style]

    Application().run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--style", choices=("blocking", "callback", "compat"), default="blocking")
    parser.add_argument("--gunicorn", action="store_true")
    arguments = parser.parse_args()
    (_under_gunicorn if arguments.gunicorn else _under_pywsgi)(arguments.style, arguments.port)


main()
