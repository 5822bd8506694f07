"""Ending a TCP connection whose peer may still be sending, so that it gets to read what we sent last (layer 2).

Closing a socket with unread input makes the system reset the connection, and a reset discards what the peer has not
read yet: the HTTP error or the close frame that tells it why. So the sending half is closed first, and what comes is
read and forgotten for a short while (RFC 9112 section 9.6, RFC 6455 section 7.1.1). Nothing that comes is ever
interpreted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lws_gevent.engines.deadlines import Deadlines

__all__ = ["Lingering"]

_SECONDS = 2.0
_OCTETS = 4 * 1024 * 1024
_READ_SIZE = 64 * 1024


class Lingering:
    """Owns `sock` until its peer has closed too, or has had its time; calls `ended` with itself then. Runs in the
    hub."""

    __slots__ = ("_deadlines", "_ended", "_left", "_sock", "_watcher", "deadline_slot")

    def __init__(self, sock: Any, loop: Any, deadlines: Deadlines, ended: Callable[[Lingering], None]) -> None:
        self.deadline_slot: float | None = None
        self._sock = sock
        self._deadlines = deadlines
        self._ended = ended
        self._left = _OCTETS
        self._watcher = loop.io(sock.fileno(), 1)
        self._watcher.start(self._discard)
        deadlines.set(self, time.monotonic() + _SECONDS)

    def _discard(self) -> None:
        try:
            count = len(self._sock.recv(_READ_SIZE))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            count = 0
        self._left -= count
        if not count or self._left <= 0:
            self.end()

    def check_deadlines(self, now: float) -> float | None:
        """Its time is over."""
        self.end()
        return None

    def end(self) -> None:
        """Closes the socket, once."""
        if self._sock is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
            self._deadlines.cancel(self)
            self._sock.close()
            self._sock = None
            self._ended(self)

    def abandon(self) -> tuple[Any, list[Any]]:
        """After a fork, in the child: gives up its socket and its watcher, which it returns, without a word to the
        peer."""
        sock, self._sock = self._sock, None
        return sock, [self._watcher]
