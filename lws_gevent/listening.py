"""Where a server listens: what users write, and the listening socket that becomes of it (layer 2)."""

from __future__ import annotations

import _socket  # never monkey-patched; as gevent's own servers do
import contextlib
import errno
import os
import stat
import sys
from collections.abc import Callable
from typing import Any

from gevent import socket

__all__ = [
    "PORTS_CAN_BE_SHARED",
    "Address",
    "open_listener",
    "parse_listener",
    "remove_unix_path",
    "reserve_address",
    "share_address",
    "tune",
]

#: Whether several processes can listen on one port, and the system shares out the connections among them.
PORTS_CAN_BE_SHARED = sys.platform == "linux" and hasattr(_socket, "SO_REUSEPORT")

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
            return _listening(_bind(_socket.AF_UNIX, address), backlog)
        return _listening(_bind_to(address, socket.getaddrinfo), backlog)
    except OSError as error:
        raise _named(address, error) from None


def reserve_address(address: tuple[str, int]) -> Any:
    """A socket that has the address and does not listen: nobody else can have it but by `share_address`.

    OSError as `open_listener`. Resolves a name without a hub, blocking the thread.
    """
    try:
        sock = _bind_to(address, _socket.getaddrinfo)
    except OSError as error:
        raise _named(address, error) from None
    # Not before bind(), which would succeed then although another server of this user has the port.
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)
    return sock


def share_address(reserved: Any, backlog: int) -> Any:
    """A listening, non-blocking socket on the address of a reserved one, besides others."""
    sock = _bind(reserved.family, reserved.getsockname(), shared=True)
    return _listening(sock, backlog)


def _bind_to(address: tuple[str, int], getaddrinfo: Callable[..., Any]) -> Any:
    host, port = address
    if host:
        return _bind(*_resolve(host, port, getaddrinfo))
    try:
        return _bind(_socket.AF_INET6, ("::", port))
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
        return _bind(_socket.AF_INET, ("0.0.0.0", port))  # a machine without IPv6


def _named(address: Address, error: OSError) -> OSError:
    where = f"unix:{address}" if isinstance(address, str) else _host_and_port(*address)
    return OSError(error.errno, f"cannot listen on {where}: {error.strerror or error}")


def _resolve(host: str, port: int, getaddrinfo: Callable[..., Any]) -> tuple[int, Any]:
    kind, flags = _socket.SOCK_STREAM, _socket.AI_PASSIVE
    found: list[Any]
    try:
        # Mostly it is a number; then neither the network nor a thread of gevent's resolver is needed.
        found = list(_socket.getaddrinfo(host, port, 0, kind, 0, flags | _socket.AI_NUMERICHOST))
    except _socket.gaierror:
        found = list(getaddrinfo(host, port, 0, kind, 0, flags))
    family, _, _, _, address = found[0]
    return family, address


def _host_and_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host or '*'}:{port}"


def _bind(family: int, address: Any, shared: bool = False) -> Any:
    sock = _socket.socket(family, _socket.SOCK_STREAM)
    try:
        if family == getattr(_socket, "AF_UNIX", None):
            _remove_stale(address)
        elif os.name == "posix":  # elsewhere it would let others take our port
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)
        if family == _socket.AF_INET6 and address[0] == "::":
            sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 0)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _listening(sock: Any, backlog: int) -> Any:
    try:
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
