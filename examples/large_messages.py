"""Large messages in pieces: the server sums up what it receives, however long it is, and keeps 64 KiB of it at most.

python examples/large_messages.py [PORT]
"""

import hashlib
import sys

import lws_gevent

server = lws_gevent.Server(
    host="127.0.0.1",
    port=int(sys.argv[1]) if len(sys.argv) > 1 else 3000,
    buffer_size=64 * 1024,
    max_payload=1024 * 1024 * 1024,
)


@server.on("connection")
def connection(socket: lws_gevent.Socket) -> None:
    socket.data = (hashlib.sha256(), 0)


@server.on("message")
def message(socket: lws_gevent.Socket, message: str | bytes, binary: bool, remaining_bytes: int) -> None:
    digest, pieces = socket.data
    digest.update(message.encode() if isinstance(message, str) else message)
    socket.data = (digest, pieces + 1)
    if remaining_bytes == 0:  # the last piece
        socket.send(f"{digest.hexdigest()} in {pieces + 1} pieces")
        socket.data = (hashlib.sha256(), 0)


if __name__ == "__main__":
    server.start()
    print(f"listening on ws://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()
