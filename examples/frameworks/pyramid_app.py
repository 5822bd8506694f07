"""Pyramid.

python examples/frameworks/pyramid_app.py [PORT], or from examples/frameworks one of
    gunicorn -k lws_gevent.gunicorn.Worker pyramid_app:app
    gunicorn -k gevent pyramid_app:application
then connect to ws://127.0.0.1:3000/echo. Messages come back; after "bye" the connection is closed.
Needs ``pip install pyramid``.
"""

import sys
from contextlib import suppress

from gevent import pywsgi
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from lws_gevent import ConnectionClosed
from lws_gevent.wsgi import WebSocketHandler, WebSocketMiddleware


def index(request: Request) -> Response:
    return Response("There is a WebSocket at /echo.\n", content_type="text/plain")


def echo(request: Request) -> Response:
    websocket = request.environ.get("wsgi.websocket")
    if websocket is None:
        return Response("This is a WebSocket.\n", status=426, content_type="text/plain")
    with suppress(ConnectionClosed):  # the client may leave at any time
        for message in websocket:
            if message == "bye":
                websocket.close(4000, "bye")
            websocket.send(message)
    return Response()  # nobody gets it, but Pyramid insists on one


with Configurator() as config:
    config.add_route("index", "/")
    config.add_view(index, route_name="index")
    config.add_route("echo", "/echo")
    config.add_view(echo, route_name="echo")
    app = config.make_wsgi_app()

application = WebSocketMiddleware(app)  # where neither a handler nor a worker knows of WebSockets


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    server = pywsgi.WSGIServer(("127.0.0.1", port), app, handler_class=WebSocketHandler, log=None)
    server.start()
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
