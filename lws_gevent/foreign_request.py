"""Opening handshakes whose head somebody else has read (layer 2): each is judged again, as strictly as our own.

Whoever read it may have been lenient: gevent.pywsgi takes lines that end with a bare LF, folded headers, two lengths
that contradict each other. What is left of the request is written down as a head again, and the codec's parser decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

from lws_gevent.handshake import Headers, Request, handshake_error, is_token

__all__ = ["RAW_HEAD", "ParsedHead", "read_foreign"]

#: The key of a WSGI environ under which our own handler keeps the octets of the head, or a `ParsedHead`.
RAW_HEAD = "lws_gevent.head"

#: What a path may hold as it is (RFC 3986 section 3.3).
_PATH = "/:@!$&'()*+,;=~"


class ParsedHead:
    """A head of `length` octets that the strict parser has read already."""

    __slots__ = ("length", "request")

    def __init__(self, request: Request, length: int) -> None:
        self.request = request
        self.length = length


def read_foreign(request: Any, parse: Callable[..., Any], max_header_size: int) -> tuple[Request, bytes]:
    """The request, and octets that came behind its head.

    `request` is the raw head (with whatever follows), a WSGI environ, a `Request`, or the headers alone: a mapping, or
    anything else with `items`. Headers alone are taken for those of a GET whose path is not known: it is ``""``.
    HandshakeError when it is malformed; TypeError for anything else.
    """
    if isinstance(request, Request):
        return request, b""
    alone = False
    if isinstance(request, (bytes, bytearray, memoryview)):
        octets = bytes(request)
    elif not hasattr(request, "items"):
        raise TypeError(f"a request is its headers, a WSGI environ or its raw head, not {type(request).__name__}")
    elif "REQUEST_METHOD" in request:
        octets = request[RAW_HEAD] if RAW_HEAD in request else _head_of_environ(request)
        if isinstance(octets, ParsedHead):
            if octets.length > max_header_size:
                raise handshake_error(431, "the request head is too big")
            return octets.request, b""
    else:
        alone = True
        pairs = request.raw if isinstance(request, Headers) else request.items()
        octets = _head("GET / HTTP/1.1", pairs)
    result = parse(octets, max_header_size, 0)
    if isinstance(result, int):
        raise handshake_error(400, "the request head is not complete")
    parsed, length = result
    if alone:
        parsed.target = ""
    return parsed, octets[length:]


def _head_of_environ(environ: Any) -> bytes:
    target = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
    if not target.startswith("/"):
        target = quote((environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1"), _PATH)
        if environ.get("QUERY_STRING"):
            target += "?" + environ["QUERY_STRING"]
    if "," in environ.get("HTTP_HOST", ""):
        raise handshake_error(400, "a header that must come once came twice")  # the WSGI server has joined them
    headers = [
        (name[5:].replace("_", "-"), value)
        for name, value in environ.items()
        if name.startswith("HTTP_") and name not in ("HTTP_CONTENT_LENGTH", "HTTP_VERSION")
    ]
    if environ.get("CONTENT_LENGTH"):
        headers.append(("Content-Length", environ["CONTENT_LENGTH"]))
    return _head(f"{environ['REQUEST_METHOD']} {target or '/'} {environ.get('SERVER_PROTOCOL', 'HTTP/1.1')}", headers)


def _head(request_line: str, pairs: Iterable[tuple[Any, Any]]) -> bytes:
    """The octets of a head; HandshakeError when a part of it would not stay where it is."""
    lines = [_line(request_line)]
    for name, value in pairs:
        if isinstance(name, str) and not is_token(name):
            raise handshake_error(400, "a header is malformed")
        lines.append(_line(name) + b": " + _line(value))
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _line(text: str | bytes) -> bytes:
    try:
        octets = text.encode("latin-1") if isinstance(text, str) else bytes(text)
    except UnicodeEncodeError:
        raise handshake_error(400, "the request has a character that HTTP does not allow") from None
    if b"\r" in octets or b"\n" in octets:
        raise handshake_error(400, "a header is malformed")
    return octets
