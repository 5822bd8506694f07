"""Prints the private memory of one idle connection of a server in this process: ``ws_memory.py core|compat``."""

from __future__ import annotations

import gc
import os
import resource
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import gevent
from client import upgrade_head
from gevent import socket
from helpers import process_memory

import lws_gevent
from lws_gevent.compat.ws import WebSocketServer

#: The first ones make the allocator's pools, the others are counted.
WARMING, COUNTED = 500, 3000


def connect(port: int) -> int:
    """The descriptor of an open connection; nothing else is left of the client."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(upgrade_head("/", key="dGhlIHNhbXBsZSBub25jZQ=="))
    octets = b""
    while b"\r\n\r\n" not in octets:
        octets += sock.recv(4096)
    return int(sock.detach())


def serve(kind: str) -> Any:
    """A server that listens to messages, and its port."""
    if kind == "core":
        server = lws_gevent.Server(("127.0.0.1", 0))
        server.on("message", lambda socket, message: None)
        server.start()
        return server, server.port
    wss = WebSocketServer(port=0, host="127.0.0.1")
    wss.on("connection", lambda websocket: websocket.on("message", print))
    gevent.sleep(0)
    return wss, wss.address()["port"]


def main() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192) if hard > 0 else 8192, hard))
    server, port = serve(sys.argv[1])
    for _ in range(WARMING):
        connect(port)
    gc.collect()
    before = process_memory(os.getpid())
    for _ in range(COUNTED):
        connect(port)
    gevent.sleep(0.05)
    gc.collect()
    print((process_memory(os.getpid()) - before) / COUNTED)
    del server
    os._exit(0)


if __name__ == "__main__":
    main()
