"""A long text is sent compressed to clients that can inflate it, and each tells how much that has saved.

Ask for as many lines as you like: "10000". Every browser offers compression; `socket.extensions` is what was agreed on.

python examples/compression.py [PORT]
"""

import sys

import lws_gevent

server = lws_gevent.Server(
    host="127.0.0.1",
    port=int(sys.argv[1]) if len(sys.argv) > 1 else 3000,
    per_message_deflate=lws_gevent.PerMessageDeflate(threshold=256),
)


@server.on("connection")
def connection(socket: lws_gevent.Socket) -> None:
    socket.send(f"agreed: {socket.extensions or 'no compression'}")


@server.on("message")
def message(socket: lws_gevent.Socket, message: str | bytes) -> None:
    if not message.isdigit() or len(message) > 6:
        socket.send("How many lines?")
        return
    text = "".join(f"line {number} of {int(message)}\n" for number in range(int(message)))
    before = server.stats()["octets_sent"] + socket.buffered_amount
    socket.send(text)
    # What a handler sends is written when it returns; until then it waits here.
    waiting = server.stats()["octets_sent"] + socket.buffered_amount - before
    socket.send(f"{len(text)} characters, {waiting} octets on the wire")


if __name__ == "__main__":
    server.start()
    print(f"listening on ws://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()
