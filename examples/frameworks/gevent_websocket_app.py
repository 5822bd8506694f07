"""gevent-websocket's `Resource` and `WebSocketApplication`; only the two lines with `compatible` are new.

python examples/frameworks/gevent_websocket_app.py [PORT], or from examples/frameworks one of
    gunicorn -k lws_gevent.gunicorn.Worker gevent_websocket_app:app
    gunicorn -k gevent gevent_websocket_app:application
then connect to ws://127.0.0.1:3000/echo. Messages come back; after "bye" the connection is closed.
"""

from lws_gevent.compat import geventwebsocket as compatible

compatible.install()

import sys  # noqa: E402
from collections.abc import Callable, Iterable  # noqa: E402
from typing import Any  # noqa: E402

from gevent import pywsgi  # noqa: E402
from geventwebsocket import Resource, WebSocketApplication  # noqa: E402

from lws_gevent.wsgi import WebSocketHandler, WebSocketMiddleware  # noqa: E402


class Echo(WebSocketApplication):  # type: ignore[misc]
    def on_message(self, message: str | bytearray | None) -> None:
        if message == "bye":
            self.ws.close(4000, "bye")
        elif message is not None:
            self.ws.send(message)


def index(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"There is a WebSocket at /echo.\n"]


app = Resource([("^/echo", Echo), ("^/", index)])

application = WebSocketMiddleware(app)  # where neither a handler nor a worker knows of WebSockets


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    server = pywsgi.WSGIServer(("127.0.0.1", port), app, handler_class=WebSocketHandler, log=None)
    server.start()
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
