"""Opening handshakes under gevent.pywsgi, read by our own handler (layer 2).

gevent.pywsgi reads a head line by line and gives it to the parser of the library for e-mail, which costs more than all
the rest of a handshake. A head that is there as a whole and is a good opening handshake, by the strict parser, is taken
ahead of that; what the application sees of it is the same. Any other head is left to gevent.pywsgi.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from email.message import Message
from typing import Any
from urllib.parse import unquote

from gevent import pywsgi

from lws_gevent import codec
from lws_gevent.errors import HandshakeError
from lws_gevent.foreign_request import ParsedHead
from lws_gevent.wsgi_socket import HANDLER

__all__ = ["NO_INPUT", "NoLog", "RequestFile", "fill_environ", "message_of", "read_upgrade"]

_pywsgi: Any = pywsgi  # whose inner workings its type stubs do not tell

#: What gevent.pywsgi's handler discards behind a request without a body.
NO_INPUT = _pywsgi.Input(None, None)

#: The log of a server without one; writing a line for it is spared.
NoLog: type = getattr(_pywsgi, "_NoopLog", type(None))

_BUFFER = 8192

#: More than fits into the buffer: what does not is left to gevent.pywsgi.
_NO_LIMIT = 2 * _BUFFER

#: Names of headers that were met -> their keys in an environ; None: not for an environ. Bounded, as peers invent names.
_keys: dict[bytes, str | None] = {}
_MOST_KEYS = 256

#: Values that are the same in nearly every handshake, so that not each connection has its own.
_VALUES = {value.encode(): value for value in ("websocket", "Upgrade", "13", "no-cache", "gzip, deflate, br, zstd")}


class RequestFile(io.BufferedReader):
    """What a connection brings, as gevent.pywsgi reads it."""

    def __init__(self, sock: Any) -> None:
        super().__init__(_Raw(sock), _BUFFER)

    def unread(self) -> bytes:
        """What it holds; nothing is received."""
        raw: Any = self.raw
        raw.dry = True
        try:
            return self.peek()
        finally:
            raw.dry = False


class _Raw(io.RawIOBase):
    """The socket as a file."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.dry = False

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        descriptor: int = self._sock.fileno()
        return descriptor

    def readinto(self, buffer: Any) -> int | None:
        if self.dry:
            return None
        try:
            received: int = self._sock.recv_into(buffer)
        except BlockingIOError:
            return None  # somebody only wants to look
        return received


def read_upgrade(file: RequestFile, request_line: str) -> ParsedHead | None:
    """The opening handshake that begins with `request_line`, which was read from `file`; None, and nothing more is read
    then, when it is none, or none that is good, or has come in part only.

    Blocks until something has come. OSError: the peer is gone.
    """
    if file.closed:
        return None
    octets = file.peek()
    end = octets.find(b"\r\n\r\n") + 4
    if end < 4 or b"websocket" not in octets[:end].lower():
        return None
    try:
        result = _parse_request()(request_line.encode("latin-1") + octets[:end], _NO_LIMIT, 0)
    except HandshakeError:
        return None  # gevent.pywsgi may take it for a request all the same
    if isinstance(result, int):
        return None
    request, length = result
    if request.upgrade_status != 101 or request.content_length is not None or request.chunked:
        return None
    file.read(end)
    return ParsedHead(request, length)


@functools.cache
def _parse_request() -> Callable[..., Any]:
    return codec.load().parse_request


def fill_environ(environ: dict[str, Any], handler: Any, head: ParsedHead) -> dict[str, Any]:
    """The environ of an opening handshake, as gevent.pywsgi makes it; `environ` is that of the server."""
    request = head.request
    path, _, query = request.target.partition("?")
    environ["REQUEST_METHOD"] = "GET"
    environ["SCRIPT_NAME"] = ""
    environ["PATH_INFO"] = unquote(path, "latin-1") if "%" in path else path
    environ["QUERY_STRING"] = query
    environ["SERVER_PROTOCOL"] = "HTTP/1.1"
    address = handler.client_address
    if isinstance(address, tuple):
        environ["REMOTE_ADDR"] = str(address[0])
        environ["REMOTE_PORT"] = str(address[1])
    for name, octets in request.headers.raw:
        key = _keys.get(name, "")
        if key == "":
            key = _key(name)
        if key is None:
            continue
        value = _VALUES.get(octets) or octets.decode("latin-1")
        if key in environ:
            value = environ[key] + ("; " if "COOKIE" in key else ",") + value
        environ[key] = value
    environ["wsgi.input"] = handler.rfile
    environ["wsgi.input_terminated"] = False
    environ[HANDLER] = handler
    handler.wsgi_input = NO_INPUT
    return environ


def message_of(head: ParsedHead | None, environ: dict[str, Any] | None) -> Message:
    """The headers of an opening handshake, as gevent.pywsgi's handler has them: while the connection lasts, from what
    is left of them, the environ."""
    message: Message = type(_pywsgi.WSGIHandler.headers)()
    if head is not None:
        for name, value in head.request.headers.raw:
            message[name.decode("latin-1")] = value.decode("latin-1")
    else:
        for key, value in (environ or {}).items():
            if key.startswith("HTTP_"):
                message[key[5:].replace("_", "-").title()] = value
            elif key == "CONTENT_TYPE":
                message["Content-Type"] = value
    return message


def _key(name: bytes) -> str | None:
    upper = name.decode("latin-1").upper()
    key: str | None = "HTTP_" + upper.replace("-", "_")
    if "_" in upper:
        key = None  # it could pose as another
    elif upper == "CONTENT-TYPE":
        key = "CONTENT_TYPE"
    if len(_keys) < _MOST_KEYS:
        _keys[name] = key
    return key
