"""Flask-SocketIO in gevent mode, echoing, on the interfaces that are named: geventwebsocket, simple_websocket or
engineio, and "theirs": gevent-websocket proper may be found."""

import sys
from typing import Any

import gevent

from lws_gevent.compat import geventwebsocket, simple_websocket

if "geventwebsocket" in sys.argv:
    geventwebsocket.install()
elif "theirs" not in sys.argv:
    sys.modules["geventwebsocket"] = None  # type: ignore[assignment]  # as if nobody had installed it
if "simple_websocket" in sys.argv:
    simple_websocket.install()
if "engineio" in sys.argv:
    from lws_gevent.compat import engineio

    engineio.install()

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
