"""A chat that was written for gevent-websocket, and runs on lws_gevent: only the first two lines are new.

python examples/for_gevent_websocket.py [PORT], then connect some clients to ws://127.0.0.1:3000/chat; each hears what
the others say.
"""

from lws_gevent.compat import geventwebsocket as compatible

compatible.install()

import sys  # noqa: E402

from geventwebsocket import Resource, WebSocketApplication, WebSocketServer  # noqa: E402


class Chat(WebSocketApplication):  # type: ignore[misc]
    def on_open(self) -> None:
        self.say(f"somebody came, now {len(self.ws.handler.server.clients)}")

    def on_message(self, message: str | None) -> None:
        if message is not None:
            self.say(message)

    def say(self, message: str) -> None:
        for client in self.ws.handler.server.clients.values():
            client.ws.send(message)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    server = WebSocketServer(("127.0.0.1", port), Resource([("/chat", Chat)]), log=None)
    server.start()
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
