"""Whether a peer is still there, for connections that are not read at the moment (layer 2)."""

from __future__ import annotations

import select
from typing import Any

from gevent import monkey

__all__ = ["peer_has_left"]

#: Reported whatever was asked for: the connection is reset, or closed by both. POLLRDHUP (Linux): closed by the peer.
_ENDED = getattr(select, "POLLHUP", 0) | getattr(select, "POLLERR", 0) | getattr(select, "POLLRDHUP", 0)


def peer_has_left(sock: Any) -> bool:
    """Looks, without waiting, and without reading what the peer has sent before. False where the system cannot tell."""
    if not _ENDED:
        return False
    poll = monkey.get_original("select", "poll")()
    poll.register(sock.fileno(), getattr(select, "POLLRDHUP", 0))
    return any(happened & _ENDED for _, happened in poll.poll(0))
