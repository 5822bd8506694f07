"""A WSGI application under gevent.pywsgi that hands its WebSocket requests to a lws_gevent server without a port.

python examples/wsgi_callbacks.py [PORT], then connect to ws://127.0.0.1:3000/room/tea; http://127.0.0.1:3000/ tells who
is there. The greenlet of each request ends at once: a connection that is idle costs no greenlet.
"""

import sys
from collections.abc import Callable, Iterable
from typing import Any

from gevent import pywsgi

import lws_gevent

server = lws_gevent.Server()


@server.on("message")
def message(socket: lws_gevent.Socket, message: str | bytes, binary: bool) -> None:
    server.publish(socket.data, message, binary)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path.startswith("/room/"):
        try:
            socket = server.accept(environ, start_response)
        except lws_gevent.HandshakeError as refused:
            start_response(f"{refused.status} Refused", list(refused.headers.items()))
            return [refused.body]
        socket.data = path.removeprefix("/room/")
        server.subscribe(socket, socket.data)
        socket.send(f"welcome to {socket.data}")
        return []
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{len(server.connections)} connected\n".encode()]


if __name__ == "__main__":
    wsgi_server = pywsgi.WSGIServer(
        ("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 3000), application, log=None
    )
    wsgi_server.start()
    print(f"listening on http://127.0.0.1:{wsgi_server.server_port}/", flush=True)
    wsgi_server.serve_forever()
