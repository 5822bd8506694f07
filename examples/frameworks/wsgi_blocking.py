"""A WSGI application whose WebSockets block: each has a greenlet, which waits for messages.

python examples/frameworks/wsgi_blocking.py [PORT], or from examples/frameworks one of
    gunicorn -k lws_gevent.gunicorn.Worker wsgi_blocking:app
    gunicorn -k gevent wsgi_blocking:application
then connect to ws://127.0.0.1:3000/echo. Messages come back; after "bye" the connection is closed.
"""

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from gevent import pywsgi

from lws_gevent import ConnectionClosed
from lws_gevent.wsgi import WebSocket, WebSocketHandler, WebSocketMiddleware


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/echo" and "wsgi.websocket" in environ:
        echo(environ["wsgi.websocket"])
        return []
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"There is a WebSocket at /echo.\n"]


def echo(websocket: WebSocket) -> None:
    with suppress(ConnectionClosed):  # the client may leave at any time
        for message in websocket:
            if message == "bye":
                websocket.close(4000, "bye")
            websocket.send(message)


application = WebSocketMiddleware(app)  # where neither a handler nor a worker knows of WebSockets


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    server = pywsgi.WSGIServer(("127.0.0.1", port), app, handler_class=WebSocketHandler, log=None)
    server.start()
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
