"""The parser of request heads in pure Python, on h11 (layer 1): a part of the codec's twin, see _codec_py.py.

h11 accepts what this library must not (lines that end with a bare LF, folded headers, control characters in values,
several lengths that agree), so our own judgement of every octet stands in front of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import h11

from lws_gevent.handshake import Request, check_no_tls, handshake_error, parse_token_list

__all__ = ["parse_request"]

_MAX_REQUEST_LINE = 8192
_MAX_HEADER_LINE = 8192
_MAX_HEADERS = 100

_METHOD = re.compile(rb"([-!#$%&'*+.^_`|~0-9A-Za-z]+) ")
_TARGET = re.compile(rb"([\x21-\x7e]+) ")
_VERSION = re.compile(rb"HTTP/([0-9])\.([0-9])")
_NAME = re.compile(rb"([-!#$%&'*+.^_`|~0-9A-Za-z]+):")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_HOST = re.compile(rb"[-!$%&'()*+,.:;=_~\[\]0-9A-Za-z]*")  # RFC 3986 sections 3.2.2 and 3.2.3
_LENGTH = re.compile(rb"[0-9]{1,18}")
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")  # base64 of 16 octets
_SINGLE = {
    b"host": "Host",
    b"origin": "Origin",
    b"content-length": "Content-Length",
    b"transfer-encoding": "Transfer-Encoding",
}


def parse_request(
    data: bytes | bytearray | memoryview, max_header_size: int, scanned: int = 0
) -> tuple[Request, int] | int:
    """Reads one request head strictly (RFC 9112 sections 2 to 6) and judges its handshake (RFC 6455 section 4.2.1).

    `data`: what was received so far, from the first octet of the request; `max_header_size`: octets the head may have;
    `scanned`: 0, or what the previous call for the same request returned. Returns the request and the length of its
    head, or an int when the head is not all there. HandshakeError when it is malformed or too big: the connection is
    lost then.
    """
    if isinstance(data, memoryview):
        data = data.tobytes()
    check_no_tls(data)
    end = _find_end(data, scanned)
    if end == 0 or end > max_header_size:
        _check_size(data, max_header_size)
        return len(data)
    head = bytes(data[:end])
    lines = _lines(head)
    method, target, minor = _parse_request_line(next(lines))
    fields = _parse_fields(lines, minor)
    if not target.startswith(b"/"):
        raise handshake_error(400, "the request target must be a path")
    _consult_h11(head)
    length = fields.get(b"content-length")
    options = _tokens(fields, b"connection")
    keys = fields.get(b"sec-websocket-key", ())
    request = Request(
        method.decode("ascii"),
        target.decode("ascii"),
        head,
        minor,
        None if length is None else int(length[0]),
        b"transfer-encoding" in fields,
        "close" not in options and (minor == 1 or "keep-alive" in options),
        key=keys[0] if len(keys) == 1 else b"",
    )
    request.upgrade_status, request.problem = _judge_upgrade(request, fields, options)
    return request, end


def _find_end(data: bytes | bytearray, scanned: int) -> int:
    """The length of the head with its empty line, 0 when that is not there.

    Lines that end with a bare LF end a head too, so that they are refused instead of waited for.
    """
    start = max(0, scanned - 2)
    found = [(data.find(ending, start), len(ending)) for ending in (b"\n\r\n", b"\n\n")]
    return min((position + length for position, length in found if position >= 0), default=0)


def _check_size(data: bytes | bytearray, max_header_size: int) -> None:
    if len(data) > _MAX_REQUEST_LINE + 1 and data.find(b"\n", 0, _MAX_REQUEST_LINE + 2) < 0:
        raise handshake_error(414, "the request line is too long")
    if len(data) > max_header_size:
        raise handshake_error(431, "the head of the request is too long")


def _lines(head: bytes) -> Iterator[bytes]:
    """The lines of a head without their CR LF, up to the empty one that ends it; each is judged when it is its turn."""
    for index, line in enumerate(head.split(b"\n")[:-1]):
        if not line.endswith(b"\r"):
            raise handshake_error(400, f"{'a header' if index else 'the request'} line does not end with CR LF")
        yield line[:-1]


def _parse_request_line(line: bytes) -> tuple[bytes, bytes, int]:
    if len(line) > _MAX_REQUEST_LINE:
        raise handshake_error(414, "the request line is too long")
    method = _METHOD.match(line)
    if method is None:
        raise handshake_error(400, "the request line does not begin with a method and one space")
    target = _TARGET.match(line, method.end())
    if target is None:
        raise handshake_error(400, "the request target is empty, or has a character that it must not have")
    version = _VERSION.fullmatch(line, target.end())
    if version is None:
        raise handshake_error(400, "the request line does not end with the version of HTTP")
    if version[1] != b"1":
        raise handshake_error(505, "only HTTP/1.1 is spoken here")
    # A higher minor version is read as the highest that is known (RFC 9110 section 2.5).
    return method[1], target[1], int(version[2] > b"0")


def _parse_fields(lines: Iterator[bytes], minor: int) -> dict[bytes, list[bytes]]:
    """The values of each header by its name in lower case; the headers that frame the request are judged here."""
    fields: dict[bytes, list[bytes]] = {}
    for count, line in enumerate(lines):
        if not line:
            break
        if count == _MAX_HEADERS:
            raise handshake_error(431, "too many headers")
        if len(line) > _MAX_HEADER_LINE:
            raise handshake_error(431, "a header is too long")
        match = _NAME.match(line)
        if match is None and line[:1] in (b" ", b"\t"):
            raise handshake_error(400, "a header line begins with white space")
        if match is None:
            raise handshake_error(400, "a header line has no name followed by a colon")
        name, value = match[1].lower(), line[match.end() :].strip(b" \t")
        if _VALUE.fullmatch(value) is None:
            raise handshake_error(400, "the value of a header has a control character")
        _judge_field(name, value, name in fields)
        fields.setdefault(name, []).append(value)
    if b"host" not in fields and minor > 0:
        raise handshake_error(400, "no Host")
    if b"transfer-encoding" in fields and b"content-length" in fields:
        raise handshake_error(400, "Content-Length and Transfer-Encoding together")
    if b"transfer-encoding" in fields and minor == 0:
        raise handshake_error(400, "Transfer-Encoding in HTTP/1.0")  # RFC 9112 section 6.1
    return fields


def _judge_field(name: bytes, value: bytes, repeated: bool) -> None:
    if repeated and name in _SINGLE:
        raise handshake_error(400, f"more than one {_SINGLE[name]}")
    if name == b"host" and _HOST.fullmatch(value) is None:
        raise handshake_error(400, "the Host has a character that it must not have")
    if name == b"content-length" and _LENGTH.fullmatch(value) is None:
        raise handshake_error(400, "the Content-Length is no length")
    if name == b"transfer-encoding" and value.lower() != b"chunked":
        raise handshake_error(501, "no transfer encoding but chunked is understood")
    if name == b"expect" and value.lower() != b"100-continue":
        raise handshake_error(417, "no expectation but 100-continue is understood")


def _consult_h11(head: bytes) -> None:
    """A second opinion: whatever h11 refuses is refused here as well."""
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(head)
    try:
        parser.next_event()
    except h11.RemoteProtocolError:
        raise handshake_error(400, "the request is malformed") from None


def _tokens(fields: dict[bytes, list[bytes]], name: bytes) -> set[str]:
    return {token.lower() for token in parse_token_list(value.decode("latin-1") for value in fields.get(name, ()))}


def _judge_upgrade(request: Request, fields: dict[bytes, list[bytes]], options: set[str]) -> tuple[int, str]:
    """101, 0 for plain HTTP, or the status to refuse with and the reason."""
    if "websocket" not in _tokens(fields, b"upgrade"):
        return 0, ""
    if request.method != "GET":
        return 405, "an opening handshake is a GET request"
    if request.version_minor != 1:
        return 400, "an opening handshake needs HTTP/1.1"
    if "upgrade" not in options:
        return 400, "the Connection header does not list upgrade"
    if request.content_length or request.chunked:
        return 400, "an opening handshake has no body"
    if b"expect" in fields:
        return 417, "an opening handshake has nothing to be continued"
    versions, keys = fields.get(b"sec-websocket-version", []), fields.get(b"sec-websocket-key", [])
    if len(versions) != 1:
        return 400, f"{'more than one' if versions else 'no'} Sec-WebSocket-Version"
    if versions[0] != b"13":
        return 426, "only version 13 of the protocol is spoken here"
    if len(keys) != 1:
        return 400, f"{'more than one' if keys else 'no'} Sec-WebSocket-Key"
    if _KEY.fullmatch(keys[0]) is None:
        return 400, "the Sec-WebSocket-Key is not the base64 of 16 octets"
    return 101, ""
