"""ws README, "Client authentication".

python examples/ported/client_authentication.py [PORT]
"""

import sys

import gevent

from lws_gevent.compat.ws import WebSocketServer, createServer

port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080


def on_socket_error(err):
    print(err, file=sys.stderr)


def authenticate(request, next):
    """The user is whom the header Authorization says: implement it with your own logic."""
    scheme, _, user = request.headers.get("authorization", "").partition(" ")
    next(None, user if scheme == "User" else None)


server = createServer()
wss = WebSocketServer({"noServer": True})


@wss.on("connection")
def connection(ws, request, client):
    ws.on("error", print)

    @ws.on("message")
    def message(data):
        print(f"Received message {data.decode()} from user {client}", flush=True)


@server.on("upgrade")
def upgrade(request, socket, head):
    socket.on("error", on_socket_error)

    def next(err, client):
        if err or not client:
            socket.write("HTTP/1.1 401 Unauthorized\r\n\r\n")
            socket.destroy()
            return

        socket.removeListener("error", on_socket_error)

        wss.handleUpgrade(request, socket, head, lambda ws: wss.emit("connection", ws, request, client))

    authenticate(request, next)


server.listen(port)
server.on("listening", lambda: print(f"listening on ws://127.0.0.1:{server.address()['port']}", flush=True))
gevent.wait()
