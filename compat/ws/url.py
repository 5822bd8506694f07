"""URLs as the WHATWG's standard reads them, as far as WebSockets need it."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urljoin, urlsplit

from lws_gevent.compat.ws.errors import WSSyntaxError

__all__ = ["Url", "parse", "resolve"]

_DEFAULT_PORTS = {"ws": 80, "wss": 443, "http": 80, "https": 443}


class Url(NamedTuple):
    """The parts of a URL. `port` is None when it is the scheme's own; `hostname` keeps the brackets of IPv6."""

    scheme: str
    username: str
    password: str
    hostname: str
    port: int | None
    pathname: str
    search: str
    fragment: str

    @property
    def host(self) -> str:
        """Host and port, as they stand in the header."""
        return self.hostname if self.port is None else f"{self.hostname}:{self.port}"

    @property
    def href(self) -> str:
        """The whole, normalized."""
        if self.scheme not in _DEFAULT_PORTS:
            authority = f"//{self.host}" if self.hostname else ""
        else:
            user = self.username + (f":{self.password}" if self.password else "")
            authority = f"//{user}@{self.host}" if user else f"//{self.host}"
        fragment = f"#{self.fragment}" if self.fragment else ""
        return f"{self.scheme}:{authority}{self.pathname}{self.search}{fragment}"


def parse(address: Any) -> Url:
    """WSSyntaxError when it cannot be read."""
    text = str(address).strip()
    invalid = WSSyntaxError(f"Invalid URL: {text}")
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", text)
    if match is None or re.search(r"[\x00-\x20]", text):
        raise invalid
    scheme = match[1].lower()
    if scheme not in _DEFAULT_PORTS:
        parts = urlsplit(text)
        return Url(scheme, "", "", parts.netloc, None, parts.path, _query(parts.query), parts.fragment)
    try:
        parts = urlsplit(text)
        port, hostname = parts.port, parts.hostname or ""
    except ValueError:
        raise invalid from None
    if ":" in hostname:
        hostname = f"[{hostname}]"
    else:
        try:
            hostname = unquote(hostname).encode("idna" if not hostname.isascii() else "ascii").decode("ascii").lower()
        except UnicodeError:
            raise invalid from None
    if not hostname or re.search(r"[\s#%/<>?@\\^|]", hostname):
        raise invalid
    if port == _DEFAULT_PORTS[scheme]:
        port = None
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~|[]^`{}\"<>")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~?|[]^`{}\\")
    username = quote(parts.username or "", safe="%!$&'()*+,~")
    password = quote(parts.password or "", safe="%!$&'()*+,~")
    return Url(scheme, username, password, hostname, port, path, _query(query), parts.fragment)


def _query(query: str) -> str:
    return f"?{query}" if query else ""


def resolve(location: str, base: str) -> Url:
    """The URL of a redirect. WSSyntaxError when it cannot be read."""
    try:
        return parse(urljoin(base, location) if ":" not in location.partition("/")[0] else location)
    except WSSyntaxError:
        raise WSSyntaxError(f"Invalid URL: {location}") from None
