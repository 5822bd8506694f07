"""Django, as a WSGI application in one file; in a project ``app`` is the ``application`` of its wsgi.py.

python examples/frameworks/django_app.py [PORT], or from examples/frameworks one of
    gunicorn -k lws_gevent.gunicorn.Worker django_app:app
    gunicorn -k gevent django_app:application
then connect to ws://127.0.0.1:3000/echo. Messages come back; after "bye" the connection is closed.
Needs ``pip install django``.
"""

import sys
from contextlib import suppress

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from gevent import pywsgi

from lws_gevent import ConnectionClosed
from lws_gevent.wsgi import WebSocketHandler, WebSocketMiddleware


def index(request: HttpRequest) -> HttpResponse:
    return HttpResponse("There is a WebSocket at /echo.\n", content_type="text/plain")


def echo(request: HttpRequest) -> HttpResponse:
    websocket = request.META.get("wsgi.websocket")
    if websocket is None:
        return HttpResponse("This is a WebSocket.\n", status=426, content_type="text/plain")
    with suppress(ConnectionClosed):  # the client may leave at any time
        for message in websocket:
            if message == "bye":
                websocket.close(4000, "bye")
            websocket.send(message)
    return HttpResponse()  # nobody gets it, but Django insists on one


urlpatterns = [path("", index), path("echo", echo)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1", "localhost"], SECRET_KEY="of this example")
app = get_wsgi_application()

application = WebSocketMiddleware(app)  # where neither a handler nor a worker knows of WebSockets


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    server = pywsgi.WSGIServer(("127.0.0.1", port), app, handler_class=WebSocketHandler, log=None)
    server.start()
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
