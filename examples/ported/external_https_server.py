"""ws README, "External HTTP/S server".

python examples/ported/external_https_server.py PORT CERTIFICATE KEY
"""

import sys

import gevent

from lws_gevent.compat.ws import WebSocketServer, createServer

port, certificate, key = int(sys.argv[1]), sys.argv[2], sys.argv[3]

server = createServer({"cert": certificate, "key": key})
wss = WebSocketServer({"server": server})


@wss.on("connection")
def connection(ws):
    ws.on("error", print)

    @ws.on("message")
    def message(data):
        print(f"received: {data.decode()}", flush=True)

    ws.send("something")


server.listen(port)
wss.on("listening", lambda: print(f"listening on wss://127.0.0.1:{server.address()['port']}", flush=True))
gevent.wait()
