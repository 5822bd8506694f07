"""node-lws README: lws.wsServer, the interface of ws, with broadcast.

python examples/ported/lws_ws_server.py [PORT]
"""

import sys

import gevent

from lws_gevent.compat import lws

port = int(sys.argv[1]) if len(sys.argv) > 1 else 3000

server = lws.wsServer({"port": port})


@server.on("connection")
def connection(ws):
    ws.on("message", lambda data, is_binary: server.broadcast(data, {"binary": is_binary}))


server.on("listening", lambda: print(f"listening on ws://127.0.0.1:{server.address()['port']}", flush=True))
gevent.wait()
