"""Where a server listens: what users write, and the listening socket that becomes of it (layer 2)."""

from __future__ import annotations

import _socket  # never monkey-patched; as gevent's own servers do
import contextlib
import errno
import os
import stat
from typing import Any

from gevent import socket

__all__ = ["Address", "open_listener", "parse_listener", "remove_unix_path", "tune"]

#: ``(host, port)``, or the path of a unix socket.
Address = tuple[str, int] | str

_UNIX_PREFIX = "unix:"


def parse_listener(listener: Any) -> Address:
    """The address that a listener names: ``(host, port)``, a port, ``"port"``, ``"host:port"``, ``"[::1]:port"`` or
    ``"unix:/path"``. TypeError or ValueError when it is none of these."""
    if isinstance(listener, bool) or listener is None:
        raise TypeError(f"a listener must be an address, a port or a listening socket, not {listener!r}")
    if isinstance(listener, int):
        return "", _port(listener, listener)
    if isinstance(listener, tuple):
        if len(listener) != 2 or not isinstance(listener[0], str):
            raise TypeError(f"a listener's address must be (host, port), not {listener!r}")
        return listener[0], _port(listener[1], listener)
    if not isinstance(listener, str):
        raise TypeError(f"a listener must be an address, a port or a listening socket, not {type(listener).__name__}")
    if listener.startswith(_UNIX_PREFIX):
        path = listener[len(_UNIX_PREFIX) :]
        if not hasattr(_socket, "AF_UNIX"):
            raise ValueError(f"this system has no unix sockets: {listener!r}")
        if not path:
            raise ValueError(f"the listener {listener!r} names no path")
        return path
    host, _, port = listener.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"in a listener, an IPv6 address stands in brackets: {listener!r}")
    return "" if host == "*" else host, _port(port, listener)


def _port(port: Any, listener: Any) -> int:
    if isinstance(port, str) and port.isascii() and port.isdigit():
        port = int(port)
    if not isinstance(port, int) or isinstance(port, bool):
        raise TypeError(f"the port of a listener must be an int, in {listener!r}")
    if not 0 <= port <= 65535:
        raise ValueError(f"the port of a listener must be between 0 and 65535, in {listener!r}")
    return port


def open_listener(address: Address, backlog: int) -> Any:
    """A listening, non-blocking socket. OSError, which names the address, when that cannot be had.

    The host ``""`` is every address of the machine, IPv6 and IPv4; a name is resolved.
    """
    try:
        if isinstance(address, str):
            return _listen(_socket.AF_UNIX, address, backlog)
        host, port = address
        if host:
            family, resolved = _resolve(host, port)
            return _listen(family, resolved, backlog)
        try:
            return _listen(_socket.AF_INET6, ("::", port), backlog)
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
            return _listen(_socket.AF_INET, ("0.0.0.0", port), backlog)  # a machine without IPv6
    except OSError as error:
        where = f"unix:{address}" if isinstance(address, str) else _host_and_port(*address)
        reason = error.strerror or str(error)
        raise OSError(error.errno, f"cannot listen on {where}: {reason}") from None


def _resolve(host: str, port: int) -> tuple[int, Any]:
    kind, flags = _socket.SOCK_STREAM, _socket.AI_PASSIVE
    found: list[Any]
    try:
        # Mostly it is a number; then neither the network nor a thread of gevent's resolver is needed.
        found = list(_socket.getaddrinfo(host, port, 0, kind, 0, flags | _socket.AI_NUMERICHOST))
    except _socket.gaierror:
        found = list(socket.getaddrinfo(host, port, 0, kind, 0, flags))
    family, _, _, _, address = found[0]
    return family, address


def _host_and_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host or '*'}:{port}"


def _listen(family: int, address: Any, backlog: int) -> Any:
    sock = _socket.socket(family, _socket.SOCK_STREAM)
    try:
        if family == getattr(_socket, "AF_UNIX", None):
            _remove_stale(address)
        elif os.name == "posix":  # elsewhere it would let others take our port
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        if family == _socket.AF_INET6 and address[0] == "::":
            sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 0)
        sock.bind(address)
        sock.listen(backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Removes a socket file that a server has left behind; one on which somebody listens stays, and bind() says so."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except OSError:
        return
    probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        probe.setblocking(False)
        probe.connect(path)
    except ConnectionRefusedError:
        with contextlib.suppress(OSError):
            os.unlink(path)
    except OSError:
        pass
    finally:
        probe.close()


def remove_unix_path(path: str, inode: tuple[int, int] | None) -> None:
    """Removes the socket file `path` unless somebody has put another one there since."""
    with contextlib.suppress(OSError):
        status = os.lstat(path)
        if (status.st_dev, status.st_ino) == inode:
            os.unlink(path)


def tune(sock: Any, keep_alive: tuple[int | None, int | None, int | None]) -> None:
    """Sets the TCP options of an accepted socket: frames leave at once, and keep-alive (idle, interval, probes) if
    wanted."""
    if sock.family not in (_socket.AF_INET, _socket.AF_INET6):
        return
    with contextlib.suppress(OSError):  # the peer may be gone already; reading will tell
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        if any(keep_alive):
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)
            names = (
                "TCP_KEEPIDLE" if hasattr(_socket, "TCP_KEEPIDLE") else "TCP_KEEPALIVE",
                "TCP_KEEPINTVL",
                "TCP_KEEPCNT",
            )
            for name, value in zip(names, keep_alive, strict=True):
                if value is not None and hasattr(_socket, name):
                    sock.setsockopt(_socket.IPPROTO_TCP, getattr(_socket, name), value)
