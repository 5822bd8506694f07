"""gevent-websocket on gevent.pywsgi."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from common import announce, listen, parse_arguments
from gevent.pywsgi import WSGIServer
from geventwebsocket.exceptions import WebSocketError
from geventwebsocket.handler import WebSocketHandler
from geventwebsocket.websocket import WebSocket

connections: set[WebSocket] = set()


def echo(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    socket = environ["wsgi.websocket"]
    try:
        while (message := socket.receive()) is not None:
            socket.send(message, binary=isinstance(message, (bytes, bytearray)))
    except WebSocketError:
        pass
    return []


def broadcast(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    socket = environ["wsgi.websocket"]
    connections.add(socket)
    try:
        while (message := socket.receive()) is not None:
            for receiver in list(connections):
                receiver.send(message, binary=isinstance(message, (bytes, bytearray)))
    except WebSocketError:
        pass
    finally:
        connections.discard(socket)
    return []


def main() -> None:
    arguments = parse_arguments("gevent-websocket on gevent.pywsgi")
    listener = listen(arguments.port)
    application = broadcast if arguments.broadcast else echo
    server = WSGIServer(listener, application, handler_class=WebSocketHandler, log=None, error_log=None)
    announce(listener.getsockname()[1])
    server.serve_forever()


main()
