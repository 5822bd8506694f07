"""A WSGI application in blocking style under gevent.pywsgi: a greenlet for each WebSocket, which may wait for messages.

python examples/wsgi_websocket.py [PORT], then connect to ws://127.0.0.1:3000/; every message is answered with the
number of its words, and after "bye" the connection is closed. A framework around it, such as Flask or Bottle, changes
nothing: it hands the environ through.
"""

import sys
from collections.abc import Callable, Iterable
from typing import Any

from gevent import pywsgi

from lws_gevent.wsgi import WebSocketHandler


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    websocket = environ.get("wsgi.websocket")
    if websocket is None:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"Here is a WebSocket.\n"]
    for message in websocket:
        if message == "bye":
            break
        websocket.send(f"{len(message.split())} words")
    return []


if __name__ == "__main__":
    server = pywsgi.WSGIServer(
        ("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 3000),
        application,
        handler_class=WebSocketHandler,
        log=None,
    )
    server.start()
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
