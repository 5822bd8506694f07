"""A conversation written from top to bottom: the handler waits for each answer.

The greenlet of the `connection` handler blocks in `recv`; every other connection goes on meanwhile. When the handler
returns the connection is closed with 1000.

python examples/blocking_style.py [PORT]
"""

import sys

import lws_gevent
from lws_gevent import CloseCode

server = lws_gevent.Server(host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 3000)


@server.on("connection")
def connection(socket: lws_gevent.Socket) -> None:
    socket.send("What is your name?")
    try:
        name = socket.recv(timeout=60)
    except TimeoutError:
        socket.close(4000, "no name within a minute")
        return
    if not isinstance(name, str):
        socket.close(CloseCode.UNSUPPORTED_DATA, "text, please")
        return
    socket.send(f"Hello {name}. Send numbers, and I add them up; 'sum' ends.")
    total = 0
    for message in socket:
        if message == "sum":
            socket.send(str(total))
            return
        try:
            total += int(message)
        except ValueError:
            socket.send("That is no number.")


if __name__ == "__main__":
    server.start()
    print(f"listening on ws://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()
