"""An echo server of gevent-websocket; "close" makes it close the connection. It prints its port."""

from typing import Any

from gevent.pywsgi import WSGIServer
from geventwebsocket.handler import WebSocketHandler


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    websocket = environ["wsgi.websocket"]
    while True:
        message = websocket.receive()
        if message is None:
            return []
        if message == "close":
            # Its own close() sends no code.
            websocket.send_frame((4001).to_bytes(2, "big") + b"as you wish", websocket.OPCODE_CLOSE)
            return []
        websocket.send(message)


server = WSGIServer(("127.0.0.1", 0), application, handler_class=WebSocketHandler, log=None)
server.start()
print(server.server_port, flush=True)
server.serve_forever()
