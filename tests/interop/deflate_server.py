"""Echo servers that compress in every way: each window size, with and without context takeover.

One JSON argument with options for all of them. It prints one JSON line with the port of each, by what it is called, and
then one for each connection that has ended: the server's name, what was agreed on, and how many octets went to and fro.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import gevent

import lws_gevent

WINDOWS = range(9, 16)


def start(name: str, **settings: Any) -> int | None:
    """An echo server; its port."""
    deflate = lws_gevent.PerMessageDeflate(threshold=0, **settings)
    server = lws_gevent.Server(host="127.0.0.1", port=0, per_message_deflate=deflate, **json.loads(sys.argv[1]))
    counted = {"octets_received": 0, "octets_sent": 0}

    @server.on("message")
    def message(socket: lws_gevent.Socket, message: str | bytes, binary: bool) -> None:
        server.send(socket, message, binary)

    @server.on("close")
    def close(socket: lws_gevent.Socket) -> None:
        ended: dict[str, Any] = {"name": name, "extensions": socket.extensions}
        for what, before in counted.items():
            counted[what] = server.stats()[what]
            ended[what] = counted[what] - before
        print(json.dumps(ended), flush=True)

    @server.on("http")
    def http(socket: lws_gevent.Socket, request: lws_gevent.Request) -> tuple[int, dict[str, str], str]:
        return 200, {"Content-Type": "text/html"}, "<!doctype html><title>compression</title>"

    server.start()
    return server.port


ports = {}
for bits in WINDOWS:
    for takeover in (False, True):
        ports[f"{bits} {'takeover' if takeover else 'none'}"] = start(
            f"{bits} {'takeover' if takeover else 'none'}",
            server_no_context_takeover=not takeover,
            client_no_context_takeover=not takeover,
            server_max_window_bits=bits,
            client_max_window_bits=bits,
        )
# What the client says is what counts here.
ports["any"] = start("any", server_no_context_takeover=False, client_no_context_takeover=False)
print(json.dumps(ports), flush=True)
gevent.wait()
