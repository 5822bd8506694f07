"""ws README, "Server broadcast", excluding itself.

python examples/ported/broadcast_others.py [PORT]
"""

import sys

import gevent

from lws_gevent.compat.ws import WebSocket, WebSocketServer

port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080

wss = WebSocketServer({"port": port})


@wss.on("connection")
def connection(ws):
    ws.on("error", print)

    @ws.on("message")
    def message(data, is_binary):
        for client in wss.clients:
            if client is not ws and client.readyState == WebSocket.OPEN:
                client.send(data, {"binary": is_binary})


wss.on("listening", lambda: print(f"listening on ws://127.0.0.1:{wss.address()['port']}", flush=True))
gevent.wait()
