"""What carries a server's WebSocket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lws_gevent.compat.ws.stream_link import StreamLink

__all__ = ["make_link"]


def make_link(
    shared: dict[str, Any],
    websocket: Any,
    request: Any,
    socket: Any,
    head: bytes,
    answer: bytes,
    options: Mapping[str, Any],
) -> Any:
    """Answers the handshake with `answer`, and gives the link between `websocket` and its peer."""
    socket.write(answer)
    return StreamLink(websocket, socket, head, options)
