"""ws README, "How to detect and close broken connections?", on a server.

python examples/ported/broken_connections.py [PORT [SECONDS]]
"""

import sys

import gevent

from lws_gevent.compat.ws import WebSocketServer

port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 30

wss = WebSocketServer({"port": port})


@wss.on("connection")
def connection(ws):
    ws.isAlive = True
    ws.on("error", print)

    @ws.on("pong")
    def heartbeat():
        ws.isAlive = True


def ping():
    while True:
        gevent.sleep(seconds)
        for ws in wss.clients:
            if not ws.isAlive:
                ws.terminate()
                continue

            ws.isAlive = False
            ws.ping()


interval = gevent.spawn(ping)

wss.on("close", lambda: interval.kill())

wss.on("listening", lambda: print(f"listening on ws://127.0.0.1:{wss.address()['port']}", flush=True))
gevent.wait()
