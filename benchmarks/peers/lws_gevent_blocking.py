"""lws_gevent in blocking style: each connection has a greenlet that receives and answers."""

from __future__ import annotations

import argparse

import lws_gevent

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--port", type=int, default=0)
parser.add_argument("--engine", default="auto")
arguments = parser.parse_args()
server = lws_gevent.Server(host="127.0.0.1", port=arguments.port, engine=arguments.engine)


@server.on("connection")
def connection(socket: lws_gevent.Socket) -> None:
    for message in socket:
        socket.send(message)


server.start()
print(f"listening on ws://127.0.0.1:{server.port}", flush=True)
server.serve_forever()
