"""What carries a server's WebSocket: the core's engine, or the stream itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lws_gevent
from lws_gevent.compat.ws.core_link import Core, CoreLink
from lws_gevent.compat.ws.net import Socket
from lws_gevent.compat.ws.stream_link import StreamLink

__all__ = ["make_link"]


def make_link(
    server: Any, websocket: Any, request: Any, socket: Any, head: bytes, answer: bytes, options: Mapping[str, Any]
) -> Any:
    """Answers the handshake with `answer`, and gives the link between `websocket` and its peer.

    A plain socket goes to the core's engine. What is no socket, what speaks TLS already, and what asks for things
    that are ws's alone (its compression, unchecked UTF-8, events one at a time) stays a stream, read by a greenlet.
    """
    special = options["skipUTF8Validation"] or not options["allowSynchronousEvents"] or websocket._extensions
    if special or type(socket) is not Socket or socket.encrypted or socket.reading:
        socket.write(answer)
        return StreamLink(websocket, socket, head, options)
    if server._core is None:
        server._core = Core(options)
    socket.websocket = websocket
    raw, octets = socket._detach()
    parsed = lws_gevent.Request(request.method, request.url, b"")
    protocol = websocket.protocol or None
    handle = server._core.server.adopt(raw, parsed, head + octets, answer=answer, subprotocol=protocol)
    return CoreLink(server._core, websocket, handle, socket._ended)
