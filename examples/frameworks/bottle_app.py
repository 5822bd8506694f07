"""Bottle.

python examples/frameworks/bottle_app.py [PORT], or from examples/frameworks one of
    gunicorn -k lws_gevent.gunicorn.Worker bottle_app:app
    gunicorn -k gevent bottle_app:application
then connect to ws://127.0.0.1:3000/echo. Messages come back; after "bye" the connection is closed.
Needs ``pip install bottle``.
"""

import sys
from contextlib import suppress

from bottle import Bottle, abort, request
from gevent import pywsgi

from lws_gevent import ConnectionClosed
from lws_gevent.wsgi import WebSocketHandler, WebSocketMiddleware

app = Bottle()


@app.route("/")
def index() -> str:
    return "There is a WebSocket at /echo.\n"


@app.route("/echo")
def echo() -> None:
    websocket = request.environ.get("wsgi.websocket")
    if websocket is None:
        abort(426, "This is a WebSocket.")
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
