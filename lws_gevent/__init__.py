"""Lightweight WebSockets for gevent.

>>> import lws_gevent
>>> server = lws_gevent.Server(port=3000)
>>> @server.on("message")
... def message(socket, message, binary):
...     server.send(socket, message, binary)
>>> server.serve_forever()                                              # doctest: +SKIP
"""

from lws_gevent._version import __version__
from lws_gevent.client import Client, connect
from lws_gevent.engines.interface import Socket
from lws_gevent.errors import (
    BackpressureExceeded,
    ConnectionClosed,
    HandshakeError,
    LwsError,
    PayloadTooBig,
    ProtocolError,
)
from lws_gevent.extensions import DeflateParameters, PerMessageDeflate
from lws_gevent.frames import CloseCode, Opcode, ReadyState
from lws_gevent.handshake import Headers, Request
from lws_gevent.prepared import Prepared
from lws_gevent.reconnecting import reconnecting
from lws_gevent.server import Server

__all__ = [
    "BackpressureExceeded",
    "Client",
    "CloseCode",
    "ConnectionClosed",
    "DeflateParameters",
    "HandshakeError",
    "Headers",
    "LwsError",
    "Opcode",
    "PayloadTooBig",
    "PerMessageDeflate",
    "Prepared",
    "ProtocolError",
    "ReadyState",
    "Request",
    "Server",
    "Socket",
    "__version__",
    "connect",
    "reconnecting",
]
