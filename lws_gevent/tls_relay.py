"""A TLS socket that somebody else has made, for an engine that reads descriptors itself (layer 2).

OpenSSL's part of such a socket cannot be parted from it. So the engine gets one end of a socket pair, and what goes
through it is opened and sealed here, in the hub, within bounded memory. It costs a second descriptor, and a copy of
each octet.
"""

from __future__ import annotations

import _socket
import contextlib
from typing import Any

from gevent import get_hub

from lws_gevent import after_fork

__all__ = ["TlsRelay"]

_SIZE = 64 * 1024


class TlsRelay:
    """Moves octets between `transport` and a socket pair until both sides have ended. `sock` is the end for the engine.
    Belongs to the hub of the calling thread."""

    def __init__(self, transport: Any) -> None:
        here, self.sock = _socket.socketpair()
        here.setblocking(False)
        self._transport = transport
        self._plain: Any = here
        self._loop = get_hub().loop
        self._opened = b""  # for the engine
        self._sealed = b""  # from the engine
        self._peer_ended = self._engine_ended = False
        loop, peer = self._loop, transport.fileno()
        self._watchers: dict[str, Any] = {
            "from_peer": loop.io(peer, 1),
            "to_peer": loop.io(peer, 2),
            "from_engine": loop.io(here.fileno(), 1),
            "to_engine": loop.io(here.fileno(), 2),
        }
        after_fork.call_in_child(self)
        self._regulate()

    def _turn(self) -> None:
        """In the hub: something can be read or written."""
        try:
            self._from_peer()
            self._from_engine()
        except OSError:
            self._end()
        else:
            self._regulate()

    def _from_peer(self) -> None:
        if not self._opened and not self._peer_ended:
            with contextlib.suppress(BlockingIOError):
                self._opened = self._transport.recv(_SIZE)
                self._peer_ended = not self._opened
        if self._opened:
            with contextlib.suppress(BlockingIOError):
                self._opened = self._opened[self._plain.send(self._opened) :]
        if self._peer_ended and not self._opened:
            self._plain.shutdown(_socket.SHUT_WR)

    def _from_engine(self) -> None:
        if not self._sealed and not self._engine_ended:
            with contextlib.suppress(BlockingIOError):
                self._sealed = self._plain.recv(_SIZE)
                self._engine_ended = not self._sealed
        if self._sealed:
            with contextlib.suppress(BlockingIOError):
                self._sealed = self._sealed[self._transport.send(self._sealed) :]
        if self._engine_ended and not self._sealed:
            self._end()

    def _regulate(self) -> None:
        if self._plain is None:
            return
        waits = bool(self._sealed)
        reading_first = self._transport.reading_first
        wanted = {
            "from_peer": not self._opened and not self._peer_ended or waits and reading_first,
            "to_peer": waits and not reading_first,
            "from_engine": not waits and not self._engine_ended,
            "to_engine": bool(self._opened),
        }
        for name, watcher in self._watchers.items():
            if wanted[name] and not watcher.active:
                watcher.start(self._turn)
            elif not wanted[name]:
                watcher.stop()

    def _end(self) -> None:
        plain, self._plain = self._plain, None
        if plain is None:
            return
        for watcher in self._watchers.values():
            watcher.stop()
            watcher.close()
        plain.close()
        with contextlib.suppress(OSError):
            self._transport.shutdown(_socket.SHUT_WR)
        self._transport.close()

    def after_fork_in_child(self) -> None:
        """In a forked child: the connection is the parent's."""
        plain, self._plain = self._plain, None
        if plain is not None:
            watchers = list(self._watchers.values())
            after_fork.replace_descriptors([plain, self._transport], watchers, self._loop)
