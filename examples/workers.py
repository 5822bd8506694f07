"""Several processes serve one port, so that all processors work; each connection is told which one serves it.

The first process restarts workers that die ("die" makes one do so), and stops all on SIGTERM and Ctrl-C.

python examples/workers.py [PORT]
"""

import os
import sys

import lws_gevent

server = lws_gevent.Server(host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 3000, workers=2)


@server.on("connection")
def connection(socket: lws_gevent.Socket) -> None:
    socket.send(f"worker {os.getpid()} has {server.stats()['connections']} connections")


@server.on("message")
def message(socket: lws_gevent.Socket, message: str | bytes, binary: bool) -> None:
    if message == "die":
        os._exit(1)
    socket.send(message, binary)


if __name__ == "__main__":
    server.init_socket()  # takes the port; connections are accepted as soon as there is a worker
    print(f"listening on ws://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()
