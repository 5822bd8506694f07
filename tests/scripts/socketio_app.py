"""Flask-SocketIO in gevent mode, echoing, on the interface that is named: geventwebsocket or simple_websocket."""

import sys
from typing import Any

import gevent

from lws_gevent.compat import geventwebsocket, simple_websocket

if sys.argv[1] == "geventwebsocket":
    geventwebsocket.install()
else:
    sys.modules["geventwebsocket"] = None  # type: ignore[assignment]  # as if nobody had installed it
    simple_websocket.install()

from flask import Flask  # noqa: E402
from flask_socketio import SocketIO  # noqa: E402

app = Flask(__name__)
socketio = SocketIO(app, async_mode="gevent")


@socketio.on("message")
def message(data: Any) -> None:
    socketio.send(data)


running = gevent.spawn(socketio.run, app, host="127.0.0.1", port=0, log_output=False)
while not (getattr(socketio, "wsgi_server", None) and socketio.wsgi_server.started):
    gevent.sleep(0.01)
print(socketio.wsgi_server.server_port, type(socketio.wsgi_server).__name__, flush=True)
running.join()
