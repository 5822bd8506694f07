"""Heads of HTTP/1 messages, for the handshakes of this package: strict, in one piece."""

from __future__ import annotations

import re
from typing import Any

from lws_gevent.compat.ws.errors import WSError

__all__ = ["MAX_HEAD", "isUpgrade", "parseRequest", "parseResponse", "readHead"]

#: Node's limit of a head, in octets.
MAX_HEAD = 16 * 1024

_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP/1\.([01])")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([^\x00-\x08\x0a-\x1f\x7f]*))?")


def readHead(sock: Any) -> tuple[bytes, bytes] | None:
    """Reads from a socket of gevent up to the empty line: the head, and the octets behind it. None: the peer has
    closed before it was complete. WSError, with Node's code, when it is no HTTP or too long; OSError."""
    octets = b""
    while True:
        end = octets.find(b"\r\n\r\n")
        if end >= 0:
            return octets[:end], octets[end + 4 :]
        if len(octets) > MAX_HEAD:
            raise WSError("Parse Error: Header overflow", "HPE_HEADER_OVERFLOW")
        if octets and re.match(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:[ /]|\Z)", octets.lstrip(b"\r\n")) is None:
            raise invalid()
        chunk = sock.recv(MAX_HEAD)
        if not chunk:
            return None
        octets += chunk


def invalid() -> WSError:
    """What Node's parser says of octets that are no HTTP."""
    return WSError("Parse Error: Expected HTTP/", "HPE_INVALID_CONSTANT")


def _fields(lines: list[bytes]) -> list[tuple[str, str]]:
    fields = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise WSError("Parse Error: Invalid header token", "HPE_INVALID_HEADER_TOKEN")
        fields.append((match[1].decode("ascii"), match[2].rstrip(b" \t").decode("latin-1")))
    return fields


def parseRequest(head: bytes) -> tuple[str, str, str, list[tuple[str, str]]]:
    """Method, target, version and header fields. WSError when it is malformed."""
    first, *lines = head.lstrip(b"\r\n").split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(first)
    if match is None:
        raise invalid()
    fields = _fields(lines)
    hosts = sum(name.lower() == "host" for name, _ in fields)
    if hosts > 1 or (match[3] == b"1" and not hosts):
        raise WSError("Parse Error: Missing Host header", "HPE_INVALID_HEADER_TOKEN")  # RFC 9112 section 3.2
    return match[1].decode("ascii"), match[2].decode("ascii"), f"1.{match[3].decode()}", fields


def parseResponse(head: bytes) -> tuple[int, str, str, list[tuple[str, str]]]:
    """Status, reason phrase, version and header fields. WSError when it is malformed."""
    first, *lines = head.split(b"\r\n")
    match = _STATUS_LINE.fullmatch(first)
    if match is None:
        raise invalid()
    return int(match[2]), (match[3] or b"").decode("latin-1"), f"1.{match[1].decode()}", _fields(lines)


def isUpgrade(headers: dict[str, Any]) -> bool:
    """Whether Node would take the message for one that changes the protocol."""
    options = [option.strip().lower() for option in headers.get("connection", "").split(",")]
    return "upgrade" in options and "upgrade" in headers
