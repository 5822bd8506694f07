"""ws README, "Multiple servers sharing a single HTTP/S server".

python examples/ported/multiple_servers.py [PORT]
"""

import sys
from urllib.parse import urlsplit

import gevent

from lws_gevent.compat.ws import WebSocketServer, createServer

port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080

server = createServer()
wss1 = WebSocketServer({"noServer": True})
wss2 = WebSocketServer({"noServer": True})


@wss1.on("connection")
def connection1(ws):
    ws.on("error", print)
    ws.send("this is foo")


@wss2.on("connection")
def connection2(ws):
    ws.on("error", print)
    ws.send("this is bar")


@server.on("upgrade")
def upgrade(request, socket, head):
    pathname = urlsplit(request.url).path

    if pathname == "/foo":
        wss1.handleUpgrade(request, socket, head, lambda ws: wss1.emit("connection", ws, request))
    elif pathname == "/bar":
        wss2.handleUpgrade(request, socket, head, lambda ws: wss2.emit("connection", ws, request))
    else:
        socket.destroy()


server.listen(port)
server.on("listening", lambda: print(f"listening on ws://127.0.0.1:{server.address()['port']}", flush=True))
gevent.wait()
