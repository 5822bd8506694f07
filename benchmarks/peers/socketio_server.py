"""python-socketio on gevent.pywsgi, over gevent-websocket or over lws_gevent's interface of it; it echoes `message`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from common import announce, listen

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--port", type=int, default=0)
parser.add_argument("--on", choices=("gevent-websocket", "lws-gevent"), default="lws-gevent")
arguments = parser.parse_args()
if arguments.on == "lws-gevent":
    from lws_gevent.compat import geventwebsocket

    geventwebsocket.install()

import socketio  # noqa: E402
from gevent.pywsgi import WSGIServer  # noqa: E402
from geventwebsocket.handler import WebSocketHandler  # noqa: E402

assert ("lws_gevent" in sys.modules) == (arguments.on == "lws-gevent")
server = socketio.Server(async_mode="gevent", async_handlers=False)


@server.on("message")  # type: ignore[untyped-decorator]
def message(sid: str, data: Any) -> None:
    server.send(data, to=sid)


listener = listen(arguments.port)
serving = WSGIServer(listener, socketio.WSGIApp(server), handler_class=WebSocketHandler, log=None, error_log=None)
announce(listener.getsockname()[1])
serving.serve_forever()
