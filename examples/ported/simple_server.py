"""ws README, "Simple server".

python examples/ported/simple_server.py [PORT]
"""

import sys

import gevent

from lws_gevent.compat.ws import WebSocketServer

port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080

wss = WebSocketServer({"port": port})


@wss.on("connection")
def connection(ws):
    ws.on("error", print)

    @ws.on("message")
    def message(data):
        print(f"received: {data.decode()}", flush=True)

    ws.send("something")


wss.on("listening", lambda: print(f"listening on ws://127.0.0.1:{wss.address()['port']}", flush=True))
gevent.wait()
