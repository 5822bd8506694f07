"""HTTP by hand, for both ends of a handshake."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from gevent import socket as gsocket
from helpers import FACTOR

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket"}
HANDSHAKE = {**UPGRADE, "Sec-WebSocket-Key": KEY, "Sec-WebSocket-Version": "13"}


class Response(NamedTuple):
    """An answer; `sock` is still open."""

    status: int
    headers: dict[str, str]
    body: bytes
    sock: Any


def connect(port: int) -> Any:
    sock = gsocket.create_connection(("localhost", port))
    sock.settimeout(10 * FACTOR)
    return sock


def ask(port: int, headers: Mapping[str, Any], method: str = "GET", path: str = "/", body: bytes = b"") -> Response:
    """Sends a request; its answer. The body is all that comes until the end, when it is no 101."""
    sock = connect(port)
    fields = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "localhost", **headers}.items())
    sock.sendall(f"{method} {path} HTTP/1.1\r\n{fields}\r\n".encode() + body)
    octets = b""
    while b"\r\n\r\n" not in octets:
        chunk = sock.recv(65536)
        assert chunk, octets
        octets += chunk
    head, _, rest = octets.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    status = int(first.split()[1])
    while status != 101:
        chunk = sock.recv(65536)
        if not chunk:
            break
        rest += chunk
    if status != 101:
        sock.close()
    return Response(status, {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines)}, rest, sock)


def accept_of(key: str) -> str:
    digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    return base64.b64encode(digest).decode()


def switching(request: Any, *lines: str) -> str:
    """A good 101 for `request`, with more header lines."""
    accept = accept_of(request.headers["sec-websocket-key"])
    head = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    return "\r\n".join([*head, f"Sec-WebSocket-Accept: {accept}", *lines, "\r\n"])
