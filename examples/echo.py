"""An echo server: every message goes back to where it came from.

python examples/echo.py [PORT]
"""

import sys

import lws_gevent

server = lws_gevent.Server(host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 3000)


@server.on("message")
def message(socket: lws_gevent.Socket, message: str | bytes, binary: bool) -> None:
    server.send(socket, message, binary)


if __name__ == "__main__":
    server.start()
    print(f"listening on ws://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()
