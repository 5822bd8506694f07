"""Whom a request comes from when trusted proxies have handed it on (layer 1): X-Forwarded-For, and RFC 7239.

Each proxy adds, on the right, the address that it got the request from. So the list is read from the right for as long
as those who have written it are trusted; what stands further left anybody may have made up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

__all__ = ["Networks", "client_address"]

_PORT = r"(?::([0-9]{1,5}))?"
#: With the port that some proxies add.
_IPV4 = re.compile(rf"([0-9.]{{7,15}}){_PORT}")
_IPV6_IN_BRACKETS = re.compile(rf"\[([0-9A-Fa-f:.]{{2,45}})\]{_PORT}")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]{2,45}")

_TOKEN = r"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
#: One parameter of Forwarded and the white space around it (RFC 7239 section 4); an element may have none.
_PARAMETER = re.compile(rf"[ \t]*(?:({_TOKEN})=({_TOKEN}|{_QUOTED}))?[ \t]*")


class Networks:
    """A set of networks: ``"10.0.0.0/8"``, ``"::1"``, and ``"unix:"`` for the peers of a unix socket.

    ValueError for what is none of these.
    """

    __slots__ = ("_networks", "names", "unix")

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self.unix = "unix:" in self.names
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(name) for name in self.names if name != "unix:"]

    def __contains__(self, address: object) -> bool:
        """Whether a ``remote_address`` is in one of them: ``(host, port)``, or a str for a unix socket."""
        if not isinstance(address, tuple):
            return self.unix
        try:
            host = ip_address(address[0])
        except ValueError:
            return False
        return any(host in network for network in self._networks)

    def __repr__(self) -> str:
        return f"Networks({list(self.names)!r})"


def client_address(
    peer: tuple[str, int] | str, values: Sequence[str], standard: bool, trusted: Networks
) -> tuple[str, int] | str:
    """The address of the client: the rightmost one that is not trusted, beginning with `peer` itself.

    `values`: of each X-Forwarded-For header, or, when `standard`, of each Forwarded header, in their order. An element
    that is no address ends the search: who wrote what is left of it cannot be known. The port is 0 when none is named.
    """
    if peer not in trusted:
        return peer
    found = peer
    for element in _forwarded(values) if standard else reversed(",".join(values).split(",")):
        address = _parse_address(element.strip(" \t"))
        if address is None:
            break
        found = address
        if found not in trusted:
            break
    return found


def _forwarded(values: Sequence[str]) -> list[str]:
    """The ``for`` of each element of Forwarded, from the right, ``""`` without one; nothing at all when the header is
    malformed: a quotation mark on the left could hide what a proxy has added on the right."""
    text = ",".join(values)
    found = []
    node = ""
    position = 0
    while True:
        match = _PARAMETER.match(text, position)
        assert match is not None  # it matches nothing, too
        name, value = match.groups()
        if name is not None and name.lower() == "for":
            if node:
                return []  # RFC 7239 section 4: once in an element
            node = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
        position = match.end()
        if position == len(text) or text[position] == ",":
            found.append(node)
            node = ""
        elif text[position] != ";":
            return []
        if position == len(text):
            return found[::-1]
        position += 1


def _parse_address(text: str) -> tuple[str, int] | None:
    """An address with or without a port; None for anything else, ``unknown`` and obfuscated names among it."""
    match = _IPV4.fullmatch(text) or _IPV6_IN_BRACKETS.fullmatch(text)
    host, port = (match[1], int(match[2] or 0)) if match is not None else (text, 0)
    if port > 65535 or (match is None and _IPV6.fullmatch(text) is None):
        return None
    try:
        address: IPv4Address | IPv6Address | None = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return None if address is None or address.is_unspecified else (str(address), port)
