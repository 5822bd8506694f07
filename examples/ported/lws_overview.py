"""node-lws README, "Overview".

python examples/ported/lws_overview.py [PORT]
"""

import sys

from lws_gevent.compat import lws

port = int(sys.argv[1]) if len(sys.argv) > 1 else 3000

server = lws.Server({"port": port, "host": "127.0.0.1"})


def error(error):
    print("Oops!")


def upgrade(socket, headers):
    print("Upgrading to WebSocket!", flush=True)


def connection(socket):
    print("[Connection]", flush=True)
    server.send(socket, b"a text message", False)
    server.send(socket, b"a binary message", True)
    server.setUserData(socket, "persistent per socket data")


def message(socket, message, binary):
    print(f"[Message: {message.decode()}]", flush=True)
    server.send(socket, b'You sent me this: "' + message + b'"', False)


def close(socket):
    print("[Close]", flush=True)
    print(server.getUserData(socket), flush=True)


server.on("error", error)
server.on("upgrade", upgrade)
server.on("connection", connection)
server.on("message", message)
server.on("close", close)

print(f"listening on ws://127.0.0.1:{server.port}", flush=True)
server.serve_forever()
