"""A WSGI application that hands its WebSockets to a `Server`: the request ends at once, an idle one needs no greenlet.

python examples/frameworks/wsgi_callback.py [PORT], or from examples/frameworks one of
    gunicorn -k lws_gevent.gunicorn.Worker wsgi_callback:app
    gunicorn -k gevent wsgi_callback:app
then connect to ws://127.0.0.1:3000/echo. Messages come back; after "bye" the connection is closed. No handler and no
middleware is needed, and the view of any framework may do the same with its environ.
"""

import sys
from collections.abc import Callable, Iterable
from typing import Any

from gevent import pywsgi

import lws_gevent

websockets = lws_gevent.Server(ping_interval=20, ping_timeout=20)


@websockets.on("message")
def message(socket: lws_gevent.Socket, message: str | bytes) -> None:
    if message == "bye":
        socket.close(4000, "bye")
    else:
        socket.send(message)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/echo":
        try:
            websockets.accept(environ, start_response)
        except lws_gevent.HandshakeError as refused:  # such as 426: a request that is no upgrade
            start_response(f"{refused.status} Refused", list(refused.headers.items()))
            return [refused.body]
        return []
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"There is a WebSocket at /echo.\n"]


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    server = pywsgi.WSGIServer(("127.0.0.1", port), app, log=None)
    server.start()
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
