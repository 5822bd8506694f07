"""A TLS transport that waits (layer 2): for code that was written for gevent's sockets."""

from __future__ import annotations

import errno
from typing import Any

from gevent import socket

__all__ = ["BlockingTransport"]

_READ_SIZE = 16 * 1024


class BlockingTransport:
    """Looks like a connected socket of gevent's, as far as gevent.pywsgi looks; over a `TlsTransport` that is
    established."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._timeout: float | None = None
        #: Received, and not yet asked for.
        self.unread = b""

    def release(self) -> Any:
        """Gives the transport up; this object is closed then."""
        transport, self._transport = self._transport, None
        return transport

    def settimeout(self, timeout: float | None) -> None:
        """Seconds that one call may wait; 0.0: not at all."""
        self._timeout = timeout

    def gettimeout(self) -> float | None:
        """See `settimeout`."""
        return self._timeout

    def fileno(self) -> int:
        """The descriptor; -1 after the end."""
        return -1 if self._transport is None else self._transport.fileno()

    def recv_into(self, buffer: Any) -> int:
        """TimeoutError, or BlockingIOError without a timeout, when nothing comes."""
        while not self.unread and self._transport is not None:
            try:
                self.unread = self._transport.recv(len(buffer))
            except BlockingIOError:
                self._wait(socket.wait_read)
            else:
                break
        count = min(len(buffer), len(self.unread))
        buffer[:count] = self.unread[:count]
        self.unread = self.unread[count:]
        return count

    def send(self, data: Any) -> int:
        """How many octets were taken: at least one."""
        while True:
            if self._transport is None:
                raise BrokenPipeError(errno.EPIPE, "the connection is not this object's any more")
            try:
                taken: int = self._transport.send(data)
                return taken
            except BlockingIOError:
                if self._transport.reading_first:
                    self._read_first()
                else:
                    self._wait(socket.wait_write)

    def _read_first(self) -> None:
        """The peer has begun another handshake. What it has sent waits for `recv_into`."""
        try:
            octets = self._transport.recv(_READ_SIZE)
        except BlockingIOError:
            self._wait(socket.wait_read)
            return
        if not octets:
            raise BrokenPipeError(errno.EPIPE, "the peer has ended the connection in a handshake")
        self.unread += octets

    def sendall(self, data: Any) -> None:
        """As `send`, until everything is taken."""
        view = memoryview(data)
        while view:
            view = view[self.send(view) :]

    def flush(self) -> None:
        """Waits until the system has taken what TLS itself has to say."""
        while self._transport is not None and self._transport.wants_write:
            self._transport.flush()
            if self._transport.wants_write:
                self._wait(socket.wait_write)

    def _wait(self, wait: Any) -> None:
        if self._timeout == 0.0:
            raise BlockingIOError
        wait(self._transport.fileno(), self._timeout, TimeoutError("timed out"))

    def close(self) -> None:
        """Closes the connection, without a word."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None
