"""What the tests of gunicorn serve: blocking style at /blocking, callback style at /callback, plain HTTP elsewhere."""

import os
from typing import Any

import lws_gevent
from lws_gevent.gunicorn import Worker
from lws_gevent.wsgi import WebSocketMiddleware

ENGINE: Any = os.environ["LWS_GEVENT_TEST_ENGINE"]

server = lws_gevent.Server(engine=ENGINE)


class EngineWorker(Worker):  # type: ignore[misc]
    """The worker, on the engine that is tested."""

    websocket_options = {"engine": ENGINE}
    drain_jitter = 0.5


@server.on("message")
def message(socket: Any, message: Any, binary: bool) -> None:
    socket.send(message, binary)


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    path = environ["PATH_INFO"]
    if path == "/callback":
        server.accept(environ, start_response)
        return []
    if path == "/blocking":
        websocket = environ["wsgi.websocket"]
        for message in websocket:
            websocket.send(message)
        return []
    body = f"{os.getpid()}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


wrapped = WebSocketMiddleware(application, engine=ENGINE)
