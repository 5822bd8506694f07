"""What the test of gevent-websocket's worker serves; it was written for gevent-websocket."""

from typing import Any

from lws_gevent.compat import geventwebsocket as compatible

compatible.install()

from geventwebsocket import Resource, WebSocketApplication  # noqa: E402
from geventwebsocket.handler import WebSocketMiddleware  # noqa: E402


class Everybody(WebSocketApplication):  # type: ignore[misc]
    def on_message(self, message: Any) -> None:
        if message is not None:
            for client in self.ws.handler.server.clients.values():
                client.ws.send(message)


application = Resource([("^/all", Everybody)])
wrapped = WebSocketMiddleware(application)
