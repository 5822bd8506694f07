"""Taking over connected sockets that somebody else has made (layer 2)."""

from __future__ import annotations

import _socket
import errno
import os
from typing import Any

from lws_gevent.listening import tune
from lws_gevent.options import Settings

__all__ = ["take_socket"]


def take_socket(sock: Any, settings: Settings) -> Any:
    """A socket object of our own, non-blocking and tuned, for the connected socket `sock`: one of gevent's, of the
    standard library's, anything else with a `fileno`, or a descriptor.

    Whoever has `sock` may keep, close or forget it: a socket object is detached, so that it holds no descriptor any
    more; of what cannot be detached the descriptor is duplicated; a bare descriptor is ours from here on. TypeError for
    anything else, and for TLS sockets; OSError when it is no socket. Nothing is touched then.
    """
    if hasattr(sock, "_sslobj"):
        raise TypeError("a TLS socket cannot be taken apart: what encrypts belongs to it")
    if isinstance(sock, int):
        taken = _socket.socket(fileno=sock)
    elif hasattr(sock, "detach") and hasattr(sock, "family"):
        if sock.fileno() < 0:
            raise OSError(errno.EBADF, "the socket is closed")
        family, kind, protocol = sock.family, sock.type, sock.proto
        taken = _socket.socket(family, kind, protocol, fileno=sock.detach())
    elif hasattr(sock, "fileno"):
        taken = _socket.socket(fileno=os.dup(sock.fileno()))
    else:
        raise TypeError(f"a connected socket or its descriptor is needed, not {type(sock).__name__}")
    taken.setblocking(False)
    tune(taken, (settings.keep_alive_time, settings.keep_alive_interval, settings.keep_alive_retry))
    return taken
