"""Taking over connected sockets that somebody else has made (layer 2)."""

from __future__ import annotations

import _socket
import errno
import os
from typing import Any

from lws_gevent.listening import tune
from lws_gevent.options import Settings

__all__ = ["is_tls", "kill_socket", "take_socket", "take_tls_socket"]


def is_tls(sock: Any) -> bool:
    """Whether `sock` is an ssl.SSLSocket, or one of gevent's."""
    return hasattr(type(sock), "do_handshake") and not hasattr(type(sock), "ssl_object")  # as our transports have


def take_socket(sock: Any, settings: Settings) -> Any:
    """A socket object of our own, non-blocking and tuned, for the connected socket `sock`: one of gevent's, of the
    standard library's, anything else with a `fileno`, or a descriptor.

    Whoever has `sock` may keep, close or forget it: a socket object is detached, so that it holds no descriptor any
    more; of what cannot be detached the descriptor is duplicated; a bare descriptor is ours from here on. TypeError for
    anything else, and for TLS sockets; OSError when it is no socket. Nothing is touched then.
    """
    if is_tls(sock):
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


def kill_socket(sock: Any, dead: Any) -> None:
    """Makes the socket object `sock`, whose descriptor was taken out, one for the descriptor of `dead`."""
    sock.__init__(dead.family, dead.type, dead.proto, fileno=dead.detach())


def take_tls_socket(sock: Any, dead: Any = None) -> Any:
    """A transport over the connected TLS socket `sock`, for `Engine.adopt`; its handshake must be done.

    A socket of gevent's becomes the plain one `dead`, or a closed one; whoever has it may do with it what he likes. One
    of the standard library's is kept from being closed, and must be left alone.
    """
    from gevent import socket

    from lws_gevent.tls_transport import SslSocketTransport  # what it needs is for those alone who use it

    if sock._sslobj is None:
        raise OSError(errno.EBADF, "the TLS socket is closed, or its handshake is not done")
    gevents: Any = socket.socket
    if not isinstance(sock, gevents):
        return SslSocketTransport(sock, sock.makefile("rb", 0))
    kind: Any = type(sock)
    taken = kind.__new__(kind)
    for name in {name for base in kind.__mro__ for name in getattr(base, "__slots__", ())} - {"__weakref__"}:
        setattr(taken, name, getattr(sock, name))
    taken.__dict__.update(sock.__dict__)
    taken._closed = False
    taken._io_refs = 0
    taken._sslobj.owner = taken
    sock._sslobj = None
    here, there = (dead, None) if dead is not None else _socket.socketpair()
    gevents.__init__(sock, here.family, here.type, here.proto, fileno=here.detach())
    if there is not None:
        there.close()
        sock.close()
    return SslSocketTransport(taken)
