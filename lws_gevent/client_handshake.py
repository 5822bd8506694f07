"""The client's side of the opening handshake (layer 1; RFC 6455 section 4.1): the request, and the judgement of the
answer.

Everything that a server sends is bounded before it is looked at and judged in linear time.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from lws_gevent.errors import HandshakeError
from lws_gevent.handshake import (
    WEBSOCKET_VERSION,
    Headers,
    accept_key,
    header_lines,
    header_pairs,
    is_token,
    parse_token_list,
)
from lws_gevent.url import URL, basic_credentials

__all__ = [
    "Dechunker",
    "Response",
    "build_request",
    "check_subprotocols",
    "check_upgrade",
    "connect_request",
    "new_key",
    "parse_response",
    "read_body",
    "read_response",
    "refused",
]

_MAX_HEADERS = 256

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?")
_HEADER_LINE = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")
_MAX_CHUNK_LINE = 1024

#: What belongs to the handshake itself: an application's header of this name would contradict it.
_OURS = frozenset(
    {
        "connection",
        "content-length",
        "transfer-encoding",
        "upgrade",
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-protocol",
        "sec-websocket-extensions",
        "sec-websocket-accept",
    }
)


class Response(NamedTuple):
    """The head of one HTTP response that the strict parser has accepted. `content_length`: None when there is none;
    `chunked`: the body comes in chunks; `version_minor`: of HTTP/1.x."""

    status: int
    reason: str
    headers: Headers
    version_minor: int
    content_length: int | None
    chunked: bool


def new_key() -> str:
    """A fresh Sec-WebSocket-Key: base64 of 16 octets from the system's random source (RFC 6455 section 4.1)."""
    return b64encode(os.urandom(16)).decode("ascii")


def check_subprotocols(subprotocols: Iterable[str] | None) -> tuple[str, ...]:
    """What a client offers, in its order of preference. ValueError: no tokens, or one that is there twice."""
    if subprotocols is None:
        return ()
    if isinstance(subprotocols, str):
        raise TypeError("subprotocols must be a sequence of str, not one str")
    names = tuple(subprotocols)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"a subprotocol must be str, not {type(name).__name__}")
        if not is_token(name):
            raise ValueError(f"a subprotocol must be a token, not {name!r}")
    if len(set(names)) != len(names):
        raise ValueError("a subprotocol is offered twice")
    return names


def build_request(
    url: URL,
    key: str,
    subprotocols: Iterable[str] = (),
    extensions: str = "",
    origin: str | None = None,
    headers: Iterable[tuple[str, str]] | Mapping[str, str] | None = None,
    user_agent: str | None = None,
) -> bytes:
    """The request that opens a connection. The application's `headers` win over what is set here for its convenience
    (Host, Origin, User-Agent, Authorization from the URL).

    ValueError, before anything is written, for CR, LF or NUL anywhere, a name that is no token, and headers that belong
    to the handshake itself.
    """
    extra = header_pairs(() if headers is None else headers)
    given = {name.lower() for name, _ in extra if isinstance(name, str)}
    pairs = []
    if "host" not in given:
        pairs.append(("Host", url.host_header))
    pairs += [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Version", WEBSOCKET_VERSION),
    ]
    offered = ", ".join(subprotocols)
    if offered:
        pairs.append(("Sec-WebSocket-Protocol", offered))
    if extensions:
        pairs.append(("Sec-WebSocket-Extensions", extensions))
    if origin is not None and "origin" not in given:
        pairs.append(("Origin", origin))
    if user_agent is not None and "user-agent" not in given:
        pairs.append(("User-Agent", user_agent))
    if url.username is not None and "authorization" not in given:
        pairs.append(("Authorization", basic_credentials(url.username, url.password or "")))
    lines = header_lines(pairs) + header_lines(extra, _OURS)
    return f"GET {url.target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


def connect_request(
    host: str, port: int, credentials: tuple[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """The request that asks an HTTP proxy for a tunnel (RFC 9110 section 9.3.6). ValueError as `build_request`."""
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    pairs = [("Host", authority)]
    if credentials is not None:
        pairs.append(("Proxy-Authorization", basic_credentials(*credentials)))
    lines = header_lines(pairs) + header_lines(header_pairs(headers or ()), _OURS)
    return f"CONNECT {authority} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


# --- the answer -------------------------------------------------------------------------------------------------------


def parse_response(data: bytes | bytearray, max_header_size: int, scanned: int = 0) -> tuple[Response, int] | int:
    """Reads one response head strictly (RFC 9112 sections 4 to 6).

    `data`: what was received so far, from the first octet of the response; `max_header_size`: octets the head may have;
    `scanned`: 0, or what the previous call for the same response returned. Returns the response and the length of its
    head, or an int when the head is not all there. HandshakeError with status 0 when it is malformed or too big.
    """
    # Lines that end with a bare LF end a head too, so that they are refused instead of waited for.
    start = max(0, scanned - 2)
    found = [(data.find(ending, start), len(ending)) for ending in (b"\n\r\n", b"\n\n")]
    end = min((position + length for position, length in found if position >= 0), default=0)
    if end > max_header_size or (end == 0 and len(data) > max_header_size):
        raise _failure(f"the head of the response is longer than {max_header_size} octets")
    if end == 0:
        if len(data) > 5 and not data.startswith(b"HTTP/"):
            raise _failure("the server does not answer in HTTP")
        return len(data)
    return _parse_head(bytes(data[:end])), end


def read_response(read: Callable[[], bytes], max_header_size: int, who: str) -> tuple[Response, bytes]:
    """A response head, and what was received behind it. `read` gives some octets each time, none at the end. Interim
    responses (RFC 9110 section 15.2) are passed over; all together are bounded. HandshakeError as `parse_response`."""
    data = bytearray()
    scanned = 0
    while True:
        parsed = parse_response(data, max_header_size, scanned)
        if isinstance(parsed, tuple):
            response, end = parsed
            del data[:end]
            scanned = 0
            if response.status == 101 or response.status >= 200:
                return response, bytes(data)
            max_header_size = max(0, max_header_size - end)
            continue
        scanned = parsed
        octets = read()
        if not octets:
            raise _failure(f"{who} ended the connection without an answer")
        data += octets


def read_body(read: Callable[[], bytes], response: Response, rest: bytes, limit: int) -> bytes:
    """The body of `response`, at most `limit` octets of it. `rest`: what was received behind the head."""
    if response.status in (204, 304):
        return b""
    dechunker = Dechunker() if response.chunked else None
    wanted = limit if response.content_length is None else min(limit, response.content_length)
    body = bytearray()
    received = 0
    while len(body) < wanted:
        body += rest if dechunker is None else dechunker.feed(rest)
        received += len(rest)
        # A body in tiny chunks is many times longer than what it holds.
        if len(body) >= wanted or received > 4 * limit or (dechunker is not None and dechunker.ended):
            break
        rest = read()
        if not rest:
            break
    return bytes(body[:wanted])


def _parse_head(head: bytes) -> Response:
    lines = _lines(head)
    match = _STATUS_LINE.fullmatch(next(lines, b""))
    if match is None:
        raise _failure("the status line of the response is malformed")
    count = 0
    for count, line in enumerate(lines, 1):
        if count > _MAX_HEADERS:
            raise _failure("the response has too many headers")
        if _HEADER_LINE.fullmatch(line) is None:
            raise _failure("a header of the response is malformed")
    headers = Headers.from_head(head)
    codings = parse_token_list(headers.get_all("Transfer-Encoding"))
    lengths = set(headers.get_all("Content-Length"))
    if len(lengths) > 1 or any(_LENGTH.fullmatch(length) is None for length in lengths):
        raise _failure("the Content-Length of the response is no length")
    return Response(
        int(match[2]),
        (match[3] or b"").decode("latin-1").strip(),
        headers,
        int(match[1]),
        int(lengths.pop()) if lengths and not codings else None,
        bool(codings) and codings[-1].lower() == "chunked",
    )


def _lines(head: bytes) -> Iterator[bytes]:
    """The lines of a head without their CR LF, without the empty one that ends it; each is judged when it is its
    turn."""
    for line in head.split(b"\n")[:-1]:
        if not line.endswith(b"\r"):
            raise _failure("a line of the response does not end with CR LF")
        if line != b"\r":
            yield line[:-1]


def check_upgrade(response: Response, key: str, subprotocols: Iterable[str]) -> str | None:
    """Whether `response` opens the connection that was asked for with `key` (RFC 6455 section 4.1); the subprotocol
    that the server has chosen. HandshakeError, with the response's status and headers, when it does not.

    What Sec-WebSocket-Extensions says is judged by `extensions.agreed`.
    """
    headers = response.headers
    if response.status != 101:
        raise refused(response, b"")
    if response.version_minor != 1:
        raise refused(response, b"", "the answer is HTTP/1.0")
    if [value.lower() for value in headers.get_all("Upgrade")] != ["websocket"]:
        raise refused(response, b"", "the answer does not upgrade to websocket")
    if "upgrade" not in (token.lower() for token in parse_token_list(headers.get_all("Connection"))):
        raise refused(response, b"", "the answer's Connection header does not list upgrade")
    if headers.get_all("Sec-WebSocket-Accept") != [accept_key(key)]:
        raise refused(response, b"", "the answer's Sec-WebSocket-Accept is not that of this handshake")
    chosen = headers.get_all("Sec-WebSocket-Protocol")
    if not chosen:
        return None
    if len(chosen) > 1 or chosen[0] not in tuple(subprotocols):
        raise refused(response, b"", "the server chose a subprotocol that was not offered")
    return chosen[0]


def refused(response: Response, body: bytes, problem: str = "") -> HandshakeError:
    """The error for a response that opens no connection."""
    return HandshakeError(response.status, response.headers, body, problem)


def _failure(problem: str) -> HandshakeError:
    return HandshakeError(0, None, b"", problem)


class Dechunker:
    """Takes the chunks of a body (RFC 9112 section 7.1) apart, as much of it as is there."""

    def __init__(self) -> None:
        self._left = 0  # octets of the current chunk, with its CR LF
        self._rest = b""
        #: The last chunk was seen, or something that is no chunk.
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        """What `data` adds to the body. Trailers are not looked at."""
        self._rest += data
        body = []
        while not self.ended:
            if self._left:
                piece, self._rest = self._rest[: self._left], self._rest[self._left :]
                body.append(piece[: max(0, self._left - 2)])
                self._left -= len(piece)
                if self._left:
                    break
            line, ending, rest = self._rest.partition(b"\r\n")
            if not ending:
                self.ended = len(line) > _MAX_CHUNK_LINE
                break
            match = _CHUNK_SIZE.fullmatch(line)
            size = int(match[1], 16) if match else 0
            self.ended = size == 0
            self._left, self._rest = size + 2, rest
        return b"".join(body)
