"""Deciding who may connect: an `upgrade` handler sees the request's headers before the handshake is answered.

Returning True refuses with 403, a tuple refuses with that response, anything else lets the connection in.

python examples/refusing_upgrades.py [PORT]
"""

import sys
from collections.abc import Mapping

import lws_gevent

TOKENS = {"secret-of-ada": "Ada", "secret-of-grace": "Grace"}

server = lws_gevent.Server(host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 3000)


@server.on("upgrade")
def upgrade(socket: lws_gevent.Socket, headers: Mapping[str, str]) -> tuple[int, dict[str, str], str] | None:
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or token not in TOKENS:
        return 401, {"WWW-Authenticate": "Bearer", "Content-Type": "text/plain"}, "Who are you?\n"
    server.set_user_data(socket, TOKENS[token])
    return None


@server.on("connection")
def connection(socket: lws_gevent.Socket) -> None:
    socket.send(f"Welcome, {server.get_user_data(socket)}")


if __name__ == "__main__":
    server.start()
    print(f"listening on ws://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()
