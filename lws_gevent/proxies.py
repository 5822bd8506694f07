"""Proxies between a client and its server (layer 2): HTTP CONNECT (RFC 9110 section 9.3.6), SOCKS 5 (RFC 1928 and
RFC 1929), SOCKS 4 and 4a.

A tunnel is made over a stream that is connected to the proxy. Whatever a proxy answers is bounded; what it refuses is a
HandshakeError.
"""

from __future__ import annotations

import re
import socket as addresses
from typing import Any, NamedTuple

from lws_gevent.client_handshake import connect_request, read_body, read_response, refused
from lws_gevent.errors import HandshakeError
from lws_gevent.streams import Stream, resolve
from lws_gevent.url import parse_authority

__all__ = ["Proxy", "parse_proxy", "proxy_from_environment", "tunnel"]

_PORTS = {"http": 80, "https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\x9f]")

_MAX_HEAD = _MAX_BODY = 64 * 1024
_SOCKS5_ERRORS = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "command not supported",
    8: "address type not supported",
}


class Proxy(NamedTuple):
    """Where a proxy is, and how it is spoken to. `credentials`: user name and password, or None."""

    scheme: str
    host: str
    port: int
    credentials: tuple[str, str] | None

    def __str__(self) -> str:
        """Without the credentials: it may reach a log."""
        return f"{self.scheme}://{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"<Proxy {self}>"


def parse_proxy(url: str) -> Proxy:
    """The proxy at ``http://``, ``https://``, ``socks5://``, ``socks5h://`` (which resolves names itself), ``socks4://``
    or ``socks4a://``. ValueError for anything else, and for white space and control characters anywhere, credentials
    included."""
    if _FORBIDDEN.search(url):
        raise ValueError("the URL of a proxy must not have white space or control characters")
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _PORTS:
        raise ValueError(f"the URL of a proxy begins with one of {', '.join(f'{name}://' for name in _PORTS)}")
    authority, _, path = rest.partition("/")
    if path:
        raise ValueError("the URL of a proxy has no path")
    host, port, username, password = parse_authority(authority, _PORTS[scheme])
    credentials = None if username is None else (username, password or "")
    if credentials is not None and any(len(part.encode()) > 255 for part in credentials):
        raise ValueError("the credentials of a proxy have at most 255 octets each")
    if credentials is not None and scheme.startswith("http") and ":" in credentials[0]:
        raise ValueError("the user name for an HTTP proxy must not have a colon")
    return Proxy(scheme, host, port, credentials)


def proxy_from_environment(secure: bool, host: str, port: int) -> Proxy | None:
    """The proxy that the environment names for a host: in ``wss_proxy`` or ``ws_proxy``, ``https_proxy`` or (for ws)
    ``http_proxy``, ``all_proxy``, unless ``no_proxy`` has the host. As everywhere, in lower or upper case."""
    import urllib.request as environment  # dear to import

    found: dict[str, str] = environment.getproxies_environment()
    names = ("wss", "https", "all") if secure else ("ws", "http", "all")
    url = next((found[name] for name in names if found.get(name)), None)
    bypasses: Any = getattr(environment, "proxy_bypass_environment")  # noqa: B009 - type stubs do not know it
    if url is None or bypasses(f"{host}:{port}", found):
        return None
    return parse_proxy(url if "://" in url else f"http://{url}")


def tunnel(stream: Stream, proxy: Proxy, host: str, port: int) -> None:
    """Has `proxy`, to which `stream` is connected, connect it to a host. HandshakeError when it does not."""
    if proxy.scheme.startswith("http"):
        _http(stream, proxy, host, port)
    elif proxy.scheme.startswith("socks5"):
        _socks5(stream, proxy, host, port)
    else:
        _socks4(stream, proxy, host, port)


def _http(stream: Stream, proxy: Proxy, host: str, port: int) -> None:
    stream.write(connect_request(host, port, proxy.credentials))
    response, rest = read_response(stream.read, _MAX_HEAD, "the proxy")
    if not 200 <= response.status <= 299:
        raise refused(response, read_body(stream.read, response, rest, _MAX_BODY), "the proxy refuses to connect")
    if rest:
        # The server has been told nothing yet, so this is not its answer.
        raise refused(response, b"", "the proxy sends more than its answer")


class _Exact:
    """Reads exactly as many octets as asked for, so that nothing of what follows is taken."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._rest = b""

    def __call__(self, count: int) -> bytes:
        while len(self._rest) < count:
            data = self._stream.read()
            if not data:
                raise _failure("ends the connection")
            self._rest += data
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def end(self) -> None:
        """Nothing may be left."""
        if self._rest:
            raise _failure("sends more than its answer")


def _socks5(stream: Stream, proxy: Proxy, host: str, port: int) -> None:
    read = _Exact(stream)
    # RFC 1928 section 3: version, number of methods; 0: no authentication, 2: user name and password.
    stream.write(b"\x05\x01\x00" if proxy.credentials is None else b"\x05\x02\x00\x02")
    version, method = read(2)
    if version != 5:
        raise _failure("does not speak SOCKS 5")
    if method == 2 and proxy.credentials is not None:
        name, password = (part.encode() for part in proxy.credentials)
        stream.write(b"\x01" + bytes((len(name),)) + name + bytes((len(password),)) + password)  # RFC 1929
        if read(2)[1]:
            raise _failure("refuses the credentials")
    elif method != 0:
        raise _failure("asks for another authentication")
    stream.write(b"\x05\x01\x00" + _socks5_address(host, port, proxy.scheme == "socks5h") + port.to_bytes(2, "big"))
    version, reply, _, kind = read(4)
    if version != 5:
        raise _failure("does not speak SOCKS 5")
    if reply:
        raise _failure(f"cannot connect: {_SOCKS5_ERRORS.get(reply, 'unknown reason')}")
    length = {1: 4, 4: 16}.get(kind)
    if length is None:
        if kind != 3:
            raise _failure("gives an unknown kind of address")
        length = read(1)[0]
    read(length + 2)
    read.end()


def _socks5_address(host: str, port: int, remote: bool) -> bytes:
    for family, kind in ((addresses.AF_INET, b"\x01"), (addresses.AF_INET6, b"\x04")):
        try:
            return kind + addresses.inet_pton(family, host)
        except OSError:
            continue
    if remote:
        name = host.encode("ascii")
        if len(name) > 255:
            raise ValueError("a host's name has at most 255 octets")
        return b"\x03" + bytes((len(name),)) + name
    kind_of_host, address = resolve(host, port)[0]
    return (b"\x01" if kind_of_host == addresses.AF_INET else b"\x04") + addresses.inet_pton(kind_of_host, address[0])


def _socks4(stream: Stream, proxy: Proxy, host: str, port: int) -> None:
    read = _Exact(stream)
    user = b"" if proxy.credentials is None else proxy.credentials[0].encode()
    name = b""
    try:
        address = addresses.inet_pton(addresses.AF_INET, host)
    except OSError:
        if proxy.scheme == "socks4a":
            address, name = b"\x00\x00\x00\x01", host.encode("ascii") + b"\x00"
        else:
            address = addresses.inet_pton(addresses.AF_INET, resolve(host, port, addresses.AF_INET)[0][1][0])
    stream.write(b"\x04\x01" + port.to_bytes(2, "big") + address + user + b"\x00" + name)
    answer = read(8)
    if answer[0] != 0 or answer[1] != 90:
        raise _failure("cannot connect, or refuses to")
    read.end()


def _failure(what: str) -> HandshakeError:
    return HandshakeError(0, None, b"", f"the SOCKS proxy {what}")
