"""The URLs of WebSocket servers (layer 1; RFC 6455 section 3)."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import NamedTuple
from urllib.parse import quote, unquote, urljoin

__all__ = ["URL", "basic_credentials", "parse_authority", "parse_url", "redirected"]

_UNIX_SCHEMES = ("unix", "ws+unix")
_PORTS = {"ws": 80, "wss": 443}
_ALIASES = {"http": "ws", "https": "wss"}  # as browsers and redirects write them

_SCHEME = re.compile(r"([A-Za-z][-+.A-Za-z0-9]*):(.*)")
# White space and controls: urllib would quietly drop some of them, and a request line must not carry any.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]")
_HOST = re.compile(r"[-!$&'()*+,.;=_~0-9A-Za-z]+")  # RFC 3986 section 3.2.2, without percent encoding
_IPV6 = re.compile(r"[0-9A-Fa-f:.]+(?:%25[-._~0-9A-Za-z]+)?")  # RFC 6874: a zone
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: What stays as it is in a request target: everything that RFC 3986 allows there, and what is encoded already.
_TARGET_SAFE = "!#$%&'()*+,-./:;=?@[]_~|^`{}\"<>\\"


class URL(NamedTuple):
    """Where a server is and what is asked of it.

    `secure`: by TLS; `host`: a name in ASCII, or an address without brackets; `target`: path and query as they stand in
    the request line; `username`, `password`: decoded, None when there were none; `unix_path`: of a unix socket, else
    None.
    """

    secure: bool
    host: str
    port: int
    target: str
    username: str | None = None
    password: str | None = None
    unix_path: str | None = None

    @property
    def host_header(self) -> str:
        """The value of the Host header (RFC 9110 section 7.2): without the port when it is the usual one."""
        host = f"[{self.host.partition('%')[0]}]" if ":" in self.host else self.host
        return host if self.port == _PORTS["wss" if self.secure else "ws"] else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[bool, str, int, str | None]:
        """What must be the same for credentials to be meant for both of two URLs (RFC 6454)."""
        return self.secure, self.host, self.port, self.unix_path

    def __str__(self) -> str:
        """Without the credentials: it may reach a log."""
        if self.unix_path is not None:
            return f"unix:{self.unix_path}:{self.target}"
        return f"{'wss' if self.secure else 'ws'}://{self.host_header}{self.target}"


def parse_url(url: str) -> URL:
    """``ws://``, ``wss://`` (and ``http://``, ``https://``, which mean the same), or ``unix:/path`` with an optional
    ``:/target`` behind it. TypeError: no str; ValueError: anything else that is no such URL, one with white space or
    control characters, or with a fragment (RFC 6455 section 3)."""
    if not isinstance(url, str):
        raise TypeError(f"a URL must be str, not {type(url).__name__}")
    # None of these errors repeats the URL: it may hold credentials.
    if _FORBIDDEN.search(url):
        raise ValueError("a URL must not have white space or control characters")
    match = _SCHEME.fullmatch(url)
    if match is None:
        raise ValueError("a URL begins with ws://, wss:// or unix:")
    scheme, rest = match[1].lower(), match[2]
    if scheme in _UNIX_SCHEMES:
        return _parse_unix(rest)
    scheme = _ALIASES.get(scheme, scheme)
    if scheme not in _PORTS or not rest.startswith("//"):
        raise ValueError("a URL begins with ws://, wss:// or unix:")
    if "#" in rest:
        raise ValueError("the URL of a WebSocket has no fragment")
    end = min((index for index in (rest.find("/", 2), rest.find("?", 2)) if index >= 0), default=len(rest))
    host, port, username, password = parse_authority(rest[2:end], _PORTS[scheme])
    return URL(scheme == "wss", host, port, _target(rest[end:]), username, password)


def parse_authority(authority: str, default_port: int) -> tuple[str, int, str | None, str | None]:
    """Host, port, user name and password of ``[user[:password]@]host[:port]``; ValueError when it is none."""
    userinfo, at, host_and_port = authority.rpartition("@")
    username = password = None
    if at:
        username, colon, secret = userinfo.partition(":")
        username, password = unquote(username), unquote(secret) if colon else ""
        if _CONTROL.search(username) or _CONTROL.search(password):
            raise ValueError("the credentials of a URL must not have control characters")
    if host_and_port.startswith("["):
        host, bracket, port = host_and_port[1:].partition("]")
        if not bracket or _IPV6.fullmatch(host) is None or (port and not port.startswith(":")):
            raise ValueError("the host of the URL is no IPv6 address")
        host, port = host.replace("%25", "%").lower(), port[1:]
    else:
        host, _, port = host_and_port.partition(":")
        host = _host_name(host)
    if not port:
        return host, default_port, username, password
    if not (port.isascii() and port.isdigit()) or len(port) > 5 or not 0 < int(port) <= 65535:
        raise ValueError("the port of the URL must be between 1 and 65535")
    return host, int(port), username, password


def _host_name(host: str) -> str:
    if not host:
        raise ValueError("the URL has no host")
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            raise ValueError("the host of the URL is no name") from None
    if _HOST.fullmatch(host) is None:
        raise ValueError("the host of the URL has a character that a host must not have")
    return host.lower()


def _target(target: str) -> str:
    if not target.startswith("/"):
        target = "/" + target
    return quote(target, safe=_TARGET_SAFE)


def _parse_unix(rest: str) -> URL:
    path, colon, target = rest.removeprefix("//").partition(":")
    if not path:
        raise ValueError("a unix: URL names the path of a socket")
    if "#" in target:
        raise ValueError("the URL of a WebSocket has no fragment")
    return URL(False, "localhost", _PORTS["ws"], _target(target if colon else ""), None, None, unquote(path))


def redirected(url: URL, location: str) -> URL:
    """Where the Location header of a redirect leads from `url`. ValueError: to nothing that could be a WebSocket, or
    from TLS to plain TCP."""
    if url.unix_path is not None:
        raise ValueError("a redirect from a unix socket leads nowhere")
    if _FORBIDDEN.search(location):
        raise ValueError("the target of the redirect has white space or control characters")
    base = f"{'https' if url.secure else 'http'}://{url.host_header}{url.target}"
    scheme = location.partition(":")[0].lower()
    if scheme in _PORTS:  # so that urllib knows how to join it
        location = ("https" if scheme == "wss" else "http") + location[len(scheme) :]
    target = parse_url(urljoin(base, location).partition("#")[0])
    if target.unix_path is not None:
        raise ValueError("a redirect must not lead to a unix socket")
    if url.secure and not target.secure:
        raise ValueError("a redirect must not lead from wss to ws")
    return target


def basic_credentials(username: str, password: str) -> str:
    """The value of (Proxy-)Authorization (RFC 7617). ValueError: a colon in the user name, or control characters."""
    if ":" in username:
        raise ValueError("a user name must not have a colon")
    if _CONTROL.search(username) or _CONTROL.search(password):
        raise ValueError("credentials must not have control characters")
    return "Basic " + b64encode(f"{username}:{password}".encode()).decode("ascii")
