"""Every message goes to everybody, and everybody is told how many there are.

`broadcast` never blocks: it queues the message for each connection, encoded once for all of them.

python examples/broadcast.py [PORT]
"""

import sys

import lws_gevent

server = lws_gevent.Server(host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 3000)


def tell_how_many() -> None:
    server.broadcast(f"{len(list(server.connections))} here")


@server.on("connection")
def connection(socket: lws_gevent.Socket) -> None:
    tell_how_many()


@server.on("message")
def message(socket: lws_gevent.Socket, message: str | bytes, binary: bool) -> None:
    server.broadcast(message, binary, exclude=[socket])


@server.on("close")
def close(socket: lws_gevent.Socket) -> None:
    tell_how_many()


if __name__ == "__main__":
    server.start()
    print(f"listening on ws://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()
