"""The PROXY protocol, versions 1 and 2 (layer 1): the header in which a proxy tells whose connection it hands on.

It comes once, before anything else on the connection, so before TLS too. The parser is strict, works in time linear in
what it is given, and wants to see at most `MAX_HEADER` octets. See the specification of HAProxy, proxy-protocol.txt.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple

__all__ = ["MAX_HEADER", "ProxyHeader", "parse_proxy_header"]

#: A longer header is refused. Version 1 has at most 107 octets; version 2 could have 64 KiB of extensions, which nobody
#: sends.
MAX_HEADER = 4096

_MAX_LINE = 107  # of version 1 (section 2.1), with its CR LF
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_LINE = b"PROXY "
_PORT = r"(0|[1-9][0-9]{0,4})"
_ADDRESSES = re.compile(rf"PROXY TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) {_PORT} {_PORT}")
#: Octets of the addresses of each family and transport of version 2 (section 2.2).
_SIZES = {0x00: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}
_TCP4, _TCP6 = 0x11, 0x21

_NO_HEADER = "the connection does not begin with a PROXY protocol header"
_MALFORMED = "the PROXY protocol header is malformed"


class ProxyHeader(NamedTuple):
    """A complete header: `address` is the client's, None when the proxy names none (``UNKNOWN``, ``LOCAL``, no TCP):
    the connection's own counts then. `length`: octets of the header."""

    address: tuple[str, int] | None
    length: int


def parse_proxy_header(data: bytes) -> ProxyHeader | None:
    """The header with which `data`, all that was received so far, begins; None when more is needed to know.

    None means also that all of `data` belongs to the header. ValueError: it is none, or breaks the protocol.
    """
    if data[:1] == b"P":
        return _parse_line(data)
    if data[: len(_SIGNATURE)] != _SIGNATURE[: len(data)]:
        raise ValueError(_NO_HEADER)
    return _parse_binary(data)


def _parse_line(data: bytes) -> ProxyHeader | None:
    if data[: len(_LINE)] != _LINE[: len(data)]:
        raise ValueError(_NO_HEADER)
    end = data.find(b"\n", 0, _MAX_LINE)
    if end < 0:
        if len(data) >= _MAX_LINE:
            raise ValueError(_MALFORMED)
        return None
    if data[end - 1 : end] != b"\r":
        raise ValueError(_MALFORMED)
    line = data[: end - 1].decode("latin-1")
    if line == "PROXY UNKNOWN" or line.startswith("PROXY UNKNOWN "):
        return ProxyHeader(None, end + 1)  # what follows is to be ignored
    match = _ADDRESSES.fullmatch(line)
    if match is None:
        raise ValueError(_MALFORMED)
    family, source, destination, source_port, destination_port = match.groups()
    kind = IPv4Address if family == "4" else IPv6Address
    try:
        address = _client(kind(source), int(source_port))
        kind(destination)
    except AddressValueError:
        raise ValueError(_MALFORMED) from None
    if int(source_port) > 65535 or int(destination_port) > 65535:
        raise ValueError(_MALFORMED)
    return ProxyHeader(address, end + 1)


def _parse_binary(data: bytes) -> ProxyHeader | None:
    if len(data) > 12 and data[12] not in (0x20, 0x21):  # version 2, LOCAL or PROXY
        raise ValueError(_MALFORMED)
    if len(data) > 13 and data[13] not in _SIZES:
        raise ValueError(_MALFORMED)
    if len(data) < 16:
        return None
    family = data[13]
    size = int.from_bytes(data[14:16], "big")
    local = data[12] == 0x20
    if 16 + size > MAX_HEADER or (size < _SIZES[family] and not local):
        raise ValueError(_MALFORMED)
    if len(data) < 16 + size:
        return None
    address = None
    if not local and family == _TCP4:
        address = _client(IPv4Address(data[16:20]), int.from_bytes(data[24:26], "big"))
    elif not local and family == _TCP6:
        address = _client(IPv6Address(data[16:32]), int.from_bytes(data[48:50], "big"))
    return ProxyHeader(address, 16 + size)


def _client(address: IPv4Address | IPv6Address, port: int) -> tuple[str, int] | None:
    """An address of all zeros is nobody's."""
    if address.is_unspecified:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address), port
