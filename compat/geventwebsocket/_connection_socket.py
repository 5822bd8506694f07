"""``ws.stream.handler.socket``: what programs do with the socket below a WebSocket."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from lws_gevent import Socket

__all__ = ["ConnectionSocket"]


class ConnectionSocket:
    """The socket of a connection, as far as it may be used beside its engine. It has no descriptor of its own."""

    __slots__ = ("_connection", "_websocket")

    def __init__(self, websocket: Any, connection: Socket) -> None:
        self._websocket = websocket
        self._connection = connection

    @property
    def _sock(self) -> ConnectionSocket:
        return self

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[socket.socket]:
        fd = self.fileno()
        if fd < 0:
            raise OSError(9, "the connection is closed")
        sock = socket.fromfd(fd, socket.AF_INET, socket.SOCK_STREAM)
        try:
            yield sock
        finally:
            sock.close()

    def fileno(self) -> int:
        """The descriptor, -1 after the close. It is not for reading or writing."""
        return self._connection.fd

    def setsockopt(self, *args: Any) -> None:
        """As that of a socket."""
        with self._borrowed() as sock:
            sock.setsockopt(*args)

    def getsockopt(self, *args: Any) -> Any:
        """As that of a socket."""
        with self._borrowed() as sock:
            return sock.getsockopt(*args)

    def getpeername(self) -> Any:
        """As that of a socket."""
        with self._borrowed() as sock:
            return sock.getpeername()

    def getsockname(self) -> Any:
        """As that of a socket."""
        with self._borrowed() as sock:
            return sock.getsockname()

    def settimeout(self, timeout: float | None) -> None:
        """See `WebSocket.settimeout`."""
        self._websocket.settimeout(timeout)

    def gettimeout(self) -> float | None:
        """What `settimeout` has set."""
        return self._websocket.gettimeout()  # type: ignore[no-any-return]

    def shutdown(self, how: int) -> None:
        """As that of a socket."""
        with self._borrowed() as sock:
            sock.shutdown(how)

    def close(self) -> None:
        """Ends the connection at once, without a close frame."""
        self._connection.terminate()
