"""What carries a server's WebSocket: the core's engine, or the stream itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lws_gevent
from lws_gevent.compat.ws.core_link import Core, CoreLink
from lws_gevent.compat.ws.net import Socket
from lws_gevent.compat.ws.permessage_deflate import PerMessageDeflate
from lws_gevent.compat.ws.stream_link import StreamLink

__all__ = ["deflate_parameters", "make_link"]


def make_link(
    server: Any, websocket: Any, request: Any, socket: Any, head: bytes, answer: bytes, options: Mapping[str, Any]
) -> Any:
    """Answers the handshake with `answer`, and gives the link between `websocket` and its peer.

    A plain socket goes to the core's engine. What is no socket, what speaks TLS already, and what asks for things
    that the core has not (unchecked UTF-8, events one at a time, some parameters of zlib) stays a stream, read by a
    greenlet.
    """
    agreed = websocket._extensions.get(PerMessageDeflate.extensionName)
    deflate = None if agreed is None else deflate_parameters(agreed)
    special = options["skipUTF8Validation"] or not options["allowSynchronousEvents"] or (agreed and deflate is None)
    if special or type(socket) is not Socket or socket.encrypted or socket.reading:
        socket.write(answer)
        return StreamLink(websocket, socket, head, options)
    if server._core is None:
        server._core = Core(options)
    socket.websocket = websocket
    raw, octets = socket._detach()
    parsed = lws_gevent.Request(request.method, request.url, b"")
    handle = server._core.server.adopt(
        raw, parsed, head + octets, answer=answer, subprotocol=websocket.protocol or None, deflate=deflate
    )
    return CoreLink(server._core, websocket, handle, socket._ended, agreed)


def deflate_parameters(agreed: PerMessageDeflate) -> lws_gevent.DeflateParameters | None:
    """What was agreed on, for the core; None when it cannot do it: raw DEFLATE with a window of 2^8 octets, a strategy
    or a dictionary of zlib."""
    deflate = agreed._options.get("zlibDeflateOptions") or {}
    if set(deflate) - {"level", "memLevel", "chunkSize"} or deflate.get("level", 6) < 0:
        return None
    params = agreed.params
    bits = [params.get(f"{end}_max_window_bits", 15) for end in ("server", "client")]
    if min(bits) < 9:
        return None
    return lws_gevent.DeflateParameters(
        bool(params.get("server_no_context_takeover")), bool(params.get("client_no_context_takeover")), *bits
    )
