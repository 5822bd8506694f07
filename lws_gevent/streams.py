"""Connected sockets while a client's opening handshake is made over them (layer 2).

Reading and writing block the calling greenlet, which is what a handshake needs; once it is done the socket and, with
TLS, what encrypts are handed to an engine.
"""

from __future__ import annotations

import _socket  # never monkey-patched; the engines use these too
import contextlib
import errno
import os
import re
from collections import deque
from collections.abc import Iterable
from typing import Any

from gevent import get_hub, socket
from gevent.event import Event

__all__ = ["Stream", "open_tcp", "open_unix"]

#: So much later than the one before is the next address tried, whatever becomes of that (RFC 8305 section 5).
_ATTEMPT_SECONDS = 0.25

_READ_SIZE = 16 * 1024
_NUMERIC = re.compile(r"[0-9.]+|.*:.*")
_IN_PROGRESS = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN, errno.EINTR)


class Stream:
    """A connected non-blocking socket."""

    #: What encrypts, for an engine to go on with; None: nothing does.
    transport: Any = None

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def read(self) -> bytes:
        """Some octets; empty when the peer has ended the connection."""
        while True:
            try:
                data: bytes = self._sock.recv(_READ_SIZE)
                return data
            except (BlockingIOError, InterruptedError):
                self._wait(1)

    def write(self, data: bytes) -> None:
        """Writes all of `data`."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._sock.send(rest) :]
            except (BlockingIOError, InterruptedError):
                self._wait(2)

    def _wait(self, events: int) -> None:
        hub = get_hub()
        watcher = hub.loop.io(self._sock.fileno(), events)
        try:
            hub.wait(watcher)
        finally:
            watcher.stop()
            watcher.close()

    def take(self) -> Any:
        """The socket, which is the caller's from now on."""
        sock, self._sock = self._sock, None
        return sock

    def close(self) -> None:
        """Closes the socket, unless it was taken."""
        sock, self._sock = self._sock, None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(_socket.SHUT_RDWR)
            sock.close()


class TLSStream(Stream):
    """TLS over the socket of another stream, which is given up."""

    def __init__(self, inner: Stream, context: Any, server_hostname: str) -> None:
        """Makes the TLS handshake. ssl.SSLError (an OSError) when it fails; `inner` stays the caller's then."""
        from lws_gevent.tls_transport import TlsTransport

        super().__init__(inner._sock)
        self.transport = TlsTransport(inner._sock, context, server_side=False, server_hostname=server_hostname)
        self._early = b""  # came before it was asked for
        self._shake_hands()
        inner.take()
        self._sock = self.transport

    def read(self) -> bytes:
        """As that of `Stream`."""
        early, self._early = self._early, b""
        return early or super().read()

    def _shake_hands(self) -> None:
        while True:
            try:
                self.transport.do_handshake()
                return
            except BlockingIOError:
                self._wait(3 if self.transport.wants_write else 1)
            except EOFError as error:
                raise ConnectionResetError(errno.ECONNRESET, str(error)) from None

    def _wait(self, events: int) -> None:
        if self.transport.reading_first:  # the server has begun another handshake
            with contextlib.suppress(BlockingIOError):
                octets = self.transport.recv(_READ_SIZE)
                if not octets:
                    raise ConnectionResetError(errno.ECONNRESET, "the server has ended the connection in a handshake")
                self._early += octets
                return
            events = 1
        super()._wait(events)


# --- connecting -------------------------------------------------------------------------------------------------------


def open_unix(path: str) -> Stream:
    """A stream to the unix socket at `path`. OSError, which names it, when that fails."""
    if not hasattr(_socket, "AF_UNIX"):
        raise OSError(errno.EAFNOSUPPORT, "this system has no unix sockets")
    return Stream(_race([(_socket.AF_UNIX, path)], None, f"unix:{path}"))


def open_tcp(host: str, port: int, local_address: tuple[str, int] | None = None) -> Stream:
    """A stream to `host`, a name or an address. All its addresses are tried: both families in turn, and none is waited
    for long before the next is tried too (RFC 8305). OSError, which names the host, when none answers."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    addresses = resolve(host, port)
    first = addresses[0][0]
    others = deque(address for address in addresses if address[0] != first)
    ordered = []
    for address in addresses:
        if address[0] == first:
            ordered.append(address)
            if others:
                ordered.append(others.popleft())
    return Stream(_race([*ordered, *others], local_address, where))


def resolve(host: str, port: int, family: int = 0) -> list[tuple[int, Any]]:
    """Family and address of each address of `host`, in the system's order. OSError, which names `host`, when it has
    none."""
    try:
        if _NUMERIC.fullmatch(host):  # nothing that could take time
            found: list[Any] = _socket.getaddrinfo(host, port, family, _socket.SOCK_STREAM, 0, _socket.AI_NUMERICHOST)
        else:
            found = list(socket.getaddrinfo(host, port, family, _socket.SOCK_STREAM))
    except _socket.gaierror as error:
        raise _socket.gaierror(error.errno, f"cannot look up {host}: {error.strerror or error}") from None
    return list(dict.fromkeys((int(kind), address) for kind, _, _, _, address in found))


def _race(addresses: Iterable[tuple[int, Any]], local_address: Any, where: str) -> Any:
    """The first socket that is connected; the others are closed."""
    left = deque(addresses)
    loop = get_hub().loop
    attempts: dict[Any, Any] = {}
    problem: OSError | None = None
    changed = Event()
    try:
        while True:
            changed.clear()
            if left:
                family, address = left.popleft()
                sock = _socket.socket(family, _socket.SOCK_STREAM)
                attempts[sock] = None
                try:
                    if _begin(sock, address, local_address):
                        return _won(sock, attempts)
                    attempts[sock] = watcher = loop.io(sock.fileno(), 2)
                    watcher.start(changed.set)
                except OSError as error:
                    problem = problem or error
                    _give_up(sock, attempts)
                    continue
            if not attempts:
                assert problem is not None
                raise OSError(problem.errno, f"cannot connect to {where}: {problem.strerror or problem}")
            changed.wait(_ATTEMPT_SECONDS if left else None)
            for sock in list(attempts):
                try:
                    if _is_connected(sock):
                        return _won(sock, attempts)
                except OSError as error:
                    problem = problem or error
                    _give_up(sock, attempts)
    finally:
        for sock in list(attempts):
            _give_up(sock, attempts)


def _begin(sock: Any, address: Any, local_address: Any) -> bool:
    """Whether it is connected at once."""
    sock.setblocking(False)
    if local_address is not None:
        sock.bind(local_address)
    status = sock.connect_ex(address)
    # A unix socket whose backlog is full is not on its way anywhere.
    if status and (status not in _IN_PROGRESS or not isinstance(address, tuple)):
        raise OSError(status, os.strerror(status))
    return not status


def _is_connected(sock: Any) -> bool:
    status = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
    if status:
        raise OSError(status, os.strerror(status))
    try:
        sock.getpeername()
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            return False  # still on its way
        raise
    return True


def _won(sock: Any, attempts: dict[Any, Any]) -> Any:
    watcher = attempts.pop(sock)
    if watcher is not None:
        watcher.stop()
        watcher.close()
    return sock


def _give_up(sock: Any, attempts: dict[Any, Any]) -> None:
    if sock in attempts:
        _won(sock, attempts)
        sock.close()
