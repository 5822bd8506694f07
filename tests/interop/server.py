"""The server that the clients of other projects talk to; what it does with a connection depends on the URL's path.

One JSON argument with the Server's options. It prints its port, and then a JSON line for each close by a client.
"""

from __future__ import annotations

import json
import sys

import lws_gevent

server = lws_gevent.Server(host="127.0.0.1", port=0, **json.loads(sys.argv[1]))


@server.on("connection")
def connection(socket: lws_gevent.Socket) -> None:
    if socket.path == "/closes":
        server.close(socket, 4001, "goodbye \N{EURO SIGN}")
    elif socket.path == "/fragments":
        text = "fr\N{LATIN SMALL LETTER A WITH DIAERESIS}gm\N{EURO SIGN}nts".encode()
        server.send_fragment(socket, text[:3], False, False)  # the first letter of two octets is cut in the middle
        server.ping(socket, b"between two fragments")
        server.send_fragment(socket, text[3:7], False)
        server.send_fragment(socket, text[7:], True)
        server.send_fragment(socket, b"\x00\xff", False, True)
        server.send_fragment(socket, b"", False)
        server.send_fragment(socket, b"\x80\x01", True)
    elif socket.path == "/pings":
        server.ping(socket, b"are you there?")


@server.on("pong")
def pong(socket: lws_gevent.Socket, data: bytes) -> None:
    if socket.path == "/pings":
        server.send(socket, "pong: " + data.decode())


@server.on("message")
def message(socket: lws_gevent.Socket, message: str | bytes, binary: bool) -> None:
    server.send(socket, message, binary)


@server.on("close")
def close(socket: lws_gevent.Socket, code: int, reason: str) -> None:
    print(json.dumps({"path": socket.path, "code": code, "reason": reason}), flush=True)


server.start()
print(server.port, flush=True)
server.serve_forever()
