"""ws README, "How to get the IP address of the client?".

python examples/ported/client_address.py [PORT]
"""

import sys

import gevent

from lws_gevent.compat.ws import WebSocketServer

port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080

wss = WebSocketServer({"port": port, "host": "127.0.0.1"})


@wss.on("connection")
def connection(ws, req):
    ip = req.socket.remoteAddress
    if "x-forwarded-for" in req.headers:  # behind a proxy that is ours
        ip = req.headers["x-forwarded-for"].split(",")[0].strip()

    ws.on("error", print)
    ws.send(ip)


wss.on("listening", lambda: print(f"listening on ws://127.0.0.1:{wss.address()['port']}", flush=True))
gevent.wait()
