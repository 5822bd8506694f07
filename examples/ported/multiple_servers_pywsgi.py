"""The same on gevent.pywsgi: two WebSocketServers and a WSGI application on one port.

python examples/ported/multiple_servers_pywsgi.py [PORT]
"""

import sys

from gevent.pywsgi import WSGIServer

from lws_gevent.compat.ws import WebSocketServer, upgrades

port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"a page\n"]


server = WSGIServer(("127.0.0.1", port), application, log=None)
paths = {"/foo": WebSocketServer({"noServer": True}), "/bar": WebSocketServer({"noServer": True})}


@upgrades(server).on("upgrade")
def upgrade(request, socket, head):
    wss = paths.get(request.url)
    if wss is None:
        socket.destroy()
    else:
        wss.handleUpgrade(request, socket, head, lambda ws: wss.emit("connection", ws, request))


@paths["/foo"].on("connection")
def connection_foo(ws):
    ws.send("this is foo")


@paths["/bar"].on("connection")
def connection_bar(ws):
    ws.on("message", lambda data, is_binary: ws.send(data, {"binary": is_binary}))


server.start()
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
