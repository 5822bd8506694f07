"""Reading the one HTTP request with which a connection begins (layer 2, for the greenlet engine)."""

from __future__ import annotations

import _socket
import time
from typing import TYPE_CHECKING

from lws_gevent.handshake import Request, body_length

if TYPE_CHECKING:
    from lws_gevent.engines.greenlet_socket import GreenletSocket

__all__ = ["read_body", "read_head", "read_proxy_header"]

_READ_SIZE = 16 * 1024


def read_proxy_header(socket: GreenletSocket) -> bool:
    """Reads the PROXY protocol header, and not one octet behind it, which may be TLS; the connection's address is the
    one that it names. False: the connection ended before. ProtocolError: there is no such header."""
    from lws_gevent.proxy_protocol import MAX_HEADER  # what it needs is for those alone who use it

    data = b""
    while True:
        seen = socket.receive_request(MAX_HEADER - len(data), _socket.MSG_PEEK)
        if not seen:
            return False
        header = socket.context.proxy_header(data + seen, socket.remote_address)
        wanted = len(seen) if header is None else header.length - len(data)
        data += socket.read_request(wanted)
        if header is not None:
            if header.address is not None:
                socket.remote_address = header.address
            return True


def read_head(socket: GreenletSocket, octets: bytes = b"") -> tuple[Request, bytes, bytes] | None:
    """The request, its head, and the octets that came after that; None when the connection ended before. `octets` were
    received already.

    HandshakeError: it is refused.
    """
    settings = socket.context.settings
    parse = socket.context.codec.parse_request
    data = bytearray()
    scanned = 0
    while True:
        octets = octets or socket.read_request(_READ_SIZE)
        if not octets:
            return None
        data += octets
        result = parse(data, settings.max_header_size, scanned)
        if not isinstance(result, int):
            request, length = result
            return request, bytes(data[:length]), bytes(data[length:])
        scanned = result
        octets = b""


def read_body(socket: GreenletSocket, request: Request, rest: bytes) -> bool:
    """Puts the body into the request; `rest` is what has come of it. False: the connection ended before.

    HandshakeError as `body_length`.
    """
    settings = socket.context.settings
    length = body_length(request, settings.max_body_size)
    if not length:
        return True
    socket.limit_request(time.monotonic() + settings.handshake_timeout)
    if request.headers.get("Expect", "").lower() == "100-continue" and not rest and request.version_minor:
        socket.write_request_answer(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = bytearray(rest[:length])
    while len(body) < length:
        octets = socket.read_request(min(length - len(body), 64 * 1024))
        if not octets:
            return False
        body += octets
    request.body = bytes(body)
    return True
