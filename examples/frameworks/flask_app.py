"""Flask; the route says ``websocket=True``, or Werkzeug does not find it for a request that asks for an upgrade.

python examples/frameworks/flask_app.py [PORT], or from examples/frameworks one of
    gunicorn -k lws_gevent.gunicorn.Worker flask_app:app
    gunicorn -k gevent flask_app:application
then connect to ws://127.0.0.1:3000/echo. Messages come back; after "bye" the connection is closed.
Needs ``pip install flask``.
"""

import sys
from contextlib import suppress

from flask import Flask, request
from gevent import pywsgi

from lws_gevent import ConnectionClosed
from lws_gevent.wsgi import WebSocketHandler, WebSocketMiddleware

app = Flask(__name__)


@app.route("/")
def index() -> str:
    return "There is a WebSocket at /echo.\n"


@app.route("/echo", websocket=True)
def echo() -> str:
    websocket = request.environ["wsgi.websocket"]
    with suppress(ConnectionClosed):  # the client may leave at any time
        for message in websocket:
            if message == "bye":
                websocket.close(4000, "bye")
            websocket.send(message)
    return ""  # nobody gets it, but Flask insists on a response


application = WebSocketMiddleware(app)  # where neither a handler nor a worker knows of WebSockets


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    server = pywsgi.WSGIServer(("127.0.0.1", port), app, handler_class=WebSocketHandler, log=None)
    server.start()
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
