"""HTTP as far as the opening handshake needs it (layer 1): requests as they were read, responses as they are written.

Parsing the octets of a request head is the codec's work (`parse_request`); what it finds is a `Request`. Everything
here is linear in the length of its input, and nothing that is written may carry a line break of the application's or of
the peer's.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha1
from http import HTTPStatus

from lws_gevent.errors import HandshakeError

__all__ = [
    "Headers",
    "Request",
    "accept_key",
    "body_length",
    "check_no_tls",
    "handshake_error",
    "header_lines",
    "header_pairs",
    "is_token",
    "offered_subprotocols",
    "parse_token_list",
    "refusal",
    "response",
    "upgrade_response",
]

#: The version of the protocol that RFC 6455 describes; the only one that is spoken here.
WEBSOCKET_VERSION = "13"

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 section 5.5
# What `response` and `upgrade_response` write themselves; a second one would contradict it (RFC 9112 section 6.3).
_FRAMING_HEADERS = frozenset({"connection", "content-length", "transfer-encoding"})
_UPGRADE_HEADERS = _FRAMING_HEADERS | {
    "upgrade",
    "sec-websocket-accept",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
}


class Headers(Mapping[str, str]):
    """The headers of one request or response: immutable, case-insensitive, in their order, owning their data.

    A header that came more than once reads as its values joined by ``", "`` (RFC 9110 section 5.3); `get_all` keeps
    them apart. Values are decoded as Latin-1, so every octet survives. `raw` has the octets.
    """

    __slots__ = ("_index", "raw")

    def __init__(self, raw: Iterable[tuple[bytes, bytes]] = ()) -> None:
        #: Name and value of each header as they came, without the white space around the value.
        self.raw: list[tuple[bytes, bytes]] = list(raw)
        self._index: dict[str, list[str]] | None = None

    @classmethod
    def from_head(cls, head: bytes) -> Headers:
        """The headers of a request or response head that a strict parser has already accepted."""
        raw = []
        for line in head.split(b"\r\n")[1:]:
            if line:
                name, _, value = line.partition(b":")
                raw.append((name, value.strip(b" \t")))
        return cls(raw)

    def _values(self) -> dict[str, list[str]]:
        index = self._index
        if index is None:
            index = {}
            for name, value in self.raw:
                index.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
            self._index = index
        return index

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._values()[name.lower()])

    def get_all(self, name: str) -> list[str]:
        """The value of every header of this name, in order; an empty list when there is none."""
        return list(self._values().get(name.lower(), ()))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values()

    def __iter__(self) -> Iterator[str]:
        seen = set()
        for raw_name, _ in self.raw:
            name = raw_name.decode("latin-1")
            if name.lower() not in seen:
                seen.add(name.lower())
                yield name

    def __len__(self) -> int:
        return len(self._values())

    def __repr__(self) -> str:
        # Names only: values may be credentials, and this may reach a log.
        return f"<Headers {', '.join(self)}>"


class Request:
    """The head of one HTTP request that a strict parser has accepted, with what it means for the handshake.

    `method`, `target`: as sent; `path`: the target up to the ``?``, not decoded; `query`: what follows, or ``""``;
    `headers`: a `Headers`, made when first asked for; `version_minor`: 0 or 1, of HTTP/1.x; `content_length`: None when
    absent; `chunked`: the body is in chunks; `keep_alive`: the client would send another request on this connection;
    `upgrade_status`: 101 for a good opening handshake, 0 for plain HTTP, else the status to refuse it with and
    `problem` says why; `key`: the Sec-WebSocket-Key, ``b""`` when there is not exactly one; `body`: for whoever reads
    the body.
    """

    __slots__ = (
        "_head",
        "_headers",
        "body",
        "chunked",
        "content_length",
        "keep_alive",
        "key",
        "method",
        "problem",
        "target",
        "upgrade_status",
        "version_minor",
    )

    def __init__(
        self,
        method: str,
        target: str,
        head: bytes | Headers,
        version_minor: int = 1,
        content_length: int | None = None,
        chunked: bool = False,
        keep_alive: bool = True,
        upgrade_status: int = 0,
        problem: str = "",
        key: bytes = b"",
    ) -> None:
        """`head` is the raw head (it is copied by nobody, so it must be immutable) or its headers."""
        self.method = method
        self.target = target
        self._head = head if isinstance(head, bytes) else b""
        self._headers = None if isinstance(head, bytes) else head
        self.version_minor = version_minor
        self.content_length = content_length
        self.chunked = chunked
        self.keep_alive = keep_alive
        self.upgrade_status = upgrade_status
        self.problem = problem
        self.key = key
        self.body = b""

    @property
    def headers(self) -> Headers:
        """The headers, parsed from the head when they are first asked for."""
        if self._headers is None:
            self._headers = Headers.from_head(self._head)
            self._head = b""
        return self._headers

    @property
    def path(self) -> str:
        """The target up to the ``?``, as sent."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The target after the first ``?``, as sent; ``""`` when there is none."""
        return self.target.partition("?")[2]

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path!r} upgrade_status={self.upgrade_status}>"


def accept_key(key: str | bytes) -> str:
    """The Sec-WebSocket-Accept that answers a Sec-WebSocket-Key (RFC 6455 section 4.2.2)."""
    if isinstance(key, str):
        key = key.encode("latin-1")
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest()).decode("ascii")


def is_token(value: str) -> bool:
    """Whether `value` is one token of RFC 9110 section 5.6.2."""
    return _TOKEN.fullmatch(value) is not None


def parse_token_list(value: str | Iterable[str]) -> list[str]:
    """The elements of a comma-separated list (RFC 9110 section 5.6.1), or of several that belong together, in order.

    Empty elements are left out, as the RFC asks; white space around elements is dropped; what is between commas is
    not checked to be a token. Linear time whatever the octets.
    """
    values = (value,) if isinstance(value, str) else value
    stripped = (element.strip(" \t") for one in values for element in one.split(","))
    return [element for element in stripped if element]


def offered_subprotocols(headers: Mapping[str, str]) -> list[str]:
    """What a client offers in Sec-WebSocket-Protocol, in its order of preference.

    Elements that are no token and repetitions are left out (RFC 6455 section 4.1 forbids both): they can never be
    chosen.
    """
    offered = parse_token_list(headers.get("Sec-WebSocket-Protocol", ""))
    return [element for element in dict.fromkeys(offered) if is_token(element)]


def upgrade_response(
    request: Request,
    subprotocol: str | None = None,
    extensions: str | None = None,
    extra_headers: Iterable[tuple[str, str]] | Mapping[str, str] = (),
) -> bytes:
    """The 101 that opens the connection (RFC 6455 section 4.2.2).

    `subprotocol` and `extensions` are what was agreed on, None for nothing. ValueError, before anything is written,
    for a subprotocol that is no token, for CR, LF or NUL anywhere, and for extra headers that belong to the
    handshake.
    """
    head = (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_key(request.key)}\r\n"
    )
    if subprotocol is not None:
        if not is_token(subprotocol):
            raise ValueError(f"a subprotocol must be a token, not {subprotocol!r}")
        head += f"Sec-WebSocket-Protocol: {subprotocol}\r\n"
    if extensions is not None:
        head += header_lines((("Sec-WebSocket-Extensions", extensions),))
    if extra_headers:
        head += header_lines(header_pairs(extra_headers), _UPGRADE_HEADERS)
    return (head + "\r\n").encode("latin-1")


def response(
    status: int,
    headers: Iterable[tuple[str, str]] | Mapping[str, str] = (),
    body: bytes | str = b"",
) -> bytes:
    """A complete HTTP/1.1 response after which the connection closes; Content-Length and Connection are set here.

    `body` as str is sent in UTF-8; with a body and no Content-Type given, it is plain text (or octets). ValueError,
    before anything is written, for a status outside 200-599, for CR, LF or NUL anywhere, for a name that is no token,
    and for a header that contradicts the framing (Connection, Content-Length, Transfer-Encoding).
    """
    if not isinstance(status, int):
        raise TypeError(f"a status must be int, not {type(status).__name__}")
    if not 200 <= status <= 599:
        raise ValueError(f"status {int(status)} is no final HTTP status: 200 to 599")
    if isinstance(body, str):
        content, content_type = body.encode("utf-8"), "text/plain; charset=utf-8"
    elif isinstance(body, (bytes, bytearray, memoryview)):
        content, content_type = bytes(body), "application/octet-stream"
    else:
        raise TypeError(f"a body must be str or bytes, not {type(body).__name__}")
    pairs = header_pairs(headers)
    lines = header_lines(pairs, _FRAMING_HEADERS)
    if content and not any(name.lower() == "content-type" for name, _ in pairs):
        lines += f"Content-Type: {content_type}\r\n"
    if status in (204, 304):
        content = b""  # RFC 9110 sections 15.3.5 and 15.4.5: they have none
    else:
        lines += f"Content-Length: {len(content)}\r\n"
    head = f"HTTP/1.1 {int(status)} {_reason_phrase(status)}\r\n{lines}Connection: close\r\n\r\n"
    return head.encode("latin-1") + content


def refusal(request: Request) -> bytes:
    """The response for a request that is no good opening handshake; 426 for one that is none at all (plain HTTP)."""
    status = request.upgrade_status or 426
    error = handshake_error(status, request.problem or "this is a WebSocket endpoint")
    return response(error.status, error.headers, error.body)


def handshake_error(status: int, problem: str) -> HandshakeError:
    """The error for a request that is refused with `status`: it has the headers that this status needs, and `problem`
    (one sentence that repeats nothing of the request) as its body."""
    headers: dict[str, str] = {"Content-Type": "text/plain; charset=utf-8"}
    if status == 405:
        headers["Allow"] = "GET"  # RFC 9110 section 15.5.6
    elif status == 426:
        headers["Upgrade"] = "websocket"  # RFC 9110 section 15.5.22
        headers["Sec-WebSocket-Version"] = WEBSOCKET_VERSION  # RFC 6455 section 4.2.2
    return HandshakeError(status, headers, f"{problem}\n".encode(), problem)


def check_no_tls(data: bytes | bytearray | memoryview) -> None:
    """HandshakeError (400) when what was received first is no request but the hello of TLS, whose octets need not have
    a line end that could be waited for: a record of type 22 (RFC 8446 section 5.1). No method begins so."""
    if data and data[0] == 22:
        raise handshake_error(400, "the peer speaks TLS, this server does not")


def body_length(request: Request, max_body_size: int) -> int:
    """Octets of the body behind the head of a plain request. HandshakeError: 413 when there are too many, 411 when they
    come in chunks, so that nobody can tell beforehand."""
    if request.chunked:
        raise handshake_error(411, "the request body must come with a Content-Length")
    length = request.content_length or 0
    if length > max_body_size:
        raise handshake_error(413, f"the request body has more than {max_body_size} octets")
    return length


def header_pairs(headers: Iterable[tuple[str, str]] | Mapping[str, str]) -> list[tuple[str, str]]:
    """Name and value of each header, from what an application may give: pairs, a mapping, a `Headers`."""
    if isinstance(headers, Headers):
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers.raw]
    return list(headers.items() if isinstance(headers, Mapping) else headers)


def header_lines(pairs: Iterable[tuple[str, str]], forbidden: frozenset[str] = frozenset()) -> str:
    """The lines of these headers. TypeError: no pairs of str; ValueError: a name that is no token or `forbidden`, CR,
    LF, NUL or other octets that RFC 9110 section 5.5 does not allow in a value."""
    lines = []
    for name, value in pairs:
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError("a header is a pair of str")
        if not is_token(name):
            raise ValueError(f"not a header name: {name!r}")
        if name.lower() in forbidden:
            raise ValueError(f"the header {name} is set by lws_gevent itself")
        if _FIELD_VALUE.fullmatch(value) is None:
            # The value is not repeated: it may be a credential.
            raise ValueError(f"the value of the header {name} has a character that HTTP does not allow")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines)


def _reason_phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
