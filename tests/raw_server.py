"""Servers of raw octets, for tests of the client."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import gevent
from gevent import socket

from lws_gevent.handshake import accept_key


def url_of(server: Any, target: str = "/") -> str:
    return f"ws://127.0.0.1:{server.port}{target}"


class RawServer:
    """A listener whose connections are handled by a function of one test, in a greenlet each."""

    def __init__(self, handle: Callable[[Any], None], family: int = socket.AF_INET, address: Any = ("127.0.0.1", 0)):
        self.listener = socket.socket(family)
        self.listener.bind(address)
        self.listener.listen(64)
        self.handle = handle
        self.handlers: list[gevent.Greenlet] = []
        self.accepting = gevent.spawn(self.accept)
        self.port = self.listener.getsockname()[1] if family != socket.AF_UNIX else None

    def accept(self) -> None:
        while True:
            sock, _ = self.listener.accept()
            self.handlers.append(gevent.spawn(self.run, sock))
            del sock

    def run(self, sock: Any) -> None:
        with contextlib.closing(sock), contextlib.suppress(OSError):
            self.handle(sock)

    def stop(self) -> None:
        gevent.killall([self.accepting, *self.handlers])
        self.handlers.clear()
        self.listener.close()


def read_head(sock: Any) -> bytes:
    """A request's head."""
    data = b""
    while b"\r\n\r\n" not in data:
        octets = sock.recv(4096)
        if not octets:
            break
        data += octets
    return data


def header_of(head: bytes, name: str) -> str:
    lines = head.decode("latin-1").split("\r\n")
    return next(line.split(": ", 1)[1] for line in lines if line.lower().startswith(name.lower() + ": "))


def accept(sock: Any, extra: str = "") -> bytes:
    """Reads a request and answers it well; the request."""
    head = read_head(sock)
    sock.sendall(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_key(header_of(head, 'Sec-WebSocket-Key'))}\r\n{extra}\r\n".encode("latin-1")
    )
    return head


def drain(sock: Any) -> bytes:
    """Everything that the peer sends until it ends the connection."""
    data = b""
    while octets := sock.recv(65536):
        data += octets
    return data
