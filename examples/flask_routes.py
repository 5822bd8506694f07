"""Flask with `websocket_route`, and an application that was written before Werkzeug 2 with `PlainRoutes`.

python examples/flask_routes.py [PORT]; connect to ws://127.0.0.1:3000/echo/NAME, or to /old/echo.
Needs ``pip install flask``.
"""

import sys

from flask import Flask, request
from gevent import pywsgi
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from lws_gevent import Socket
from lws_gevent.flask import PlainRoutes, websocket_route
from lws_gevent.wsgi import WebSocketHandler

app = Flask(__name__)


@websocket_route(app, "/echo/<name>")
def echo(websocket: Socket, name: str) -> None:
    for message in websocket:
        websocket.send(f"{name}: {message!s}")


old = Flask("old")


@old.route("/echo")  # there is no websocket=True here
def old_echo() -> str:
    websocket = request.environ["wsgi.websocket"]
    for message in websocket:
        websocket.send(message)
    return ""


old.wsgi_app = PlainRoutes(old.wsgi_app)  # type: ignore[method-assign]


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    both = DispatcherMiddleware(app, {"/old": old})
    server = pywsgi.WSGIServer(("127.0.0.1", port), both, handler_class=WebSocketHandler, log=None)
    server.start()
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
