"""node-lws README: prepareBuffer and sendPrepared, to everybody.

python examples/ported/lws_broadcast.py [PORT]
"""

import sys

from lws_gevent.compat import lws

port = int(sys.argv[1]) if len(sys.argv) > 1 else 3000

server = lws.Server({"port": port, "host": "127.0.0.1"})
sockets = {}


def connection(socket):
    sockets[server.getFd(socket)] = socket
    server.setUserData(socket, server.getFd(socket))


def message(socket, message, binary):
    prepared_buffer = server.prepareBuffer(message)
    for receiver in list(sockets.values()):
        server.sendPrepared(receiver, prepared_buffer, binary)


server.on("connection", connection)
server.on("message", message)
server.on("close", lambda socket: sockets.pop(server.getUserData(socket)))

print(f"listening on ws://127.0.0.1:{server.port}", flush=True)
server.serve_forever()
