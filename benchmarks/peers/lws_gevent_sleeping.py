"""lws_gevent with a handler that blocks: it sleeps before it answers."""

from __future__ import annotations

import argparse

import gevent

import lws_gevent

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--port", type=int, default=0)
parser.add_argument("--seconds", type=float, default=0.010)
parser.add_argument("--engine", default="auto")
arguments = parser.parse_args()
server = lws_gevent.Server(host="127.0.0.1", port=arguments.port, engine=arguments.engine)


@server.on("message")
def message(socket: lws_gevent.Socket, message: str | bytes, binary: bool) -> None:
    gevent.sleep(arguments.seconds)
    server.send(socket, message, binary)


server.start()
print(f"listening on ws://127.0.0.1:{server.port}", flush=True)
server.serve_forever()
